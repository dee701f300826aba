//! The reference model: what should be true of a machine, kept as a map of memory blocks and sets of frames, and what each
//! operation should answer. It is slow, simple, and knows the model's promises only.

pub mod check;
pub mod check_devices;
pub mod demand;
pub mod devices;
pub mod frames;
mod memmap;
pub mod need;
pub mod parts;
pub mod predict;
pub mod predict_devices;
mod predict_pages;
pub mod seen;
pub mod whole;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use hotmap_mm::addr::PhysAddr;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;

use demand::RawImage;
use devices::{Device, Given};
use frames::Frames;
use hotmap_emulator::arch::spec::Spec;
use hotmap_emulator::layout;
use hotmap_emulator::rig::{Rig, Shape};
use seen::Seen;

/// Where a block's memory and memmap come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Home {
    /// It was there at boot; its memmap is in boot RAM.
    Boot,
    /// It was added.
    Added(MemmapHome),
}

/// A memory block.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its frames that are memory now.
    pub memory: Frames,
    /// Where from.
    pub home: Home,
    /// The frames at its start that are set aside for memmap, its own or its range's.
    pub kept: u64,
    /// The frame in which its memmap begins, if that is not anywhere in system RAM.
    pub memmap: Option<u64>,
    /// The bytes that can only go together with it.
    pub group: Range<u64>,
    /// The runs of frames that are not plugged: the order by the first frame.
    pub unplugged: BTreeMap<u64, u32>,
    /// The zone, if online, and when it joined: later is larger.
    pub online: Option<(ZoneKind, u64)>,
}

/// A tenant.
#[derive(Clone, Copy, Debug)]
pub struct Tenant {
    /// The first virtual address.
    pub va: u64,
    /// Its pages.
    pub pages: u64,
}

/// What should be true.
#[derive(Clone, Debug)]
pub struct Reference {
    /// The granule's numbers.
    pub spec: &'static Spec,
    /// Where RAM starts.
    pub ram_start: u64,
    /// The blocks, by the physical address of their first byte.
    pub blocks: BTreeMap<u64, Block>,
    /// The DIMMs that are present: start and length.
    pub dimms: BTreeMap<u64, u64>,
    /// The devices, by the first byte of their first range.
    pub devices: BTreeMap<u64, Device>,
    /// The devices whose memory the system has, alike.
    pub given: BTreeMap<u64, Given>,
    /// Frames that were reserved at boot.
    pub reserved: Frames,
    /// Tenants by number.
    pub tenants: BTreeMap<u32, Tenant>,
    /// Frames that were pinned when they were free, and how often.
    pub pinned: BTreeMap<u64, u32>,
    /// Frames that were poisoned, of blocks that are present, online or not.
    pub poisoned: BTreeSet<u64>,
    /// Tenants' pages that are held, by virtual address, and how often.
    pub held: BTreeMap<u64, u32>,
    /// Runs that the kernel has: first frame and order.
    pub kernel: BTreeMap<u64, u32>,
    /// The frames of the image of a free block, and that of its table: no entry may lead to them later.
    pub image: RawImage,
    next_tenant: u32,
    clock: u64,
}

impl Reference {
    /// What should be true after boot, of which `seen` shows where tables are.
    ///
    /// # Panics
    /// When a boot block hosts its memmap that should not, or the reverse.
    pub fn boot(spec: &'static Spec, shape: &Shape, seen: &Seen) -> Self {
        let frames = |start: u64, end: u64| start.div_ceil(spec.page)..end / spec.page;
        let memory = Frames::of(shape.ram.iter().map(|(start, len)| frames(*start, start + len)));
        let taken = shape.reserved_ranges();
        let reserved =
            Frames::of(taken.iter().map(|r| r.start.get() / spec.page..r.end.get().div_ceil(spec.page)));
        let mut reference = Self {
            spec,
            ram_start: shape.ram.iter().map(|r| r.0).min().unwrap_or(0),
            blocks: BTreeMap::new(),
            dimms: BTreeMap::new(),
            devices: BTreeMap::new(),
            given: BTreeMap::new(),
            reserved,
            tenants: BTreeMap::new(),
            pinned: BTreeMap::new(),
            poisoned: BTreeSet::new(),
            held: BTreeMap::new(),
            kernel: BTreeMap::new(),
            image: RawImage::default(),
            next_tenant: 1,
            clock: 0,
        };
        let size = layout::block(spec);
        let mut sorted = shape.ram.clone();
        sorted.sort_unstable();
        for (start, len) in sorted {
            for block in
                (start / size * size..start + len).step_by(hotmap_emulator::machine::memory::host(size))
            {
                reference.boot_block(block, &memory);
            }
        }
        if shape.memmap == MemmapHome::SelfHosted {
            reference.host_boot_memmap(seen);
        }
        reference
    }

    /// Whole boot blocks have their memmap in their own first frames, unless something else was there before it.
    fn host_boot_memmap(&mut self, seen: &Seen) {
        let whole = self.block_bytes() / self.spec.page;
        for (start, mut block) in self.blocks.clone().into_iter().filter(|b| b.1.memory.len() == whole) {
            let first = start / self.spec.page;
            let own = first..first + self.memmap_frames();
            if self.memmap_frame(seen, start) == Some(first) {
                (block.kept, block.memmap) = (self.memmap_frames(), Some(first));
                self.blocks.insert(start, block);
            } else {
                let taken = !self.reserved.within(own.clone()).is_empty();
                assert!(taken || !seen.tables.within(own).is_empty(), "{start:#x} could host its memmap");
            }
        }
    }

    fn boot_block(&mut self, start: u64, memory: &Frames) {
        if !self.blocks.contains_key(&start) {
            let memory = memory.within(self.frames_of(start));
            let online = Some((ZoneKind::Normal, self.tick()));
            let group = start..start + self.block_bytes();
            let unplugged = BTreeMap::new();
            let block = Block { memory, home: Home::Boot, kept: 0, memmap: None, group, unplugged, online };
            self.blocks.insert(start, block);
        }
    }

    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
    /// The bytes of a block.
    pub fn block_bytes(&self) -> u64 {
        layout::block(self.spec)
    }
    /// The frames of the block that starts at `block`.
    pub fn frames_of(&self, block: u64) -> Range<u64> {
        block / self.spec.page..(block + self.block_bytes()) / self.spec.page
    }
    /// The starts of the blocks of a range.
    pub fn starts(&self, range: Range<u64>) -> impl Iterator<Item = u64> + Clone + use<> {
        range.step_by(hotmap_emulator::machine::memory::host(self.block_bytes()))
    }
    /// Whether a page of the bytes of `range` is poisoned.
    pub fn is_poisoned(&self, range: Range<u64>) -> bool {
        self.poisoned.range(range.start / self.spec.page..range.end / self.spec.page).next().is_some()
    }
    /// The start of the block around `frame`.
    pub fn block_at(&self, frame: u64) -> u64 {
        frame * self.spec.page / self.block_bytes() * self.block_bytes()
    }
    /// The frames that one block's memmap fills.
    pub fn memmap_frames(&self) -> u64 {
        self.block_bytes() / self.spec.page * layout::STRUCT_PAGE / self.spec.page
    }
    /// The frames of `start`'s block that are set aside for memmap.
    pub fn own_memmap(&self, start: u64) -> Range<u64> {
        let first = start / self.spec.page;
        first..first + self.blocks[&start].kept
    }
    /// The blocks whose memmap is populated on demand, by their first byte.
    pub fn on_demand(&self) -> impl Iterator<Item = u64> + Clone {
        let demand = |block: &Block| block.home == Home::Added(MemmapHome::Demand);
        self.blocks.iter().filter(move |b| demand(b.1)).map(|b| *b.0)
    }
    /// What the block at `start` lends to its own memmap, as the walker sees it.
    pub fn lent_by(&self, seen: &Seen, start: u64) -> Frames {
        if self.blocks[&start].home != Home::Added(MemmapHome::Demand) {
            return Frames::default();
        }
        let (page, pages) = (self.spec.page, self.touched(&(start..start + self.block_bytes())));
        let memmap = self.memmap_va(pages.start)..self.memmap_va(pages.end);
        let own = seen.all.leaves.iter().filter(|l| memmap.contains(&l.va) && l.leaf.writable);
        let tables = seen.all.tables.iter().filter(|t| t.level == 3 && t.va == memmap.start);
        let pa = own.map(|l| l.leaf.pa).chain(tables.map(|t| t.pa));
        Frames::of(pa.map(|pa| pa / page..pa / page + 1)).within(self.frames_of(start))
    }
    /// What all blocks on demand lend.
    pub fn lent(&self, seen: &Seen) -> Frames {
        Frames::of(self.on_demand().flat_map(|start| self.lent_by(seen, start).runs()))
    }
    /// The frames of tables, but for those that are lent.
    pub fn tables(&self, seen: &Seen) -> Frames {
        let image = self.image.table.map(|table| table..table + 1);
        Frames::of(seen.tables.without(&self.lent(seen)).runs().into_iter().chain(image))
    }
    /// Remembers where the image is, from its first block to its last. That is the model's word, since a block of which a
    /// part is unplugged maps no more than a page of it; [`demand::check`] holds it against what blocks map.
    fn learn_image(&mut self, rig: &Rig) {
        if self.on_demand().next().is_none() {
            self.image = RawImage::default();
        } else if self.image.head.is_none() {
            let image = rig.mm.frames().demand().image().expect("there are blocks on demand");
            let frame = |pa: PhysAddr| pa.get() / self.spec.page;
            let (head, zero) = (Some(frame(image.head)), Some(frame(image.zero)));
            self.image = RawImage { head, zero, table: image.table.map(frame) };
        }
    }
    /// How many more frames the blocks on demand of a zone may lend while they are used.
    pub fn lendable(&self, seen: &Seen, zone: ZoneKind) -> u64 {
        let most = self.memmap_frames() + u64::from(self.spec.page == 0x1000);
        let of_zone = self.on_demand().filter(|start| self.blocks[start].online.is_some_and(|o| o.0 == zone));
        of_zone.map(|start| most - self.lent_by(seen, start).len()).sum()
    }

    /// Everything in use, as sets: what the tables show and what was handed out.
    pub fn used(&self, seen: &Seen) -> Frames {
        let mut all = [&seen.tables, &seen.memmap, &seen.tenant_frames()].map(Frames::runs).concat();
        all.extend(self.reserved.runs());
        let image = [self.image.head, self.image.zero, self.image.table];
        all.extend(image.into_iter().flatten().map(|frame| frame..frame + 1));
        all.extend(self.blocks.keys().map(|start| self.own_memmap(*start)));
        all.extend(self.pinned.keys().chain(&self.poisoned).map(|f| *f..f + 1));
        all.extend(self.kernel.iter().map(|(f, order)| *f..f + (1 << order)));
        Frames::of(all)
    }
    /// What is free in the block at `start`.
    pub fn free_in(&self, start: u64, used: &Frames) -> Frames {
        if self.blocks[&start].online.is_none() {
            return Frames::default();
        }
        self.left_in(start, used)
    }
    /// What nothing uses in the block at `start`, online or not.
    pub fn left_in(&self, start: u64, used: &Frames) -> Frames {
        let block = &self.blocks[&start];
        let holes = block.memory.complement(self.frames_of(start));
        Frames::of(used.runs().into_iter().chain(holes.runs())).complement(self.frames_of(start))
    }
    /// The blocks of a zone, oldest first.
    pub fn zone(&self, zone: ZoneKind) -> Vec<u64> {
        let mut members: Vec<_> = self
            .blocks
            .iter()
            .filter_map(|(s, b)| b.online.filter(|o| o.0 == zone).map(|o| (o.1, *s)))
            .collect();
        members.sort_unstable();
        members.into_iter().map(|(_, start)| start).collect()
    }
    /// How much is free in a zone, in frames.
    pub fn free(&self, zone: ZoneKind, used: &Frames) -> u64 {
        self.zone(zone).into_iter().map(|start| self.free_in(start, used).len()).sum()
    }

    // What an operation that succeeds changes.

    /// `start..start + len` was added.
    pub fn added(&mut self, start: u64, len: u64, home: MemmapHome) {
        self.blocks_came(start..start + len, home);
        self.dimms.insert(start, len);
    }
    /// The blocks of `range` came, with one altmap each, one for all, or none.
    pub fn blocks_came(&mut self, range: Range<u64>, home: MemmapHome) {
        let (page, each) = (self.spec.page, self.memmap_frames());
        let blocks = (range.end - range.start) / self.block_bytes();
        for (i, block) in (0..).zip(self.starts(range.clone())) {
            let (first, alone) = (block / page, block..block + self.block_bytes());
            let (host, reserve, free) = match home {
                MemmapHome::Ram | MemmapHome::Demand => (0, 0, 0),
                MemmapHome::SelfHosted => (first, 0, each),
                MemmapHome::SelfRange { reserve } => (range.start / page, reserve, blocks * each),
                MemmapHome::Given(altmap) => (range.start / page, altmap.reserve(), altmap.free()),
            };
            let one_for_all = matches!(home, MemmapHome::SelfRange { .. } | MemmapHome::Given(_));
            let before = if one_for_all { i * each } else { 0 };
            let frames = self.frames_of(block);
            let new = Block {
                memory: Frames::of([frames.clone()]),
                home: Home::Added(home),
                kept: (host + reserve + free).clamp(first, frames.end) - first,
                memmap: (!matches!(home, MemmapHome::Ram | MemmapHome::Demand))
                    .then_some(host + reserve + before),
                group: if one_for_all { range.clone() } else { alone },
                unplugged: BTreeMap::new(),
                online: None,
            };
            self.blocks.insert(block, new);
        }
    }
    /// `start..start + len` was removed.
    pub fn removed(&mut self, start: u64, len: u64) {
        self.blocks_went(start..start + len);
        self.dimms.remove(&start);
    }
    /// The blocks of `range` went; which of their pages were poisoned is forgotten.
    pub fn blocks_went(&mut self, range: Range<u64>) {
        let page = self.spec.page;
        self.poisoned.retain(|frame| !range.contains(&(frame * page)));
        for block in self.starts(range) {
            self.blocks.remove(&block);
        }
    }
    /// A block went online.
    pub fn onlined(&mut self, start: u64, zone: ZoneKind) {
        let now = self.tick();
        if let Some(block) = self.blocks.get_mut(&start) {
            block.online = Some((zone, now));
        }
    }
    /// A block went offline.
    pub fn offlined(&mut self, start: u64) {
        if let Some(block) = self.blocks.get_mut(&start) {
            block.online = None;
        }
    }
    /// A tenant moved in; its number.
    pub fn tenant_came(&mut self, va: u64, pages: u64) -> u32 {
        let id = self.next_tenant;
        self.next_tenant += 1;
        self.tenants.insert(id, Tenant { va, pages });
        id
    }
}
