//! A guest on another program's QEMU: a console and a control socket, with peers that say fixed words.

use super::{Guest, Phase};
use crate::error::Error;
use crate::patience::Deadline;
use crate::qemu::{Exit, Qemu};
use crate::qmp::Qmp;
use crate::run::Journal;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

/// A console that says `greeting`, and for each line that it reads the next of `replies`. It stays open.
fn console(greeting: &'static str, replies: &'static [&'static str]) -> Qemu {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    std::thread::spawn(move || {
        let mut writer = theirs.try_clone().expect("clone");
        writer.write_all(greeting.as_bytes()).expect("greet");
        let mut lines = BufReader::new(theirs).lines();
        for reply in replies {
            lines.next().expect("a line").expect("read");
            writer.write_all(reply.as_bytes()).expect("reply");
        }
        lines.next();
    });
    Qemu::attach(ours.try_clone().expect("clone"), ours)
}

fn monitor() -> Qmp {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    std::thread::spawn(move || {
        let mut writer = theirs.try_clone().expect("clone");
        let greeting = r#"{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}"#;
        writeln!(writer, "{greeting}").expect("greet");
        for _ in BufReader::new(theirs).lines() {
            writeln!(writer, r#"{{"return": {{}}}}"#).expect("answer");
        }
    });
    Qmp::over(ours, Deadline::for_step()).expect("greeted")
}

fn guest(phase: Phase, greeting: &'static str, replies: &'static [&'static str]) -> Guest {
    let journal = Journal::default();
    Guest::over(console(greeting, replies), monitor(), phase, "a test", &journal).expect("it takes commands")
}

#[test]
fn a_guest_that_boots_is_ready_when_it_says_so() {
    let mut guest = guest(
        Phase::Booting,
        "hotmap 0.1.0\nready 1\n",
        &["begin 1\nfine\nend 1 0\ndimm0: here\n", "begin 2\nend 2 1\n"],
    );
    assert_eq!(guest.tell("mem"), Ok("fine".into()));
    let refusal = guest.tell_in_vain("offline 0");
    assert_eq!(refusal, Ok("a failure without an error line".into()), "the status counts");
}

#[test]
fn the_frames_of_a_guest_that_waits_are_counted_from_the_one_of_a_blank_line() {
    let mut guest = guest(Phase::Waiting, "", &["begin 7\nend 7 0\n", "begin 8\n8\nend 8 0\n"]);
    assert_eq!(guest.tell("mem"), Ok("8".into()));
}

#[test]
fn a_guest_that_does_not_frame_is_asked_at_its_prompt() {
    let mut waiting = guest(Phase::Waiting, "", &["\nhotmap> ", "mem\nfine\nhotmap> "]);
    assert_eq!(waiting.tell("mem"), Ok("fine".into()));
    let mut booting = guest(Phase::Booting, "hotmap 0.1.0\nhotmap> ", &["mem\nfine\nhotmap> "]);
    assert_eq!(booting.tell("mem"), Ok("fine".into()));
}

#[test]
fn the_last_line_of_a_run_is_its_end_although_the_console_stays_open() {
    let mut guest = guest(Phase::Booting, "ready 1\n", &["begin 1\nhotmap: exit 2: a panic\n"]);
    let error = guest.ask("crash").expect_err("it died");
    assert_eq!(error, Error::Failed("the guest ended before the reply to 'crash': exit 2: a panic".into()));
    assert_eq!(guest.wait_exit(), Ok(Exit::PANIC));
}

#[test]
fn a_second_ready_line_is_a_reset_even_if_the_number_of_the_frame_is_the_expected_one() {
    let replies = &["begin 1\nend 1 0\n", "hotmap 0.1.0\nready 1\nbegin 1\nend 1 0\n"];
    let mut later = guest(Phase::Booting, "ready 1\n", replies);
    later.tell("mem").expect("the first boot");
    let error = later.ask("mem").expect_err("a reset");
    assert!(error.why().starts_with("the guest was reset before the reply to 'mem'"), "{error}");
    let mut at_once = guest(Phase::Booting, "ready 1\n", &["ready 1\nbegin 1\nend 1 0\n"]);
    assert!(at_once.ask("mem").is_err_and(|error| error.why().contains("was reset")));
}

#[test]
fn a_command_with_a_line_end_or_ctrl_c_is_not_typed() {
    let mut guest = guest(Phase::Booting, "ready 1\n", &["begin 1\nfine\nend 1 0\n"]);
    for command in ["mem\nmem", "mem\r", "\u{3}"] {
        let error = guest.ask(command).expect_err("two lines, or none");
        assert!(matches!(&error, Error::Failed(why) if why.contains("type_raw")), "{error}");
    }
    assert_eq!(guest.tell("mem"), Ok("fine".into()));
}

#[test]
fn a_guest_that_ends_says_its_last_error_line() {
    let replies = &["error: old: one\nend 1 1\n", "begin 2\nerror: new: two\nhotmap: exit 2: why\n"];
    let mut guest = guest(Phase::Booting, "ready 1\nbegin 1\n", replies);
    guest.ask("old").expect("a reply");
    let error = guest.ask("new").expect_err("it ended");
    assert_eq!(error.why(), "the guest ended before the reply to 'new': exit 2: why; new: two");
}
