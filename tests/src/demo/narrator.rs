//! The demo's voice: what is done, what the guest prints, and what QEMU reports, told apart.

use super::record::{Event, Record};
use crate::output;
use crate::report::Paint;
use crate::say;
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, failed, unknown};
use hotmap_client::guest::{Guest, Plugged, Unplug};
use hotmap_client::shell::PROMPT;
use hotmap_client::state::State;

/// Bold (ECMA-48 section 8.3.117).
pub(super) const BOLD: u8 = 1;
/// Dim.
const DIM: u8 = 2;
/// Green.
const GREEN: u8 = 32;
/// Cyan.
const CYAN: u8 = 36;

/// A guest, and what is printed about it.
pub(super) struct Narrator {
    guest: Guest,
    paint: Paint,
    record: Record,
}

impl Narrator {
    /// Narrates a guest at its first prompt.
    pub(super) const fn new(guest: Guest, paint: Paint) -> Self {
        Self { guest, paint, record: Record::new() }
    }

    /// The guest.
    pub(super) const fn guest(&mut self) -> &mut Guest {
        &mut self.guest
    }

    /// Ends the story: audit, no warnings, power off with status 0. Returns what was told.
    ///
    /// # Errors
    /// As [`Guest::finish`].
    pub(super) fn finish(self) -> Checked<Record> {
        self.guest.finish()?;
        Ok(self.record)
    }

    /// A heading.
    pub(super) fn chapter(&mut self, title: &str) {
        let number = self.record.chapters() + 1;
        say!("\n{}", self.paint.colour(BOLD, &format!("{number}. {title}")));
        self.record.add(Event::Chapter { number, title: title.into() });
    }

    /// A sentence about what comes next.
    pub(super) fn say(&mut self, sentence: &str) {
        say!("{sentence}");
        self.record.add(Event::Say { text: sentence.into() });
    }

    /// A fact that the demo has checked.
    pub(super) fn checked(&mut self, sentence: &str) {
        say!("{} {sentence}", self.paint.colour(GREEN, "checked:"));
        self.record.add(Event::Checked { text: sentence.into() });
    }

    /// An action or an event at QEMU's monitor.
    pub(super) fn monitor(&mut self, sentence: &str) {
        say!("{} {sentence}", self.paint.colour(CYAN, "QEMU monitor:"));
        self.record.add(Event::Monitor { text: sentence.into() });
    }

    /// What the guest printed, indented.
    pub(super) fn quote(&mut self, words: &str) {
        let lines: Vec<&str> = words.lines().filter(|line| !line.trim().is_empty()).collect();
        for line in &lines {
            say!("    {line}");
        }
        self.record.add(Event::Guest { text: lines.join("\n") });
    }

    /// Records what the memory looks like now, for a picture; prints nothing.
    ///
    /// # Errors
    /// As [`Guest::tell`].
    pub(super) fn picture(&mut self, title: &str, command: &str) -> Checked {
        let mut transcript = String::new();
        for command in command.split("; ") {
            transcript += &format!("{}\n", self.guest.tell(command)?);
        }
        self.record.add(Event::Picture { title: title.into(), transcript });
        Ok(())
    }

    /// Gives a command that must succeed and shows it with its reply.
    ///
    /// # Errors
    /// As [`Guest::tell`].
    pub(super) fn command(&mut self, command: &str) -> Checked<String> {
        must_be_read()?;
        let reply = self.guest.tell(command)?;
        self.shown(command);
        self.quote(&reply);
        Ok(reply)
    }

    /// Gives a command and shows only the lines of its reply that `of_interest` wants.
    ///
    /// # Errors
    /// As [`Guest::tell`].
    pub(super) fn command_lines(&mut self, command: &str, of_interest: impl Fn(&str) -> bool) -> Checked {
        must_be_read()?;
        let reply = self.guest.tell(command)?;
        self.shown(command);
        let lines: Vec<&str> = reply.lines().filter(|line| of_interest(line)).collect();
        self.quote(&lines.join("\n"));
        let hidden = reply.lines().count() - lines.len();
        if hidden > 0 {
            let text = format!("({hidden} other lines)");
            say!("    {}", self.paint.colour(DIM, &text));
            self.record.add(Event::Guest { text });
        }
        Ok(())
    }

    fn shown(&mut self, command: &str) {
        let text = format!("{PROMPT}{command}");
        say!("    {}", self.paint.colour(BOLD, &text));
        self.record.add(Event::Command { text });
    }

    /// Plugs a DIMM and shows what the guest says to it. Returns the state after it.
    ///
    /// # Errors
    /// Failed when the guest refuses it.
    pub(super) fn plug(&mut self, dimm: &Dimm) -> Checked<(Plugged, State)> {
        must_be_read()?;
        self.monitor(&format!("object-add memory-backend-ram,id=mem-{0},size={1}", dimm.id, dimm.size));
        self.monitor(&format!("device_add pc-dimm,id={0},memdev=mem-{0}", dimm.id));
        let since = self.guest.position();
        let plugged = self.guest.plug_well(dimm)?;
        let state = self.guest.state()?;
        self.heard(since);
        self.monitor(&format!("event ACPI_DEVICE_OST: {} in slot {}, success", dimm.id, plugged.slot));
        Ok((plugged, state))
    }

    /// Asks for a DIMM back and shows what the guest says to it. Returns the state after it.
    ///
    /// # Errors
    /// Unknown when nothing comes of it.
    pub(super) fn unplug(&mut self, dimm: &Dimm) -> Checked<(Unplug, State)> {
        must_be_read()?;
        self.monitor(&format!("device_del {}", dimm.id));
        let since = self.guest.position();
        let end = self.guest.unplug(dimm)?;
        let state = self.guest.state()?;
        self.heard(since);
        match end {
            Unplug::Gone => self.monitor(&format!("event DEVICE_DELETED: {}", dimm.id)),
            Unplug::Refused(status) => {
                self.monitor(&format!("event ACPI_DEVICE_OST: {} refused, status {status:#x}", dimm.id));
            }
        }
        Ok((end, state))
    }

    /// Shows what arrived by itself since a position: the lines that are neither prompt, echo nor reply.
    fn heard(&mut self, since: usize) {
        let text = self.guest.text_since(since);
        let arrived = |line: &&str| !line.starts_with(PROMPT.trim_end()) && !line.starts_with("{\"");
        let lines: Vec<&str> = text.lines().filter(arrived).collect();
        self.quote(&lines.join("\n"));
    }

    /// Shows what the guest said while it booted.
    pub(super) fn boot_log(&mut self) {
        let text = self.guest.text();
        self.quote(text.split(PROMPT).next().unwrap_or_default());
    }
}

/// Ends the story when its reader is gone (`make demo | head`).
fn must_be_read() -> Checked {
    if output::is_closed() { unknown("standard output is closed") } else { Ok(()) }
}

/// A claim of the story; when it does not hold, the demo fails.
pub(super) fn must(holds: bool, sentence: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { failed(sentence()) }
}
