//! **Host model** of s390x (Linux: arch/s390/mm/vmem.c): 1 MiB frames with EDAT1, 4 KiB pages without, both from the altmap
//! if there is one.
//!
//! - The RFC as posted asked the altmap for large frames only; its review pointed at the base pages below, which a machine
//!   without EDAT1 uses for all of its memmap. Here both ask the same function.
//! - There is no fallback from large frames to pages: out of 1 MiB runs is out of memory, with or without an altmap.
//! - Large frames are used even where vmemmap needs a part of one only. (With 256 MiB sections none is shared.)
//! - Linux had an empty `vmemmap_free` then. The model's free is what its counterpart would be: what no valid section needs
//!   goes back to where it came from, then the empty tables.
//!
//! A region-third table (16 KiB), segment tables (16 KiB), page tables (2 KiB; each takes a page here, Linux puts two in
//! one); 256 MiB sections, whose memmap is 4 MiB. Entries: z/Architecture Principles of Operation, chapter 3 "Dynamic
//! Address Translation", "Translation Tables"; there bit 0 is the most significant. The software bits are Linux's of then
//! (asm/pgtable.h), which the hardware ignores.
//! ```text
//!  region-third entry   origin, TT=01 (bits 60-61), TL=11 (62-63)      0x7        empty: I (bit 58) and TT, 0x24
//!  segment entry        origin of a page table, FC=0                   0x0        empty: I, 0x20
//!  segment entry, FC=1  1 MiB frame: FC (53), IEP (55), young, dirty,  0x3503
//!                       write and read by software
//!  page entry           IEP (55), write, read, dirty, young, present   0x13d      empty: I (bit 53), 0x400
//!                       by software
//! ```

use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::frame::altmap::Altmap;

use crate::error::Result;
use crate::geometry::Geometry;
use crate::host::Host;
use crate::tables::{Entry, Format, Level, Tables};
use crate::{Architecture, Leaf};

/// Region-third entry: table type 01, table length 11 (a whole segment table).
const REGION3: u64 = 0x7;
/// Region or segment entry: invalid (bit 58).
const INVALID: u64 = 0x20;
const REGION3_EMPTY: u64 = 0x24;
/// Segment entry: format control (bit 53), a 1 MiB frame.
const FC: u64 = 0x400;
/// Segment and page entry: instruction-execution protection (bit 55).
const IEP: u64 = 0x100;
/// Page entry: invalid (bit 53).
const PAGE_INVALID: u64 = 0x400;
/// Linux's bits in a large segment entry: dirty, young, write, read.
const SEGMENT_SOFTWARE: u64 = 0x2000 | 0x1000 | 0x2 | 0x1;
/// Linux's bits in a page entry: write, read, dirty, young, present.
const PAGE_SOFTWARE: u64 = 0x20 | 0x10 | 0x8 | 0x4 | 0x1;

const SEGMENT: usize = 1;
const FRAME: u64 = 1 << 20;
const FRAME_PAGES: u64 = FRAME >> 12;

/// s390x's entries.
#[derive(Clone, Debug)]
pub struct S390Format;

impl Format for S390Format {
    const LEVELS: &'static [Level] = &[
        Level { shift: 31, bits: 11, pages: 4, empty: REGION3_EMPTY },
        Level { shift: 20, bits: 11, pages: 4, empty: INVALID },
        Level { shift: 12, bits: 8, pages: 1, empty: PAGE_INVALID },
    ];

    fn table(level: usize, table: PhysAddr) -> u64 {
        table.get() | if level == 0 { REGION3 } else { 0 }
    }
    fn decode(level: usize, entry: u64) -> Entry {
        let address = |mask: u64| PhysAddr::new(entry & mask);
        match level {
            0 | SEGMENT if entry & INVALID != 0 => Entry::Empty,
            0 => Entry::Table(address(!0xfff)),
            SEGMENT if entry & FC != 0 => Entry::Leaf(address(!(FRAME - 1))),
            SEGMENT => Entry::Table(address(!0x7ff)),
            _ if entry & PAGE_INVALID != 0 => Entry::Empty,
            _ => Entry::Leaf(address(!0xfff)),
        }
    }
}

/// What the machine has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Machine {
    /// The enhanced-DAT facility 1: 1 MiB frames.
    WithEdat1,
    /// Pages only.
    WithoutEdat1,
}

/// The model.
#[derive(Clone)]
pub struct S390 {
    machine: Machine,
    tables: Tables<S390Format>,
}

impl S390 {
    /// An empty kernel page table.
    ///
    /// # Errors
    /// `Out`.
    pub fn new(host: &mut Host, machine: Machine) -> Result<Self> {
        Ok(Self { machine, tables: Tables::new(host)? })
    }
    /// The tables.
    pub const fn tables(&self) -> &Tables<S390Format> {
        &self.tables
    }

    /// One 1 MiB piece of vmemmap.
    fn populate_segment(&self, host: &mut Host, piece: VirtRange, altmap: Option<&mut Altmap>) -> Result<()> {
        let Some(slot) = self.tables.slot(host, piece.start, SEGMENT)? else { return Ok(()) };
        match (S390Format::decode(SEGMENT, host.read(slot)), self.machine) {
            (Entry::Leaf(_), _) => Ok(()),
            (Entry::Empty, Machine::WithEdat1) => {
                let frame = host.memmap(altmap, FRAME_PAGES)?;
                host.write(slot, frame.get() | FC | IEP | SEGMENT_SOFTWARE);
                Ok(())
            }
            // The review's point: these ask the altmap as well.
            (Entry::Empty, Machine::WithoutEdat1) | (Entry::Table(_), _) => {
                self.tables.base_pages(host, piece, altmap, |page| page.get() | IEP | PAGE_SOFTWARE)
            }
        }
    }
}

impl Architecture for S390 {
    const NAME: &'static str = "host model: s390";
    const GEOMETRY: Geometry = Geometry {
        page_shift: 12,
        section_shift: 28,
        physical_bits: 42,
        vmemmap: VirtAddr::new(0x0380_0000_0000),
    };

    fn populate(
        &mut self,
        host: &mut Host,
        memmap: VirtRange,
        mut altmap: Option<&mut Altmap>,
    ) -> Result<()> {
        let mut at = memmap.start;
        while at < memmap.end {
            let next = (at.align_down(FRAME) + FRAME).min(memmap.end);
            self.populate_segment(host, VirtRange { start: at, end: next }, altmap.as_deref_mut())?;
            at = next;
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
