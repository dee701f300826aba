//! What memory costs with `memmap=demand`: the life of a DIMM of 1 GiB, and of 1 TiB in a small guest. The machine counts
//! instructions (`-icount`, one CPU, `bench=on`).

use super::audit;
use super::figures::last;
use super::measure::Life;
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, Error, failed};
use hotmap_client::geometry::{GIB, Granule};
use hotmap_client::guest::Guest;
use hotmap_client::machine::Machine;
use hotmap_client::run::Run;
use hotmap_client::state::State;
use serde_json::{Value, json};
use std::fmt::Write;

/// The DIMM that is large, in bytes.
pub const TIB: u64 = 1024 * GIB;

/// How many instructions adding 1 GiB may cost, and how many its whole life.
pub const fn goals(granule: Granule) -> (u64, u64) {
    match granule {
        Granule::K4 => (10_000, 35_000),
        Granule::K16 => (15_000, 50_000),
        Granule::K64 => (6_000, 18_000),
    }
}

/// One sentence for each goal that a life of 1 GiB misses.
pub fn missed(life: &Life) -> Vec<String> {
    let (granule, (add, whole)) = (life.subject.granule, goals(life.subject.granule));
    let figures = [("add", life.add.instructions, add), ("life", life.total(), whole)];
    let missed = figures.into_iter().filter(|(_, is, goal)| is > goal);
    missed
        .map(|(what, is, goal)| {
            format!("instructions of {what}, 1 GiB at {granule}, memmap=demand: {is}, goal {goal}")
        })
        .collect()
}

/// What a DIMM of 1 TiB costs a guest of 256 MiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tebibyte {
    /// The granule.
    pub granule: Granule,
    /// The costs.
    pub cost: Cost,
}

/// What is counted of it: a measurement, or limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Instructions of add and online.
    pub plug: u64,
    /// Instructions of offline and remove.
    pub unplug: u64,
    /// Instructions of an audit.
    pub audit: u64,
    /// Bytes of heap and of tables, while the DIMM is there.
    pub bytes: u64,
}

impl Cost {
    const fn parts(self) -> [(&'static str, u64); 4] {
        [
            ("instructions of add and online", self.plug),
            ("instructions of offline and remove", self.unplug),
            ("instructions of an audit", self.audit),
            ("bytes of heap and tables", self.bytes),
        ]
    }
}

/// The most that it may cost: a little more than today. Above the goals are the bytes at 16K and 64K (64 KiB), and what
/// unplugging costs at 64K (100,000).
pub const fn limits(granule: Granule) -> Cost {
    match granule {
        Granule::K4 => Cost { plug: 30_000, unplug: 50_000, audit: 90_000, bytes: 28 << 10 },
        Granule::K16 => Cost { plug: 180_000, unplug: 300_000, audit: 500_000, bytes: 308 << 10 },
        Granule::K64 => Cost { plug: 100_000, unplug: 150_000, audit: 500_000, bytes: 132 << 10 },
    }
}

/// Plugs 1 TiB, audits, and unplugs it.
///
/// # Errors
/// Failed when a figure is missing or zero, or the DIMM left something behind; else as [`Guest`].
pub fn measure(run: &Run, granule: Granule) -> Checked<Tebibyte> {
    let machine = Machine { icount: true, ..Machine::firmware() }.granule(granule).cpu("neoverse-n1");
    let machine = machine.memory("256M").maxmem("1100G").append("bench=on memmap=demand");
    let mut guest = Guest::boot(run, &machine)?;
    let before = guest.state()?;
    let dimm = Dimm::new("bench", TIB).unreserved();
    guest.plug_well(&dimm)?;
    let there = guest.state()?;
    let audit = audit::instructions(&mut guest)?;
    guest.unplug_well(&dimm)?;
    let after = guest.state()?;
    if (bytes(&after, granule), after.pages) != (bytes(&before, granule), before.pages) {
        return failed(format!("the DIMM left something behind: {before:?} became {after:?}"));
    }
    let text = guest.text();
    let find = |operation| match last(&text, operation, TIB) {
        Some(figure) if figure.instructions > 0 => Ok(figure.instructions),
        _ => Err(Error::Failed(format!("no 'bench: {operation} {TIB} ...' line with a count"))),
    };
    let cost = Cost {
        plug: find("add")? + find("online")?,
        unplug: find("offline")? + find("remove")?,
        audit,
        bytes: bytes(&there, granule).saturating_sub(bytes(&before, granule)),
    };
    guest.power_off()?;
    Ok(Tebibyte { granule, cost })
}

/// Bytes of heap and of tables.
fn bytes(state: &State, granule: Granule) -> u64 {
    state.heap.map_or(0, |heap| heap.used) + state.pages.tables * granule.bytes()
}

impl Tebibyte {
    /// One sentence for each limit that is passed.
    pub fn missed(&self) -> Vec<String> {
        let parts = self.cost.parts().into_iter().zip(limits(self.granule).parts());
        let missed = parts.filter(|((_, is), (_, limit))| is > limit);
        missed
            .map(|((what, is), (_, limit))| {
                format!("{what}, 1 TiB at {}, memmap=demand: {is}, limit {limit}", self.granule)
            })
            .collect()
    }

    /// As JSON.
    pub fn json(&self) -> Value {
        let cost = |cost: Cost| json!({"plug": cost.plug, "unplug": cost.unplug, "audit": cost.audit, "bytes": cost.bytes});
        json!({
            "granule": self.granule.bytes(),
            "cost": cost(self.cost),
            "limits": cost(limits(self.granule)),
        })
    }
}

/// The tables as text.
pub fn text(lives: &[Life], tebibytes: &[Tebibyte]) -> String {
    let mut text = String::from("\nmemmap=demand: a DIMM of 1 GiB (guest instructions):\n");
    for life in lives {
        let (add, whole) = goals(life.subject.granule);
        let _ = writeln!(
            text,
            "{:<4} add {:>5} goal {add:>5}   online {:>5}   offline {:>5}   remove {:>6}   sum {:>6} goal {whole:>6}",
            life.subject.granule.name(),
            life.add.instructions,
            life.online.instructions,
            life.offline.instructions,
            life.remove.instructions,
            life.total(),
        );
    }
    text.push_str(
        "\nmemmap=demand: a DIMM of 1 TiB in a guest of 256 MiB (millions of guest instructions):\n",
    );
    for row in tebibytes {
        let (is, most) = (row.cost, limits(row.granule));
        let millions = |instructions: u64| instructions as f64 / 1e6;
        let _ = writeln!(
            text,
            "{:<4} add, online {:>6.3} limit {:>5.2}   offline, remove {:>6.3} limit {:>5.2}   \
             audit {:>6.2} limit {:>4.1}   heap, tables {:>4} KiB limit {:>4}",
            row.granule.name(),
            millions(is.plug),
            millions(most.plug),
            millions(is.unplug),
            millions(most.unplug),
            millions(is.audit),
            millions(most.audit),
            is.bytes.div_ceil(1024),
            most.bytes >> 10,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Tebibyte, limits, text};
    use hotmap_client::geometry::Granule;

    #[test]
    fn a_tebibyte_may_cost_the_limits_and_no_more() {
        let row = Tebibyte { granule: Granule::K4, cost: limits(Granule::K4) };
        assert_eq!(row.missed(), Vec::<String>::new());
        let mut over = row;
        over.cost.plug += 1;
        over.cost.bytes += 1;
        assert_eq!(
            over.missed(),
            [
                "instructions of add and online, 1 TiB at 4k, memmap=demand: 30001, limit 30000",
                "bytes of heap and tables, 1 TiB at 4k, memmap=demand: 28673, limit 28672"
            ]
        );
        assert!(text(&[], &[over]).contains("KiB limit   28"), "{}", text(&[], &[over]));
    }
}
