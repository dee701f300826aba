//! Commands at the guest's prompt, and how the reply to each is found. With `script=on` there is no prompt: [`crate::frame`].
//!
//! A DIMM's log lines may appear between commands at any moment, each time followed by a new prompt. So a reply is not
//! what is printed next: it is what lies between the line with a prompt and the command's echo, and the next prompt at
//! the start of a line.
//!
//! ```text
//!   hotmap> dimm0: inserted, 0x80000000..0xc0000000      <- a log line, printed while the command was typed
//!   hotmap> state                                        <- the echo: the reply starts on the next line
//!   {"version":1,...}                                    <- the reply
//!   hotmap>                                              <- the prompt that ends it
//! ```

/// The guest's prompt.
pub const PROMPT: &str = "hotmap> ";

/// What starts a line that reports a command's failure.
pub const ERROR: &str = "error: ";

/// A command's reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// What was printed, without the last line end.
    pub text: String,
    /// Whether a command of the line failed.
    pub failed: bool,
}

impl Reply {
    /// What a command line printed at the prompt: it failed if there is an error line.
    pub fn of(text: &str) -> Self {
        let failed = text.lines().any(|line| line.starts_with(ERROR));
        Self { text: text.to_owned(), failed }
    }

    /// The first error line's sentence, if the line failed.
    pub fn error(&self) -> Option<&str> {
        let sentence = || self.text.lines().find_map(|line| line.strip_prefix(ERROR));
        self.failed.then(|| sentence().unwrap_or("a failure without an error line"))
    }

    /// The text, or the error's sentence.
    ///
    /// # Errors
    /// The sentence after `error: `.
    pub fn result(self) -> Result<String, String> {
        match self.error() {
            Some(sentence) => Err(sentence.to_owned()),
            None => Ok(self.text),
        }
    }

    /// The value of a machine-readable line `KEY VALUE...`.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')).map(str::trim)
    }
}

/// Finds the reply to `command` in what the console has printed since just before it was typed (cleaned text, which may
/// start within the prompt line). `None` until the reply is complete.
pub fn find_reply(text: &str, command: &str) -> Option<Reply> {
    let echo = format!("{PROMPT}{command}\n");
    let start = line_starts(text).find(|&at| text[at..].starts_with(&echo))? + echo.len();
    let rest = &text[start..];
    let end = line_starts(rest).find(|&at| rest[at..].starts_with(PROMPT))?;
    Some(Reply::of(rest[..end].trim_end_matches('\n')))
}

/// The status and the reason of the line that ends a run, `hotmap: exit N: why`.
pub fn exit_of(text: &str) -> Option<(i32, &str)> {
    text.split_inclusive('\n').rev().find_map(|line| ends_run(line.strip_suffix('\n')?))
}

fn ends_run(line: &str) -> Option<(i32, &str)> {
    let (status, why) = line.strip_prefix("hotmap: exit ")?.split_once(": ")?;
    Some((status.parse().ok()?, why)).filter(|_| !why.is_empty())
}

/// Whether the console waits for a command: the last line is a prompt and nothing else.
pub fn is_at_prompt(text: &str) -> bool {
    text.rsplit('\n').next().is_some_and(|line| line == PROMPT)
}

fn line_starts(text: &str) -> impl Iterator<Item = usize> + '_ {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1))
}

#[cfg(test)]
mod tests {
    use super::{Reply, find_reply, is_at_prompt};

    fn text_of(reply: Option<Reply>) -> Option<String> {
        reply.map(|reply| reply.text)
    }

    #[test]
    fn a_reply_lies_between_its_echo_and_the_next_prompt() {
        let text = "hotmap> mem\nfree 12\nused 3\nhotmap> ";
        assert_eq!(text_of(find_reply(text, "mem")).as_deref(), Some("free 12\nused 3"));
    }

    #[test]
    fn an_empty_reply_is_a_reply() {
        assert_eq!(text_of(find_reply("hotmap> tenant drop\nhotmap> ", "tenant drop")).as_deref(), Some(""));
    }

    #[test]
    fn a_reply_is_not_complete_before_the_prompt_is_in_one_piece() {
        assert_eq!(find_reply("hotmap> mem\nfree 12\nhotmap>", "mem"), None);
        assert_eq!(find_reply("hotmap> mem", "mem"), None);
    }

    #[test]
    fn what_arrives_between_prompt_and_echo_is_not_the_reply() {
        let text = "hotmap> \ndimm0: inserted\nhotmap> state\n{}\nhotmap> ";
        assert_eq!(text_of(find_reply(text, "state")).as_deref(), Some("{}"));
        let redrawn = "hotmap> sta\ndimm0: inserted\nhotmap> state\n{}\nhotmap> ";
        assert_eq!(text_of(find_reply(redrawn, "state")).as_deref(), Some("{}"));
    }

    #[test]
    fn a_prompt_inside_a_line_ends_nothing() {
        let text = "hotmap> help\ntype at hotmap> here\nhotmap> ";
        assert_eq!(text_of(find_reply(text, "help")).as_deref(), Some("type at hotmap> here"));
    }

    #[test]
    fn another_commands_echo_is_not_ours() {
        assert_eq!(find_reply("hotmap> states\nerror: no such command\nhotmap> ", "state"), None);
    }

    #[test]
    fn an_error_line_makes_the_reply_an_error() {
        let reply = Reply::of("offlining 0x40000000\nerror: page 0x40000 is pinned");
        assert_eq!(reply.result(), Err("page 0x40000 is pinned".into()));
        assert_eq!(Reply::of("no error: none").result(), Ok("no error: none".into()));
    }

    #[test]
    fn values_are_found_by_key() {
        let reply = Reply::of("tables 3\ntables_peak 9");
        assert_eq!(reply.value("tables"), Some("3"));
        assert_eq!(reply.value("table"), None);
    }

    #[test]
    fn a_prompt_with_something_typed_is_not_waiting() {
        assert!(is_at_prompt("boot\nhotmap> "));
        assert!(!is_at_prompt("boot\nhotmap> sta"));
        assert!(!is_at_prompt(""));
    }
}
