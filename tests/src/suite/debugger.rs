//! A debugger beside a guest, and the names of functions in a log.

use super::test::{Test, slotted};
use hotmap_client::error::{Checked, Error, failed};
use hotmap_client::geometry::Granule;
use hotmap_client::guest::{Guest, run_to_end};
use hotmap_client::qemu::root;
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;

/// The tests with a debugger are there if a debugger is.
pub(super) fn tests() -> Vec<Test> {
    let mut tests = vec![Test::new("debugger/symbolize", a_backtrace_in_a_log_names_its_functions)];
    if script("gdb").arg("--which").output().is_ok_and(|asked| asked.status.success()) {
        tests.push(Test::new("debugger/breakpoint", a_breakpoint_shows_who_called_and_the_source));
        tests.push(Test::new("debugger/attach", a_running_guest_is_stopped_and_goes_on));
    }
    tests
}

fn script(name: &str) -> Command {
    Command::new(root().join("scripts").join(name))
}

/// What the host refuses is no result of the test.
fn done<T>(what: &str, result: std::io::Result<T>) -> Checked<T> {
    result.map_err(|error| Error::Unknown(format!("cannot {what}: {error}")))
}

/// What `make image` has linked.
fn elf() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    target.join("aarch64-unknown-none-softfloat/release/hotmap")
}

/// A TCP port that is free now.
fn free_port() -> Checked<u16> {
    let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    Ok(done("find a free port", address)?.port())
}

/// What a command prints, on both streams; it must succeed.
fn output(run: &Run, command: &mut Command) -> Checked<String> {
    let ended = done("run a script", command.output())?;
    let text = [&ended.stdout, &ended.stderr].map(|stream| String::from_utf8_lossy(stream)).concat();
    run.journal.add(&text);
    ensure!(ended.status.success(), "{command:?} left with {}: {text}", ended.status);
    Ok(text)
}

/// `scripts/gdb OPTIONS ELF ARGUMENTS` with a debugger that runs `commands`.
fn debug(run: &Run, commands: &str, options: &[&str], arguments: &[&str]) -> Checked<String> {
    let file = run.path("commands.gdb");
    let written = std::fs::write(&file, format!("set pagination off\n{commands}"));
    done("write the debugger's commands", written)?;
    output(run, script("gdb").args(options).arg("--batch").arg(&file).arg(elf()).args(arguments))
}

/// Each of `names` in `text`, in this order.
fn in_order(text: &str, names: &[&str]) -> Checked {
    let mut rest = text;
    for name in names {
        match rest.split_once(name) {
            Some((_, after)) => rest = after,
            None => return failed(format!("no {name} in its place in: {text}")),
        }
    }
    Ok(())
}

/// From the instruction that faults up to the first function of the kernel.
fn a_backtrace_in_a_log_names_its_functions(run: &Run) -> Checked<String> {
    let finished = run_to_end(run, &slotted(Granule::K4).append("run=\"crash\""))?;
    let log = run.path("log");
    done("write the log", std::fs::write(&log, &finished.text))?;
    let named = output(run, script("symbolize").arg("--elf").arg(elf()).arg(&log))?;
    in_order(&named, &["  backtrace\n    0xffff", "hotmap_shell::harm::crash", "hotmap_shell::run"])?;
    in_order(&named, &["hotmap_shell::run", "hotmap_kernel::commands::kernel_main", "hotmap: exit 2"])?;
    ensure!(!named.contains("warning"), "{named}");
    let same = |text: &str| text.lines().take_while(|line| !line.starts_with("  backtrace")).count();
    ensure_eq!(same(&named), same(&finished.text), "lines before the backtrace");
    Ok(String::new())
}

/// A guest that is stopped from its first instruction on. The release image has line tables alone: its functions have no
/// paths in a debugger.
fn a_breakpoint_shows_who_called_and_the_source(run: &Run) -> Checked<String> {
    let commands = "hbreak kernel_main\ncontinue\nbacktrace\nlist\nkill\n";
    let port = free_port()?.to_string();
    let said = debug(run, commands, &["--port", &port], &["--append", "run=\"mem\""])?;
    in_order(&said, &["#0  kernel_main (", "#1  ", " in high_main (", "pub fn kernel_main"])?;
    Ok(String::new())
}

/// A guest that waits for input: it is found in its main loop, and knows nothing of it.
fn a_running_guest_is_stopped_and_goes_on(run: &Run) -> Checked<String> {
    let port = free_port()?.to_string();
    let server = format!("tcp:127.0.0.1:{port}");
    let mut guest = Guest::boot(run, &slotted(Granule::K4).extra(["-gdb", &server]))?;
    let said = debug(run, "backtrace\ndetach\n", &["--attach", "--port", &port], &[])?;
    in_order(&said, &["idle (", "interact (", "kernel_main ("])?;
    guest.tell("mem")?;
    guest.finish()?;
    Ok(String::new())
}
