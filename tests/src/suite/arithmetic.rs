//! What `state.pages` must be after memory is added, goes online, goes offline, or is removed.
//!
//! ```text
//!                     self-hosted                          memmap from RAM
//!   online    present += all                       present += all
//!             memmap_self += m                     memmap_ram += m
//!             free += all - m - t                  free += all - m - t
//!   offline   present += m, memmap_self += m       memmap_ram += m
//!             free -= t                            free -= m + t
//!
//!                     on demand: the image is two pages from RAM, and at 4K a table
//!   online    present += all, free += all - 2 - t, memmap_ram += 2
//!   offline                   free -= 2 + t,       memmap_ram += 2
//!
//!   always    tables += t, at most as many as are allowed;  allocated and reserved unchanged
//! ```

use hotmap_client::error::Checked;
use hotmap_client::geometry::Granule;
use hotmap_client::state::{Memmap, Pages};
use hotmap_client::{ensure, ensure_eq};

/// Memory that was added: whole blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Added {
    /// The granule.
    pub granule: Granule,
    /// Bytes.
    pub size: u64,
    /// Where its memmap lies.
    pub memmap: Memmap,
    /// Whether it is online.
    pub online: bool,
}

/// Translation tables that a DIMM may cost: none if the upper tables exist, else one or two.
const MOST_TABLES: u64 = 2;

/// The pages of the image of a free block: one with the head, one of zeroed tails.
const IMAGE_PAGES: u64 = 2;

impl Added {
    /// All of its pages.
    pub(super) const fn pages(self) -> u64 {
        self.granule.pages(self.size)
    }

    /// Pages that its memmap takes; on demand, if it is the first.
    pub(super) const fn memmap_pages(self) -> u64 {
        if matches!(self.memmap, Memmap::Demand) {
            return IMAGE_PAGES;
        }
        self.size / self.granule.block() * self.granule.pages(self.granule.memmap_per_block())
    }

    /// `before`, after this memory was added and cost `tables` table pages.
    pub(super) const fn on_top_of(self, before: Pages, tables: u64) -> Pages {
        let (all, memmap) = (self.pages(), self.memmap_pages());
        let mut after = before;
        after.tables += tables;
        match self.memmap {
            Memmap::SelfHosted => after.memmap_self += memmap,
            Memmap::Ram | Memmap::Boot | Memmap::Demand => after.memmap_ram += memmap,
        }
        match (self.online, self.memmap) {
            (true, _) => {
                after.present += all;
                after.free = after.free + all - memmap - tables;
            }
            (false, Memmap::SelfHosted) => {
                after.present += memmap;
                after.free -= tables;
            }
            (false, Memmap::Ram | Memmap::Boot | Memmap::Demand) => after.free -= memmap + tables,
        }
        after
    }

    /// Checks `after` against the contract, and returns the table pages that it cost.
    pub(super) fn check(self, before: &Pages, after: &Pages) -> Checked<u64> {
        ensure!(after.tables >= before.tables, "adding memory lost table pages: {before:?} -> {after:?}");
        let tables = after.tables - before.tables;
        let most = MOST_TABLES + u64::from(self.memmap == Memmap::Demand);
        ensure!(tables <= most, "adding {self:?} cost {tables} table pages");
        ensure_eq!(*after, self.on_top_of(*before, tables), "pages after adding {self:?}");
        Ok(tables)
    }
}

#[cfg(test)]
mod tests {
    use super::Added;
    use hotmap_client::geometry::{GIB, Granule, MIB};
    use hotmap_client::state::{Memmap, Pages};

    const BEFORE: Pages = Pages {
        present: 262_144,
        free: 257_364,
        allocated: 256,
        memmap_self: 0,
        memmap_ram: 4096,
        tables: 12,
        reserved: 416,
    };

    fn added(memmap: Memmap, online: bool) -> Added {
        Added { granule: Granule::K4, size: GIB, memmap, online }
    }

    /// I6 holds after every way of adding: the sum of all uses is what is present.
    #[test]
    fn the_arithmetic_conserves_pages() {
        for memmap in [Memmap::SelfHosted, Memmap::Ram, Memmap::Demand] {
            for online in [true, false] {
                let after = added(memmap, online).on_top_of(BEFORE, 1);
                assert_eq!(after.present, after.somewhere(), "{memmap:?} {online}");
            }
        }
    }

    #[test]
    fn a_self_hosted_gigabyte_costs_boot_ram_its_tables_only() {
        let after = added(Memmap::SelfHosted, true).on_top_of(BEFORE, 1);
        assert_eq!(after.memmap_self, 4096);
        assert_eq!(after.free - BEFORE.free, 262_144 - 4096 - 1);
        assert_eq!(added(Memmap::SelfHosted, true).check(&BEFORE, &after), Ok(1));
    }

    #[test]
    fn one_page_too_few_and_three_tables_are_noticed() {
        let mut after = added(Memmap::SelfHosted, true).on_top_of(BEFORE, 0);
        after.free -= 1;
        after.allocated += 1;
        assert!(added(Memmap::SelfHosted, true).check(&BEFORE, &after).is_err());
        let after = added(Memmap::SelfHosted, true).on_top_of(BEFORE, 3);
        assert!(added(Memmap::SelfHosted, true).check(&BEFORE, &after).is_err());
    }

    #[test]
    fn the_memmap_at_the_other_granules() {
        let pages = |granule, size| Added { granule, size, ..added(Memmap::SelfHosted, true) }.memmap_pages();
        assert_eq!(pages(Granule::K16, 256 * MIB), 64);
        assert_eq!(pages(Granule::K64, GIB), 16);
    }
}
