//! The framing of the boot argument `script=on`: lines of their own around each reply.
//!
//! ```text
//!   ready 1                 the shell takes lines from now on; 1 is the version of the framing
//!   begin 1                 the first line was read, and its commands run
//!   ...                     what they print
//!   end 1 0                 all of them succeeded; 1: one failed, and its `error: ` line is above
//! ```
//!
//! What arrives by itself (a DIMM) is printed as whole lines, mostly outside of the frames. docs/reference/shell.md has
//! the rules.

use crate::shell::Reply;

/// The line that says that the shell takes lines, with the one version that this crate knows.
pub const READY: &str = "ready 1";

/// Whether the shell has said that it is ready.
pub fn is_ready(text: &str) -> bool {
    whole_lines(text).any(|line| line == READY)
}

/// Finds frame `number` in what the console has printed. `None` until the frame has ended.
pub fn find_frame(text: &str, number: u64) -> Option<Reply> {
    let (begin, end) = (format!("begin {number}"), format!("end {number} "));
    let mut inside = whole_lines(text).skip_while(|line| *line != begin).skip(1);
    let mut lines = Vec::new();
    loop {
        let line = inside.next()?;
        if let Some(status) = line.strip_prefix(&end) {
            return Some(Reply { text: lines.join("\n"), failed: status != "0" });
        }
        lines.push(line);
    }
}

/// Whether the guest has said again that it is ready, before frame `number` ended: it was reset, and counts from 1.
pub fn is_reset(text: &str, number: u64) -> bool {
    let end = format!("end {number} ");
    whole_lines(text).take_while(|line| !line.starts_with(&end)).any(|line| line == READY)
}

/// The number of the last frame that has ended.
pub fn last_frame(text: &str) -> Option<u64> {
    let ended = |line: &str| {
        let (number, status) = line.strip_prefix("end ")?.split_once(' ')?;
        matches!(status, "0" | "1").then_some(())?;
        number.parse().ok()
    };
    whole_lines(text).rev().find_map(ended)
}

/// The lines that have ended.
fn whole_lines(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'))
}

#[cfg(test)]
mod tests {
    use super::{find_frame, is_ready, last_frame};

    const TEXT: &str = "hotmap 0.1.0\nready 1\nbegin 1\nmem 1\nmem 2\nend 1 0\ndimm0: is here\nbegin 2\n\
                        error: offline: no\nend 2 1\nbegin 3\nend 3 0\nbegin 4\nhalf";

    #[test]
    fn a_frame_is_what_lies_between_its_lines() {
        let reply = find_frame(TEXT, 1).expect("the first frame");
        assert_eq!((reply.text.as_str(), reply.failed), ("mem 1\nmem 2", false));
        let reply = find_frame(TEXT, 2).expect("the second frame");
        assert_eq!((reply.error(), reply.failed), (Some("offline: no"), true));
        assert_eq!(find_frame(TEXT, 3).expect("a blank line's").text, "");
    }

    #[test]
    fn a_frame_that_has_not_ended_is_no_reply() {
        assert_eq!(find_frame(TEXT, 4), None);
        assert_eq!(find_frame("begin 1\nend 1 0", 1), None, "its last line is not whole");
        assert_eq!(find_frame(TEXT, 5), None);
        assert_eq!(last_frame(TEXT), Some(3));
    }

    #[test]
    fn words_of_another_line_frame_nothing() {
        let text = "begin 1\nbegin 11\n  end 1 0\nend 12 0\nend 1 0\n";
        assert_eq!(find_frame(text, 1).expect("a frame").text, "begin 11\n  end 1 0\nend 12 0");
        assert!(is_ready("x\nready 1\n") && !is_ready("ready 10\n") && !is_ready("ready 1"));
    }
}
