//! The clients, each with the cases of clients/cases.json, and the examples.

use super::test::Test;
use crate::cases::{self, Case};
use crate::report::Remark;
use hotmap_client::error::{Checked, failed};
use hotmap_client::patience::Deadline;
use hotmap_client::qemu::{Exit, Qemu, root};
use hotmap_client::run::Run;
use std::process::Command;

/// Programs that must succeed, from the top of the tree.
const PROGRAMS: [(&str, &str, &[&str]); 5] = [
    ("examples/first", "python3", &["examples/first.py"]),
    ("examples/hotplug", "python3", &["-m", "unittest", "examples/test_hotplug.py"]),
    ("examples/first-long-tmpdir", "sh", &["-c", LONG_TMPDIR]),
    ("python/errors", "python3", &["clients/python/test_hotmap.py", "Errors"]),
    ("python/processes", "python3", &["clients/python/test_hotmap.py", "Processes"]),
];
/// The first example with a TMPDIR that is too long for the path of a Unix socket (108 bytes, unix(7)).
const LONG_TMPDIR: &str = "folder=$(mktemp -d /tmp/hotmap-XXXXXX) && trap 'rm -r $folder' EXIT && \
    export TMPDIR=$folder/$(printf %0130d 0) && mkdir $TMPDIR && python3 examples/first.py";

pub(super) fn tests() -> Vec<Test> {
    let table = match cases::table() {
        Ok(table) => table,
        Err(why) => return vec![Test::new("clients/cases", move |_: &Run| failed::<String>(why.clone()))],
    };
    let rust = |case: &Case| {
        let (name, machine) = (case.name.clone(), table.machines.get(&case.machine).cloned());
        let case = case.clone();
        Test::new(format!("clients/rust/{name}"), move |run: &Run| {
            cases::run(run, &case, machine.as_deref().unwrap_or_default())
        })
    };
    let python = |case: &Case| {
        let method = format!("Cases.test_{}", case.name.replace('-', "_"));
        Test::new(format!("clients/python/{}", case.name), move |run: &Run| {
            succeeds(run, "python3", &["clients/python/test_cases.py", &method])
        })
    };
    let programs = PROGRAMS.map(|(name, program, arguments)| {
        Test::new(format!("clients/{name}"), move |run: &Run| succeeds(run, program, arguments))
    });
    let mut tests: Vec<Test> = table.cases.iter().map(rust).collect();
    tests.extend(table.cases.iter().map(python));
    tests.extend(programs);
    tests.push(Test::new("clients/examples/pytest", pytest_runs_the_example));
    tests
}

/// Runs a program from the top of the tree. Its output is the transcript, and its last line the remark.
fn succeeds(run: &Run, program: &str, arguments: &[&str]) -> Checked<String> {
    let (exit, text) = output(run, program, arguments)?;
    let last = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().to_owned();
    if exit == Exit::FINE {
        Ok(last)
    } else {
        failed(format!("{program} {}: {exit}: {last}", arguments.join(" ")))
    }
}

pub(super) fn output(run: &Run, program: &str, arguments: &[&str]) -> Checked<(Exit, String)> {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root()).env("PYTHONDONTWRITEBYTECODE", "1");
    let mut child = Qemu::spawn(&mut command)?;
    child.end_input();
    let exit = child.wait_exit(Deadline::for_steps(2));
    child.kill();
    let text = format!("{}{}", child.console.text(), child.complaints.text());
    run.journal.add(&format!("=== {program} {}\n{text}", arguments.join(" ")));
    Ok((exit?, text))
}

fn pytest_runs_the_example(run: &Run) -> Checked<Remark> {
    if output(run, "python3", &["-m", "pytest", "--version"])?.0 != Exit::FINE {
        return Ok(Remark::Skipped("this Python has no pytest; unittest runs the same file".into()));
    }
    succeeds(run, "python3", &["-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/test_hotplug.py"])
        .map(Into::into)
}
