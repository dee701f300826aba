//! Tests with fixed lines over a socket pair; the boot test `harness/bare-qemu` connects to a real QEMU.

use super::{Qmp, Refusal, is_deleted, ost_of};
use crate::patience::Deadline;
use qapi::qmp::query_version;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": ""}, "capabilities": ["oob"]}}"#;
const OST: &str = r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "ACPI_DEVICE_OST", "data": {"info": {"device": "d0", "source": 3, "status": 130, "slot": "0", "slot-type": "DIMM"}}}"#;
const DELETED: &str = r#"{"timestamp": {"seconds": 1, "microseconds": 3}, "event": "DEVICE_DELETED", "data": {"device": "d0", "path": "/machine/peripheral/d0"}}"#;
const NOVEL: &str =
    r#"{"timestamp": {"seconds": 1, "microseconds": 3}, "event": "FROM_THE_FUTURE", "data": {}}"#;

/// A peer that greets, and answers the n-th command with the n-th script.
fn peer(answers: Vec<String>) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    std::thread::spawn(move || {
        let mut writer = theirs.try_clone().expect("clone");
        writeln!(writer, "{GREETING}").expect("greet");
        let mut commands = BufReader::new(theirs).lines();
        for answer in answers {
            commands.next().expect("a command").expect("read");
            writeln!(writer, "{answer}").expect("answer");
        }
        // Stays open until the other side closes: silence is not an end.
        commands.next();
    });
    ours
}

fn connected(answers: &[&str]) -> Qmp {
    let mut script = vec![r#"{"return": {}}"#.to_owned()];
    script.extend(answers.iter().map(|&answer| answer.to_owned()));
    Qmp::over(peer(script), Deadline::for_step()).expect("greeted")
}

const VERSION: &str = r#"{"return": {"qemu": {"micro": 0, "minor": 0, "major": 10}, "package": "x"}}"#;

#[test]
fn events_before_an_answer_are_kept_in_order_and_unknown_ones_ignored() {
    let mut qmp = connected(&[&format!("{OST}\n{NOVEL}\n{DELETED}\n{VERSION}")]);
    assert_eq!(qmp.version(), (7, 2));
    assert_eq!(qmp.execute(&query_version {}).expect("answer").qemu.major, 10);
    let soon = Deadline::for_step();
    qmp.wait_event("deletion", soon, |event| is_deleted(event, "d0").then_some(())).expect("deleted");
    let status = qmp.wait_event("OST", soon, |event| ost_of(event, "d0").map(|ost| (ost.source, ost.status)));
    assert_eq!(status, Ok((3, 130)), "taking the second event leaves the first");
}

#[test]
fn an_event_of_another_device_is_not_ours() {
    let mut qmp = connected(&[&format!("{OST}\n{VERSION}")]);
    qmp.execute(&query_version {}).expect("answer");
    let soon = Deadline::after(Duration::from_millis(20));
    let error = qmp.wait_event("OST of d1", soon, |event| ost_of(event, "d1").map(drop)).expect_err("d0's");
    assert!(error.why().contains("waiting for OST of d1: hang"), "{error}");
    qmp.forget_events();
    assert!(qmp.events.is_empty());
}

#[test]
fn a_refusal_is_qemus_own_sentence() {
    let mut qmp = connected(&[r#"{"error": {"class": "GenericError", "desc": "a used slot"}}"#]);
    let refusal = qmp.execute(&query_version {}).expect_err("refused");
    assert_eq!(refusal, Refusal::Refused("a used slot".into()));
}

/// QEMU serves one client at a time: the next one waits until the socket is closed.
#[test]
fn dropping_it_closes_the_socket() {
    let (ours, theirs) = UnixStream::pair().expect("a socket pair");
    let mut writer = theirs.try_clone().expect("clone");
    writeln!(writer, "{GREETING}\n{{\"return\": {{}}}}").expect("greet");
    drop(Qmp::over(ours, Deadline::for_step()).expect("greeted"));
    theirs.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
    let read: Result<Vec<String>, _> = BufReader::new(theirs).lines().collect();
    assert_eq!(read.expect("an end, not a time-out").len(), 1, "the command, then the end");
}

#[test]
fn a_closed_socket_is_no_answer() {
    let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
    writeln!(theirs, "{GREETING}").expect("greet");
    drop(theirs);
    assert!(Qmp::over(ours, Deadline::for_step()).is_err());
}

#[test]
fn a_socket_that_does_not_greet_may_have_another_client() {
    let (ours, _theirs) = UnixStream::pair().expect("a socket pair");
    let error = Qmp::over(ours, Deadline::after(Duration::from_millis(20))).expect_err("no greeting");
    assert!(error.why().contains("does another client hold it?"), "{error}");
}
