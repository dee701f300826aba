//! One QEMU: its console, its messages and its exit status.
//!
//! [`Qemu::start`] runs `scripts/qemu`, [`Qemu::spawn`] any command line with the serial console on stdio, and
//! [`Qemu::attach`] takes the console of a QEMU that another program has started.
//!
//! With `--exec` the script becomes QEMU, so that killing the child kills QEMU. QEMU's exit status is the guest's (by
//! semihosting); it is also 1 when QEMU refuses its arguments, and then the console is silent.

use crate::error::{Checked, Error, unknown};
use crate::machine::Machine;
use crate::patience::Deadline;
use crate::serial::{Transcript, last_line};
use crate::shell::exit_of;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How often to ask whether a process has ended (Unix has no wait with a time-out).
const POLL: Duration = Duration::from_millis(2);

/// The environment variable that names another image than the built one.
pub const IMAGE_VARIABLE: &str = "HOTMAP_IMAGE";

/// An exit status (docs/reference/exit-status.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The guest or QEMU left with this status.
    Code(i32),
    /// A signal ended QEMU.
    Signal(i32),
}

impl Exit {
    /// Power-off, or every command succeeded.
    pub const FINE: Self = Self::Code(0);
    /// A command or a self-test failed; with `--exec` also: QEMU refused its arguments.
    pub const COMMAND_FAILED: Self = Self::Code(1);
    /// Panic or unexpected exception.
    pub const PANIC: Self = Self::Code(2);
    /// The machine lacks what was asked for.
    pub const CPU_LACKS: Self = Self::Code(3);
    /// `scripts/qemu` failed, or QEMU under it.
    pub const LAUNCHER_FAILED: Self = Self::Code(125);

    fn of(status: ExitStatus) -> Self {
        match status.code() {
            Some(code) => Self::Code(code),
            None => Self::Signal(status.signal().unwrap_or_default()),
        }
    }
}

impl std::fmt::Display for Exit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Code(0) => f.write_str("status 0 (fine)"),
            Self::Code(1) => f.write_str("status 1 (a command or self-test failed)"),
            Self::Code(2) => f.write_str("status 2 (panic or unexpected exception)"),
            Self::Code(3) => f.write_str("status 3 (the CPU lacks what was asked for)"),
            Self::Code(125) => f.write_str("status 125 (QEMU or its launcher failed)"),
            Self::Code(code) => write!(f, "status {code}"),
            Self::Signal(signal) => write!(f, "ended by signal {signal}"),
        }
    }
}

/// The repository: where `scripts/` and `target/` are.
pub fn root() -> PathBuf {
    // `cargo run` says where the package is now; the compiled-in path serves a binary that is started by itself, and a
    // package of another repository.
    let now = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    let then = Path::new(env!("CARGO_MANIFEST_DIR"));
    let above = |package: &Path| {
        package.ancestors().find(|top| top.join("scripts/qemu").exists()).map(Path::to_path_buf)
    };
    now.as_deref().and_then(above).or_else(|| above(then)).unwrap_or_else(|| then.to_path_buf())
}

/// A QEMU. Dropping it kills the process, if this crate has started it.
pub struct Qemu {
    /// `None`: another program has started it.
    child: Option<Child>,
    console_in: Option<Box<dyn Write + Send>>,
    /// The serial console.
    pub console: Transcript,
    /// QEMU's messages.
    pub complaints: Transcript,
    exit: Option<Exit>,
    /// The child is `scripts/qemu`, and QEMU is the child's.
    has_launcher: bool,
    /// `run=` is on the kernel's command line: the guest reads no lines.
    pub(crate) runs: bool,
}

impl std::fmt::Debug for Qemu {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Qemu").field("child", &self.child).field("exit", &self.exit).finish_non_exhaustive()
    }
}

/// Whether a word of the command line has the boot argument `run=`.
fn has_run(word: &str) -> bool {
    word.match_indices("run=").any(|(at, _)| word[..at].chars().last().is_none_or(|c| c == '=' || c == ' '))
}

fn script(machine: &Machine) -> Command {
    Command::new(machine.launcher.clone().unwrap_or_else(|| root().join("scripts/qemu")))
}

fn add_arguments<'a>(script: &'a mut Command, machine: &Machine) -> &'a mut Command {
    script.args(machine.arguments());
    if let Some(image) =
        machine.kernel.clone().or_else(|| std::env::var_os(IMAGE_VARIABLE).map(PathBuf::from))
    {
        script.arg("--kernel").arg(image);
    }
    if !machine.extra.is_empty() {
        script.arg("--").args(&machine.extra);
    }
    script
}

impl Qemu {
    /// Starts QEMU by `scripts/qemu --exec` for `machine`.
    ///
    /// # Errors
    /// Unknown when the script cannot be started; what QEMU refuses shows later, in its status and complaints.
    pub fn start(machine: &Machine, qmp: Option<&Path>) -> Checked<Self> {
        let mut script = script(machine);
        script.arg("--exec");
        if let Some(socket) = qmp {
            script.arg("--qmp").arg(socket);
        }
        Self::spawn(add_arguments(&mut script, machine))
    }

    /// Starts `scripts/qemu` for `machine` as a person does: the exit status is the script's.
    ///
    /// # Errors
    /// Unknown when the script cannot be started.
    pub fn launch(machine: &Machine) -> Checked<Self> {
        let mut launched = Self::spawn(add_arguments(&mut script(machine), machine))?;
        launched.has_launcher = true;
        Ok(launched)
    }

    /// The process that was started: QEMU itself, unless [`Self::launch`] started it; `None` after [`Self::attach`].
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Takes the serial console of a QEMU that another program has started and will end, such as the two ends of a
    /// socket. A thread reads `output` to its end, also after a drop: shut a socket down before another reader takes it. The exit status is the one that the guest says in its last line.
    pub fn attach(output: impl Read + Send + 'static, input: impl Write + Send + 'static) -> Self {
        Self {
            child: None,
            console_in: Some(Box::new(input)),
            console: Transcript::of(output),
            complaints: Transcript::of(std::io::empty()),
            exit: None,
            has_launcher: false,
            runs: false,
        }
    }

    /// Closes the console's input.
    pub fn end_input(&mut self) {
        self.console_in = None;
    }

    /// Starts any command that behaves like QEMU with its serial console on stdio.
    ///
    /// # Errors
    /// Unknown when it cannot be started.
    pub fn spawn(command: &mut Command) -> Checked<Self> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            Error::Unknown(format!("cannot start {}: {error}", command.get_program().display()))
        })?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return unknown("the child has no pipes");
        };
        let console_in = child.stdin.take().map(|pipe| Box::new(pipe) as Box<dyn Write + Send>);
        Ok(Self {
            child: Some(child),
            console_in,
            console: Transcript::of(stdout),
            complaints: Transcript::of(stderr),
            exit: None,
            has_launcher: false,
            runs: command.get_args().any(|word| has_run(&word.to_string_lossy())),
        })
    }

    /// Types `bytes` on the serial console.
    ///
    /// # Errors
    /// Unknown when QEMU is gone.
    pub fn type_in(&mut self, bytes: &[u8]) -> Checked {
        let Some(pipe) = &mut self.console_in else { return unknown("the console's input is closed") };
        let written = pipe.write_all(bytes).and_then(|()| pipe.flush());
        written.map_err(|error| Error::Unknown(format!("cannot type on the console: {error}")))
    }

    /// The exit, if QEMU has ended; after [`Self::attach`], if the guest has said its status.
    pub fn ended(&mut self) -> Option<Exit> {
        if self.exit.is_none() {
            self.exit = match &mut self.child {
                Some(child) => child.try_wait().ok().flatten().map(Exit::of),
                None => exit_of(&self.console.text()).map(|(status, _)| Exit::Code(status)),
            };
        }
        self.exit
    }

    /// Waits for QEMU to end by itself; afterwards both transcripts are complete.
    ///
    /// # Errors
    /// Unknown when it still runs at the deadline.
    pub fn wait_exit(&mut self, deadline: Deadline) -> Checked<Exit> {
        loop {
            if let Some(exit) = self.ended() {
                self.complete();
                return Ok(exit);
            }
            if deadline.left().is_none() {
                let text = self.console.text();
                return unknown(format!("hang: still running; last line: {:?}", last_line(&text)));
            }
            std::thread::sleep(POLL);
        }
    }

    /// Ends QEMU at once and completes the transcripts. A QEMU that another program has started goes on.
    pub fn kill(&mut self) {
        let running = self.ended().is_none();
        if let Some(child) = self.child.as_mut().filter(|_| running) {
            if self.has_launcher {
                // SIGTERM, which the script passes on: SIGKILL would leave QEMU without a parent.
                drop(Command::new("kill").arg(child.id().to_string()).status());
            } else {
                drop(child.kill());
            }
            self.exit = child.wait().ok().map(Exit::of);
        }
        self.console_in = None;
        self.complete();
    }

    /// Reads to the end what a process that has ended printed. Another program's console may stay open.
    fn complete(&mut self) {
        if self.child.is_some() {
            self.console.join();
            self.complaints.join();
        }
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::{Exit, Qemu, has_run};
    use crate::patience::Deadline;
    use std::process::Command;
    use std::time::Duration;

    fn shell(script: &str) -> Qemu {
        Qemu::spawn(Command::new("sh").args(["-c", script])).expect("sh starts")
    }

    #[test]
    fn the_last_output_and_the_status_are_kept() {
        let mut qemu = shell("printf 'panic: lost'; printf 'qemu: odd' >&2; exit 2");
        assert_eq!(qemu.wait_exit(Deadline::for_step()), Ok(Exit::PANIC));
        assert_eq!(qemu.console.text(), "panic: lost");
        assert_eq!(qemu.complaints.text(), "qemu: odd");
    }

    #[test]
    fn what_is_typed_arrives() {
        let mut qemu = shell("read line; echo \"got $line\"");
        qemu.type_in(b"state\n").expect("typed");
        qemu.wait_exit(Deadline::for_step()).expect("exit");
        assert_eq!(qemu.console.text(), "got state\n");
    }

    #[test]
    fn a_process_that_does_not_end_is_unknown_and_is_killed_on_drop() {
        let mut qemu = shell("echo busy; exec sleep 1000");
        let error = qemu.wait_exit(Deadline::after(Duration::from_millis(50))).expect_err("still running");
        assert!(error.why().starts_with("hang: still running"), "{error}");
        qemu.kill();
        assert_eq!(qemu.ended(), Some(Exit::Signal(9)));
    }

    #[test]
    fn run_is_found_in_a_word_of_its_own_and_behind_other_arguments() {
        let words = ["run=\"mem\"", "script=on run=mem", "name=opt/hotmap/args,string=run=mem"];
        assert!(words.into_iter().all(has_run));
        assert!(!["rerun=mem", "memmap=ram", "run"].into_iter().any(has_run));
    }

    #[test]
    fn a_missing_program_is_unknown() {
        let error = Qemu::spawn(&mut Command::new("/nonexistent/qemu")).expect_err("absent");
        assert!(error.why().contains("cannot start /nonexistent/qemu"), "{error}");
    }
}
