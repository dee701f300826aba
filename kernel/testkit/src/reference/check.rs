//! Holding a machine against what should be true of it.

use hotmap_mm::frame::block::{BlockState, MemoryBlock};
use hotmap_mm::frame::counts::Counts;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::pfn::{Pfn, PfnRange};

use hotmap_mm::hotplug::home::MemmapHome;

use super::demand::{self, Runs};
use super::frames::Frames;
use super::seen::Seen;
use super::{Block, Home, Reference};
use hotmap_emulator::layout;
use hotmap_emulator::rig::Rig;

impl Reference {
    /// Fails the test when `rig` is not what it should be; returns what the walker saw.
    ///
    /// # Panics
    /// Then.
    pub fn check(&mut self, rig: &Rig, when: &str) -> Seen {
        let seen = Seen::of(&rig.machine);
        self.learn_image(rig);
        let used = self.used(&seen);
        self.check_counts(rig, &seen, &used, when);
        self.check_blocks(rig, &seen, &used, when);
        self.check_zones(rig, &used, when);
        self.check_memmap(&seen, when);
        self.check_placement(&seen, when);
        self.check_demand(rig, &seen, when);
        self.check_devices(rig, when);
        let memory = self.blocks.values().flat_map(|b| b.spanned().runs());
        let ram = memory.map(|r| r.start * self.spec.page..r.end * self.spec.page);
        let reachable = self.devices.values().filter(|d| d.is_reachable());
        let bytes = Frames::of(ram.chain(reachable.flat_map(|d| d.ranges.clone())));
        assert_eq!(seen.linear(self.spec, self.ram_start), bytes, "{when}: the linear map");
        let empty = seen.all.tables.iter().find(|t| t.live == 0);
        assert_eq!(empty, None, "{when}: an empty table");
        assert!(seen.all.reserved.is_empty() && seen.all.remembered.is_empty(), "{when}: odd entries");
        assert_eq!(rig.machine.stale_entries(), 0, "{when}: stale TLB entries");
        seen
    }

    /// Each block on demand: its struct pages and entries are what was handed out of it makes them.
    fn check_demand(&self, rig: &Rig, seen: &Seen, when: &str) {
        let (page, mut image, lent) = (self.spec.page, self.image, self.lent(seen));
        for start in self.on_demand() {
            let frames = self.frames_of(start);
            let homes = self.memmap_homes().into_values().collect::<Vec<_>>();
            let in_ram = seen.all.leaves.iter().filter(|l| layout::vmemmap(self.spec).contains(&l.va));
            let memmap = in_ram.map(|l| (l.leaf.pa / page, (l.size / page).trailing_zeros()));
            let memmap = memmap.filter(|(frame, _)| !homes.contains(frame) && !lent.contains(*frame));
            let tables = self.tables(seen).within(frames.clone()).runs().into_iter().flatten();
            let one = |kind| move |frame: u64| (frame, (kind, 0));
            let used: Runs = memmap
                .map(|(frame, order)| (frame, (PageKind::MemmapRam, order)))
                .chain(tables.map(one(PageKind::Table)))
                .chain(seen.tenants.values().copied().map(one(PageKind::Tenant)))
                .chain(self.pinned.keys().copied().map(one(PageKind::Pinned)))
                .chain(self.poisoned.iter().copied().map(one(PageKind::Poisoned)))
                .chain(self.kernel.iter().map(|(frame, order)| (*frame, (PageKind::Kernel, *order))))
                .chain(self.blocks[&start].unplugged.iter().map(|(f, o)| (*f, (PageKind::Unplugged, *o))))
                .filter(|(frame, _)| frames.contains(frame))
                .collect();
            demand::check(&rig.machine, self.ram_start, start, &used, &mut image, when);
        }
    }

    fn check_counts(&self, rig: &Rig, seen: &Seen, used: &Frames, when: &str) {
        let mut expected = Counts::default();
        for (start, block) in &self.blocks {
            let own = self.own_memmap(*start);
            let memmap = own.end - own.start + self.lent_by(seen, *start).len();
            expected.memmap_self += memmap;
            expected.present += if block.online.is_some() { block.memory.len() } else { memmap };
        }
        expected.memmap_ram = self.memmap_in_ram();
        expected.tables = self.tables(seen).len();
        let online = |frame: &&u64| self.blocks[&self.block_at(**frame)].online.is_some();
        expected.reserved = self.reserved.len() + self.poisoned.iter().filter(online).count() as u64;
        expected.allocated = self.tenants.values().map(|t| t.pages).sum::<u64>()
            + self.pinned.len() as u64
            + self.kernel.values().map(|order| 1 << order).sum::<u64>();
        expected.free = ZoneKind::ALL.into_iter().map(|zone| self.free(zone, used)).sum();
        assert_eq!(rig.mm.frames().counts(), expected, "{when}: counts");
        assert!(expected.balance(), "{when}: the reference model itself does not add up: {expected:?}");
    }

    fn check_blocks(&self, rig: &Rig, seen: &Seen, used: &Frames, when: &str) {
        let g = rig.granule();
        let starts: Vec<_> = self.blocks.keys().map(|s| Rig::pfn(g, *s)).collect();
        assert_eq!(rig.mm.frames().blocks().map(|b| b.start).collect::<Vec<_>>(), starts, "{when}: blocks");
        let sections: Vec<_> = self.sections().into_iter().map(|pa| Rig::pfn(g, pa)).collect();
        assert_eq!(
            rig.mm.frames().sections().map(|s| s.start).collect::<Vec<_>>(),
            sections,
            "{when}: sections"
        );
        for ((start, expected), block) in self.blocks.iter().zip(rig.mm.frames().blocks()) {
            let state = expected.online.map_or(BlockState::Offline, |(zone, _)| BlockState::Online(zone));
            assert_eq!(block.state, state, "{when}: {start:#x}");
            let own = self.own_memmap(*start);
            let usable = block.usable(g);
            assert_eq!(
                (usable.start.get(), usable.end.get()),
                (own.end, self.frames_of(*start).end),
                "{when}"
            );
            assert_eq!(block.present, expected.memory.len(), "{when}: {start:#x} present");
            self.check_parts(rig, &block, expected, when);
            let poisoned = self.poisoned.range(self.frames_of(*start)).copied();
            let marked = poisoned.clone().map(|frame| rig.mm.frames().use_of(Pfn::new(frame)));
            assert!(marked.clone().all(|is| matches!(is, Ok((PageKind::Poisoned, _)))), "{when}: {start:#x}");
            assert_eq!(block.poisoned, poisoned.count() as u64, "{when}: {start:#x} poisoned");
            assert_eq!(block.tenant_pages, self.tenants_in(seen, *start), "{when}: {start:#x} tenants");
            let pages = rig.mm.frames().pages();
            let lists = (0..=g.section_order).flat_map(|order| {
                block.free.heads(&pages, order).map(move |pfn| pfn.get()..pfn.get() + (1 << order))
            });
            let lists = lists.collect::<Vec<_>>();
            let listed: u64 = lists.iter().map(|r| r.end - r.start).sum();
            let free = Frames::of(lists);
            assert_eq!(listed, free.len(), "{when}: {start:#x}: a page is free twice");
            // A block on demand keeps its lists while it is offline.
            let on_demand = expected.home == Home::Added(MemmapHome::Demand);
            let left = if on_demand { self.left_in(*start, used) } else { self.free_in(*start, used) };
            assert_eq!(free, left, "{when}: {start:#x} free pages");
        }
    }

    /// What is unplugged is marked so, run by run, and nothing else is.
    fn check_parts(&self, rig: &Rig, block: &MemoryBlock, expected: &Block, when: &str) {
        let (frames, missing) = (rig.mm.frames(), expected.missing());
        assert_eq!(block.unplugged, missing.len(), "{when}: {} unplugged", block.start);
        let of = |parts: Vec<PfnRange>| Frames::of(parts.into_iter().map(|p| p.start.get()..p.end.get()));
        assert_eq!(of(frames.unplugged_parts(block.start).collect()), missing, "{when}: {}", block.start);
        let plugged = missing.complement(self.frames_of(block.start.get() * self.spec.page));
        assert_eq!(of(frames.plugged_parts(block.start).collect()), plugged, "{when}: {}", block.start);
        for (first, order) in &expected.unplugged {
            let (head, last) = (Pfn::new(*first), Pfn::new(first + (1 << order) - 1));
            let is = [head, last].map(|pfn| frames.use_of(pfn));
            assert_eq!(is, [Ok((PageKind::Unplugged, head)); 2], "{when}: order {order}");
            assert_eq!(frames.pages().get(head).order(), *order, "{when}: {head}");
        }
    }

    fn check_zones(&self, rig: &Rig, used: &Frames, when: &str) {
        let g = rig.granule();
        for kind in ZoneKind::ALL {
            let (zone, members) = (rig.mm.frames().zone(kind), self.zone(kind));
            let oldest_first: Vec<_> = members.iter().map(|s| Rig::pfn(g, *s)).collect();
            if self.on_demand().next().is_none() {
                assert_eq!(zone.blocks(), oldest_first, "{when}: {kind}");
            }
            // Blocks of an extent are one record, whose place in the order is that of its oldest.
            let (mut listed, mut expected) =
                (rig.mm.frames().blocks_in(kind).collect::<Vec<_>>(), oldest_first);
            listed.sort_unstable();
            expected.sort_unstable();
            assert_eq!(listed, expected, "{when}: {kind}");
            let present: u64 = members.iter().map(|s| self.blocks[s].memory.len()).sum();
            assert_eq!((zone.present, zone.free), (present, self.free(kind, used)), "{when}: {kind}");
        }
    }

    /// Tenants are mapped where they should be, in online memory without another user; what cannot move is in Normal.
    fn check_placement(&self, seen: &Seen, when: &str) {
        let vas = self.tenants.values().flat_map(|t| (0..t.pages).map(|i| t.va + i * self.spec.page));
        let mut expected: Vec<_> = vas.collect();
        expected.sort_unstable();
        assert_eq!(seen.tenants.keys().copied().collect::<Vec<_>>(), expected, "{when}: tenants' addresses");
        assert_eq!(seen.tenant_frames().len(), expected.len() as u64, "{when}: two tenants share a page");
        let online = |zone: Option<ZoneKind>| {
            let blocks = self
                .blocks
                .iter()
                .filter(move |(_, b)| b.online.is_some_and(|o| zone.is_none_or(|z| z == o.0)));
            Frames::of(blocks.map(|(start, _)| self.own_memmap(*start).end..self.frames_of(*start).end))
        };
        let anywhere = online(None);
        let lost = seen.tenants.values().find(|frame| !anywhere.contains(**frame));
        assert_eq!(lost, None, "{when}: a tenant's page is not in usable memory");
        let normal = online(Some(ZoneKind::Normal));
        let own = Frames::of(self.memmap_homes().into_values().map(|frame| frame..frame + 1));
        let in_ram = seen.memmap.without(&own).without(&self.lent(seen)).runs();
        let kernel = self.kernel.iter().map(|(f, order)| *f..f + (1 << order));
        for run in in_ram.into_iter().chain(self.tables(seen).runs()).chain(kernel) {
            assert_eq!(
                normal.within(run.clone()).len(),
                run.end - run.start,
                "{when}: {run:x?} is not in Normal"
            );
        }
    }
}
