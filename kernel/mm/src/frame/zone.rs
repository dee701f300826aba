//! Zones: which blocks serve which allocations (Linux: `struct zone`). Normal serves every allocation; Movable
//! only those of movable pages, so that its blocks can go offline while no page is held.

use core::fmt;

use alloc::vec::Vec;

use crate::error::Result;
use crate::frame::buddy::Lists;
use crate::list;
use crate::pfn::{Pfn, PfnRange};

/// Which zone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ZoneKind {
    /// Any allocation.
    Normal = 0,
    /// Movable allocations only.
    Movable = 1,
}

impl ZoneKind {
    /// Every zone.
    pub const ALL: [Self; 2] = [Self::Normal, Self::Movable];

    /// The zone's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Movable => "Movable",
        }
    }
}

impl fmt::Display for ZoneKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A zone: its blocks in the order in which they came, and its counts in pages.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    blocks: Vec<Pfn>,
    /// Every block from this position on is known to serve no page, since it has none free or is isolated: searches start
    /// below it. For pages that are not set aside, and for those that are.
    idle_from: [usize; 2],
    /// Pages of memory in the zone.
    pub present: u64,
    /// Free pages in the zone.
    pub free: u64,
}

impl Zone {
    /// A zone without blocks.
    pub const fn new() -> Self {
        Self { blocks: Vec::new(), idle_from: [0; 2], present: 0, free: 0 }
    }

    /// Makes room for `more` blocks; [`Self::join`] cannot fail then.
    ///
    /// # Errors
    /// `Out` when the heap has no room.
    pub fn reserve(&mut self, more: usize) -> Result<()> {
        list::reserve(&mut self.blocks, more)
    }
    /// What was one entry, `first`'s, is two from here on, the other for `next`.
    pub(crate) fn split_entry(&mut self, first: Pfn, next: Pfn) {
        let Some(at) = self.blocks.iter().position(|block| *block == first) else { return };
        self.blocks.insert(at + 1, next);
        self.idle_from.iter_mut().filter(|from| **from > at).for_each(|from| *from += 1);
    }
    /// The inverse of [`Self::split_entry`]; whether `next` follows `first`, without which nothing has changed.
    pub(crate) fn merge_entry(&mut self, first: Pfn, next: Pfn) -> bool {
        let Some(at) = self.blocks.iter().position(|block| *block == next) else { return false };
        if at == 0 || self.blocks[at - 1] != first {
            return false;
        }
        self.blocks.remove(at);
        self.idle_from.iter_mut().filter(|from| **from > at).for_each(|from| *from -= 1);
        true
    }
    /// A block joins, as the newest.
    pub fn join(&mut self, block: Pfn) {
        self.blocks.push(block);
        self.idle_from = [self.blocks.len(); 2];
    }
    /// Gives back what capacity is not used.
    pub(crate) fn shrink(&mut self) {
        list::shrink(&mut self.blocks);
    }
    /// All blocks of `pages` leave.
    pub fn leave(&mut self, pages: PfnRange) {
        self.blocks.retain(|block| !pages.contains(*block));
        self.idle_from = [self.blocks.len(); 2];
        list::shrink(&mut self.blocks);
    }
    /// The first blocks of its records, oldest first: a block, or an extent's first.
    pub fn blocks(&self) -> &[Pfn] {
        &self.blocks
    }
    /// The blocks that may serve a page of `lists`, oldest first: a search looks at no others.
    pub fn searched(&self, lists: Lists) -> &[Pfn] {
        &self.blocks[..self.idle_from[lists as usize]]
    }
    /// Every block from `position` on has no free page on `lists` or is isolated: the next search starts below.
    pub fn note_idle(&mut self, lists: Lists, position: usize) {
        let from = &mut self.idle_from[lists as usize];
        *from = position.min(*from);
    }
    /// A page was freed in a block that serves, or a block serves again: searches start at the newest block again.
    pub fn note_freed(&mut self) {
        self.idle_from = [self.blocks.len(); 2];
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    const BLOCK: u64 = 32768;

    fn zone(blocks: &[u64]) -> Zone {
        let mut zone = Zone::new();
        for block in blocks {
            zone.join(Pfn::new(block * BLOCK));
        }
        zone
    }

    #[test]
    fn zones_have_linuxs_names() {
        assert_eq!(ZoneKind::ALL.map(|kind| kind.to_string()), ["Normal", "Movable"]);
        assert_eq!(ZoneKind::ALL.map(ZoneKind::name), ["Normal", "Movable"]);
    }

    #[test]
    fn room_is_reserved_before_a_block_joins() {
        let mut zone = Zone::new();
        assert_eq!(zone.reserve(3), Ok(()));
        assert!(zone.blocks.capacity() >= 3);
    }

    #[test]
    fn a_search_passes_over_idle_blocks_until_a_page_is_freed() {
        let mut zone = zone(&[1, 2, 3]);
        assert_eq!(zone.searched(Lists::Main).len(), 3);
        zone.note_idle(Lists::Main, 1);
        zone.note_idle(Lists::Main, 2);
        assert_eq!(zone.searched(Lists::Main), [Pfn::new(BLOCK)], "the lower position holds");
        assert_eq!(zone.searched(Lists::Aside).len(), 3, "what is set aside is searched by itself");
        zone.note_freed();
        assert_eq!(zone.searched(Lists::Main), zone.blocks());
    }
}
