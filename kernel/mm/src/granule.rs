//! The translation granules, as one table: everything that differs between 4K, 16K and 64K pages is a field of
//! [`Geometry`], and every other room of the model is written once, over [`Granule`].
//!
//! Arm ARM (DDI 0487) D8.2 "Translation process": a table fills one granule, so each level resolves
//! `page_shift - 3` bits; the first level resolves what is left of the virtual address size.
//!
//! ```text
//!  48-bit VA      level 0        level 1        level 2        level 3
//!  4K      [47:39] 512 GiB  [38:30] 1 GiB  [29:21] 2 MiB   [20:12] 4 KiB
//!  16K     [47]    128 TiB  [46:36] 64 GiB [35:25] 32 MiB  [24:14] 16 KiB
//!  64K       -              [47:42] 4 TiB  [41:29] 512 MiB [28:16] 64 KiB
//! ```

use core::fmt;

/// log2 of a subsection, the unit in which memory can be present: 2 MiB (Linux: `SUBSECTION_SHIFT`).
pub const SUBSECTION_SHIFT: u32 = 21;
/// The last level of every walk; its entries map pages.
pub const LAST_LEVEL: u8 = 3;
/// More orders than any granule's block has.
pub const MAX_ORDERS: usize = 16;
/// The most sizes of huge pages that a granule has.
pub const MAX_HUGE_SIZES: usize = 4;

/// Which translation granule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GranuleKind {
    /// 4 KiB pages.
    K4,
    /// 16 KiB pages.
    K16,
    /// 64 KiB pages.
    K64,
}

impl GranuleKind {
    /// Every granule, smallest first.
    pub const ALL: [Self; 3] = [Self::K4, Self::K16, Self::K64];

    /// The boot argument's word for it: `4k`, `16k`, `64k`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::K4 => "4k",
            Self::K16 => "16k",
            Self::K64 => "64k",
        }
    }
    /// The granule that `name` names, upper or lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
    }
    /// Its row of the table.
    pub const fn geometry(self) -> &'static Geometry {
        match self {
            Self::K4 => &G4K::GEOMETRY,
            Self::K16 => &G16K::GEOMETRY,
            Self::K64 => &G64K::GEOMETRY,
        }
    }
    /// The page size in bytes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::K4 => 1 << 12,
            Self::K16 => 1 << 14,
            Self::K64 => 1 << 16,
        }
    }
}

impl fmt::Display for GranuleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One row of the table: what the architecture and the model fix for a granule.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// log2 of the page size.
    pub page_shift: u32,
    /// Bits of a virtual address that are translated.
    pub va_bits: u32,
    /// Bits of an output address.
    pub pa_bits: u32,
    /// Whether level 0, 1, 2, 3 may hold a leaf (Arm ARM D8.3, "Block descriptor and Page descriptor formats").
    pub leaf_levels: [bool; 4],
    /// How many adjacent entries of level 0, 1, 2, 3 the Contiguous bit joins; 1 where it is not used
    /// (Arm ARM, "The Contiguous bit"; at level 1 of 4K it could join 16 blocks of 1 GiB).
    pub contiguous: [u64; 4],
    /// log2 of a section, which is also the memory block.
    pub section_shift: u32,
    /// log2 of the largest compound page that the granule can have: the alignment of `first_pfn` and of the linear
    /// map's physical base, so that virtual and physical addresses are congruent for every block and hint.
    pub largest_compound_shift: u32,
    /// log2 of every size that a compound page can have, ascending: the blocks of level 2 and 1 (Linux: PMD and PUD), and
    /// the contiguous runs at level 3 and 2. At 16K and 64K nothing is mapped by a block of level 1 with 48 bits: such a
    /// compound page is served by blocks of level 2.
    pub compound_shifts: [u32; 4],
}

impl Geometry {
    /// log2 of the bytes that one entry of `level` covers.
    pub const fn level_shift(&self, level: u8) -> u32 {
        self.page_shift + (LAST_LEVEL - level) as u32 * (self.page_shift - 3)
    }
    /// The level at which a walk starts.
    pub const fn start_level(&self) -> u8 {
        let mut level = LAST_LEVEL;
        while self.level_shift(level) + self.page_shift - 3 < self.va_bits {
            level -= 1;
        }
        level
    }
    /// How many entries a table of `level` has.
    pub const fn entries(&self, level: u8) -> usize {
        let full = self.page_shift - 3;
        let left = self.va_bits - self.level_shift(level);
        1 << if left < full { left } else { full }
    }
    /// log2 of the sizes of huge pages, ascending: of the compound pages, those that memory can be congruent with (arm64
    /// Linux: `arch/arm64/mm/hugetlbpage.c`, `hugetlbpage_init`).
    pub fn huge_shifts(&self) -> impl Iterator<Item = u32> + use<> {
        let largest = self.largest_compound_shift;
        self.compound_shifts.into_iter().filter(move |shift| *shift <= largest)
    }
    /// The bytes that a run of contiguous entries at `level` covers, if the hint exists there.
    #[inline(always)]
    pub const fn contiguous_bytes(&self, level: u8) -> Option<u64> {
        match self.contiguous[level as usize] {
            1 => None,
            entries => Some(entries << self.level_shift(level)),
        }
    }
}

/// A granule as a type: the model is compiled once for each, so that the inner loops have constants.
pub trait Granule: Copy + Send + Sync + 'static {
    /// Which one it is.
    const KIND: GranuleKind;
    /// Its row of the table.
    const GEOMETRY: Geometry;
    /// The level at which a walk starts.
    const START_LEVEL: u8 = Self::GEOMETRY.start_level();
    /// log2 of the page size.
    const SHIFT: u32 = Self::GEOMETRY.page_shift;
    /// The page size in bytes.
    const SIZE: u64 = 1 << Self::SHIFT;
    /// The bytes of a section (and memory block).
    const SECTION_SIZE: u64 = 1 << Self::GEOMETRY.section_shift;
    /// The pages of a section (and memory block).
    const SECTION_PAGES: u64 = Self::SECTION_SIZE >> Self::SHIFT;
    /// The order of a whole block: the buddy allocator's largest.
    const BLOCK_ORDER: u32 = Self::GEOMETRY.section_shift - Self::SHIFT;
    /// The order of a subsection.
    const SUBSECTION_ORDER: u32 = SUBSECTION_SHIFT - Self::SHIFT;
    /// The pages of a subsection.
    const SUBSECTION_PAGES: u64 = 1 << Self::SUBSECTION_ORDER;
    /// The subsections of a section.
    const SUBSECTIONS: usize = 1 << (Self::GEOMETRY.section_shift - SUBSECTION_SHIFT);
    /// The bytes of a section's memmap, 64 for each page.
    const SECTION_MEMMAP: u64 = Self::SECTION_PAGES * 64;
    /// The bytes of the smallest block (a level 2 leaf).
    const BLOCK_SIZE: u64 = 1 << Self::GEOMETRY.level_shift(2);
    /// log2 of the sizes of compound pages, ascending.
    const COMPOUND_SHIFTS: [u32; 4] = Self::GEOMETRY.compound_shifts;
}

/// The 4K granule.
#[derive(Clone, Copy, Debug)]
pub struct G4K;
/// The 16K granule.
#[derive(Clone, Copy, Debug)]
pub struct G16K;
/// The 64K granule.
#[derive(Clone, Copy, Debug)]
pub struct G64K;

impl Granule for G4K {
    const KIND: GranuleKind = GranuleKind::K4;
    const GEOMETRY: Geometry = Geometry {
        page_shift: 12,
        va_bits: 48,
        pa_bits: 48,
        leaf_levels: [false, true, true, true],
        contiguous: [1, 1, 16, 16],
        section_shift: 27,
        largest_compound_shift: 30,
        compound_shifts: [16, 21, 25, 30],
    };
}

impl Granule for G16K {
    const KIND: GranuleKind = GranuleKind::K16;
    const GEOMETRY: Geometry = Geometry {
        page_shift: 14,
        va_bits: 48,
        pa_bits: 48,
        leaf_levels: [false, false, true, true],
        contiguous: [1, 1, 32, 128],
        section_shift: 27,
        largest_compound_shift: 30,
        compound_shifts: [21, 25, 30, 36],
    };
}

impl Granule for G64K {
    const KIND: GranuleKind = GranuleKind::K64;
    const GEOMETRY: Geometry = Geometry {
        page_shift: 16,
        va_bits: 48,
        pa_bits: 48,
        leaf_levels: [false, false, true, true],
        contiguous: [1, 1, 32, 32],
        section_shift: 29,
        largest_compound_shift: 34,
        compound_shifts: [21, 29, 34, 42],
    };
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    // Golden values, from the Arm ARM's tables (D8.2.8 to D8.2.10) and arm64 Linux's documentation, not from the code.
    #[test]
    fn levels_and_blocks_are_the_architectures() {
        let shifts = |g: Geometry| [0, 1, 2, 3].map(|l| g.level_shift(l));
        assert_eq!(shifts(G4K::GEOMETRY), [39, 30, 21, 12]);
        assert_eq!(shifts(G16K::GEOMETRY), [47, 36, 25, 14]);
        assert_eq!(shifts(G64K::GEOMETRY)[1..], [42, 29, 16]);
        assert_eq!(G4K::GEOMETRY.start_level(), 0);
        assert_eq!(G16K::GEOMETRY.start_level(), 0);
        assert_eq!(G64K::GEOMETRY.start_level(), 1);
        assert_eq!(G4K::GEOMETRY.entries(0), 512);
        assert_eq!(G16K::GEOMETRY.entries(0), 2);
        assert_eq!(G64K::GEOMETRY.entries(1), 64);
        assert_eq!(G64K::GEOMETRY.entries(3), 8192);
    }

    #[test]
    fn contiguous_runs_have_the_architectures_sizes() {
        let runs = |g: Geometry| [g.contiguous_bytes(3), g.contiguous_bytes(2), g.contiguous_bytes(1)];
        assert_eq!(runs(G4K::GEOMETRY), [Some(64 << 10), Some(32 << 20), None]);
        assert_eq!(runs(G16K::GEOMETRY), [Some(2 << 20), Some(1 << 30), None]);
        assert_eq!(runs(G64K::GEOMETRY), [Some(2 << 20), Some(16 << 30), None]);
    }

    // The page sizes that arm64 Linux's Documentation/mm/hugetlbpage lists for 4K, 16K and 64K.
    #[test]
    fn huge_pages_have_the_sizes_of_blocks_and_contiguous_runs() {
        let sizes = |g: Geometry| g.huge_shifts().map(|shift| 1u64 << shift).collect::<Vec<_>>();
        assert_eq!(sizes(G4K::GEOMETRY), [64 << 10, 2 << 20, 32 << 20, 1 << 30]);
        assert_eq!(sizes(G16K::GEOMETRY), [2 << 20, 32 << 20, 1 << 30]);
        assert_eq!(sizes(G64K::GEOMETRY), [2 << 20, 512 << 20, 16 << 30]);
        for g in [G4K::GEOMETRY, G16K::GEOMETRY, G64K::GEOMETRY] {
            assert!(g.huge_shifts().count() <= MAX_HUGE_SIZES);
        }
    }

    #[test]
    fn compound_pages_are_as_large_as_blocks_and_contiguous_runs() {
        const K: u64 = 1 << 10;
        const M: u64 = 1 << 20;
        const G: u64 = 1 << 30;
        let sizes = |g: Geometry| g.compound_shifts.map(|shift| 1u64 << shift);
        assert_eq!(sizes(G4K::GEOMETRY), [64 * K, 2 * M, 32 * M, G]);
        assert_eq!(sizes(G16K::GEOMETRY), [2 * M, 32 * M, G, 64 * G]);
        assert_eq!(sizes(G64K::GEOMETRY), [2 * M, 512 * M, 16 * G, 4096 * G]);
    }

    #[test]
    fn sections_have_the_sizes_that_the_documents_promise() {
        assert_eq!((G4K::SECTION_SIZE, G4K::SECTION_MEMMAP), (128 << 20, 2 << 20));
        assert_eq!((G16K::SECTION_SIZE, G16K::SECTION_MEMMAP), (128 << 20, 512 << 10));
        assert_eq!((G64K::SECTION_SIZE, G64K::SECTION_MEMMAP), (512 << 20, 512 << 10));
        assert_eq!((G4K::SUBSECTIONS, G16K::SUBSECTIONS, G64K::SUBSECTIONS), (64, 64, 256));
        assert!(
            [G4K::BLOCK_ORDER, G16K::BLOCK_ORDER, G64K::BLOCK_ORDER]
                .iter()
                .all(|o| (*o as usize) < MAX_ORDERS)
        );
        assert_eq!(GranuleKind::from_name("64K"), Some(GranuleKind::K64));
        assert_eq!(GranuleKind::from_name("8k"), None);
    }
}
