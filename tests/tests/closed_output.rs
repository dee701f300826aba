//! The programs end in order when the reader of their standard output is gone.

use std::process::{Command, Stdio};

/// Runs `program` with an output that nothing reads; returns its exit status and standard error.
fn unread(program: &str, argument: &str) -> (Option<i32>, String) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(program);
    let command = command.arg(argument).stdout(writer).stderr(Stdio::piped()).stdin(Stdio::null());
    let output = command.spawn().and_then(std::process::Child::wait_with_output).expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_list_that_nothing_reads_ends_without_a_word() {
    assert_eq!(unread(env!("CARGO_BIN_EXE_boot-tests"), "--list"), (Some(0), String::new()));
}

#[test]
fn a_help_that_nothing_reads_ends_without_a_word() {
    for program in [env!("CARGO_BIN_EXE_boot-tests"), env!("CARGO_BIN_EXE_demo"), env!("CARGO_BIN_EXE_bench")]
    {
        assert_eq!(unread(program, "--help"), (Some(0), String::new()), "{program}");
    }
}
