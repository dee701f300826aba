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

/// `ptdump vmemmap` leads to shared frames as often as `state` counts, however it folds lines, and QEMU finds the frame of the
/// last line that it folds. Returns how many lines there are.
pub(super) fn dump_agrees(guest: &mut Guest, state: &State) -> Checked<usize> {
    let text = guest.tell("ptdump vmemmap")?;
    let lines: Vec<Dumped> = text.lines().skip(1).filter_map(Dumped::read).collect();
    let (mut each, mut last) = (Vec::new(), None);
    for line in &lines {
        let pages = (line.end - line.start) / state.granule;
        each.push(match (line.folds, line.one_frame) {
            (Some((above, times)), _) => times * each.iter().rev().take(above).sum::<u64>(),
            (None, true) => pages,
            (None, false) => 0,
        });
        if let (Some(_), Some(frame)) = (line.folds, last) {
            let seen = eyes::translate(&mut guest.qmp, line.end - state.granule)?;
            let same = text.contains("to the same shared frame");
            ensure!(!same || seen == Some(frame), "QEMU finds {seen:x?} behind {:#x}: {text}", line.end);
        }
        last = line.frame;
    }
    ensure_eq!(each.iter().sum::<u64>(), state.dedup.mappings, "mappings to shared frames in {text}");
    Ok(lines.len())
}

/// A line of `ptdump`.
struct Dumped {
    start: u64,
    end: u64,
    frame: Option<u64>,
    one_frame: bool,
    /// How many lines above it, and how often.
    folds: Option<(usize, u64)>,
}

impl Dumped {
    fn read(line: &str) -> Option<Self> {
        let hex = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
        let words: Vec<&str> = line.split_whitespace().collect();
        let (start, end) = words.first()?.split_once("..")?;
        let folds = match words.as_slice() {
            [_, "the", above, "lines", "above,", times, ..] => {
                Some((above.parse().ok()?, times.parse().ok()?))
            }
            _ => None,
        };
        let frame = line.split_once("-> ").and_then(|(_, rest)| hex(rest.split_whitespace().next()?));
        let one_frame = line.contains("all to one frame") || line.contains("the table above");
        Some(Self { start: hex(start)?, end: hex(end)?, frame, one_frame, folds })
    }
}

/// `page --raw` shows the bytes that QEMU reads.
pub(super) fn raw_agrees(guest: &mut Guest, state: &State, pfn: u64) -> Checked {
    let text = guest.tell(&format!("page --raw {pfn:#x}"))?;
    let fields = text.lines().filter(|line| line.starts_with("  +"));
    let byte = |word: &str| (word.len() == 2).then(|| u8::from_str_radix(word, 16).ok()).flatten();
    let shown: Vec<u8> = fields.flat_map(|line| line.split_whitespace().skip(2).filter_map(byte)).collect();
    let words = struct_page_words(guest, state, pfn)?;
    let there: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
    ensure_eq!(shown, there, "the bytes of pfn {pfn:#x}: {text}");
    Ok(())
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
