//! Boots without input: they run `run="..."` or fail, and end.

use super::record::{entry, sound_state};
use crate::ensure_eq;
use crate::error::{Checked, failed, unknown};
use crate::machine::Machine;
use crate::patience::Deadline;
use crate::qemu::{Exit, Qemu};
use crate::run::Run;
use crate::serial::last_line;
use crate::shell::exit_of;
use crate::state::State;

/// The exit status and the output of a guest that has ended.
#[derive(Clone, Debug)]
pub struct Finished {
    /// How it ended.
    pub exit: Exit,
    /// All that it printed.
    pub text: String,
}

impl Finished {
    /// The first line that satisfies `is`.
    ///
    /// # Errors
    /// Failed when there is none.
    pub fn line(&self, what: &str, is: impl Fn(&str) -> bool) -> Checked<&str> {
        match self.text.lines().find(|line| is(line)) {
            Some(line) => Ok(line),
            None => failed(format!("no line {what}")),
        }
    }

    /// The status that the guest says it ends with, in its last line: all that is left of it where there is no exit channel.
    ///
    /// # Errors
    /// Failed when the last line is another one.
    pub fn said(&self) -> Checked<i32> {
        let last = last_line(&self.text);
        match exit_of(&format!("{last}\n")) {
            Some((status, _)) => Ok(status),
            None => failed(format!("the last line says no exit status: {last:?}")),
        }
    }

    /// The state that a `state` command in `run=` printed.
    ///
    /// # Errors
    /// Failed when there is none or it contradicts itself.
    pub fn state(&self) -> Checked<State> {
        sound_state(self.line("of JSON from `state`", |line| line.starts_with("{\""))?)
    }
}

/// Boots `machine`, waits until it ends by itself, and returns its status and output. The status is the one that the guest
/// says, or 0 where there is no semihosting.
///
/// # Errors
/// Failed when the guest says another status, or none; unknown when it does not end, or prints nothing at all (QEMU refused to start it).
pub fn run_to_end(run: &Run, machine: &Machine) -> Checked<Finished> {
    run_to_end_within(run, machine, Deadline::for_step())
}

/// [`run_to_end`] for a guest that takes longer.
///
/// # Errors
/// As [`run_to_end`].
pub fn run_to_end_within(run: &Run, machine: &Machine, deadline: Deadline) -> Checked<Finished> {
    let mut qemu = Qemu::start(machine, None)?;
    let ended = qemu.wait_exit(deadline);
    qemu.kill();
    let (text, complaints) = (qemu.console.text(), qemu.complaints.text());
    run.journal.add(&entry(&machine.command(), &text, &complaints));
    let exit = ended?;
    if text.trim().is_empty() {
        return unknown(format!("the guest said nothing; {exit}; QEMU said {:?}", complaints.trim()));
    }
    let finished = Finished { exit, text };
    let (said, silent) = (finished.said()?, machine.command().contains("enable=off"));
    let expected = if silent { Exit::FINE } else { Exit::Code(machine.exit.qemus(said)) };
    ensure_eq!(exit, expected, "QEMU's status, of a guest that says {said}");
    Ok(if silent { finished } else { Finished { exit: Exit::Code(said), ..finished } })
}

#[cfg(test)]
mod tests {
    use super::Finished;
    use crate::qemu::Exit;

    #[test]
    fn a_missing_line_is_a_failure() {
        let finished = Finished { exit: Exit::FINE, text: "a\nb 1\n".into() };
        assert_eq!(finished.line("b", |line| line.starts_with('b')), Ok("b 1"));
        assert!(finished.state().is_err());
    }
}
