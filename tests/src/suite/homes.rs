//! Other places for memmap: self-hosted boot memory, and one altmap for all blocks of a DIMM.

use super::looking;
use super::test::{Test, per_granule, slotted};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During, failed};
use hotmap_client::geometry::{GRANULES, Granule};
use hotmap_client::guest::Guest;
use hotmap_client::machine::{BOOTS, Boot, Machine};
use hotmap_client::run::Run;
use hotmap_client::state::{Block, BlockState, Memmap, State, ZoneName};
use hotmap_client::{ensure, ensure_eq};

/// Pages in use, which must migrate.
const TENANT_PAGES: u64 = 500;

pub(super) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for boot in BOOTS {
        for granule in GRANULES {
            let name = format!("homes/boot-self/{}/{granule}", boot.name());
            tests.push(Test::new(name, move |run: &Run| boot_memory_hosts_itself(run, boot, granule)));
        }
    }
    tests.extend(per_granule("homes/boot-demand", boot_memory_on_demand));
    tests.extend(per_granule("homes/self-range", one_altmap_for_a_dimm));
    tests
}

/// `boot_memmap=self`: every block that boot does not use is self-hosted, costs nothing else, and can go offline.
fn boot_memory_hosts_itself(run: &Run, boot: Boot, granule: Granule) -> Checked<String> {
    let machine = Machine::by(boot).granule(granule).memory("2G");
    // The last one counts. Both lines have the same length, so that the device trees have.
    let mut plain = Guest::boot(run, &machine.clone().append("boot_memmap=self boot_memmap=ram"))?;
    let from_ram = plain.state()?;
    plain.finish()?;
    let mut guest = Guest::boot(run, &machine.append("boot_memmap=ram boot_memmap=self"))?;
    let start = guest.state()?;
    let hosts: Vec<&Block> = start.blocks.iter().filter(|b| b.memmap == Memmap::SelfHosted).collect();
    // The image, the heap and the device tree are in two blocks at most.
    ensure!(
        hosts.len() + 2 >= start.blocks.len(),
        "{} of {} blocks host themselves",
        hosts.len(),
        start.blocks.len()
    );
    ensure!(hosts.len() < start.blocks.len(), "the block with the image hosts itself too");
    for block in &start.blocks {
        let own = if block.memmap == Memmap::SelfHosted { granule.memmap_per_block() } else { 0 };
        ensure_eq!(block.usable_start, block.start + own, "usable start of block {:#x}", block.start);
    }
    let memmap = hosts.len() as u64 * granule.pages(granule.memmap_per_block());
    ensure_eq!(start.pages.memmap_self, memmap, "pages of memmap that hosts itself");
    ensure_eq!(start.pages.memmap_ram + memmap, from_ram.pages.memmap_ram, "pages of memmap in all");
    ensure_eq!(start.pages.present, from_ram.pages.present, "pages present");
    let spent = start.pages.tables + start.pages.free;
    ensure_eq!(spent, from_ram.pages.tables + from_ram.pages.free, "free pages and tables");
    let Some(block) = hosts.last().map(|block| block.start) else { return failed("no block hosts itself") };
    looking::memmap_lies_in_its_place(&mut guest, &start, granule, block, Memmap::SelfHosted)?;
    guest.tell("audit").during("with memmap in boot memory itself")?;
    goes_offline_and_comes_back(&mut guest, granule, block)?;
    goes_away_and_comes_back(&mut guest, granule, block)?;
    guest.finish()?;
    Ok(format!("{} of {} blocks", hosts.len(), start.blocks.len()))
}

/// `boot_memmap=demand`: every block that boot does not use maps the image, which is two pages and at 4K a table; it is used,
/// goes offline, goes away, and comes back.
fn boot_memory_on_demand(run: &Run, granule: Granule) -> Checked<String> {
    let machine = slotted(granule).memory("2G");
    // The last one counts. Both lines have the same length, so that the device trees have.
    let lines = [
        "boot_memmap=demand boot_memmap=ram memmap=demand",
        "boot_memmap=ram boot_memmap=demand memmap=demand",
    ];
    let [plain, demand] = lines.map(|line| machine.clone().append(line));
    let mut plain = Guest::boot(run, &plain)?;
    let from_ram = plain.state()?;
    plain.finish()?;
    let mut guest = Guest::boot(run, &demand)?;
    let start = guest.state()?;
    let on_demand: Vec<u64> =
        start.blocks.iter().filter(|b| b.memmap == Memmap::Demand).map(|b| b.start).collect();
    let (count, all) = (on_demand.len(), start.blocks.len());
    ensure!(count + 2 >= all && count < all, "{count} of {all} blocks are on demand");
    ensure_eq!(start.memmap_demand.image_blocks, count as u64, "blocks that map the image");
    let saved = count as u64 * granule.pages(granule.memmap_per_block()) - 2;
    ensure_eq!(from_ram.pages.memmap_ram - start.pages.memmap_ram, saved, "pages of memmap that are saved");
    let spent = |state: &State| state.pages.tables + state.pages.free + state.pages.memmap_ram;
    ensure_eq!(spent(&start), spent(&from_ram), "free pages, tables and memmap");
    let Some(block) = on_demand.last().copied() else { return failed("no block is on demand") };
    let image = looking::memmap_is_the_image(&mut guest, &start, granule, block)?;
    guest.tell("tenant new 1")?;
    ensure!(guest.state()?.memmap_demand.lent > 0, "nothing is lent with a page in use");
    guest.tell("tenant drop")?;
    let again = looking::memmap_is_the_image(&mut guest, &start, granule, block).during("free again")?;
    ensure_eq!(again, image, "the frames of the image");
    let before = guest.state()?;
    for (there, back) in [("offline", "online"), ("remove", "add")] {
        guest.tell(&format!("{there} {block:#x}"))?;
        let gone = guest.state()?.pages.present;
        ensure_eq!(gone, before.pages.present - granule.pages(granule.block()), "pages present, {there}");
        guest.tell("audit").during(there)?;
        guest.tell(&format!("{back} {block:#x}"))?;
        let now = guest.state()?;
        ensure_eq!((now.pages, now.memmap_demand), (before.pages, before.memmap_demand), "after {back}");
    }
    guest.finish()?;
    Ok(format!("{count} of {all} blocks, {saved} pages of memmap saved"))
}

/// An unused block goes offline: all pages but those of its memmap leave the free lists.
fn goes_offline_and_comes_back(guest: &mut Guest, granule: Granule, block: u64) -> Checked {
    let online = guest.state()?;
    guest.tell(&format!("offline {block:#x}"))?;
    let offline = guest.state()?;
    let found = offline.blocks.iter().find(|b| b.start == block).map(|b| (b.state, b.zone, b.memmap));
    ensure_eq!(found, Some((BlockState::Offline, ZoneName::None, Memmap::SelfHosted)), "block {block:#x}");
    let usable = granule.usable_pages_per_block();
    let (present, free) = (online.pages.present - usable, online.pages.free - usable);
    ensure_eq!((offline.pages.present, offline.pages.free), (present, free), "pages present, and free");
    ensure_eq!(offline.pages.memmap_self, online.pages.memmap_self, "memmap that hosts itself");
    guest.tell("audit").during("with a block of boot memory offline")?;
    guest.tell(&format!("online {block:#x}"))?;
    let again = guest.state()?;
    ensure_eq!(
        (again.pages, again.blocks, again.zones),
        (online.pages, online.blocks, online.zones),
        "online again"
    );
    Ok(())
}

/// It can be removed with its memmap, and added again.
fn goes_away_and_comes_back(guest: &mut Guest, granule: Granule, block: u64) -> Checked {
    let there = guest.state()?;
    guest.tell(&format!("remove {block:#x}"))?;
    let gone = guest.state()?;
    ensure!(gone.blocks.iter().all(|b| b.start != block), "the block at {block:#x} is still there");
    let (all, memmap) = (granule.pages(granule.block()), granule.pages(granule.memmap_per_block()));
    ensure_eq!(gone.pages.present, there.pages.present - all, "pages present without it");
    ensure_eq!(gone.pages.memmap_self, there.pages.memmap_self - memmap, "memmap without it");
    ensure_eq!(gone.pages.memmap_ram, there.pages.memmap_ram, "memmap in other RAM");
    guest.tell("audit").during("without a block of boot memory")?;
    guest.tell(&format!("add {block:#x}"))?;
    let back = guest.state()?;
    let found = back.blocks.iter().find(|b| b.start == block).map(|b| (b.state, b.memmap));
    ensure_eq!(found, Some((BlockState::Online, Memmap::SelfHosted)), "the block that was added again");
    ensure_eq!(back.pages.memmap_self, there.pages.memmap_self, "memmap with it");
    guest.tell("audit").during("with the block back")?;
    Ok(())
}

/// `memmap=self-range`: the first pages of a DIMM hold the memmap of all of it; it is removed as a whole.
fn one_altmap_for_a_dimm(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule).append("memmap=self-range"))?;
    let start = guest.state()?;
    let blocks = 3;
    let dimm = Dimm::new("d0", blocks * granule.block());
    let plugged = guest.plug_well(&dimm)?;
    let (first, memmap) = (plugged.address, blocks * granule.memmap_per_block());
    let state = guest.state()?;
    let place = |block: &&Block| (block.state, block.zone, block.memmap, block.usable_start - block.start);
    let found: Vec<_> = state.blocks_in(first, dimm.size).iter().map(place).collect();
    let of_block = |own| (BlockState::Online, ZoneName::Movable, Memmap::SelfHosted, own);
    ensure_eq!(found, [of_block(memmap), of_block(0), of_block(0)], "the DIMM's blocks");
    let frames = looking::memmap_frames(&mut guest, &state, granule, first, dimm.size)?;
    let should: Vec<u64> = (0..granule.pages(memmap)).map(|page| first + page * granule.bytes()).collect();
    ensure_eq!(frames.into_iter().collect::<Vec<_>>(), should, "frames of the memmap");
    let tables = state.pages.tables - start.pages.tables;
    let (all, own) = (granule.pages(dimm.size), granule.pages(memmap));
    ensure_eq!(state.pages.present, start.pages.present + all, "pages present");
    ensure_eq!(state.pages.memmap_self, own, "memmap that hosts itself");
    ensure_eq!(state.pages.free, start.pages.free + all - own - tables, "free pages");
    guest.tell(&format!("tenant new {TENANT_PAGES}"))?;
    guest.tell("audit").during("with the DIMM in use")?;

    guest.unplug_well(&dimm)?;
    looking::nothing_is_left(&mut guest, &state, granule, plugged)?;
    guest.tell("tenant check").during("after the move")?;
    guest.tell("tenant drop")?;
    let end = guest.state()?;
    ensure_eq!(
        (end.pages, end.blocks, end.heap),
        (start.pages, start.blocks, start.heap),
        "without the DIMM"
    );
    guest.finish()?;
    Ok(format!("{own} pages of memmap"))
}
