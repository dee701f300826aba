//! The board: compound pages that readers may look up and check at any time.
//!
//! An entry is one word, so a reader sees a whole one or none. The writer publishes a page when its struct pages are
//! complete, and withdraws it before their contents change. Optimising and restoring keep the contents and need no
//! withdrawal. Withdrawing returns a [`Grace`] to wait for, because a reader may have found the entry before.

use crate::atomic::{Acquire, AtomicU64, Relaxed, Release, constructor, zeroes};
use crate::cpu::Cpu;
use crate::readers::{Inside, Readers};

/// What a compound page belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The HugeTLB pool.
    HugeTlb,
    /// A Device DAX pagemap.
    Dax,
}

/// A compound page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compound {
    /// The head's pfn, below 2^48.
    pub head: u64,
    /// It has `1 << order` pages.
    pub order: u8,
    /// What it belongs to.
    pub kind: Kind,
}

const HEAD_BITS: u32 = 48;

impl Compound {
    /// Bits 47:0 the head, 55:48 the order, 63:56 the kind, never 0. `None` if the head is too large.
    fn to_word(self) -> Option<u64> {
        let kind = match self.kind {
            Kind::HugeTlb => 1,
            Kind::Dax => 2,
        };
        let fits = self.head >> HEAD_BITS == 0;
        fits.then_some(self.head | u64::from(self.order) << HEAD_BITS | kind << 56)
    }

    fn from_word(word: u64) -> Option<Self> {
        let [.., order, kind] = word.to_le_bytes();
        let kind = match kind {
            1 => Kind::HugeTlb,
            2 => Kind::Dax,
            _ => return None,
        };
        Some(Self { head: word & ((1 << HEAD_BITS) - 1), order, kind })
    }
}

/// Why a page cannot be published.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// Every slot is taken.
    Full,
    /// The head's pfn does not fit.
    Head(u64),
}

/// The published compound pages.
#[derive(Debug)]
pub struct Board<const SLOTS: usize = 64> {
    slots: [AtomicU64; SLOTS],
}

/// Readers may still use what was withdrawn.
#[derive(Debug)]
#[must_use = "readers may still use the page: wait before it changes"]
pub struct Grace {
    owed: bool,
}

impl Grace {
    /// Waits until no reader uses what was withdrawn. `readers` are those that scan the board.
    pub fn wait(self, readers: &Readers, pause: impl FnMut(Cpu)) {
        if self.owed {
            readers.synchronize(pause);
        }
    }

    /// Merges two waits into one.
    pub fn and(self, other: Self) -> Self {
        Self { owed: self.owed | other.owed }
    }
}

impl<const SLOTS: usize> Board<SLOTS> {
    constructor! {
        /// Makes an empty board.
        pub fn new() -> Self {
            Self { slots: zeroes() }
        }
    }

    /// Writer: publishes a compound page whose struct pages are complete.
    ///
    /// # Errors
    /// `Full`, `Head`; nothing has changed.
    pub fn publish(&self, page: Compound) -> Result<(), Refused> {
        let word = page.to_word().ok_or(Refused::Head(page.head))?;
        let free = self.slots.iter().find(|slot| slot.load(Relaxed) == 0).ok_or(Refused::Full)?;
        // Release: a reader that finds the page sees its struct pages, and the entries that map them, as written before.
        free.store(word, Release);
        Ok(())
    }

    /// Writer: withdraws every page whose head is in `first..end` (pfns).
    pub fn withdraw(&self, first: u64, end: u64) -> Grace {
        let mut owed = false;
        for slot in &self.slots {
            let page = Compound::from_word(slot.load(Relaxed));
            if page.is_some_and(|page| (first..end).contains(&page.head)) {
                // Relaxed: the fence in `synchronize` orders it.
                slot.store(0, Relaxed);
                owed = true;
            }
        }
        Grace { owed }
    }

    /// The pages that are published now. They may be used until the section ends.
    pub fn scan<'a>(&'a self, _section: &'a Inside<'_>) -> impl Iterator<Item = Compound> + 'a {
        self.slots.iter().filter_map(|slot| Compound::from_word(slot.load(Acquire)))
    }

    /// The number of published pages.
    pub fn len(&self) -> usize {
        self.slots.iter().filter(|slot| slot.load(Relaxed) != 0).count()
    }

    /// Whether no page is published.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::vec::Vec;

    const fn huge(head: u64) -> Compound {
        Compound { head, order: 9, kind: Kind::HugeTlb }
    }

    #[test]
    fn an_entry_is_one_word_of_known_bits() {
        let dax = Compound { head: 0xabcd_ef01_2345, order: 18, kind: Kind::Dax };
        assert_eq!(dax.to_word(), Some(0x0212_abcd_ef01_2345));
        assert_eq!(Compound::from_word(0x0212_abcd_ef01_2345), Some(dax));
        assert_eq!(huge(0).to_word(), Some(0x0109_0000_0000_0000), "pfn 0 is not an empty slot");
        assert_eq!(Compound::from_word(0x0309_0000_0000_0000), None);
        assert_eq!(huge(1 << 48).to_word(), None);
    }

    #[test]
    fn a_full_board_refuses_and_a_withdrawn_slot_is_free_again() {
        let (board, readers) = (Board::<2>::new(), Readers::new());
        assert_eq!(board.publish(huge(1 << 48)), Err(Refused::Head(1 << 48)));
        assert_eq!((board.publish(huge(0x200)), board.publish(huge(0x400))), (Ok(()), Ok(())));
        assert_eq!(board.publish(huge(0x600)), Err(Refused::Full));
        board.withdraw(0x200, 0x400).wait(&readers, |_| ());
        assert_eq!(board.publish(huge(0x800)), Ok(()));
        let section = readers.enter(Cpu::BOOT);
        let mut heads: Vec<u64> = board.scan(&section).map(|page| page.head).collect();
        heads.sort_unstable();
        assert_eq!(heads, [0x400, 0x800]);
    }

    #[test]
    fn nobody_waits_for_what_was_not_shown() {
        let (board, readers) = (Board::<4>::new(), Readers::new());
        board.publish(huge(0x200)).expect("free");
        let _section = readers.enter(Cpu::new(1).expect("below eight"));
        let nothing = board.withdraw(0, 0x200).and(board.withdraw(0x201, u64::MAX));
        nothing.wait(&readers, |_| panic!("nothing was withdrawn"));
        assert!(!board.is_empty());
        let grace = board.withdraw(0, u64::MAX);
        assert!(grace.owed && board.is_empty());
    }
}
