//! What a change of a virtio memory device's requested size costs: from the guest's look at the configuration until as much
//! is plugged, 1 GiB up and down. What the guest spends on waiting for the device to answer is left out: that depends on the
//! host.

use super::costs::{Costs, Counter};
use super::figures::last;
use super::linux::resizes;
use hotmap_client::error::{Checked, Error, failed};
use hotmap_client::geometry::{GIB, Granule};
use hotmap_client::guest::Guest;
use hotmap_client::machine::Machine;
use hotmap_client::run::Run;
use hotmap_client::state::Memmap;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// The homes of the memmap that are measured.
pub const HOMES: [Memmap; 3] = [Memmap::Ram, Memmap::SelfHosted, Memmap::Demand];

/// A resize by 1 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resize {
    /// The granule.
    pub granule: Granule,
    /// Where the memmap goes.
    pub memmap: Memmap,
    /// Up.
    pub up: Costs,
    /// Down.
    pub down: Costs,
}

/// Resizes up and down once, with the plugin beside it if there is one.
///
/// # Errors
/// Failed when a figure is missing or zero, or something is left behind; else as [`Guest`].
pub fn measure(run: &Run, granule: Granule, memmap: Memmap, plugin: Option<&Path>) -> Checked<Resize> {
    let machine = Machine { icount: true, ..Machine::firmware() }.granule(granule).cpu("neoverse-n1");
    let machine = machine.append("bench=on").append(&format!("memmap={}", memmap.word()));
    let counter = Counter::new(run, plugin);
    let mut guest = Guest::boot(run, &counter.beside(machine.virtio_mem("4G,block=2M")))?;
    let before = guest.state()?;
    guest.resize(0, GIB)?;
    let after = guest.resize(0, 0)?;
    if after.pages != before.pages {
        return failed(format!("the resize left something behind: {before:?} became {after:?}"));
    }
    let text = guest.text();
    let find = |operation| match last(&text, operation, GIB) {
        Some(figure) if figure.instructions > 0 => Ok(figure),
        _ => Err(Error::Failed(format!("no 'bench: {operation} {GIB} ...' line with a count"))),
    };
    let (up, down) = (find("plugged")?, find("unplugged")?);
    guest.power_off()?;
    let seen = counter.seen()?;
    Ok(Resize { granule, memmap, up: up.counted(seen.as_ref())?, down: down.counted(seen.as_ref())? })
}

/// The rows as text.
pub fn text(rows: &[Resize]) -> String {
    let mut text = String::from(
        "\nA virtio memory device requests 1 GiB more, then 1 GiB less (millions of guest instructions; waiting for its\n\
         answers is left out; Linux: memmap in system RAM):\n",
    );
    for Resize { granule, memmap, up, down } in rows {
        let name = format!("{} memmap={}", granule.name(), memmap.word());
        let (up, down) = (up.instructions as f64 / 1e6, down.instructions as f64 / 1e6);
        let _ = writeln!(text, "{name:<24} up {up:>8.3}   down {down:>8.3}");
        let linux = if *memmap == Memmap::Ram { resizes(*granule) } else { Vec::new() };
        for linux in linux {
            let name = format!("  Linux {}", linux.build);
            let times = format!("fewer by {:.0}x, {:.0}x", linux.up / up, linux.down / down);
            let _ = writeln!(text, "{name:<24} up {:>8.3}   down {:>8.3}   {times}", linux.up, linux.down);
        }
    }
    text
}

impl Resize {
    /// The same as JSON.
    pub fn json(&self) -> Value {
        json!({
            "granule": self.granule.bytes(),
            "memmap": self.memmap.word(),
            "up": self.up.instructions,
            "down": self.down.instructions,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Costs, Resize, resizes, text};
    use hotmap_client::geometry::Granule;
    use hotmap_client::state::Memmap;

    #[test]
    fn linuxs_rows_stand_below_the_one_with_the_same_memmap() {
        let costs = |instructions| Costs { instructions, ..Costs::default() };
        let row = |granule, memmap| Resize { granule, memmap, up: costs(1_000_000), down: costs(100_000) };
        let theirs = resizes(Granule::K16);
        let rows = [
            row(Granule::K16, Memmap::Ram),
            row(Granule::K16, Memmap::Demand),
            row(Granule::K64, Memmap::Ram),
        ];
        let text = text(&rows);
        let linux: Vec<&str> = text.lines().filter(|line| line.starts_with("  Linux")).collect();
        assert!(linux.len() == theirs.len() && !linux.is_empty(), "{text}");
        let times = format!("fewer by {:.0}x, {:.0}x", theirs[0].up, theirs[0].down * 10.0);
        assert!(linux[0].contains(&theirs[0].build) && linux[0].ends_with(&times), "{}", linux[0]);
    }
}
