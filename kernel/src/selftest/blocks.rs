//! Memory blocks of boot RAM, offline and online: what may go, goes and comes back; what may not is named.

use hotmap_mm::error::Error;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::block::BlockState;
use hotmap_mm::hotplug::offline::Offlined;
use hotmap_mm::model::Counts;
use hotmap_mm::page::PageKind;
use hotmap_mm::pfn::Pfn;
use hotmap_mm::zone::ZoneKind;

use super::check::{Outcome, check, is_refused, is_used_as, same};
use super::snapshot::{Snapshot, counts_are};
use super::spare::boot_block;
use super::vmemmap::struct_page;
use super::{Test, test};
use crate::arch::translate;
use crate::kernel::Kernel;

pub(super) const fn tests<G: Granule>() -> &'static [Test<G>] {
    const {
        &[
            test("a boot block with nothing in use goes offline", a_boot_block_goes),
            test("it keeps its memmap and its place in the linear map meanwhile", what_stays),
            test("it comes back with all of its pages, in either zone", it_comes_back),
            test("the block of the image refuses to go, naming what holds it", the_image_holds_its_block),
            test("what is not the start of a present block is refused", not_a_block),
        ]
    }
}

/// Run `body` with the newest block of boot RAM offline, and bring it back whatever `body` says.
fn while_offline<G: Granule>(
    kernel: &mut Kernel<G>,
    body: fn(&mut Kernel<G>, Pfn, Counts) -> Outcome,
) -> Outcome {
    let (block, before) = (boot_block(kernel)?, kernel.mm.counts());
    let offlined = kernel.mm.offline(block)?;
    let outcome = body(kernel, block, before);
    if kernel.mm.block_of(block).is_some_and(|block| block.state == BlockState::Offline) {
        kernel.mm.online(block, ZoneKind::Normal)?;
    }
    check!(offlined == Offlined::default(), "{} pages migrated out of nothing", offlined.migrated);
    outcome
}

fn a_boot_block_goes<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    while_offline(kernel, |kernel, block, mut expected| {
        expected.present -= G::SECTION_PAGES;
        expected.free -= G::SECTION_PAGES;
        counts_are(&kernel.mm.counts(), &expected)?;
        let listed = ZoneKind::ALL.iter().any(|zone| kernel.mm.zone(*zone).blocks().contains(&block));
        check!(!listed, "the block at {block} is offline, and in a zone");
        let address = block.address::<G>();
        let again = kernel.mm.offline(block);
        is_refused(again, Error::BlockState { block: address, is: "offline", needs: "online" })?;
        let findings = kernel.mm.audit(&mut |_| {});
        check!(findings.is_clean(), "an audit meanwhile: {findings}");
        Ok(())
    })
}

fn what_stays<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    while_offline(kernel, |kernel, block, _| {
        for pfn in [block, block + (G::SECTION_PAGES - 1)] {
            let linear = kernel.mm.layout().linear(pfn.address::<G>());
            let to = translate::load(linear).address();
            check!(to == Some(pfn.address::<G>()), "{linear}, the linear address of {pfn}, leads to {to:?}");
            let memmap = translate::load(struct_page(kernel, pfn));
            check!(memmap.address().is_some(), "the struct page of {pfn}: {memmap:?}");
            // Nobody speaks for a page that is neither free nor in use.
            is_used_as(pfn, kernel.mm.use_of(pfn)?.0, PageKind::Tail)?;
        }
        Ok(())
    })
}

fn it_comes_back<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    while_offline(kernel, |kernel, block, before| {
        kernel.mm.online(block, ZoneKind::Movable)?;
        let outcome = counts_are(&kernel.mm.counts(), &before).and(is_one_run(kernel, block, ZoneKind::Movable));
        kernel.mm.offline(block)?;
        outcome
    })?;
    is_one_run(kernel, boot_block(kernel)?, ZoneKind::Normal)
}

/// A block with nothing in use is one free run: the largest order.
fn is_one_run<G: Granule>(kernel: &Kernel<G>, block: Pfn, zone: ZoneKind) -> Outcome {
    let Some(found) = kernel.mm.block_of(block) else { return Err(Error::NoBlock(block.address::<G>()).into()) };
    let (state, largest) = (found.state, found.free.largest());
    check!(state == BlockState::Online(zone), "the block at {block} is {state:?}, not online in {zone}");
    check!(largest == Some(G::BLOCK_ORDER), "its largest free run is {largest:?}, not {}", G::BLOCK_ORDER);
    same("free pages of the block", found.free.pages(), G::SECTION_PAGES)
}

fn the_image_holds_its_block<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    let image = Pfn::containing::<G>(kernel.info.image.start).get();
    let block = Pfn::new(image / G::SECTION_PAGES * G::SECTION_PAGES);
    let (expected, before) = (what_holds(kernel, block)?, Snapshot::of(kernel));
    is_refused(kernel.mm.offline(block), expected)?;
    before.is_still(kernel)
}

/// The error that names what keeps `block` from going: its holes, or its first page that cannot move.
fn what_holds<G: Granule>(kernel: &Kernel<G>, block: Pfn) -> Outcome<Error> {
    let mut ram = kernel.info.memblock.ram().iter();
    let bytes = hotmap_mm::pfn::PfnRange::new(block, G::SECTION_PAGES).addresses::<G>();
    if !ram.any(|ram| ram.covers(&bytes)) {
        return Ok(Error::NotWhole(bytes.start));
    }
    let mut pfn = block;
    loop {
        let (kind, head) = kernel.mm.use_of(pfn)?;
        let page = kernel.mm.pages().get(head);
        match kind {
            PageKind::Pinned => return Ok(Error::Pinned { pfn, refs: page.refs() }),
            PageKind::Tenant if page.refs() > 1 => return Ok(Error::Pinned { pfn, refs: page.refs() }),
            PageKind::Free | PageKind::Tenant => pfn = head + (1 << page.order()),
            _ => return Ok(Error::Unmovable { pfn, kind }),
        }
    }
}

fn not_a_block<G: Granule>(kernel: &mut Kernel<G>) -> Outcome {
    let before = Snapshot::of(kernel);
    let first = kernel.mm.blocks().first().map_or(Pfn::new(0), |block| block.start);
    let inside = first + 1;
    let absent = Pfn::new(u64::MAX >> G::SHIFT).align_down(G::BLOCK_ORDER);
    for pfn in [inside, absent] {
        let refusal = Error::NoBlock(pfn.address::<G>());
        is_refused(kernel.mm.offline(pfn), refusal)?;
        is_refused(kernel.mm.online(pfn, ZoneKind::Normal), refusal)?;
    }
    let online = kernel.mm.block_of(first).is_some_and(|block| block.state != BlockState::Offline);
    if online {
        let refusal = Error::BlockState { block: first.address::<G>(), is: "online", needs: "offline" };
        is_refused(kernel.mm.online(first, ZoneKind::Normal), refusal)?;
    }
    before.is_still(kernel)
}
