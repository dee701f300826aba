//! The pool of one size of huge pages, as two lists through the pages' heads.

use crate::error::Error;
use crate::frame::Frames;
use crate::frame::links::Links;
use crate::machine::Machine;
use crate::pfn::Pfn;

/// Which of a pool's two lists.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Use {
    /// The page is free in its pool.
    Free,
    /// The page is in use.
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

    /// The linear map has less than 2^32 huge pages of the smallest size.
    const fn links<M: Machine>(&self, frames: &Frames<M>) -> Links {
        Links::new(frames.layout().first_pfn(), self.order)
    }
    /// For the auditor, which trusts no link.
    pub(crate) const fn first_link(&self, which: Use) -> u32 {
        self.first[which as usize]
    }
    pub(crate) fn pfn_of<M: Machine>(&self, frames: &Frames<M>, link: u32) -> Pfn {
        self.links(frames).pfn_of(link)
    }

    /// The pages of a list, the one that was put there last first.
    pub fn heads<M: Machine>(&self, frames: &Frames<M>, which: Use) -> impl Iterator<Item = Pfn> {
        let (links, mut link) = (self.links(frames), self.first[which as usize]);
        core::iter::from_fn(move || {
            let pfn = (link != 0).then(|| links.pfn_of(link))?;
            link = frames.pages().get(pfn).links().0;
            Some(pfn)
        })
    }

    pub(super) fn push<M: Machine>(&mut self, frames: &Frames<M>, pfn: Pfn, which: Use) {
        let pages = frames.pages();
        pages.own(pfn).as_huge_head().set_in_use(which == Use::Taken);
        self.links(frames).push(&pages, &mut self.first[which as usize], pfn);
        self.len[which as usize] += 1;
    }

    pub(super) fn unlink<M: Machine>(&mut self, frames: &Frames<M>, pfn: Pfn, which: Use) {
        let links = self.links(frames);
        links.unlink(&frames.pages(), &mut self.first[which as usize], pfn);
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
