//! The life of a DIMM: it is plugged, self-hosted, used and unplugged, and the counts are those of the start.

use super::arithmetic::Added;
use super::looking;
use super::test::{Test, slotted};
use crate::eyes;
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During};
use hotmap_client::geometry::{GIB, GRANULES, Granule};
use hotmap_client::guest::{Guest, Plugged};
use hotmap_client::machine::Machine;
use hotmap_client::run::Run;
use hotmap_client::state::{BlockState, Memmap, State, ZoneName};
use hotmap_client::{ensure, ensure_eq};

/// The reference, which has no FEAT_BBM, and the CPU with all features.
const CPUS: [&str; 2] = ["neoverse-n1", "max"];

/// Where the DIMM may have its memmap.
pub(super) const HOMES: [Memmap; 3] = [Memmap::SelfHosted, Memmap::Ram, Memmap::Demand];

/// 1 TiB beyond the start of RAM.
const FAR: u64 = (1 << 40) + (1 << 30);

/// Tables that a DIMM may need far from other memory: levels 1 to 3 for the linear map, and for vmemmap.
const MOST_FAR_TABLES: u64 = 6;

pub(super) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for granule in GRANULES {
        for cpu in CPUS {
            for memmap in HOMES {
                let word = memmap.word();
                let machine = slotted(granule).cpu(cpu).append(&format!("memmap={word}"));
                let body = move |run: &Run| whole_life(run, &machine, granule, memmap);
                tests.push(Test::new(format!("life/{granule}/memmap-{word}/{cpu}"), body));
            }
        }
        tests.push(Test::new(format!("life/{granule}/far"), move |run: &Run| far_away(run, granule)));
        let el2 = Machine {
            entry: hotmap_client::machine::Entry::El2,
            smp: Some(4),
            gic: Some(2),
            ..slotted(granule)
        };
        let body = move |run: &Run| whole_life(run, &el2, granule, Memmap::SelfHosted);
        tests.push(Test::new(format!("life/{granule}/el2-gic2-smp4"), body));
    }
    tests
}

/// A DIMM 1 TiB away from all memory needs tables of its own, which are freed with it.
fn far_away(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule).maxmem("4T"))?;
    let start = guest.state()?;
    let dimm = Dimm::new("far", granule.block()).at(FAR);
    let plugged = guest.plug_well(&dimm)?;
    let state = guest.state()?;
    is_listed_online(&state, plugged, granule, Memmap::SelfHosted)?;
    let tables = state.pages.tables - start.pages.tables;
    ensure!(tables <= MOST_FAR_TABLES, "a DIMM at {FAR:#x} cost {tables} table pages");
    let added = Added { granule, size: plugged.size, memmap: Memmap::SelfHosted, online: true };
    ensure_eq!(state.pages, added.on_top_of(start.pages, tables), "pages with a DIMM at {FAR:#x}");
    looking::linear_map_leads_to(&mut guest, &state, plugged)?;
    looking::memmap_lies_in_its_place(&mut guest, &state, granule, plugged.address, Memmap::SelfHosted)?;
    guest.tell("audit").during("with the far DIMM online")?;
    guest.unplug_well(&dimm)?;
    looking::nothing_is_left(&mut guest, &state, granule, plugged)?;
    let end = guest.state()?;
    ensure_eq!(end.pages, start.pages, "pages after the far DIMM");
    guest.finish()?;
    Ok(format!("{tables} table pages"))
}

fn whole_life(run: &Run, machine: &Machine, granule: Granule, memmap: Memmap) -> Checked<String> {
    let mut guest = Guest::boot(run, machine)?;
    let start = guest.state()?;
    ensure!(start.dimms.is_empty(), "a DIMM before any was plugged: {:?}", start.dimms);
    let dimm = Dimm::new("d0", GIB);
    let plugged = guest.plug_well(&dimm)?;
    let state = guest.state().during("after plugging")?;
    let tables = lives(&mut guest, &start, &state, plugged, granule, memmap)?;
    guest.tell("audit").during("with the DIMM online")?;
    guest.unplug_well(&dimm)?;
    looking::nothing_is_left(&mut guest, &state, granule, plugged)?;
    let end = guest.state().during("after unplugging")?;
    ensure_eq!(end.pages, start.pages, "pages after the DIMM's life");
    ensure_eq!(end.zones, start.zones, "zones after the DIMM's life");
    ensure_eq!(end.blocks, start.blocks, "blocks after the DIMM's life");
    ensure_eq!(end.heap, start.heap, "heap after the DIMM's life");
    ensure!(end.dimms.is_empty(), "DIMMs after the only one was unplugged: {:?}", end.dimms);
    guest.finish()?;
    Ok(format!("1G for {tables} table pages"))
}

/// Checks a plugged, online DIMM: `state`, then QEMU's walk.
fn lives(
    guest: &mut Guest,
    start: &State,
    state: &State,
    plugged: Plugged,
    granule: Granule,
    memmap: Memmap,
) -> Checked<u64> {
    is_listed_online(state, plugged, granule, memmap)?;
    let added = Added { granule, size: plugged.size, memmap, online: true };
    let tables = added.check(&start.pages, &state.pages)?;
    looking::linear_map_leads_to(guest, state, plugged)?;
    for start in [plugged.address, plugged.address + plugged.size - granule.block()] {
        looking::memmap_lies_in_its_place(guest, state, granule, start, memmap)?;
    }
    let region = eyes::region_at(&mut guest.qmp, plugged.address)?;
    ensure_eq!(region.as_deref(), Some("mem-d0"), "what QEMU's machine has at {:#x}", plugged.address);
    Ok(tables)
}

/// `state` lists the DIMM where QEMU put it, and each of its blocks online in Movable.
pub(super) fn is_listed_online(state: &State, plugged: Plugged, granule: Granule, memmap: Memmap) -> Checked {
    let Some(dimm) = state.dimm(plugged.slot) else {
        return hotmap_client::error::failed(format!(
            "slot {} is not listed: {:?}",
            plugged.slot, state.dimms
        ));
    };
    let place = (dimm.start, dimm.size, dimm.state.as_str());
    ensure_eq!(place, (plugged.address, plugged.size, "online"), "DIMM in slot {}", plugged.slot);
    let blocks = state.blocks_in(plugged.address, plugged.size);
    ensure_eq!(blocks.len() as u64, plugged.size / granule.block(), "blocks of the DIMM");
    for block in blocks {
        let at = block.start;
        ensure_eq!((block.state, block.zone), (BlockState::Online, ZoneName::Movable), "block {at:#x}");
        ensure_eq!(block.source, format!("dimm{}", plugged.slot), "source of block {at:#x}");
        ensure_eq!(block.memmap, memmap, "memmap of block {at:#x}");
        let own = if memmap == Memmap::SelfHosted { granule.memmap_per_block() } else { 0 };
        ensure_eq!(block.usable_start, at + own, "usable start of block {at:#x}");
    }
    Ok(())
}
