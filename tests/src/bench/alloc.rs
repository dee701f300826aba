//! What taking and freeing runs costs in memory on demand, against memory that has its memmap. The machine counts instructions
//! (`-icount`, one CPU, `bench=on`).

use super::costs::{Costs, Counter};
use super::figures::{Figure, read};
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
use std::path::Path;

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

/// The orders of the runs that are taken, and how many of each.
pub const ORDERS: [(u32, u64); 2] = [(0, 16_000), (9, 24)];

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

/// One `bench fill`: how many runs, what taking them all costs and what freeing them, and how many memmap pages were populated.
struct Fill {
    runs: u64,
    taken: Figure,
    freed: Figure,
    populated: u64,
}

impl Fill {
    /// What each run costs that is taken, and each that is freed.
    fn each(&self) -> (i64, i64) {
        let each = |figure: &Figure| (figure.instructions / self.runs).cast_signed();
        (each(&self.taken), each(&self.freed))
    }
}

fn fill(guest: &mut Guest, granule: Granule, order: u32, runs: u64) -> Checked<Fill> {
    let before = guest.state()?.memmap_demand.populated;
    let reply = guest.tell(&format!("bench fill {order} {runs}"))?;
    let bytes = runs * (granule.bytes() << order);
    let find = |what: &str| {
        let operation = format!("{what}-{order}");
        let mut figures = reply.lines().filter_map(read);
        let figure = figures.find(|f| f.operation == operation && f.bytes == bytes && f.instructions > 0);
        let missing = || Error::Failed(format!("no 'bench: {operation} {bytes} ...' with a count: {reply}"));
        figure.ok_or_else(missing)
    };
    let populated = guest.state()?.memmap_demand.populated - before;
    Ok(Fill { runs, taken: find("fill")?, freed: find("drain")?, populated })
}

/// What each of [`ORDERS`] costs with a home, then runs of as many pages as a memmap page describes.
fn home(run: &Run, granule: Granule, memmap: Memmap, counter: &Counter) -> Checked<[Fill; 3]> {
    let machine = Machine { icount: true, ..Machine::firmware() }.granule(granule).cpu("neoverse-n1");
    let machine = machine.append(&format!("bench=on memmap={}", memmap.word()));
    let mut guest = Guest::boot(run, &counter.beside(machine))?;
    guest.plug_well(&Dimm::new("bench", GIB).unreserved())?;
    let start = guest.state()?.pages;
    let [page, large] = ORDERS;
    let mut fill = |(order, runs)| fill(&mut guest, granule, order, runs);
    let fills = [fill(page)?, fill(large)?, fill(described(granule))?];
    let pages = guest.state()?.pages;
    ensure!(pages == start, "pages are missing: {start:?} became {pages:?}");
    guest.power_off()?;
    Ok(fills)
}

/// Runs of an order that were taken and freed.
#[derive(Clone, Copy, Debug)]
pub struct Runs {
    /// The order.
    pub order: u32,
    /// How many there were.
    pub count: u64,
    /// What it cost to take them.
    pub taken: Costs,
    /// What it cost to free them.
    pub freed: Costs,
}

/// Takes and frees runs of each of [`ORDERS`], with the plugin beside them.
///
/// # Errors
/// As [`measure`].
pub fn runs(run: &Run, granule: Granule, memmap: Memmap, plugin: &Path) -> Checked<Vec<Runs>> {
    let counter = Counter::new(run, Some(plugin));
    let fills = home(run, granule, memmap, &counter)?;
    let seen = counter.seen()?;
    let runs = ORDERS.iter().zip(&fills).map(|((order, count), fill)| {
        let [taken, freed] = [&fill.taken, &fill.freed].map(|figure| figure.counted(seen.as_ref()));
        Ok(Runs { order: *order, count: *count, taken: taken?, freed: freed? })
    });
    runs.collect()
}

/// Measures both homes.
///
/// # Errors
/// Failed when a figure is missing or zero, or nothing was populated on demand; else as [`Guest`].
pub fn measure(run: &Run, granule: Granule) -> Checked<Alloc> {
    let counter = Counter::new(run, None);
    let home = |memmap| home(run, granule, memmap, &counter);
    let (own, demand) = (home(Memmap::SelfHosted)?, home(Memmap::Demand)?);
    let [.., plain] = &own;
    let [.., populating] = &demand;
    ensure!(plain.populated == 0 && populating.populated > 0, "{} populated", populating.populated);
    let more = (populating.taken.instructions - plain.taken.instructions) / populating.populated;
    let each = |[page, order_9, _]: &[Fill; 3]| Each { page: page.each(), order_9: order_9.each() };
    Ok(Alloc { granule, own: each(&own), demand: each(&demand), populate: more.cast_signed() })
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
