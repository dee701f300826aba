//! Runs tests in parallel and prints the verdict of each as it ends.

use crate::output;
use crate::report::{Ended, Paint, Remark, Summary, Verdict, lines, tap};
use crate::say;
use crate::suite::Test;
use hotmap_client::error::Checked;
use hotmap_client::qemu::root;
use hotmap_client::run::Run;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Instant;

/// How a set of tests is run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How many at once.
    pub jobs: usize,
    /// Where transcripts go.
    pub logs: PathBuf,
    /// Colours, or none.
    pub paint: Paint,
    /// TAP instead of lines for people.
    pub tap: bool,
}

impl Plan {
    /// The default directory for transcripts.
    pub fn default_logs() -> PathBuf {
        root().join("target/boot-tests")
    }
}

/// Runs all `tests`, prints a line for each, repeats those that did not pass at the end, and returns the counts and the ends.
pub fn run_all(tests: &[Test], plan: &Plan) -> (Summary, Vec<Ended>) {
    let next = AtomicUsize::new(0);
    let (sender, ends) = channel();
    let mut summary = Summary::default();
    let mut all: Vec<Ended> = Vec::new();
    if plan.tap {
        output::print(tap::head(tests.len()));
    }
    let stdout = Mutex::new(());
    std::thread::scope(|scope| {
        for _ in 0..plan.jobs.clamp(1, tests.len().max(1)) {
            let sender = sender.clone();
            let (next, logs) = (&next, &plan.logs);
            scope.spawn(move || work(tests, next, logs, &sender));
        }
        drop(sender);
        for (number, mut ended) in (1..).zip(ends) {
            let _line = stdout.lock();
            output::print(match plan.tap {
                true => tap::lines(&ended, number),
                false => lines(&ended, number, tests.len(), plan.paint),
            });
            summary.add(ended.verdict());
            if ended.verdict() == Verdict::Passed {
                // The log file has it.
                ended.transcript.clear();
            }
            all.push(ended);
        }
    });
    let mut again: Vec<String> =
        all.iter().filter(|ended| ended.verdict() != Verdict::Passed).map(once_more).collect();
    if plan.tap {
        output::print(tap::tail(&summary));
    } else if !again.is_empty() && summary.count(Verdict::Passed) > 0 {
        say!("\nnot passed:");
        again.sort();
        again.iter().for_each(output::line);
    }
    (summary, all)
}

fn once_more(ended: &Ended) -> String {
    let why = ended.why().lines().next().unwrap_or_default();
    format!("  {:<7} {}: {why}", ended.verdict().word(), ended.name)
}

/// One worker: takes the next test until none is left, or standard output is closed.
fn work(tests: &[Test], next: &AtomicUsize, logs: &Path, ends: &Sender<Ended>) {
    while let Some(test) = tests.get(next.fetch_add(1, Ordering::Relaxed)).filter(|_| !output::is_closed()) {
        // The receiver outlives the workers.
        drop(ends.send(run_one(test, logs)));
    }
}

fn run_one(test: &Test, logs: &Path) -> Ended {
    let start = Instant::now();
    let mut transcript = String::new();
    let outcome = Run::new(&test.name).and_then(|run| {
        let outcome = (test.body)(&run);
        transcript = run.journal.text();
        outcome
    });
    let log = save(logs, &test.name, &outcome, &transcript);
    Ended { name: test.name.clone(), outcome, took: start.elapsed(), transcript, log }
}

/// Saves the whole transcript. A full disk does not change the verdict.
fn save(logs: &Path, name: &str, outcome: &Checked<Remark>, transcript: &str) -> Option<String> {
    let path = logs.join(format!("{}.log", name.replace('/', "-")));
    let verdict = match outcome {
        Ok(Remark::Passed(remark)) => format!("passed: {remark}"),
        Ok(Remark::Skipped(why)) => format!("skipped: {why}"),
        Err(error) => format!("{error:?}"),
    };
    std::fs::create_dir_all(logs).ok()?;
    std::fs::write(&path, format!("{transcript}\n=== {name}: {verdict}\n")).ok()?;
    let shown = path.strip_prefix(root()).unwrap_or(&path);
    Some(shown.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::{Plan, run_all};
    use crate::report::{Paint, Remark, Verdict};
    use crate::suite::{Body, Test};
    use hotmap_client::error::{Checked, failed, unknown};
    use hotmap_client::run::Run;

    fn test(name: &str, body: fn(&Run) -> Checked<String>) -> Test {
        let body = move |run: &Run| body(run).map(Remark::from);
        Test { name: name.into(), long: false, body: Box::new(body) as Body }
    }

    #[test]
    fn every_test_runs_once_and_leaves_its_transcript() {
        let logs = tempfile::tempdir().expect("a directory");
        let plan = Plan { jobs: 3, logs: logs.path().to_owned(), paint: Paint::off(), tap: false };
        let mut tests: Vec<Test> =
            (0..10).map(|n| test(&format!("fine/{n}"), |_| Ok("well".into()))).collect();
        tests.push(test("bad", |run| {
            run.journal.add("last words\n");
            failed("untrue")
        }));
        tests.push(test("odd", |_| unknown("silence")));
        let (summary, ends) = run_all(&tests, &plan);
        assert_eq!(ends.len(), tests.len());
        let counts =
            [Verdict::Passed, Verdict::Failed, Verdict::Unknown].map(|verdict| summary.count(verdict));
        assert_eq!(counts, [10, 1, 1]);
        assert!(!summary.is_fine());
        let log = std::fs::read_to_string(logs.path().join("bad.log")).expect("a log");
        assert!(log.contains("last words") && log.contains("untrue"), "{log}");
    }

    #[test]
    fn nothing_to_run_is_not_fine() {
        let plan = Plan { jobs: 2, logs: std::env::temp_dir(), paint: Paint::off(), tap: false };
        assert!(!run_all(&[], &plan).0.is_fine());
    }
}
