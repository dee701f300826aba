//! What the operations on pages should answer: tenants, pins, poison, the kernel's own runs.

use hotmap_mm::frame::zone::ZoneKind;

use super::frames::Frames;
use super::need::{self, Mapping};
use super::predict::{Answer, OUT};
use super::seen::Seen;
use super::{Reference, Tenant};
use hotmap_emulator::layout;
use hotmap_emulator::machine::Emulated;

impl Reference {
    /// A new tenant of `pages` pages: the answer and the address that it gets, the lowest gap.
    pub fn tenant_new(&self, machine: &Emulated, seen: &Seen, pages: u64) -> (Answer, u64) {
        let len = pages * self.spec.page;
        let mut tenants: Vec<Tenant> = self.tenants.values().copied().collect();
        tenants.sort_by_key(|t| t.va);
        let mut va = layout::TENANTS.start;
        for tenant in tenants {
            if tenant.va - va >= len {
                break;
            }
            va = tenant.va + tenant.pages * self.spec.page;
        }
        if pages == 0 {
            return (Answer::Refused("Empty", None), va);
        }
        let mapping = Mapping { va, pa: 0, len, max_leaf: self.spec.page };
        let tables = need::tables(self.spec, machine.memory(), machine.root(), mapping);
        let used = self.used(seen);
        let (movable, normal) = (self.free(ZoneKind::Movable, &used), self.free(ZoneKind::Normal, &used));
        // Pages come from Movable while there are any, tables from Normal only.
        let fits = |movable, normal| tables + pages.saturating_sub(movable) <= normal;
        let lendable = ZoneKind::ALL.map(|zone| self.lendable(seen, zone));
        let least = |free: u64, zone: ZoneKind| free.saturating_sub(lendable[zone as usize]);
        let answer = if fits(least(movable, ZoneKind::Movable), least(normal, ZoneKind::Normal)) {
            Answer::Done
        } else if fits(movable, normal) {
            Answer::DoneOrOut
        } else {
            OUT
        };
        (answer, va)
    }

    /// How many pages of a new tenant each Movable block gets: the newest first. Nothing, when one of them may lend pages.
    pub fn movable_shares(&self, seen: &Seen, pages: u64) -> Vec<(u64, u64)> {
        if self.lendable(seen, ZoneKind::Movable) != 0 {
            return Vec::new();
        }
        let (used, mut left) = (self.used(seen), pages);
        let newest_first = self.zone(ZoneKind::Movable).into_iter().rev();
        newest_first
            .map(|start| {
                let share = left.min(self.free_in(start, &used).len());
                left -= share;
                (start, share)
            })
            .collect()
    }

    /// Dropping a tenant.
    pub fn tenant_drop(&self, id: u32) -> Answer {
        let Some(tenant) = self.tenants.get(&id) else { return Answer::Refused("NoTenant", None) };
        let range = tenant.va..tenant.va + tenant.pages * self.spec.page;
        let held = self.held.range(range).next().is_some();
        if held { Answer::Refused("Pinned", None) } else { Answer::Done }
    }

    /// Pinning a frame.
    pub fn pin(&self, seen: &Seen, frame: u64) -> Answer {
        if self.device_at(frame * self.spec.page).is_some() {
            return self.hold(frame, true);
        }
        let start = frame * self.spec.page / self.block_bytes() * self.block_bytes();
        if !self.blocks.contains_key(&start) {
            return Answer::Refused("NotPresent", None);
        }
        let free = self.free_in(start, &self.used(seen)).contains(frame);
        let tenant = seen.tenants.values().any(|f| *f == frame);
        let ok = free || tenant || self.pinned.contains_key(&frame);
        if ok { Answer::Done } else { Answer::Refused("PageState", None) }
    }

    /// Unpinning a frame.
    pub fn unpin(&self, seen: &Seen, frame: u64) -> Answer {
        if self.device_at(frame * self.spec.page).is_some() {
            return self.hold(frame, false);
        }
        let start = frame * self.spec.page / self.block_bytes() * self.block_bytes();
        if !self.blocks.contains_key(&start) {
            return Answer::Refused("NotPresent", None);
        }
        let held = self.held.keys().any(|va| seen.tenants.get(va) == Some(&frame));
        let ok = held || self.pinned.contains_key(&frame);
        if ok { Answer::Done } else { Answer::Refused("PageState", None) }
    }

    /// Poisoning a frame.
    pub fn poison(&self, seen: &Seen, frame: u64) -> Answer {
        if self.device_at(frame * self.spec.page).is_some() {
            return Answer::Refused("Unmovable", Some(frame));
        }
        let start = frame * self.spec.page / self.block_bytes() * self.block_bytes();
        if !self.blocks.contains_key(&start) {
            return Answer::Refused("NotPresent", None);
        }
        let used = self.used(seen);
        let held = self.held.keys().any(|va| seen.tenants.get(va) == Some(&frame));
        if self.poisoned.contains(&frame) {
            Answer::Refused("Poisoned", Some(frame))
        } else if held || self.pinned.contains_key(&frame) {
            Answer::Refused("Pinned", Some(frame))
        } else if seen.tenants.values().any(|f| *f == frame) {
            let room = ZoneKind::ALL.into_iter().any(|zone| self.free(zone, &used) != 0);
            if room { Answer::Done } else { OUT }
        } else if self.free_in(start, &used).contains(frame) {
            Answer::Done
        } else if self.lent_by(seen, start).contains(frame) && self.blocks[&start].online.is_some() {
            // It moves within its block.
            if self.free_in(start, &used).is_empty() { OUT } else { Answer::Done }
        } else if used.contains(frame) {
            Answer::Refused("Unmovable", Some(frame))
        } else {
            // A hole, or a page of a block that is offline.
            Answer::Refused("PageState", None)
        }
    }

    /// Giving a poisoned frame back.
    pub fn unpoison(&self, frame: u64) -> Answer {
        if self.device_at(frame * self.spec.page).is_some() {
            return Answer::Refused("PageState", None);
        }
        let start = frame * self.spec.page / self.block_bytes() * self.block_bytes();
        match (self.blocks.contains_key(&start), self.poisoned.contains(&frame)) {
            (false, _) => Answer::Refused("NotPresent", None),
            (true, false) => Answer::Refused("PageState", None),
            (true, true) => Answer::Done,
        }
    }

    /// Whether the block at `start` is on demand and all of it is free.
    pub fn is_all_free_on_demand(&self, start: u64, used: &Frames) -> bool {
        self.on_demand().any(|on| on == start)
            && self.free_in(start, used).len() == self.block_bytes() / self.spec.page
    }

    /// A run of `1 << order` frames for the kernel: the answer and the block that serves it, the oldest that can.
    pub fn kernel_alloc(&self, seen: &Seen, order: u32) -> (Answer, Option<u64>) {
        let used = self.used(seen);
        // All of a block on demand leaves no page for the memmap of its head.
        let whole = (self.block_bytes() / self.spec.page).ilog2();
        let keeps = |start: u64| order == whole && self.on_demand().any(|on| on == start);
        let has_run = |start: &u64| !keeps(*start) && self.free_in(*start, &used).has_run(order);
        // What a block on demand sets aside comes last.
        let aside = |start: u64| {
            let first = start / self.spec.page;
            let some = self.on_demand().any(|on| on == start) && !self.is_all_free_on_demand(start, &used);
            let aside = first..first + self.memmap_frames();
            if some { Frames::of([aside]) } else { Frames::default() }
        };
        let has_other = |start: &u64| {
            has_run(start) && self.free_in(*start, &used).without(&aside(*start)).has_run(order)
        };
        let zone = self.zone(ZoneKind::Normal);
        let from = zone.iter().copied().find(has_other).or_else(|| zone.into_iter().find(has_run));
        (if from.is_some() { Answer::Done } else { OUT }, from)
    }
}
