//! Completion.
extern crate std;

use super::{MAX_LINE, Mode, at, typed};

/// Words for completion.
pub(super) fn offer(text: &str, offer: &mut dyn FnMut(&str)) {
    match text.rsplit_once(' ').map_or("", |(words, _)| words) {
        "" => ["offline", "online", "page", "pin"].into_iter().for_each(offer),
        "offline" => ["0x40000000", "0x48000000"].into_iter().for_each(offer),
        "page" if text.contains(':') => offer("addr:0x80000000"),
        "page" => offer("addr:"),
        _ => {}
    }
}

#[test]
fn tab_completes_what_can_be_meant_and_lists_what_may_be() {
    for (keys, shown) in [
        ("pa\t", "hotmap> page |"),
        ("o\t", "hotmap> o|"),
        ("of\t", "hotmap> offline |"),
        ("offline \t", "hotmap> offline 0x4|"),
        ("offline \t8\t", "hotmap> offline 0x48000000 |"),
        ("mem; of\t", "hotmap> mem; offline |"),
        ("page a\t", "hotmap> page addr:|"),
        ("page a\t\t", "hotmap> page addr:0x80000000 |"),
        ("ofX\x1b[D\t", "hotmap> offline |X"),
        ("nothing\t", "hotmap> nothing|"),
    ] {
        let picture = typed(Mode::Ansi, keys.as_bytes()).1;
        assert_eq!(picture.lines().last(), Some(shown), "{keys:?}: {picture}");
    }
    assert_eq!(typed(Mode::Ansi, b"o\t").1, "offline  online\nhotmap> o|");
    assert_eq!(typed(Mode::Ansi, b"offline \t\t").1, "0x40000000  0x48000000\nhotmap> offline 0x4|");
    let narrow = at(Mode::Ansi, 16, |session| {
        session.types(b"\t");
        (session.screen.rows(), session.screen.bells)
    });
    assert_eq!(narrow.0, ["offline  online", "page  pin", "hotmap>"]);
    assert_eq!(at(Mode::Ansi, 40, |session| (session.types(b"x\t"), session.screen.bells).1), 1);
    // In dumb mode a tab is a blank.
    assert_eq!(typed(Mode::Dumb, b"of\tx\n").0, ["of x"]);
}

#[test]
fn a_completion_that_has_no_room_is_cut_and_the_line_is_good() {
    let full = std::format!("{};pa", "x".repeat(MAX_LINE - 4));
    let (lines, _) = typed(Mode::Ansi, std::format!("{full}\t\n").as_bytes());
    assert_eq!(lines, [std::format!("{full}g")]);
}
