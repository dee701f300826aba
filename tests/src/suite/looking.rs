//! Mappings and memory as QEMU sees them: its table walker and its view of physical memory.

use crate::eyes;
use hotmap_client::error::{Checked, failed, unknown};
use hotmap_client::geometry::{Granule, PAGE_STRUCT_BYTES};
use hotmap_client::guest::{Guest, Plugged};
use hotmap_client::patience::Deadline;
use hotmap_client::state::{Memmap, State};
use hotmap_client::{ensure, ensure_eq};
use std::collections::BTreeSet;
use std::time::Duration;

/// A sample of a DIMM's physical addresses: its first and last bytes, and some in between.
fn samples(plugged: Plugged) -> [u64; 4] {
    let Plugged { address, size, .. } = plugged;
    [address, address + size / 3 / 8 * 8, address + size / 2, address + size - 8]
}

/// QEMU finds the DIMM in the linear map.
pub(super) fn linear_map_leads_to(guest: &mut Guest, state: &State, plugged: Plugged) -> Checked {
    for physical in samples(plugged) {
        let seen = eyes::translate(&mut guest.qmp, state.linear_address(physical))?;
        ensure_eq!(seen, Some(physical), "what QEMU finds at the linear address of {physical:#x}");
    }
    Ok(())
}

/// The frames in which QEMU finds the memmap of `start..start + size`, each once.
pub(super) fn memmap_frames(
    guest: &mut Guest,
    state: &State,
    granule: Granule,
    start: u64,
    size: u64,
) -> Checked<BTreeSet<u64>> {
    let mut frames = BTreeSet::new();
    for page in 0..granule.pages(granule.pages(size) * PAGE_STRUCT_BYTES) {
        let address = state.struct_page(granule.pages(start)) + page * granule.bytes();
        let Some(frame) = eyes::translate(&mut guest.qmp, address)? else {
            return failed(format!(
                "QEMU finds no memmap at {address:#x}, page {page} of that of {start:#x}"
            ));
        };
        ensure!(frame.is_multiple_of(granule.bytes()), "memmap frame {frame:#x} is not aligned");
        ensure!(frames.insert(frame), "memmap frame {frame:#x} serves two pages of that of {start:#x}");
    }
    Ok(frames)
}

/// QEMU finds every page of a block's memmap in the right memory, and no frame twice.
pub(super) fn memmap_lies_in_its_place(
    guest: &mut Guest,
    state: &State,
    granule: Granule,
    start: u64,
    memmap: Memmap,
) -> Checked {
    if memmap == Memmap::Demand {
        return memmap_is_the_image(guest, state, granule, start).map(drop);
    }
    let frames = memmap_frames(guest, state, granule, start, granule.block())?;
    let own = start..start + granule.memmap_per_block();
    let in_boot_ram = |frame: &u64| is_boot_ram(state, *frame);
    match memmap {
        // As many distinct frames as the area has, and all in it: they cover it exactly.
        Memmap::SelfHosted => {
            let stray = frames.iter().find(|frame| !own.contains(*frame));
            ensure!(
                stray.is_none(),
                "memmap of block {start:#x} uses frame {:#x}, outside itself",
                stray.unwrap_or(&0)
            );
        }
        Memmap::Ram | Memmap::Boot | Memmap::Demand => {
            let stray = frames.iter().find(|frame| !in_boot_ram(frame));
            ensure!(
                stray.is_none(),
                "memmap of block {start:#x} uses frame {:#x}, not boot RAM",
                stray.unwrap_or(&0)
            );
        }
    }
    Ok(())
}

/// Where QEMU finds each page of a block's memmap.
pub(super) fn memmap_leads_to(
    guest: &mut Guest,
    state: &State,
    granule: Granule,
    start: u64,
) -> Checked<Vec<u64>> {
    let page = |number| state.struct_page(granule.pages(start)) + number * granule.bytes();
    let find = |number| match eyes::translate(&mut guest.qmp, page(number))? {
        Some(frame) => Ok(frame),
        None => failed(format!("QEMU finds no memmap page {number} of the block at {start:#x}")),
    };
    (0..granule.pages(granule.memmap_per_block())).map(find).collect()
}

/// QEMU finds the image of a free block: a frame of boot RAM for the first page, and one for all others.
pub(super) fn memmap_is_the_image(
    guest: &mut Guest,
    state: &State,
    granule: Granule,
    start: u64,
) -> Checked<(u64, u64)> {
    let frames = memmap_leads_to(guest, state, granule, start)?;
    let (head, zero) = (frames[0], frames[1]);
    let alike = head != zero && frames[1..].iter().all(|frame| *frame == zero);
    ensure!(alike, "the memmap of the free block at {start:#x} leads to {frames:x?}");
    for frame in [head, zero] {
        ensure!(is_boot_ram(state, frame), "the frame {frame:#x} of the image is not boot RAM");
    }
    Ok((head, zero))
}

pub(super) fn is_boot_ram(state: &State, address: u64) -> bool {
    state.blocks.iter().any(|b| b.source == "boot" && (b.start..b.start + b.size).contains(&address))
}

/// QEMU finds nothing in the linear map, in vmemmap, and at the DIMM's address.
pub(super) fn nothing_is_left(
    guest: &mut Guest,
    state: &State,
    granule: Granule,
    plugged: Plugged,
) -> Checked {
    nothing_is_mapped(guest, state, granule, plugged)?;
    let region = eyes::region_at(&mut guest.qmp, plugged.address)?;
    ensure_eq!(region, None, "what QEMU's machine has at {:#x}", plugged.address);
    Ok(())
}

/// QEMU finds nothing in the linear map and nothing in vmemmap.
pub(super) fn nothing_is_mapped(
    guest: &mut Guest,
    state: &State,
    granule: Granule,
    plugged: Plugged,
) -> Checked {
    for physical in samples(plugged) {
        let linear = eyes::translate(&mut guest.qmp, state.linear_address(physical))?;
        ensure_eq!(linear, None, "what QEMU finds at the linear address of {physical:#x}, which is gone");
        let page = state.struct_page(granule.pages(physical));
        let memmap = eyes::translate(&mut guest.qmp, page)?;
        ensure_eq!(memmap, None, "what QEMU finds at the struct page of {physical:#x}, which is gone");
    }
    Ok(())
}

/// The 8-byte words of one struct page, read from physical memory.
pub(super) fn struct_page_words(guest: &mut Guest, state: &State, pfn: u64) -> Checked<Vec<u64>> {
    let Some(frame) = eyes::translate(&mut guest.qmp, state.struct_page(pfn))? else {
        return failed(format!("QEMU finds no struct page for pfn {pfn:#x}"));
    };
    eyes::words(&mut guest.qmp, frame, 8)
}

/// Waits until CPU 0 is behind a WFI, from which only an interrupt wakes it: a console that is polled never gets there.
pub(super) fn falls_asleep(guest: &mut Guest) -> Checked {
    const WFI: &str = "0xd503207f";
    let deadline = Deadline::for_step();
    loop {
        let registers = guest.qmp.monitor("info registers")?;
        let pc = registers.split_whitespace().find_map(|word| word.strip_prefix("PC="));
        let pc = pc.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let Some(pc) = pc else { return unknown(format!("no PC in {registers:?}")) };
        if guest.qmp.monitor(&format!("x /1xw {:#x}", pc - 4))?.contains(WFI) {
            return Ok(());
        }
        if deadline.left().is_none() {
            return failed(format!("the CPU does not sleep at the prompt; it is at {pc:#x}"));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
