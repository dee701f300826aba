//! The whole life of a DIMM, narrated, without any input: `make demo`.

use hotmap_client::geometry::Granule;
use hotmap_client::patience;
use hotmap_client::run::Run;
use hotmap_tests::demo::tell;
use hotmap_tests::options::Words;
use hotmap_tests::output;
use hotmap_tests::report::{Paint, tail};
use std::path::Path;
use std::process::ExitCode;

const HELP: &str = "\
usage: demo [--granule 4k|16k|64k] [--record FILE]

Boots the built image on QEMU, plugs a DIMM of 1 GiB, shows its memmap, uses it, unplugs it, and shows that all counts are
those of the start. --record writes what it tells to FILE, as JSON, for playground/page/report.js (`make report`).

exit status: 0 every claim was checked and holds; 1 otherwise; 2 wrong usage";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err((status, sentence)) => {
            eprintln!("error: {sentence}");
            ExitCode::from(status)
        }
    }
}

/// Wrong usage is status 2; a claim that does not hold is status 1.
fn run() -> Result<(), (u8, String)> {
    let usage = |sentence: String| (2, sentence);
    let words = Words::read(std::env::args().skip(1), &["--help", "-h"], &["--granule", "--record"])
        .map_err(usage)?;
    if words.has("--help") || words.has("-h") {
        output::line(HELP);
        return Ok(());
    }
    if let Some(word) = words.rest.first() {
        return Err(usage(format!("unexpected word {word}; --help lists the options")));
    }
    let granule: Granule = words.value("--granule").unwrap_or("4k").parse().map_err(usage)?;
    patience::check().map_err(usage)?;
    let run = Run::new("demo").map_err(|error| (1, error.to_string()))?;
    let record = tell(&run, granule, Paint::for_stdout()).map_err(|error| {
        if !output::is_closed() {
            eprint!("\nThe end of the guest's console:\n{}", tail(&run.journal.text()));
        }
        (1, error.to_string())
    })?;
    words
        .value("--record")
        .map_or(Ok(()), |path| record.write(Path::new(path)))
        .map_err(|sentence| (1, sentence))
}
