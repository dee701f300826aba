//! Both modes, seen from outside: the lines that come out, and a screen drawn from the echo by an independent model of a
//! terminal.
extern crate std;

use super::*;
use std::rc::Rc;
use std::string::{String, ToString};
use std::vec::Vec;

/// Everything that was sent.
#[derive(Clone, Default)]
struct Sent(Rc<std::cell::RefCell<String>>);

impl fmt::Write for Sent {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.borrow_mut().push_str(text);
        Ok(())
    }
}

/// The screen after `sent`, with `|` where the cursor is: ECMA-48 as far as a line editor goes, on a terminal of endless
/// width that takes LF for CRLF.
fn screen(sent: &str) -> String {
    let (mut rows, mut column) = (std::vec![Vec::new()], 0_usize);
    let mut chars = sent.chars();
    while let Some(c) = chars.next() {
        let row = rows.last_mut().expect("there is always a row");
        match c {
            '\n' => (rows.push(Vec::new()), column = 0).0,
            '\r' => column = 0,
            '\x08' => column = column.saturating_sub(1),
            '\x1b' => {
                let sequence: String = chars.by_ref().take_while(|c| !"CDK@P".contains(*c)).collect();
                let end = sent[..sent.len() - chars.as_str().len()].chars().next_back();
                match (sequence.as_str(), end) {
                    ("[", Some('C')) => column += 1,
                    ("[", Some('D')) => column = column.checked_sub(1).expect("left of the first column"),
                    ("[2", Some('K')) => row.iter_mut().for_each(|c| *c = ' '),
                    ("[", Some('@')) => row.insert(column, ' '),
                    ("[", Some('P')) => drop((column < row.len()).then(|| row.remove(column))),
                    other => panic!("the terminal was sent {other:?}"),
                }
            }
            c => {
                assert!(!c.is_control(), "the terminal was sent {c:?}");
                row.resize(row.len().max(column + 1), ' ');
                row[column] = c;
                column += 1;
            }
        }
    }
    let row = rows.last_mut().expect("there is always a row");
    while row.len() > column && row.last() == Some(&' ') {
        row.pop();
    }
    row.resize(row.len().max(column), ' ');
    row.insert(column, '|');
    rows.iter()
        .map(|row| row.iter().collect::<String>().trim_end().to_string())
        .collect::<Vec<_>>()
        .join("\n")
}

/// Types `bytes` at the prompt as a shell without commands would take them: the lines, and the screen.
fn typed(mode: Mode, bytes: &[u8]) -> (Vec<String>, String) {
    let sent = Sent::default();
    let terminal = Terminal::new(sent.clone());
    let mut reader = LineReader::new(mode, &terminal);
    reader.prompt();
    let mut lines = Vec::new();
    for &byte in bytes {
        if let Some(line) = reader.push(byte) {
            lines.push(line.to_string());
            reader.prompt();
        }
    }
    (lines, screen(&sent.0.borrow()))
}

const BOTH: [Mode; 2] = [Mode::Dumb, Mode::Ansi];

#[test]
fn semicolons_separate_commands_and_empty_ones_are_none() {
    let of = |text| commands(text).collect::<Vec<_>>();
    assert_eq!(of("mem"), ["mem"]);
    assert_eq!(of(" tenant new 1;state ;; audit; "), ["tenant new 1", "state", "audit"]);
    assert!(of(" ; ;").is_empty());
}

#[test]
fn a_line_comes_out_as_it_was_typed_quotes_options_spaces_and_all() {
    for mode in BOTH {
        for text in
            ["state", "walk  pfn:7", r#"run "a b" --opt=x \ "\" '"#, "--help", "-h x", r#"""#, "help me"]
        {
            let (lines, screen) = typed(mode, std::format!("{text}\n").as_bytes());
            assert_eq!(lines, [text], "{mode:?}");
            assert_eq!(screen, std::format!("hotmap> {text}\nhotmap> |"), "{mode:?}");
        }
    }
}

#[test]
fn every_line_end_ends_one_line_and_blank_lines_only_prompt_again() {
    for mode in BOTH {
        let (lines, screen) = typed(mode, b"a\nb\rc\r\n\n  \r\nd\n");
        assert_eq!(lines, ["a", "b", "c", "d"], "{mode:?}");
        assert_eq!(
            screen, "hotmap> a\nhotmap> b\nhotmap> c\nhotmap>\nhotmap>\nhotmap> d\nhotmap> |",
            "{mode:?}"
        );
    }
}

#[test]
fn backspace_and_del_take_back_one_character_and_stop_at_the_prompt() {
    for mode in BOTH {
        let (lines, screen) = typed(mode, b"\x08abx\x08c\x7f\x7f\x7f\x7f\x7f\x7fst\"\x08ate");
        assert_eq!(lines, [""; 0]);
        assert_eq!(screen, "hotmap> state|", "{mode:?}");
    }
}

#[test]
fn ctrl_u_and_ctrl_c_drop_the_line() {
    for mode in BOTH {
        for key in ["\x15", "\x03"] {
            let (lines, screen) = typed(mode, std::format!("rm all{key}state\n").as_bytes());
            assert_eq!(lines, ["state"], "{mode:?}");
            assert!(screen.ends_with("\nhotmap> |") && !screen.contains("state\nhotmap> state"), "{screen}");
            assert!(screen.contains("hotmap> state"), "{screen}");
        }
    }
}

#[test]
fn the_longest_line_passes_and_a_longer_one_is_reported_whatever_is_in_it() {
    for mode in BOTH {
        for fill in ["x", " x", "\" ", "\\"] {
            let longest = std::format!("y{}", fill.repeat(1023))[..1024].to_string();
            let (lines, _) = typed(mode, std::format!("{longest}\n").as_bytes());
            assert_eq!(lines, [longest.as_str()], "{mode:?}");
            for more in [1, 2, 1500] {
                let (lines, _) = typed(mode, std::format!("{longest}{}\nok\n", "z".repeat(more)).as_bytes());
                assert_eq!(lines, ["the line is longer than 1024 bytes", "ok"], "{mode:?}");
            }
        }
    }
}

#[test]
fn a_character_that_had_no_room_is_not_forgotten() {
    for mode in BOTH {
        // In ANSI mode 1024 quotes fill the crate's buffer to the byte.
        let full = "\"".repeat(1024);
        assert_eq!(typed(mode, std::format!("{full}\n").as_bytes()).0, [full.as_str()], "{mode:?}");
        for more in ["\"", "x", "\"\x08\x08\x08"] {
            let (lines, _) = typed(mode, std::format!("{full}{more}\nok\n").as_bytes());
            assert_eq!(lines, ["the line is longer than 1024 bytes", "ok"], "{mode:?}");
        }
        let (lines, _) = typed(mode, std::format!("{full}\"\x15ok\n").as_bytes());
        assert_eq!(lines, ["ok"], "dropping the line forgives it, {mode:?}");
    }
}

#[test]
fn dumb_mode_sends_no_escape_sequence_and_no_carriage_return() {
    let sent = Sent::default();
    let terminal = Terminal::new(sent.clone());
    let mut reader = LineReader::new(Mode::Dumb, &terminal);
    reader.prompt();
    for byte in (0..=255_u8).chain(*b"\x1b[A\x1b[C\x1bOHabc\r\n") {
        reader.push(byte);
        reader.print_async(|out| out.write_str("event").expect("it is a string"));
    }
    assert!(!sent.0.borrow().contains(['\x1b', '\r']));
}

#[test]
fn the_prompt_is_sent_in_one_piece() {
    struct Pieces(Rc<std::cell::RefCell<Vec<String>>>);
    impl fmt::Write for Pieces {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0.borrow_mut().push(text.to_string());
            Ok(())
        }
    }
    for mode in BOTH {
        let pieces = Rc::default();
        let terminal = Terminal::new(Pieces(Rc::clone(&pieces)));
        LineReader::new(mode, &terminal).prompt();
        assert_eq!(pieces.borrow().last().map(String::as_str), Some(PROMPT), "{mode:?}");
    }
}

/// Types `before`, lets something print `event`, types `after`.
fn interrupted(mode: Mode, before: &[u8], event: &str, after: &[u8]) -> (Vec<String>, String) {
    let sent = Sent::default();
    let terminal = Terminal::new(sent.clone());
    let mut reader = LineReader::new(mode, &terminal);
    reader.prompt();
    before.iter().for_each(|&byte| assert_eq!(reader.push(byte), None));
    reader.print_async(|out| out.write_str(event).expect("it is a string"));
    let lines = after.iter().filter_map(|&byte| reader.push(byte)).map(|line| line.to_string()).collect();
    (lines, screen(&sent.0.borrow()))
}

#[test]
fn what_arrives_by_itself_is_printed_above_and_typing_goes_on() {
    for event in ["dimm0: plugged\n", "dimm0: plugged"] {
        let (lines, screen) = interrupted(Mode::Ansi, b"sta", event, b"te\n");
        assert_eq!(
            (lines, screen.as_str()),
            (std::vec!["state".to_string()], "dimm0: plugged\nhotmap> state\n|")
        );
        let (lines, screen) = interrupted(Mode::Dumb, b"sta", event, b"te\n");
        let seen = "hotmap> sta\ndimm0: plugged\nhotmap> state\n|";
        assert_eq!((lines, screen.as_str()), (std::vec!["state".to_string()], seen));
    }
}

#[test]
fn an_event_in_the_middle_of_a_key_or_of_an_edit_spoils_neither() {
    let (lines, screen) = interrupted(Mode::Ansi, b"ab\x1b[", "event\n", b"Dc\n");
    assert_eq!((lines, screen.as_str()), (std::vec!["acb".to_string()], "event\nhotmap> acb\n|"));
    // The cursor was before b; the event leaves it at the end.
    let (lines, screen) = interrupted(Mode::Ansi, b"ab\x1b[D", "event\n", b"c\n");
    assert_eq!((lines, screen.as_str()), (std::vec!["abc".to_string()], "event\nhotmap> abc\n|"));
}

#[test]
fn while_a_command_runs_nothing_is_broken_off_and_no_prompt_drawn() {
    for mode in BOTH {
        let sent = Sent::default();
        let terminal = Terminal::new(sent.clone());
        let mut reader = LineReader::new(mode, &terminal);
        reader.prompt();
        assert_eq!(b"x\n".iter().filter_map(|&byte| reader.push(byte)).count(), 1);
        reader.print_async(|out| out.write_str("reply\n").expect("it is a string"));
        assert_eq!(
            (reader.line_break(), screen(&sent.0.borrow()).as_str()),
            ("", "hotmap> x\nreply\n|"),
            "{mode:?}"
        );
    }
}

#[test]
fn ansi_mode_edits_within_the_line() {
    for (bytes, line, at) in [
        (&b"ac\x1b[Db"[..], "abc", "ab|c"),
        (b"bc\x01a", "abc", "a|bc"),
        (b"bc\x1b[Ha\x1b[Fd", "abcd", "abcd|"),
        (b"abxc\x1b[D\x7f", "abc", "ab|c"),
        (b"axbc\x01\x1b[C\x1b[3~", "abc", "a|bc"),
        (b"abc\x1b[3~", "abc", "abc|"),
        (b"a c\x1b[D\"b\"", "a \"b\"c", "a \"b\"|c"),
    ] {
        let (_, screen) = typed(Mode::Ansi, bytes);
        assert_eq!(screen, std::format!("hotmap> {at}"));
        let (lines, _) = typed(Mode::Ansi, &[bytes, b"\n"].concat());
        assert_eq!(lines, [line]);
    }
}

#[test]
fn ansi_mode_recalls_lines_as_they_were_typed() {
    let (lines, screen) = typed(Mode::Ansi, b"pin 5\nrun \"a b\"\n\x1b[A\x1b[A\n\x1b[A\x1b[A\x1b[B\x1b[B!");
    assert_eq!(lines, ["pin 5", "run \"a b\"", "pin 5"]);
    assert!(screen.ends_with("\nhotmap> !|"), "{screen}");
    let (lines, _) = typed(Mode::Ansi, b"run \"a b\"\n\x1b[A --x\n");
    assert_eq!(lines, ["run \"a b\"", "run \"a b\" --x"]);
}

/// Random keys against a model that is a vector and an index.
#[test]
fn random_editing_ends_where_a_plain_model_ends() {
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..300 {
        let (mut bytes, mut model, mut cursor) = (Vec::new(), Vec::<u8>::new(), 0);
        for _ in 0..60 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            match seed >> 60 {
                0 | 1 => (bytes.extend(b"\x1b[D"), cursor = cursor.max(1) - 1).0,
                2 => (bytes.extend(b"\x1b[C"), cursor = model.len().min(cursor + 1)).0,
                3 => (bytes.push(1), cursor = 0).0,
                4 => (bytes.push(5), cursor = model.len()).0,
                5 | 6 => {
                    bytes.push(0x7f);
                    if cursor > 0 {
                        cursor -= 1;
                        model.remove(cursor);
                    }
                }
                7 => {
                    bytes.extend(b"\x1b[3~");
                    if cursor < model.len() {
                        model.remove(cursor);
                    }
                }
                _ => {
                    let typed = b"ab \"\\-xyz"[usize::try_from(seed >> 40 & 0xff).expect("a byte") % 9];
                    bytes.push(typed);
                    model.insert(cursor, typed);
                    cursor += 1;
                }
            }
        }
        let text = String::from_utf8(model).expect("ASCII");
        let shown = std::format!("hotmap> {}|{}", &text[..cursor], &text[cursor..]);
        assert_eq!(typed(Mode::Ansi, &bytes).1.trim_end(), shown.trim_end());
        let lines = typed(Mode::Ansi, &[&bytes[..], b"\n"].concat()).0;
        assert_eq!(lines, if text.trim().is_empty() { Vec::new() } else { std::vec![text] });
    }
}

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
