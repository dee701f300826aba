//! Memory to try things with: the newest DIMM, taken away from the model for as long as a test has it (the DIMM itself stays
//! in its slot), and the newest memory block of boot RAM. Both only while nobody uses them.

use hotmap_mm::addr::PhysRange;
use hotmap_mm::error::Result;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::block::{BlockState, MemoryBlock, Source};
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::hotplug::steps::MemmapHome;
use hotmap_mm::model::Counts;
use hotmap_mm::pfn::{Pfn, PfnRange};
use hotmap_mm::section::Backing;
use hotmap_mm::zone::ZoneKind;

use super::check::{Outcome, skip};
use crate::kernel::Kernel;

const NO_DIMM: &str = "no DIMM: plug one first";
const BUSY_DIMM: &str = "no DIMM is unused, in one state, and the newest of its zone";
const NO_BOOT_BLOCK: &str = "the newest block of zone Normal is not unused boot memory";

/// A DIMM that the model has forgotten for the moment.
pub(super) struct Spare {
    /// Its memory.
    pub(super) range: PhysRange,
    /// Its pages.
    pub(super) pages: PfnRange,
    /// Where it had its memmap.
    pub(super) home: MemmapHome,
    /// The zone that it was in, unless it was offline.
    pub(super) zone: Option<ZoneKind>,
    /// The pages by use while it was there.
    pub(super) before: Counts,
    slot: u32,
}

impl Spare {
    /// Its memory, validated anew.
    pub(super) fn validate<G: Granule>(&self, kernel: &Kernel<G>) -> Result<HotRange> {
        HotRange::new(&kernel.mm, self.range.start, self.range.len(), Source::Dimm(self.slot))
    }
    /// The first page of each of its blocks.
    pub(super) fn blocks<G: Granule>(&self) -> impl DoubleEndedIterator<Item = Pfn> + Clone {
        HotRange::blocks::<G>(self.pages)
    }
    /// How many blocks it is.
    pub(super) const fn block_count<G: Granule>(&self) -> u64 {
        self.pages.len() / G::SECTION_PAGES
    }
}

/// Run `body` without the newest DIMM's memory, which is as before afterwards, whatever `body` did with it.
pub(super) fn with_spare<G: Granule>(
    kernel: &mut Kernel<G>,
    body: fn(&mut Kernel<G>, &Spare) -> Outcome,
) -> Outcome {
    let spare = find(kernel)?;
    take_out(kernel, spare.pages)?;
    let outcome = body(kernel, &spare);
    put_back(kernel, &spare)?;
    outcome
}

fn find<G: Granule>(kernel: &Kernel<G>) -> Outcome<Spare> {
    let dimms = kernel.dimms.all();
    if dimms.is_empty() {
        return skip(NO_DIMM);
    }
    let usable = dimms.iter().filter(|dimm| !dimm.refused);
    let found = usable.rev().find_map(|dimm| spare(kernel, dimm.slot, dimm.range));
    found.map_or(skip(BUSY_DIMM), Ok)
}

fn spare<G: Granule>(kernel: &Kernel<G>, slot: u32, range: PhysRange) -> Option<Spare> {
    let mm = &kernel.mm;
    let pages = PfnRange::inside::<G>(range);
    let first = mm.block_of(pages.start)?;
    let mut blocks = HotRange::blocks::<G>(pages);
    let alike = blocks.all(|start| mm.block_of(start).is_some_and(|b| b.state == first.state && is_unused::<G>(b)));
    let zone = first.state.zone();
    let newest = zone.is_none_or(|zone| {
        let last = mm.zone(zone).blocks().iter().rev();
        HotRange::blocks::<G>(pages).rev().eq(last.copied().take((pages.len() / G::SECTION_PAGES) as usize))
    });
    let home = match mm.section_of(pages.start)?.backing {
        Backing::SelfHosted(_) => MemmapHome::SelfHosted,
        Backing::Boot | Backing::Ram => MemmapHome::Ram,
    };
    (alike && newest).then(|| Spare { range, pages, home, zone, before: mm.counts(), slot })
}

fn is_unused<G: Granule>(block: &MemoryBlock) -> bool {
    block.state == BlockState::Offline || block.free.pages() == block.usable::<G>().len()
}

/// Take what is present of `pages` out of the model.
fn take_out<G: Granule>(kernel: &mut Kernel<G>, pages: PfnRange) -> Result<()> {
    for start in HotRange::blocks::<G>(pages) {
        let online = kernel.mm.block_of(start).is_some_and(|block| block.state != BlockState::Offline);
        if online {
            kernel.mm.offline(start)?;
        }
    }
    if kernel.mm.block_of(pages.start).is_some() {
        kernel.mm.remove(pages.addresses::<G>())?;
    }
    Ok(())
}

fn put_back<G: Granule>(kernel: &mut Kernel<G>, spare: &Spare) -> Result<()> {
    take_out(kernel, spare.pages)?;
    let range = spare.validate(kernel)?;
    kernel.mm.add(&range, spare.home)?;
    spare.zone.map_or(Ok(()), |zone| kernel.mm.online_range(spare.pages, zone, |_, _| {}))
}

/// The newest block of boot RAM, if it can go offline and come back as if nothing had been.
pub(super) fn boot_block<G: Granule>(kernel: &Kernel<G>) -> Outcome<Pfn> {
    let newest = kernel.mm.zone(ZoneKind::Normal).blocks().last();
    let block = newest.and_then(|start| kernel.mm.block_of(*start));
    match block {
        Some(block) if block.source == Source::Boot && block.free.pages() == G::SECTION_PAGES => Ok(block.start),
        _ => skip(NO_BOOT_BLOCK),
    }
}
