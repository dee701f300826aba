//! I1 and I2: sections, blocks and the mapped memmap agree, and an altmap's account is what is mapped from it.

use super::view::Ascending;
use super::{Auditor, Offender};
use crate::frame::altmap::Altmap;
use crate::frame::page::PageKind;
use crate::frame::section::{Backing, Section};
use crate::machine::Machine;
use crate::pfn::{Pfn, PfnRange};

impl<M: Machine> Auditor<'_, M> {
    /// Every section.
    pub(super) fn sections(&mut self) {
        let g = self.mm.granule();
        let mm = self.mm;
        let (sections, blocks) =
            (Ascending::new(mm.frames.sections.as_slice()), Ascending::new(mm.frames.blocks.as_slice()));
        let mut valid = PfnRange::default();
        for section in mm.frames.sections.as_slice() {
            self.ledger.summary.sections += 1;
            let range = section.pages(g).addresses(g);
            if section.has_memory() && blocks.get(section.start.get()).is_none() {
                self.find(1, "a section is present whose memory block is not", Offender::Memory(range));
            }
            if section.present.is_empty() {
                self.find(1, "a section without present memory", Offender::Memory(range));
            }
            self.add_valid(section, &mut valid);
            if section.backing == Backing::Altmap(section.start)
                && let Some(altmap) = mm.frames.altmap(section.start)
            {
                self.memory_altmap(section, altmap);
            }
        }
        self.memmap_mapped(valid);
        for block in mm.frames.blocks.as_slice() {
            if sections.get(block.start.get()).is_none() {
                let range = block.pages(g).addresses(g);
                self.find(1, "a memory block whose section is not present", Offender::Memory(range));
            }
        }
    }

    /// The valid pages of `section`, after those of `run`, which ended in a section before.
    fn add_valid(&mut self, section: &Section, run: &mut PfnRange) {
        let g = self.mm.granule();
        let whole = section.is_all_valid(g);
        let (mut rest, each) = (section.pages(g), if whole { g.section_pages } else { g.subsection_pages });
        while !rest.is_empty() {
            let part = PfnRange::new(rest.start, each);
            rest.start = part.end;
            if !whole && !section.is_valid(g, part.start) {
                continue;
            }
            if run.end == part.start {
                run.end = part.end;
            } else {
                self.memmap_mapped(core::mem::replace(run, part));
            }
        }
    }

    /// The struct pages of `pages`, which are valid, are mapped, and can be written, but for those that are shared. One walk for
    /// what lies side by side: it looks into a table that many entries share once.
    pub(super) fn memmap_mapped(&mut self, pages: PfnRange) {
        if pages.is_empty() {
            return;
        }
        let (mm, ledger) = (self.mm, &mut self.ledger);
        let memmap = mm.space.layout().memmap(pages);
        let mut missing = |va| {
            let pfn = mm.space.layout().pfn_of_page(va).unwrap_or(pages.start);
            let what = "a valid page has no struct page that can be used";
            ledger.find(1, what, Offender::Mapping { va, pfn });
        };
        let mut done = memmap.start;
        let walked = mm.space.scan_where(memmap, |run, d| {
            let span = run.span(0, run.count);
            // A shared table is checked with the device that it belongs to, or with the image.
            let usable =
                if d.is_leaf(run.first.level) { d.is_writable() || d.is_shared() } else { d.is_shared() };
            if d.is_valid() && usable {
                if done < span.start {
                    missing(done);
                }
                done = span.end;
            }
            !d.is_shared()
        });
        debug_assert!(walked.is_ok(), "a scan has nothing to fail at");
        if done < memmap.end {
            missing(done);
        }
    }

    /// The altmap of memory: the account, and the pages that its blocks keep for it.
    fn memory_altmap(&mut self, section: &Section, altmap: &Altmap) {
        let g = self.mm.granule();
        let range = PfnRange { start: section.start, end: self.hosted_by(section) };
        self.altmap(range, altmap);
        // What is kept and not in use is marked all the same.
        for idle in altmap.idle() {
            self.ledger.used.add(PageKind::MemmapSelf, idle.start, idle.len());
        }
        let kept = self
            .mm
            .frames
            .blocks
            .range(range.start.get()..range.end.get())
            .iter()
            .map(|block| block.memmap_pages);
        let (pages, block) = (kept.sum(), section.start.address(g));
        let what = "the blocks keep other pages for their memmap than the altmap has";
        let expected = altmap.offset();
        self.find_unless(pages == expected, 2, what, Offender::Block { block, found: pages, expected });
    }

    /// Where the sections end whose memmap is in the altmap of `section`.
    fn hosted_by(&self, section: &Section) -> Pfn {
        let g = self.mm.granule();
        let mut end = section.start;
        let from_here = PfnRange { start: section.start, end: Pfn::new(u64::MAX) };
        for next in self.mm.frames.sections_of(from_here) {
            if next.start != end || next.backing != Backing::Altmap(section.start) {
                break;
            }
            end = end + g.section_pages;
        }
        end
    }

    /// An altmap's account, against the frames of it that hold the memmap of `range`.
    pub(super) fn altmap(&mut self, range: PfnRange, altmap: &Altmap) {
        let g = self.mm.granule();
        let block = range.start.address(g);
        let check = |found, expected| Offender::Block { block, found, expected };
        let fits = altmap.check_range(g, range).is_ok();
        self.find_unless(fits, 2, "an altmap outside of its range", Offender::Pfn(altmap.base_pfn()));
        let (spent, free) = (altmap.alloc() + altmap.align(), altmap.free());
        self.find_unless(spent <= free, 2, "an altmap has handed out more than it had", check(spent, free));
        let (used, alloc) = (self.frames_of(range, altmap), altmap.alloc());
        let what = "the altmap's frames in use differ from what it is charged for";
        self.find_unless(used == alloc, 2, what, check(used, alloc));
    }

    /// How many frames of `altmap` the memmap of `range` is mapped to. A frame that many entries share counts once: they
    /// follow each other, with nothing shared between them but it.
    fn frames_of(&self, range: PfnRange, altmap: &Altmap) -> u64 {
        let g = self.mm.granule();
        let (mut used, mut tail) = (0, None);
        let walked = self.mm.space.scan(self.mm.space.layout().memmap(range), |slot, d| {
            let frame = Pfn::containing(g, d.address(g));
            // A page that describes others too is not the altmap's: the walk may begin inside a leaf.
            if !d.is_leaf(slot.level) || !altmap.frames().contains(frame) {
                return;
            }
            if !(d.is_shared() && tail == Some(frame)) {
                used += slot.span.len() >> g.page_shift;
            }
            if d.is_shared() {
                tail = Some(frame);
            }
        });
        debug_assert!(walked.is_ok(), "a scan has nothing to fail at");
        used
    }
}
