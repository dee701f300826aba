//! A device in a hole of boot memory: the hole's pages have struct pages since boot, which are used again.
//!
//! ```text
//!   hole        [H            ]          one run, or a few
//!   split       [H   ][D  ][H ]          a device in it
//!   join        [H            ]          the device is gone
//! ```

use crate::frame::page::PageKind;
use crate::frame::pages::Pages;
use crate::machine::Machine;
use crate::pfn::{Pfn, PfnRange};

/// Forgets the hole around `part`, pages of one section, and make holes of what is left of it on both sides.
pub(super) fn split_hole<M: Machine>(pages: &Pages<'_, M>, part: PfnRange) {
    let hole = hole_around(pages, part);
    clear_heads(pages, hole);
    mark_hole(pages, PfnRange { start: hole.start, end: part.start });
    mark_hole(pages, PfnRange { start: part.end, end: hole.end });
}

/// Makes one hole again of `part` and the holes on both sides.
pub(super) fn join_hole<M: Machine>(pages: &Pages<'_, M>, part: PfnRange) {
    let hole = hole_around(pages, part);
    clear_heads(pages, hole);
    mark_hole(pages, hole);
}

fn mark_hole<M: Machine>(pages: &Pages<'_, M>, range: PfnRange) {
    for (pfn, order) in range.chunks(pages.granule().section_order) {
        pages.mark(pfn, order, PageKind::Hole);
    }
}

fn clear_heads<M: Machine>(pages: &Pages<'_, M>, range: PfnRange) {
    let mut at = range.start;
    while at < range.end {
        let page = pages.own(at);
        at = at + (1 << page.order());
        page.clear_head();
    }
}

/// `part`, pages of one section, with the hole pages before and after it: run by run, each known by its head.
fn hole_around<M: Machine>(pages: &Pages<'_, M>, part: PfnRange) -> PfnRange {
    let g = pages.granule();
    let section = part.start.align_down(g.section_order);
    let hole = |pfn: Pfn| match pages.use_of(pfn) {
        (PageKind::Hole, head) => Some(PfnRange::new(head, 1 << pages.get(head).order())),
        _ => None,
    };
    let (mut start, mut end) = (part.start, part.end);
    while start > section
        && let Some(run) = hole(Pfn::new(start.get() - 1))
    {
        start = run.start;
    }
    while end < section + g.section_pages
        && let Some(run) = hole(end)
    {
        end = run.end;
    }
    PfnRange { start, end }
}
