//! The pools. A page comes in from free memory, is taken and put back, or goes out again; a page of one size can become pages
//! of a smaller one.

use crate::error::{Error, Resource, Result};
use crate::granule::Granule;
use crate::machine::Machine;
use crate::model::Mm;
use crate::page::PageKind;
use crate::pages::Pages;
use crate::pfn::Pfn;

/// Which of a pool's two lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// Nobody has taken the page.
    Free,
    /// Somebody has.
    Taken,
}

/// The huge pages of one size.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pool {
    order: u32,
    /// The first page of each list: its position in vmemmap, counted in pages of this size, plus one. 0 ends a list.
    first: [u32; 2],
    /// The length of each list.
    len: [u64; 2],
    pub(crate) optimised: u64,
}

impl Pool {
    pub(super) const fn of_order(order: u32) -> Self {
        Self { order, first: [0; 2], len: [0; 2], optimised: 0 }
    }
    /// log2 of a page's granule pages.
    pub const fn order(&self) -> u32 {
        self.order
    }
    /// How many pages there are.
    pub const fn total(&self) -> u64 {
        self.len[0] + self.len[1]
    }
    /// How many of them are free.
    pub const fn free(&self) -> u64 {
        self.len[0]
    }
    /// How many of them are in use.
    pub const fn taken(&self) -> u64 {
        self.len[1]
    }
    /// How many of them share their memmap.
    pub const fn optimised(&self) -> u64 {
        self.optimised
    }

    fn link_of<G: Granule, M: Machine>(&self, pages: &Pages<'_, G, M>, pfn: Pfn) -> u32 {
        // The linear map has less than 2^32 huge pages of the smallest size.
        u32::try_from((pfn - pages.first_pfn()) >> self.order).map_or(0, |at| at + 1)
    }
    /// For the auditor, which trusts no link.
    pub(crate) const fn first_link(&self, which: Use) -> u32 {
        self.first[which as usize]
    }
    pub(crate) fn pfn_of<G: Granule, M: Machine>(&self, pages: &Pages<'_, G, M>, link: u32) -> Pfn {
        pages.first_pfn() + (u64::from(link - 1) << self.order)
    }

    /// The pages of a list, the last that came first.
    pub fn heads<'a, G: Granule, M: Machine>(
        &'a self,
        pages: &'a Pages<'a, G, M>,
        which: Use,
    ) -> impl Iterator<Item = Pfn> + 'a {
        let mut link = self.first[which as usize];
        core::iter::from_fn(move || {
            let pfn = (link != 0).then(|| self.pfn_of(pages, link))?;
            link = pages.get(pfn).links().0;
            Some(pfn)
        })
    }

    fn push<G: Granule, M: Machine>(&mut self, pages: &Pages<'_, G, M>, pfn: Pfn, which: Use) {
        let (head, link, next) = (pages.own(pfn), self.link_of(pages, pfn), self.first[which as usize]);
        head.set_refs(u32::from(which == Use::Taken));
        head.set_links(next, 0);
        if next != 0 {
            pages.own(self.pfn_of(pages, next)).set_prev(link);
        }
        self.first[which as usize] = link;
        self.len[which as usize] += 1;
    }

    fn unlink<G: Granule, M: Machine>(&mut self, pages: &Pages<'_, G, M>, pfn: Pfn, which: Use) {
        let (next, prev) = pages.get(pfn).links();
        if next != 0 {
            pages.own(self.pfn_of(pages, next)).set_prev(prev);
        }
        if prev != 0 {
            pages.own(self.pfn_of(pages, prev)).set_next(next);
        } else {
            self.first[which as usize] = next;
        }
        pages.own(pfn).set_links(0, 0);
        self.len[which as usize] -= 1;
    }
}

/// What setting a pool's size came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resized {
    /// How many pages the pool has now.
    pub total: u64,
    /// Why it does not have what was asked for.
    pub stopped: Option<Error>,
}

impl<G: Granule, M: Machine> Mm<G, M> {
    /// The order of huge pages of `bytes`.
    ///
    /// # Errors
    /// `NotHugeSize`.
    pub fn huge_order(bytes: u64) -> Result<u32> {
        let found = G::GEOMETRY.huge_shifts().find(|shift| 1 << *shift == bytes);
        found.map(|shift| shift - G::SHIFT).ok_or(Error::NotHugeSize { bytes })
    }

    fn pool_of(&mut self, order: u32) -> Result<&mut Pool> {
        let bytes = G::SIZE.checked_shl(order).unwrap_or(0);
        self.hugetlb.pool_mut(order).ok_or(Error::NotHugeSize { bytes })
    }

    /// Let the pool of pages of `1 << order` have `count`. A pool that cannot grow so far keeps what it got, as Linux does; so
    /// does one that cannot shrink so far, because the memmap of a page cannot be restored.
    ///
    /// # Errors
    /// `NotHugeSize`; `HugeInUse` when more are in use: nothing has changed then.
    pub fn hugetlb_resize(&mut self, order: u32, count: u64) -> Result<Resized> {
        let pool = self.pool_of(order)?;
        let (bytes, used) = (G::SIZE << order, pool.taken());
        if count < used {
            return Err(Error::HugeInUse { bytes, used, asked: count });
        }
        let mut total = pool.total();
        while total != count {
            let step = if total < count { self.hugetlb_grow(order) } else { self.hugetlb_shrink(order) };
            if let Err(error) = step {
                return Ok(Resized { total, stopped: Some(error) });
            }
            total = self.pool_of(order)?.total();
        }
        Ok(Resized { total, stopped: None })
    }

    fn hugetlb_grow(&mut self, order: u32) -> Result<()> {
        let head = self.compound_alloc(order)?;
        self.hugetlb_enter(head, order)
    }

    fn hugetlb_shrink(&mut self, order: u32) -> Result<()> {
        let head = self.first_free(order)?;
        self.hugetlb_dissolve(head)
    }

    fn first_free(&self, order: u32) -> Result<Pfn> {
        let none = Error::Out(Resource::HugePages { bytes: G::SIZE << order });
        let pool = self.hugetlb.pool(order).ok_or(none)?;
        pool.heads(&self.pages(), Use::Free).next().ok_or(none)
    }

    /// A compound page becomes the pool's, and is optimised if it can be.
    fn hugetlb_enter(&mut self, head: Pfn, order: u32) -> Result<()> {
        self.relist(order, |pool, pages| pool.push(pages, head, Use::Free))?;
        match self.hugetlb.hvo.then(|| self.hugetlb_optimise(head)) {
            // As good without: it has all of its memmap, and can be optimised later.
            Some(Err(Error::Out(_) | Error::NotOptimisable { .. })) | None => Ok(()),
            Some(result) => result,
        }
    }

    /// Change a pool's lists.
    fn relist(&mut self, order: u32, change: impl FnOnce(&mut Pool, &Pages<'_, G, M>)) -> Result<()> {
        let pages = Pages::new(&self.machine, self.layout);
        let bytes = G::SIZE << order;
        let pool = self.hugetlb.pool_mut(order).ok_or(Error::NotHugeSize { bytes })?;
        change(pool, &pages);
        Ok(())
    }

    /// The order of the huge page whose first page is `pfn`.
    ///
    /// # Errors
    /// `NotPresent`; `PageState` when it is none.
    pub fn hugetlb_at(&self, pfn: Pfn) -> Result<u32> {
        let (is, head) = self.use_of(pfn)?;
        if is != PageKind::HugeTlb || head != pfn {
            return Err(Error::PageState { pfn, is, needs: "the first page of a huge page" });
        }
        Ok(self.pages().get(pfn).order())
    }

    /// Refuse a huge page that somebody uses; `pfn` is any of its pages.
    pub(crate) fn refuse_taken(&self, pfn: Pfn) -> Result<()> {
        let head = self.pages().head_of(pfn).unwrap_or(pfn);
        if self.pages().get(head).refs() == 0 { Ok(()) } else { Err(Error::HugeTaken(head)) }
    }

    /// Take a page out of the pool, to use it; returns its first page.
    ///
    /// # Errors
    /// `NotHugeSize`; `Out` when none is free.
    pub fn hugetlb_take(&mut self, order: u32) -> Result<Pfn> {
        self.pool_of(order)?;
        let head = self.first_free(order)?;
        self.relist(order, |pool, pages| {
            pool.unlink(pages, head, Use::Free);
            pool.push(pages, head, Use::Taken);
        })?;
        Ok(head)
    }

    /// Put a page that was taken back into its pool.
    ///
    /// # Errors
    /// `NotPresent`; `PageState` when it is no huge page in use.
    pub fn hugetlb_put(&mut self, head: Pfn) -> Result<()> {
        let order = self.hugetlb_at(head)?;
        if self.refuse_taken(head).is_ok() {
            return Err(Error::PageState { pfn: head, is: PageKind::HugeTlb, needs: "a huge page in use" });
        }
        self.relist(order, |pool, pages| {
            pool.unlink(pages, head, Use::Taken);
            pool.push(pages, head, Use::Free);
        })
    }

    /// A free page of a pool becomes free memory.
    ///
    /// # Errors
    /// `NotPresent`, `PageState`; `HugeTaken`; `Out` when its memmap cannot be restored. It is as it was then.
    pub fn hugetlb_dissolve(&mut self, head: Pfn) -> Result<()> {
        let order = self.hugetlb_leave(head)?;
        self.compound_free(head, order);
        Ok(())
    }

    /// A free page leaves its pool, with all of its memmap.
    fn hugetlb_leave(&mut self, head: Pfn) -> Result<u32> {
        let order = self.hugetlb_at(head)?;
        self.refuse_taken(head)?;
        if self.pages().get(head).is_optimised() {
            self.hugetlb_restore(head)?;
        }
        self.relist(order, |pool, pages| pool.unlink(pages, head, Use::Free))?;
        Ok(order)
    }

    /// A free page of a pool becomes pages of `1 << to`, in their pool (Linux: `demote_pool_huge_page`).
    ///
    /// # Errors
    /// As [`Self::hugetlb_dissolve`]; `NotHugeSize` when `to` is no smaller size.
    pub fn hugetlb_demote(&mut self, head: Pfn, to: u32) -> Result<()> {
        let from = self.hugetlb_at(head)?;
        if to >= from || self.hugetlb.pool(to).is_none() {
            return Err(Error::NotHugeSize { bytes: G::SIZE.checked_shl(to).unwrap_or(0) });
        }
        self.hugetlb_leave(head)?;
        for i in (0..1 << (from - to)).rev() {
            let part = head + (i << to);
            self.compound_mark(part, to);
            self.hugetlb_enter(part, to)?;
        }
        Ok(())
    }
}
