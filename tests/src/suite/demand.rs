//! Memmap on demand: QEMU's own walker looks at the memmap of a block while pages of it are taken and freed, and the host's
//! kernel says how much memory a DIMM has cost.

use super::looking;
use super::test::{Test, per_granule, slotted};
use crate::eyes;
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During};
use hotmap_client::geometry::{GIB, Granule, MIB};
use hotmap_client::guest::{Guest, Plugged};
use hotmap_client::machine::Machine;
use hotmap_client::run::Run;
use hotmap_client::state::{MemmapDemand, State};
use hotmap_client::{ensure, ensure_eq};

const TIB: u64 = 1 << 40;
/// The most memory of the host that a DIMM of a TiB may cost while 100 pages of it are used.
const MOST_RESIDENT: u64 = 64 * MIB;

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("demand/seen", qemu_sees_what_is_populated);
    tests.extend(per_granule("demand/tebibyte", a_tebibyte_costs_the_host_nothing));
    tests.extend(per_granule("demand/unplug/movable", |run, granule| {
        unplugged_under_load(run, granule, "movable")
    }));
    tests.extend(per_granule("demand/unplug/normal", |run, granule| {
        unplugged_under_load(run, granule, "normal")
    }));
    tests.extend(per_granule("demand/poison", lent_pages_are_poisoned));
    tests.extend(per_granule("demand/again", a_block_comes_back));
    tests.extend(per_granule("demand/kmem", a_devices_memory_is_on_demand));
    tests
}

fn machine(granule: Granule) -> Machine {
    slotted(granule).append("memmap=demand")
}

/// The memmap pages in which runs begin once the first page of a block is taken: its first, and those of the upper half, the
/// second quarter, the second eighth, ... by hand. At 4K the page is behind the 512 that are set aside: 9, 10 and 12 are in the
/// next 512.
const fn begun(granule: Granule) -> &'static [usize] {
    match granule {
        Granule::K4 => &[0, 1, 2, 4, 8, 9, 10, 12, 16, 32, 64, 128, 256],
        Granule::K16 => &[0, 1, 2, 4, 8, 16],
        Granule::K64 => &[0, 1, 2, 4],
    }
}

/// At 4K a block whose memmap is not the image's has a table of its own.
const fn tables(granule: Granule) -> u64 {
    matches!(granule, Granule::K4) as u64
}

/// The block at `start` lends what the first page of it needs: QEMU finds a frame of the block for each memmap page in which
/// a run begins, and the page of tails for each other. Returns the frames.
fn first_page_is_taken(
    guest: &mut Guest,
    state: &State,
    granule: Granule,
    start: u64,
    tails: u64,
) -> Checked<Vec<u64>> {
    let leads_to = looking::memmap_leads_to(guest, state, granule, start)?;
    let (own, others): (Vec<_>, Vec<_>) =
        leads_to.iter().enumerate().partition(|(_, frame)| **frame != tails);
    let numbers: Vec<usize> = own.iter().map(|(number, _)| *number).collect();
    ensure_eq!(numbers, begun(granule), "memmap pages of {start:#x} with a frame of their own");
    let mut frames: Vec<u64> = own.into_iter().map(|(_, frame)| *frame).collect();
    ensure!(others.len() + frames.len() == leads_to.len(), "a memmap page is neither");
    let stray = frames.iter().find(|frame| !(start..start + granule.block()).contains(*frame));
    ensure!(stray.is_none(), "a frame of the memmap of {start:#x} is at {:#x}", stray.unwrap_or(&0));
    frames.sort_unstable();
    let found = frames.len();
    frames.dedup();
    ensure_eq!(frames.len(), found, "frames of the memmap of {start:#x}, each once");
    Ok(frames)
}

/// Two frames for a free block; as many more as runs begin in when one page is taken; two when it is freed.
fn qemu_sees_what_is_populated(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(granule))?;
    let dimm = Dimm::new("d0", granule.block());
    let start = guest.plug_well(&dimm)?.address;
    let state = guest.state()?;
    let image = looking::memmap_is_the_image(&mut guest, &state, granule, start).during("all free")?;
    ensure_eq!(state.memmap_demand, MemmapDemand { image_blocks: 1, ..Default::default() }, "on demand");

    guest.tell("tenant new 1")?;
    let frames = first_page_is_taken(&mut guest, &state, granule, start, image.1).during("one page taken")?;
    let (private, tables) = (frames.len() as u64, tables(granule));
    let taken =
        MemmapDemand { private, lent: private + tables, tables, populated: private, ..Default::default() };
    ensure_eq!(guest.state()?.memmap_demand, taken, "on demand, with one page taken");
    let blocks = guest.tell("blocks")?;
    let memmap_pages = granule.pages(granule.memmap_per_block());
    ensure!(blocks.contains(&format!("memmap {private} of {memmap_pages}")), "blocks says {blocks}");
    let lent = guest.tell(&format!("walk addr:{start:#x}"))?;
    ensure!(lent.contains("lent: memmap page 0 of its block"), "walk says {lent}");

    guest.tell("tenant drop")?;
    let again = looking::memmap_is_the_image(&mut guest, &state, granule, start).during("free again")?;
    ensure_eq!(again, image, "the frames of the image");
    let freed =
        MemmapDemand { image_blocks: 1, populated: private, given_back: private, ..Default::default() };
    ensure_eq!(guest.state()?.memmap_demand, freed, "on demand, free again");
    for (command, word) in
        [("blocks", "memmap image"), (&format!("walk addr:{start:#x}"), "the image of a free block")]
    {
        let said = guest.tell(command)?;
        ensure!(said.contains(word), "{command} says {said}");
    }
    guest.unplug_well(&dimm)?;
    guest.finish()?;
    Ok(format!("{private} frames of {memmap_pages}"))
}

/// The tables of a TiB: of the linear map one for each 512 GiB at 4K, 64 GiB at 16K, 4 TiB at 64K; of the memmap one that all
/// groups share, and one for each end that is a part of a group; one above each kind.
const fn most_tables(granule: Granule) -> u64 {
    let linear = match granule {
        Granule::K4 => 3,
        Granule::K16 => 17,
        Granule::K64 => 1,
    };
    linear + 3 + 2
}

/// A DIMM of a TiB that the host has not reserved is plugged, taken offline, online, and unplugged: no byte of it is touched.
fn a_tebibyte_costs_the_host_nothing(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(granule).maxmem("2T"))?;
    let start = guest.state()?;
    let dimm = Dimm::new("d0", TIB).unreserved();
    let at = guest.plug_well(&dimm)?.address;
    // The DIMM begins and ends in the middle of tables of the linear map, between boot memory and another DIMM.
    let above = Dimm::new("d1", GIB).unreserved();
    ensure_eq!(guest.plug_well(&above)?.address, at + TIB, "the DIMM above");
    guest.unplug_well(&dimm)?;
    linear_map_is(&mut guest, at, false)?;
    guest.plug_well(&dimm)?;
    linear_map_is(&mut guest, at, true)?;
    guest.unplug_well(&above)?;
    ensure_eq!(guest.resident(TIB)?, 0, "bytes of the DIMM that are resident after the plug");
    let plugged = guest.state()?;
    ensure_eq!(plugged.memmap_demand.image_blocks, TIB / granule.block(), "blocks that map the image");
    let tables = plugged.pages.tables - start.pages.tables;
    ensure!(tables <= most_tables(granule), "{tables} tables for a TiB");
    let image = looking::memmap_is_the_image(&mut guest, &plugged, granule, at).during("all free")?;
    for block in [at, at + TIB / 2, at + TIB - granule.block()] {
        guest.tell(&format!("offline {block:#x}"))?;
        guest.tell(&format!("online {block:#x}"))?;
    }
    guest.tell("audit")?;
    ensure_eq!(guest.resident(TIB)?, 0, "bytes that are resident after offline, online and an audit");
    guest.tell("tenant new 100")?;
    let used = guest.resident(TIB)?;
    ensure!((1..MOST_RESIDENT).contains(&used), "{used} bytes are resident with 100 pages in use");
    let others =
        looking::memmap_is_the_image(&mut guest, &plugged, granule, at).during("100 pages in use")?;
    ensure_eq!(others, image, "the frames of the memmap of a block in another group");
    guest.tell("audit").during("100 pages in use")?;
    guest.tell("tenant drop")?;
    guest.unplug_well(&dimm)?;
    ensure_eq!(guest.state()?.pages, start.pages, "pages after the DIMM");
    guest.finish()?;
    Ok(format!("{} KiB resident with 100 pages in use", used / 1024))
}

/// QEMU finds boot memory and the DIMM above in the linear map, and in all parts of the DIMM of a TiB at `at` what is mapped.
fn linear_map_is(guest: &mut Guest, at: u64, mapped: bool) -> Checked<()> {
    let state = guest.state()?;
    let neighbours = [0x4000_0000, 0x4000_0000 + 128 * MIB, at + TIB, at + TIB + GIB - 1];
    let own = [0, 1, 3 * GIB, 63 * GIB, 64 * GIB, TIB / 2 + 5, TIB - 1].map(|offset| at + offset);
    for (place, mapped) in neighbours.map(|place| (place, true)).into_iter().chain(own.map(|o| (o, mapped))) {
        let seen = eyes::translate(&mut guest.qmp, state.linear_address(place))?;
        ensure_eq!(seen, mapped.then_some(place), "the linear map of {place:#x}");
    }
    Ok(())
}

/// A DIMM of two blocks in a zone, by hand. Its blocks are where tenants' pages come from if it is in Movable.
fn online_in(guest: &mut Guest, granule: Granule, zone: &str) -> Checked<(Dimm, Plugged)> {
    let dimm = Dimm::new("d0", 2 * granule.block());
    let plugged = guest.plug_well(&dimm)?;
    for block in [plugged.address, plugged.address + granule.block()] {
        guest.tell(&format!("online {block:#x} {zone}"))?;
    }
    Ok((dimm, plugged))
}

/// Tenants come and go in a DIMM, which is unplugged while they use it: their pages migrate with their contents.
fn unplugged_under_load(run: &Run, granule: Granule, zone: &str) -> Checked<String> {
    let memory = if granule == Granule::K64 { "1G" } else { "512M" };
    let mut guest = Guest::boot(run, &machine(granule).memory(memory).append("online=manual"))?;
    let start = guest.state()?;
    let (dimm, plugged) = online_in(&mut guest, granule, zone)?;
    let empty = guest.state()?;
    // Zone Normal is filled from its newest block on for movable pages, as Movable is.
    let counts = [granule.pages(granule.block() / 3), 700, 1, granule.pages(granule.block() / 4)];
    for count in counts {
        guest.tell(&format!("tenant new {count}"))?;
        guest.tell("audit")?;
    }
    // The third is one page between the second and the fourth.
    guest.tell("tenant drop 2")?;
    guest.tell("audit").during("with holes")?;
    let used = guest.state()?;
    let inside: u64 = used.blocks_in(plugged.address, plugged.size).iter().map(|b| b.tenant_pages).sum();
    ensure!(
        inside > 0 && used.memmap_demand.private > 0,
        "{inside} tenant pages in the DIMM: {:?}",
        used.memmap_demand
    );
    guest.unplug_well(&dimm)?;
    guest.tell("tenant check").during("after the move")?;
    guest.tell("audit").during("after the move")?;
    guest.tell("tenant drop")?;
    guest.tell("tenant drop")?;
    guest.tell("tenant drop")?;
    ensure_eq!(guest.state()?.pages, start.pages, "pages at the end");
    ensure_eq!(empty.memmap_demand.image_blocks, 2, "blocks that map the image, before");
    guest.finish()?;
    Ok(format!("{inside} pages moved, {} memmap pages populated", used.memmap_demand.populated))
}

/// A page that is lent can be poisoned: what it holds moves to another page of the block, and its DIMM can be pulled.
fn lent_pages_are_poisoned(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(granule))?;
    let start = guest.state()?;
    let dimm = Dimm::new("d0", granule.block());
    let at = guest.plug_well(&dimm)?.address;
    let state = guest.state()?;
    let (_, tails) = looking::memmap_is_the_image(&mut guest, &state, granule, at)?;
    guest.tell("tenant new 1")?;
    let before = first_page_is_taken(&mut guest, &state, granule, at, tails)?;
    for frame in &before {
        let pfn = granule.pages(*frame);
        let said = guest.tell(&format!("page {pfn:#x}"))?;
        ensure!(said.contains("lent: memmap page"), "page {pfn:#x} says {said}");
        guest.tell(&format!("poison {pfn:#x}"))?;
        guest.tell("audit").during("with a page poisoned that was lent")?;
    }
    guest.tell("tenant check")?;
    let after = looking::memmap_leads_to(&mut guest, &state, granule, at)?;
    let still = after.iter().find(|frame| before.contains(frame));
    ensure!(still.is_none(), "memmap of {at:#x} is in poisoned memory, at {:#x}", still.unwrap_or(&0));
    guest.tell("tenant drop")?;
    guest.tell("audit").during("with poisoned pages alone")?;
    guest.tell(&format!("offline {at:#x}"))?;
    guest.tell("audit").during("with poisoned pages offline")?;
    guest.tell(&format!("online {at:#x}"))?;
    for frame in before.iter().skip(1) {
        guest.tell(&format!("unpoison {:#x}", granule.pages(*frame)))?;
    }
    guest.tell("audit").during("with one poisoned page")?;
    guest.unplug_well(&dimm).during("with a poisoned page")?;
    ensure_eq!(guest.state()?.pages, start.pages, "pages at the end");
    guest.finish()?;
    Ok(format!("{} pages poisoned", before.len()))
}

/// A block of a region that is used, freed, taken offline, removed and added again is the image again.
fn a_block_comes_back(run: &Run, granule: Granule) -> Checked<String> {
    let machine = Machine { hotpluggable: Some("1G".into()), ..machine(granule) };
    let mut guest = Guest::boot(run, &machine)?;
    let (start, at) = (guest.state()?, super::devices::HOT);
    let mut added = Vec::new();
    for _ in 0..3 {
        guest.tell(&format!("add {at:#x},{:#x}", granule.block()))?;
        let state = guest.state()?;
        looking::memmap_is_the_image(&mut guest, &state, granule, at)?;
        added.push(state.pages);
        guest.tell("tenant new 500")?;
        guest.tell(&format!("offline {at:#x}"))?;
        guest.tell("audit").during("with the block offline")?;
        let offline = guest.state()?;
        looking::memmap_is_the_image(&mut guest, &offline, granule, at).during("offline")?;
        guest.tell(&format!("online {at:#x}"))?;
        guest.tell(&format!("offline {at:#x}"))?;
        guest.tell("tenant check")?;
        guest.tell("tenant drop")?;
        guest.tell(&format!("remove {at:#x}"))?;
        ensure_eq!(guest.state()?.pages, start.pages, "pages without the block");
    }
    ensure!(added.iter().all(|pages| *pages == added[0]), "pages with the block: {added:?}");
    guest.finish()?;
    Ok(String::new())
}

/// `dax kmem` has the memmap where `memmap=` says.
fn a_devices_memory_is_on_demand(run: &Run, granule: Granule) -> Checked<String> {
    let machine = Machine { pmem: Some("1G".into()), ..machine(granule).append("pmem=mem") };
    let mut guest = Guest::boot(run, &machine)?;
    let start = guest.state()?;
    let Some(device) = start.devices.first().cloned() else {
        return hotmap_client::error::failed("no device of the persistent memory");
    };
    guest.tell(&format!("dax kmem {:#x}", device.start))?;
    let state = guest.state()?;
    ensure_eq!(state.memmap_demand.image_blocks, GIB / granule.block(), "blocks that map the image");
    guest.tell("tenant new 300")?;
    guest.tell("audit").during("with the device's memory in use")?;
    guest.tell(&format!("dax kmem {:#x} back", device.start))?;
    guest.tell("tenant check")?;
    guest.tell("tenant drop")?;
    ensure_eq!(guest.state()?.pages, start.pages, "pages with the device back");
    guest.finish()?;
    Ok(String::new())
}
