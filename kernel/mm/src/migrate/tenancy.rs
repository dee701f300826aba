//! Tenants come, are checked, and go.

use core::sync::atomic::Ordering::Relaxed;

use crate::addr::{PhysAddr, VirtAddr, VirtRange};
use crate::entry::descriptor::Attributes;
use crate::error::{Error, PageError, RangeError, Resource, Result, SpaceError, TenantError};
use crate::frame::page::PageKind;
use crate::frame::tables::TableFrames;
use crate::frame::{Frames, Mobility};
use crate::layout::TENANTS;
use crate::list;
use crate::machine::{self, Access, Machine};
use crate::migrate::tenant::Tenant;
use crate::mm::Mm;
use crate::pfn::{Pfn, PfnRange};
use crate::space::request::{Gone, MapRequest};
use crate::space::table::KernelSpace;
use crate::stop::Stop;

/// The word at `va` of tenant `id`: different for every tenant and address, and for neighbours in most bits.
fn pattern(id: u32, va: VirtAddr) -> u64 {
    (va.get() ^ u64::from(id).rotate_right(16)).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ va.get().rotate_left(32)
}

impl<M: Machine> Mm<M> {
    /// The tenants.
    pub fn tenants(&self) -> &[Tenant] {
        self.tenants.all()
    }

    /// A new tenant of `count` pages, newest Movable block first; returns its number.
    ///
    /// # Errors
    /// `RangeError::Empty` for no pages, `Out` when pages, tables, heap or addresses run out; nothing is left of it then.
    pub fn tenant_new(&mut self, count: u64) -> Result<u32> {
        self.tenant_new_unless(count, &mut |_| false)
    }

    /// [`Self::tenant_new`], unless `stop`, asked after each page with how many there are, ends it.
    ///
    /// # Errors
    /// As [`Self::tenant_new`], and `Error::Interrupted`.
    pub fn tenant_new_unless(&mut self, count: u64, stop: Stop<'_>) -> Result<u32> {
        let g = self.granule();
        let bytes = count.saturating_mul(g.page_size);
        if bytes > TENANTS.len() {
            return Err(Error::Out(Resource::TenantAddresses { bytes }));
        }
        // Filling all of memory to find that it is too small takes long.
        if count > self.frames.counts().free {
            return Err(Error::Out(Resource::Frames { order: 0 }));
        }
        if bytes == 0 {
            return Err(RangeError::Empty(PhysAddr::new(0)).into());
        }
        let (at, range) = self.tenants.gap(bytes)?;
        self.frames.may_fail(Resource::Heap { bytes: size_of::<Tenant>() })?;
        list::reserve(&mut self.tenants.all, 1)?;
        let id = self.tenants.next_id;
        let mut va = range.start;
        while va < range.end {
            let done = (va - range.start) >> g.page_shift;
            let next = if stop(done) { Err(Error::Interrupted) } else { Ok(()) };
            if let Err(error) = next.and_then(|()| add_page(&mut self.space, &mut self.frames, id, va)) {
                unmap(&mut self.space, &mut self.frames, VirtRange { start: range.start, end: va });
                list::shrink(&mut self.tenants.all);
                return Err(error);
            }
            va = va + g.page_size;
        }
        self.tenants.next_id += 1;
        self.tenants.all.insert(at, Tenant { id, range });
        Ok(id)
    }

    /// Checks every word of a tenant, through its mapping; returns how many pages are right.
    ///
    /// # Errors
    /// `TenantError::Absent`, `TenantError::Corrupt` with the first wrong word.
    pub fn tenant_check(&self, id: u32) -> Result<u64> {
        self.tenant_check_unless(id, &mut |_| false)
    }

    /// [`Self::tenant_check`], unless `stop`, asked before each page with how many are right, ends it.
    ///
    /// # Errors
    /// As [`Self::tenant_check`], and `Error::Interrupted`.
    pub fn tenant_check_unless(&self, id: u32, stop: Stop<'_>) -> Result<u64> {
        let g = self.granule();
        let Tenant { range, .. } = self.tenants.all[self.tenants.position(id)?];
        let mut va = range.start;
        while va < range.end {
            if stop((va - range.start) >> g.page_shift) {
                return Err(Error::Interrupted);
            }
            for (i, word) in
                machine::words(self.space.machine(), va, g.page_size, Access::Read).iter().enumerate()
            {
                let at = va + i as u64 * 8;
                let (found, expected) = (word.load(Relaxed), pattern(id, at));
                if found != expected {
                    return Err(TenantError::Corrupt { tenant: id, at, found, expected }.into());
                }
            }
            va = va + g.page_size;
        }
        Ok(range.len() >> g.page_shift)
    }

    /// Ends a tenant: its pages are free again.
    ///
    /// # Errors
    /// `TenantError::Absent`; `PageError::Pinned` when one of its pages is held; nothing has changed then.
    pub fn tenant_drop(&mut self, id: u32) -> Result<()> {
        let at = self.tenants.position(id)?;
        let range = self.tenants.all[at].range;
        refuse_held(&self.space, &self.frames, range)?;
        unmap(&mut self.space, &mut self.frames, range);
        self.tenants.all.remove(at);
        list::shrink(&mut self.tenants.all);
        Ok(())
    }
}

/// Gives tenant `id` a page at `va`, filled with its pattern.
fn add_page<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    id: u32,
    va: VirtAddr,
) -> Result<()> {
    let g = frames.granule();
    let pfn = frames.alloc(0, PageKind::Tenant, Mobility::Movable)?;
    let request = MapRequest {
        range: VirtRange { start: va, end: va + g.page_size },
        pa: pfn.address(g),
        attributes: Attributes::DATA,
        max_leaf: g.page_size,
        contiguous: false,
    };
    if let Err(error) = space.map(frames, &request) {
        frames.free(pfn);
        return Err(error);
    }
    space.publish();
    frames.pages().own(pfn).as_tenant().set_address(va);
    frames.count_tenants(PfnRange::new(pfn, 1), 1);
    for (i, word) in machine::words(space.machine(), va, g.page_size, Access::Write).iter().enumerate() {
        word.store(pattern(id, va + i as u64 * 8), Relaxed);
    }
    Ok(())
}

/// Refuses a tenant of which a page is held.
fn refuse_held<M: Machine>(space: &KernelSpace<M>, frames: &Frames<M>, range: VirtRange) -> Result<()> {
    let g = frames.granule();
    let mut va = range.start;
    while va < range.end {
        let pa = space.translate(va).ok_or(SpaceError::NotMapped(va))?;
        let pfn = Pfn::containing(g, pa);
        let refs = frames.pages().get(pfn).refs();
        if refs > 1 {
            return Err(PageError::Pinned { pfn, refs }.into());
        }
        va = va + g.page_size;
    }
    Ok(())
}

/// Unmaps a tenant's pages, and free them.
fn unmap<M: Machine>(space: &mut KernelSpace<M>, frames: &mut Frames<M>, range: VirtRange) {
    let g = frames.granule();
    if range.is_empty() {
        return;
    }
    let Ok(pending) = space.break_range(range, space.bounds(TENANTS), |_| false) else {
        debug_assert!(false, "tenants are mapped by pages");
        frames.warnings.stuck += 1;
        return;
    };
    space.invalidate(pending);
    let reaped = space.reap(range, |gone| match gone {
        Gone::Leaves { pa, size, .. } => {
            let pages = PfnRange::new(Pfn::containing(g, pa), size >> g.page_shift);
            frames.count_tenants(pages, -1);
            frames.free_tenants(pages);
        }
        Gone::Table(table) => frames.free_table(table),
        Gone::SharedLeaf { .. } | Gone::SharedTable { .. } => {}
    });
    debug_assert!(reaped.is_ok(), "emptying a broken entry is always legal");
}
