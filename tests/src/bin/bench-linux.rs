//! hotmap and Debian's Linux on the same QEMU, measured in one run: `make bench-linux`.

use hotmap_client::error::{Checked, During, Error};
use hotmap_client::geometry::GRANULES;
use hotmap_client::patience;
use hotmap_client::qemu::root;
use hotmap_client::run::Run;
use hotmap_tests::bench::{self, costs};
use hotmap_tests::linux::guest::{CPU, qemu};
use hotmap_tests::linux::kernels::{self, Kernels};
use hotmap_tests::linux::plan::Plan;
use hotmap_tests::linux::record::{HOTMAP, Record};
use hotmap_tests::linux::{hotmap, table};
use hotmap_tests::options::Words;
use hotmap_tests::output;
use std::path::Path;
use std::process::{Command, ExitCode};

const HELP: &str = "\
usage: bench-linux [--json] [--record] [--kernel WORD] | --page

Boots Debian's Linux kernels on the QEMU, CPU and machine that hotmap is measured on, takes DIMMs and virtio memory through
their lives in both, and prints what each operation costs, side by side. scripts/linux fetches the kernels first. Takes 10
to 20 minutes on 2 CPUs.

  --json          print JSON
  --record        write docs/evidence/linux.md, and docs/evidence/linux.json, with which `make bench` compares
  --kernel WORD   measure only kernels whose names contain it, such as hotmap, 6.12 and 16k
  --page          write docs/evidence/linux.md again from the recorded figures, without measuring
  --help          this text

The progress is on standard error. QEMU=path chooses QEMU. exit status: 0 measured; 1 something could not be measured, which
the last lines name; 2 wrong usage, or nothing could be measured";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(sentence) => {
            eprintln!("error: {sentence}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<bool, String> {
    let flags = ["--json", "--record", "--page", "--help", "-h"];
    let words = Words::read(std::env::args().skip(1), &flags, &["--kernel"])?;
    if words.has("--help") || words.has("-h") {
        output::line(HELP);
        return Ok(true);
    }
    if let Some(word) = words.rest.first() {
        return Err(format!("unexpected word {word}; --help lists the options"));
    }
    let folder = root().join("docs/evidence");
    if words.has("--page") {
        return table::save(bench::linux::record(), &folder).map(|()| true);
    }
    patience::check()?;
    let record = measure(words.value("--kernel")).map_err(|error| error.to_string())?;
    if words.has("--json") {
        output::line(serde_json::to_string_pretty(&record).map_err(|error| error.to_string())?);
    } else {
        output::print(table::text(&record));
    }
    if words.has("--record") {
        table::save(&record, &folder)?;
    }
    Ok(record.missing.is_empty())
}

fn measure(only: Option<&str>) -> Checked<Record> {
    if !costs::loads_plugins()? {
        return Err(Error::Unknown(format!("{} loads no plugins: Linux cannot be counted", qemu())));
    }
    let kernels = kernels::fetch()?;
    let plugin = costs::plugin()?;
    let mut record = Record {
        date: first_line("date", "+%F")?,
        command: "make bench-linux RECORD=1".into(),
        qemu: qemu_version()?,
        cpu: CPU.into(),
        missing: kernels.missing.clone(),
        ..Record::default()
    };
    if only.is_none_or(|word| HOTMAP.contains(word)) {
        ours(&mut record, &plugin);
    }
    theirs(&mut record, &kernels, only, &plugin);
    record.explain();
    Ok(record)
}

fn ours(record: &mut Record, plugin: &Path) {
    for granule in GRANULES {
        let column = Run::new("bench").and_then(|run| hotmap::measure(&run, granule, plugin));
        match column.during(&format!("hotmap, {granule}")) {
            Ok(column) => record.columns.push(column),
            Err(error) => record.missing.push(error.to_string()),
        }
    }
}

fn theirs(record: &mut Record, kernels: &Kernels, only: Option<&str>, plugin: &Path) {
    for kernel in &kernels.kernels {
        if only.is_some_and(|word| !kernel.name.contains(word)) {
            continue;
        }
        let mut plan = Plan::new(kernels, kernel, plugin);
        plan.measure();
        record.missing.append(&mut plan.missing);
        record.columns.extend(Some(plan.column).filter(|column| !column.cells.is_empty()));
    }
}

/// `QEMU 7.2.22`.
fn qemu_version() -> Checked<String> {
    let line = first_line(&qemu(), "--version")?;
    let version = line.split(" version ").nth(1).and_then(|rest| rest.split_whitespace().next());
    Ok(format!("QEMU {}", version.unwrap_or(&line)))
}

/// The first line that a program prints.
fn first_line(program: &str, argument: &str) -> Checked<String> {
    let output = Command::new(program).arg(argument).output();
    let output = output.map_err(|error| Error::Unknown(format!("{program}: {error}")))?;
    Ok(String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or_default().to_owned())
}
