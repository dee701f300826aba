//! One line of KTAP, without its indentation.

/// What a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// `KTAP version 1`: a document starts here.
    Version,
    /// `1..N`.
    Plan(u64),
    /// `ok N name # SKIP why`, `not ok N - name`.
    Result {
        /// N.
        number: u64,
        /// Not `not ok`.
        ok: bool,
        /// The name, without the optional dash.
        name: String,
        /// The reason after `# SKIP`.
        skip: Option<String>,
    },
    /// Begins like a result line, and is not one.
    Malformed(String),
    /// `Bail out!`: the run gives up.
    BailOut(String),
    /// Diagnostics (`# ...`) and everything that is not KTAP.
    Other,
}

/// Reads one line.
pub(super) fn read(text: &str) -> Line {
    if text == "KTAP version 1" {
        return Line::Version;
    }
    if let Some(version) = text.strip_prefix("KTAP version") {
        return Line::Malformed(format!("KTAP version{version}"));
    }
    if let Some(why) = text.strip_prefix("Bail out!") {
        return Line::BailOut(why.trim().to_owned());
    }
    if let Some(count) = text.strip_prefix("1..").and_then(|count| count.trim().parse().ok()) {
        return Line::Plan(count);
    }
    match word_after(text, "not ok") {
        Some(rest) => result(text, false, rest),
        None => word_after(text, "ok").map_or(Line::Other, |rest| result(text, true, rest)),
    }
}

/// What follows `word`, if the text starts with it as a whole word.
fn word_after<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(word)?;
    (rest.is_empty() || rest.starts_with(' ')).then(|| rest.trim_start())
}

fn result(text: &str, ok: bool, rest: &str) -> Line {
    let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    let Ok(number) = number.parse::<u64>() else { return Line::Malformed(text.to_owned()) };
    if number == 0 {
        return Line::Malformed(text.to_owned());
    }
    let rest = rest.trim_start();
    let rest = rest.strip_prefix("- ").unwrap_or(rest);
    let (name, directive) =
        rest.split_once(" # ").or_else(|| Some(("", rest.strip_prefix("# ")?))).unwrap_or((rest, ""));
    let skip = word_after(directive, "SKIP").map(str::to_owned);
    Line::Result { number, ok, name: name.trim().to_owned(), skip }
}

#[cfg(test)]
mod tests {
    use super::{Line, read};

    fn ok(number: u64, name: &str, skip: Option<&str>) -> Line {
        Line::Result { number, ok: true, name: name.into(), skip: skip.map(str::to_owned) }
    }

    #[test]
    fn the_lines_of_the_specification() {
        assert_eq!(read("KTAP version 1"), Line::Version);
        assert_eq!(read("1..12"), Line::Plan(12));
        assert_eq!(read("ok 1 buddy"), ok(1, "buddy", None));
        assert_eq!(read("ok 2 - buddy splits"), ok(2, "buddy splits", None));
        assert_eq!(read("ok 3 dimm # SKIP no slots"), ok(3, "dimm", Some("no slots")));
        assert_eq!(read("ok 4 # SKIP"), ok(4, "", Some("")));
        let not = Line::Result { number: 7, ok: false, name: "walker".into(), skip: None };
        assert_eq!(read("not ok 7 walker"), not);
        assert_eq!(read("Bail out! no memory"), Line::BailOut("no memory".into()));
        assert_eq!(read("# a diagnostic"), Line::Other);
    }

    #[test]
    fn what_pretends_to_be_a_result_is_malformed() {
        for line in ["ok", "not ok", "ok buddy", "not ok x1", "ok -1 x", "ok 0 x", "KTAP version 2"] {
            assert!(matches!(read(line), Line::Malformed(_)), "{line}");
        }
    }

    #[test]
    fn words_that_begin_like_ktap_are_prose() {
        for line in ["okay 1", "oklahoma", "not okay", "1..", "1..x", "", "TAP version 13", "a 1..3 b"] {
            assert_eq!(read(line), Line::Other, "{line}");
        }
    }
}
