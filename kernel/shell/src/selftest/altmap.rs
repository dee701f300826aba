//! Devices with memory of their own, which holds their memmap: the newest DIMM's memory plays the device.

use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::error::Resource;
use hotmap_mm::frame::altmap::Altmap;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::check::{Outcome, check, fail, frame_at, is_used_as, ran_out, same, same_at, skip};
use super::device::{ON_DEVICE, SUBSECTION, create, destroy, find, with_device};
use super::entries::Bytes;
use super::expected::Expected;
use super::faults::fail_each;
use super::hotplug::is_gone;
use super::snapshot::Snapshot;
use super::spare::{Spare, with_spare};
use super::subject::{Test, test};
use super::vmemmap::struct_page;
use hotmap_kernel::arch::translate;
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test("an altmap is charged for memmap that describes only its device", charged_for_its_own),
    test("padding for alignment is accounted", padding),
    test("an altmap that is one page too small runs out, and nothing is left behind", one_page_short),
    test("of two adjacent devices either may be removed first", neighbours),
    test("a failed creation leaves nothing behind", every_allocation_fails),
];

/// What a device's memmap takes.
#[derive(Clone, Copy)]
struct Account {
    /// Pages of its altmap in use.
    alloc: u64,
    /// Pages of its altmap lost to alignment.
    align: u64,
    /// Pages of system RAM: those that describe its neighbours' memory too.
    edge: u64,
}

const fn account(alloc: u64, align: u64, edge: u64) -> Account {
    Account { alloc, align, edge }
}

/// For so many subsections from a section's start, at 4K, 16K and 64K: 64 bytes for each page, in whole pages.
const FROM_START: [(u64, [Account; 3]); 3] = [
    (1, [account(8, 0, 0), account(0, 0, 1), account(0, 0, 1)]),
    (2, [account(16, 0, 0), account(1, 0, 0), account(0, 0, 1)]),
    (32, [account(256, 0, 0), account(16, 0, 0), account(1, 0, 0)]),
];
/// For the last subsection of a section and all of the next section: at 4K eight pages, and a block at a multiple of 512.
const OVER_BORDER: [Account; 3] = [account(8 + 512, 504, 0), account(32, 0, 1), account(8, 0, 1)];

fn charged_for_its_own(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let start = spare.range.start;
        for (subsections, accounts) in FROM_START {
            let expected = accounts[kernel.granule().kind as usize];
            is_charged(kernel, (start, subsections * SUBSECTION), 3, expected)?;
        }
        let (section, all) = (kernel.numbers().section, kernel.numbers().memmap_pages);
        is_charged(kernel, (start, section), 0, account(all, 0, 0))
    })
}

fn padding(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        if spare.blocks(kernel) < 2 {
            return skip(&"the DIMM is one block");
        }
        let (section, expected) = (kernel.numbers().section, OVER_BORDER[kernel.granule().kind as usize]);
        let start = spare.range.start + (section - SUBSECTION);
        is_charged(kernel, (start, SUBSECTION + section), 0, expected)
    })
}

/// Makes a device whose driver keeps `reserve` pages, and checks its altmap and the frames of its struct pages.
fn is_charged(kernel: &mut Kernel, range: Bytes, reserve: u64, expected: Account) -> Outcome {
    let ram = kernel.mm.frames().counts().memmap_ram;
    let memmap = MemmapHome::SelfRange { reserve };
    with_device(kernel, &[range], DeviceType::Generic, memmap, &|kernel, start| {
        let device = find(kernel, start)?;
        let Some(altmap) = kernel.mm.frames().altmap(device.start()) else {
            return Err(fail(format_args!("there is no altmap")));
        };
        same("pages of the altmap in use", altmap.alloc(), expected.alloc)?;
        same("pages lost to alignment", altmap.align(), expected.align)?;
        same("pages of system RAM", kernel.mm.frames().counts().memmap_ram - ram, expected.edge)?;
        let aside = reserve + expected.alloc + expected.align;
        same("pages before the usable ones", device.usable_start() - start, aside)?;
        let pages = PfnRange::new(start, range.1 / kernel.page_size());
        memmap_is_in(kernel, pages, PfnRange { start: start + reserve, end: start + aside }, expected)?;
        for pfn in [start + aside, Pfn::new(pages.end.get() - 1)] {
            is_used_as(kernel, pfn, PageKind::Device)?;
            let va = kernel.mm.space().layout().linear(kernel.address(pfn));
            let (load, store) = (translate::load(va), translate::store(va));
            check!(load == store && load.address() == Some(kernel.address(pfn)), "{va}, of {pfn}: {load}");
        }
        Ok(())
    })?;
    let start = kernel.pfn(range.0);
    is_gone(kernel, start)?;
    is_gone(kernel, start + (range.1 / kernel.page_size() - 1))
}

/// The memmap of `pages`, page by page: each in `altmap`, none twice, but for those at the edges, which are system RAM.
fn memmap_is_in(kernel: &Kernel, pages: PfnRange, altmap: PfnRange, expected: Account) -> Outcome {
    let (mut inside, mut outside, mut next) = (0, 0, altmap.start);
    let mut at = struct_page(kernel, pages.start).align_down(kernel.page_size());
    while at < struct_page(kernel, pages.end) {
        let frame = frame_at(kernel, at)?;
        if pages.contains(frame) {
            check!(
                next <= frame && frame < altmap.end,
                "{at} is in {frame}, not in {next} .. {}",
                altmap.end
            );
            is_used_as(kernel, frame, PageKind::DeviceMemmap)?;
            (inside, next) = (inside + 1, frame + 1);
        } else {
            is_used_as(kernel, frame, PageKind::MemmapRam)?;
            outside += 1;
        }
        at = at + kernel.page_size();
    }
    same("pages of memmap in the device", inside, expected.alloc)?;
    same("pages of memmap outside", outside, expected.edge)
}

fn one_page_short(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let (before, needed) = (Snapshot::of(kernel), kernel.numbers().memmap_pages);
        let altmap = MemmapHome::Given(Altmap::new(spare.pages.start, 0, needed - 1));
        let range = [(spare.range.start, kernel.numbers().section)];
        let refused = create(kernel, &range, DeviceType::Generic, altmap);
        ran_out(refused, |out| matches!(out, Resource::Altmap { .. }))?;
        before.is_still(kernel)
    })
}

/// Two devices of three subsections: at 16K and 64K a page of memmap describes both.
fn neighbours(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        part(kernel, spare, 0)?;
        part(kernel, spare, 1)
    })
}

/// Makes both, removes the one with the number `goes`, then the other.
fn part(kernel: &mut Kernel, spare: &Spare, goes: usize) -> Outcome {
    let pages = 3 * SUBSECTION / kernel.page_size();
    let both = [0, 1].map(|i| PfnRange::new(spare.pages.start + i * pages, pages));
    for device in both {
        let range = (kernel.address(device.start), 3 * SUBSECTION);
        create(kernel, &[range], DeviceType::FsDax, ON_DEVICE)?;
    }
    let (goes, stays) = (both[goes], both[1 - goes]);
    marks(kernel, stays).for_each(|pfn| kernel.mm.frames().pages().get(pfn).set_private(pfn.get()));
    destroy(kernel, goes.start)?;
    for pfn in marks(kernel, stays) {
        let frame = frame_at(kernel, struct_page(kernel, pfn))?;
        check!(!goes.contains(frame), "the struct page of {pfn} is in a device that is gone, at {frame}");
        same_at(
            "what was written into the struct page",
            pfn,
            kernel.mm.frames().pages().get(pfn).private(),
            pfn.get(),
        )?;
    }
    destroy(kernel, stays.start)?;
    is_gone(kernel, goes.start)?;
    is_gone(kernel, stays.start)
}

/// A page in each subsection: neither the first, where a head may be, nor one that anybody uses.
fn marks(kernel: &Kernel, device: PfnRange) -> impl Iterator<Item = Pfn> + use<> {
    let subsection = SUBSECTION / kernel.page_size();
    (1..=3).map(move |i| Pfn::new(device.start.get() + i * subsection - 1))
}

fn every_allocation_fails(kernel: &mut Kernel) -> Outcome {
    with_spare(kernel, |kernel, spare| {
        let ranges = [(spare.range.start, spare.range.len() - SUBSECTION)];
        let make = |kernel: &mut Kernel| create(kernel, &ranges, DeviceType::Coherent, ON_DEVICE);
        fail_each(kernel, &make, &|kernel| kernel.mm.memunmap_pages(spare.pages.start).map(drop))
    })
}
