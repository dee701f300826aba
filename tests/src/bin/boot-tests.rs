//! Boots the built image on many machines and checks what it does: `make test` runs all of it.

use hotmap_client::patience;
use hotmap_tests::manifest;
use hotmap_tests::options::Words;
use hotmap_tests::output;
use hotmap_tests::report::{self, Paint, Verdict};
use hotmap_tests::runner::{Plan, run_all};
use hotmap_tests::say;
use hotmap_tests::suite::{Test, all};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
usage: boot-tests [OPTIONS] [FILTER...]

Boots target/hotmap.Image on QEMU, on many machines, and checks what it does, where possible by what QEMU itself sees.
With FILTERs, only the tests run whose name contains one of them.

  --list        print the names and run nothing
  --group NAMES only these groups: the first words of names, with a blank or a comma between them
  --tap         print TAP version 14
  --manifest    print tests.toml and run nothing
  --jobs N      how many run in parallel (default 2)
  --long        run the long ones too
  --help        this text

A verdict is passed, failed, unknown (a hang, silence, a plan that does not add up), or skipped (with the reason). Only
passed counts as passed. Transcripts are kept in target/boot-tests/, and the results as JUnit XML in
target/boot-tests/junit.xml (JUNIT=path: another file).

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
    let flags = ["--list", "--long", "--tap", "--manifest", "--help", "-h"];
    let words = Words::read(std::env::args().skip(1), &flags, &["--jobs", "--group"])?;
    if words.has("--help") || words.has("-h") {
        output::line(HELP);
        return Ok(true);
    }
    patience::check()?;
    if words.has("--manifest") {
        output::print(manifest::text());
        return Ok(true);
    }
    let tests = chosen(&words)?;
    if tests.is_empty() {
        return Err(format!("no test's name contains {}; --list shows them", words.rest.join(" or ")));
    }
    if words.has("--list") {
        tests.iter().for_each(|test| say!("{}{}", test.name, if test.long { "  (--long)" } else { "" }));
        return Ok(true);
    }
    let (jobs, logs, tap) = (words.number("--jobs", 2)?, Plan::default_logs(), words.has("--tap"));
    std::fs::create_dir_all(&logs).map_err(|error| format!("cannot make {}: {error}", logs.display()))?;
    let junit = std::env::var_os("JUNIT").filter(|path| !path.is_empty());
    let junit = junit.map_or_else(|| logs.join("junit.xml"), PathBuf::from);
    // Before the first test runs: a file that cannot be written loses no results.
    std::fs::File::create(&junit).map_err(|error| unwritable(&junit, &error))?;
    let (summary, ends) = run_all(&tests, &Plan { jobs, logs, paint: Paint::for_stdout(), tap });
    std::fs::write(&junit, report::junit::document(&ends)).map_err(|error| unwritable(&junit, &error))?;
    let skipped = summary.count(Verdict::Skipped);
    if skipped > 0 && !tap {
        say!("{skipped} skipped, for the reasons above");
    }
    if !tap {
        output::line(&summary);
    }
    Ok(summary.is_fine() && !output::is_closed())
}

fn unwritable(junit: &Path, error: &std::io::Error) -> String {
    format!("JUNIT={}: cannot write: {error}", junit.display())
}

/// # Errors
/// A sentence that lists the groups, if one of `--group` is none of them.
fn chosen(words: &Words) -> Result<Vec<Test>, String> {
    let groups = manifest::groups(&all());
    let among: Vec<&str> = words
        .value("--group")
        .unwrap_or_default()
        .split([' ', ','])
        .filter(|group| !group.is_empty())
        .collect();
    if among.is_empty() && words.value("--group").is_some() {
        return Err(format!("--group names no group; there are: {}", groups.join(" ")));
    }
    if let Some(odd) = among.iter().find(|name| !groups.iter().any(|group| group == *name)) {
        return Err(format!("no group is named {odd}; there are: {}", groups.join(" ")));
    }
    let in_group = |test: &Test| among.is_empty() || among.contains(&report::group_of(&test.name));
    let long = words.has("--long") || words.has("--list");
    let named = |test: &Test| words.rest.is_empty() || words.rest.iter().any(|part| test.name.contains(part));
    let wanted = |test: &Test| (long || !test.long) && named(test) && in_group(test);
    Ok(all().into_iter().filter(wanted).collect())
}
