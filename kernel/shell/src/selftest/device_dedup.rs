//! Devices in compound pages: two pages of each memmap have memory of their own, the first and one of tails. In system RAM
//! (private memory, with nothing behind it) and in an altmap (the newest DIMM's memory).

use hotmap_mm::addr::PhysAddr;
use hotmap_mm::device::compound::{Dedup, TailScope};
use hotmap_mm::device::holds::Teardown;
use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::error::{DeviceError, Error, RangeError, Result};
use hotmap_mm::frame::page::{PAGE_BYTES, PageKind};
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::check::{Outcome, check, fail, frame_at, is_refused, is_used_as, same, same_at, skip};
use super::device::{ON_DEVICE, SUBSECTION, bytes, destroy, find};
use super::entries::compound_device;
use super::expected::Expected;
use super::faults::fail_each;
use super::hotplug::is_gone;
use super::snapshot::counts_are;
use super::spare::with_spare;
use super::subject::{Test, test};
use super::vmemmap::struct_page;
use hotmap_kernel::arch::translate;
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test("a compound page's memmap has two pages of its own, and its tails are read-only", in_system_ram),
    test("memmap in an altmap is shared likewise, behind the pages set aside", in_an_altmap),
    test("a pin counts on the head, and teardown waits for it", holds),
    test("a wrong compound size or alignment is refused with its rule", refusals),
    test("a failed creation leaves nothing behind", every_allocation_fails),
];

const M: u64 = 1 << 20;
const G: u64 = 1 << 30;
/// Sizes of compound pages that share, at 4K, 16K and 64K; the first is a block's.
const SIZES: [[u64; 2]; 3] = [[2 * M, G], [32 * M, G], [512 * M, 16 * G]];
const SCOPES: [TailScope; 2] = [TailScope::Page, TailScope::Device];

/// What a device shall be.
#[derive(Clone, Copy)]
struct Wish {
    start: PhysAddr,
    len: u64,
    kind: DeviceType,
    memmap: MemmapHome,
    size: u64,
    tails: TailScope,
}

impl Wish {
    /// `count` compound pages that nothing is behind, far above all that is present.
    fn absent(kernel: &Kernel, size: u64, count: u64, tails: TailScope) -> Self {
        let start = PhysAddr::new(kernel.absent().get() - count * size).align_down(size);
        let (kind, memmap) = (DeviceType::Private, MemmapHome::Ram);
        Self { start, len: count * size, kind, memmap, size, tails }
    }
    fn make(&self, kernel: &mut Kernel) -> Result<()> {
        let range = (self.start, self.len);
        let device = compound_device(kernel, range, self.kind, self.memmap, self.size, self.tails)?;
        kernel.mm.memremap_pages(&device, |_, _| {})
    }
}

/// Makes the device, runs `body` with it, and removes it.
fn with(kernel: &mut Kernel, wish: &Wish, body: &dyn Fn(&mut Kernel, Pfn) -> Outcome) -> Outcome {
    wish.make(kernel)?;
    let start = kernel.pfn(wish.start);
    let outcome = body(kernel, start);
    destroy(kernel, start)?;
    is_gone(kernel, start)?;
    outcome
}

fn in_system_ram(kernel: &mut Kernel) -> Outcome {
    for size in SIZES[kernel.granule().kind as usize] {
        for tails in SCOPES {
            let (base, wish) = (kernel.mm.frames().counts(), Wish::absent(kernel, size, 3, tails));
            with(kernel, &wish, &|kernel, start| {
                let shared = if tails == TailScope::Page { 6 } else { 4 };
                same("pages of memmap", kernel.mm.frames().counts().memmap_ram - base.memmap_ram, shared)?;
                share(kernel, &wish, PfnRange::new(start, wish.len / kernel.page_size()), PageKind::MemmapRam)
            })?;
            counts_are(&kernel.mm.frames().counts(), &base)?;
        }
    }
    Ok(())
}

fn in_an_altmap(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let size = SIZES[kernel.granule().kind as usize][0];
        let (start, end) = (spare.range.start, spare.range.end.align_down(size));
        if start.checked_align_up(size).is_none_or(|first| first + 2 * size > end) {
            return skip(&"the DIMM has no two compound pages");
        }
        for tails in SCOPES {
            let kind = DeviceType::Generic;
            let wish = Wish { start, len: end - start, kind, memmap: ON_DEVICE, size, tails };
            with(kernel, &wish, &|kernel, start| {
                let device = find(kernel, start)?;
                let Some(altmap) = kernel.mm.frames().altmap(device.start()) else {
                    return Err(fail(format_args!("no altmap")));
                };
                same("pages of the altmap left over", altmap.free(), altmap.alloc() + altmap.align())?;
                let usable = PfnRange { start: device.usable_start(), end: kernel.pfn(end) };
                check!(usable.start > start, "nothing is set aside");
                is_used_as(kernel, Pfn::new(usable.start.get() - 1), PageKind::DeviceMemmap)?;
                share(kernel, &wish, usable, PageKind::DeviceMemmap)
            })?;
        }
        Ok(())
    })
}

/// Every compound page of `usable`: its head's page is its own; the first of tails is the same as the last, of its own
/// compound page or of the first, in a frame that is `home`'s, counts who maps it, and cannot be written.
fn share(kernel: &Kernel, wish: &Wish, usable: PfnRange, home: PageKind) -> Outcome {
    let (pages, per_page) = (wish.size / kernel.page_size(), kernel.page_size() / PAGE_BYTES);
    let compounds = usable.len() / pages;
    let mut before = None;
    for head in (0..compounds).map(|i| usable.start + i * pages) {
        let frames = [0, per_page, pages - 1].map(|i| struct_page(kernel, head + i));
        let [own, first, last] =
            [0, 1, 2].map(|i| frame_at(kernel, frames[i].align_down(kernel.page_size())));
        let (own, first, last) = (own?, first?, last?);
        check!(own != first && first == last, "{head}: its memmap is in {own}, {first} .. {last}");
        is_used_as(kernel, own, home)?;
        is_used_as(kernel, first, home)?;
        let again = wish.tails == TailScope::Device;
        check!(before.is_none_or(|tail| (tail == first) == again), "{head}: its tails are in {first}");
        before = Some(first);
        let store = translate::store(frames[1]);
        check!(store.address().is_none(), "{head}: its tails can be written: {store}");
        check!(translate::store(frames[0]).address().is_some(), "{head} cannot be written");
        for i in [0, 1, per_page - 1, per_page, pages / 2, pages - 1] {
            let found = kernel.mm.frames().use_of(head + i)?;
            check!(found == (PageKind::Device, head), "{}: {} of {}", head + i, found.0, found.1);
        }
    }
    counts_its_entries(kernel, wish, usable)
}

/// At 4K whole tables of tails are one, of 512 entries; else there is an entry for each page of memmap but the head's.
fn counts_its_entries(kernel: &Kernel, wish: &Wish, usable: PfnRange) -> Outcome {
    let (pages, per_page) = (wish.size / kernel.page_size(), kernel.page_size() / PAGE_BYTES);
    let (memmap, compounds) = (pages / per_page, usable.len() / pages);
    let shared_table = kernel.page_size() == 0x1000 && memmap > 512;
    let (of_each, of_all) = if shared_table { (511, 512) } else { (memmap - 1, 0) };
    let expected = if wish.tails == TailScope::Page { of_each } else { of_each * compounds } + of_all;
    let tail = kernel.mm.frames().pages().get(usable.start + per_page).private();
    same("entries that map the first page of tails", tail, expected)
}

fn holds(kernel: &mut Kernel) -> Outcome {
    let size = SIZES[kernel.granule().kind as usize][0];
    let wish = Wish::absent(kernel, size, 2, TailScope::Page);
    wish.make(kernel)?;
    let (start, pages) = (kernel.pfn(wish.start), size / kernel.page_size());
    let (head, last) = (start + pages, Pfn::new(start.get() + 2 * pages - 1));
    kernel.mm.pin(last)?;
    let held = u64::from(kernel.mm.frames().pages().get(head).refs());
    let waits = kernel.mm.memunmap_pages(start)?;
    // First of all, so that the device goes whatever was found.
    kernel.mm.unpin(head)?;
    same_at("holds", head, held, 1)?;
    check!(waits == Teardown::Waits { pfn: head, holds: 1 }, "{head} is held, and teardown says {waits:?}");
    is_gone(kernel, start)
}

fn refusals(kernel: &mut Kernel) -> Outcome {
    let size = SIZES[kernel.granule().kind as usize][0];
    let wish = Wish::absent(kernel, size, 2, TailScope::Page);
    let granule = kernel.granule();
    let odd = Wish { size: 3 * size, ..wish };
    is_refused(
        odd.make(kernel),
        Error::Device(DeviceError::CompoundSize { size: 3 * size, granule: granule.kind }),
    )?;
    let part = Wish { start: wish.start + size / 2, ..wish };
    let range = bytes(part.start, part.len);
    let error = match (size / 2).is_multiple_of(SUBSECTION) {
        true => Error::Range(RangeError::NotCompoundAligned { range, size }),
        false => Error::Range(RangeError::NotSubsectionAligned(range)),
    };
    is_refused(part.make(kernel), error)?;
    let single = Wish { size: kernel.page_size(), len: 2 * M, ..wish };
    with(kernel, &single, &|kernel, start| {
        let dedup = find(kernel, start)?.dedup();
        check!(dedup != Dedup::Shared, "single pages share");
        Ok(())
    })
}

fn every_allocation_fails(kernel: &mut Kernel) -> Outcome {
    let size = SIZES[kernel.granule().kind as usize][0];
    for tails in SCOPES {
        let wish = Wish::absent(kernel, size, 3, tails);
        let start = kernel.pfn(wish.start);
        fail_each(kernel, &|kernel| wish.make(kernel), &|kernel| kernel.mm.memunmap_pages(start).map(drop))?;
    }
    Ok(())
}
