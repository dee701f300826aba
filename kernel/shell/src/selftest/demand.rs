//! Memmap on demand: the CPU's own translation says which pages of a block's memmap lead to the image of a free block, and
//! which have a frame of their own. Which these should be was counted by hand.

use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hugetlb::pool::Resized;
use hotmap_mm::pfn::Pfn;

use super::check::{Outcome, check, frame_at, is_used_as, same, same_at, skip};
use super::expected::{Expected, starts};
use super::hotplug::{a_life, add};
use super::hugetlb::{NO_ROOM, leads_to_head};
use super::snapshot::counts_are;
use super::spare::{Spare, with_spare};
use super::subject::{Test, test};
use super::vmemmap::struct_page;
use hotmap_kernel::arch::{peek, translate};
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test("memory on demand costs the image of a free block, and nothing for each block", costs_the_image),
    test("the memmap of every free block is the image, for loads only", blocks_are_the_image),
    test("the first page taken gives a frame to each memmap page in which a run begins", the_first_page),
    test("a memmap page gives its frame back when the run in it becomes part of a larger one", given_back),
    test("a huge page of whole blocks has one frame of memmap, and all its tails share one", huge_page),
];

/// The memmap pages in which runs begin once the first page of a block is taken: by hand, from its halves, quarters and so on,
/// down to what one memmap page describes; and at 4K, where the page is behind the 512 that are set aside, from the halves of
/// the next 512.
const BEGUN: [&[u64]; 3] =
    [&[0, 1, 2, 4, 8, 9, 10, 12, 16, 32, 64, 128, 256], &[0, 1, 2, 4, 8, 16], &[0, 1, 2, 4]];
/// What the block lends: a page for each of them, and at 4K one for the table of its memmap.
const LENT: [u64; 3] = [14, 6, 4];

/// The frames of the image: of the first memmap page of a free block, and of each other.
#[derive(Clone, Copy)]
struct Image {
    head: Pfn,
    tails: Pfn,
}

fn costs_the_image(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| a_life(kernel, spare, MemmapHome::Demand))
}

/// The DIMM goes online on demand. Returns the image, as its first block shows it.
fn online(kernel: &mut Kernel, spare: &Spare) -> Outcome<Image> {
    add(kernel, spare, MemmapHome::Demand)?;
    kernel.mm.online_pages(spare.pages, ZoneKind::Movable, |_, _| {})?;
    let memmap = struct_page(kernel, spare.pages.start);
    Ok(Image { head: frame_at(kernel, memmap)?, tails: frame_at(kernel, memmap + kernel.page_size())? })
}

/// The memmap pages `own` of the block at `start` have a frame each, of the block itself, for loads and stores. The others
/// are the image, for loads.
fn leads_to(kernel: &Kernel, start: Pfn, own: &[u64], image: Image) -> Outcome {
    let mut frames = heapless::Vec::<Pfn, 16>::new();
    for number in 0..kernel.numbers().memmap_pages {
        let va = struct_page(kernel, start) + number * kernel.page_size();
        let (frame, store) = (frame_at(kernel, va)?, translate::store(va));
        if !own.contains(&number) {
            let shared = if number == 0 { image.head } else { image.tails };
            same_at("the frame of a memmap page that the image serves", va, frame.get(), shared.get())?;
            check!(store.is_forbidden(), "{va}, of the image: to the CPU a store is {store}");
            continue;
        }
        check!(store == translate::load(va), "{va}, where a run begins: to the CPU a store is {store}");
        is_used_as(kernel, frame, PageKind::MemmapSelf)?;
        let inside = kernel.section(start).contains(frame);
        check!(inside && !frames.contains(&frame), "{va} leads to {frame}: another block's, or twice");
        check!(frames.push(frame).is_ok(), "more than {} memmap pages have frames", frames.len());
    }
    same_at(
        "memmap pages with a frame of their own, of the block",
        start,
        frames.len() as u64,
        own.len() as u64,
    )
}

fn blocks_are_the_image(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let image = online(kernel, spare)?;
        check!(image.head != image.tails, "the head and the tails of a free block share {}", image.head);
        for frame in [image.head, image.tails] {
            is_used_as(kernel, frame, PageKind::MemmapRam)?;
        }
        for block in starts(kernel, spare.pages) {
            leads_to(kernel, block, &[], image)?;
            is_used_as(kernel, block + (kernel.section_pages() - 1), PageKind::Free)?;
            let order = kernel.mm.frames().pages().get(block).order();
            same_at("the order of the free run", block, order.into(), kernel.block_order().into())?;
        }
        let va = struct_page(kernel, spare.pages.start);
        check!(!peek::load_aborts(va), "{va}: a load aborts");
        Ok(())
    })
}

/// The page comes from the newest block, and all of it comes back when the page is freed.
fn the_first_page(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let image = online(kernel, spare)?;
        let block = Pfn::new(spare.pages.end.get() - kernel.section_pages());
        let (before, kind) = (kernel.mm.frames().counts(), kernel.granule().kind as usize);
        let page = kernel.mm.frames_mut().alloc(0, PageKind::Kernel, Mobility::Movable)?;
        let taken = kernel.mm.frames().counts();
        let right = leads_to(kernel, block, BEGUN[kind], image);
        let findings = kernel.mm.audit(&mut |_| {});
        kernel.mm.frames_mut().free(page);
        right?;
        check!(kernel.section(block).contains(page), "{page} is not of the newest block, {block}");
        check!(findings.is_clean(), "an audit with a page taken: {findings}");
        same("pages lent", taken.memmap_self - before.memmap_self, LENT[kind])?;
        same("pages no longer free", before.free - taken.free, LENT[kind] + 1)?;
        leads_to(kernel, block, &[], image)?;
        counts_are(&kernel.mm.frames().counts(), &before)
    })
}

/// The memmap page in which the last quarter of a block begins.
const LAST_QUARTER: [u64; 3] = [384, 24, 6];

/// A page and two quarters of the newest block are taken: the second quarter, and one of the upper half, which is split for it.
/// When that is freed, the half is one run again.
fn given_back(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let image = online(kernel, spare)?;
        let block = Pfn::new(spare.pages.end.get() - kernel.section_pages());
        let (before, kind) = (kernel.mm.frames().counts(), kernel.granule().kind as usize);
        let quarter = kernel.block_order() - 2;
        let mut taken = heapless::Vec::<Pfn, 3>::new();
        for order in [0, quarter, quarter] {
            let run = kernel.mm.frames_mut().alloc(order, PageKind::Kernel, Mobility::Movable)?;
            check!(taken.push(run).is_ok(), "more than three runs");
        }
        let mut split = heapless::Vec::<u64, 16>::new();
        let numbers = BEGUN[kind].iter().chain(&LAST_QUARTER[kind..=kind]);
        let pushed = numbers.map(|number| split.push(*number)).all(|pushed| pushed.is_ok());
        let while_split = leads_to(kernel, block, &split, image);
        taken.pop().into_iter().for_each(|run| kernel.mm.frames_mut().free(run));
        let merged = leads_to(kernel, block, BEGUN[kind], image);
        taken.into_iter().for_each(|run| kernel.mm.frames_mut().free(run));
        check!(pushed, "more than 16 memmap pages");
        while_split.and(merged)?;
        leads_to(kernel, block, &[], image)?;
        counts_are(&kernel.mm.frames().counts(), &before)
    })
}

/// The smallest huge page that is whole blocks: by pages of memmap.
fn huge_page(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let _image = online(kernel, spare)?;
        let numbers = kernel.numbers();
        let size = numbers.huge_sizes.into_iter().find(|size| *size >= numbers.section).unwrap_or(0);
        let order = kernel.mm.hugetlb.order_of(size)?;
        let pool = kernel.mm.hugetlb.pool(order).map_or(0, |pool| pool.total());
        let Resized { stopped: None, .. } = kernel.mm.hugetlb_resize(order, pool + 1)? else {
            return skip(&NO_ROOM);
        };
        let head = kernel.mm.hugetlb_take(order)?;
        let outcome = has_one_frame(kernel, head, size).and_then(|()| leads_to_head(kernel, head, order));
        kernel.mm.hugetlb_put(head)?;
        kernel.mm.hugetlb_resize(order, pool)?;
        outcome
    })
}

/// The first memmap page of the huge page at `head` is its own, and each other leads to one frame, for loads.
fn has_one_frame(kernel: &Kernel, head: Pfn, size: u64) -> Outcome {
    let page = |number: u64| struct_page(kernel, head) + number * kernel.page_size();
    check!(translate::store(page(0)) == translate::load(page(0)), "{} is not for stores", page(0));
    let (own, tails) = (frame_at(kernel, page(0))?, frame_at(kernel, page(1))?);
    check!(own != tails, "{} and {} share {own}", page(0), page(1));
    for number in 1..size / kernel.numbers().described {
        let va = page(number);
        same_at("the frame of a page of tails", va, frame_at(kernel, va)?.get(), tails.get())?;
        check!(translate::store(va).is_forbidden(), "{va}: to the CPU a store is allowed");
    }
    Ok(())
}
