//! kmem: a device's memory becomes movable blocks, and returns although it is in use; and every allocation of a
//! device's life fails in turn.

use super::devices::{HOT, Home, PMEM, all_is_as_before, machine, memory_of};
use super::looking;
use super::test::{Test, per_granule};
use hotmap_client::error::{Checked, During, failed};
use hotmap_client::geometry::{GIB, Granule, MIB};
use hotmap_client::guest::Guest;
use hotmap_client::machine::Boot;
use hotmap_client::run::Run;
use hotmap_client::state::{BlockState, Memmap, ZoneName};
use hotmap_client::{ensure, ensure_eq};

/// Pages in use, which must migrate when the device takes its memory back.
const TENANT_PAGES: u64 = 1000;
/// More than the allocations of any operation here.
const MANY_SITES: u64 = 200;

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("kmem/life", the_system_borrows_a_device);
    tests.extend(per_granule("kmem/refused", what_the_system_cannot_have));
    tests.extend(per_granule("kmem/inject", every_allocation_fails_in_turn));
    tests
}

/// A device's memory becomes self-hosted movable blocks, and returns to the device although it is in use.
fn the_system_borrows_a_device(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(Boot::Firmware, granule))?;
    let start = guest.state()?;
    guest.tell(&format!("dax create {PMEM:#x} --map dev"))?;
    let before = guest.state()?;
    guest.tell(&format!("dax kmem {PMEM:#x}"))?;
    let given = guest.state()?;
    let is = given.device(PMEM).map(|device| (device.state.as_str(), device.altmap.map(|a| a.alloc)));
    ensure_eq!(is, Some(("kmem", Some(0))), "the device whose memory the system has");
    let blocks = given.blocks_in(PMEM, GIB);
    ensure_eq!(blocks.len() as u64, GIB / granule.block(), "blocks of the device");
    for block in blocks {
        let of = (block.state, block.zone, block.source.as_str(), block.memmap);
        ensure_eq!(
            of,
            (BlockState::Online, ZoneName::Movable, "kmem", Memmap::SelfHosted),
            "block {:#x}",
            block.start
        );
    }
    let memmap = GIB / granule.block() * granule.pages(granule.memmap_per_block());
    ensure_eq!(given.pages.present, before.pages.present + granule.pages(GIB), "pages present");
    ensure_eq!(given.pages.memmap_self, memmap, "pages of memmap that hosts itself");
    let is_kmem =
        given.regions.iter().find(|region| region.start == PMEM).map(|region| region.state.as_str());
    ensure_eq!(is_kmem, Some("kmem"), "the region");
    looking::linear_map_leads_to(&mut guest, &given, memory_of(&before.devices[0]))?;
    guest.tell(&format!("tenant new {TENANT_PAGES}"))?;
    let used = guest.state()?;
    let inside: u64 = used.blocks_in(PMEM, GIB).iter().map(|block| block.tenant_pages).sum();
    ensure_eq!(inside, TENANT_PAGES, "tenant pages in the device's memory, the newest Movable memory");
    guest.tell("audit").during("with the device's memory in use")?;
    let said = guest.tell(&format!("dax kmem {PMEM:#x} back"))?;
    ensure!(said.contains(&format!("{TENANT_PAGES} pages migrated")), "it says: {said}");
    guest.tell("tenant check").during("after the move")?;
    guest.tell("audit").during("with tenants that have moved")?;
    guest.tell("tenant drop")?;
    all_is_as_before(&mut guest, &before).during("a device again")?;
    guest.tell(&format!("dax destroy {PMEM:#x}"))?;
    all_is_as_before(&mut guest, &start).during("after all")?;
    guest.finish()?;
    Ok(said)
}

/// A device that is held or too small is refused; memory that cannot be emptied does not return; nothing changes.
fn what_the_system_cannot_have(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(Boot::Image, granule))?;
    guest.tell(&format!("dax create {HOT:#x},64M"))?;
    guest.tell(&format!("dax create {PMEM:#x} --map dev"))?;
    let small = guest.tell_in_vain(&format!("dax kmem {HOT:#x}"))?;
    let rule = format!("is not aligned to the {} MiB memory block", granule.block() / MIB);
    ensure!(small.contains(&rule), "a device without a whole block: {small}");
    let held = PMEM + GIB - MIB;
    guest.tell(&format!("pin addr:{held:#x}"))?;
    let before = guest.state()?;
    let refused = guest.tell_in_vain(&format!("dax kmem {PMEM:#x}"))?;
    ensure!(refused.contains(&format!("pfn {:#x} cannot go: pinned", granule.pages(held))), "{refused}");
    all_is_as_before(&mut guest, &before).during("with a page held")?;
    guest.tell(&format!("unpin addr:{held:#x}"))?;
    guest.tell(&format!("dax kmem {PMEM:#x}"))?;
    guest.tell(&format!("pin addr:{held:#x}"))?;
    let given = guest.state()?;
    let refused = guest.tell_in_vain(&format!("dax kmem {PMEM:#x} back"))?;
    ensure!(refused.contains("pinned"), "a pinned page in memory that the device takes back: {refused}");
    all_is_as_before(&mut guest, &given).during("with a page pinned")?;
    guest.tell("audit").during("with a page pinned")?;
    guest.tell(&format!("unpin addr:{held:#x}"))?;
    guest.tell(&format!("dax kmem {PMEM:#x} back"))?;
    guest.finish()?;
    Ok(refused)
}

/// Each allocation fails in turn, of a device in two sections, the first of which it fills in part: of its creation,
/// and of kmem in both directions.
fn every_allocation_fails_in_turn(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(Boot::Firmware, granule))?;
    let (start, size) = (PMEM + granule.block() - 2 * MIB, granule.block() + 2 * MIB);
    let (mut failures, kmem) = (Vec::new(), format!("dax kmem {start:#x}"));
    let (back, destroy) = (format!("{kmem} back"), format!("dax destroy {start:#x}"));
    for home in [Home::Ram, Home::Device] {
        let create = format!("dax create {start:#x},{size} --map {}", home.word());
        // At 4K a section's memmap is one block leaf, or base pages if system RAM has no free run of that size.
        let second_choice = u64::from(granule == Granule::K4 && home == Home::Ram);
        failures.push(fails_in_turn(&mut guest, &create, &destroy, second_choice)?);
        failures.push(fails_in_turn(&mut guest, &kmem, &back, 0)?);
        failures.push(fails_in_turn(&mut guest, &back, &kmem, second_choice)?);
        guest.tell(&destroy)?;
    }
    guest.finish()?;
    Ok(format!("{failures:?} allocations"))
}

/// Fails each allocation of `command` in turn until it succeeds; it succeeds without `second_choices` of them too, and
/// `undo` undoes that. Returns how many there were.
fn fails_in_turn(guest: &mut Guest, command: &str, undo: &str, second_choices: u64) -> Checked<u64> {
    let (before, mut done_without) = (guest.state()?, 0);
    for n in 1..MANY_SITES {
        guest.tell(&format!("inject alloc {n}"))?;
        let reply = guest.ask(command)?;
        let fired = reply.text.contains(&format!("inject: fired at {n} of "));
        let spared = reply.text.contains("inject: did not fire (");
        ensure!(fired != spared, "'{command}' with allocation {n} failing says: {}", reply.text);
        guest.tell("audit").during(&format!("after '{command}' without allocation {n}"))?;
        match reply.result() {
            Err(why) if fired => {
                ensure!(why.contains("out of memory"), "allocation {n} of '{command}': {why}")
            }
            Ok(_) if fired => {
                guest.tell(undo)?;
                done_without += 1;
            }
            Ok(_) => {
                ensure!(n > 3, "'{command}' makes {} allocations", n - 1);
                ensure_eq!(done_without, second_choices, "allocations that '{command}' can do without");
                return Ok(n - 1);
            }
            Err(why) => return failed(format!("'{command}' with nothing failing: {why}")),
        }
        all_is_as_before(guest, &before).during(&format!("'{command}' without allocation {n}"))?;
    }
    failed(format!("'{command}' has more than {MANY_SITES} allocations"))
}
