//! What a real CPU pays for, of a DIMM's life, of a huge page whose memmap is shared, and of pages that migrate: TLB maintenance,
//! barriers, exclusives. A guest does all of it once; the kernel counts, and so does the plugin, where QEMU loads one.

use super::costs::{self, Costs, Counter, Seen};
use super::figures::{self, Figure};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, failed};
use hotmap_client::geometry::{GIB, Granule};
use hotmap_client::guest::Guest;
use hotmap_client::machine::Machine;
use hotmap_client::run::Run;
use serde_json::{Value, json};
use std::fmt::Write;

/// A CPU without FEAT_TLBIRANGE, and one with it.
pub const CPUS: [&str; 2] = ["neoverse-n1", "max"];

/// How many pages migrate.
pub const PAGES: u64 = 1000;

/// The operations of a DIMM's life.
const LIFE: [&str; 4] = ["add", "online", "offline", "remove"];

/// A life of 1 GiB has at most so many broadcast TLBI, and so many DSB.
pub const LIFE_GOAL: u64 = 16;
/// To share the memmap of the smallest huge page takes at most so many TLBI, on a CPU that has them by range.
pub const SHARE_GOAL: u64 = 3;
/// A broadcast TLBI is for at least so many pages that migrate.
pub const MIGRATE_GOAL: u64 = 8;

/// What a guest did and what was seen of it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Its transcript.
    pub text: String,
    /// What the plugin wrote, if QEMU loads plugins.
    pub seen: Option<Seen>,
}

/// The smallest huge page whose memmap can be shared.
pub const fn huge_page(granule: Granule) -> &'static str {
    match granule {
        Granule::K4 => "2M",
        Granule::K16 => "32M",
        Granule::K64 => "512M",
    }
}

/// Boots a guest that does all that is counted: a DIMM's life twice, a huge page, an offline in use, an audit.
///
/// # Errors
/// As [`Guest`]; unknown when the plugin cannot be built or writes nothing.
pub fn observe(run: &Run, granule: Granule, cpu: &str) -> Checked<Observed> {
    let machine =
        Machine { icount: true, ..Machine::firmware() }.granule(granule).cpu(cpu).append("bench=on");
    let plugin = if costs::loads_plugins()? { Some(costs::plugin()?) } else { None };
    let counter = Counter::new(run, plugin.as_deref());
    let mut guest = Guest::boot(run, &counter.beside(machine))?;
    let dimm = Dimm::new("counted", GIB).unreserved();
    guest.plug_well(&dimm)?;
    let hugetlb = format!("bench hugetlb {}", huge_page(granule));
    for line in ["bench", &hugetlb, &format!("bench offline {PAGES}"), "audit"] {
        guest.tell(line)?;
    }
    guest.unplug_well(&dimm)?;
    let text = guest.text();
    guest.power_off()?;
    let seen = counter.seen()?;
    Ok(Observed { text, seen })
}

/// The costs of the operations of a guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    /// The granule.
    pub granule: Granule,
    /// The CPU model.
    pub cpu: &'static str,
    /// The four operations of a life, by name, then `optimise`, `restore` and `migrate`.
    pub rows: Vec<(&'static str, Costs)>,
    /// Whether exclusives were counted: the plugin sees them, the kernel does not.
    pub exclusives: bool,
}

/// Observes a guest, and takes the last figure of each operation.
///
/// # Errors
/// Failed when one is missing; else as [`observe`].
pub fn measure(run: &Run, granule: Granule, cpu: &'static str) -> Checked<Paid> {
    let observed = observe(run, granule, cpu)?;
    let figures: Vec<Figure> = observed.text.lines().filter_map(figures::read).collect();
    let names = LIFE.into_iter().chain(["optimise", "restore", "migrate"]);
    let row = |name| match figures.iter().rev().find(|figure| figure.operation == name) {
        Some(figure) => Ok((name, figure.counted(observed.seen.as_ref())?)),
        None => failed(format!("no 'bench: {name} ...' line")),
    };
    let rows = names.map(row).collect::<Checked<_>>()?;
    Ok(Paid { granule, cpu, rows, exclusives: observed.seen.is_some() })
}

impl Paid {
    /// A row by its name.
    fn row(&self, name: &str) -> Costs {
        self.rows.iter().find(|(row, _)| *row == name).map(|(_, costs)| *costs).unwrap_or_default()
    }

    /// The four operations of a life together.
    pub fn life(&self) -> Costs {
        LIFE.iter().fold(Costs::default(), |sum, name| sum + self.row(name))
    }

    /// One sentence for each missed goal.
    pub fn missed(&self) -> Vec<String> {
        let (life, share, migrate) = (self.life(), self.row("optimise"), self.row("migrate"));
        let mut missed = Vec::new();
        let mut check = |what: &str, is: u64, goal: u64| {
            if is > goal {
                missed.push(format!("{what} at {} on {}: {is}, goal {goal}", self.granule, self.cpu));
            }
        };
        check("broadcast TLBI of a 1 GiB DIMM's life", life.broadcasts(), LIFE_GOAL);
        check("DSB of a 1 GiB DIMM's life", life.dsb, LIFE_GOAL);
        check("broadcast TLBI of pages that migrate", migrate.broadcasts(), PAGES.div_ceil(MIGRATE_GOAL));
        if self.cpu != CPUS[0] {
            check("broadcast TLBI of sharing a huge page's memmap", share.broadcasts(), SHARE_GOAL);
        }
        missed
    }
}

/// The table as text.
pub fn text(all: &[Paid]) -> String {
    let mut text = String::from(
        "\nWhat costs a real CPU more than an instruction: broadcast TLBI (each, and by range), barriers, load- and\n\
         store-exclusives (by a plugin in QEMU), cache maintenance, exceptions, KiB cleared and copied:\n",
    );
    let _ = writeln!(text, "{HEAD}");
    for paid in all {
        let life = ("life", paid.life());
        for (name, costs) in
            paid.rows.iter().take(LIFE.len()).chain([&life]).chain(paid.rows.iter().skip(LIFE.len()))
        {
            let what = match *name {
                "optimise" => format!("share {}", huge_page(paid.granule)),
                "restore" => format!("restore {}", huge_page(paid.granule)),
                "migrate" => format!("migrate {PAGES}"),
                name => name.to_owned(),
            };
            let exclusive =
                if paid.exclusives && *name != "migrate" { costs.exclusive.to_string() } else { "-".into() };
            let _ = writeln!(
                text,
                "{:<4} {:<12} {what:<13} {:>5} {:>6} {:>6} {:>6} {exclusive:>6} {:>6} {:>6} {:>8} {:>7}",
                paid.granule.name(),
                paid.cpu,
                costs.tlbi,
                costs.tlbi_range,
                costs.dsb,
                costs.isb,
                costs.cache,
                costs.exceptions,
                costs.cleared >> 10,
                costs.copied >> 10
            );
        }
    }
    text
}

const HEAD: &str =
    "                                 TLBI  range    DSB    ISB  excl.  cache  exc.s  cleared  copied";

/// A row as JSON; counts, and bytes.
pub fn json(paid: &Paid) -> Value {
    let costs = |costs: Costs| {
        costs.all().into_iter().map(|(name, count)| (name, Value::from(count))).collect::<Value>()
    };
    let rows: serde_json::Map<String, Value> =
        paid.rows.iter().map(|(name, row)| ((*name).to_owned(), costs(*row))).collect();
    json!({
        "granule": paid.granule.bytes(),
        "cpu": paid.cpu,
        "exclusives_counted": paid.exclusives,
        "migrated_pages": PAGES,
        "life": costs(paid.life()),
        "rows": rows,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paid(cpu: &'static str, tlbi: u64, dsb: u64) -> Paid {
        let row = |tlbi| Costs { tlbi, dsb, ..Costs::default() };
        let rows = LIFE.map(|name| (name, row(tlbi)));
        Paid { granule: Granule::K4, cpu, rows: rows.to_vec(), exclusives: true }
    }

    #[test]
    fn a_life_is_the_sum_of_its_operations_and_goals_name_both_numbers() {
        assert_eq!(paid("max", 4, 4).life().tlbi, 16);
        assert_eq!(paid("max", 4, 4).missed(), Vec::<String>::new());
        let mut over = paid("max", 5, 5);
        over.rows.push(("optimise", Costs { tlbi: 2, tlbi_range: 2, ..Costs::default() }));
        over.rows.push(("migrate", Costs { tlbi: 126, ..Costs::default() }));
        let missed = over.missed();
        assert_eq!(missed.len(), 4, "{missed:?}");
        assert!(missed[0].ends_with("4k on max: 20, goal 16"), "{missed:?}");
        // Without operations by range there is no such goal.
        assert_eq!(Paid { cpu: CPUS[0], ..over }.missed().len(), 3);
    }

    #[test]
    fn a_row_of_the_table_has_a_count_for_each_column() {
        let text = text(&[paid("max", 4, 3)]);
        let line = text.lines().find(|line| line.contains(" life ")).expect("a life");
        assert_eq!(
            line.split_whitespace().collect::<Vec<_>>(),
            ["4k", "max", "life", "16", "0", "12", "0", "0", "0", "0", "0", "0"]
        );
    }
}
