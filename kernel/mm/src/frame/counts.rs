//! Pages by use, and wrong calls that were refused.

use crate::frame::page::PageKind;

/// Pages by use. The free pages are counted by the zones: see [`Frames::counts`](super::Frames::counts).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Pages of system RAM, of an offline block only those that hold its own memmap.
    pub present: u64,
    /// Pages on free lists.
    pub free: u64,
    /// The kernel's, the tenants', the pinned and the huge pages.
    pub allocated: u64,
    /// Pages that hold their own block's memmap.
    pub memmap_self: u64,
    /// Other pages that hold memmap.
    pub memmap_ram: u64,
    /// Translation tables.
    pub tables: u64,
    /// Kept from boot, and poisoned pages.
    pub reserved: u64,
}

impl Counts {
    /// The count that pages of `kind` are in; free pages, devices' pages, and pages without memory are counted elsewhere.
    pub(super) fn of_mut(&mut self, kind: PageKind) -> Option<&mut u64> {
        match kind {
            PageKind::Kernel | PageKind::Tenant | PageKind::Pinned | PageKind::HugeTlb => {
                Some(&mut self.allocated)
            }
            PageKind::MemmapSelf => Some(&mut self.memmap_self),
            PageKind::MemmapRam => Some(&mut self.memmap_ram),
            PageKind::Table => Some(&mut self.tables),
            PageKind::Reserved | PageKind::Poisoned => Some(&mut self.reserved),
            PageKind::Tail
            | PageKind::Free
            | PageKind::Hole
            | PageKind::Device
            | PageKind::DeviceMemmap
            | PageKind::Unplugged => None,
        }
    }
    /// Whether the pages are conserved (I6).
    pub const fn balance(&self) -> bool {
        self.present
            == self.free + self.allocated + self.memmap_self + self.memmap_ram + self.tables + self.reserved
    }
}

/// Wrong calls that were refused without harm: each is a mistake in the kernel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Warnings {
    /// Frees of pages that are reserved or free already.
    pub bad_free: u64,
    /// Populating or depopulating outside of vmemmap.
    pub outside_vmemmap: u64,
    /// Removing memory that is not there.
    pub bad_remove: u64,
    /// Mappings that could not be taken down because a block of them maps other memory too.
    pub stuck: u64,
    /// Altmaps that would have lost pages to padding.
    pub altmap: u64,
    /// A memmap on another node than the memory that it describes: reported once.
    pub remote_memmap: u64,
}

impl Warnings {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.bad_free + self.outside_vmemmap + self.bad_remove + self.stuck + self.altmap + self.remote_memmap
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_counts_each_warning_once() {
        let warnings = Warnings {
            bad_free: 1,
            outside_vmemmap: 10,
            bad_remove: 100,
            stuck: 1_000,
            altmap: 10_000,
            remote_memmap: 100_000,
        };
        assert_eq!(warnings.total(), 111_111);
    }

    #[test]
    fn counts_balance_when_each_present_page_has_one_use() {
        let balanced = Counts {
            present: 111_111,
            free: 1,
            allocated: 10,
            memmap_self: 100,
            memmap_ram: 1_000,
            tables: 10_000,
            reserved: 100_000,
        };
        assert!(balanced.balance());
        assert!(!Counts { present: 111_110, ..balanced }.balance());
        assert!(!Counts { free: 2, ..balanced }.balance());
    }
}
