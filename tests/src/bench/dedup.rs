//! What sharing struct pages costs: huge pages are optimised and restored, devices of compound pages are created and
//! destroyed. The machine counts instructions (`-icount`, one CPU, `bench=on`).

use super::costs::Counter;
use super::figures::{Figure, last};
use hotmap_client::ensure;
use hotmap_client::error::{Checked, failed};
use hotmap_client::geometry::{GIB, Granule, size_text};
use hotmap_client::guest::Guest;
use hotmap_client::machine::Machine;
use hotmap_client::run::Run;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// 1 TiB in GiB.
const TIB: u64 = 1 << 40;
/// Table pages that a device of 1 TiB may cost: 9 MiB.
pub const TABLES_GOAL: u64 = (9 << 20) / 4096;
/// Instructions that creating it may cost.
pub const CREATE_GOAL: u64 = 5_000_000;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Devices of this many bytes, in compound pages of `align`.
    Device {
        /// The bytes.
        bytes: u64,
        /// `--align`.
        align: &'static str,
        /// `--map`: `mem` or `dev`.
        map: &'static str,
        /// `--tail`: `page` or `device`.
        tail: &'static str,
    },
    /// A huge page of this size.
    HugePage {
        /// Its name: `2M`.
        size: &'static str,
        /// In bytes.
        bytes: u64,
    },
}

/// A measurement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shared {
    /// The granule.
    pub granule: Granule,
    /// The CPU model.
    pub cpu: &'static str,
    /// What it is.
    pub what: What,
    /// Creating it, or optimising.
    pub make: Figure,
    /// Destroying it, or restoring.
    pub unmake: Figure,
    /// The longest window, in instructions.
    pub window: u64,
}

/// Every row, in the order in which they are shown.
pub fn rows() -> Vec<(Granule, &'static str, What)> {
    let device = |bytes, align, map, tail| What::Device { bytes, align, map, tail };
    let huge = |size, bytes| What::HugePage { size, bytes };
    let (k4, k16, k64) = (Granule::K4, Granule::K16, Granule::K64);
    let mut rows = vec![
        (k4, huge("2M", 2 << 20)),
        (k4, huge("1G", GIB)),
        (k16, huge("32M", 32 << 20)),
        (k64, huge("512M", 512 << 20)),
        (k4, device(GIB, "2M", "mem", "page")),
        (k4, device(GIB, "2M", "dev", "page")),
        (k4, device(GIB, "1G", "mem", "page")),
        (k16, device(GIB, "32M", "mem", "page")),
        (k64, device(GIB, "512M", "mem", "page")),
        (k4, device(TIB, "1G", "mem", "page")),
        (k4, device(TIB, "1G", "mem", "device")),
    ]
    .into_iter()
    .map(|(granule, what)| (granule, "neoverse-n1", what))
    .collect::<Vec<_>>();
    // With FEAT_BBM level 2 a block leaf is split without a window.
    rows.push((k4, "max", huge("2M", 2 << 20)));
    rows
}

/// Measures one row, with the plugin beside it if there is one.
///
/// # Errors
/// Failed when a figure is missing or zero, or the page counts are not those of the start; else as [`Guest`].
pub fn measure(
    (granule, cpu, what): (Granule, &'static str, What),
    run: &Run,
    plugin: Option<&Path>,
) -> Checked<Shared> {
    let counter = Counter::new(run, plugin);
    let mut guest = Guest::boot(run, &counter.beside(machine(granule, cpu, what)))?;
    let before = guest.state()?.pages;
    let (bytes, names) = match what {
        What::Device { bytes, align, map, tail } => {
            let start = guest.state()?.nvdimms.first().map(|nvdimm| nvdimm.start);
            let Some(start) = start else { return failed("there is no NVDIMM") };
            guest
                .tell(&format!("dax create {start:#x},{bytes} --align {align} --map {map} --tail {tail}"))?;
            guest.tell(&format!("dax destroy {start:#x}"))?;
            (bytes, ["dax-create", "dax-destroy"])
        }
        What::HugePage { size, bytes } => {
            guest.tell(&format!("bench hugetlb {size}"))?;
            (bytes, ["optimise", "restore"])
        }
    };
    let after = guest.state()?.pages;
    ensure!(before == after, "{what:?} left something behind: {before:?} became {after:?}");
    let text = guest.text();
    let find = |operation: &str| match last(&text, operation, bytes) {
        Some(figure) if figure.instructions > 0 => Ok(figure),
        Some(_) => failed(format!("bench: {operation} counted no instructions")),
        None => failed(format!("no 'bench: {operation} {bytes} ...' line")),
    };
    let window = last(&text, "window", bytes).map_or(0, |figure| figure.instructions);
    let (make, unmake) = (find(names[0])?, find(names[1])?);
    guest.power_off()?;
    let seen = counter.seen()?;
    let counted = |figure: Figure| Checked::Ok(Figure { costs: figure.counted(seen.as_ref())?, ..figure });
    Ok(Shared { granule, cpu, what, make: counted(make)?, unmake: counted(unmake)?, window })
}

/// 256 MiB of boot RAM are enough to describe 1 TiB; a huge page of 1 GiB needs a free run of that size.
fn machine(granule: Granule, cpu: &str, what: What) -> Machine {
    let machine = Machine { icount: true, ..Machine::firmware() };
    let machine = machine.granule(granule).cpu(cpu).append("bench=on");
    match what {
        What::Device { bytes, .. } => {
            let backend = format!("memory-backend-ram,id=n0,size={bytes},reserve=off");
            let memory = if bytes >= TIB { "256M" } else { "1G" };
            machine.memory(memory).maxmem("2T").extra([
                "-machine",
                "nvdimm=on",
                "-object",
                &backend,
                "-device",
                "nvdimm,memdev=n0,id=nv0",
            ])
        }
        What::HugePage { .. } => machine.memory("4G"),
    }
}

impl Shared {
    fn name(&self) -> String {
        match self.what {
            What::HugePage { size, .. } => format!("{} huge page {size}", self.granule),
            What::Device { bytes, align, map, tail } => {
                let tail = if tail == "device" { ", one tail" } else { "" };
                format!("{} dax {} of {align}, {map}{tail}", self.granule, size_text(bytes))
            }
        }
    }

    /// One sentence for each missed goal.
    pub fn missed(&self) -> Vec<String> {
        let mut missed = Vec::new();
        if matches!(self.what, What::Device { bytes: TIB, .. }) {
            let tables = self.make.tables.unsigned_abs();
            for (what, is, goal) in
                [("instructions", self.make.instructions, CREATE_GOAL), ("table pages", tables, TABLES_GOAL)]
            {
                if is > goal {
                    missed.push(format!("{what} of {}: {is}, goal {goal}", self.name()));
                }
            }
        }
        missed
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let figure =
            |f: &Figure| json!({"instructions": f.instructions, "tables": f.tables, "memmap_ram": f.ram});
        json!({
            "what": self.name(),
            "granule": self.granule.bytes(),
            "cpu": self.cpu,
            "bytes": self.make.bytes,
            "make": figure(&self.make),
            "unmake": figure(&self.unmake),
            "window": self.window,
        })
    }
}

/// The table as text.
pub fn text(rows: &[Shared]) -> String {
    let mut text = String::from(
        "\nShared struct pages (millions of guest instructions; pages of tables and of memmap in system RAM):\n",
    );
    let _ = writeln!(
        text,
        "{:<36} {:>12} {:>10} {:>10} {:>8} {:>8} {:>8}",
        "", "CPU", "make", "unmake", "tables", "memmap", "window"
    );
    for row in rows {
        let millions = |figure: &Figure| format!("{:.4}", figure.instructions as f64 / 1e6);
        let _ = writeln!(
            text,
            "{:<36} {:>12} {:>10} {:>10} {:>8} {:>8} {:>8}",
            row.name(),
            row.cpu,
            millions(&row.make),
            millions(&row.unmake),
            row.make.tables,
            row.make.ram,
            row.window
        );
    }
    text.push_str(
        "(make: optimise, or create; window: the longest time that an entry was invalid under readers)\n",
    );
    text
}

#[cfg(test)]
mod tests {
    use super::{Shared, TIB, What, machine, rows, text};
    use crate::bench::figures::Figure;
    use hotmap_client::geometry::Granule;

    fn figure(operation: &str, instructions: u64, tables: i64, ram: i64) -> Figure {
        Figure { operation: operation.into(), bytes: TIB, instructions, tables, ram, ..Figure::default() }
    }

    fn tebibyte(instructions: u64, tables: i64) -> Shared {
        Shared {
            granule: Granule::K4,
            cpu: "neoverse-n1",
            what: What::Device { bytes: TIB, align: "1G", map: "mem", tail: "device" },
            make: figure("dax-create", instructions, tables, 1025),
            unmake: figure("dax-destroy", 9, -tables, -1025),
            window: 3200,
        }
    }

    #[test]
    fn a_tebibyte_has_goals_for_instructions_and_tables() {
        // 9 MiB are 2304 tables.
        assert_eq!(tebibyte(5_000_000, 2304).missed(), Vec::<String>::new());
        assert_eq!(
            tebibyte(5_000_001, 2305).missed(),
            [
                "instructions of 4k dax 1024G of 1G, mem, one tail: 5000001, goal 5000000",
                "table pages of 4k dax 1024G of 1G, mem, one tail: 2305, goal 2304"
            ]
        );
        let small = What::HugePage { size: "2M", bytes: 2 << 20 };
        assert_eq!(Shared { what: small, ..tebibyte(5_000_001, 2305) }.missed(), Vec::<String>::new());
    }

    #[test]
    fn a_row_has_both_directions_and_the_cost_in_between() {
        let text = text(&[tebibyte(4_268_100, 1044)]);
        let row = text.lines().find(|line| line.starts_with("4k dax")).expect("a row");
        let words: Vec<&str> = row.split_whitespace().rev().take(6).collect();
        assert_eq!(words, ["3200", "1025", "1044", "0.0000", "4.2681", "neoverse-n1"]);
        let json = tebibyte(4_268_100, 1044).json();
        assert_eq!(
            (json["make"]["instructions"].as_u64(), json["window"].as_u64()),
            (Some(4_268_100), Some(3200))
        );
        assert_eq!(json["unmake"]["memmap_ram"].as_i64(), Some(-1025));
    }

    #[test]
    fn every_machine_counts_and_is_quiet() {
        for (granule, cpu, what) in rows() {
            let arguments = machine(granule, cpu, what).arguments();
            assert!(
                arguments.contains(&"--icount".into()) && arguments.contains(&"bench=on".into()),
                "{what:?}"
            );
        }
    }
}
