//! What was measured, side by side: for each page size a row per operation, hotmap's column, and each Linux's with the ratio.

use super::plan::CYCLES;
use super::record::{Column, Home, Operation, Part, Record, Row, Value};
use crate::bench::costs::Costs;
use hotmap_client::geometry::{GRANULES, size_text};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

/// Width of a row's name, of hotmap's column, and of a Linux's without the ratio.
const WIDTHS: [usize; 3] = [42, 10, 18];

/// All tables as text.
pub fn text(record: &Record) -> String {
    let debians = record.columns.iter().all(|column| column.is_hotmap() || !column.package.is_empty());
    let origin = if debians { "Debian's, unmodified" } else { "what LINUX= names" };
    let mut text = format!(
        "hotmap and Linux on {}, CPU {}, 1 CPU, 1 GiB of boot RAM, -icount: guest instructions, in millions unless named\n\
         otherwise. Linux is {origin}; its boot includes UEFI.\n",
        record.qemu, record.cpu
    );
    for granule in GRANULES {
        let columns: Vec<&Column> = record.of(granule).collect();
        if columns.is_empty() {
            continue;
        }
        let mut notes = Vec::new();
        let _ = writeln!(text, "\n{granule} pages");
        figures(&mut text, &columns, &mut notes);
        counts(&mut text, &columns);
        for (number, note) in notes.iter().enumerate() {
            let _ = writeln!(text, "  [{}] {note}", number + 1);
        }
    }
    if !record.missing.is_empty() {
        text.push_str("\nNot measured:\n");
        record.missing.iter().for_each(|why| text.extend(["  ", why, "\n"]));
    }
    text
}

fn figures(text: &mut String, columns: &[&Column], notes: &mut Vec<String>) {
    let granule = columns.first().map_or(0, |column| column.granule);
    let [name, own, other] = WIDTHS;
    let _ = write!(text, "{:name$}", "");
    for column in columns {
        let width = if column.is_hotmap() { own } else { other };
        let _ = write!(text, " {:>width$}", column.name);
        if !column.is_hotmap() {
            let _ = write!(text, " {:>7}", "ratio");
        }
    }
    text.push('\n');
    let rows: BTreeSet<Row> =
        columns.iter().flat_map(|column| column.cells.iter().map(|cell| cell.row)).collect();
    let mut part = None;
    for row in rows.into_iter().filter(is_shown) {
        if part != Some((row.part, row.memmap)) {
            let _ = writeln!(text, "{}", heading(row));
            part = Some((row.part, row.memmap));
        }
        let _ = write!(text, "  {:<width$}", label(row, granule), width = name - 2);
        let ours = columns.iter().find(|column| column.is_hotmap()).and_then(|column| column.number(row));
        for column in columns {
            let cell = cell(column, row, notes);
            let width = if column.is_hotmap() { own } else { other };
            let _ = write!(text, " {cell:>width$}");
            if !column.is_hotmap() {
                let _ = write!(text, " {:>7}", ratio(column.number(row), ours));
            }
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
}

/// Of larger DIMMs, adding them and the whole life are enough.
fn is_shown(row: &Row) -> bool {
    row.part != Part::Growth || matches!(row.operation, Operation::Add | Operation::Sum)
}

/// Rows whose counts are shown: what Linux and hotmap both do.
const fn is_counted(row: &Row) -> bool {
    matches!(row.part, Part::Life | Part::Load | Part::Alloc | Part::Resize | Part::Dax)
}

fn cell(column: &Column, row: Row, notes: &mut Vec<String>) -> String {
    match column.get(row) {
        None => "-".into(),
        Some(Value::Costs(costs)) => format!("{:.3}", costs.instructions as f64 / 1e6),
        Some(value @ Value::Each(..)) => value.number().unwrap_or_default().to_string(),
        Some(Value::Size(bytes)) if row.operation == Operation::SystemRam => format!("{} kB", bytes >> 10),
        Some(Value::Size(bytes)) => format!("{:.1} MB", *bytes as f64 / 1e6),
        Some(Value::Cannot(why)) => {
            let note = format!("Linux {}: {why}", column.name);
            let at = notes.iter().position(|is| *is == note).unwrap_or_else(|| {
                notes.push(note);
                notes.len() - 1
            });
            format!("no [{}]", at + 1)
        }
    }
}

fn ratio(linux: Option<u64>, ours: Option<u64>) -> String {
    match (linux, ours) {
        (Some(linux), Some(ours)) if ours > 0 => match linux as f64 / ours as f64 {
            ratio if ratio < 10.0 => format!("{ratio:.1}x"),
            ratio => format!("{ratio:.0}x"),
        },
        _ => String::new(),
    }
}

/// What a real CPU pays for, in the life of a DIMM and for each page that migrates.
fn counts(text: &mut String, columns: &[&Column]) {
    let granule = columns.first().map_or(0, |column| column.granule);
    let _ = writeln!(text, "of these, broadcast TLBI / DSB / ISB / exclusives and atomics");
    let rows: BTreeSet<Row> =
        columns.iter().flat_map(|column| column.cells.iter().map(|cell| cell.row)).collect();
    for row in rows.into_iter().filter(is_counted) {
        let cells: Vec<Option<String>> = columns.iter().map(|column| kinds(column.get(row)?)).collect();
        if cells.iter().all(Option::is_none) {
            continue;
        }
        let _ = write!(text, "  {:<40}", label(row, granule) + home(row));
        for cell in cells {
            let _ = write!(text, " {:>26}", cell.unwrap_or_else(|| "-".into()));
        }
        text.push('\n');
    }
}

fn kinds(value: &Value) -> Option<String> {
    let list = |costs: &Costs| [costs.broadcasts(), costs.dsb, costs.isb, costs.atomics()];
    match value {
        Value::Costs(costs) if list(costs).iter().any(|count| *count > 0) => {
            Some(list(costs).map(|count| count.to_string()).join(" / "))
        }
        Value::Each(costs, count) if *count > 0 && list(costs).iter().any(|count| *count > 0) => {
            Some(list(costs).map(|of| format!("{:.1}", of as f64 / *count as f64)).join(" / "))
        }
        _ => None,
    }
}

/// Which of the homes a row is of, where its part has several.
const fn home(row: Row) -> &'static str {
    match (row.part, row.memmap) {
        (Part::Life | Part::Alloc, Home::SelfHosted) => ", memmap in it",
        (Part::Life, Home::Ram) => ", memmap in system RAM",
        (Part::Alloc, Home::Demand) => ", memmap on demand",
        _ => "",
    }
}

fn heading(row: Row) -> String {
    let memmap = match row.memmap {
        Home::SelfHosted => ", memmap in the memory itself",
        Home::Ram => ", memmap in system RAM",
        Home::Demand => ", memmap on demand",
        Home::Any => "",
    };
    let what = match row.part {
        Part::Guest => "the kernel".into(),
        Part::Life => "a DIMM of 1 GiB".into(),
        Part::Growth => "larger DIMMs, memmap in them if such a DIMM can be removed".into(),
        Part::Tebibyte => "a DIMM of 1 TiB".into(),
        Part::Cycles => format!("plug and unplug, {CYCLES} times"),
        Part::Load => "a DIMM in use goes offline: instructions".into(),
        Part::Alloc => "runs of pages: instructions for each".into(),
        Part::Resize => "virtio memory, 1 GiB".into(),
        Part::HugePage => "huge pages that share their memmap".into(),
        Part::Dax => "devices of persistent memory".into(),
    };
    what + memmap
}

fn label(row: Row, granule: u64) -> String {
    let size = size_text(row.bytes);
    let word = match row.operation {
        Operation::Boot => "boot: reset to init, or to the prompt",
        Operation::Image => "image",
        Operation::Used => "boot RAM that is not free at the prompt",
        Operation::Add => "add",
        Operation::Online => "online",
        Operation::Offline => "offline",
        Operation::Remove => "remove",
        Operation::Sum => "sum",
        Operation::Plug => "add, online",
        Operation::Unplug => "offline, remove",
        Operation::SystemRam => "system RAM that it costs",
        Operation::First => "the first time",
        Operation::Last => "the last time",
        Operation::Migration => "each migration",
        Operation::UsedPage => "each page in use",
        Operation::Take => "take",
        Operation::Free => "free",
        Operation::Up => "up",
        Operation::Down => "down",
        Operation::DownUncleared => "down, nothing is cleared",
        Operation::Optimise => "share",
        Operation::Create => "create",
    };
    match row.part {
        Part::Growth | Part::HugePage | Part::Dax => format!("{size}: {word}"),
        Part::Alloc => format!("order {}: {word}", (row.bytes / granule.max(1)).max(1).ilog2()),
        _ => word.into(),
    }
}

/// Writes linux.json and linux.md into a folder.
///
/// # Errors
/// A sentence that names the file that cannot be written.
pub fn save(record: &Record, folder: &Path) -> Result<(), String> {
    let json = serde_json::to_string_pretty(record).map_err(|error| error.to_string())?;
    write(&folder.join("linux.json"), &(json + "\n"))?;
    write(&folder.join("linux.md"), &page(record))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// The page that shows a record.
pub fn page(record: &Record) -> String {
    let mut kernels = String::new();
    for column in record.columns.iter().filter(|column| !column.is_hotmap()) {
        let Column { name, package, version, sha256, .. } = column;
        let _ = writeln!(kernels, "| {name} | `{package}` | {version} | `{sha256}` |");
    }
    let Record { date, command, qemu, cpu, .. } = record;
    let tables = text(record);
    format!(
        "# Linux on the same QEMU\n\n\
         hotmap and unmodified Debian kernels, measured in one run: `{command}` on {date}, {qemu}, CPU {cpu}.\n\
         `make bench-linux` measures again, on your machine; `make bench` compares with linux.json, which has the figures below.\n\n\
         | kernel | package | version | SHA-256 |\n|---|---|---|---|\n{kernels}\n```text\n{tables}```\n\n{GROWTH}\n{HOW}"
    )
}

/// A picture of it.
const GROWTH: &str = "![Millions of guest instructions of a DIMM's life, by its size from 1 to 8 GiB: hotmap at three page sizes, and \
                      two Linux kernels far above them](growth.svg)\n\n\
                      `make bench PLOT=1` draws it. What memmap costs as memory is used: \
                      [on-demand.md](on-demand.md#what-it-costs).\n";

/// How it was measured.
const HOW: &str = "
## How

- `scripts/linux` fetches the packages. The initramfs has busybox and a shell on the serial console; its first program
  executes one marked instruction, where the boot ends.
- Both kernels run with `-icount shift=0,sleep=off`, one CPU, 1 GiB of boot RAM, GICv3, firmware boot. hotmap counts by its
  performance counter, Linux by a plugin in QEMU (tests/counter): from the entry to the return of `acpi_device_hotplug`
  (add, remove), `memory_subsys_online`, `memory_subsys_offline` and `virtio_mem_run_wq`. What else runs in between, such as
  timers, is counted too. Before, the guest idles for 30 of its seconds: background work at boot would be counted.
- Exclusives and atomics are the plugin's counts in both: hotmap's kernel does not count them. TLBI, DSB and ISB of hotmap are
  its kernel's, which leaves out the meter; the boot tests `costs/` compare them with the plugin's.
- Linux boots with `nokaslr memhp_default_state=offline memory_hotplug.memmap_on_memory=Y` (or `=N`), and its blocks go online
  as `online_movable`. What is free is read from /proc/zoneinfo, with the lists of the CPU. The system RAM that a DIMM costs
  is what is less free while it is present and offline than before.
- A DIMM in use: a process has written to 512 MiB of its memory, in pages that are not huge. Linux takes one block after the
  other offline, and pages migrate to blocks that are next: a page migrates more than once. hotmap takes all blocks offline
  together and moves each page of a tenant once. What offline costs with nothing in use is subtracted.
- A DIMM of 1 TiB: hotmap has 256 MiB of boot RAM, and memmap on demand. Linux has 1 GiB, and panics as it maps the DIMM: its
  linear map of added memory is of pages, of which 1 TiB needs 2 GiB of tables at 4K, wherever the memmap is.
- Runs of pages: hotmap's command `bench fill` takes and frees them. No command of Linux's does, so what counts is each call of
  `__alloc_pages_noprof` (7.2: `__alloc_frozen_pages_noprof`) and `free_unref_folios` that a file of 16,000 pages and the
  memory of a process cause, whose huge pages have order 9. With order 9 Linux writes to the struct page of each of the 512
  pages. It boots with `init_on_alloc=0` for this: hotmap does not clear what it hands out. Where its memmap is plays no part,
  so that the same figures stand beside both of hotmap's.
- Virtio memory: its blocks go online and offline in the same count; hotmap leaves out the waiting for the device. Linux
  allocates what it takes out of use, and Debian's kernels clear what they allocate (CONFIG_INIT_ON_ALLOC_DEFAULT_ON): of the
  instructions down, about 70 million clear 1 GiB, by 16.8 million DC ZVA. Hence the row of a boot with `init_on_alloc=0`. With
  QEMU 10.0.2 and `-cpu max` down had been 68 million at 4K and 17 million at 16K (7.2), and 142 million with 6.12. That CPU has
  FEAT_MOPS, which clears a page in a few instructions; that 7.2 uses it there and 6.12 does not fits the figures, and was not
  looked at.
- A device of persistent memory has its memmap on itself (`dax create --map dev`; `devdax` with `map=dev`, by sysfs) and huge
  pages of 2M, 32M and 512M at 4K, 16K and 64K, and of 1G in 1 TiB at 4K. The count of Linux is that of
  `device_driver_attach`. hotmap shares the struct pages of tails; Linux on arm64 does not.
- The kernels are compared at 4K and 16K: Debian has none with 64K pages.
";

#[cfg(test)]
mod tests {
    use super::{page, ratio, text};
    use crate::bench::costs::Costs;
    use crate::bench::linux::record;
    use crate::linux::record::{Column, HOTMAP, Home, Operation, Part, Record, Row, Value};

    /// `bench-linux --page` writes it again.
    #[test]
    fn the_page_shows_the_record() {
        assert_eq!(include_str!("../../../docs/evidence/linux.md"), page(record()));
    }

    #[test]
    fn a_row_has_both_figures_and_the_ratio_and_a_reason_is_a_note() {
        let row = |operation| Row::new(Part::Life, Home::SelfHosted, 1 << 30, operation);
        let costs = |instructions| Value::Costs(Costs { instructions, ..Costs::default() });
        let mut ours = Column { name: HOTMAP.into(), granule: 4096, ..Column::default() };
        let mut linux = Column { name: "7.2 cloud".into(), package: "p".into(), ..ours.clone() };
        ours.add(row(Operation::Add), costs(500_000));
        ours.add(row(Operation::Offline), costs(1000));
        linux.add(row(Operation::Add), costs(6_000_000));
        linux.add(row(Operation::Offline), Value::Cannot("Operation not permitted".into()));
        let record =
            Record { columns: vec![ours, linux], missing: vec!["Linux 9: gone".into()], ..Record::default() };
        let text = text(&record);
        let words = |start: &str| {
            let line = text.lines().find(|line| line.trim_start().starts_with(start)).unwrap_or_default();
            line.split_whitespace().collect::<Vec<_>>()
        };
        assert_eq!(words("add"), ["add", "0.500", "6.000", "12x"], "{text}");
        assert_eq!(words("offline"), ["offline", "0.001", "no", "[1]"], "{text}");
        assert_eq!(
            words("[1]"),
            ["[1]", "Linux", "7.2", "cloud:", "Operation", "not", "permitted"],
            "{text}"
        );
        assert!(text.ends_with("Not measured:\n  Linux 9: gone\n"), "{text}");
    }

    #[test]
    fn a_ratio_needs_both() {
        assert_eq!(
            [ratio(Some(9), Some(2)), ratio(Some(9), Some(0)), ratio(None, Some(1))],
            ["4.5x", "", ""]
        );
    }
}
