//! What an audit of a large DIMM costs. The machine counts instructions (`-icount`, one CPU, `bench=on`).

use super::figures;
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, failed};
use hotmap_client::geometry::{GIB, Granule, size_text};
use hotmap_client::guest::Guest;
use hotmap_client::machine::Machine;
use hotmap_client::run::Run;
use serde_json::{Value, json};

/// Instructions that an audit may cost for each GiB: 300 million for a TiB.
pub const GOAL_PER_GIB: u64 = 300_000_000 / 1024;
/// The DIMM's sizes in GiB: what the second costs more than the first is what so much memory costs.
pub const SIZES: [u64; 2] = [16, 32];

/// A measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The granule.
    pub granule: Granule,
    /// The DIMM's bytes.
    pub size: u64,
    /// What the audit costs, boot memory included.
    pub instructions: u64,
}

/// Audits a machine with a self-hosted DIMM of `gib` GiB.
///
/// # Errors
/// Failed when the audit finds something or counted nothing; else as [`Guest`].
pub fn measure(run: &Run, granule: Granule, gib: u64) -> Checked<Audit> {
    let machine = Machine { icount: true, ..Machine::firmware() };
    let machine = machine.granule(granule).cpu("neoverse-n1").maxmem("256G").append("bench=on memmap=self");
    let mut guest = Guest::boot(run, &machine)?;
    let dimm = Dimm::new("audited", gib * GIB).unreserved();
    guest.plug_well(&dimm)?;
    let instructions = instructions(&mut guest)?;
    guest.power_off()?;
    Ok(Audit { granule, size: dimm.size, instructions })
}

/// What an audit costs on a machine that counts instructions.
pub(super) fn instructions(guest: &mut Guest) -> Checked<u64> {
    let reply = guest.tell("audit")?;
    let figure = reply.lines().filter_map(figures::read).find(|figure| figure.operation == "audit");
    match figure {
        Some(figure) if figure.instructions > 0 => Ok(figure.instructions),
        _ => failed(format!("no 'bench: audit' line with a count: {reply}")),
    }
}

impl Audit {
    /// The row of the table.
    pub(super) fn text(&self) -> String {
        let (size, millions) = (size_text(self.size), self.instructions as f64 / 1e6);
        let per_gib = millions / (self.size / GIB) as f64;
        format!("{:<4} {size:>4}   audit {millions:>7.3}   per GiB {per_gib:.3}", self.granule.name())
    }

    /// Instructions for each GiB of the DIMM.
    pub const fn per_gib(&self) -> u64 {
        self.instructions / (self.size / GIB)
    }

    pub(super) fn json(&self) -> Value {
        json!({ "granule": self.granule.bytes(), "dimm_bytes": self.size, "audit": self.instructions })
    }
}
