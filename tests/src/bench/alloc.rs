//! What taking and freeing runs costs in memory on demand, against memory that has its memmap. The machine counts instructions
//! (`-icount`, one CPU, `bench=on`).

use super::figures::read;
use hotmap_client::dimm::Dimm;
use hotmap_client::ensure;
use hotmap_client::error::{Checked, Error};
use hotmap_client::geometry::{GIB, Granule};
use hotmap_client::guest::Guest;
use hotmap_client::machine::Machine;
use hotmap_client::run::Run;
use hotmap_client::state::Memmap;
use serde_json::{Value, json};
use std::fmt::Write;

/// What a page that is taken, and one that is freed, may cost more than with `memmap=self`.
pub const MORE_GOAL: (i64, i64) = (15, 10);
/// What a run of 512 pages may cost at 4K.
pub const ORDER_9_GOAL: i64 = 1_400;
/// What populating a memmap page may cost at 4K: 600, and 15 for counting its two invalidations and the bytes that it clears.
pub const POPULATE_GOAL: i64 = 615;

/// A measurement: averages, in instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alloc {
    /// The granule.
    pub granule: Granule,
    /// With `memmap=self`.
    pub own: Each,
    /// With `memmap=demand`.
    pub demand: Each,
    /// What populating a memmap page costs: what runs of as many pages as it describes cost more.
    pub populate: i64,
}

/// How many pages are taken, and how many runs of 512.
const PAGES: u64 = 16_000;
const RUNS: u64 = 24;

/// What one of them costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Each {
    /// One page that is taken, and one that is freed.
    pub page: (i64, i64),
    /// A run of 512 pages that is taken, and one that is freed.
    pub order_9: (i64, i64),
}

/// Runs of `1 << order` pages, most of a block of them: (log2 of the pages that a memmap page describes, how many such runs).
const fn described(granule: Granule) -> (u32, u64) {
    match granule {
        Granule::K4 => (6, 500),
        Granule::K16 => (8, 30),
        Granule::K64 => (10, 7),
    }
}

/// What one `bench fill` costs: each run that is taken, each that is freed; and how many memmap pages were populated.
struct Fill {
    taken: i64,
    freed: i64,
    populated: u64,
}

fn fill(guest: &mut Guest, granule: Granule, order: u32, count: u64) -> Checked<Fill> {
    let before = guest.state()?.memmap_demand.populated;
    let reply = guest.tell(&format!("bench fill {order} {count}"))?;
    let bytes = count * (granule.bytes() << order);
    let find = |what: &str| {
        let operation = format!("{what}-{order}");
        let mut figures = reply.lines().filter_map(read);
        let figure = figures.find(|f| f.operation == operation && f.bytes == bytes && f.instructions > 0);
        let missing = || Error::Failed(format!("no 'bench: {operation} {bytes} ...' with a count: {reply}"));
        figure.map(|figure| figure.instructions.cast_signed()).ok_or_else(missing)
    };
    let populated = guest.state()?.memmap_demand.populated - before;
    Ok(Fill { taken: find("fill")?, freed: find("drain")?, populated })
}

/// The figures of one home, and of runs of as many pages as a memmap page describes.
fn home(run: &Run, granule: Granule, memmap: Memmap) -> Checked<(Each, Fill)> {
    let machine = Machine { icount: true, ..Machine::firmware() }.granule(granule).cpu("neoverse-n1");
    let machine = machine.append(&format!("bench=on memmap={}", memmap.word()));
    let mut guest = Guest::boot(run, &machine)?;
    guest.plug_well(&Dimm::new("bench", GIB).unreserved())?;
    let start = guest.state()?.pages;
    let mut each = |order, count: u64| {
        let fill = fill(&mut guest, granule, order, count)?;
        let count = count.cast_signed();
        Checked::Ok((fill.taken / count, fill.freed / count))
    };
    let figures = Each { page: each(0, PAGES)?, order_9: each(9, RUNS)? };
    let (order, count) = described(granule);
    let described = fill(&mut guest, granule, order, count)?;
    ensure!(
        guest.state()?.pages == start,
        "pages are missing: {:?} became {:?}",
        start,
        guest.state()?.pages
    );
    guest.power_off()?;
    Ok((figures, described))
}

/// Measures both homes.
///
/// # Errors
/// Failed when a figure is missing or zero, or nothing was populated on demand; else as [`Guest`].
pub fn measure(run: &Run, granule: Granule) -> Checked<Alloc> {
    let (own, plain) = home(run, granule, Memmap::SelfHosted)?;
    let (demand, populating) = home(run, granule, Memmap::Demand)?;
    ensure!(plain.populated == 0 && populating.populated > 0, "{} populated", populating.populated);
    let populate = (populating.taken - plain.taken) / populating.populated.cast_signed();
    Ok(Alloc { granule, own, demand, populate })
}

impl Alloc {
    /// What a page costs more on demand: taking and freeing it.
    pub const fn more(&self) -> (i64, i64) {
        (self.demand.page.0 - self.own.page.0, self.demand.page.1 - self.own.page.1)
    }

    /// The figures that have a goal: what, how much, the goal.
    fn judged(&self) -> Vec<(&'static str, i64, i64)> {
        let (alloc, free) = self.more();
        let mut judged = vec![
            ("taking a page, against memmap=self", alloc, MORE_GOAL.0),
            ("freeing a page, against memmap=self", free, MORE_GOAL.1),
        ];
        if self.granule == Granule::K4 {
            judged.push(("taking 512 pages", self.demand.order_9.0, ORDER_9_GOAL));
            judged.push(("populating a memmap page", self.populate, POPULATE_GOAL));
        }
        judged
    }

    /// One sentence for each missed goal.
    pub fn missed(&self) -> Vec<String> {
        let missed = self.judged().into_iter().filter(|(_, is, goal)| is > goal);
        missed
            .map(|(what, is, goal)| {
                format!("instructions of {what} at {}, memmap=demand: {is}, goal {goal}", self.granule)
            })
            .collect()
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let each = |each: Each| {
            json!({
                "alloc": each.page.0,
                "free": each.page.1,
                "alloc_order_9": each.order_9.0,
                "free_order_9": each.order_9.1,
            })
        };
        json!({
            "granule": self.granule.bytes(),
            "self": each(self.own),
            "demand": each(self.demand),
            "populate": self.populate,
        })
    }
}

/// The table as text.
pub fn text(rows: &[Alloc]) -> String {
    let mut text =
        String::from("\nTaking and freeing runs, memmap=self -> demand (guest instructions for each):\n");
    for row in rows {
        let (own, demand, (alloc, free)) = (row.own, row.demand, row.more());
        let goal =
            |goal: i64| if row.granule == Granule::K4 { format!("goal {goal}") } else { String::new() };
        let _ = writeln!(
            text,
            "{:<4} 1 page: take {} -> {}  {alloc:>+3} goal {:+}   free {} -> {}  {free:>+3} goal {:+}   \
             512 pages: take {} -> {:>4}  {:<9}   populate {:>4}  {}",
            row.granule.name(),
            own.page.0,
            demand.page.0,
            MORE_GOAL.0,
            own.page.1,
            demand.page.1,
            MORE_GOAL.1,
            own.order_9.0,
            demand.order_9.0,
            goal(ORDER_9_GOAL),
            row.populate,
            goal(POPULATE_GOAL),
        );
    }
    let trimmed: Vec<&str> = text.lines().map(str::trim_end).collect();
    trimmed.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::{Alloc, Each, text};
    use hotmap_client::geometry::Granule;

    const OWN: Each = Each { page: (262, 378), order_9: (265, 377) };

    fn row(granule: Granule, page: (i64, i64), order_9: i64, populate: i64) -> Alloc {
        Alloc { granule, own: OWN, demand: Each { page, order_9: (order_9, 999) }, populate }
    }

    #[test]
    fn a_page_has_goals_at_each_granule_and_a_run_at_4k() {
        assert_eq!(row(Granule::K4, (277, 388), 1_400, 615).missed(), Vec::<String>::new());
        assert_eq!(row(Granule::K16, (277, 388), 1_401, 601).missed(), Vec::<String>::new());
        assert_eq!(
            row(Granule::K4, (278, 389), 1_401, 616).missed(),
            [
                "instructions of taking a page, against memmap=self at 4k, memmap=demand: 16, goal 15",
                "instructions of freeing a page, against memmap=self at 4k, memmap=demand: 11, goal 10",
                "instructions of taking 512 pages at 4k, memmap=demand: 1401, goal 1400",
                "instructions of populating a memmap page at 4k, memmap=demand: 616, goal 615"
            ]
        );
    }

    #[test]
    fn a_row_shows_the_difference_beside_its_goal() {
        let text = text(&[row(Granule::K4, (271, 376), 1_085, 533)]);
        let row = text.lines().find(|line| line.starts_with("4k")).expect("a row");
        for part in
            ["262 -> 271   +9 goal +15", "378 -> 376   -2 goal +10", "265 -> 1085", "populate  533  goal 615"]
        {
            assert!(row.contains(part), "{row}");
        }
    }
}
