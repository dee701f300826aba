//! A machine with a block of which some units are plugged, and the check of both against each other.

use hotmap_emulator::rig::{MIB, Rig, Shape, range};
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::error::Result;
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::block::{MemoryBlock, Source};
use hotmap_mm::frame::counts::Counts;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::pfn::{Pfn, PfnRange};
use std::collections::BTreeSet;

/// The block that comes in parts.
pub(crate) const AT: u64 = 0x1_0000_0000;
/// What is plugged or not: a subsection.
pub(crate) const UNIT: u64 = 2 * MIB;
pub(crate) const HOMES: [MemmapHome; 3] = [MemmapHome::Ram, MemmapHome::SelfHosted, MemmapHome::Demand];

/// A machine, and which units of the block at [`AT`] have RAM.
pub(crate) struct Parts {
    pub(crate) rig: Rig,
    pub(crate) g: Granule,
    pub(crate) units: BTreeSet<u64>,
}

impl Parts {
    pub(crate) fn boot(g: Granule) -> Self {
        let rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
        Self { rig, g, units: BTreeSet::new() }
    }

    /// A machine with the first `units` units of a block in `zone`.
    pub(crate) fn with(g: Granule, home: MemmapHome, zone: ZoneKind, units: u64) -> Self {
        let mut parts = Self::boot(g);
        parts.ram(0..units);
        parts.come(home, zone, 0..units).unwrap_or_else(|e| panic!("{home:?}: {e}"));
        parts.check("a block in part");
        parts
    }

    /// How many units a block has.
    pub(crate) fn all(&self) -> u64 {
        self.g.section_size / UNIT
    }

    pub(crate) fn pages(&self, units: std::ops::Range<u64>) -> PfnRange {
        PfnRange::inside(self.g, range(AT + units.start * UNIT, (units.end - units.start) * UNIT))
    }

    pub(crate) fn block(&self) -> MemoryBlock {
        self.rig.mm.frames().block_of(Rig::pfn(self.g, AT)).expect("present")
    }

    /// There is RAM behind `units`.
    pub(crate) fn ram(&mut self, units: std::ops::Range<u64>) {
        if !self.rig.machine.memory().is_present(AT, UNIT) {
            self.rig.machine.plug(AT, self.g.section_size);
            self.rig.machine.memory().provide(AT, self.g.section_size, false);
        }
        for unit in units {
            self.rig.machine.memory().provide(AT + unit * UNIT, UNIT, true);
            self.units.insert(unit);
        }
    }

    /// There is none any more.
    pub(crate) fn no_ram(&mut self, units: std::ops::Range<u64>) {
        for unit in units.filter(|unit| self.units.remove(unit)) {
            self.rig.machine.memory().provide(AT + unit * UNIT, UNIT, false);
        }
    }

    pub(crate) fn hot(&self) -> HotRange {
        let hot = HotRange::new(&self.rig.mm, PhysAddr::new(AT), self.g.section_size, Source::VirtioMem(0));
        hot.expect("nothing is there").in_blocks()
    }

    pub(crate) fn come(
        &mut self,
        home: MemmapHome,
        zone: ZoneKind,
        units: std::ops::Range<u64>,
    ) -> Result<()> {
        let (hot, plugged) = (self.hot(), self.pages(units));
        self.rig.mm.plug_block_part(&hot, plugged, home, zone, |_, _| {})
    }

    pub(crate) fn plug(&mut self, units: std::ops::Range<u64>) {
        self.ram(units.clone());
        let pages = self.pages(units.clone());
        self.rig.mm.plug_part(pages).unwrap_or_else(|e| panic!("{units:?}: {e}"));
        self.check(&format!("plugged {units:?}"));
    }

    pub(crate) fn unplug(&mut self, units: std::ops::Range<u64>) -> u64 {
        let pages = self.pages(units.clone());
        let done = self.rig.mm.unplug_part(pages, &mut |_| false);
        let migrated = done.unwrap_or_else(|e| panic!("{units:?}: {e}")).migrated;
        self.no_ram(units.clone());
        self.check(&format!("unplugged {units:?}"));
        migrated
    }

    pub(crate) fn go(&mut self) {
        let len = self.g.section_size;
        self.rig.mm.unplug(range(AT, len)).expect("nothing has to stay");
        self.no_ram(0..self.all());
        self.rig.machine.unplug(AT);
        self.rig.assert_clean("gone");
    }

    /// The model says that the units with RAM, and no others, are plugged.
    pub(crate) fn check(&self, when: &str) {
        let (g, block) = (self.g, self.block());
        self.rig.assert_clean(when);
        let expected = (0..self.all()).partition::<Vec<_>, _>(|unit| self.units.contains(unit));
        let units = |part: PfnRange| {
            let unit = |pfn: Pfn| (pfn - block.start) / g.subsection_pages;
            unit(part.start)..unit(part.end)
        };
        let frames = self.rig.mm.frames();
        let plugged: Vec<u64> = frames.plugged_parts(block.start).flat_map(units).collect();
        let unplugged: Vec<u64> = frames.unplugged_parts(block.start + 1).flat_map(units).collect();
        assert_eq!((plugged, unplugged), expected, "{when}");
        assert_eq!(block.unplugged, expected.1.len() as u64 * g.subsection_pages, "{when}");
        assert_eq!(block.present, expected.0.len() as u64 * g.subsection_pages, "{when}");
        for unit in &expected.1 {
            let first = self.pages(*unit..unit + 1).start;
            for pfn in [first, first + (g.subsection_pages - 1)] {
                assert_eq!(frames.use_of(pfn).map(|u| u.0), Ok(PageKind::Unplugged), "{when}: {pfn}");
            }
        }
    }

    /// The counts, as if nothing were lent: what a block on demand lends depends on where its runs and lent pages are.
    pub(crate) fn without_lent(&self) -> Counts {
        let counts = self.rig.mm.frames().counts();
        let lent = self.block().memmap_inside;
        Counts { free: counts.free + lent, memmap_self: counts.memmap_self - lent, ..counts }
    }

    /// Takes all memory that there is, single pages; none of it is unplugged. The contents are written.
    pub(crate) fn take_all(&mut self) -> Vec<Pfn> {
        let mut taken = Vec::new();
        while let Ok(pfn) = self.rig.mm.frames_mut().alloc(0, PageKind::Pinned, Mobility::Movable) {
            taken.push(pfn);
        }
        for pfn in &taken {
            let at = pfn.address(self.g).get();
            if (AT..AT + self.g.section_size).contains(&at) {
                assert!(self.units.contains(&((at - AT) / UNIT)), "{pfn} is handed out");
            }
        }
        taken
    }

    pub(crate) fn free(&mut self, pages: Vec<Pfn>) {
        pages.into_iter().for_each(|pfn| self.rig.mm.frames_mut().free(pfn));
    }
}
