//! **Host model** of sparc64 (Linux: arch/sparc/mm/init_64.c): 8 MiB huge entries, each of two 4 MiB hardware pages.
//!
//! - The whole memmap is 8 MiB blocks: there are no base pages, so out of 8 MiB runs is out of memory, from RAM and from an
//!   altmap alike. Linux of then had no caller with an altmap on sparc; the RFC's hook asks it, and so does the model.
//! - Linux had an empty `vmemmap_free`; the model's is the counterpart that it would have.
//!
//! Four levels of which three are used, 8 KiB pages, 1 GiB sections: a section's memmap is one block. Tables are pointed to
//! by their physical address alone. The huge entry is a TTE as the TLB wants it, in one of two formats: sun4u (UltraSPARC III
//! Cu User's Manual, "Translation Table Entry (TTE)") and, under a hypervisor, sun4v (UltraSPARC Architecture 2007, chapter
//! "Memory Management", "Translation Table Entry (TTE)"). Bit 56 is Linux's, in the bits left to software.
//! ```text
//!  sun4u   V (63), Size=4 MiB (62:61 = 11), huge (56), PA 42:13, CP (5), CV (4), P (2), W (1)      0xe1..36
//!  sun4v   V (63), huge (56), PA 55:13, CP (10), CV (9), P (8), W (6), Size=4 MiB (2:0 = 011)      0x81..743
//! ```

use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::frame::altmap::Altmap;

use crate::error::Result;
use crate::geometry::Geometry;
use crate::host::Host;
use crate::tables::{Entry, Format, Level, Tables};
use crate::{Architecture, Leaf};

const VALID: u64 = 1 << 63;
/// Linux's mark of an entry that maps memory where others point to a table (`_PAGE_PMD_HUGE`).
const HUGE: u64 = 1 << 56;
/// sun4u: 4 MiB, cacheable in the physically and the virtually indexed cache, privileged, writable.
const SUN4U: u64 = 0b11 << 61 | 1 << 5 | 1 << 4 | 1 << 2 | 1 << 1;
/// sun4v: the same.
const SUN4V: u64 = 1 << 10 | 1 << 9 | 1 << 8 | 1 << 6 | 0b011;
/// sun4v's PA 55:13; what sun4u has above its PA 42:13 is zero in the model's entries.
const ADDRESS: u64 = 0x00ff_ffff_ffff_e000;

const PMD: usize = 2;
const BLOCK: u64 = 1 << 23;
const BLOCK_PAGES: u64 = BLOCK >> 13;
/// The hardware's page behind half of a block.
const HARDWARE_PAGE: u64 = 1 << 22;

/// sparc64's entries, down to the PMD.
#[derive(Clone, Debug)]
pub struct SparcFormat;

impl Format for SparcFormat {
    const LEVELS: &'static [Level] = &[level(43), level(33), level(23)];

    fn table(_level: usize, table: PhysAddr) -> u64 {
        table.get()
    }
    fn decode(level: usize, entry: u64) -> Entry {
        match level {
            _ if entry == 0 => Entry::Empty,
            PMD if entry & VALID != 0 => Entry::Leaf(PhysAddr::new(entry & ADDRESS & !(BLOCK - 1))),
            PMD => Entry::Empty,
            _ => Entry::Table(PhysAddr::new(entry)),
        }
    }
}

const fn level(shift: u32) -> Level {
    Level { shift, bits: 10, pages: 1, empty: 0 }
}

/// Whose TTE format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tte {
    /// UltraSPARC I to IV.
    Sun4u,
    /// Under the hypervisor, UltraSPARC T1 and later.
    Sun4v,
}

/// The model.
#[derive(Clone)]
pub struct Sparc {
    tte: Tte,
    tables: Tables<SparcFormat>,
}

impl Sparc {
    /// An empty kernel page table.
    ///
    /// # Errors
    /// `Out`.
    pub fn new(host: &mut Host, tte: Tte) -> Result<Self> {
        Ok(Self { tte, tables: Tables::new(host)? })
    }
    /// The tables.
    pub const fn tables(&self) -> &Tables<SparcFormat> {
        &self.tables
    }
    /// What is loaded into the TLB for `va`: the half of the block that it lies in.
    pub const fn hardware_tte(entry: u64, va: VirtAddr) -> u64 {
        entry | va.get() & HARDWARE_PAGE
    }
}

impl Architecture for Sparc {
    const NAME: &'static str = "host model: sparc";
    const GEOMETRY: Geometry = Geometry {
        page_shift: 13,
        section_shift: 30,
        physical_bits: 42,
        vmemmap: VirtAddr::new(0x0600_0000_0000),
    };

    fn populate(
        &mut self,
        host: &mut Host,
        memmap: VirtRange,
        mut altmap: Option<&mut Altmap>,
    ) -> Result<()> {
        let format = match self.tte {
            Tte::Sun4u => SUN4U,
            Tte::Sun4v => SUN4V,
        };
        let mut at = memmap.start.align_down(BLOCK);
        while at < memmap.end {
            if let Some(slot) = self.tables.slot(host, at, PMD)?
                && SparcFormat::decode(PMD, host.read(slot)) == Entry::Empty
            {
                let block = host.memmap(altmap.as_deref_mut(), BLOCK_PAGES)?;
                host.write(slot, block.get() | VALID | HUGE | format);
            }
            at = at + BLOCK;
        }
        Ok(())
    }

    fn free(&mut self, host: &mut Host, memmap: VirtRange) {
        self.tables.free(host, memmap);
    }
    fn leaves(&self, host: &Host) -> Vec<Leaf> {
        self.tables.leaves(host)
    }
}
