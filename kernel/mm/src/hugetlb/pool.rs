//! The pool of one size of huge pages, as two lists through the pages' heads.

use crate::error::Error;
use crate::frame::Frames;
use crate::machine::Machine;
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

    fn link_of<M: Machine>(&self, frames: &Frames<M>, pfn: Pfn) -> u32 {
        // The linear map has less than 2^32 huge pages of the smallest size.
        u32::try_from((pfn - frames.layout().first_pfn()) >> self.order).map_or(0, |at| at + 1)
    }
    /// For the auditor, which trusts no link.
    pub(crate) const fn first_link(&self, which: Use) -> u32 {
        self.first[which as usize]
    }
    pub(crate) fn pfn_of<M: Machine>(&self, frames: &Frames<M>, link: u32) -> Pfn {
        frames.layout().first_pfn() + (u64::from(link - 1) << self.order)
    }

    /// The pages of a list, the last that came first.
    pub fn heads<'a, M: Machine>(
        &'a self,
        frames: &'a Frames<M>,
        which: Use,
    ) -> impl Iterator<Item = Pfn> + 'a {
        let mut link = self.first[which as usize];
        core::iter::from_fn(move || {
            let pfn = (link != 0).then(|| self.pfn_of(frames, link))?;
            link = frames.pages().get(pfn).links().0;
            Some(pfn)
        })
    }

    pub(super) fn push<M: Machine>(&mut self, frames: &Frames<M>, pfn: Pfn, which: Use) {
        let (head, link, next) =
            (frames.pages().own(pfn), self.link_of(frames, pfn), self.first[which as usize]);
        head.set_refs(u32::from(which == Use::Taken));
        head.set_links(next, 0);
        if next != 0 {
            frames.pages().own(self.pfn_of(frames, next)).set_prev(link);
        }
        self.first[which as usize] = link;
        self.len[which as usize] += 1;
    }

    pub(super) fn unlink<M: Machine>(&mut self, frames: &Frames<M>, pfn: Pfn, which: Use) {
        let (next, prev) = frames.pages().get(pfn).links();
        if next != 0 {
            frames.pages().own(self.pfn_of(frames, next)).set_prev(prev);
        }
        if prev != 0 {
            frames.pages().own(self.pfn_of(frames, prev)).set_next(next);
        } else {
            self.first[which as usize] = next;
        }
        frames.pages().own(pfn).set_links(0, 0);
        self.len[which as usize] -= 1;
    }
}

/// The result of setting the size of a pool: the count that was reached, and what stopped it there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resized {
    /// How many pages the pool has now.
    pub total: u64,
    /// Why it does not have the count that was asked for; `None` when it does.
    pub stopped: Option<Error>,
}
