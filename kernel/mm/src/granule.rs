//! The translation granules, as one table of values: everything that differs between 4K, 16K and 64K pages is a field of
//! [`Geometry`], and the rest of the model takes a [`Granule`] or finds it in what it works on. One copy of the model serves
//! all three.
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
use core::ops::Deref;

/// The size of a `struct Page` in bytes.
pub const PAGE_BYTES: u64 = 64;
/// log2 of [`PAGE_BYTES`].
pub const PAGE_BYTES_SHIFT: u32 = 6;
/// log2 of a subsection, the unit in which memory can be present: 2 MiB (Linux: `SUBSECTION_SHIFT`).
pub const SUBSECTION_SHIFT: u32 = 21;
/// The last level of every walk; its entries map pages.
pub const LAST_LEVEL: u8 = 3;
/// An upper bound of the orders that a block has, over all granules.
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
    /// Its geometry.
    pub const fn granule(self) -> Granule {
        match self {
            Self::K4 => Granule::K4,
            Self::K16 => Granule::K16,
            Self::K64 => Granule::K64,
        }
    }
    /// The page size in bytes.
    pub const fn bytes(self) -> u64 {
        self.granule().0.page_size
    }
}

impl fmt::Display for GranuleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A granule: one row of the table, by reference, so that a copy costs a register and a field costs a load.
#[derive(Clone, Copy)]
pub struct Granule(&'static Geometry);

impl Granule {
    /// 4 KiB pages.
    pub const K4: Self = Self(&GEOMETRIES[0]);
    /// 16 KiB pages.
    pub const K16: Self = Self(&GEOMETRIES[1]);
    /// 64 KiB pages.
    pub const K64: Self = Self(&GEOMETRIES[2]);
    /// Every granule, smallest first.
    pub const ALL: [Self; 3] = [Self::K4, Self::K16, Self::K64];
}

impl Deref for Granule {
    type Target = Geometry;
    #[inline(always)]
    fn deref(&self) -> &'static Geometry {
        self.0
    }
}

impl PartialEq for Granule {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl fmt::Debug for Granule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.kind, f)
    }
}

static GEOMETRIES: [Geometry; 3] = [
    Shape {
        kind: GranuleKind::K4,
        page_shift: 12,
        leaf_levels: [false, true, true, true],
        contiguous: [1, 1, 16, 16],
        section_shift: 27,
        largest_compound_shift: 30,
        compound_shifts: [16, 21, 25, 30],
    }
    .geometry(),
    Shape {
        kind: GranuleKind::K16,
        page_shift: 14,
        leaf_levels: [false, false, true, true],
        contiguous: [1, 1, 32, 128],
        section_shift: 27,
        largest_compound_shift: 30,
        compound_shifts: [21, 25, 30, 36],
    }
    .geometry(),
    Shape {
        kind: GranuleKind::K64,
        page_shift: 16,
        leaf_levels: [false, false, true, true],
        contiguous: [1, 1, 32, 32],
        section_shift: 29,
        largest_compound_shift: 34,
        compound_shifts: [21, 29, 34, 42],
    }
    .geometry(),
];

/// What is chosen for a granule, by the architecture or by the model; all else follows from it.
struct Shape {
    kind: GranuleKind,
    page_shift: u32,
    leaf_levels: [bool; LEVELS],
    contiguous: [u64; LEVELS],
    section_shift: u32,
    largest_compound_shift: u32,
    compound_shifts: [u32; 4],
}

const LEVELS: usize = LAST_LEVEL as usize + 1;

/// Everything that differs between the granules. Sizes are in bytes where no other unit is named.
#[derive(Debug)]
pub struct Geometry {
    /// Which granule it is.
    pub kind: GranuleKind,
    /// log2 of the page size.
    pub page_shift: u32,
    /// The page size.
    pub page_size: u64,
    /// Bits of a virtual address that are translated.
    pub va_bits: u32,
    /// Bits of an output address.
    pub pa_bits: u32,
    /// The bits of a descriptor that hold an output address or a table's.
    pub address_mask: u64,
    /// The level at which a walk starts.
    pub start_level: u8,
    /// log2 of what one entry of level 0, 1, 2, 3 covers; 63 for a level above the start level whose entry would cover more.
    pub level_shifts: [u32; LEVELS],
    /// How many entries a table of level 0, 1, 2, 3 has; 1 above the start level.
    pub table_entries: [usize; LEVELS],
    /// Whether level 0, 1, 2, 3 may hold a leaf (Arm ARM D8.3, "Block descriptor and Page descriptor formats").
    pub leaf_levels: [bool; LEVELS],
    /// How many adjacent entries of level 0, 1, 2, 3 the Contiguous bit joins; 1 where it is not used
    /// (Arm ARM, "The Contiguous bit"; at level 1 of 4K it could join 16 blocks of 1 GiB).
    pub contiguous: [u64; LEVELS],
    /// The size of a level 2 block (Linux: `PMD_SIZE`), the largest leaf that maps memmap.
    pub pmd_size: u64,
    /// log2 of the size of a section, which is also the memory block.
    pub section_shift: u32,
    /// The size of a section.
    pub section_size: u64,
    /// The pages of a section.
    pub section_pages: u64,
    /// log2 of the pages of a section: the buddy allocator's largest order.
    pub section_order: u32,
    /// The size of a section's memmap, 64 bytes for each page.
    pub section_memmap: u64,
    /// The subsections of a section.
    pub subsections: usize,
    /// The pages of a subsection.
    pub subsection_pages: u64,
    /// log2 of the pages of a subsection.
    pub subsection_order: u32,
    /// log2 of the size of the largest compound page that the granule can have: the alignment of `first_pfn` and of the
    /// linear map's physical base, so that virtual and physical addresses are congruent for every block and hint.
    pub largest_compound_shift: u32,
    /// log2 of every size that a compound page can have, ascending: the blocks of level 2 and 1 (Linux: PMD and PUD), and
    /// the contiguous runs at level 3 and 2. At 16K and 64K level 1 has no blocks with 48 bits: such a compound page is
    /// mapped by blocks of level 2.
    pub compound_shifts: [u32; 4],
}

impl Shape {
    const fn geometry(self) -> Geometry {
        let (va_bits, pa_bits) = (48, 48);
        let index_bits = self.page_shift - 3;
        let (mut level_shifts, mut table_entries, mut start_level) = ([0; LEVELS], [1; LEVELS], LAST_LEVEL);
        let mut level = LAST_LEVEL;
        loop {
            let shift = self.page_shift + (LAST_LEVEL - level) as u32 * index_bits;
            let at = level as usize;
            level_shifts[at] = if shift < 63 { shift } else { 63 };
            if shift < va_bits {
                let left = va_bits - shift;
                table_entries[at] = 1 << if left < index_bits { left } else { index_bits };
                start_level = level;
            }
            if level == 0 {
                break;
            }
            level -= 1;
        }
        let section_order = self.section_shift - self.page_shift;
        let subsection_order = SUBSECTION_SHIFT - self.page_shift;
        Geometry {
            kind: self.kind,
            page_shift: self.page_shift,
            page_size: 1 << self.page_shift,
            va_bits,
            pa_bits,
            address_mask: (1 << pa_bits) - (1 << self.page_shift),
            start_level,
            level_shifts,
            table_entries,
            leaf_levels: self.leaf_levels,
            contiguous: self.contiguous,
            pmd_size: 1 << level_shifts[2],
            section_shift: self.section_shift,
            section_size: 1 << self.section_shift,
            section_pages: 1 << section_order,
            section_order,
            section_memmap: PAGE_BYTES << section_order,
            subsections: 1 << (self.section_shift - SUBSECTION_SHIFT),
            subsection_pages: 1 << subsection_order,
            subsection_order,
            largest_compound_shift: self.largest_compound_shift,
            compound_shifts: self.compound_shifts,
        }
    }
}

impl Geometry {
    /// log2 of the bytes that one entry of `level` covers.
    #[inline(always)]
    pub const fn level_shift(&self, level: u8) -> u32 {
        self.level_shifts[level as usize]
    }
    /// How many entries a table of `level` has.
    #[inline(always)]
    pub const fn entries(&self, level: u8) -> usize {
        self.table_entries[level as usize]
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
    /// Whether tables of pages are shared between compound pages of devices: one serves no more than a section's memmap.
    pub const fn shares_tables(&self) -> bool {
        self.section_memmap >= 1 << self.level_shift(LAST_LEVEL - 1)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec::Vec;

    // Golden values, from the Arm ARM's tables (D8.2.8 to D8.2.10) and arm64 Linux's documentation, not from the code.
    #[test]
    fn levels_and_blocks_are_the_architectures() {
        let shifts = |g: Granule| [0, 1, 2, 3].map(|l| g.level_shift(l));
        assert_eq!(shifts(Granule::K4), [39, 30, 21, 12]);
        assert_eq!(shifts(Granule::K16), [47, 36, 25, 14]);
        assert_eq!(shifts(Granule::K64)[1..], [42, 29, 16]);
        assert_eq!(Granule::K4.start_level, 0);
        assert_eq!(Granule::K16.start_level, 0);
        assert_eq!(Granule::K64.start_level, 1);
        assert_eq!(Granule::K4.entries(0), 512);
        assert_eq!(Granule::K16.entries(0), 2);
        assert_eq!(Granule::K64.entries(1), 64);
        assert_eq!(Granule::K64.entries(3), 8192);
    }

    #[test]
    fn contiguous_runs_have_the_architectures_sizes() {
        let runs = |g: Granule| [g.contiguous_bytes(3), g.contiguous_bytes(2), g.contiguous_bytes(1)];
        assert_eq!(runs(Granule::K4), [Some(64 << 10), Some(32 << 20), None]);
        assert_eq!(runs(Granule::K16), [Some(2 << 20), Some(1 << 30), None]);
        assert_eq!(runs(Granule::K64), [Some(2 << 20), Some(16 << 30), None]);
    }

    // The page sizes that arm64 Linux's Documentation/mm/hugetlbpage lists for 4K, 16K and 64K.
    #[test]
    fn huge_pages_have_the_sizes_of_blocks_and_contiguous_runs() {
        let sizes = |g: Granule| g.huge_shifts().map(|shift| 1u64 << shift).collect::<Vec<_>>();
        assert_eq!(sizes(Granule::K4), [64 << 10, 2 << 20, 32 << 20, 1 << 30]);
        assert_eq!(sizes(Granule::K16), [2 << 20, 32 << 20, 1 << 30]);
        assert_eq!(sizes(Granule::K64), [2 << 20, 512 << 20, 16 << 30]);
        for g in [Granule::K4, Granule::K16, Granule::K64] {
            assert!(g.huge_shifts().count() <= MAX_HUGE_SIZES);
        }
    }

    #[test]
    fn compound_pages_are_as_large_as_blocks_and_contiguous_runs() {
        const K: u64 = 1 << 10;
        const M: u64 = 1 << 20;
        const G: u64 = 1 << 30;
        let sizes = |g: Granule| g.compound_shifts.map(|shift| 1u64 << shift);
        assert_eq!(sizes(Granule::K4), [64 * K, 2 * M, 32 * M, G]);
        assert_eq!(sizes(Granule::K16), [2 * M, 32 * M, G, 64 * G]);
        assert_eq!(sizes(Granule::K64), [2 * M, 512 * M, 16 * G, 4096 * G]);
    }

    #[test]
    fn sections_have_the_sizes_that_the_documents_promise() {
        assert_eq!((Granule::K4.section_size, Granule::K4.section_memmap), (128 << 20, 2 << 20));
        assert_eq!((Granule::K16.section_size, Granule::K16.section_memmap), (128 << 20, 512 << 10));
        assert_eq!((Granule::K64.section_size, Granule::K64.section_memmap), (512 << 20, 512 << 10));
        assert_eq!(
            (Granule::K4.subsections, Granule::K16.subsections, Granule::K64.subsections),
            (64, 64, 256)
        );
        assert!(
            [Granule::K4.section_order, Granule::K16.section_order, Granule::K64.section_order]
                .iter()
                .all(|o| (*o as usize) < MAX_ORDERS)
        );
        assert_eq!(GranuleKind::from_name("64K"), Some(GranuleKind::K64));
        assert_eq!(GranuleKind::from_name("8k"), None);
    }
}
