//! **Host model** of x86-64 (Linux: arch/x86/mm/init_64.c): 2 MiB blocks, from the altmap if there is one.
//!
//! - With an altmap, a block that it has no room for is an error: no fallback. Without one, 2 MiB of RAM that are not to be
//!   had in one piece become base pages, with one warning.
//! - Base pages come from RAM only, so a CPU without PSE (no 2 MiB pages) refuses an altmap.
//! - Free gives blocks back to where they came from, and the tables that are left empty; the tables that the PGD points to
//!   stay, as Linux keeps them with four levels. (Linux marks freed struct pages with 0xfd and looks for the last; the
//!   model asks the sections.)
//!
//! Four levels, 4 KiB pages, 128 MiB sections: a section's memmap is one block. Entries: Intel SDM, volume 3A, 4.5 "4-level
//! paging and 5-level paging".
//! ```text
//!  PML4E, PDPTE, PDE -> table   _PAGE_TABLE          0x67   P RW US A D
//!  PDE that maps 2 MiB          PAGE_KERNEL_LARGE   0x1e3   P RW A D PS G, and XD (bit 63)
//!  PTE that maps 4 KiB          PAGE_KERNEL         0x163   P RW A D G, and XD
//! ```

use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::frame::altmap::Altmap;

use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::host::Host;
use crate::tables::{Entry, Format, Level, Tables};
use crate::{Architecture, Leaf};

// Bits of an entry (SDM 4.5, the tables of entry formats).
const P: u64 = 1 << 0;
const RW: u64 = 1 << 1;
const US: u64 = 1 << 2;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
/// Page size, in an entry above the last level: maps a page.
const PS: u64 = 1 << 7;
const G: u64 = 1 << 8;
const XD: u64 = 1 << 63;
/// Bits 51:12, the address.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// The level of the page directory (Linux: PMD).
const PMD: usize = 2;
const BLOCK: u64 = 1 << 21;
const BLOCK_PAGES: u64 = BLOCK >> 12;

/// The warning when RAM has no 2 MiB in one piece.
pub const FALLBACK: &str = "host model: x86: vmemmap falls back to base pages";

/// x86-64's entries.
#[derive(Clone, Debug)]
pub struct X86Format;

impl Format for X86Format {
    const LEVELS: &'static [Level] = &[level(39), level(30), level(21), level(12)];
    const KEPT: usize = 2;

    fn table(_level: usize, table: PhysAddr) -> u64 {
        table.get() | P | RW | US | A | D
    }
    fn decode(level: usize, entry: u64) -> Entry {
        let address = PhysAddr::new(entry & ADDRESS);
        match entry & (P | PS) {
            _ if entry & P == 0 => Entry::Empty,
            _ if level == Tables::<Self>::LAST => Entry::Leaf(address),
            bits if bits & PS != 0 => Entry::Leaf(address),
            _ => Entry::Table(address),
        }
    }
}

const fn level(shift: u32) -> Level {
    Level { shift, bits: 9, pages: 1, empty: 0 }
}

/// What the CPU can do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cpu {
    /// It has 2 MiB pages.
    WithPse,
    /// It has not.
    WithoutPse,
}

/// The model.
#[derive(Clone)]
pub struct X86 {
    cpu: Cpu,
    tables: Tables<X86Format>,
}

impl X86 {
    /// An empty kernel page table.
    ///
    /// # Errors
    /// `Out`.
    pub fn new(host: &mut Host, cpu: Cpu) -> Result<Self> {
        Ok(Self { cpu, tables: Tables::new(host)? })
    }
    /// The tables.
    pub const fn tables(&self) -> &Tables<X86Format> {
        &self.tables
    }

    /// One 2 MiB piece of vmemmap.
    fn populate_pmd(&self, host: &mut Host, at: VirtAddr, altmap: Option<&mut Altmap>) -> Result<()> {
        let Some(slot) = self.tables.slot(host, at, PMD)? else { return Ok(()) };
        match X86Format::decode(PMD, host.read(slot)) {
            Entry::Leaf(_) => return Ok(()),
            Entry::Table(_) => {}
            Entry::Empty => {
                let has_altmap = altmap.is_some();
                match host.memmap(altmap, BLOCK_PAGES) {
                    Ok(block) => {
                        host.write(slot, block.get() | P | RW | A | D | PS | G | XD);
                        return Ok(());
                    }
                    Err(error) if has_altmap => return Err(error),
                    Err(_) => host.warn_once(FALLBACK),
                }
            }
        }
        self.base_pages(host, VirtRange { start: at, end: at + BLOCK })
    }

    fn base_pages(&self, host: &mut Host, range: VirtRange) -> Result<()> {
        self.tables.base_pages(host, range, None, |page| page.get() | P | RW | A | D | G | XD)
    }
}

impl Architecture for X86 {
    const NAME: &'static str = "host model: x86";
    const GEOMETRY: Geometry = Geometry {
        page_shift: 12,
        section_shift: 27,
        physical_bits: 46,
        vmemmap: VirtAddr::new(0xffff_ea00_0000_0000),
    };

    fn populate(
        &mut self,
        host: &mut Host,
        memmap: VirtRange,
        mut altmap: Option<&mut Altmap>,
    ) -> Result<()> {
        match self.cpu {
            Cpu::WithoutPse if altmap.is_some() => return Err(Error::NoPse),
            Cpu::WithoutPse => return self.base_pages(host, memmap),
            Cpu::WithPse => {}
        }
        let mut at = memmap.start;
        while at < memmap.end {
            self.populate_pmd(host, at, altmap.as_deref_mut())?;
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
