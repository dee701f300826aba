//! Compaction: a large free run out of free memory that lies in pieces (Linux: mm/compaction.c, for the one case that there
//! is here: zone Normal has enough free pages, and no run that a block of vmemmap fits into).
//!
//! ```text
//!   a candidate of 1 << order pages      F F T F T T F F    F free, T a tenant's page
//!   hold what is free                    h h T h T T h h    so that nothing moves into the run
//!   move the tenants' pages elsewhere    h h h h h h h h    each is held as soon as it is free
//!   one head for all of it               [      run     ]
//! ```
//! The candidate is the one with the fewest pages to move, and nothing in it that cannot. When a page finds no place, or
//! it is stopped, what was held is free again, joined as before; pages that have moved stay where they are.

use crate::error::{Error, Resource, Result};
use crate::frame::block::BlockState;
use crate::frame::page::{PAGE_BYTES, PageKind};
use crate::frame::zone::ZoneKind;
use crate::frame::{Frames, Mobility};
use crate::machine::Machine;
use crate::migrate::batch::migrate_page;
use crate::pfn::{Pfn, PfnRange};
use crate::space::table::KernelSpace;
use crate::stop::Stop;

/// What is held while a run is made. There is none of it in a candidate otherwise.
const HELD: PageKind = PageKind::Kernel;

/// What compaction came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compacted {
    /// The first page of the run.
    pub run: Pfn,
    /// How many pages had to move.
    pub moved: u64,
}

/// Sees to it that zone Normal has a free run of `1 << order` pages.
///
/// # Errors
/// `Out` when no such run can be made, or a page finds no place to move to; `Interrupted`.
pub(crate) fn compact<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    order: u32,
    stop: Stop<'_>,
) -> Result<Compacted> {
    if let Some(run) = free_run(frames, order) {
        return Ok(Compacted { run, moved: 0 });
    }
    let compacted = compact_into(space, frames, order, PageKind::Kernel, stop)?;
    frames.free(compacted.run);
    Ok(compacted)
}

/// A run that is free already.
fn free_run<M: Machine>(frames: &Frames<M>, order: u32) -> Option<Pfn> {
    let normal = BlockState::Online(ZoneKind::Normal);
    let records = frames.zones[ZoneKind::Normal as usize].blocks();
    records.iter().filter(|start| frames.state_of(**start) == Some(normal)).find_map(|start| {
        let Some(block) = frames.blocks.get(start.get()) else {
            // All of an extent is free; what is taken of it is its last block.
            let last = Pfn::new(frames.extent_of(*start)?.pages.end.get() - frames.granule().section_pages);
            return (order <= frames.granule().section_order).then_some(last);
        };
        let (g, pages) = (frames.granule(), frames.pages());
        (order..=g.section_order).rev().find_map(|order| block.free.heads(&pages, order).next())
    })
}

/// A run of zone Normal, made out of pieces when there is none. One that was made to fail is not looked for.
///
/// # Errors
/// As [`compact`].
pub(crate) fn alloc_or_compact<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    order: u32,
    kind: PageKind,
) -> Result<Pfn> {
    frames.may_fail(Resource::Frames { order })?;
    match frames.take(order, kind, Mobility::Unmovable) {
        Some(pfn) => Ok(pfn),
        None => Ok(compact_into(space, frames, order, kind, &mut |_| false)?.run),
    }
}

/// Makes a run of `1 << order` pages and take it, for `kind`: what [`Frames::alloc`] would do if the memory were not in
/// pieces.
///
/// # Errors
/// As [`compact`].
pub(crate) fn compact_into<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    order: u32,
    kind: PageKind,
    stop: Stop<'_>,
) -> Result<Compacted> {
    let out = Error::Out(Resource::Frames { order });
    let (run, moving) = candidate(frames, order).ok_or(out)?;
    let inside = run.len() - moving;
    // Else the pages would move for nothing.
    if frames.counts().free < inside + moving {
        return Err(out);
    }
    hold(frames, run);
    if let Err(error) = empty(space, frames, run, stop) {
        unhold(frames, run);
        return Err(error);
    }
    join(frames, run, order, kind);
    Ok(Compacted { run: run.start, moved: moving })
}

/// The blocks of zone Normal that serve allocations, oldest first.
fn online_in_normal<M: Machine>(frames: &Frames<M>) -> impl Iterator<Item = Pfn> + '_ {
    let normal = BlockState::Online(ZoneKind::Normal);
    let serves = move |start: &Pfn| frames.blocks.get(start.get()).is_some_and(|b| b.state == normal);
    frames.zones[ZoneKind::Normal as usize].blocks().iter().copied().filter(serves)
}

/// The run of `1 << order` pages with the fewest to move, and how many those are.
fn candidate<M: Machine>(frames: &Frames<M>, order: u32) -> Option<(PfnRange, u64)> {
    let g = frames.granule();
    let mut best: Option<(PfnRange, u64)> = None;
    for start in online_in_normal(frames) {
        for i in 0..g.section_pages >> order.min(63) {
            let run = PfnRange::new(start + (i << order), 1 << order);
            let limit = best.map_or(u64::MAX, |(_, moving)| moving);
            if let Some(moving) = moving(frames, run, limit) {
                best = Some((run, moving));
            }
        }
    }
    best
}

/// How many pages of `run` would have to move: `None` when one cannot, or when they are not fewer than `limit`.
fn moving<M: Machine>(frames: &Frames<M>, run: PfnRange, limit: u64) -> Option<u64> {
    let g = frames.granule();
    let free = &frames.blocks.get(run.start.align_down(g.section_order).get())?.free;
    // What is set aside is for lent pages to move to.
    if free.is_set_aside(run.start) {
        return None;
    }
    let (pages, mut at, mut moving) = (frames.pages(), run.start, 0);
    let (mut lent, mut inside) = (0, 0);
    while at < run.end && moving < limit {
        let page = pages.get(at);
        match page.kind() {
            PageKind::Free if 1 << page.order() < run.len() => inside += 1 << page.order(),
            PageKind::Tenant if page.refs() <= 1 => moving += 1,
            PageKind::MemmapSelf if frames.is_lent(at) => (moving, lent) = (moving + 1, lent + 1),
            // The block's own memmap is here as well: it stays where it is. A tail is the inside of a larger run.
            _ => return None,
        }
        at = at + (1 << page.order());
    }
    // Lent pages stay in their block, where a run that is split takes at most a page for each memmap page of it.
    let outside = free.pages().saturating_sub(inside);
    let room = lent == 0 || outside - outside.div_ceil(g.page_size / PAGE_BYTES) >= lent;
    (room && moving < limit).then_some(moving)
}

fn hold<M: Machine>(frames: &mut Frames<M>, run: PfnRange) {
    each_head(frames, run, |frames, pfn, order, kind| {
        if kind == PageKind::Free {
            let held = frames.take_free(pfn, order, HELD);
            debug_assert!(held.is_ok(), "all of a free run of a block with a record");
        }
    });
}

/// Lent pages move first: they have no other block to move to.
fn empty<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    run: PfnRange,
    stop: Stop<'_>,
) -> Result<()> {
    let mut moved = 0;
    let mut check = || {
        let stopped = stop(moved);
        moved += 1;
        if stopped { Err(Error::Interrupted) } else { Ok(()) }
    };
    empty_of(PageKind::MemmapSelf, frames, run, |frames, at| check().and_then(|()| frames.relocate(at)))?;
    empty_of(PageKind::Tenant, frames, run, |frames, at| {
        check()?;
        migrate_page(space, frames, at).map(drop)
    })
}

fn empty_of<M: Machine>(
    what: PageKind,
    frames: &mut Frames<M>,
    run: PfnRange,
    mut empty: impl FnMut(&mut Frames<M>, Pfn) -> Result<()>,
) -> Result<()> {
    let mut at = run.start;
    while at < run.end {
        let (kind, order) = (frames.pages().get(at).kind(), frames.pages().get(at).order());
        if kind != what {
            at = at + (1 << order);
            continue;
        }
        empty(frames, at)?;
        // Its neighbours in the run are held or in use, so it is free by itself.
        frames.take_free(at, 0, HELD)?;
        at = at + (1 << order);
    }
    Ok(())
}

/// The inverse of [`Self::hold`].
fn unhold<M: Machine>(frames: &mut Frames<M>, run: PfnRange) {
    each_head(frames, run, |frames, pfn, _, kind| {
        if kind == HELD {
            frames.free(pfn);
        }
    });
}

/// All of `run` is held: it becomes one run, for `kind`.
fn join<M: Machine>(frames: &mut Frames<M>, run: PfnRange, order: u32, kind: PageKind) {
    each_head(frames, run, |frames, pfn, _, _| frames.pages().own(pfn).clear_head());
    frames.pages().mark(run.start, order, kind);
    frames.uncharge(HELD, run.len());
    frames.charge(kind, run.len());
    // A block on demand: what began inside of the run has ended.
    frames.give_back_inside(run.start, order);
}

/// Calls `f` for every head in `run`, which begins with one: its page, order and kind.
fn each_head<M: Machine>(
    frames: &mut Frames<M>,
    run: PfnRange,
    mut f: impl FnMut(&mut Frames<M>, Pfn, u32, PageKind),
) {
    let mut at = run.start;
    while at < run.end {
        let (kind, order) = (frames.pages().get(at).kind(), frames.pages().get(at).order());
        f(frames, at, order, kind);
        at = at + (1 << order);
    }
}
