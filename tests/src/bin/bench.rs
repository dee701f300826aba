//! What a DIMM's life costs in guest instructions, beside Linux's figures: `make bench`.

use hotmap_client::error::{During, Error};
use hotmap_client::geometry::{GIB, GRANULES};
use hotmap_client::patience;
use hotmap_client::run::Run;
use hotmap_client::state::Memmap;
use hotmap_tests::bench::measure::{Life, Subject, image_bytes, measure, standard};
use hotmap_tests::bench::migrate;
use hotmap_tests::bench::table::Results;
use hotmap_tests::bench::{alloc, audit, churn, dedup, demand, paid, plot, resize};
use hotmap_tests::options::Words;
use hotmap_tests::output;
use std::path::Path;
use std::process::ExitCode;

const HELP: &str = "\
usage: bench [--json] [--strict] [--churn] [--plot FOLDER]

Takes DIMMs through their lives on QEMU with exact instruction counting, and prints what each operation costs beside
Linux's figures. The counts repeat exactly on the same QEMU.

  --json        print JSON
  --strict      exit status 1 when a goal is missed
  --plot FOLDER also write pictures into FOLDER: growth.svg, memmap.svg
  --churn       measure only what using memory costs with memmap=demand
  --help        this text

The progress is on standard error. exit status: 0 measured; 1 a goal is missed (--strict); 2 wrong usage, or a measurement
that failed";

/// No break-before-make levels, no FEAT_MOPS: the reference.
const REFERENCE: &str = "neoverse-n1";
/// The CPU with all features.
const APART: &str = "max";
/// DIMM sizes for the growth of add, in GiB.
const SIZES: [u64; 4] = [1, 2, 4, 8];

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
    let words = Words::read(
        std::env::args().skip(1),
        &["--json", "--strict", "--churn", "--help", "-h"],
        &["--plot"],
    )?;
    if words.has("--help") || words.has("-h") {
        output::line(HELP);
        return Ok(true);
    }
    if let Some(word) = words.rest.first() {
        return Err(format!("unexpected word {word}; --help lists the options"));
    }
    patience::check()?;
    let only_churn = words.has("--churn");
    let folder = words.value("--plot").map(Path::new);
    // Said before minutes go by.
    if let Some(folder) = folder.filter(|folder| only_churn || !folder.is_dir()) {
        return Err(format!("--plot {}: wants a folder that exists, and all measurements", folder.display()));
    }
    let results =
        if only_churn { measure_churn() } else { measure_all() }.map_err(|(error, transcript)| {
            eprintln!("{transcript}");
            error
        })?;
    if words.has("--json") {
        output::line(format_args!("{:#}", results.json()));
    } else if only_churn {
        output::print(churn::text(&results.churns).trim_start());
    } else {
        output::print(results.text());
    }
    if let Some(folder) = folder {
        draw(folder, &results)?;
    }
    Ok(!words.has("--strict") || results.missed().is_empty())
}

/// Draws what was measured, and what memmap costs as memory is used.
fn draw(folder: &Path, results: &Results) -> Result<(), String> {
    let draw = || {
        let run = Run::new("bench")?;
        plot::write(folder, &plot::growth(&results.scaling), &plot::memmap_by_use(&run)?)
    };
    draw().map_err(|error: Error| error.to_string())
}

/// What using memory costs, or the error and the guests' transcripts.
fn measure_churn() -> Result<Results, (String, String)> {
    let run = Run::new("bench").map_err(|error| (error.to_string(), String::new()))?;
    let measured = GRANULES.into_iter().map(|granule| churn::measure(&run, granule).during("use on demand"));
    let churns = measured.collect::<Result<_, _>>();
    let churns = churns.map_err(|error: Error| (error.to_string(), run.journal.text()))?;
    Ok(Results { churns, ..Results::default() })
}

/// The results, or the error and the guests' transcripts.
fn measure_all() -> Result<Results, (String, String)> {
    let run = Run::new("bench").map_err(|error| (error.to_string(), String::new()))?;
    let one = |subject: Subject| -> Result<Life, (String, String)> {
        eprintln!("bench: {subject:?}");
        let life = measure(&run, subject).during(&format!("{subject:?}"));
        life.map_err(|error| (error.to_string(), run.journal.text()))
    };
    let image = image_bytes().map_err(|error| (error.to_string(), String::new()))?;
    let mut results = Results { image, ..Results::default() };
    for granule in GRANULES {
        let subject = standard(granule, REFERENCE);
        results.reference.push(one(subject)?);
        results.from_ram.push(one(Subject { memmap: Memmap::Ram, ..subject })?);
        results.on_demand.push(one(Subject { memmap: Memmap::Demand, ..subject })?);
        results.apart.push(one(standard(granule, APART))?);
        for gib in SIZES {
            results.scaling.push(one(Subject { size: gib * GIB, ..subject })?);
        }
        for gib in audit::SIZES {
            let what = format!("an audit of {gib} GiB at {granule}");
            eprintln!("bench: {what}");
            let measured = audit::measure(&run, granule, gib).during(&what);
            results.audits.push(measured.map_err(|error| (error.to_string(), run.journal.text()))?);
        }
    }
    let told = |error: Error| (error.to_string(), run.journal.text());
    for granule in GRANULES {
        eprintln!("bench: memmap=demand, {granule}");
        results.tebibytes.push(demand::measure(&run, granule).during("1 TiB on demand").map_err(told)?);
        results.allocs.push(alloc::measure(&run, granule).during("runs on demand").map_err(told)?);
        results.churns.push(churn::measure(&run, granule).during("use on demand").map_err(told)?);
        for memmap in resize::HOMES {
            eprintln!("bench: virtio memory, {granule}, memmap={}", memmap.word());
            let measured = resize::measure(&run, granule, memmap, None).during("a resize of virtio memory");
            results.resizes.push(measured.map_err(told)?);
        }
        for (memmap, size) in migrate::ROWS {
            eprintln!("bench: offline in use, {granule}, memmap={}, {size} bytes", memmap.word());
            let measured = migrate::measure(&run, granule, memmap, size, None).during("an offline in use");
            results.migrate.push(measured.map_err(told)?);
        }
    }
    for (granule, cpu) in GRANULES.into_iter().flat_map(|granule| paid::CPUS.map(|cpu| (granule, cpu))) {
        eprintln!("bench: what a real CPU pays for, {granule}, {cpu}");
        results
            .paid
            .push(paid::measure(&run, granule, cpu).during("what a real CPU pays for").map_err(told)?);
    }
    for row in dedup::rows() {
        eprintln!("bench: {row:?}");
        let measured = dedup::measure(row, &run, None).during(&format!("{row:?}"));
        results.shared.push(measured.map_err(|error| (error.to_string(), run.journal.text()))?);
    }
    Ok(results)
}
