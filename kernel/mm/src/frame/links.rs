//! The intrusive list: doubly linked through the heads' struct pages, so that a list needs no memory of its own. The buddy
//! allocator's free lists and the pools of huge pages are lists of this kind.

use crate::frame::pages::Pages;
use crate::machine::Machine;
use crate::pfn::Pfn;

/// How a list names a page in 32 bits: its distance from `base` in runs of `1 << order` pages, plus one. 0 ends a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Links {
    base: Pfn,
    order: u32,
}

impl Links {
    /// Links between runs of `1 << order` pages from `base` on, of which there are fewer than `u32::MAX`.
    pub(crate) const fn new(base: Pfn, order: u32) -> Self {
        Self { base, order }
    }
    fn link_of(self, pfn: Pfn) -> u32 {
        u32::try_from((pfn - self.base) >> self.order).map_or(0, |distance| distance + 1)
    }
    /// The page that `link`, which is not 0, names.
    pub(crate) const fn pfn_of(self, link: u32) -> Pfn {
        Pfn::new(self.base.get() + ((link as u64 - 1) << self.order))
    }

    /// Puts `head` in front of the list that begins with `first`.
    pub(crate) fn push<M: Machine>(self, pages: &Pages<'_, M>, first: &mut u32, head: Pfn) {
        let (link, next) = (self.link_of(head), *first);
        pages.own(head).set_links(next, 0);
        if next != 0 {
            pages.own(self.pfn_of(next)).set_prev(link);
        }
        *first = link;
    }

    /// Takes `head` off the list that begins with `first`.
    pub(crate) fn unlink<M: Machine>(self, pages: &Pages<'_, M>, first: &mut u32, head: Pfn) {
        let (next, prev) = pages.get(head).links();
        if next != 0 {
            pages.own(self.pfn_of(next)).set_prev(prev);
        }
        if prev != 0 {
            pages.own(self.pfn_of(prev)).set_next(next);
        } else {
            *first = next;
        }
        pages.own(head).set_links(0, 0);
    }

    /// The heads of the list that begins with `first`, the one pushed last first.
    pub(crate) fn iter<'a, M: Machine>(
        self,
        pages: &'a Pages<'a, M>,
        first: u32,
    ) -> impl Iterator<Item = Pfn> + 'a {
        let mut link = first;
        core::iter::from_fn(move || {
            let pfn = (link != 0).then(|| self.pfn_of(link))?;
            link = pages.get(pfn).links().0;
            Some(pfn)
        })
    }
}
