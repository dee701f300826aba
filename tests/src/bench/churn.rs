//! What using 1 GiB costs with `memmap=demand`, against `memmap=self`: single pages, pages of 2 MiB, and a million random
//! operations. The machine counts instructions (`-icount`, one CPU, `bench=on`).

use super::figures::{last, read};
use hotmap_client::dimm::Dimm;
use hotmap_client::ensure;
use hotmap_client::error::{Checked, Error};
use hotmap_client::geometry::{GIB, Granule, MIB};
use hotmap_client::guest::Guest;
use hotmap_client::machine::Machine;
use hotmap_client::run::Run;
use hotmap_client::state::Memmap;
use serde_json::{Value, json};
use std::fmt::Write;

/// How many times more random operations may cost on demand, in percent.
pub const GOAL: u64 = 110;
/// Random operations: how many, in how many places. The last is one page that is taken and freed again and again.
const CHURNS: [(u64, u64); 3] = [(1_000_000, 4_096), (1_000_000, 16), (100_000, 1)];

/// What it costs with one home, in instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uses {
    /// The DIMM's life: add, online, offline, remove.
    pub life: u64,
    /// All of its pages taken, one by one, and freed.
    pub pages: u64,
    /// 800 MiB taken in runs of 2 MiB, and freed.
    pub runs: u64,
    /// The random operations of [`CHURNS`].
    pub churns: [u64; CHURNS.len()],
}

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Churn {
    /// The granule.
    pub granule: Granule,
    /// With `memmap=self`.
    pub own: Uses,
    /// With `memmap=demand`.
    pub demand: Uses,
}

/// How many pages of 1 GiB both homes can give: a block on demand lends a page for each memmap page, and at 4K one for a table.
const fn pages(granule: Granule) -> u64 {
    match granule {
        Granule::K4 => (1 << 18) - 8 * 513,
        Granule::K16 => (1 << 16) - 8 * 32,
        Granule::K64 => (1 << 14) - 2 * 8,
    }
}

/// The instructions of one line of a reply.
fn find(reply: &str, operation: &str) -> Checked<u64> {
    let mut figures = reply.lines().filter_map(read);
    let figure = figures.find(|figure| figure.operation == operation && figure.instructions > 0);
    let missing = || Error::Failed(format!("no 'bench: {operation}' line with a count: {reply}"));
    figure.map(|figure| figure.instructions).ok_or_else(missing)
}

fn uses(run: &Run, granule: Granule, memmap: Memmap) -> Checked<Uses> {
    let machine = Machine { icount: true, ..Machine::firmware() }.granule(granule).cpu("neoverse-n1");
    let mut guest = Guest::boot(run, &machine.append(&format!("bench=on memmap={}", memmap.word())))?;
    let dimm = Dimm::new("bench", GIB).unreserved();
    guest.plug_well(&dimm)?;
    let start = guest.state()?.pages;
    let mut fill = |order: u32, count: u64| {
        let reply = guest.tell(&format!("bench fill {order} {count}"))?;
        let taken = reply.lines().filter_map(read).find(|f| f.operation == format!("fill-{order}"));
        let bytes = count * (granule.bytes() << order);
        ensure!(taken.is_some_and(|f| f.bytes == bytes), "not all of {bytes} bytes were taken: {reply}");
        Checked::Ok(find(&reply, &format!("fill-{order}"))? + find(&reply, &format!("drain-{order}"))?)
    };
    let pages = fill(0, pages(granule))?;
    let runs = fill((2 * MIB / granule.bytes()).trailing_zeros(), 400)?;
    let mut churns = [0; CHURNS.len()];
    for ((count, live), churn) in CHURNS.into_iter().zip(&mut churns) {
        *churn = find(&guest.tell(&format!("bench churn {count} {live}"))?, "churn")?;
    }
    ensure!(guest.state()?.pages == start, "pages are missing: {start:?} became {:?}", guest.state()?.pages);
    guest.unplug_well(&dimm)?;
    // QEMU says that the DIMM is gone before the guest has said what that cost; what it is asked then, it answers after that.
    let left = guest.state()?.memmap_demand.image_blocks;
    ensure!(left == 0, "{left} blocks on demand are left");
    let text = guest.text();
    let part = |operation| last(&text, operation, GIB).map_or(0, |figure| figure.instructions);
    let life = ["add", "online", "offline", "remove"].map(part);
    ensure!(!life.contains(&0), "a part of the DIMM's life has no figure: {life:?}");
    guest.finish()?;
    Ok(Uses { life: life.iter().sum(), pages, runs, churns })
}

/// Measures both homes.
///
/// # Errors
/// Failed when a figure is missing or zero, or not all runs were taken; else as [`Guest`].
pub fn measure(run: &Run, granule: Granule) -> Checked<Churn> {
    let [own, demand] = [Memmap::SelfHosted, Memmap::Demand].map(|memmap| uses(run, granule, memmap));
    Ok(Churn { granule, own: own?, demand: demand? })
}

impl Churn {
    /// How much of the memory can be taken and freed in single pages, once, for what its life saves: in percent, or `None` when
    /// that costs no more on demand.
    pub fn break_even(&self) -> Option<u64> {
        let more = self.demand.pages.checked_sub(self.own.pages).filter(|more| *more > 0)?;
        Some(self.own.life.saturating_sub(self.demand.life) * 100 / more)
    }

    /// One sentence for each missed goal: of one place there is none.
    pub fn missed(&self) -> Vec<String> {
        let all = CHURNS.into_iter().zip(self.own.churns.into_iter().zip(self.demand.churns));
        let missed = all.filter(|((_, live), (own, demand))| *live > 1 && demand * 100 > own * GOAL);
        missed
            .map(|((count, live), (own, demand))| {
                let granule = self.granule;
                format!(
                    "instructions of {count} random operations in {live} places at {granule}, memmap=demand: {demand}, \
                     goal {GOAL} % of {own}"
                )
            })
            .collect()
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let uses = |uses: Uses| json!({"life": uses.life, "pages": uses.pages, "runs": uses.runs, "churns": uses.churns});
        json!({
            "granule": self.granule.bytes(),
            "self": uses(self.own),
            "demand": uses(self.demand),
            "break_even_percent": self.break_even(),
        })
    }
}

/// The table as text.
pub fn text(rows: &[Churn]) -> String {
    let mut text = String::from("\nUsing 1 GiB, memmap=self -> demand (millions of guest instructions):\n");
    let _ = writeln!(
        text,
        "{:<12}{:>8}{:>15}{:>13}{:>22}{:>20}{:>18}",
        "", "life", "single pages", "2 MiB pages", "1M random in 4096", "1M random in 16", "one page, 100k"
    );
    for row in rows {
        for (home, uses) in [("self", row.own), ("demand", row.demand)] {
            let granule = if home == "self" { row.granule.name() } else { "" };
            let [wide, narrow, one] = uses.churns.map(millions);
            let (life, pages, runs) = (millions(uses.life), millions(uses.pages), millions(uses.runs));
            let _ = writeln!(
                text,
                "{granule:<4} {home:<7}{life:>8.3}{pages:>15.1}{runs:>13.3}{wide:>22.1}{narrow:>20.1}{one:>18.1}"
            );
        }
        let percent =
            |own: u64, demand: u64| format!("{:+.1} %", (millions(demand) / millions(own) - 1.0) * 100.0);
        let [wide, narrow, one] = [0, 1, 2].map(|i| (row.own.churns[i], row.demand.churns[i]));
        let _ = writeln!(
            text,
            "{:<12}{:>8}{:>15}{:>13}{:>22}{:>20}{:>18}   {}",
            "     more",
            "",
            percent(row.own.pages, row.demand.pages),
            percent(row.own.runs, row.demand.runs),
            percent(wide.0, wide.1),
            percent(narrow.0, narrow.1),
            format!("{:.1}x", millions(one.1) / millions(one.0)),
            row.break_even().map_or("no break-even".into(), |share| format!("break-even at {share} %")),
        );
    }
    text.push_str(
        "(single pages: all of it, taken and freed once; break-even: the share of it for which that costs what life saves)\n",
    );
    text
}

fn millions(instructions: u64) -> f64 {
    instructions as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::{Churn, Uses, text};
    use hotmap_client::geometry::Granule;

    fn row(pages: u64, churns: [u64; 3]) -> Churn {
        let own = Uses { life: 300_000, pages: 100_000_000, runs: 250_000, churns: [1_000_000; 3] };
        Churn { granule: Granule::K4, own, demand: Uses { life: 20_000, pages, runs: 500_000, churns } }
    }

    #[test]
    fn random_operations_have_a_goal_but_for_one_place() {
        assert_eq!(row(0, [1_100_000, 1_100_000, 9_000_000]).missed(), Vec::<String>::new());
        assert_eq!(
            row(0, [1_100_001, 900_000, 1]).missed(),
            [
                "instructions of 1000000 random operations in 4096 places at 4k, memmap=demand: 1100001, goal 110 % of 1000000"
            ]
        );
    }

    /// 280,000 are saved; all pages cost 4 million more: 7 % of them cost as much.
    #[test]
    fn what_adding_saves_is_spent_at_the_break_even() {
        assert_eq!(row(104_000_000, [1; 3]).break_even(), Some(7));
        assert_eq!(row(100_000_000, [1; 3]).break_even(), None);
        let text = text(&[row(104_000_000, [1_049_000, 981_000, 7_600_000])]);
        let more = text.lines().find(|line| line.contains("more")).expect("a row");
        for part in ["+4.0 %", "+100.0 %", "+4.9 %", "-1.9 %", "7.6x", "break-even at 7 %"] {
            assert!(more.contains(part), "{more}");
        }
    }
}
