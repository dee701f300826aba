//! Boots the built image on many machines and checks what it does: `make test` runs all of it.

use hotmap_client::patience;
use hotmap_tests::options::Words;
use hotmap_tests::output;
use hotmap_tests::report::{Paint, Verdict};
use hotmap_tests::runner::{Plan, run_all};
use hotmap_tests::say;
use hotmap_tests::suite::{Test, all};
use std::process::ExitCode;

const HELP: &str = "\
usage: boot-tests [OPTIONS] [FILTER...]

Boots target/hotmap.Image on QEMU, on many machines, and checks what it does, where possible by what QEMU itself sees.
With FILTERs, only the tests run whose name contains one of them.

  --list        print the names and run nothing
  --jobs N      how many run in parallel (default 2)
  --long        run the long ones too
  --help        this text

A verdict is passed, failed, unknown (a hang, silence, a plan that does not add up), or skipped (with the reason). Only
passed counts as passed. Transcripts are kept in target/boot-tests/.

HOTMAP_TIMEOUT=3  every time-out is three times as long
HOTMAP_SEED=N     the seed of the `stress` tests (they print theirs)
HOTMAP_IMAGE=path another image
QEMU=path         another QEMU

exit status: 0 at least one test ran, and all that ran passed; 1 otherwise; 2 wrong usage";

fn main() -> ExitCode {
    match run() {
        Ok(fine) if fine => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, String> {
    let words = Words::read(std::env::args().skip(1), &["--list", "--long", "--help", "-h"], &["--jobs"])?;
    if words.has("--help") || words.has("-h") {
        output::line(HELP);
        return Ok(true);
    }
    patience::check()?;
    let tests = chosen(&words);
    if tests.is_empty() {
        return Err(format!("no test's name contains {}; --list shows them", words.rest.join(" or ")));
    }
    if words.has("--list") {
        tests.iter().for_each(|test| say!("{}{}", test.name, if test.long { "  (--long)" } else { "" }));
        return Ok(true);
    }
    let plan =
        Plan { jobs: words.number("--jobs", 2)?, logs: Plan::default_logs(), paint: Paint::for_stdout() };
    let summary = run_all(&tests, &plan);
    let skipped = summary.count(Verdict::Skipped);
    if skipped > 0 {
        say!("{skipped} skipped, for the reasons above");
    }
    output::line(&summary);
    Ok(summary.is_fine() && !output::is_closed())
}

fn chosen(words: &Words) -> Vec<Test> {
    let long = words.has("--long") || words.has("--list");
    let named = |test: &Test| words.rest.is_empty() || words.rest.iter().any(|part| test.name.contains(part));
    let wanted = |test: &Test| (long || !test.long) && named(test);
    all().into_iter().filter(wanted).collect()
}
