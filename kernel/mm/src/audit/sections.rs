//! I1 and I2: sections, blocks and the mapped memmap agree, and an altmap's account is what is mapped from it.

use super::hugetlb::is_shared_tail;
use super::{Auditor, Offender};
use crate::addr::{VirtAddr, VirtRange};
use crate::granule::Granule;
use crate::machine::Machine;
use crate::page::PageKind;
use crate::pfn::{Pfn, PfnRange};
use crate::section::{Backing, Section};
use crate::vmemmap::altmap::Altmap;

impl<G: Granule, M: Machine> Auditor<'_, G, M> {
    /// Every section.
    pub(super) fn sections(&mut self) {
        let mm = self.mm;
        for section in mm.sections() {
            self.ledger.summary.sections += 1;
            let range = section.pages::<G>().addresses::<G>();
            if section.has_memory() && mm.blocks.get(section.start.get()).is_none() {
                self.find(1, "a section is present whose memory block is not", Offender::Memory(range));
            }
            if section.present.is_empty() {
                self.find(1, "a section without present memory", Offender::Memory(range));
            }
            self.memmap_of(section);
            if let Backing::SelfHosted(altmap) = &section.backing {
                self.memory_altmap(section, altmap);
            }
        }
        for block in mm.blocks() {
            if mm.sections.get(block.start.get()).is_none() {
                let range = block.pages::<G>().addresses::<G>();
                self.find(1, "a memory block whose section is not present", Offender::Memory(range));
            }
        }
    }

    /// The struct pages of all valid pages of `section` are mapped, and can be written, unless they are tails that share theirs.
    fn memmap_of(&mut self, section: &Section) {
        let pages = section.pages::<G>();
        let mut at = pages.start;
        while at < pages.end {
            let end = at + G::SUBSECTION_PAGES;
            if section.is_valid::<G>(at) {
                self.memmap_mapped(PfnRange { start: at, end });
            }
            at = end;
        }
    }

    fn memmap_mapped(&mut self, pages: PfnRange) {
        let memmap = self.mm.layout.memmap(pages);
        let mut va = memmap.start;
        while va < memmap.end {
            let next = self.leaf_at(va);
            if next.is_none_or(|(_, frame, writable)| !writable && !is_shared_tail(self.mm, frame)) {
                let pfn = self.mm.layout.pfn_of_page(va).unwrap_or(pages.start);
                self.find(
                    1,
                    "a valid page has no struct page that can be used",
                    Offender::Mapping { va, pfn },
                );
                return;
            }
            va = next.map_or(memmap.end, |leaf| leaf.0.end);
        }
    }

    /// The leaf at `va`: what it covers, the page that its first byte maps, and whether it is writable.
    fn leaf_at(&self, va: VirtAddr) -> Option<(VirtRange, Pfn, bool)> {
        let path = self.mm.tables.path(&self.mm.machine, va);
        let leaf = path.leaf()?;
        let pfn = Pfn::containing::<G>(leaf.descriptor.address(&G::GEOMETRY));
        Some((leaf.slot.span, pfn, leaf.descriptor.is_writable()))
    }

    /// The altmap of memory: the account, and the pages that its blocks keep for it.
    fn memory_altmap(&mut self, section: &Section, altmap: &Altmap) {
        let range = PfnRange { start: section.start, end: self.hosted_by(section) };
        self.altmap(range, altmap);
        // What is kept and not in use is marked all the same.
        for idle in altmap.idle() {
            self.ledger.used.add(PageKind::MemmapSelf, idle.start, idle.len());
        }
        let kept = |part: PfnRange| self.mm.blocks.get(part.start.get()).map_or(0, |b| b.memmap_pages);
        let (pages, block) = (range.sections::<G>().map(kept).sum(), section.start.address::<G>());
        let what = "the blocks keep other pages for their memmap than the altmap has";
        let expected = altmap.offset();
        self.find_unless(pages == expected, 2, what, Offender::Block { block, found: pages, expected });
    }

    /// Where the sections end whose memmap is in the altmap of `section`.
    fn hosted_by(&self, section: &Section) -> Pfn {
        let mut end = section.start + G::SECTION_PAGES;
        let hosted = |at: Pfn| match self.mm.sections.get(at.get()).map(|s| &s.backing) {
            Some(Backing::HostedBy(host)) => *host == section.start,
            _ => false,
        };
        while hosted(end) {
            end = end + G::SECTION_PAGES;
        }
        end
    }

    /// An altmap's account, against the frames of it that hold the memmap of `range`.
    pub(super) fn altmap(&mut self, range: PfnRange, altmap: &Altmap) {
        let block = range.start.address::<G>();
        let check = |found, expected| Offender::Block { block, found, expected };
        let fits = altmap.check_range::<G>(range).is_ok();
        self.find_unless(fits, 2, "an altmap outside of its range", Offender::Pfn(altmap.base_pfn()));
        let (spent, free) = (altmap.alloc() + altmap.align(), altmap.free());
        self.find_unless(spent <= free, 2, "an altmap has handed out more than it had", check(spent, free));
        let (used, alloc) = (self.frames_of(range, altmap), altmap.alloc());
        let what = "the altmap's frames in use differ from what it is charged for";
        self.find_unless(used == alloc, 2, what, check(used, alloc));
    }

    /// How many frames of `altmap` the memmap of `range` is mapped to.
    fn frames_of(&self, range: PfnRange, altmap: &Altmap) -> u64 {
        let memmap = self.mm.layout.memmap(range);
        let (mut va, mut used) = (memmap.start, 0);
        while va < memmap.end {
            match self.leaf_at(va) {
                // A page that describes others too is not the altmap's: the walk may begin inside a leaf.
                Some((span, pfn, _)) => {
                    used += if altmap.frames().contains(pfn) { span.len() >> G::SHIFT } else { 0 };
                    va = span.end;
                }
                None => va = va + G::SIZE,
            }
        }
        used
    }
}
