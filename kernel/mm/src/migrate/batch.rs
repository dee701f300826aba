//! Moving pages in use: break their mappings, copy them, map the copies, free the originals (Linux: `migrate_pages_batch`).
//!
//! ```text
//!   take       a frame for each page, by runs; a page without one stays
//!   exchange   all entries broken, one invalidation, all copied, all made
//!   free       the old frames, by runs
//! ```

use crate::addr::{PhysAddr, VirtAddr};
use crate::error::{Error, Resource, Result};
use crate::frame::Frames;
use crate::granule::Granule;
use crate::machine::{self, Checkpoint, Machine};
use crate::pfn::{Pfn, PfnRange};
use crate::space::request::Exchange;
use crate::space::table::KernelSpace;

/// The most pages of a batch. A page is unmapped for as long as its batch is copied, so a larger batch costs less for each
/// page, and its pages wait for longer. In instructions (`make bench`):
///
/// | pages at 4K | each | unmapped | pages at 16K | each | unmapped |
/// |---|---|---|---|---|---|
/// | 16 | 491 | 3.4 k | 8 | 982 | 5.0 k |
/// | 32 | 450 | 6.7 k | 16 | 900 | 9.9 k |
/// | 64 | 430 | 13.3 k | 32 | 858 | 19.8 k |
const MOST_PAGES: usize = 32;
/// What a batch copies at most, unless that is fewer than [`LEAST_PAGES`].
const BYTES: u64 = 256 << 10;
/// The pages of the smallest full batch, which share one broadcast invalidation.
const LEAST_PAGES: usize = 8;

/// What a page that moves takes.
const PAGE: Resource = Resource::Frames { order: 0 };

/// Pages that move together.
pub(crate) struct Batch {
    pages: [Exchange; MOST_PAGES],
    len: usize,
    most: usize,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moved {
    /// How many pages moved.
    pub(crate) pages: u64,
    /// The first page that stays, since there is no frame for it now.
    pub(crate) left: Option<Pfn>,
}

impl Batch {
    /// An empty batch.
    pub(crate) fn new(g: Granule) -> Self {
        let none = Exchange::new(VirtAddr::new(0), PhysAddr::new(0), PhysAddr::new(0));
        Self { pages: [none; MOST_PAGES], len: 0, most: Self::most(g) }
    }
    /// How many pages a full batch has.
    pub(crate) fn most(g: Granule) -> usize {
        usize::try_from(BYTES >> g.page_shift).unwrap_or(0).clamp(LEAST_PAGES, MOST_PAGES)
    }
    /// Whether there is no room for another page.
    pub(crate) const fn is_full(&self) -> bool {
        self.len == self.most
    }
    /// A tenant's page is to move too; the batch is not full.
    #[inline(always)]
    pub(crate) fn push<M: Machine>(&mut self, frames: &Frames<M>, pfn: Pfn) {
        self.pages[self.len] = leaving(frames, pfn);
        self.len += 1;
    }
    /// Moves the pages, and empties the batch.
    ///
    /// # Errors
    /// As [`migrate_pages`].
    pub(crate) fn migrate<M: Machine>(
        &mut self,
        space: &mut KernelSpace<M>,
        frames: &mut Frames<M>,
    ) -> Result<Moved> {
        let len = core::mem::take(&mut self.len);
        migrate_pages(space, frames, &mut self.pages[..len])
    }
}

/// The tenant's page `pfn`, before there is a frame for it to move to.
#[inline(always)]
fn leaving<M: Machine>(frames: &Frames<M>, pfn: Pfn) -> Exchange {
    let va = frames.pages().get(pfn).as_tenant().address();
    Exchange::new(va, pfn.address(frames.granule()), PhysAddr::new(0))
}

/// Moves the tenant's page `from` to a page of a block that is online, and frees it; returns the new page.
///
/// # Errors
/// `Out` when there is no page to move to; nothing has changed then.
pub(crate) fn migrate_page<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    from: Pfn,
) -> Result<Pfn> {
    let g = frames.granule();
    let mut page = [leaving(frames, from)];
    match migrate_pages(space, frames, &mut page)?.left {
        None => Ok(Pfn::containing(g, page[0].to)),
        Some(_) => Err(Error::Out(PAGE)),
    }
}

/// Moves tenants' pages, ascending, to blocks that are online, and frees them. Those for which there is no frame stay.
///
/// The order is what makes it safe: the mappings are broken and their translations are gone before the copy, so that no
/// write can be lost between copy and remap.
///
/// # Errors
/// As [`KernelSpace::exchange_pages`]; nothing has changed then.
fn migrate_pages<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    pages: &mut [Exchange],
) -> Result<Moved> {
    let g = frames.granule();
    let (count, left) = take_targets(frames, pages);
    let pages = &mut pages[..count];
    if count != 0 {
        frames.machine().checkpoint(Checkpoint::Done("take frames"));
    }
    let copy = |machine: &M, page: &Exchange| machine::copy_frame(machine, page.from, page.to, g.page_size);
    if let Err(error) = space.exchange_pages(pages, copy) {
        runs(g, pages, |page| page.to).for_each(|run| frames.free_tenants(run));
        return Err(error);
    }
    if count != 0 {
        frames.machine().checkpoint(Checkpoint::Done("copy pages, map the copies"));
    }
    for page in pages.iter() {
        frames.pages().own(Pfn::containing(g, page.to)).as_tenant().set_address(page.va);
    }
    runs(g, pages, |page| page.to).for_each(|run| frames.count_tenants(run, 1));
    for run in runs(g, pages, |page| page.from) {
        frames.count_tenants(run, -1);
        frames.free_tenants(run);
    }
    if count != 0 {
        frames.machine().checkpoint(Checkpoint::Done("free the old frames"));
    }
    Ok(Moved { pages: count as u64, left })
}

/// Takes a frame for each page that can have one, which are the first of `pages` then. Returns how many they are, and the
/// first page that stays.
fn take_targets<M: Machine>(frames: &mut Frames<M>, pages: &mut [Exchange]) -> (usize, Option<Pfn>) {
    let g = frames.granule();
    let (mut wanted, mut left) = (0, None);
    for i in 0..pages.len() {
        if frames.may_fail(PAGE).is_ok() {
            pages[wanted] = pages[i];
            wanted += 1;
        } else {
            left = left.or(Some(pages[i].from));
        }
    }
    let mut taken = 0;
    while taken < wanted {
        let Some(run) = frames.take_tenants((wanted - taken) as u64) else {
            let first = pages[taken].from;
            left = Some(left.map_or(first, |left: PhysAddr| left.min(first)));
            break;
        };
        let mut to = run.start;
        while to < run.end {
            pages[taken].to = to.address(g);
            (to, taken) = (to + 1, taken + 1);
        }
    }
    (taken, left.map(|address| Pfn::containing(g, address)))
}

/// The runs of frames side by side among those that `frame` names.
fn runs(
    g: Granule,
    pages: &[Exchange],
    frame: impl Fn(&Exchange) -> PhysAddr + Copy,
) -> impl Iterator<Item = PfnRange> {
    let chunks = pages.chunk_by(move |a, b| frame(a) + g.page_size == frame(b));
    chunks.map(move |run| PfnRange::new(Pfn::containing(g, frame(&run[0])), run.len() as u64))
}
