//! Huge pages: a pool of compound pages for each size of the granule (Linux: `mm/hugetlb.c`), and the memmap that they do
//! not need (HVO: `mm/hugetlb_vmemmap.c`).
//!
//! ```text
//!  pool         the lists of free pages and of pages in use, through the pages' heads
//!  resize       pools grow and shrink; pages are taken, put back, dissolved, demoted
//!  compound     a run of pages becomes one page, with tails that say its order, and a run again
//!  hvo          a huge page's tails share one page of memmap: optimise, restore
//!  tails        the pages that are shared, one for each zone and order
//!  blocks       a block of memmap is split before, and joined again after
//!  frame_stack  a stack of frames that needs no memory of its own
//! ```
//! The head of a huge page says whether the page is in use and whether it is optimised, and has the links of its pool's
//! list. So a pool needs no memory of its own, however large it is.

mod blocks;
pub(crate) mod compound;
mod frame_stack;
mod hvo;
mod images;
pub mod pool;
mod resize;
pub mod tails;

use crate::error::{HugeError, Result};
use crate::granule::{Granule, MAX_HUGE_SIZES};
use pool::Pool;
use tails::SharedTails;

/// The pools, and how they are run.
#[derive(Clone, Debug)]
pub struct HugeTlb {
    granule: Granule,
    pools: [Pool; MAX_HUGE_SIZES],
    tails: SharedTails,
    /// Whether pages are optimised when they enter a pool (boot argument `hvo=`).
    pub hvo: bool,
}

impl HugeTlb {
    /// A pool without pages for each size.
    #[inline(never)]
    pub fn new(g: Granule) -> Self {
        let mut pools = [Pool::default(); MAX_HUGE_SIZES];
        for (pool, shift) in pools.iter_mut().zip(g.huge_shifts()) {
            *pool = Pool::of_order(shift - g.page_shift);
        }
        Self { granule: g, pools, tails: SharedTails::default(), hvo: true }
    }
    /// The pools, smallest pages first.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        // A single page is no huge page: a granule that has fewer sizes leaves the last ones out.
        self.pools.iter().filter(|pool| pool.order() != 0)
    }
    /// The pool of pages of `1 << order`.
    pub fn pool(&self, order: u32) -> Option<&Pool> {
        self.pools().find(|pool| pool.order() == order)
    }
    /// The pages that huge pages share: for each zone, for each pool.
    pub const fn tails(&self) -> &SharedTails {
        &self.tails
    }
    /// The order of huge pages of `bytes`.
    ///
    /// # Errors
    /// `HugeError::Size`.
    pub fn order_of(&self, bytes: u64) -> Result<u32> {
        let found = self.pools().find(|pool| self.bytes_of(pool.order()) == bytes);
        found.map(Pool::order).ok_or(HugeError::Size { bytes }.into())
    }
    /// The bytes of a page of `1 << order`; 0 when there can be none.
    fn bytes_of(&self, order: u32) -> u64 {
        self.granule.page_size.checked_shl(order).unwrap_or(0)
    }
    /// Where the pool of pages of `1 << order` is among the pools.
    fn size_of(&self, order: u32) -> Result<usize> {
        let size = self.pools().position(|pool| pool.order() == order);
        size.ok_or(HugeError::Size { bytes: self.bytes_of(order) }.into())
    }
    /// The pool of pages of `1 << order`, to change.
    fn pool_mut(&mut self, order: u32) -> Result<&mut Pool> {
        let size = self.size_of(order)?;
        Ok(&mut self.pools[size])
    }
}
