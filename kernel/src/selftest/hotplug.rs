//! Memory that comes and goes: the newest DIMM's, taken out and added again by both ways to hold its memmap. The exact
//! arithmetic of pages is the design's table's.

use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::error::Error;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::block::{BlockState, Source};
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::hotplug::steps::MemmapHome;
use hotmap_mm::layout::LINEAR_SIZE;
use hotmap_mm::model::Counts;
use hotmap_mm::page::{Page, PageKind};
use hotmap_mm::pfn::{Pfn, PfnRange};
use hotmap_mm::zone::ZoneKind;

use super::check::{Outcome, check, is_refused, is_used_as, same, same_at, skip};
use super::expected::{Numbers, numbers};
use super::paging::each_entry;
use super::snapshot::{Snapshot, counts_are};
use super::spare::{Spare, with_spare};
use super::tenant::{frame_at, with_tenant};
use super::vmemmap::struct_page;
use super::{Test, test};
use crate::arch::{peek, translate};
use crate::kernel::Kernel;

pub(super) const fn tests<G: Granule>() -> &'static [Test<G>] {
    const {
        &[
            test("a range that may not be added is refused, by the rule", bad_ranges_are_refused),
            test("memory that is online or absent is not removed", only_offline_memory_goes),
            test("removed memory leaves nothing behind", nothing_stays),
            test("self-hosted memmap costs no system RAM but table pages", self_hosted),
            test("memmap in system RAM costs exactly its size", in_ram),
            test("memory that was full of something has clean struct pages", struct_pages_are_clean),
        ]
    }
}

fn bad_ranges_are_refused<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    let before = Snapshot::of(kernel);
    let block = numbers(G::KIND).section;
    let refuses = |start: u64, len, error| {
        is_refused(HotRange::new(&kernel.mm, PhysAddr::new(start), len, Source::Dimm(255)), error)
    };
    let range = |start: u64, len| PhysRange { start: PhysAddr::new(start), end: PhysAddr::new(start + len) };
    let ram = kernel.info.ram_start.get() / block * block;
    let base = kernel.info.ram_start.get() / numbers(G::KIND).first_page * numbers(G::KIND).first_page;
    let reach = range(base, LINEAR_SIZE.min((1 << 48) - base));
    // Far away from all that any DIMM slot reaches, so that no other rule is broken first.
    let far = reach.end.get() - 16 * block;
    refuses(far, 0, Error::Empty(PhysAddr::new(far)))?;
    let top = u64::MAX - block + 1;
    refuses(top, 2 * block, Error::Wraps { start: PhysAddr::new(top), len: 2 * block })?;
    for (start, len) in [(far + (2 << 20), block), (far, block + (2 << 20)), (far, block / 2), (far + 1, block)] {
        refuses(start, len, Error::NotBlockAligned { range: range(start, len), block })?;
    }
    for (start, len) in [(reach.end.get(), block), (reach.end.get() - block, 2 * block)] {
        refuses(start, len, Error::BeyondLinearMap { range: range(start, len), reach })?;
    }
    refuses(ram, block, Error::Exists { range: range(ram, block), present: PhysAddr::new(ram) })?;
    let right = HotRange::new(&kernel.mm, PhysAddr::new(far), block, Source::Dimm(255))?;
    same("pages of a range that may be added", right.pages().len(), numbers(G::KIND).section_pages)?;
    before.is_still(kernel)
}

fn only_offline_memory_goes<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    let (before, warnings) = (Snapshot::of(kernel), kernel.mm.warnings());
    let online = kernel.mm.blocks().iter().find(|block| block.state != BlockState::Offline);
    if let Some(memory) = online.map(|block| block.pages::<G>().addresses::<G>()) {
        let refusal = Error::BlockState { block: memory.start, is: "online", needs: "offline" };
        is_refused(kernel.mm.remove(memory), refusal)?;
    }
    let start = PhysAddr::new(1 << 47);
    let absent = PhysRange { start, end: start + numbers(G::KIND).section };
    let refused = kernel.mm.remove(absent);
    let warned = kernel.mm.warnings().bad_remove - warnings.bad_remove;
    kernel.mm.forget_warnings(warnings);
    is_refused(refused, Error::NoBlock(start))?;
    same("warnings about it", warned, 1)?;
    before.is_still(kernel)
}

/// What a machine counts with `blocks` blocks more than in `base`, for which `tables` tables are new.
fn with_blocks(
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
        MemmapHome::SelfHosted => {
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
fn table_pages<G: Granule>(kernel: &Kernel<G>) -> Outcome<u64> {
    let mut tables = 1;
    each_entry(kernel, &mut |slot, d| {
        tables += u64::from(d.is_table(slot.level));
        Ok(())
    })?;
    Ok(tables)
}

fn nothing_stays<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let (now, blocks) = (kernel.mm.counts(), spare.block_count::<G>());
        same("table pages", now.tables, table_pages(kernel)?)?;
        let tables = spare.before.tables - now.tables;
        let was = with_blocks(&now, numbers(G::KIND), blocks, spare.home, spare.zone.is_some(), tables);
        counts_are(&spare.before, &was)?;
        for block in spare.blocks::<G>() {
            is_gone(kernel, block)?;
            is_gone(kernel, block + (G::SECTION_PAGES - 1))?;
        }
        Ok(())
    })
}

/// Neither the memory nor its struct page can be reached, and the model does not know it.
fn is_gone<G: Granule>(kernel: &Kernel<G>, pfn: Pfn) -> Outcome {
    for va in [kernel.mm.layout().linear(pfn.address::<G>()), struct_page(kernel, pfn)] {
        let load = translate::load(va);
        check!(load.is_unmapped() && peek::load_aborts(va), "{va}, of {pfn} that was removed: {load:?}");
    }
    check!(kernel.mm.section_of(pfn).is_none() && kernel.mm.block_of(pfn).is_none(), "{pfn} is still known");
    is_refused(kernel.mm.use_of(pfn), Error::NotPresent(pfn))
}

fn self_hosted<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        a_life(kernel, spare, MemmapHome::SelfHosted)?;
        add(kernel, spare, MemmapHome::SelfHosted)?;
        for block in spare.blocks::<G>() {
            hosts_itself(kernel, block)?;
        }
        Ok(())
    })
}

fn in_ram<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let needed = spare.block_count::<G>() * numbers(G::KIND).memmap_pages;
        // As much again, so that runs of the right size are among what is free.
        if kernel.mm.zone(ZoneKind::Normal).free < 2 * needed {
            return skip("system RAM has no room for the DIMM's memmap");
        }
        a_life(kernel, spare, MemmapHome::Ram)?;
        add(kernel, spare, MemmapHome::Ram)?;
        for block in spare.blocks::<G>() {
            let frame = frame_at::<G>(struct_page(kernel, block))?;
            is_used_as(frame, kernel.mm.use_of(frame)?.0, PageKind::MemmapRam)?;
            check!(!spare.pages.contains(frame), "the memmap of {block} is in the DIMM, at {frame}");
        }
        Ok(())
    })
}

fn add<G: Granule>(kernel: &mut Kernel<G>, spare: &Spare, home: MemmapHome) -> Outcome {
    let range = spare.validate(kernel)?;
    Ok(kernel.mm.add(&range, home)?)
}

/// Add, online, offline, remove: the exact count of pages after each.
fn a_life<G: Granule>(kernel: &mut Kernel<G>, spare: &Spare, home: MemmapHome) -> Outcome {
    let (base, numbers, blocks) = (kernel.mm.counts(), numbers(G::KIND), spare.block_count::<G>());
    add(kernel, spare, home)?;
    let tables = table_pages(kernel)? - base.tables;
    let offline = with_blocks(&base, numbers, blocks, home, false, tables);
    counts_are(&kernel.mm.counts(), &offline)?;
    kernel.mm.online_range(spare.pages, ZoneKind::Movable, |_, _| {})?;
    counts_are(&kernel.mm.counts(), &with_blocks(&base, numbers, blocks, home, true, tables))?;
    for block in spare.blocks::<G>() {
        let expected = if home == MemmapHome::SelfHosted { numbers.usable_runs } else { 1 };
        same_at("free runs of the block", block, free_runs(kernel, block), expected)?;
    }
    let migrated = kernel.mm.offline_range(spare.pages)?.migrated;
    same("pages migrated out of nothing", migrated, 0)?;
    counts_are(&kernel.mm.counts(), &offline)?;
    kernel.mm.remove(spare.range)?;
    counts_are(&kernel.mm.counts(), &base)
}

fn free_runs<G: Granule>(kernel: &Kernel<G>, block: Pfn) -> u64 {
    let Some(block) = kernel.mm.block_of(block) else { return 0 };
    (0..=G::BLOCK_ORDER).map(|order| block.free.heads(&kernel.mm.pages(), order).count() as u64).sum()
}

/// The block's first frames, all of them and in order, hold its memmap.
fn hosts_itself<G: Granule>(kernel: &Kernel<G>, block: Pfn) -> Outcome {
    let memmap = numbers(G::KIND).memmap_pages;
    for i in 0..memmap {
        let frame = frame_at::<G>(struct_page(kernel, block) + i * G::SIZE)?;
        same_at("the frame behind memmap page", i, frame.get(), block.get() + i)?;
        is_used_as(frame, kernel.mm.use_of(frame)?.0, PageKind::MemmapSelf)?;
    }
    let first = block + memmap;
    is_used_as(first, kernel.mm.use_of(first)?.0, PageKind::Tail)
}

/// The last block is filled by a tenant where its memmap will be, then hosts itself.
fn struct_pages_are_clean<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let range = one_block::<G>(spare);
        let memory = range.addresses::<G>();
        let hot = HotRange::new(&kernel.mm, memory.start, memory.len(), Source::Dimm(255))?;
        if kernel.mm.zone(ZoneKind::Normal).free < 2 * numbers(G::KIND).memmap_pages {
            return skip("system RAM has no room for a block's memmap");
        }
        kernel.mm.add(&hot, MemmapHome::Ram)?;
        kernel.mm.online(range.start, ZoneKind::Movable)?;
        with_tenant(kernel, numbers(G::KIND).memmap_pages, |kernel, guest| {
            let (first, block) = (frame_at::<G>(guest.page::<G>(0))?, kernel.mm.blocks().last());
            let block = block.map_or(0, |block| block.start.get());
            same("where the tenant's first page is", first.get(), block)
        })?;
        kernel.mm.unplug(memory)?;
        kernel.mm.add(&hot, MemmapHome::SelfHosted)?;
        for pfn in (1..G::SECTION_PAGES).map(|i| range.start + i) {
            is_clean(pfn, kernel.mm.pages().get(pfn))?;
        }
        let (kind, order) = (kernel.mm.use_of(range.start)?.0, kernel.mm.pages().get(range.start).order());
        is_used_as(range.start, kind, PageKind::MemmapSelf)?;
        same("pages under the memmap's head", 1 << order, numbers(G::KIND).memmap_pages)
    })
}

fn one_block<G: Granule>(spare: &Spare) -> PfnRange {
    PfnRange { start: Pfn::new(spare.pages.end.get() - G::SECTION_PAGES), end: spare.pages.end }
}

fn is_clean(pfn: Pfn, page: &Page) -> Outcome {
    let (kind, links) = (page.checked_kind(), page.links());
    let words = (page.order(), page.refs(), page.private(), links);
    check!(kind == Some(PageKind::Tail) && words == (0, 0, 0, (0, 0)), "the struct page of {pfn}: {kind:?}, {words:?}");
    Ok(())
}
