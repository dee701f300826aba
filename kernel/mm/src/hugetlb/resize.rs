//! The operations on huge pages. A page comes into a pool from free memory, is taken and put back, and goes out again; a
//! page of one size can become pages of a smaller one.

use super::HugeTlb;
use super::compound::{dissolve_compound, free_images, mark_compound, new_compound, order_at, refuse_taken};
use super::images::is_of_images;
use super::pool::{Resized, Use};
use crate::error::{Error, HugeError, PageError, PageNeeds, Resource, Result};
use crate::frame::Frames;
use crate::frame::page::PageKind;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::Pfn;
use crate::space::table::KernelSpace;
use crate::stop::Stop;

impl<M: Machine> Mm<M> {
    /// Sets the count of the pool of pages of `1 << order`, page by page. A page that cannot be added (no free run of its
    /// order) or removed (its memmap cannot be restored) ends it, and the pool keeps the count that it has reached, as
    /// Linux's `nr_hugepages` does: that is no error but `stopped`.
    ///
    /// # Errors
    /// `HugeError::Size`; `HugeError::InUse` when more are in use: nothing has changed then.
    pub fn hugetlb_resize(&mut self, order: u32, count: u64) -> Result<Resized> {
        self.hugetlb_resize_unless(order, count, &mut |_| false)
    }

    /// [`Self::hugetlb_resize`], unless `stop`, asked after each page with the count that is reached, ends it: that is
    /// `stopped` too, by `Error::Interrupted`.
    ///
    /// # Errors
    /// As [`Self::hugetlb_resize`].
    pub fn hugetlb_resize_unless(&mut self, order: u32, count: u64, stop: Stop<'_>) -> Result<Resized> {
        let Self { space, frames, hugetlb, .. } = self;
        let pool = hugetlb.pool_mut(order)?;
        let (mut total, used) = (pool.total(), pool.taken());
        if count < used {
            return Err(HugeError::InUse { bytes: hugetlb.bytes_of(order), used, asked: count }.into());
        }
        while total != count {
            let step = if total < count {
                hugetlb.grow(space, frames, order)
            } else {
                hugetlb.shrink(space, frames, order)
            };
            total = hugetlb.pool_mut(order)?.total();
            if let Err(error) = step {
                return Ok(Resized { total, stopped: Some(error) });
            }
            if total != count && stop(total) {
                return Ok(Resized { total, stopped: Some(Error::Interrupted) });
            }
        }
        Ok(Resized { total, stopped: None })
    }

    /// Takes a page out of the pool, to use it; returns its first page.
    ///
    /// # Errors
    /// `HugeError::Size`; `Out` when none is free.
    pub fn hugetlb_take(&mut self, order: u32) -> Result<Pfn> {
        let head = self.hugetlb.first_free(&self.frames, order)?;
        self.hugetlb.relist(&self.frames, head, order, Use::Free, Use::Taken)?;
        Ok(head)
    }

    /// Puts a page that was taken back into its pool.
    ///
    /// # Errors
    /// `PageError::NotPresent`; `PageError::State` when it is no huge page in use.
    pub fn hugetlb_put(&mut self, head: Pfn) -> Result<()> {
        let order = order_at(&self.frames, head)?;
        if refuse_taken(&self.frames, head).is_ok() {
            let (is, needs) = (PageKind::HugeTlb, PageNeeds::HugeInUse);
            return Err(PageError::State { pfn: head, is, needs }.into());
        }
        self.hugetlb.relist(&self.frames, head, order, Use::Taken, Use::Free)
    }

    /// The free huge page that `pfn` is in becomes free memory.
    ///
    /// # Errors
    /// `PageError::NotPresent`, `PageError::State`; `HugeError::Taken`; `Out` when its memmap cannot be restored. It is as
    /// it was then.
    pub fn hugetlb_dissolve(&mut self, pfn: Pfn) -> Result<()> {
        let (_, head) = self.frames.use_of(pfn)?;
        self.hugetlb.dissolve(&mut self.space, &mut self.frames, head)
    }

    /// A free page of a pool becomes pages of `1 << to`, in their pool (Linux: `demote_pool_huge_page`).
    ///
    /// # Errors
    /// As [`Self::hugetlb_dissolve`]; `HugeError::Size` when `to` is no smaller size; `HugeError::NotDemotable` when the page
    /// is whole blocks on demand.
    pub fn hugetlb_demote(&mut self, head: Pfn, to: u32) -> Result<()> {
        let Self { space, frames, hugetlb, .. } = self;
        let from = order_at(frames, head)?;
        hugetlb.size_of(to)?;
        if to >= from {
            return Err(HugeError::Size { bytes: hugetlb.bytes_of(to) }.into());
        }
        refuse_taken(frames, head)?;
        if is_of_images(frames, head, from) {
            return Err(HugeError::NotDemotable(head).into());
        }
        frames.populate_parts(head, from, to)?;
        if let Err(error) = hugetlb.leave(space, frames, head) {
            frames.give_back_inside(head, from);
            return Err(error);
        }
        let mut outcome = Ok(());
        for i in (0..1 << (from - to)).rev() {
            let part = head + (i << to);
            mark_compound(frames, part, to);
            // All of them are the pool's, also if one cannot be optimised.
            let entered = hugetlb.enter(space, frames, part, to);
            outcome = outcome.and(entered);
        }
        outcome
    }

    /// Share the memmap of the huge page at `head`, all but its first page ([`HugeTlb::optimise`]).
    ///
    /// # Errors
    /// As [`HugeTlb::optimise`].
    pub fn optimise(&mut self, head: Pfn) -> Result<()> {
        self.hugetlb.optimise(&mut self.space, &mut self.frames, head)
    }

    /// The inverse of [`Self::optimise`] ([`HugeTlb::restore`]).
    ///
    /// # Errors
    /// As [`HugeTlb::restore`].
    pub fn restore(&mut self, head: Pfn) -> Result<()> {
        self.hugetlb.restore(&mut self.space, &mut self.frames, head)
    }
}

impl HugeTlb {
    fn grow<M: Machine>(
        &mut self,
        space: &mut KernelSpace<M>,
        frames: &mut Frames<M>,
        order: u32,
    ) -> Result<()> {
        if let Some(run) = free_images(frames, order) {
            let head = self.take_images(space, frames, run, order)?;
            self.pool_mut(order)?.push(frames, head, Use::Free);
            return Ok(());
        }
        let head = new_compound(space, frames, order)?;
        self.enter(space, frames, head, order)
    }

    fn shrink<M: Machine>(
        &mut self,
        space: &mut KernelSpace<M>,
        frames: &mut Frames<M>,
        order: u32,
    ) -> Result<()> {
        let head = self.first_free(frames, order)?;
        self.dissolve(space, frames, head)
    }

    fn first_free<M: Machine>(&mut self, frames: &Frames<M>, order: u32) -> Result<Pfn> {
        let first = self.pool_mut(order)?.heads(frames, Use::Free).next();
        first.ok_or(Error::Out(Resource::HugePages { bytes: self.bytes_of(order) }))
    }

    /// A page of a list goes to the other one.
    fn relist<M: Machine>(
        &mut self,
        frames: &Frames<M>,
        head: Pfn,
        order: u32,
        from: Use,
        to: Use,
    ) -> Result<()> {
        let pool = self.pool_mut(order)?;
        pool.unlink(frames, head, from);
        pool.push(frames, head, to);
        Ok(())
    }

    /// A compound page becomes the pool's, and is optimised if it can be.
    fn enter<M: Machine>(
        &mut self,
        space: &mut KernelSpace<M>,
        frames: &mut Frames<M>,
        head: Pfn,
        order: u32,
    ) -> Result<()> {
        self.pool_mut(order)?.push(frames, head, Use::Free);
        match self.hvo.then(|| self.optimise(space, frames, head)) {
            // As good without: it has all of its memmap, and can be optimised later.
            Some(Err(Error::Out(_) | Error::Huge(HugeError::NotOptimisable { .. }))) | None => Ok(()),
            Some(result) => result,
        }
    }

    /// A free page leaves its pool, with all of its memmap. Returns its order.
    fn leave<M: Machine>(
        &mut self,
        space: &mut KernelSpace<M>,
        frames: &mut Frames<M>,
        head: Pfn,
    ) -> Result<u32> {
        let order = order_at(frames, head)?;
        refuse_taken(frames, head)?;
        let of_images = is_of_images(frames, head, order);
        if frames.pages().get(head).as_huge_head().is_optimised() && !of_images {
            self.restore(space, frames, head)?;
        }
        self.pool_mut(order)?.unlink(frames, head, Use::Free);
        Ok(order)
    }

    /// The free huge page at `head` becomes free memory.
    fn dissolve<M: Machine>(
        &mut self,
        space: &mut KernelSpace<M>,
        frames: &mut Frames<M>,
        head: Pfn,
    ) -> Result<()> {
        let order = self.leave(space, frames, head)?;
        if is_of_images(frames, head, order) {
            return self.put_images(space, frames, head, order);
        }
        dissolve_compound(frames, head, order);
        Ok(())
    }
}
