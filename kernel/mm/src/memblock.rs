//! Boot memory: which physical ranges are RAM and what is taken of them, before a buddy allocator can run
//! (Linux: `mm/memblock.c`). Plain arrays, no pointers, so that the same value is used before and after the MMU is on.

use crate::addr::{PhysAddr, PhysRange};
use crate::error::{Error, RangeError, Resource, Result};
use crate::frame::page::PageKind;

/// How many ranges of RAM there may be.
pub const MAX_RAM: usize = 192;
/// How many taken ranges there may be.
pub const MAX_TAKEN: usize = 192;

/// A taken range and what for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    /// The bytes.
    pub range: PhysRange,
    /// The kind that its pages will carry, as [`PageKind`]; `None` marks an unused entry.
    pub kind: Option<PageKind>,
}

/// RAM and what is taken of it; both lists sorted by address.
#[derive(Clone, Debug)]
pub struct Memblock {
    ram: [PhysRange; MAX_RAM],
    ram_len: usize,
    taken: [Taken; MAX_TAKEN],
    taken_len: usize,
    kept: Kept,
}

/// The first bytes of every aligned unit of memory: nothing is allocated there.
#[derive(Clone, Copy, Debug)]
struct Kept {
    /// The unit's bytes, a power of two.
    unit: u64,
    /// The bytes kept at its start; less than the unit.
    bytes: u64,
}

impl Kept {
    /// The end of what is kept in the unit that `range` ends in, or in the one before, if the two overlap.
    fn in_the_way_of(&self, range: PhysRange) -> Option<PhysAddr> {
        let last = PhysAddr::new(range.end.get().checked_sub(1)?).align_down(self.unit);
        let kept = PhysRange::checked_new(last, self.bytes)?;
        (!kept.is_empty() && kept.overlaps(&range)).then_some(kept.end)
    }
}

impl Default for Memblock {
    fn default() -> Self {
        Self::new()
    }
}

impl Memblock {
    /// No RAM yet.
    pub const fn new() -> Self {
        let zero = PhysRange { start: PhysAddr::new(0), end: PhysAddr::new(0) };
        Self {
            ram: [zero; MAX_RAM],
            ram_len: 0,
            taken: [Taken { range: zero, kind: None }; MAX_TAKEN],
            taken_len: 0,
            kept: Kept { unit: 1, bytes: 0 },
        }
    }

    /// The ranges of RAM, ascending.
    pub fn ram(&self) -> &[PhysRange] {
        &self.ram[..self.ram_len]
    }

    /// The taken ranges, ascending by start. They may overlap: the device tree may name a byte twice.
    pub fn taken(&self) -> &[Taken] {
        &self.taken[..self.taken_len]
    }

    /// The span from the first to the last byte of RAM.
    pub fn span(&self) -> PhysRange {
        match (self.ram().first(), self.ram().last()) {
            (Some(first), Some(last)) => PhysRange { start: first.start, end: last.end },
            _ => PhysRange::default(),
        }
    }

    /// Adds a range of RAM. Ranges that touch are joined.
    ///
    /// # Errors
    /// `RangeError::Exists` when it overlaps RAM that is known, `Out` when the table is full.
    pub fn add_ram(&mut self, range: PhysRange) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        if let Some(known) = self.ram().iter().find(|r| r.overlaps(&range)) {
            return Err(RangeError::Exists { range, present: known.start }.into());
        }
        let at = self.ram().partition_point(|r| r.start < range.start);
        let joins_before = at > 0 && self.ram[at - 1].end == range.start;
        let joins_after = at < self.ram_len && self.ram[at].start == range.end;
        match (joins_before, joins_after) {
            (true, true) => {
                self.ram[at - 1].end = self.ram[at].end;
                self.ram.copy_within(at + 1..self.ram_len, at);
                self.ram_len -= 1;
                return Ok(());
            }
            (true, false) => {
                self.ram[at - 1].end = range.end;
                return Ok(());
            }
            (false, true) => {
                self.ram[at].start = range.start;
                return Ok(());
            }
            (false, false) => {}
        }
        insert(&mut self.ram, &mut self.ram_len, at, range, "RAM ranges")
    }

    /// Takes `range` out of RAM: it is not system memory.
    ///
    /// # Errors
    /// `Out` when the table is full.
    pub fn carve(&mut self, range: PhysRange) -> Result<()> {
        let Some(hit) = self.ram().iter().position(|r| r.overlaps(&range)) else { return Ok(()) };
        let whole = self.ram[hit];
        let low = PhysRange { start: whole.start, end: range.start.max(whole.start) };
        let high = PhysRange { start: range.end.min(whole.end), end: whole.end };
        match (low.is_empty(), high.is_empty()) {
            (true, true) => {
                self.ram.copy_within(hit + 1..self.ram_len, hit);
                self.ram_len -= 1;
            }
            (false, true) => self.ram[hit] = low,
            (true, false) => self.ram[hit] = high,
            (false, false) => {
                insert(&mut self.ram, &mut self.ram_len, hit + 1, high, "RAM ranges")?;
                self.ram[hit] = low;
                return Ok(());
            }
        }
        // What is left to carve begins after this one.
        self.carve(range)
    }

    /// Marks `range` as taken.
    ///
    /// # Errors
    /// `Out` when the table is full.
    pub fn reserve(&mut self, range: PhysRange, kind: PageKind) -> Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        if let Some(before) = self.taken[..self.taken_len]
            .iter_mut()
            .find(|t| t.kind == Some(kind) && t.range.end == range.start)
        {
            // Growing an entry keeps the order: entries are sorted by start.
            before.range.end = range.end;
            return Ok(());
        }
        let at = self.taken().partition_point(|t| t.range.start < range.start);
        insert(&mut self.taken, &mut self.taken_len, at, Taken { range, kind: Some(kind) }, "taken ranges")
    }

    /// From now on allocate nothing from the first `bytes` of every aligned `unit` (a power of two): memory blocks will have
    /// their own memmap there.
    pub const fn keep_starts(&mut self, unit: u64, bytes: u64) {
        self.kept = Kept { unit, bytes };
    }

    /// Takes the lowest free `size` bytes that are aligned to `align` (a power of two), and returns their address.
    /// Lowest, so that what boot allocates stays together and most boot blocks can still go offline.
    ///
    /// # Errors
    /// `Out` when there are none or the table is full.
    pub fn alloc(&mut self, size: u64, align: u64, kind: PageKind) -> Result<PhysAddr> {
        let found = self.ram().iter().find_map(|ram| self.first_fit(*ram, size, align));
        let range = found.ok_or(Error::Out(Resource::Memblock { bytes: size }))?;
        self.reserve(range, kind)?;
        Ok(range.start)
    }

    /// The first aligned address from `at` on where `size` bytes reach into nothing that is kept. None where a unit has no
    /// room for them.
    fn after_kept(&self, at: PhysAddr, size: u64, align: u64) -> Option<PhysAddr> {
        let Some(after) = self.kept.in_the_way_of(PhysRange::checked_new(at, size)?) else { return Some(at) };
        let at = after.checked_align_up(align)?;
        self.kept.in_the_way_of(PhysRange::checked_new(at, size)?).is_none().then_some(at)
    }

    fn first_fit(&self, ram: PhysRange, size: u64, align: u64) -> Option<PhysRange> {
        let mut at = self.after_kept(ram.start.checked_align_up(align)?, size, align)?;
        for taken in self.taken() {
            let candidate = PhysRange::checked_new(at, size)?;
            if taken.range.overlaps(&candidate) {
                at = self.after_kept(taken.range.end.checked_align_up(align)?, size, align)?;
            }
        }
        let candidate = PhysRange::checked_new(at, size)?;
        ram.covers(&candidate).then_some(candidate)
    }
}

fn insert<T: Copy, const N: usize>(
    list: &mut [T; N],
    len: &mut usize,
    at: usize,
    value: T,
    what: &'static str,
) -> Result<()> {
    if *len == N {
        return Err(Error::Out(Resource::Slots { what }));
    }
    list.copy_within(at..*len, at + 1);
    list[at] = value;
    *len += 1;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn r(start: u64, end: u64) -> PhysRange {
        PhysRange { start: PhysAddr::new(start), end: PhysAddr::new(end) }
    }

    #[test]
    fn ram_comes_in_any_order_and_touching_ranges_join() {
        let mut m = Memblock::new();
        m.add_ram(r(0x8000, 0x9000)).expect("free");
        m.add_ram(r(0x1000, 0x2000)).expect("free");
        m.add_ram(r(0x2000, 0x3000)).expect("free");
        assert_eq!(m.ram(), [r(0x1000, 0x3000), r(0x8000, 0x9000)]);
        assert!(matches!(m.add_ram(r(0x2fff, 0x4000)), Err(Error::Range(RangeError::Exists { .. }))));
        assert_eq!(m.span(), r(0x1000, 0x9000));
    }

    #[test]
    fn carved_memory_is_no_longer_ram() {
        let mut m = Memblock::new();
        m.add_ram(r(0x1000, 0x9000)).expect("free");
        m.carve(r(0x3000, 0x4000)).expect("room");
        assert_eq!(m.ram(), [r(0x1000, 0x3000), r(0x4000, 0x9000)]);
        m.carve(r(0, 0x5000)).expect("room");
        assert_eq!(m.ram(), [r(0x5000, 0x9000)]);
        m.carve(r(0x8000, 0xa000)).expect("room");
        m.carve(r(0x5000, 0x5000)).expect("nothing to do");
        assert_eq!(m.ram(), [r(0x5000, 0x8000)]);
    }

    #[test]
    fn a_range_between_two_joins_both() {
        let mut m = Memblock::new();
        for range in [r(0, 1), r(2, 3), r(1, 2)] {
            m.add_ram(range).expect("free");
        }
        assert_eq!(m.ram(), [r(0, 3)]);
    }

    #[test]
    fn carving_one_hole_too_many_changes_nothing() {
        let mut m = Memblock::new();
        m.add_ram(r(0, 0x10_0000)).expect("free");
        for i in 1..MAX_RAM as u64 {
            m.carve(r(i * 16, i * 16 + 8)).expect("room");
        }
        let before = m.clone();
        assert!(matches!(m.carve(r(0x8_0000, 0x8_0008)), Err(Error::Out(Resource::Slots { .. }))));
        assert_eq!(m.ram(), before.ram());
    }

    #[test]
    fn alloc_takes_the_lowest_aligned_gap_and_never_what_is_taken() {
        let mut m = Memblock::new();
        m.add_ram(r(0x1000, 0x9000)).expect("free");
        m.reserve(r(0x1800, 0x2800), PageKind::Reserved).expect("room");
        m.reserve(r(0x1000, 0x1900), PageKind::Reserved).expect("room");
        assert_eq!(m.alloc(0x1000, 0x1000, PageKind::Table), Ok(PhysAddr::new(0x3000)));
        assert_eq!(m.alloc(0x800, 0x800, PageKind::Table), Ok(PhysAddr::new(0x2800)));
        assert_eq!(m.alloc(0x2000, 0x2000, PageKind::Kernel), Ok(PhysAddr::new(0x4000)));
        assert!(matches!(m.alloc(0x8000, 0x1000, PageKind::Kernel), Err(Error::Out(_))));
        assert_eq!(m.alloc(0x3000, 0x1000, PageKind::Kernel), Ok(PhysAddr::new(0x6000)));
        assert!(matches!(m.alloc(1, 1, PageKind::Kernel), Err(Error::Out(_))));
    }

    #[test]
    fn a_full_table_is_an_error() {
        let mut m = Memblock::new();
        for i in 0..MAX_TAKEN as u64 {
            m.reserve(r(i * 16, i * 16 + 8), PageKind::Reserved).expect("room");
        }
        assert!(matches!(
            m.reserve(r(0x10000, 0x10001), PageKind::Reserved),
            Err(Error::Out(Resource::Slots { .. }))
        ));
    }
}
