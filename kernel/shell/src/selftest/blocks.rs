//! Memory blocks of boot RAM, offline and online: what may go, goes and comes back; what may not is named.

use hotmap_mm::error::{BlockError, BlockIs, BlockNeeds, Error, PageError};
use hotmap_mm::frame::block::BlockState;
use hotmap_mm::frame::counts::Counts;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::offline::Offlined;
use hotmap_mm::pfn::Pfn;

use super::check::{Outcome, check, frame_at, is_refused, is_used_as, same, same_at};
use super::expected::Expected;
use super::snapshot::{Snapshot, counts_are};
use super::spare::boot_block;
use super::subject::{Test, test};
use super::vmemmap::struct_page;
use hotmap_kernel::arch::translate;
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test("a boot block with nothing in use goes offline", a_boot_block_goes),
    test("an offline block keeps its memmap and its linear mapping", what_stays),
    test("it goes online again with all of its pages, in either zone", it_comes_back),
    test("the image's block is refused, and the error names the cause", the_image_holds_its_block),
    test("what is not the start of a present block is refused", not_a_block),
];

/// Runs `body` with the newest block of boot RAM offline, and brings the block online again even if `body` fails.
fn while_offline(kernel: &mut Kernel, body: fn(&mut Kernel, Pfn, Counts) -> Outcome) -> Outcome {
    let (block, before) = (boot_block(kernel)?, kernel.mm.frames().counts());
    let offlined = kernel.mm.offline_block(block)?;
    let outcome = body(kernel, block, before);
    if kernel.block_of(block).is_some_and(|block| block.state == BlockState::Offline) {
        kernel.mm.online_block(block, ZoneKind::Normal)?;
    }
    check!(offlined == Offlined::default(), "{} pages migrated out of nothing", offlined.migrated);
    outcome
}

/// The pages at the block's start that hold its memmap: none, or all of it.
fn own_memmap(kernel: &Kernel, start: Pfn) -> u64 {
    let hosts_itself = kernel.block_of(start).is_some_and(|block| block.memmap_pages > 0);
    if hosts_itself { kernel.numbers().memmap_pages } else { 0 }
}

fn a_boot_block_goes(kernel: &mut Kernel) -> Outcome {
    while_offline(kernel, |kernel, block, mut expected| {
        let usable = kernel.section_pages() - own_memmap(kernel, block);
        expected.present -= usable;
        expected.free -= usable;
        counts_are(&kernel.mm.frames().counts(), &expected)?;
        let listed = ZoneKind::ALL
            .into_iter()
            .any(|zone| kernel.mm.frames().blocks_in(zone).any(|start| start == block));
        check!(!listed, "the block at {block} is offline, and in a zone");
        let address = kernel.address(block);
        let again = kernel.mm.offline_block(block);
        is_refused(
            again,
            Error::Block(BlockError::State {
                block: address,
                is: BlockIs::Offline,
                needs: BlockNeeds::Online,
            }),
        )?;
        let findings = kernel.mm.audit(&mut |_| {});
        check!(findings.is_clean(), "an audit meanwhile: {findings}");
        Ok(())
    })
}

fn what_stays(kernel: &mut Kernel) -> Outcome {
    while_offline(kernel, |kernel, block, _| {
        for pfn in [block, block + (kernel.section_pages() - 1)] {
            let linear = kernel.mm.space().layout().linear(kernel.address(pfn));
            same_at(
                "the frame behind the linear address",
                linear,
                frame_at(kernel, linear)?.get(),
                pfn.get(),
            )?;
            let memmap = translate::load(struct_page(kernel, pfn));
            check!(memmap.address().is_some(), "the struct page of {pfn}: {memmap}");
        }
        // A page that is neither free nor in use has no head; the block's own memmap is in use.
        let own = own_memmap(kernel, block);
        for i in [0, own.saturating_sub(1), own, kernel.section_pages() - 1] {
            is_used_as(kernel, block + i, if i < own { PageKind::MemmapSelf } else { PageKind::Tail })?;
        }
        Ok(())
    })
}

fn it_comes_back(kernel: &mut Kernel) -> Outcome {
    while_offline(kernel, |kernel, block, before| {
        kernel.mm.online_block(block, ZoneKind::Movable)?;
        let outcome = counts_are(&kernel.mm.frames().counts(), &before).and(is_all_free(
            kernel,
            block,
            ZoneKind::Movable,
        ));
        kernel.mm.offline_block(block)?;
        outcome
    })?;
    is_all_free(kernel, boot_block(kernel)?, ZoneKind::Normal)
}

/// A block with nothing in use is one free run, of the largest order; with its own memmap at its start, the runs after that.
fn is_all_free(kernel: &Kernel, block: Pfn, zone: ZoneKind) -> Outcome {
    let Some(found) = kernel.block_of(block) else {
        return Err(Error::Block(BlockError::Absent(kernel.address(block))).into());
    };
    check!(
        found.state == BlockState::Online(zone),
        "the block at {block} is {}, not in {zone}",
        found.state.name()
    );
    let usable = kernel.section_pages() - own_memmap(kernel, block);
    let largest = found.free.largest().unwrap_or(0);
    same_at("the order of the largest free run", block, largest.into(), usable.ilog2().into())?;
    same("free pages of the block", found.free.pages(), usable)
}

fn the_image_holds_its_block(kernel: &mut Kernel) -> Outcome {
    let image = kernel.pfn(kernel.info.image.start).get();
    let block = Pfn::new(image / kernel.section_pages() * kernel.section_pages());
    let (expected, before) = (what_holds(kernel, block)?, Snapshot::of(kernel));
    is_refused(kernel.mm.offline_block(block), expected)?;
    before.is_still(kernel)
}

/// The error that names what keeps `block` from going: its holes, or its first page that cannot move.
fn what_holds(kernel: &Kernel, block: Pfn) -> Outcome<Error> {
    let mut ram = kernel.info.memblock.ram().iter();
    let bytes = kernel.addresses(kernel.section(block));
    if !ram.any(|ram| ram.covers(&bytes)) {
        return Ok(Error::Block(BlockError::NotWhole(bytes.start)));
    }
    let mut pfn = block;
    loop {
        let (kind, head) = kernel.mm.frames().use_of(pfn)?;
        let page = kernel.mm.frames().pages().get(head);
        match kind {
            PageKind::Pinned => return Ok(Error::Page(PageError::Pinned { pfn, refs: page.refs() })),
            PageKind::Tenant if page.refs() > 1 => {
                return Ok(Error::Page(PageError::Pinned { pfn, refs: page.refs() }));
            }
            PageKind::Free | PageKind::Tenant | PageKind::Poisoned => pfn = head + (1 << page.order()),
            _ => return Ok(Error::Page(PageError::Unmovable { pfn, kind })),
        }
    }
}

fn not_a_block(kernel: &mut Kernel) -> Outcome {
    let before = Snapshot::of(kernel);
    let first = kernel.mm.frames().blocks().next().map_or(Pfn::new(0), |block| block.start);
    let inside = first + 1;
    let absent = Pfn::new(1 << 36);
    for pfn in [inside, absent] {
        let refusal = Error::Block(BlockError::Absent(kernel.address(pfn)));
        is_refused(kernel.mm.offline_block(pfn), refusal)?;
        is_refused(kernel.mm.online_block(pfn, ZoneKind::Normal), refusal)?;
    }
    let online = kernel.block_of(first).is_some_and(|block| block.state != BlockState::Offline);
    if online {
        let refusal = Error::Block(BlockError::State {
            block: kernel.address(first),
            is: BlockIs::Online,
            needs: BlockNeeds::Offline,
        });
        is_refused(kernel.mm.online_block(first, ZoneKind::Normal), refusal)?;
    }
    before.is_still(kernel)
}
