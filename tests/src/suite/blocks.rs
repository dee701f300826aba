//! Memory blocks from the shell: `online` and `offline`, memmap in system RAM, and removable boot memory.

use super::arithmetic::Added;
use super::looking;
use super::test::{Test, per_granule, slotted};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During, failed};
use hotmap_client::geometry::{Granule, size_text};
use hotmap_client::guest::Guest;
use hotmap_client::run::Run;
use hotmap_client::state::{Block, BlockState, Memmap, ZoneName};
use hotmap_client::{ensure, ensure_eq};

pub(super) fn tests() -> Vec<Test> {
    let mut tests =
        per_granule("blocks/manual-self", |run, granule| by_hand(run, granule, Memmap::SelfHosted));
    tests.extend(per_granule("blocks/manual-ram", |run, granule| by_hand(run, granule, Memmap::Ram)));
    tests.extend(per_granule("blocks/manual-demand", |run, granule| by_hand(run, granule, Memmap::Demand)));
    tests.extend(per_granule("blocks/boot-memory", boot_memory_is_removed_and_added_again));
    tests.extend(per_granule("blocks/boot-removed-and-added", a_removed_boot_block_says_so));
    tests.extend(per_granule("blocks/unplug-half-offline", a_half_offline_dimm_goes));
    tests
}

fn by_hand(run: &Run, granule: Granule, memmap: Memmap) -> Checked<String> {
    let words = format!("memmap={} online=manual", memmap.word());
    let mut guest = Guest::boot(run, &slotted(granule).append(&words))?;
    let start = guest.state()?;
    let dimm = Dimm::new("d0", 2 * granule.block());
    let plugged = guest.plug_well(&dimm)?;
    let offline = guest.state()?;
    let added = Added { granule, size: dimm.size, memmap, online: false };
    let tables = added.check(&start.pages, &offline.pages).during("offline")?;
    for block in offline.blocks_in(plugged.address, plugged.size) {
        ensure_eq!(
            (block.state, block.zone),
            (BlockState::Offline, ZoneName::None),
            "block {:#x}",
            block.start
        );
    }
    ensure_eq!(offline.dimm(plugged.slot).map(|dimm| dimm.state.as_str()), Some("offline"), "the DIMM");
    looking::memmap_lies_in_its_place(&mut guest, &offline, granule, plugged.address, memmap)?;
    guest.tell("audit").during("with offline blocks")?;

    let blocks = [plugged.address, plugged.address + granule.block()];
    for block in blocks {
        guest.tell(&format!("online {block:#x}"))?;
    }
    let online = guest.state()?;
    super::life::is_listed_online(&online, plugged, granule, memmap)?;
    let now = Added { online: true, ..added }.on_top_of(start.pages, tables);
    ensure_eq!(online.pages, now, "pages with both blocks online");
    guest.tell_in_vain(&format!("online {:#x}", plugged.address)).during("online twice")?;

    for block in blocks {
        guest.tell(&format!("offline {block:#x}"))?;
    }
    let again = guest.state()?;
    ensure_eq!(again.pages, offline.pages, "pages with both blocks offline again");
    guest.tell_in_vain(&format!("offline {:#x}", plugged.address)).during("offline twice")?;
    guest.unplug_well(&dimm)?;
    let end = guest.state()?;
    ensure_eq!(end.pages, start.pages, "pages at the end");
    guest.finish()?;
    Ok(format!("{tables} table pages"))
}

/// One block is offline, one online with tenants: device_del removes both.
fn a_half_offline_dimm_goes(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule))?;
    let start = guest.state()?;
    let dimm = Dimm::new("d0", 2 * granule.block());
    let plugged = guest.plug_well(&dimm)?;
    guest.tell(&format!("offline {:#x}", plugged.address))?;
    guest.tell("tenant new 32")?;
    let half = guest.state()?;
    let states: Vec<BlockState> =
        half.blocks_in(plugged.address, plugged.size).iter().map(|b| b.state).collect();
    ensure_eq!(states, [BlockState::Offline, BlockState::Online], "the DIMM's blocks");
    guest.tell("audit").during("half offline")?;
    guest.unplug_well(&dimm)?;
    guest.tell("tenant check")?;
    guest.tell("tenant drop")?;
    let end = guest.state()?;
    ensure_eq!(end.pages, start.pages, "pages at the end");
    guest.finish()?;
    Ok(String::new())
}

/// `remove` and `add` of a block of boot memory end with the line that a DIMM and a region end with.
fn a_removed_boot_block_says_so(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule).memory("4G"))?;
    let start = guest.state()?;
    let boot: Vec<u64> = start.blocks.iter().filter(|b| b.source == "boot").map(|b| b.start).collect();
    let mut refused = String::new();
    for block in boot.into_iter().rev() {
        let removed = match guest.ask(&format!("remove {block:#x}"))?.result() {
            Ok(reply) => reply,
            Err(sentence) => {
                refused = sentence;
                continue;
            }
        };
        let range = format!("boot@{block:x}: {block:#x}..{:#x}", block + granule.block());
        ensure!(removed.contains(&format!("{range} is gone")), "`remove` does not say so: {removed}");
        let added = guest.tell(&format!("add {block:#x}"))?;
        let size = size_text(granule.block()).replace('M', " MiB");
        ensure!(added.contains(&format!("{range} ({size}) is here")), "`add` does not say so: {added}");
        guest.finish()?;
        return Ok(range);
    }
    failed(format!("no block of boot memory can be removed; the last says: {refused}"))
}

/// Each block of boot memory is removed, or one line names the page in it that cannot move.
fn boot_memory_is_removed_and_added_again(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule).memory("4G"))?;
    let start = guest.state()?;
    guest.tell("tenant new 100")?;
    let boot: Vec<Block> = start.blocks.iter().filter(|block| block.source == "boot").cloned().collect();
    let mut gone = Vec::new();
    let mut reason = String::new();
    for block in &boot {
        match guest.ask(&format!("offline {:#x}", block.start))?.result() {
            Ok(_) => gone.push(block),
            Err(sentence) => reason = sentence,
        }
    }
    ensure!(!gone.is_empty(), "no block of {} can go; the last says: {reason}", boot.len());
    // At least the block with the kernel's image must stay, and name the page that holds it.
    ensure!(gone.len() < boot.len(), "every block of boot memory was removed, the kernel's own too");
    ensure!(reason.contains("pfn") || reason.contains("page"), "the refusal names no page: {reason}");
    let without = guest.state()?;
    for block in &gone {
        let now = without.blocks.iter().find(|b| b.start == block.start).map(|b| (b.state, b.zone));
        ensure_eq!(now, Some((BlockState::Offline, ZoneName::None)), "block {:#x}", block.start);
    }
    guest.tell("tenant check").during("with boot memory offline")?;
    guest.tell("audit").during("with boot memory offline")?;
    for block in &gone {
        guest.tell(&format!("online {:#x}", block.start))?;
    }
    guest.tell("tenant drop")?;
    let end = guest.state()?;
    ensure_eq!(end.pages, start.pages, "pages with boot memory back");
    guest.finish()?;
    Ok(format!("{} of {} blocks; else: {reason}", gone.len(), boot.len()))
}
