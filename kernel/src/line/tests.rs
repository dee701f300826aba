//! Both modes, seen from outside: the lines that come out, and what an independent model of a terminal shows.
extern crate std;

mod complete;
mod random;
mod screen;
mod script;

use super::*;
use screen::Screen;
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

/// Wider than the longest line.
const WIDE: usize = 2000;

/// A person at a terminal, and a shell without commands.
struct Session<'t> {
    reader: LineReader<'t, Sent>,
    sent: Sent,
    /// How much of it the screen has received.
    seen: usize,
    screen: Screen,
    /// What was entered.
    lines: Vec<String>,
}

impl Session<'_> {
    /// The screen receives what was sent, and its answers arrive.
    fn settle(&mut self) {
        let new = self.sent.0.borrow()[self.seen..].to_string();
        self.seen += new.len();
        self.screen.receive(&new);
        if let Some(byte) = self.screen.answers.pop_front() {
            assert_eq!(self.reader.push(byte), None, "an answer is no event");
            self.settle();
        }
    }

    fn types(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match self.reader.push(byte) {
                None => {}
                Some(Event::Complete) => self.reader.complete(&complete::offer),
                Some(Event::Line(line)) => {
                    self.lines.push(line.to_string());
                    self.reader.prompt();
                }
            }
            self.settle();
        }
    }

    fn event(&mut self, event: &str) {
        self.reader.print_async(|out| out.write_str(event).expect("it is a string"));
        self.settle();
    }
}

/// Runs `act` at a prompt on a screen of this width.
fn at<R>(mode: Mode, width: usize, act: impl FnOnce(&mut Session<'_>) -> R) -> R {
    let sent = Sent::default();
    let terminal = Terminal::new(sent.clone());
    let mut reader = LineReader::new(mode, &terminal);
    reader.prompt();
    let mut session = Session { reader, sent, seen: 0, screen: Screen::new(width, 24), lines: Vec::new() };
    session.settle();
    act(&mut session)
}

/// Types `bytes`: the lines that come out, and the screen.
fn typed(mode: Mode, bytes: &[u8]) -> (Vec<String>, String) {
    at(mode, WIDE, |session| {
        session.types(bytes);
        (core::mem::take(&mut session.lines), session.screen.picture())
    })
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
    at(mode, WIDE, |session| {
        session.types(before);
        assert!(session.lines.is_empty());
        session.event(event);
        session.types(after);
        (core::mem::take(&mut session.lines), session.screen.picture())
    })
}

#[test]
fn what_arrives_by_itself_is_printed_above_and_typing_goes_on() {
    for event in ["dimm0: plugged\n", "dimm0: plugged"] {
        let (lines, screen) = interrupted(Mode::Ansi, b"sta", event, b"te\n");
        assert_eq!(
            (lines, screen.as_str()),
            (std::vec!["state".to_string()], "dimm0: plugged\nhotmap> state\nhotmap> |")
        );
        let (lines, screen) = interrupted(Mode::Dumb, b"sta", event, b"te\n");
        let seen = "hotmap> sta\ndimm0: plugged\nhotmap> state\nhotmap> |";
        assert_eq!((lines, screen.as_str()), (std::vec!["state".to_string()], seen));
    }
}

#[test]
fn an_event_in_the_middle_of_a_key_or_of_an_edit_spoils_neither() {
    let (lines, screen) = interrupted(Mode::Ansi, b"ab\x1b[", "event\n", b"Dc\n");
    assert_eq!((lines, screen.as_str()), (std::vec!["acb".to_string()], "event\nhotmap> acb\nhotmap> |"));
    let (lines, screen) = interrupted(Mode::Ansi, b"ab\x1b[D", "event\n", b"c\n");
    assert_eq!((lines, screen.as_str()), (std::vec!["acb".to_string()], "event\nhotmap> acb\nhotmap> |"));
}

#[test]
fn while_a_command_runs_nothing_is_broken_off_and_no_prompt_drawn() {
    for mode in BOTH {
        let picture = at(mode, WIDE, |session| {
            assert_eq!(b"x\n".iter().filter_map(|&byte| session.reader.push(byte)).count(), 1);
            session.event("reply\n");
            assert_eq!(session.reader.line_break(), "", "{mode:?}");
            session.screen.picture()
        });
        assert_eq!(picture, "hotmap> x\nreply\n|", "{mode:?}");
    }
}

#[test]
fn ansi_mode_edits_within_the_line() {
    for (bytes, line, shown) in [
        (&b"ac\x1b[Db"[..], "abc", "ab|c"),
        (b"bc\x01a", "abc", "a|bc"),
        (b"bc\x1b[Ha\x1b[Fd", "abcd", "abcd|"),
        (b"abxc\x1b[D\x7f", "abc", "ab|c"),
        (b"axbc\x01\x1b[C\x1b[3~", "abc", "a|bc"),
        (b"abc\x1b[3~", "abc", "abc|"),
        (b"a c\x1b[D\"b\"", "a \"b\"c", "a \"b\"|c"),
        (b"abcd\x1b[D\x1b[D\x0b", "ab", "ab|"),
        (b"pin one two  \x17", "pin one ", "pin one |"),
        (b"pin one two\x17\x17\x17\x17x", "x", "x|"),
        (b"one two\x1b[D\x17", "one o", "one |o"),
        (b"abc\x15d", "d", "d|"),
    ] {
        let (_, screen) = typed(Mode::Ansi, bytes);
        assert_eq!(screen, std::format!("hotmap> {shown}"));
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

#[test]
fn dumb_mode_erases_a_word_too() {
    let (lines, screen) = typed(Mode::Dumb, b"pin one two \x17three\n\x17");
    assert_eq!(
        (lines, screen.as_str()),
        (std::vec!["pin one three".to_string()], "hotmap> pin one three\nhotmap> |")
    );
}

#[test]
fn ctrl_l_leaves_the_line_on_an_empty_screen() {
    let (lines, screen) = typed(Mode::Ansi, b"a\nbc\x1b[D\x0cd\n");
    assert_eq!(
        (lines, screen.as_str()),
        (std::vec!["a".to_string(), "bdc".to_string()], "hotmap> bdc\nhotmap> |")
    );
}

#[test]
fn a_line_with_a_byte_that_is_not_ascii_is_refused_as_a_whole() {
    for mode in BOTH {
        let (lines, screen) = typed(mode, "caf\u{e9} x\nok\n".as_bytes());
        assert_eq!(lines, ["byte 4 of the line is 0xc3, which is not printable ASCII", "ok"], "{mode:?}");
        assert_eq!(screen, "hotmap> caf x\nhotmap> ok\nhotmap> |", "{mode:?}");
        for drop in ["\x15", "\x03"] {
            let (lines, _) = typed(mode, std::format!("\u{e9}a{drop}b\n").as_bytes());
            assert_eq!(lines, ["b"], "{mode:?}");
        }
    }
    let (lines, bells) = at(Mode::Ansi, WIDE, |session| {
        session.types("a\u{e9}\n\x1b[A\n".as_bytes());
        (session.lines.clone(), session.screen.bells)
    });
    assert_eq!((lines[1].as_str(), bells), ("a", 2), "what was taken is recalled; each byte rings");
}

#[test]
fn arrow_up_finds_the_lines_that_begin_as_the_one_that_is_typed() {
    let up_and_down = |keys: &str| {
        let bytes = std::format!("pin 1\nmem\npin 2\npin 2\nstate\n{keys}\n");
        typed(Mode::Ansi, bytes.as_bytes()).0.pop()
    };
    for (keys, line) in [
        ("\x1b[A", "state"),
        ("p\x1b[A", "pin 2"),
        ("p\x1b[A\x1b[A", "pin 1"),
        ("p\x1b[A\x1b[A\x1b[A", "pin 1"),
        ("p\x1b[A\x1b[A\x1b[B", "pin 2"),
        ("p\x1b[A\x1b[A\x1b[B\x1b[B", "p"),
        ("p\x1b[A\x1b[B\x1b[B\x1b[A", "pin 2"),
        ("x\x1b[A", "x"),
        ("p\x1b[Ax\x1b[A", "pin 2x"),
        ("p\x1b[A\x15m\x1b[A", "mem"),
    ] {
        assert_eq!(up_and_down(keys).as_deref(), Some(line), "{keys:?}");
    }
    // The same line again is no step.
    let (lines, _) = typed(Mode::Ansi, b"pin 2\nmem\npin 2\np\x1b[A\x1b[A\x1b[B\n");
    assert_eq!(lines.last().map(String::as_str), Some("p"));
}

#[test]
fn a_terminal_that_does_not_tell_its_width_has_80_columns() {
    let sent = Sent::default();
    let terminal = Terminal::new(sent.clone());
    let mut reader = LineReader::new(Mode::Ansi, &terminal);
    reader.prompt();
    "x".repeat(100).bytes().for_each(|byte| drop(reader.push(byte)));
    let mut screen = Screen::new(80, 24);
    screen.receive(&sent.0.borrow());
    let rows = screen.rows();
    assert_eq!((rows.len(), rows[0].starts_with("hotmap> <xxx")), (1, true), "{rows:?}");
}
