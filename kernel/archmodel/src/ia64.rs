//! **Host model** of ia64 (Linux: arch/ia64/mm/discontig.c): base pages from RAM, whatever the caller wants.
//!
//! - An altmap is not supported: one warning (the RFC warns at every call), then RAM. The altmap is not touched, so the
//!   pages that the device set aside are spent for nothing; that is what the warning is about.
//! - Linux had an empty `vmemmap_free`; the model's is the counterpart that it would have.
//!
//! Three levels, 16 KiB pages, 1 GiB sections, whose memmap is 256 pages. vmemmap is the upper half of region 5's mapped
//! space. Tables are pointed to by their physical address alone. Page entry: Intel Itanium Architecture Software
//! Developer's Manual, volume 2, "Translation Insertion Format", whose first word is the "VHPT Short Format":
//! ```text
//!  p (0), ma=0 write back (4:2), a (5), d (6), pl=0 (8:7), ar=3 read write execute (11:9), ppn (49:12), ed (52)
//!  0x0010_0000_0000_0661
//! ```

use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::frame::altmap::Altmap;

use crate::error::Result;
use crate::geometry::Geometry;
use crate::host::Host;
use crate::tables::{Entry, Format, Level, Tables};
use crate::{Architecture, Leaf};

const P: u64 = 1 << 0;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
/// Access rights 3 at privilege level 0: read, write, execute.
const AR_RWX: u64 = 3 << 9;
/// Exception deferral.
const ED: u64 = 1 << 52;
/// Bits 49:12, the address.
const ADDRESS: u64 = 0x0003_ffff_ffff_f000;

/// The warning.
pub const UNSUPPORTED: &str = "host model: ia64: altmap unsupported, the memmap comes from RAM";

/// ia64's entries.
#[derive(Clone, Debug)]
pub struct Ia64Format;

impl Format for Ia64Format {
    const LEVELS: &'static [Level] = &[level(36), level(25), level(14)];

    fn table(_level: usize, table: PhysAddr) -> u64 {
        table.get()
    }
    fn decode(level: usize, entry: u64) -> Entry {
        if entry == 0 {
            Entry::Empty
        } else if level < Tables::<Self>::LAST {
            Entry::Table(PhysAddr::new(entry))
        } else {
            Entry::Leaf(PhysAddr::new(entry & ADDRESS))
        }
    }
}

const fn level(shift: u32) -> Level {
    Level { shift, bits: 11, pages: 1, empty: 0 }
}

/// The model.
#[derive(Clone)]
pub struct Ia64 {
    tables: Tables<Ia64Format>,
}

impl Ia64 {
    /// An empty kernel page table.
    ///
    /// # Errors
    /// `Out`.
    pub fn new(host: &mut Host) -> Result<Self> {
        Ok(Self { tables: Tables::new(host)? })
    }
    /// The tables.
    pub const fn tables(&self) -> &Tables<Ia64Format> {
        &self.tables
    }
}

impl Architecture for Ia64 {
    const NAME: &'static str = "host model: ia64";
    const GEOMETRY: Geometry = Geometry {
        page_shift: 14,
        section_shift: 30,
        physical_bits: 50,
        vmemmap: VirtAddr::new(0xa000_4000_0000_0000),
    };

    fn populate(&mut self, host: &mut Host, memmap: VirtRange, altmap: Option<&mut Altmap>) -> Result<()> {
        if altmap.is_some() {
            host.warn_once(UNSUPPORTED);
        }
        self.tables.base_pages(host, memmap, None, |page| page.get() | P | A | D | AR_RWX | ED)
    }

    fn free(&mut self, host: &mut Host, memmap: VirtRange) {
        self.tables.free(host, memmap);
    }
    fn leaves(&self, host: &Host) -> Vec<Leaf> {
        self.tables.leaves(host)
    }
}
