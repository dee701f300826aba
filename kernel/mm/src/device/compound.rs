//! How a device's pages are grouped (Linux: `vmemmap_shift`), and whether the struct pages of a group share memory.
//!
//! A compound page of `1 << order` pages has one struct page that says something, its head. When its memmap is more than
//! two pages, only the first of them (the head's) and one page of tails have memory of their own: all other tails say the
//! same, so they are that one page, mapped again and again (Linux: `vmemmap_can_optimize`).

use core::fmt;

use crate::error::{DeviceError, Result};
use crate::frame::altmap::Altmap;
use crate::frame::page::PAGE_BYTES;
use crate::granule::Granule;
use crate::pfn::PfnRange;
use crate::vmemmap::sharing::pages_of_tails;

/// Which compound pages share a page of tails.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TailScope {
    /// The tails of one compound page, as in Linux.
    #[default]
    Page,
    /// The tails of all compound pages of a device. A tail knows its order and where it is, which is all that finding its
    /// head takes, so one page is right for all of them.
    Device,
}

impl TailScope {
    /// The word of commands.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Device => "device",
        }
    }
    /// The scope that `name` names.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Page, Self::Device].into_iter().find(|scope| scope.name() == name)
    }
}

/// How the usable pages of a device are grouped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Compound {
    order: u32,
    tails: TailScope,
}

impl Compound {
    /// Page by page.
    pub const PAGE: Self = Self { order: 0, tails: TailScope::Page };

    /// Compound pages of `size` bytes, whose tails are shared as `tails` says, if they are.
    ///
    /// # Errors
    /// `DeviceError::CompoundSize` when the granule has none of that size.
    pub fn new(g: Granule, size: u64, tails: TailScope) -> Result<Self> {
        let shift = size.is_power_of_two().then(|| size.trailing_zeros());
        match shift {
            Some(shift) if shift == g.page_shift || g.compound_shifts.contains(&shift) => {
                Ok(Self { order: shift - g.page_shift, tails })
            }
            _ => Err(DeviceError::CompoundSize { size, granule: g.kind }.into()),
        }
    }
    /// log2 of the pages of a compound page; 0 for page by page.
    pub const fn order(self) -> u32 {
        self.order
    }
    /// Which compound pages share a page of tails.
    pub const fn tails(self) -> TailScope {
        self.tails
    }
    /// The bytes of a compound page.
    pub fn bytes(self, g: Granule) -> u64 {
        g.page_size << self.order
    }
    /// Whether a compound page's memmap is more than two pages: else there is nothing to share.
    pub fn can_share(self, g: Granule) -> bool {
        pages_of_tails(self.order, PAGE_BYTES, g.page_size) > 0
    }
    /// The pages of memmap that `compounds` compound pages take that share.
    pub const fn memmap_pages(self, compounds: u64) -> u64 {
        match self.tails {
            TailScope::Page => 2 * compounds,
            TailScope::Device => compounds + 1,
        }
    }

    /// The altmap of a device whose compound pages share: after `reserve` pages of its driver's, exactly what populating
    /// takes. What is set aside is described page by page, up to the next compound page; the more that is, the more it takes.
    /// `None` when no compound page is left.
    pub(super) fn altmap(self, g: Granule, pages: PfnRange, reserve: u64) -> Option<Altmap> {
        let mut usable = (pages.start + reserve).align_up(self.order);
        while usable < pages.end {
            let aside = PfnRange { start: pages.start, end: usable };
            let compounds = (pages.end - usable) >> self.order;
            let more = self.memmap_pages(compounds);
            let altmap = Altmap::for_parts(g, aside.start, aside.sections(g), reserve, more);
            let needed = (pages.start + altmap.offset()).align_up(self.order);
            if needed <= usable {
                return Some(altmap);
            }
            usable = needed;
        }
        None
    }
}

/// Whether the struct pages of a device's compound pages share memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dedup {
    /// They do.
    Shared,
    /// They do not, and why.
    No(NoDedup),
}

/// Why struct pages do not share memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoDedup {
    /// There are no compound pages.
    PageGeometry,
    /// A compound page's memmap is two pages or less.
    SmallMemmap,
    /// The memory is in a hole of a boot section, whose memmap is there since boot.
    BootSection,
}

impl fmt::Display for NoDedup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PageGeometry => "its pages are single pages",
            Self::SmallMemmap => "the memmap of a compound page is two pages or less",
            Self::BootSection => "it is in a boot section, whose memmap is there since boot",
        })
    }
}

/// `yes`, or `no: ` and why.
impl fmt::Display for Dedup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shared => f.write_str("yes"),
            Self::No(why) => write!(f, "no: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::granule::Granule;

    const M: u64 = 1 << 20;

    #[test]
    fn only_the_granules_sizes_are_compound_pages() {
        let order = |size| Compound::new(Granule::K4, size, TailScope::Page).map(Compound::order);
        assert_eq!([4096, 65536, 2 * M, 32 * M, 1024 * M].map(order), [0, 4, 9, 13, 18].map(Ok));
        for size in [0, 1, 8192, 3 * M, 4 * M, 1 << 63] {
            assert_eq!(
                order(size),
                Err(DeviceError::CompoundSize { size, granule: Granule::K4.kind }.into())
            );
        }
    }

    /// 64 bytes for each page: 2 MiB have 8 pages of memmap at 4K, 2 KiB at 64K.
    #[test]
    fn a_memmap_of_two_pages_or_less_is_not_shared() {
        fn shares(g: Granule) -> [bool; 5] {
            let mut sizes = [g.page_size; 5];
            sizes[1..].copy_from_slice(&g.compound_shifts.map(|shift| 1 << shift));
            sizes.map(|size| {
                Compound::new(g, size, TailScope::Page).is_ok_and(|compound| compound.can_share(g))
            })
        }
        assert_eq!(shares(Granule::K4), [false, false, true, true, true]);
        assert_eq!(shares(Granule::K16), [false, false, true, true, true]);
        assert_eq!(shares(Granule::K64), [false, false, true, true, true]);
    }
}
