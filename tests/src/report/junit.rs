//! JUnit XML, as Jenkins and GitLab read it: a suite for each group, a case for each test.

use super::{Ended, Verdict, tail};
use std::collections::BTreeMap;
use std::fmt::Write;

/// The document.
pub fn document(ends: &[Ended]) -> String {
    let mut groups: BTreeMap<&str, Vec<&Ended>> = BTreeMap::new();
    for ended in ends {
        groups.entry(ended.group()).or_default().push(ended);
    }
    let all: Vec<&Ended> = ends.iter().collect();
    let mut text =
        format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {}>\n", counts("boot-tests", &all));
    for (group, ends) in groups {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  <testsuite {}>", counts(group, &ends));
        ends.iter().for_each(|ended| text.push_str(&case(ended)));
        text.push_str("  </testsuite>\n");
    }
    text + "</testsuites>\n"
}

fn counts(name: &str, ends: &[&Ended]) -> String {
    let count = |verdict| ends.iter().filter(|ended| ended.verdict() == verdict).count();
    let (failed, unknown, skipped) =
        (count(Verdict::Failed), count(Verdict::Unknown), count(Verdict::Skipped));
    let seconds: f64 = ends.iter().map(|ended| ended.took.as_secs_f64()).sum();
    let (name, total) = (escaped(name), ends.len());
    format!(
        "name=\"{name}\" tests=\"{total}\" failures=\"{failed}\" errors=\"{unknown}\" skipped=\"{skipped}\" time=\"{seconds:.3}\""
    )
}

fn case(ended: &Ended) -> String {
    let (name, group, why) = (escaped(&ended.name), escaped(ended.group()), escaped(ended.why()));
    let open =
        format!("<testcase classname=\"{group}\" name=\"{name}\" time=\"{:.3}\"", ended.took.as_secs_f64());
    let console = || escaped(&tail(&ended.transcript));
    match ended.verdict() {
        Verdict::Passed => format!("    {open}/>\n"),
        Verdict::Skipped => format!("    {open}><skipped message=\"{why}\"/></testcase>\n"),
        Verdict::Failed => {
            format!("    {open}><failure message=\"{why}\">{}</failure></testcase>\n", console())
        }
        Verdict::Unknown => format!("    {open}><error message=\"{why}\">{}</error></testcase>\n", console()),
    }
}

/// XML 1.0 has no control characters but tab and line ends (section 2.2).
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::{Ended, Remark};
    use super::document;
    use hotmap_client::error::{Checked, failed, unknown};
    use std::time::Duration;

    #[test]
    fn each_verdict_is_a_case_and_what_is_printed_is_escaped() {
        let ended = |name: &str, outcome: Checked<Remark>| {
            let (took, transcript) = (Duration::from_millis(250), "<\u{1b}[0m & \u{0}\n".to_owned());
            Ended { name: name.into(), outcome, took, transcript, log: None }
        };
        let ends = [
            ended("life/4k", Ok(Remark::Passed("fine".into()))),
            ended("smp/4k", failed("1 < 2 & \"3\"")),
            ended("life/16k", unknown("hang")),
            ended("life/far", Ok(Remark::Skipped("old".into()))),
        ];
        let text = document(&ends);
        let life = r#"<testsuite name="life" tests="3" failures="0" errors="1" skipped="1" time="0.750">"#;
        for part in [
            r#"<testsuites name="boot-tests" tests="4" failures="1" errors="1" skipped="1" time="1.000">"#,
            life,
            r#"<testcase classname="life" name="life/4k" time="0.250"/>"#,
            r#"<failure message="1 &lt; 2 &amp; &quot;3&quot;">"#,
            r#"<error message="hang">"#,
            r#"<skipped message="old"/>"#,
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(text.contains("| &lt;\u{fffd}[0m &amp; \u{fffd}"), "{text}");
        assert!(!text.contains('\u{1b}') && !text.contains('\u{0}'));
    }
}
