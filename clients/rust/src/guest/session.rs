//! A guest that takes commands: their replies, and its end.

use super::record::{entry, sound_state, with_notes};
use crate::ensure;
use crate::ensure_eq;
use crate::error::{Checked, During, Error, failed};
use crate::frame::{READY, find_frame, is_ready, is_reset, last_frame};
use crate::machine::Machine;
use crate::patience::Deadline;
use crate::qemu::{Exit, Qemu};
use crate::qmp::Qmp;
use crate::run::{Journal, Run};
use crate::shell::{ERROR, PROMPT, Reply, exit_of, find_reply, is_at_prompt};
use crate::state::State;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Numbers the sockets: a test may boot several guests.
static SOCKETS: AtomicUsize = AtomicUsize::new(0);

/// Whether a guest is still going to say that it takes commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It boots: its prompt, or `ready 1`, comes.
    Booting,
    /// It has booted, and waits for a command: nothing comes before one is typed.
    Waiting,
}

/// A guest that takes commands, at its prompt or with `script=on`.
#[derive(Debug)]
pub struct Guest {
    qemu: Qemu,
    /// QEMU's control socket.
    pub qmp: Qmp,
    /// Where in the transcript the last prompt stands, or the end of the last frame.
    at_prompt: usize,
    /// The number of the last frame that was read; `None` at a prompt.
    frame: Option<u64>,
    /// The host's actions, each with its position in the transcript.
    notes: Vec<(usize, String)>,
    journal: Journal,
    heading: String,
}

impl Guest {
    /// Boots `machine` and waits until it takes commands.
    ///
    /// # Errors
    /// Failed when the guest dies before that, unknown when it hangs or QEMU does not start.
    pub fn boot(run: &Run, machine: &Machine) -> Checked<Self> {
        let socket = run.path(&format!("qmp-{}", SOCKETS.fetch_add(1, Ordering::Relaxed)));
        let mut qemu = Qemu::start(machine, Some(&socket))?;
        let connected = Qmp::connect(&socket, Deadline::for_step(), || qemu.ended().is_some());
        let qmp = match connected {
            Ok(qmp) => qmp,
            Err(error) => {
                qemu.kill();
                let said = format!("{} {}", qemu.complaints.text(), qemu.console.text());
                run.journal.add(&said);
                return Err(error.during(&format!("QEMU said {:?}", said.trim())));
            }
        };
        Self::over(qemu, qmp, Phase::Booting, &machine.command(), &run.journal)
    }

    /// A guest on a QEMU of your own: [`Qemu::spawn`] or [`Qemu::attach`] has its console, and [`Qmp`] its control socket.
    /// Its transcript goes to `journal`, with `heading` above it, when it is dropped. Replies are framed if the guest frames
    /// them (`script=on`).
    ///
    /// # Errors
    /// As [`Guest::boot`].
    pub fn over(qemu: Qemu, qmp: Qmp, phase: Phase, heading: &str, journal: &Journal) -> Checked<Self> {
        let (notes, journal, heading) = (Vec::new(), journal.clone(), heading.to_owned());
        let mut guest = Self { qemu, qmp, at_prompt: 0, frame: None, notes, journal, heading };
        match phase {
            Phase::Booting => guest.await_ready()?,
            Phase::Waiting => {
                guest.type_raw("\n")?;
                guest.frame = guest.wait_for("the reply to a blank line", Deadline::for_step(), |text| {
                    last_frame(text).map(Some).or(is_at_prompt(text).then_some(None))
                })?;
                guest.at_prompt = guest.reply_end();
            }
        }
        Ok(guest)
    }

    /// Waits until a guest that boots takes commands, also after a reset: frames count from 1 again.
    ///
    /// # Errors
    /// As [`Guest::boot`].
    pub fn await_ready(&mut self) -> Checked {
        self.frame = self.wait_for("the first prompt", Deadline::for_step(), |text| {
            let behind = text.strip_prefix(PROMPT).unwrap_or(text);
            is_ready(text).then_some(Some(0)).or(is_at_prompt(behind).then_some(None))
        })?;
        self.at_prompt = self.reply_end();
        Ok(())
    }

    /// Types a command and waits for its reply.
    ///
    /// # Errors
    /// Failed when the guest dies or is reset, or would not read the command; unknown when it does not answer. An error line
    /// is a reply.
    pub fn ask(&mut self, command: &str) -> Checked<Reply> {
        self.ask_within(command, Deadline::for_step())
    }

    /// [`Guest::ask`] with another deadline.
    ///
    /// # Errors
    /// As [`Guest::ask`].
    pub fn ask_within(&mut self, command: &str, deadline: Deadline) -> Checked<Reply> {
        self.type_command(command)?;
        self.await_reply(command, deadline)
    }

    /// Types one command line and does not wait for the reply: [`Guest::await_reply`] does.
    ///
    /// # Errors
    /// Failed for a line end or Ctrl-C in it, and with `run=`; else as [`Guest::type_raw`].
    pub fn type_command(&mut self, command: &str) -> Checked {
        ensure!(
            !(self.qemu.runs && self.frame.is_some()),
            "run= is on the kernel's command line, so '{command}' would not be read: use await_reply"
        );
        ensure!(
            !command.contains(['\r', '\n', '\u{3}']),
            "{command:?} has a line end or Ctrl-C: use type_raw, and await_reply for each line"
        );
        self.type_raw(&format!("{command}\n"))
    }

    /// Types characters as they are.
    ///
    /// # Errors
    /// Failed when QEMU has ended.
    pub fn type_raw(&mut self, characters: &str) -> Checked {
        self.qemu.type_in(characters.as_bytes()).map_err(|error| self.died(error))
    }

    /// Waits for the reply to a command that has been typed. Replies come in the order of the commands.
    ///
    /// # Errors
    /// As [`Guest::ask`].
    pub fn await_reply(&mut self, command: &str, deadline: Deadline) -> Checked<Reply> {
        let next = self.next_frame();
        let what = format!("the reply to '{command}'");
        let reply = self.wait_for(&what, deadline, |text| {
            let reset = next.is_some_and(|number| is_reset(text, number));
            if reset { Some(None) } else { reply_in(text, next, command).map(Some) }
        })?;
        let Some(reply) = reply else {
            return failed(format!("the guest was reset before {what}: await_ready starts anew"));
        };
        self.frame = next;
        self.at_prompt = self.reply_end();
        Ok(reply)
    }

    /// Whether the reply to a typed command is complete, so that [`Guest::await_reply`] returns at once.
    pub fn has_replied(&self, command: &str) -> bool {
        reply_in(&self.text_since(self.at_prompt), self.next_frame(), command).is_some()
    }

    fn next_frame(&self) -> Option<u64> {
        self.frame.map(|last| last + 1)
    }

    /// Gives a command that must succeed, and returns its reply.
    ///
    /// # Errors
    /// Failed when it reports an error; else as [`Guest::ask`].
    pub fn tell(&mut self, command: &str) -> Checked<String> {
        self.ask(command)?.result().or_else(|why| failed(format!("'{command}' failed: {why}")))
    }

    /// Gives a command that must be refused, and returns the sentence.
    ///
    /// # Errors
    /// Failed when it succeeds; else as [`Guest::ask`].
    pub fn tell_in_vain(&mut self, command: &str) -> Checked<String> {
        match self.ask(command)?.result() {
            Ok(reply) => failed(format!("'{command}' succeeded, should be refused: {reply}")),
            Err(sentence) => Ok(sentence),
        }
    }

    /// The guest's state, checked: it has every key of the contract and does not contradict itself.
    ///
    /// # Errors
    /// Failed when it is not so.
    pub fn state(&mut self) -> Checked<State> {
        let reply = self.tell("state")?;
        sound_state(&reply)
    }

    /// Waits until what the guest has printed since its last prompt satisfies `found`.
    ///
    /// # Errors
    /// Failed when the guest dies, unknown at the deadline.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        deadline: Deadline,
        found: impl FnMut(&str) -> Option<T>,
    ) -> Checked<T> {
        self.wait_since(self.at_prompt, what, deadline, found)
    }

    /// [`Guest::wait_for`] with a position instead of the last prompt.
    pub(super) fn wait_since<T>(
        &mut self,
        position: usize,
        what: &str,
        deadline: Deadline,
        mut found: impl FnMut(&str) -> Option<T>,
    ) -> Checked<T> {
        // The console of another program's QEMU may stay open when the guest has ended.
        let attached = self.qemu.pid().is_none();
        let or_ended = |text: &str| match found(text) {
            None if attached => last_words(text).map(Err),
            thing => thing.map(Ok),
        };
        match self.qemu.console.wait(position, what, deadline, or_ended) {
            Ok((Ok(thing), _)) => Ok(thing),
            Ok((Err(exit), _)) => failed(format!("the guest ended before {what}: {exit}")),
            Err(error) => Err(self.died(error)),
        }
    }

    /// How many bytes of guest memory of `size` bytes, a size that only one backend has, the host has given QEMU (Linux
    /// `/proc/PID/smaps`: Rss of the mapping). What QEMU itself spends for it, like its dirty bitmaps, is not in it.
    ///
    /// # Errors
    /// Unknown when the host does not say.
    pub fn resident(&self, size: u64) -> Checked<u64> {
        let pid = self.qemu.pid().ok_or_else(|| Error::Unknown("another program started QEMU".into()))?;
        let path = format!("/proc/{pid}/smaps");
        let smaps = std::fs::read_to_string(&path).unwrap_or_default();
        resident_of(&smaps, size)
            .ok_or_else(|| Error::Unknown(format!("{path} has no mapping of {size} bytes")))
    }

    /// Everything printed so far.
    pub fn text(&self) -> String {
        self.qemu.console.text()
    }

    /// Everything printed since a position that [`Guest::position`] gave.
    pub fn text_since(&self, position: usize) -> String {
        self.qemu.console.text_since(position)
    }

    /// How much has been printed.
    pub fn position(&self) -> usize {
        self.qemu.console.position()
    }

    /// Notes an action of the host in the journal.
    pub fn note(&mut self, sentence: &str) {
        self.notes.push((self.position(), sentence.to_owned()));
    }

    /// Ends the guest: the audit must find nothing, no warning may be counted, and the exit status must be 0.
    ///
    /// # Errors
    /// Failed when any of it is not so.
    pub fn finish(mut self) -> Checked {
        self.tell("audit").during("at the end")?;
        let (warnings, text) = (self.state()?.warnings, self.text());
        let first = text.lines().find_map(|line| line.strip_prefix("warning: ")).unwrap_or("not printed");
        ensure!(warnings == 0, "warnings at the end: {warnings}; the first: {first}");
        self.power_off()
    }

    /// Powers off and expects status 0.
    ///
    /// # Errors
    /// Failed for another status, unknown when QEMU still runs.
    pub fn power_off(mut self) -> Checked {
        self.type_command("poweroff")?;
        let exit = self.qemu.wait_exit(Deadline::for_step())?;
        ensure_eq!(exit, Exit::FINE, "poweroff");
        Ok(())
    }

    /// How the guest has ended, if it has.
    pub fn ended(&mut self) -> Option<Exit> {
        self.qemu.ended()
    }

    /// Waits for the guest to end by itself.
    ///
    /// # Errors
    /// Unknown when it does not.
    pub fn wait_exit(&mut self) -> Checked<Exit> {
        self.qemu.wait_exit(Deadline::for_step())
    }

    /// Waits for the guest to end by itself. Returns the status that it says in its last line, or QEMU's if there is none.
    ///
    /// # Errors
    /// Unknown when it does not end.
    pub fn wait_end(&mut self) -> Checked<Exit> {
        let exit = self.qemu.wait_exit(Deadline::for_step())?;
        Ok(exit_of(&self.text()).map_or(exit, |(status, _)| Exit::Code(status)))
    }

    /// Makes a console that ended, because the guest died, a failure: the test knows what happened.
    pub(super) fn died(&mut self, error: Error) -> Error {
        let ended = ["the console ended", "closed its monitor", "cannot type"]
            .iter()
            .any(|sign| error.why().contains(sign));
        if !ended {
            return error;
        }
        match self.qemu.wait_exit(Deadline::for_step()) {
            Ok(exit) => {
                let qemu = || format!("QEMU ended ({exit}), and says {:?}", self.qemu.complaints.text());
                let end = last_words(&self.text_since(self.at_prompt)).unwrap_or_else(qemu);
                Error::Failed(format!("{error}: {end}"))
            }
            Err(_) => error,
        }
    }

    /// Where the next reply is looked for: at the last prompt, or behind the last frame that was read.
    fn reply_end(&self) -> usize {
        let (mark, length) = match self.frame {
            None => (PROMPT.to_owned(), 0),
            Some(0) => (format!("{READY}\n"), READY.len() + 1),
            Some(number) => (format!("\nend {number} "), 0),
        };
        self.qemu.console.last(&mark).map_or(0, |at| at + length)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.qemu.kill();
        let text = with_notes(&self.qemu.console.raw(), &self.notes);
        self.journal.add(&entry(&self.heading, &text, &self.qemu.complaints.text()));
    }
}

/// The guest's own account of its end: the status, the reason, and its last error line.
fn last_words(text: &str) -> Option<String> {
    let (status, why) = exit_of(text)?;
    let error = text.lines().rev().find_map(|line| line.strip_prefix(ERROR));
    let error = error.map(|error| format!("; {error}")).unwrap_or_default();
    Some(format!("exit {status}: {why}{error}"))
}

/// The reply to `command`: frame `number`, or what lies between echo and prompt.
fn reply_in(text: &str, number: Option<u64>, command: &str) -> Option<Reply> {
    match number {
        Some(number) => find_frame(text, number),
        None => find_reply(text, command),
    }
}

/// The resident bytes of the mapping of `size` bytes.
fn resident_of(smaps: &str, size: u64) -> Option<u64> {
    let bytes = |line: &str, key| {
        line.strip_prefix(key)?.trim().strip_suffix(" kB")?.parse().ok().map(|kib: u64| kib << 10)
    };
    let mut lines = smaps.lines().skip_while(|line| bytes(line, "Size:") != Some(size));
    lines.find_map(|line| bytes(line, "Rss:"))
}

#[cfg(test)]
mod tests {
    use super::resident_of;

    #[test]
    fn the_resident_part_of_a_mapping_is_found_by_its_size() {
        let smaps = "7f00-7f10 rw-p 00000000 00:00 0\nSize:    64 kB\nRss:    12 kB\n\
                     7e00-7f00 rw-p 00000000 00:00 0\nSize:    1024 kB\nKernelPageSize: 4 kB\nRss:    8 kB\n";
        assert_eq!(resident_of(smaps, 1 << 20), Some(8 << 10));
        assert_eq!(resident_of(smaps, 64 << 10), Some(12 << 10));
        assert_eq!(resident_of(smaps, 4096), None);
    }
}
