//! Verdicts, and how they are printed: a line for each test as it ends, the reasons, the counts at the end.

pub mod junit;
pub mod tap;

use hotmap_client::error::{Checked, Error};
use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal;
use std::time::Duration;

/// How many lines of a transcript a failure shows; the log file has all of them.
const TAIL_LINES: usize = 25;
/// How many columns of each line.
const TAIL_COLUMNS: usize = 200;

/// The result of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Everything that the test checks holds.
    Passed,
    /// Something that the test checks does not hold.
    Failed,
    /// The test has no result (a hang, silence): not passed.
    Unknown,
    /// The test did not run, for the reason given: not passed.
    Skipped,
}

impl Verdict {
    /// The word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "FAILED",
            Self::Unknown => "UNKNOWN",
            Self::Skipped => "skipped",
        }
    }
}

/// The group of a test.
pub fn group_of(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

/// What a test returns that did not fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remark {
    /// Passed, with a remark for its line.
    Passed(String),
    /// The test does not apply here (an older QEMU, a small host), with the reason.
    Skipped(String),
}

impl Remark {
    /// The sentence.
    pub fn text(&self) -> &str {
        match self {
            Self::Passed(text) | Self::Skipped(text) => text,
        }
    }
}

impl From<String> for Remark {
    fn from(text: String) -> Self {
        Self::Passed(text)
    }
}

/// One test that has ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// Its name.
    pub name: String,
    /// What it returned: a remark for the line, or the error.
    pub outcome: Checked<Remark>,
    /// Wall time.
    pub took: Duration,
    /// What the guest printed, for the tail.
    pub transcript: String,
    /// Where the whole transcript is.
    pub log: Option<String>,
}

impl Ended {
    /// The sentence: the remark, or why it did not pass.
    pub fn why(&self) -> &str {
        self.outcome.as_ref().map_or_else(Error::why, Remark::text)
    }

    /// The first word of its name.
    pub fn group(&self) -> &str {
        group_of(&self.name)
    }

    /// The verdict.
    pub const fn verdict(&self) -> Verdict {
        match self.outcome {
            Ok(Remark::Passed(_)) => Verdict::Passed,
            Ok(Remark::Skipped(_)) => Verdict::Skipped,
            Err(Error::Failed(_)) => Verdict::Failed,
            Err(Error::Unknown(_)) => Verdict::Unknown,
        }
    }
}

/// The counts of a whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    counts: BTreeMap<Verdict, usize>,
}

impl Summary {
    /// Counts one end.
    pub fn add(&mut self, verdict: Verdict) {
        *self.counts.entry(verdict).or_default() += 1;
    }

    /// How many ended with this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.counts.get(&verdict).copied().unwrap_or_default()
    }

    /// Whether at least one test passed, and none failed or is unknown.
    pub fn is_fine(&self) -> bool {
        self.count(Verdict::Passed) > 0
            && self.count(Verdict::Failed) == 0
            && self.count(Verdict::Unknown) == 0
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |verdict| self.count(verdict);
        let (passed, failed, unknown) =
            (count(Verdict::Passed), count(Verdict::Failed), count(Verdict::Unknown));
        write!(f, "{passed} passed, {failed} failed, {unknown} unknown")
    }
}

/// Colours where a terminal shows them.
#[derive(Clone, Copy, Debug)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// On when stdout is a terminal that is not dumb, and `NO_COLOR` is not set.
    pub fn for_stdout() -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        Self { on: std::io::stdout().is_terminal() && !dumb && std::env::var_os("NO_COLOR").is_none() }
    }

    /// Never.
    pub const fn off() -> Self {
        Self { on: false }
    }

    /// `text` in an SGR colour (ECMA-48 section 8.3.117), e.g. 32 for green.
    pub fn colour(self, code: u8, text: &str) -> String {
        if self.on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn verdict(self, verdict: Verdict) -> String {
        let code = match verdict {
            Verdict::Passed => 32,
            Verdict::Failed => 31,
            Verdict::Unknown => 35,
            Verdict::Skipped => 33,
        };
        self.colour(code, &format!("{:<7}", verdict.word()))
    }
}

/// The line for one test, and, unless it passed, the reason and the end of the guest's transcript.
pub fn lines(ended: &Ended, number: usize, total: usize, paint: Paint) -> String {
    let verdict = ended.verdict();
    let remark = ended.why();
    let width = total.to_string().len();
    let seconds = ended.took.as_secs_f64();
    let word = paint.verdict(verdict);
    let mut text =
        format!("[{number:>width$}/{total}] {word} {:<44} {seconds:>6.2} s  {remark}\n", ended.name);
    if matches!(verdict, Verdict::Failed | Verdict::Unknown) {
        text.push_str(&tail(&ended.transcript));
        if let Some(log) = &ended.log {
            text.push_str(&format!("        transcript: {log}\n"));
        }
    }
    text
}

/// The last lines of a transcript, indented and cut to [`TAIL_COLUMNS`].
pub fn tail(transcript: &str) -> String {
    let lines: Vec<&str> = transcript.lines().collect();
    let cut = lines.len().saturating_sub(TAIL_LINES);
    let shown = lines.get(cut..).unwrap_or_default();
    shown
        .iter()
        .map(|line| format!("      | {}\n", line.chars().take(TAIL_COLUMNS).collect::<String>()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Ended, Paint, Remark, Summary, Verdict, lines};
    use hotmap_client::error::{Checked, failed, unknown};
    use std::time::Duration;

    fn ended(outcome: Checked<Remark>) -> Ended {
        let transcript = (1..=40).map(|n| format!("line {n}\n")).collect();
        let log = Some("target/boot-tests/x.log".into());
        Ended { name: "life/4k".into(), outcome, took: Duration::from_millis(420), transcript, log }
    }

    #[test]
    fn a_pass_is_one_line_with_its_remark() {
        let text = lines(&ended(Ok(Remark::Passed("61 self-tests".into()))), 3, 120, Paint::off());
        assert!(text.starts_with("[  3/120] passed  life/4k "), "{text}");
        assert!(text.ends_with(" 0.42 s  61 self-tests\n"), "{text}");
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn what_did_not_pass_says_why_and_shows_the_end_of_the_transcript() {
        for outcome in [failed("lost a page"), unknown("hang")] {
            let why = outcome.clone().expect_err("error").why().to_owned();
            let text = lines(&ended(outcome), 1, 1, Paint::off());
            assert!(
                text.contains(&why) && text.contains("| line 40\n") && !text.contains("| line 15\n"),
                "{text}"
            );
            assert!(text.contains("transcript: target/boot-tests/x.log"), "{text}");
        }
        assert_eq!(
            lines(&ended(Ok(Remark::Skipped("QEMU 7.2".into()))), 1, 1, Paint::off()).lines().count(),
            1
        );
    }

    #[test]
    fn only_a_run_with_passes_and_nothing_else_is_fine() {
        let sum = |verdicts: &[Verdict]| {
            let mut summary = Summary::default();
            verdicts.iter().for_each(|&verdict| summary.add(verdict));
            summary
        };
        assert!(!sum(&[]).is_fine(), "nothing ran");
        assert!(!sum(&[Verdict::Skipped]).is_fine(), "nothing was asked");
        assert!(sum(&[Verdict::Passed, Verdict::Skipped]).is_fine());
        assert!(!sum(&[Verdict::Passed, Verdict::Unknown]).is_fine());
        assert!(!sum(&[Verdict::Passed, Verdict::Failed]).is_fine());
        assert_eq!(sum(&[Verdict::Passed, Verdict::Failed]).to_string(), "1 passed, 1 failed, 0 unknown");
    }
}
