//! Memory that comes and goes: the newest DIMM's, taken out and added again by both ways to hold its memmap. The exact
//! arithmetic of pages is the design's table's.

use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::error::{BlockError, BlockIs, BlockNeeds, Error, PageError, RangeError};
use hotmap_mm::frame::block::{BlockState, Source};
use hotmap_mm::frame::counts::Counts;
use hotmap_mm::frame::page::{Page, PageKind};
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::Pfn;

use super::check::{Outcome, check, frame_at, is_refused, is_used_as, same, same_at, skip};
use super::expected::Numbers;
use super::model::Model;
use super::paging::each_entry;
use super::snapshot::{Snapshot, counts_are};
use super::spare::{Spare, with_spare};
use super::tenant::with_tenant;
use super::vmemmap::struct_page;
use super::{Test, test};
use hotmap_kernel::arch::{peek, translate};

pub(super) const TESTS: &[Test] = &[
    test("a range that may not be added is refused, by the rule", bad_ranges_are_refused),
    test("memory that is online or absent is not removed", only_offline_memory_goes),
    test("removed memory leaves nothing behind", nothing_stays),
    test("self-hosted memmap costs no system RAM but table pages", self_hosted),
    test("memmap in system RAM costs exactly its size", in_ram),
    test("memory that was full of something has clean struct pages", struct_pages_are_clean),
];

fn bad_ranges_are_refused(model: &mut dyn Model) -> Outcome {
    let before = Snapshot::of(model);
    let block = model.numbers().section;
    let refuses = |start: u64, len, error| {
        is_refused(model.hot_range(PhysAddr::new(start), len, Source::Dimm(255)), error)
    };
    let range = |start: u64, len| PhysRange { start: PhysAddr::new(start), end: PhysAddr::new(start + len) };
    let ram = model.info().ram_start.get() / block * block;
    // Where nothing is present, so that no other rule is broken first.
    let (reach, far) = (model.reach(), model.absent().get());
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
    let right = model.hot_range(PhysAddr::new(far), block, Source::Dimm(255))?;
    same("pages of a range that may be added", right.pages().len(), model.numbers().section_pages)?;
    before.is_still(model)
}

fn only_offline_memory_goes(model: &mut dyn Model) -> Outcome {
    let (before, warnings) = (Snapshot::of(model), model.warnings());
    let online = model.blocks().iter().find(|block| block.state != BlockState::Offline);
    if let Some(memory) = online.map(|block| model.addresses(model.section(block.start))) {
        let refusal = Error::Block(BlockError::State {
            block: memory.start,
            is: BlockIs::Online,
            needs: BlockNeeds::Offline,
        });
        is_refused(model.remove(memory), refusal)?;
    }
    let start = PhysAddr::new(1 << 47);
    let absent = PhysRange { start, end: start + model.numbers().section };
    let refused = model.remove(absent);
    let warned = model.warnings().bad_remove - warnings.bad_remove;
    model.forget_warnings(warnings);
    is_refused(refused, Error::Block(BlockError::Absent(start)))?;
    same("warnings about it", warned, 1)?;
    before.is_still(model)
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

/// Table pages, counted in the tables themselves.
pub(super) fn table_pages(model: &dyn Model) -> Outcome<u64> {
    let mut tables = 1;
    each_entry(model, &mut |slot, d| {
        tables += u64::from(d.is_table(slot.level));
        Ok(())
    })?;
    Ok(tables)
}

fn nothing_stays(model: &mut dyn Model) -> Outcome {
    with_spare(model, |model, spare| {
        let (now, blocks) = (model.counts(), spare.blocks(model));
        same("table pages", now.tables, table_pages(model)?)?;
        let tables = spare.before.tables - now.tables;
        let was = with_blocks(&now, model.numbers(), blocks, spare.home, spare.zone.is_some(), tables);
        counts_are(&spare.before, &was)?;
        for block in model.starts(spare.pages) {
            is_gone(model, block)?;
            is_gone(model, block + (model.section_pages() - 1))?;
        }
        Ok(())
    })
}

/// Neither the memory nor its struct page can be reached, and the model does not know it.
pub(super) fn is_gone(model: &dyn Model, pfn: Pfn) -> Outcome {
    for va in [model.linear(model.address(pfn)), struct_page(model, pfn)] {
        let load = translate::load(va);
        check!(load.is_unmapped() && peek::load_aborts(va), "{va}, of {pfn} that was removed: {load}");
    }
    check!(model.section_of(pfn).is_none() && model.block_of(pfn).is_none(), "{pfn} is still known");
    is_refused(model.use_of(pfn), Error::Page(PageError::NotPresent(pfn)))
}

fn self_hosted(model: &mut dyn Model) -> Outcome {
    with_spare(model, |model, spare| {
        a_life(model, spare, MemmapHome::SelfHosted)?;
        add(model, spare, MemmapHome::SelfHosted)?;
        for block in model.starts(spare.pages) {
            hosts_itself(model, block)?;
        }
        Ok(())
    })
}

fn in_ram(model: &mut dyn Model) -> Outcome {
    with_spare(model, |model, spare| {
        let needed = spare.blocks(model) * model.numbers().memmap_pages;
        // As much again, so that runs of the right size are among what is free.
        if model.zone(ZoneKind::Normal).free < 2 * needed {
            return skip(&"system RAM has no room for the DIMM's memmap");
        }
        a_life(model, spare, MemmapHome::Ram)?;
        add(model, spare, MemmapHome::Ram)?;
        for block in model.starts(spare.pages) {
            let frame = frame_at(model, struct_page(model, block))?;
            is_used_as(model, frame, PageKind::MemmapRam)?;
            check!(!spare.pages.contains(frame), "the memmap of {block} is in the DIMM, at {frame}");
        }
        Ok(())
    })
}

pub(super) fn add(model: &mut dyn Model, spare: &Spare, home: MemmapHome) -> Outcome {
    let range = spare.validate(model)?;
    Ok(model.add(&range, home)?)
}

/// Add, online, offline, remove: the exact count of pages after each.
pub(super) fn a_life(model: &mut dyn Model, spare: &Spare, home: MemmapHome) -> Outcome {
    let (base, numbers, blocks) = (model.counts(), model.numbers(), spare.blocks(model));
    add(model, spare, home)?;
    let tables = table_pages(model)? - base.tables;
    let offline = with_blocks(&base, numbers, blocks, home, false, tables);
    counts_are(&model.counts(), &offline)?;
    model.online_range(spare.pages, ZoneKind::Movable)?;
    counts_are(&model.counts(), &with_blocks(&base, numbers, blocks, home, true, tables))?;
    for (i, block) in model.starts(spare.pages).enumerate() {
        let own = own_memmap(numbers, home, blocks, i as u64);
        same_at("pages of memmap in the block", block, memmap_in(model, block), own)?;
        same_at("free runs of the block", block, free_runs(model, block), runs_after(numbers, own))?;
    }
    let migrated = model.offline_range(spare.pages)?.migrated;
    same("pages migrated out of nothing", migrated, 0)?;
    counts_are(&model.counts(), &offline)?;
    model.remove(spare.range)?;
    counts_are(&model.counts(), &base)
}

/// How many pages of memmap are at the start of block `i` of `blocks`.
fn own_memmap(numbers: &Numbers, home: MemmapHome, blocks: u64, i: u64) -> u64 {
    match home {
        MemmapHome::SelfHosted => numbers.memmap_pages,
        MemmapHome::Ram => 0,
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

fn memmap_in(model: &dyn Model, block: Pfn) -> u64 {
    model.block_of(block).map_or(0, |block| block.memmap_pages)
}

fn free_runs(model: &dyn Model, block: Pfn) -> u64 {
    let Some(block) = model.block_of(block) else { return 0 };
    let mut runs = 0;
    model.each_free_run(block, &mut |_, _| runs += 1);
    runs
}

/// The block's first frames, all of them and in order, hold its memmap.
pub(super) fn hosts_itself(model: &dyn Model, block: Pfn) -> Outcome {
    let memmap = model.numbers().memmap_pages;
    for i in 0..memmap {
        let frame = frame_at(model, struct_page(model, block) + i * model.page_size())?;
        same_at("the frame behind memmap page", i, frame.get(), block.get() + i)?;
        is_used_as(model, frame, PageKind::MemmapSelf)?;
    }
    let first = block + memmap;
    is_used_as(model, first, PageKind::Tail)
}

/// The last block is filled by a tenant where its memmap will be, then hosts itself.
fn struct_pages_are_clean(model: &mut dyn Model) -> Outcome {
    with_spare(model, |model, spare| {
        let block = Pfn::new(spare.pages.end.get() - model.section_pages());
        let memory = model.addresses(model.section(block));
        let hot = model.hot_range(memory.start, memory.len(), Source::Dimm(255))?;
        let memmap = model.numbers().memmap_pages;
        if model.zone(ZoneKind::Normal).free < 2 * memmap {
            return skip(&"system RAM has no room for a block's memmap");
        }
        model.add(&hot, MemmapHome::Ram)?;
        model.online(block, ZoneKind::Movable)?;
        with_tenant(model, memmap, |model, guest| {
            let first = frame_at(model, guest.page(model, 0))?;
            let newest = model.zone(ZoneKind::Movable).blocks().last();
            same("where the tenant's first page is", first.get(), newest.map_or(0, |block| block.get()))
        })?;
        model.offline(block)?;
        model.remove(memory)?;
        model.add(&hot, MemmapHome::SelfHosted)?;
        for pfn in (1..model.section_pages()).map(|i| block + i) {
            is_clean(pfn, model.page(pfn))?;
        }
        is_used_as(model, block, PageKind::MemmapSelf)?;
        same("pages under the memmap's head", 1 << model.page(block).order(), memmap)
    })
}

fn is_clean(pfn: Pfn, page: &Page) -> Outcome {
    let kind = page.checked_kind();
    let words = [page.order(), page.refs(), page.links().0, page.links().1].map(u64::from);
    let dirty = words.iter().fold(page.private(), |bits, word| bits | word);
    check!(kind == Some(PageKind::Tail), "the struct page of {pfn} is no tail");
    same_at("the bits that are set in the struct page", pfn, dirty, 0)
}
