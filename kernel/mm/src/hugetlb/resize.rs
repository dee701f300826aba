//! The pools grow and shrink: a page comes in from free memory, is taken and put back, or goes out again; a page of one size can
//! become pages of a smaller one.

use super::pool::{Pool, Resized, Use};
use crate::error::{Error, HugeError, PageError, PageNeeds, Resource, Result};
use crate::frame::page::PageKind;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::Pfn;

impl<M: Machine> Mm<M> {
    /// The order of huge pages of `bytes`.
    ///
    /// # Errors
    /// `NotHugeSize`.
    pub fn huge_order(&self, bytes: u64) -> Result<u32> {
        let found = self.hugetlb.pools().find(|pool| self.bytes(pool.order()) == bytes);
        found.map(Pool::order).ok_or(Error::Huge(HugeError::Size { bytes }))
    }

    /// A copy of the pool of an order.
    fn pool(&self, order: u32) -> Result<Pool> {
        self.hugetlb.pool(order).copied().ok_or(Error::Huge(HugeError::Size { bytes: self.bytes(order) }))
    }

    fn set_pool(&mut self, pool: Pool) {
        if let Some(old) = self.hugetlb.pool_mut(pool.order()) {
            *old = pool;
        }
    }

    /// Sets the count of the pool of pages of `1 << order`, page by page. A page that cannot be added (no free run of its order)
    /// or removed (its memmap cannot be restored) ends it, and the pool keeps the count that it has reached, as Linux's
    /// `nr_hugepages` does: that is no error but `stopped`.
    ///
    /// # Errors
    /// `NotHugeSize`; `HugeInUse` when more are in use: nothing has changed then.
    pub fn hugetlb_resize(&mut self, order: u32, count: u64) -> Result<Resized> {
        let pool = self.pool(order)?;
        let (bytes, used) = (self.bytes(order), pool.taken());
        if count < used {
            return Err(Error::Huge(HugeError::InUse { bytes, used, asked: count }));
        }
        let mut total = pool.total();
        while total != count {
            let step = if total < count { self.grow(order) } else { self.shrink(order) };
            total = self.pool(order)?.total();
            if let Err(error) = step {
                return Ok(Resized { total, stopped: Some(error) });
            }
        }
        Ok(Resized { total, stopped: None })
    }

    fn grow(&mut self, order: u32) -> Result<()> {
        let head = self.new_compound(order)?;
        self.enter(head, order)
    }

    fn shrink(&mut self, order: u32) -> Result<()> {
        let head = self.first_free(order)?;
        self.hugetlb_dissolve(head)
    }

    fn first_free(&self, order: u32) -> Result<Pfn> {
        let first = self.pool(order)?.heads(&self.frames, Use::Free).next();
        first.ok_or(Error::Out(Resource::HugePages { bytes: self.bytes(order) }))
    }

    /// A compound page becomes the pool's, and is optimised if it can be.
    fn enter(&mut self, head: Pfn, order: u32) -> Result<()> {
        let mut pool = self.pool(order)?;
        pool.push(&self.frames, head, Use::Free);
        self.set_pool(pool);
        match self.hugetlb.hvo.then(|| self.optimise(head)) {
            // As good without: it has all of its memmap, and can be optimised later.
            Some(Err(Error::Out(_) | Error::Huge(HugeError::NotOptimisable { .. }))) | None => Ok(()),
            Some(result) => result,
        }
    }

    /// A page of a list goes to the other one.
    fn relist(&mut self, head: Pfn, order: u32, from: Use, to: Use) -> Result<()> {
        let mut pool = self.pool(order)?;
        pool.unlink(&self.frames, head, from);
        pool.push(&self.frames, head, to);
        self.set_pool(pool);
        Ok(())
    }

    /// The order of the huge page whose first page is `pfn`.
    ///
    /// # Errors
    /// `NotPresent`; `PageState` when it is none.
    pub fn order_at(&self, pfn: Pfn) -> Result<u32> {
        let (is, head) = self.frames.use_of(pfn)?;
        if is != PageKind::HugeTlb || head != pfn {
            return Err(Error::Page(PageError::State { pfn, is, needs: PageNeeds::HugeHead }));
        }
        Ok(self.page(pfn).order())
    }

    /// Refuses a huge page in use; `pfn` is any of its pages.
    pub(crate) fn refuse_taken(&self, pfn: Pfn) -> Result<()> {
        let (_, head) = self.frames.use_of(pfn)?;
        if !self.page(head).as_huge_head().is_in_use() {
            Ok(())
        } else {
            Err(Error::Huge(HugeError::Taken(head)))
        }
    }

    /// Take a page out of the pool, to use it; returns its first page.
    ///
    /// # Errors
    /// `NotHugeSize`; `Out` when none is free.
    pub fn hugetlb_take(&mut self, order: u32) -> Result<Pfn> {
        let head = self.first_free(order)?;
        self.relist(head, order, Use::Free, Use::Taken)?;
        Ok(head)
    }

    /// Put a page that was taken back into its pool.
    ///
    /// # Errors
    /// `NotPresent`; `PageState` when it is no huge page in use.
    pub fn hugetlb_put(&mut self, head: Pfn) -> Result<()> {
        let order = self.order_at(head)?;
        if self.refuse_taken(head).is_ok() {
            return Err(Error::Page(PageError::State {
                pfn: head,
                is: PageKind::HugeTlb,
                needs: PageNeeds::HugeInUse,
            }));
        }
        self.relist(head, order, Use::Taken, Use::Free)
    }

    /// The free huge page that `pfn` is in becomes free memory.
    ///
    /// # Errors
    /// `NotPresent`, `PageState`; `HugeTaken`; `Out` when its memmap cannot be restored. It is as it was then.
    pub fn hugetlb_dissolve(&mut self, pfn: Pfn) -> Result<()> {
        let (_, head) = self.frames.use_of(pfn)?;
        let order = self.leave(head)?;
        self.dissolve_compound(head, order);
        Ok(())
    }

    /// A free page leaves its pool, with all of its memmap.
    fn leave(&mut self, head: Pfn) -> Result<u32> {
        let order = self.order_at(head)?;
        self.refuse_taken(head)?;
        if self.page(head).as_huge_head().is_optimised() {
            self.restore(head)?;
        }
        let mut pool = self.pool(order)?;
        pool.unlink(&self.frames, head, Use::Free);
        self.set_pool(pool);
        Ok(order)
    }

    /// A free page of a pool becomes pages of `1 << to`, in their pool (Linux: `demote_pool_huge_page`).
    ///
    /// # Errors
    /// As [`Self::hugetlb_dissolve`]; `NotHugeSize` when `to` is no smaller size.
    pub fn hugetlb_demote(&mut self, head: Pfn, to: u32) -> Result<()> {
        let from = self.order_at(head)?;
        self.pool(to)?;
        if to >= from {
            return Err(Error::Huge(HugeError::Size { bytes: self.bytes(to) }));
        }
        self.leave(head)?;
        let mut outcome = Ok(());
        for i in (0..1 << (from - to)).rev() {
            let part = head + (i << to);
            self.mark_compound(part, to);
            // All of them are the pool's, whatever keeps one from being optimised.
            let entered = self.enter(part, to);
            outcome = outcome.and(entered);
        }
        outcome
    }
}
