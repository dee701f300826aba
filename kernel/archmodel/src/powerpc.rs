//! **Host model** of powerpc with the hash MMU (Linux: arch/powerpc/mm/init_64.c): 16 MiB blocks and the list that records
//! them.
//!
//! - A 64 KiB-page kernel has 16 MiB sections, whose memmap is 16 KiB: one block serves 1,024 sections, 16 GiB. So populate
//!   looks first whether a valid section needs the block already, and takes nothing then. A block may so lie in the altmap
//!   of a neighbour: it stays charged there, and that device in its place, until the last section that needs it is gone.
//! - Blocks are bolted into the hash table, where the kernel cannot look them up, so `vmemmap_list` records each: an entry
//!   of three words, `list` (the next entry), `phys`, `virt_addr`, 2,730 to a 64 KiB page. **The list is what is modelled**,
//!   in the table memory, with physical addresses for pointers; the hash table's own entries are not.
//! - A new entry is a freed one if there is one (the last freed first), else the next of the page in hand, else the first of
//!   a new page. The RFC takes that page from the altmap of the block, after the block.
//!
//! Where the model departs from the RFC:
//! - An entry is reused only for blocks of the same source (RAM, or one altmap), and a page from an altmap goes back with
//!   its last entry. In the RFC any block may use any entry and such a page never goes back: the altmap stays charged for
//!   it, and when its device goes, a part of the list goes too. Pages from RAM stay, as in Linux.
//! - A page that is not to be had is an error, and the block goes back. The RFC warns and leaves the block unrecorded.

use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::frame::altmap::Altmap;

use crate::error::Result;
use crate::geometry::Geometry;
use crate::host::Host;
use crate::log::{Frames, Source, Use};
use crate::{Architecture, Leaf};

/// The block: a hash page of 16 MiB (`mmu_vmemmap_psize`).
const BLOCK: u64 = 1 << 24;
const BLOCK_PAGES: u64 = BLOCK >> 16;
/// Bytes of an entry, and its words' offsets (`struct vmemmap_backing`).
const ENTRY: u64 = 24;
const LIST: u64 = 0;
const PHYS: u64 = 8;
const VIRT_ADDR: u64 = 16;
const PER_PAGE: u64 = (1 << 16) / ENTRY;
/// The pointer that ends a list. No frame of the model is at 0.
const END: PhysAddr = PhysAddr::new(0);

/// A page of entries.
#[derive(Clone, Debug)]
struct Page {
    from: Source,
    at: PhysAddr,
    /// How many were ever handed out: the next is the one after them.
    begun: u64,
    /// The last one freed, chained by `list`.
    freed: PhysAddr,
    /// How many record a block.
    live: u64,
}

/// The model.
#[derive(Clone, Default, Debug)]
pub struct Powerpc {
    list: PhysAddr,
    pages: Vec<Page>,
}

impl Powerpc {
    /// Nothing is mapped.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first entry of `vmemmap_list`, the last recorded.
    pub const fn list(&self) -> PhysAddr {
        self.list
    }

    /// Put a block on the list.
    fn record(
        &mut self,
        host: &mut Host,
        phys: PhysAddr,
        at: VirtAddr,
        altmap: Option<&mut Altmap>,
    ) -> Result<()> {
        let entry = self.entry(host, altmap)?;
        host.write(entry + PHYS, phys.get());
        host.write(entry + VIRT_ADDR, at.get());
        host.write(entry + LIST, self.list.get());
        self.list = entry;
        Ok(())
    }

    /// An entry from where the block came from: freed, next, or of a new page.
    fn entry(&mut self, host: &mut Host, altmap: Option<&mut Altmap>) -> Result<PhysAddr> {
        let from = altmap.as_ref().map_or(Source::Ram, |a| Source::Altmap(a.base_pfn()));
        let mut own = self.pages.iter_mut().filter(|page| page.from == from);
        if let Some(page) = own.find(|page| page.freed != END) {
            let entry = page.freed;
            page.freed = PhysAddr::new(host.read(entry + LIST));
            page.live += 1;
            return Ok(entry);
        }
        let in_hand = self.pages.iter().position(|page| page.from == from && page.begun < PER_PAGE);
        let at = match in_hand {
            Some(at) => at,
            None => self.new_page(host, altmap)?,
        };
        let page = &mut self.pages[at];
        page.begun += 1;
        page.live += 1;
        Ok(page.at + (page.begun - 1) * ENTRY)
    }

    fn new_page(&mut self, host: &mut Host, altmap: Option<&mut Altmap>) -> Result<usize> {
        let Frames { from, first, .. } = host.take(Use::Tracking, altmap, 1)?;
        let at = host.geometry().address(first);
        self.pages.push(Page { from, at, begun: 0, freed: END, live: 0 });
        Ok(self.pages.len() - 1)
    }

    /// Take the block at `at` off the list; returns where it is in memory.
    fn forget(&mut self, host: &mut Host, at: VirtAddr) -> Option<PhysAddr> {
        let mut link = None;
        let mut entry = self.list;
        while entry != END && host.read(entry + VIRT_ADDR) != at.get() {
            link = Some(entry + LIST);
            entry = PhysAddr::new(host.read(entry + LIST));
        }
        if entry == END {
            return None;
        }
        let (next, phys) = (host.read(entry + LIST), host.read(entry + PHYS));
        match link {
            Some(link) => host.write(link, next),
            None => self.list = PhysAddr::new(next),
        }
        self.release(host, entry);
        Some(PhysAddr::new(phys))
    }

    /// The entry is free; with the last of a page from an altmap, the page goes back.
    fn release(&mut self, host: &mut Host, entry: PhysAddr) {
        let holds = |page: &Page| page.at <= entry && entry < page.at + PER_PAGE * ENTRY;
        let Some(at) = self.pages.iter().position(holds) else { return };
        let page = &mut self.pages[at];
        host.write(entry + LIST, page.freed.get());
        page.freed = entry;
        page.live -= 1;
        if page.live == 0 && page.from != Source::Ram {
            let gone = self.pages.remove(at);
            host.give_back(Use::Tracking, gone.at, 1);
        }
    }
}

/// The blocks that `memmap` lies in.
fn blocks(memmap: VirtRange) -> impl Iterator<Item = VirtRange> {
    let first = memmap.start.align_down(BLOCK);
    let count = (memmap.end - first).div_ceil(BLOCK);
    (0..count).map(move |i| VirtRange { start: first + i * BLOCK, end: first + (i + 1) * BLOCK })
}

impl Architecture for Powerpc {
    const NAME: &'static str = "host model: powerpc";
    const GEOMETRY: Geometry = Geometry {
        page_shift: 16,
        section_shift: 24,
        physical_bits: 46,
        vmemmap: VirtAddr::new(0xf000_0000_0000_0000),
    };

    fn populate(
        &mut self,
        host: &mut Host,
        memmap: VirtRange,
        mut altmap: Option<&mut Altmap>,
    ) -> Result<()> {
        for block in blocks(memmap) {
            if !host.is_needed(block) {
                let phys = host.memmap(altmap.as_deref_mut(), BLOCK_PAGES)?;
                self.record(host, phys, block.start, altmap.as_deref_mut())?;
            }
        }
        Ok(())
    }

    fn free(&mut self, host: &mut Host, memmap: VirtRange) {
        for block in blocks(memmap) {
            if !host.is_needed(block)
                && let Some(phys) = self.forget(host, block.start)
            {
                host.give_back(Use::Memmap, phys, BLOCK_PAGES);
            }
        }
    }

    fn leaves(&self, host: &Host) -> Vec<Leaf> {
        let mut found = Vec::new();
        let mut entry = self.list;
        while entry != END {
            let word = |offset: u64| host.read(entry + offset);
            let (va, pa) = (VirtAddr::new(word(VIRT_ADDR)), PhysAddr::new(word(PHYS)));
            found.push(Leaf { va, pa, bytes: BLOCK });
            entry = PhysAddr::new(word(LIST));
        }
        found.sort_by_key(|leaf| leaf.va);
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotmap_mm::pfn::{Pfn, PfnRange};

    #[test]
    fn a_page_of_the_list_has_2730_entries() {
        let mut host = Host::new(Powerpc::GEOMETRY, PfnRange::new(Pfn::new(0x10), 0x10));
        let mut model = Powerpc::new();
        for i in 1..=2731 {
            let at = VirtAddr::new(0xf000_0000_0000_0000 + i * 0x100_0000);
            model.record(&mut host, PhysAddr::new(i * 0x100_0000), at, None).expect("room");
            let entry = if i <= 2730 { 0x10_0000 + (i - 1) * 24 } else { 0x11_0000 };
            assert_eq!(model.list().get(), entry, "entry {i}");
        }
        assert_eq!(model.leaves(&host).len(), 2731);
    }
}
