//! What a program gets (`script=on`).
extern crate std;

use super::super::{MAX_LINE, ScriptReader};
use std::string::{String, ToString};
use std::vec::Vec;

/// What a program gets for `bytes`: the lines as the shell says them.
fn scripted(bytes: &[u8]) -> Vec<String> {
    let mut reader = ScriptReader::new();
    bytes.iter().filter_map(|&byte| reader.push(byte)).map(|line| line.to_string()).collect()
}

#[test]
fn a_programs_line_ends_each_give_one_line_blank_ones_too() {
    assert_eq!(scripted(b"a\nb\rc\r\n\n \t\n\r\r\nd"), ["a", "b", "c", "", "  ", "", ""]);
    assert_eq!(scripted(br#"run "a b" \ ; '"#), [""; 0]);
    assert_eq!(scripted(b"run \"a\tb\" \\ ; '\n"), [r#"run "a b" \ ; '"#]);
}

#[test]
fn a_programs_line_that_is_too_long_or_not_ascii_is_reported_and_the_next_one_is_not() {
    let longest = "x".repeat(MAX_LINE);
    assert_eq!(scripted(std::format!("{longest}\n").as_bytes()), [longest.as_str()]);
    let fault = "the line is longer than 1024 bytes";
    assert_eq!(scripted(std::format!("{longest}x\nok\n").as_bytes()), [fault, "ok"]);
    for (line, byte, column) in
        [("caf\u{e9} x", "0xc3", 4), ("\x1b[A", "0x1b", 1), ("a\0", "0x00", 2), ("ab\x7f", "0x7f", 3)]
    {
        let fault = std::format!("byte {column} of the line is {byte}, which is not printable ASCII");
        assert_eq!(scripted(std::format!("{line}\nok\n").as_bytes()), [fault.as_str(), "ok"]);
    }
    // The first fault of a line is the one that is said.
    assert!(scripted(std::format!("{longest}x\x7f\n").as_bytes())[0].contains("longer"));
    assert!(scripted(std::format!("\x7f{longest}x\n").as_bytes())[0].contains("byte 1 "));
}

#[test]
fn ctrl_c_that_comes_too_late_for_a_programs_command_changes_no_line() {
    assert_eq!(scripted(b"\x03sta\x03te\n\x03\n"), ["state", ""]);
}
