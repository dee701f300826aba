//! Operations on pages, in lockstep: tenants, pins, poison, and the kernel's own runs.

use hotmap_mm::error::{Error, TenantError};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::pfn::Pfn;

use super::World;
use crate::snapshot::Detail;

impl World {
    /// A new tenant.
    pub fn tenant_new(&mut self, pages: u64) {
        let what = format!("tenant of {pages} pages");
        let (answer, va) = self.reference.tenant_new(&self.rig.machine, &self.seen, pages);
        let shares = self.reference.movable_shares(&self.seen, pages);
        let before: Vec<_> = shares.iter().map(|s| self.reference.tenants_in(&self.seen, s.0)).collect();
        let result = self.act(Detail::Exact, &what, |rig| rig.mm.tenant_new(pages));
        self.answered("tenant_new", answer, &result, &what);
        if let Ok(id) = result {
            assert_eq!(id, self.reference.tenant_came(va, pages), "{what}: number");
            assert_eq!(self.rig.mm.tenant_check(id), Ok(pages), "{what}");
        }
        self.settle(&what);
        if result.is_ok() {
            for ((start, share), before) in shares.into_iter().zip(before) {
                let now = self.reference.tenants_in(&self.seen, start);
                assert_eq!(
                    now - before,
                    share,
                    "{what}: pages in {start:#x}, the newest Movable block first"
                );
            }
        }
    }

    /// Every tenant checks its pages.
    pub fn tenants_check(&mut self) {
        for (id, tenant) in &self.reference.tenants {
            assert_eq!(self.rig.mm.tenant_check(*id), Ok(tenant.pages), "tenant {id}");
        }
        assert_eq!(self.rig.mm.tenant_check(u32::MAX), Err(Error::Tenant(TenantError::Absent(u32::MAX))));
    }

    /// A tenant goes.
    pub fn tenant_drop(&mut self, id: u32) {
        let what = format!("drop tenant {id}");
        let answer = self.reference.tenant_drop(id);
        let result = self.act(Detail::Exact, &what, |rig| rig.mm.tenant_drop(id));
        self.answered("tenant_drop", answer, &result, &what);
        if result.is_ok() {
            self.reference.tenants.remove(&id);
        }
        self.settle(&what);
    }

    /// The tenant's address that maps `frame`.
    fn tenant_at(&self, frame: u64) -> Option<u64> {
        self.seen.tenants.iter().find(|(_, f)| **f == frame).map(|(va, _)| *va)
    }

    /// Pins a frame.
    pub fn pin(&mut self, frame: u64) {
        let g = self.granule();
        let what = format!("pin {frame:#x}");
        let answer = self.reference.pin(&self.seen, frame);
        let result = self.act(Detail::Exact, &what, |rig| rig.mm.pin(Pfn::new(frame)));
        self.answered("pin", answer, &result, &what);
        if result.is_ok() && self.reference.device_at(frame * g.page_size).is_some() {
            self.held(frame, true);
        } else if result.is_ok() {
            match self.tenant_at(frame) {
                Some(va) => *self.reference.held.entry(va).or_default() += 1,
                None => *self.reference.pinned.entry(frame).or_default() += 1,
            }
        }
        self.settle(&what);
    }

    /// Unpins a frame.
    pub fn unpin(&mut self, frame: u64) {
        let g = self.granule();
        let what = format!("unpin {frame:#x}");
        let answer = self.reference.unpin(&self.seen, frame);
        let result = self.act(Detail::Exact, &what, |rig| rig.mm.unpin(Pfn::new(frame)));
        self.answered("unpin", answer, &result, &what);
        if result.is_ok() && self.reference.device_at(frame * g.page_size).is_some() {
            self.held(frame, false);
        } else if result.is_ok() {
            let at = self.tenant_at(frame);
            let (map, key) = match at {
                Some(va) => (&mut self.reference.held, va),
                None => (&mut self.reference.pinned, frame),
            };
            match map.get_mut(&key) {
                Some(holds) if *holds > 1 => *holds -= 1,
                _ => drop(map.remove(&key)),
            }
        }
        self.settle(&what);
    }

    /// Poisons a frame.
    pub fn poison(&mut self, frame: u64) {
        let what = format!("poison {frame:#x}");
        let answer = self.reference.poison(&self.seen, frame);
        let tenant = self.tenant_at(frame);
        let result = self.act(Detail::Exact, &what, |rig| rig.mm.poison(Pfn::new(frame)));
        self.answered("poison", answer, &result, &what);
        if let Ok(moved) = result {
            self.reference.poisoned.insert(frame);
            assert_eq!(moved.is_some(), tenant.is_some(), "{what}: what was in it");
            *self.answers.entry(("poison", "migrated")).or_default() += u64::from(moved.is_some());
        }
        self.settle(&what);
        if let Ok(Some(now)) = result {
            assert_eq!(
                tenant.and_then(|va| self.seen.tenants.get(&va)),
                Some(&now.get()),
                "{what}: where to"
            );
        }
    }

    /// Gives a poisoned frame back.
    pub fn unpoison(&mut self, frame: u64) {
        let what = format!("unpoison {frame:#x}");
        let answer = self.reference.unpoison(frame);
        let result = self.act(Detail::Exact, &what, |rig| rig.mm.unpoison(Pfn::new(frame)));
        self.answered("unpoison", answer, &result, &what);
        if result.is_ok() {
            self.reference.poisoned.remove(&frame);
        }
        self.settle(&what);
    }

    /// The kernel takes a run.
    pub fn kernel_alloc(&mut self, order: u32) {
        let what = format!("a run of order {order}");
        let (answer, from) = self.reference.kernel_alloc(&self.seen, order);
        let result = self.act(Detail::Exact, &what, |rig| {
            rig.mm.frames_mut().alloc(order, PageKind::Kernel, Mobility::Unmovable)
        });
        self.answered("kernel_alloc", answer, &result, &what);
        if let (Ok(pfn), Some(from)) = (result, from) {
            let serves = |start: u64| self.reference.frames_of(start).contains(&pfn.get());
            // Of neighbours on demand that are all free, any may serve.
            let used = self.reference.used(&self.seen);
            let all_free = |start: u64| self.reference.is_all_free_on_demand(start, &used);
            let alike = all_free(from) && self.reference.blocks.keys().any(|s| serves(*s) && all_free(*s));
            assert!(serves(from) || alike, "{what}: the oldest block that has one");
            self.reference.kernel.insert(pfn.get(), order);
        }
        self.settle(&what);
    }

    /// The kernel takes runs until only `leave` pages are free in Normal, or fewer if there are no more.
    pub fn kernel_takes_all_but(&mut self, leave: u64) {
        let g = self.granule();
        let mut order = g.section_order;
        loop {
            let spare = self.rig.mm.frames().zone(ZoneKind::Normal).free.saturating_sub(leave);
            if spare == 0 {
                break;
            }
            order = order.min(spare.ilog2());
            match self.rig.mm.frames_mut().alloc(order, PageKind::Kernel, Mobility::Unmovable) {
                Ok(pfn) => drop(self.reference.kernel.insert(pfn.get(), order)),
                Err(_) => order -= 1,
            }
        }
        self.settle(&format!("the kernel leaves {leave} pages"));
    }

    /// The kernel gives runs back.
    pub fn kernel_free(&mut self, frames: &[u64]) {
        for frame in frames {
            self.rig.mm.frames_mut().free(Pfn::new(*frame));
            self.reference.kernel.remove(frame);
        }
        self.settle("the kernel frees");
    }
}
