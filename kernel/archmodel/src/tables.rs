//! Host model. Multi-level tables of 64-bit entries: one walker for x86, s390, sparc and ia64, which define what the
//! entries mean.

use std::marker::PhantomData;

use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::frame::altmap::Altmap;

use crate::Leaf;
use crate::error::Result;
use crate::host::Host;
use crate::log::Use;

/// One level of a table tree.
#[derive(Clone, Copy, Debug)]
pub struct Level {
    /// log2 of the bytes that one entry covers.
    pub shift: u32,
    /// log2 of the entries of a table.
    pub bits: u32,
    /// The frames that a table takes, a power of two.
    pub pages: u64,
    /// What an entry is that maps nothing.
    pub empty: u64,
}

/// What an entry means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Nothing is mapped.
    Empty,
    /// The next level's table.
    Table(PhysAddr),
    /// Memory.
    Leaf(PhysAddr),
}

/// An architecture's entries.
pub trait Format: Clone {
    /// The levels, the root's first.
    const LEVELS: &'static [Level];
    /// How many levels keep their tables when these are empty; the root always does.
    const KEPT: usize = 1;
    /// The entry of `level` that points to a table.
    fn table(level: usize, table: PhysAddr) -> u64;
    /// What an entry of `level` means.
    fn decode(level: usize, entry: u64) -> Entry;
}

/// A tree of tables.
#[derive(Clone)]
pub struct Tables<F> {
    root: PhysAddr,
    _format: PhantomData<F>,
}

impl<F: Format> Tables<F> {
    /// The level whose entries map base pages.
    pub const LAST: usize = F::LEVELS.len() - 1;

    /// An empty tree.
    ///
    /// # Errors
    /// `Out`.
    pub fn new(host: &mut Host) -> Result<Self> {
        let root = Self::new_table(host, 0)?;
        Ok(Self { root, _format: PhantomData })
    }

    /// The root table.
    pub const fn root(&self) -> PhysAddr {
        self.root
    }

    /// The address of the entry for `va` at `level`, once there are tables down to it; `None` below a leaf.
    ///
    /// # Errors
    /// `Out`.
    pub fn slot(&self, host: &mut Host, va: VirtAddr, level: usize) -> Result<Option<PhysAddr>> {
        let mut table = self.root;
        for above in 0..level {
            let at = entry_address::<F>(table, va, above);
            table = match F::decode(above, host.read(at)) {
                Entry::Table(next) => next,
                Entry::Leaf(_) => return Ok(None),
                Entry::Empty => {
                    let next = Self::new_table(host, above + 1)?;
                    host.write(at, F::table(above, next));
                    next
                }
            };
        }
        Ok(Some(entry_address::<F>(table, va, level)))
    }

    /// Map `range` with pages of the last level, those that are not mapped yet. `leaf` makes the entry.
    ///
    /// # Errors
    /// `Out`.
    pub fn base_pages(
        &self,
        host: &mut Host,
        range: VirtRange,
        mut altmap: Option<&mut Altmap>,
        leaf: impl Fn(PhysAddr) -> u64,
    ) -> Result<()> {
        let mut va = range.start;
        while va < range.end {
            if let Some(slot) = self.slot(host, va, Self::LAST)?
                && F::decode(Self::LAST, host.read(slot)) == Entry::Empty
            {
                let page = host.memmap(altmap.as_deref_mut(), 1)?;
                host.write(slot, leaf(page));
            }
            va = va + (1 << F::LEVELS[Self::LAST].shift);
        }
        Ok(())
    }

    /// Unmap the leaves of `range` that no valid section needs, then the tables that are left empty, and give all of it
    /// back to where it came from.
    pub fn free(&self, host: &mut Host, range: VirtRange) {
        Self::free_below(host, self.root, 0, range);
    }

    /// Returns whether the table is empty now.
    fn free_below(host: &mut Host, table: PhysAddr, level: usize, range: VirtRange) -> bool {
        let Level { empty, bits, .. } = F::LEVELS[level];
        for own in pieces::<F>(level, range) {
            let at = entry_address::<F>(table, own.start, level);
            match F::decode(level, host.read(at)) {
                Entry::Leaf(pa) if !host.is_needed(own) => {
                    host.write(at, empty);
                    host.give_back(Use::Memmap, pa, own.len() >> host.geometry().page_shift);
                }
                Entry::Table(next) => {
                    let is_empty = Self::free_below(host, next, level + 1, intersection(own, range));
                    if is_empty && level + 1 >= F::KEPT {
                        host.write(at, empty);
                        host.give_back(Use::Table, next, F::LEVELS[level + 1].pages);
                    }
                }
                Entry::Empty | Entry::Leaf(_) => {}
            }
        }
        (0..1 << bits).all(|i| F::decode(level, host.read(table + i * 8)) == Entry::Empty)
    }

    /// The leaves of vmemmap, by address.
    pub fn leaves(&self, host: &Host) -> Vec<Leaf> {
        let mut found = Vec::new();
        Self::leaves_below(host, self.root, 0, host.geometry().everything(), &mut found);
        found
    }

    fn leaves_below(host: &Host, table: PhysAddr, level: usize, range: VirtRange, found: &mut Vec<Leaf>) {
        for own in pieces::<F>(level, range) {
            match F::decode(level, host.read(entry_address::<F>(table, own.start, level))) {
                Entry::Empty => {}
                Entry::Leaf(pa) => found.push(Leaf { va: own.start, pa, bytes: own.len() }),
                Entry::Table(next) => {
                    Self::leaves_below(host, next, level + 1, intersection(own, range), found);
                }
            }
        }
    }

    fn new_table(host: &mut Host, level: usize) -> Result<PhysAddr> {
        let Level { bits, pages, empty, .. } = F::LEVELS[level];
        let table = host.table(pages)?;
        host.fill(table, 1 << bits, empty);
        Ok(table)
    }
}

fn entry_address<F: Format>(table: PhysAddr, va: VirtAddr, level: usize) -> PhysAddr {
    let Level { shift, bits, .. } = F::LEVELS[level];
    table + (va.get() >> shift & ((1 << bits) - 1)) * 8
}

/// What the entries of `level` cover that have a part in `range`.
fn pieces<F: Format>(level: usize, range: VirtRange) -> impl Iterator<Item = VirtRange> {
    let size = 1 << F::LEVELS[level].shift;
    let first = range.start.align_down(size);
    let count = (range.end.get() - first.get()).div_ceil(size);
    (0..count).map(move |i| VirtRange { start: first + i * size, end: first + (i + 1) * size })
}

fn intersection(a: VirtRange, b: VirtRange) -> VirtRange {
    VirtRange { start: a.start.max(b.start), end: a.end.min(b.end) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Geometry;
    use crate::x86::{X86, X86Format};
    use crate::{Architecture, host};
    use hotmap_mm::pfn::{Pfn, PfnRange};

    /// No architecture's numbers make sections share a leaf today; a smaller section would.
    #[test]
    fn a_leaf_that_two_sections_share_goes_with_the_last() {
        let geometry = Geometry { section_shift: 26, ..X86::GEOMETRY };
        let mut host = host::Host::new(geometry, PfnRange::new(Pfn::new(0x1000), 0x1000));
        let tables = Tables::<X86Format>::new(&mut host).expect("room");
        let [first, second] = [0, 0x4000].map(|start| PfnRange::new(Pfn::new(start), 0x4000));
        let both = PfnRange { start: first.start, end: second.end };
        let slot = tables.slot(&mut host, geometry.vmemmap, 2).expect("room").expect("no leaf above");
        let block = host.memmap(None, 512).expect("room");
        host.write(slot, block.get() | 0x81);
        let resolved = host.resolve(both).expect("no device");
        host.commit(resolved, both);

        host.forget(first);
        tables.free(&mut host, geometry.memmap(first));
        assert_eq!(tables.leaves(&host), [Leaf { va: geometry.vmemmap, pa: block, bytes: 1 << 21 }]);
        host.forget(second);
        tables.free(&mut host, geometry.memmap(second));
        assert_eq!(tables.leaves(&host), []);
    }
}
