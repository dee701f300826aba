//! What can be asked of pages: tenants, pins, poison, and the kernel's own runs.

use super::pick::pick;
use crate::world::World;

/// An operation on pages.
#[derive(Clone, Copy, Debug)]
pub enum PageOp {
    /// A tenant moves in.
    TenantNew(u64),
    /// Tenants check.
    TenantsCheck,
    /// A tenant leaves.
    TenantDrop(usize),
    /// Pin some frame.
    Pin(usize, u64),
    /// Pin a tenant's frame.
    PinTenant(usize),
    /// Unpin a frame that is pinned, or some other.
    Unpin(usize),
    /// Poison some frame.
    Poison(usize, u64),
    /// Poison a tenant's frame.
    PoisonTenant(usize),
    /// Give back a frame that is poisoned, or some other.
    Unpoison(usize),
    /// The kernel takes a run of some order.
    KernelAlloc(u32),
    /// The kernel takes all of Normal but for so many pages.
    KernelTakesAllBut(u64),
    /// The kernel gives one run back.
    KernelFree(usize),
    /// The kernel gives all its runs back.
    KernelFreesAll,
}

impl World {
    /// Does an operation on pages; `blocks` are the blocks that are present.
    pub(super) fn page_step(&mut self, op: PageOp, blocks: &[u64]) {
        let g = self.granule();
        let frames_of = |world: &Self, i: usize| world.reference.frames_of(blocks[i % blocks.len()]);
        match op {
            // Large tenants have as many bytes at every granule.
            PageOp::TenantNew(pages @ 0..40) => self.tenant_new(pages),
            PageOp::TenantNew(pages) => self.tenant_new(pages / (g.page_size >> 12)),
            PageOp::TenantsCheck => self.tenants_check(),
            PageOp::TenantDrop(i) => {
                let id = pick(self.reference.tenants.keys().copied(), i).unwrap_or(77);
                self.tenant_drop(id);
            }
            PageOp::Pin(i, frame) => {
                let frames = frames_of(self, i);
                self.pin(frames.start + frame % (frames.end - frames.start));
            }
            PageOp::PinTenant(i) => {
                let frames: Vec<u64> = self.seen.tenants.values().copied().collect();
                pick(frames.into_iter(), i).into_iter().for_each(|frame| self.pin(frame));
            }
            PageOp::Unpin(i) => {
                let tenants = self.reference.held.keys().filter_map(|va| self.seen.tenants.get(va));
                let frames: Vec<u64> = tenants.chain(self.reference.pinned.keys()).copied().collect();
                let other = frames_of(self, i).start;
                self.unpin(pick(frames.into_iter(), i).unwrap_or(other));
            }
            PageOp::Poison(i, frame) => {
                let frames = frames_of(self, i);
                self.poison(frames.start + frame % (frames.end - frames.start));
            }
            PageOp::PoisonTenant(i) => {
                let frames: Vec<u64> = self.seen.tenants.values().copied().collect();
                pick(frames.into_iter(), i).into_iter().for_each(|frame| self.poison(frame));
            }
            PageOp::Unpoison(i) => {
                let frames: Vec<u64> = self.reference.poisoned.iter().copied().collect();
                let other = frames_of(self, i).start;
                self.unpoison(pick(frames.into_iter(), i).unwrap_or(other));
            }
            PageOp::KernelAlloc(order) => self.kernel_alloc(order % (g.section_order + 1)),
            PageOp::KernelTakesAllBut(pages) => self.kernel_takes_all_but(pages),
            PageOp::KernelFreesAll => {
                let all: Vec<u64> = self.reference.kernel.keys().copied().collect();
                self.kernel_free(&all);
            }
            PageOp::KernelFree(i) => {
                pick(self.reference.kernel.keys().copied(), i)
                    .into_iter()
                    .for_each(|f| self.kernel_free(&[f]));
            }
        }
    }
}
