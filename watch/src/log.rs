//! The kernel's log: what the console prints outside of the frames of replies.

/// Takes log lines out of the console's text.
#[derive(Default, Debug)]
pub struct Log {
    in_frame: bool,
}

impl Log {
    /// The log lines of `text`, whole lines that follow those of the last call.
    pub fn take(&mut self, text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for line in text.lines() {
            let word = line.split(' ').next().unwrap_or_default();
            let framing = matches!(word, "begin" | "end" | "ready")
                && line[word.len()..].chars().all(|c| c == ' ' || c.is_ascii_digit());
            if framing {
                self.in_frame = word == "begin";
            } else if !self.in_frame && !line.trim().is_empty() {
                lines.push(line.to_owned());
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::Log;

    #[test]
    fn replies_are_left_out_and_what_arrives_by_itself_is_kept() {
        let mut log = Log::default();
        assert_eq!(
            log.take("ready 1\nbegin 1\n{\"schema\":1}\nend 1 0\ndimm0: 1 claim sections\n"),
            ["dimm0: 1 claim sections"]
        );
        assert_eq!(log.take("begin 2\n{}\n"), Vec::<String>::new());
        assert_eq!(log.take("more of it\nend 2 0\n\nend of the world\n"), ["end of the world"]);
    }
}
