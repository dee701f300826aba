//! Reads KTAP version 1, the output of the kernel's self-tests, strictly.
//!
//! The format is the Linux kernel's (Documentation/dev-tools/ktap.rst): a version line, a plan, numbered result lines,
//! subtests indented above the result line that sums them up. A document that is not conclusive (no plan, fewer or more
//! results than planned, a number twice, a parent that disagrees with its children) has *faults*, and a run with faults
//! is unknown, which is not passed.

use crate::qemu::Exit;

mod line;

use line::Line;

/// One result line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The name as printed.
    pub name: String,
    /// `ok`, not `not ok`.
    pub ok: bool,
    /// `# SKIP` and its reason: it did not run.
    pub skip: Option<String>,
    /// The subtests above it.
    pub subtests: Option<Document>,
}

/// Everything under one version line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// N of `1..N`.
    pub plan: Option<u64>,
    /// The result lines in order.
    pub outcomes: Vec<Outcome>,
    /// The faults of this document and of its subtests.
    pub faults: Vec<String>,
}

/// Counts of a document's leaves: a result line with subtests counts as its subtests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// `ok` and run.
    pub passed: u64,
    /// `not ok`.
    pub failed: u64,
    /// `# SKIP`.
    pub skipped: u64,
}

impl std::ops::Add for Tally {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            skipped: self.skipped + other.skipped,
        }
    }
}

impl Document {
    /// Adds a result line, taking `subtests` under it.
    fn add(&mut self, number: u64, mut outcome: Outcome, subtests: Option<Document>) {
        let expected = self.outcomes.len() as u64 + 1;
        let name = &outcome.name;
        match self.plan {
            None => self.faults.push(format!("result {number} ({name}) before any plan")),
            Some(plan) if expected > plan => {
                self.faults.push(format!("result {number} ({name}) beyond the plan 1..{plan}"))
            }
            Some(_) if number != expected => {
                self.faults.push(format!("result {number} ({name}) where {expected} was due"))
            }
            Some(_) => {}
        }
        if let Some(below) = &subtests {
            self.faults.extend(below.faults.iter().map(|fault| format!("{name}: {fault}")));
            let one_failed = below.outcomes.iter().any(|outcome| !outcome.ok);
            if one_failed == outcome.ok {
                self.faults.push(format!("{name} disagrees with its subtests"));
            }
        }
        outcome.subtests = subtests;
        self.outcomes.push(outcome);
    }

    /// Notes what is missing at the end of the document.
    fn close(&mut self) {
        let ran = self.outcomes.len() as u64;
        match self.plan {
            None => self.faults.push("no plan".into()),
            Some(0) => self.faults.push("an empty plan".into()),
            Some(plan) if ran < plan => self.faults.push(format!("ended after {ran} of {plan} results")),
            Some(_) => {}
        }
    }

    /// Counts the leaves.
    pub fn tally(&self) -> Tally {
        self.outcomes.iter().fold(Tally::default(), |tally, outcome| {
            tally
                + match (&outcome.subtests, &outcome.skip) {
                    (Some(below), _) => below.tally(),
                    (None, Some(_)) if outcome.ok => Tally { skipped: 1, ..Tally::default() },
                    (None, _) if outcome.ok => Tally { passed: 1, ..Tally::default() },
                    (None, _) => Tally { failed: 1, ..Tally::default() },
                }
        })
    }

    /// The names of the leaves that ran and had no result.
    pub fn unknown(&self) -> Vec<&str> {
        let leaf =
            |outcome: &Outcome| outcome.skip.as_deref().is_some_and(|why| why.ends_with(NOTHING_IS_KNOWN));
        let own = |outcome| if leaf(outcome) { vec![outcome.name.as_str()] } else { Vec::new() };
        self.outcomes.iter().flat_map(|o| o.subtests.as_ref().map_or_else(|| own(o), Self::unknown)).collect()
    }

    /// The names of the leaves that are `not ok`, with their parents' names in front.
    pub fn failures(&self) -> Vec<String> {
        let mut names = Vec::new();
        for outcome in self.outcomes.iter().filter(|outcome| !outcome.ok) {
            let below = outcome.subtests.iter().flat_map(Document::failures);
            let below: Vec<String> = below.map(|name| format!("{}: {name}", outcome.name)).collect();
            if below.is_empty() {
                names.push(outcome.name.clone());
            }
            names.extend(below);
        }
        names
    }
}

/// A document that is not complete, and its column.
struct Open {
    column: usize,
    document: Document,
    /// Complete subtests whose result line comes next.
    below: Option<Document>,
}

/// Reads every KTAP document in a transcript; other lines (a boot log, a shell) may stand between, before and after.
#[derive(Default)]
struct Reader {
    finished: Vec<Document>,
    open: Vec<Open>,
}

impl Reader {
    fn read(&mut self, column: usize, line: Line) {
        match line {
            Line::Version => self.version(column),
            Line::Plan(count) => self.plan(column, count),
            Line::Result { number, ok, name, skip } => {
                self.result(column, number, Outcome { name, ok, skip, subtests: None });
            }
            Line::Malformed(text) => self.fault(format!("not a result line: {text:?}")),
            Line::BailOut(why) => self.fault(format!("bailed out: {why}")),
            Line::Other => {}
        }
    }

    fn version(&mut self, column: usize) {
        self.close_from(column);
        self.open.push(Open { column, document: Document::default(), below: None });
    }

    fn plan(&mut self, column: usize, count: u64) {
        self.close_from(column + 1);
        match self.open.last_mut().filter(|open| open.column == column) {
            Some(open) if open.document.plan.is_none() && open.document.outcomes.is_empty() => {
                open.document.plan = Some(count);
            }
            Some(open) => open.document.faults.push(format!("a second or late plan 1..{count}")),
            None => self.fault(format!("plan 1..{count} without a version line")),
        }
    }

    fn result(&mut self, column: usize, number: u64, outcome: Outcome) {
        self.close_from(column + 1);
        match self.open.last_mut().filter(|open| open.column == column) {
            Some(open) => {
                let below = open.below.take();
                open.document.add(number, outcome, below);
            }
            None => self.fault(format!("result {number} ({}) without a version line", outcome.name)),
        }
    }

    /// Completes the documents at `column` or right of it.
    fn close_from(&mut self, column: usize) {
        while let Some(mut open) = self.open.pop_if(|open| open.column >= column) {
            open.document.close();
            if let Some(orphan) = open.below.take() {
                open.document.faults.push("subtests without a result line under them".into());
                open.document.faults.extend(orphan.faults);
            }
            match self.open.last_mut() {
                Some(parent) if parent.below.is_none() => parent.below = Some(open.document),
                Some(parent) => parent.document.faults.push("subtests twice under one result".into()),
                None => self.finished.push(open.document),
            }
        }
    }

    fn fault(&mut self, sentence: String) {
        match self.open.last_mut() {
            Some(open) => open.document.faults.push(sentence),
            None => self.finished.push(Document { plan: None, outcomes: Vec::new(), faults: vec![sentence] }),
        }
    }
}

/// Every document in the text, in order.
pub fn parse(text: &str) -> Vec<Document> {
    let mut reader = Reader::default();
    for line in text.lines() {
        let trimmed = line.trim_start_matches(' ');
        reader.read(line.len() - trimmed.len(), line::read(trimmed.trim_end()));
    }
    reader.close_from(0);
    reader.finished
}

/// What a run of self-tests says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every result is `ok`, and plan, count and exit status agree.
    Passed,
    /// A result is `not ok`.
    Failed,
    /// Nothing is known: no plan, results that do not add up, an exit status that contradicts them.
    Unknown,
}

/// The outcome of a self-test run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Why, when it is not passed.
    pub why: String,
    /// The counts, for the report.
    pub tally: Tally,
}

/// How the reason of a skip ends if the test ran, and what it waited for did not happen.
const NOTHING_IS_KNOWN: &str = "nothing is known";

/// Judges a run of `expected` self-test plans: passed only if plans, result lines and exit status agree.
pub fn judge(text: &str, expected: usize, exit: Exit) -> Judgement {
    let documents = parse(text);
    let tally = documents.iter().map(Document::tally).fold(Tally::default(), |sum, tally| sum + tally);
    let faults: Vec<&str> =
        documents.iter().flat_map(|document| &document.faults).map(String::as_str).collect();
    let failures: Vec<String> = documents.iter().flat_map(Document::failures).collect();
    let (verdict, why) = if documents.is_empty() {
        (Verdict::Unknown, format!("no KTAP output; {exit}"))
    } else if !faults.is_empty() {
        (Verdict::Unknown, format!("KTAP does not add up: {}; {exit}", faults.join("; ")))
    } else if documents.len() != expected {
        (Verdict::Unknown, format!("{} KTAP plans where {expected} were expected; {exit}", documents.len()))
    } else if !failures.is_empty() && exit == Exit::FINE {
        (Verdict::Unknown, format!("status 0 although not ok: {}", failures.join(", ")))
    } else if !failures.is_empty() {
        (Verdict::Failed, format!("not ok: {}", failures.join(", ")))
    } else if exit != Exit::FINE {
        (Verdict::Unknown, format!("every result is ok, but {exit}"))
    } else if let unknown = documents.iter().flat_map(Document::unknown).collect::<Vec<_>>()
        && !unknown.is_empty()
    {
        (Verdict::Unknown, format!("{NOTHING_IS_KNOWN} of: {}", unknown.join(", ")))
    } else if tally.passed == 0 {
        (Verdict::Unknown, "every test was skipped".into())
    } else {
        (Verdict::Passed, String::new())
    };
    Judgement { verdict, why, tally }
}

#[cfg(test)]
mod tests;
