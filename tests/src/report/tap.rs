//! TAP version 14 (testanything.org): a plan, and a line for each test as it ends.

use super::{Ended, Verdict};

/// What comes before the first test.
pub fn head(total: usize) -> String {
    format!("TAP version 14\n1..{total}\n")
}

/// The lines of one test. Unknown is `not ok`.
pub fn lines(ended: &Ended, number: usize) -> String {
    let (verdict, name) = (ended.verdict(), escaped(&ended.name));
    let why = ended.why();
    match verdict {
        Verdict::Passed => format!("ok {number} - {name}\n{}", diagnostic(ended, verdict)),
        Verdict::Skipped => format!("ok {number} - {name} # SKIP {}\n", escaped(first_line(why))),
        Verdict::Failed | Verdict::Unknown => {
            format!("not ok {number} - {name}\n{}", diagnostic(ended, verdict))
        }
    }
}

/// What comes after the last test: a comment.
pub fn tail(summary: &super::Summary) -> String {
    format!("# {summary}\n")
}

/// A YAML block. A JSON string is a YAML string.
fn diagnostic(ended: &Ended, verdict: Verdict) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let mut text = format!(
        "  ---\n  verdict: {}\n  message: {}\n  duration_ms: {}\n",
        verdict.word().to_lowercase(),
        quoted(ended.why()),
        ended.took.as_millis()
    );
    if let Some(log) = &ended.log {
        text.push_str(&format!("  transcript: {}\n", quoted(log)));
    }
    text + "  ...\n"
}

/// `#` begins a directive, and a backslash makes it plain.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('#', "\\#")
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::{Ended, Remark};
    use super::{head, lines};
    use hotmap_client::error::{Checked, failed, unknown};
    use std::time::Duration;

    fn ended(name: &str, outcome: Checked<Remark>) -> Ended {
        let (took, log) = (Duration::from_millis(420), Some("target/x.log".into()));
        Ended { name: name.into(), outcome, took, transcript: String::new(), log }
    }

    #[test]
    fn each_verdict_is_a_line_of_tap() {
        assert_eq!(head(3), "TAP version 14\n1..3\n");
        let passed = lines(&ended("life/4k", Ok(Remark::Passed("a \"b\"".into()))), 1);
        let block = "  ---\n  verdict: passed\n  message: \"a \\\"b\\\"\"\n  duration_ms: 420\n  transcript: \"target/x.log\"\n  ...\n";
        assert_eq!(passed, format!("ok 1 - life/4k\n{block}"));
        let skipped = lines(&ended("a", Ok(Remark::Skipped("no #7\nmore".into()))), 2);
        assert_eq!(skipped, "ok 2 - a # SKIP no \\#7\n");
        for outcome in [failed("one\ntwo"), unknown("one\ntwo")] {
            let text = lines(&ended("a#b", outcome), 3);
            assert!(
                text.starts_with("not ok 3 - a\\#b\n  ---\n") && text.contains("\"one\\ntwo\""),
                "{text}"
            );
        }
    }
}
