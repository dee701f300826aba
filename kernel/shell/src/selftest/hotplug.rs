//! Memory that comes and goes: the newest DIMM's, taken out and added again by both ways to hold its memmap. The exact
//! arithmetic of pages is the design's table's.

use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::error::{BlockError, BlockIs, BlockNeeds, Error, PageError, RangeError};
use hotmap_mm::frame::block::{BlockState, Source};
use hotmap_mm::frame::counts::Counts;
use hotmap_mm::frame::page::{Page, PageKind};
use hotmap_mm::frame::section::Backing;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::pfn::Pfn;

use super::check::{Outcome, check, frame_at, is_refused, is_used_as, same, same_at, skip};
use super::expected::Numbers;
use super::expected::{Expected, starts};
use super::snapshot::{Snapshot, counts_are};
use super::spare::{Spare, with_spare};
use super::subject::{Test, test};
use super::tables::table_pages;
use super::tenant::with_tenant;
use super::vmemmap::struct_page;
use crate::units::each_free_run;
use hotmap_kernel::arch::{peek, translate};
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test("an invalid range is refused with the rule that it breaks", bad_ranges_are_refused),
    test("memory that is online or absent is not removed", only_offline_memory_goes),
    test("removed memory leaves nothing behind", nothing_stays),
    test("self-hosted memmap uses no system RAM except table pages", self_hosted),
    test("memmap in system RAM uses exactly its size", in_ram),
    test("struct pages are cleared, whatever the memory held before", struct_pages_are_clean),
];

fn bad_ranges_are_refused(kernel: &mut Kernel) -> Outcome {
    let before = Snapshot::of(kernel);
    let block = kernel.numbers().section;
    let refuses = |start: u64, len, error| {
        is_refused(HotRange::new(&kernel.mm, PhysAddr::new(start), len, Source::Dimm(255)), error)
    };
    let range = |start: u64, len| PhysRange { start: PhysAddr::new(start), end: PhysAddr::new(start + len) };
    let ram = kernel.info.ram_start.get() / block * block;
    // Where nothing is present, so that no other rule is broken first.
    let (reach, far) = (kernel.reach(), kernel.absent().get());
    refuses(far, 0, Error::Range(RangeError::Empty(PhysAddr::new(far))))?;
    let top = u64::MAX - block + 1;
    refuses(top, 2 * block, Error::Range(RangeError::Wraps { start: PhysAddr::new(top), len: 2 * block }))?;
    for (start, len) in
        [(far + (2 << 20), block), (far, block + (2 << 20)), (far, block / 2), (far + 1, block)]
    {
        refuses(start, len, Error::Range(RangeError::NotBlockAligned { range: range(start, len), block }))?;
    }
    for (start, len) in [(reach.end.get(), block), (reach.end.get() - block, 2 * block)] {
        refuses(start, len, Error::Range(RangeError::BeyondLinearMap { range: range(start, len), reach }))?;
    }
    refuses(
        ram,
        block,
        Error::Range(RangeError::Exists { range: range(ram, block), present: PhysAddr::new(ram) }),
    )?;
    let right = HotRange::new(&kernel.mm, PhysAddr::new(far), block, Source::Dimm(255))?;
    same("pages of a range that may be added", right.pages().len(), kernel.numbers().section_pages)?;
    before.is_still(kernel)
}

fn only_offline_memory_goes(kernel: &mut Kernel) -> Outcome {
    let (before, warnings) = (Snapshot::of(kernel), kernel.mm.frames().warnings);
    let online = kernel.mm.frames().blocks().find(|block| block.state != BlockState::Offline);
    if let Some(memory) = online.map(|block| kernel.addresses(kernel.section(block.start))) {
        let refusal = Error::Block(BlockError::State {
            block: memory.start,
            is: BlockIs::Online,
            needs: BlockNeeds::Offline,
        });
        is_refused(kernel.mm.remove_memory(memory), refusal)?;
    }
    let start = PhysAddr::new(1 << 47);
    let absent = PhysRange { start, end: start + kernel.numbers().section };
    let refused = kernel.mm.remove_memory(absent);
    let warned = kernel.mm.frames().warnings.bad_remove - warnings.bad_remove;
    kernel.mm.frames_mut().warnings = warnings;
    is_refused(refused, Error::Block(BlockError::Absent(start)))?;
    same("warnings about it", warned, 1)?;
    before.is_still(kernel)
}

/// What a machine counts with `blocks` blocks more than in `base`, for which `tables` tables are new.
pub(super) fn with_blocks(
    base: &Counts,
    numbers: &Numbers,
    blocks: u64,
    home: MemmapHome,
    online: bool,
    tables: u64,
) -> Counts {
    let (all, memmap) = (blocks * numbers.section_pages, blocks * numbers.memmap_pages);
    let mut counts = *base;
    match home {
        MemmapHome::SelfHosted | MemmapHome::SelfRange { .. } | MemmapHome::Given(_) => {
            counts.memmap_self += memmap;
            counts.present += if online { all } else { memmap };
            counts.free += if online { all - memmap } else { 0 };
        }
        // The image is in the base: see `with_image`.
        MemmapHome::Demand => {
            counts.present += if online { all } else { 0 };
            counts.free += if online { all } else { 0 };
        }
        MemmapHome::Ram => {
            counts.memmap_ram += memmap;
            counts.present += if online { all } else { 0 };
            counts.free = counts.free + if online { all } else { 0 } - memmap;
        }
    }
    counts.tables += tables;
    counts.free -= tables;
    counts
}

/// What a machine counts with the image of a free block, which the first memory on demand makes: a page with the head, and one
/// of tails. (Its table is among the tables.)
fn with_image(kernel: &Kernel, base: &Counts, home: MemmapHome) -> Counts {
    let is_there = kernel.mm.frames().sections().any(|s| matches!(s.backing, Backing::Demand));
    let pages = if home == MemmapHome::Demand && !is_there { 2 } else { 0 };
    Counts { memmap_ram: base.memmap_ram + pages, free: base.free - pages, ..*base }
}

fn nothing_stays(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let (now, blocks) = (kernel.mm.frames().counts(), spare.blocks(kernel));
        same("table pages", now.tables, table_pages(kernel)?)?;
        let tables = spare.before.tables - now.tables;
        let base = with_image(kernel, &now, spare.home);
        let was = with_blocks(&base, kernel.numbers(), blocks, spare.home, spare.zone.is_some(), tables);
        counts_are(&spare.before, &was)?;
        for block in starts(kernel, spare.pages) {
            is_gone(kernel, block)?;
            is_gone(kernel, block + (kernel.section_pages() - 1))?;
        }
        Ok(())
    })
}

/// Neither the memory nor its struct page can be reached, and the model does not know it.
pub(super) fn is_gone(kernel: &Kernel, pfn: Pfn) -> Outcome {
    for va in [kernel.mm.space().layout().linear(kernel.address(pfn)), struct_page(kernel, pfn)] {
        let load = translate::load(va);
        check!(load.is_unmapped() && peek::load_aborts(va), "{va}, of {pfn} that was removed: {load}");
    }
    check!(kernel.section_of(pfn).is_none() && kernel.block_of(pfn).is_none(), "{pfn} is still known");
    is_refused(kernel.mm.frames().use_of(pfn), Error::Page(PageError::NotPresent(pfn)))
}

fn self_hosted(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        a_life(kernel, spare, MemmapHome::SelfHosted)?;
        add(kernel, spare, MemmapHome::SelfHosted)?;
        for block in starts(kernel, spare.pages) {
            hosts_itself(kernel, block)?;
        }
        Ok(())
    })
}

fn in_ram(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let needed = spare.blocks(kernel) * kernel.numbers().memmap_pages;
        // As much again, so that runs of the right size are among what is free.
        if kernel.mm.frames().zone(ZoneKind::Normal).free < 2 * needed {
            return skip(&"system RAM has no room for the DIMM's memmap");
        }
        a_life(kernel, spare, MemmapHome::Ram)?;
        add(kernel, spare, MemmapHome::Ram)?;
        for block in starts(kernel, spare.pages) {
            let frame = frame_at(kernel, struct_page(kernel, block))?;
            is_used_as(kernel, frame, PageKind::MemmapRam)?;
            check!(!spare.pages.contains(frame), "the memmap of {block} is in the DIMM, at {frame}");
        }
        Ok(())
    })
}

pub(super) fn add(kernel: &mut Kernel, spare: &Spare, home: MemmapHome) -> Outcome {
    let range = spare.validate(kernel)?;
    Ok(kernel.mm.add_memory(&range, home, |_, _| {})?)
}

/// Add, online, offline, remove: the exact count of pages after each.
pub(super) fn a_life(kernel: &mut Kernel, spare: &Spare, home: MemmapHome) -> Outcome {
    let (base, numbers, blocks) = (kernel.mm.frames().counts(), kernel.numbers(), spare.blocks(kernel));
    let with_image = with_image(kernel, &base, home);
    add(kernel, spare, home)?;
    let tables = table_pages(kernel)? - base.tables;
    let offline = with_blocks(&with_image, numbers, blocks, home, false, tables);
    counts_are(&kernel.mm.frames().counts(), &offline)?;
    kernel.mm.online_pages(spare.pages, ZoneKind::Movable, |_, _| {})?;
    counts_are(&kernel.mm.frames().counts(), &with_blocks(&with_image, numbers, blocks, home, true, tables))?;
    for (i, block) in starts(kernel, spare.pages).enumerate() {
        let own = own_memmap(numbers, home, blocks, i as u64);
        same_at("pages of memmap in the block", block, memmap_in(kernel, block), own)?;
        same_at("free runs of the block", block, free_runs(kernel, block), runs_after(numbers, own))?;
    }
    let migrated = kernel.mm.offline_pages(spare.pages)?.migrated;
    same("pages migrated out of nothing", migrated, 0)?;
    counts_are(&kernel.mm.frames().counts(), &offline)?;
    kernel.mm.remove_memory(spare.range)?;
    counts_are(&kernel.mm.frames().counts(), &base)
}

/// How many pages of memmap are at the start of block `i` of `blocks`.
fn own_memmap(numbers: &Numbers, home: MemmapHome, blocks: u64, i: u64) -> u64 {
    match home {
        MemmapHome::SelfHosted => numbers.memmap_pages,
        MemmapHome::Ram | MemmapHome::Demand => 0,
        MemmapHome::SelfRange { .. } | MemmapHome::Given(_) => {
            let before = i * numbers.section_pages;
            (blocks * numbers.memmap_pages).saturating_sub(before).min(numbers.section_pages)
        }
    }
}

/// How many naturally aligned runs follow the first `own` pages of a block: from there each is as large as the next bit of
/// what is left says, to the block's end.
const fn runs_after(numbers: &Numbers, own: u64) -> u64 {
    if own == numbers.memmap_pages {
        return numbers.usable_runs;
    }
    (numbers.section_pages - own).count_ones() as u64
}

fn memmap_in(kernel: &Kernel, block: Pfn) -> u64 {
    kernel.block_of(block).map_or(0, |block| block.memmap_pages)
}

fn free_runs(kernel: &Kernel, block: Pfn) -> u64 {
    let Some(block) = kernel.block_of(block) else { return 0 };
    let mut runs = 0;
    each_free_run(kernel, &block, |_, _| runs += 1);
    runs
}

/// The block's first frames, all of them and in order, hold its memmap.
pub(super) fn hosts_itself(kernel: &Kernel, block: Pfn) -> Outcome {
    let memmap = kernel.numbers().memmap_pages;
    for i in 0..memmap {
        let frame = frame_at(kernel, struct_page(kernel, block) + i * kernel.page_size())?;
        same_at("the frame behind memmap page", i, frame.get(), block.get() + i)?;
        is_used_as(kernel, frame, PageKind::MemmapSelf)?;
    }
    let first = block + memmap;
    is_used_as(kernel, first, PageKind::Tail)
}

/// The last block is filled by a tenant where its memmap will be, then hosts itself.
fn struct_pages_are_clean(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let block = Pfn::new(spare.pages.end.get() - kernel.section_pages());
        let memory = kernel.addresses(kernel.section(block));
        let hot = HotRange::new(&kernel.mm, memory.start, memory.len(), Source::Dimm(255))?;
        let memmap = kernel.numbers().memmap_pages;
        if kernel.mm.frames().zone(ZoneKind::Normal).free < 2 * memmap {
            return skip(&"system RAM has no room for a block's memmap");
        }
        kernel.mm.add_memory(&hot, MemmapHome::Ram, |_, _| {})?;
        kernel.mm.online_block(block, ZoneKind::Movable)?;
        with_tenant(kernel, memmap, |kernel, guest| {
            let first = frame_at(kernel, guest.page(kernel, 0))?;
            let newest = kernel.mm.frames().blocks_in(ZoneKind::Movable).last();
            same("where the tenant's first page is", first.get(), newest.map_or(0, |block| block.get()))
        })?;
        kernel.mm.offline_block(block)?;
        kernel.mm.remove_memory(memory)?;
        kernel.mm.add_memory(&hot, MemmapHome::SelfHosted, |_, _| {})?;
        for pfn in (1..kernel.section_pages()).map(|i| block + i) {
            is_clean(pfn, kernel.mm.frames().pages().get(pfn))?;
        }
        is_used_as(kernel, block, PageKind::MemmapSelf)?;
        same("pages under the memmap's head", 1 << kernel.mm.frames().pages().get(block).order(), memmap)
    })
}

fn is_clean(pfn: Pfn, page: &Page) -> Outcome {
    let kind = page.checked_kind();
    let words = [page.order(), page.refs(), page.links().0, page.links().1].map(u64::from);
    let dirty = words.iter().fold(page.private(), |bits, word| bits | word);
    check!(kind == Some(PageKind::Tail), "the struct page of {pfn} is no tail");
    same_at("the bits that are set in the struct page", pfn, dirty, 0)
}
