//! Boots without input: they run `run="..."` or fail, and end.

use super::record::{entry, sound_state};
use crate::machine::Machine;
use crate::patience::Deadline;
use crate::qemu::{Exit, Qemu};
use crate::run::Run;
use crate::state::State;
use crate::trouble::{Checked, failed, unknown};

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

    /// The state that a `state` command in `run=` printed.
    ///
    /// # Errors
    /// Failed when there is none or it contradicts itself.
    pub fn state(&self) -> Checked<State> {
        sound_state(self.line("of JSON from `state`", |line| line.starts_with("{\""))?)
    }
}

/// Boots `machine`, waits until it ends by itself, and returns its status and output.
///
/// # Errors
/// Unknown when it does not end, or prints nothing at all (QEMU refused to start it).
pub fn run_to_end(run: &Run, machine: &Machine) -> Checked<Finished> {
    let mut qemu = Qemu::start(machine, None)?;
    let ended = qemu.wait_exit(Deadline::for_step());
    qemu.kill();
    let (text, complaints) = (qemu.console.text(), qemu.complaints.text());
    run.journal.add(&entry(&machine.command(), &text, &complaints));
    let exit = ended?;
    if text.trim().is_empty() {
        return unknown(format!("the guest said nothing; {exit}; QEMU said {:?}", complaints.trim()));
    }
    Ok(Finished { exit, text })
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
