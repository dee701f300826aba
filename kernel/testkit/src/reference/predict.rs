//! What each operation should answer.

use std::ops::Range;

use hotmap_mm::error::{
    AltmapError, BlockError, DeviceError, Error, PageError, RangeError, Result, SpaceError, TenantError,
};
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;

use super::Reference;
use super::frames::Frames;
use super::need::{self, Mapping};
use super::seen::Seen;
use hotmap_emulator::layout;
use hotmap_emulator::machine::Emulated;

/// An answer, as far as it is promised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Success.
    Done,
    /// This error; with the page that it names, for those that name one.
    Refused(&'static str, Option<u64>),
    /// Success, or out of memory: how far memory goes depends on how it is cut, and on what is lent.
    DoneOrOut,
}

/// Out of memory, whatever it was.
pub const OUT: Answer = Answer::Refused("Out", None);

/// Whether `error` is that of an allocation that failed.
pub const fn is_shortage(error: &Error) -> bool {
    matches!(error, Error::Out(_) | Error::Page(PageError::Stays { .. }))
}

/// The variant of an error, and the page that it names.
pub const fn kind(error: &Error) -> (&'static str, Option<u64>) {
    match error {
        Error::Range(RangeError::Empty(_)) => ("Empty", None),
        Error::Range(RangeError::Wraps { .. }) => ("Wraps", None),
        Error::Range(RangeError::NotBlockAligned { .. }) => ("NotBlockAligned", None),
        Error::Range(RangeError::BeyondLinearMap { .. }) => ("BeyondLinearMap", None),
        Error::Range(RangeError::Exists { .. }) => ("Exists", None),
        Error::Range(RangeError::NotOneBlock { .. }) => ("NotOneBlock", None),
        Error::Block(BlockError::MemmapUnplugged { .. }) => ("MemmapUnplugged", None),
        Error::Out(_) => ("Out", None),
        Error::Space(SpaceError::WouldSplit { .. }) => ("WouldSplit", None),
        Error::Block(BlockError::Absent(_)) => ("NoBlock", None),
        Error::Block(BlockError::State { .. }) => ("BlockState", None),
        Error::Page(PageError::Unmovable { pfn, .. }) => ("Unmovable", Some(pfn.get())),
        Error::Page(PageError::Stays { pfn, .. }) => ("Stays", Some(pfn.get())),
        Error::Page(PageError::Pinned { pfn, .. }) => ("Pinned", Some(pfn.get())),
        Error::Block(BlockError::NotWhole(_)) => ("NotWhole", None),
        Error::Page(PageError::NotPresent(_)) => ("NotPresent", None),
        Error::Page(PageError::State { .. }) => ("PageState", None),
        Error::Page(PageError::Poisoned(pfn)) => ("Poisoned", Some(pfn.get())),
        Error::Block(BlockError::Vetoed { .. }) => ("Vetoed", None),
        Error::Tenant(TenantError::Absent(_)) => ("NoTenant", None),
        Error::Altmap(AltmapError::Misplaced { .. } | AltmapError::TooLarge { .. }) => ("BadAltmap", None),
        Error::Altmap(AltmapError::Padding { .. }) => ("AltmapPadding", None),
        Error::Altmap(AltmapError::OnPrivate(_)) => ("AltmapOnPrivate", None),
        Error::Altmap(AltmapError::Ranges { .. }) => ("AltmapRanges", None),
        Error::Range(RangeError::NotSubsectionAligned(_)) => ("NotSubsectionAligned", None),
        Error::Device(DeviceError::Ranges { .. }) => ("DeviceRanges", None),
        Error::Device(DeviceError::Absent(_)) => ("NoDevice", None),
        Error::Device(DeviceError::Dying(_)) => ("DeviceGoes", None),
        Error::Altmap(AltmapError::HeldTogether { .. }) => ("HeldTogether", None),
        Error::Device(DeviceError::Private(_)) => ("PrivateMemory", None),
        Error::Tenant(TenantError::Corrupt { .. }) => ("Corrupt", None),
        _ => ("another error", None),
    }
}

impl Answer {
    /// Fails the test when `result` is not this answer.
    ///
    /// # Panics
    /// Then.
    pub fn assert<T>(self, result: &Result<T>, what: &str) {
        let got = result.as_ref().err().map(kind);
        let right = match (self, got) {
            (Self::Done | Self::DoneOrOut, None) | (Self::DoneOrOut, Some(("Out" | "Stays", _))) => true,
            (Self::Refused(name, page), Some((is, names))) => name == is && (page.is_none() || page == names),
            _ => false,
        };
        let said = result.as_ref().err().map(ToString::to_string);
        assert!(right, "{what}: expected {self:x?}, got {got:x?}: {said:?}");
    }
}

impl Reference {
    /// Adding `len` bytes at `start`.
    pub fn add(&self, machine: &Emulated, seen: &Seen, start: u64, len: u64, home: MemmapHome) -> Answer {
        let size = self.block_bytes();
        let base = layout::base(self.spec, self.ram_start);
        let reach = base..(base + (1 << 47)).min(1 << 48);
        let Some(end) = start.checked_add(len) else { return Answer::Refused("Wraps", None) };
        if len == 0 {
            return Answer::Refused("Empty", None);
        }
        if !start.is_multiple_of(size) || !len.is_multiple_of(size) {
            return Answer::Refused("NotBlockAligned", None);
        }
        if start < reach.start || end > reach.end {
            return Answer::Refused("BeyondLinearMap", None);
        }
        if self.starts(start..end).any(|block| self.blocks.contains_key(&block)) {
            return Answer::Refused("Exists", None);
        }
        // A device in a section keeps memory out of all of it.
        if self.sections().iter().any(|s| (start..end).contains(s)) || self.is_given(&(start..end)) {
            return Answer::Refused("Exists", None);
        }
        match self.wrong_altmap(start..end, home) {
            // The linear map comes first.
            Some(_)
                if self.free(ZoneKind::Normal, &self.used(seen))
                    < self.linear_tables(machine, start..end) =>
            {
                OUT
            }
            Some(wrong) => wrong,
            None => self.room_to_add(machine, seen, start..end, home),
        }
    }

    /// What is wrong with a driver's altmap: it starts and fits the range, its first block (4K) is aligned without padding,
    /// and there is no fallback when it is too small.
    fn wrong_altmap(&self, range: Range<u64>, home: MemmapHome) -> Option<Answer> {
        let MemmapHome::Given(altmap) = home else { return None };
        let (page, len) = (self.spec.page, (range.end - range.start) / self.spec.page);
        let fits = altmap.reserve().checked_add(altmap.free()).is_some_and(|offset| offset <= len);
        let needed = (range.end - range.start) / self.block_bytes() * self.memmap_frames();
        if altmap.base_pfn().get() != range.start / page || !fits {
            Some(Answer::Refused("BadAltmap", None))
        } else if page == 0x1000 && !altmap.reserve().is_multiple_of(512) {
            Some(Answer::Refused("AltmapPadding", None))
        } else {
            (altmap.free() < needed).then_some(OUT)
        }
    }

    fn room_to_add(&self, machine: &Emulated, seen: &Seen, range: Range<u64>, home: MemmapHome) -> Answer {
        let blocks = (range.end - range.start) / self.block_bytes();
        let tables = self.tables_to_add(machine, range);
        let memmap = match home {
            MemmapHome::Ram => blocks * self.memmap_frames(),
            // The image: two frames, and the table that tables_to_add counts.
            MemmapHome::Demand if self.on_demand().next().is_none() => 2,
            _ => 0,
        };
        let tables = tables + self.image_tables(home);
        // At 4K memmap in system RAM is blocks while there are free runs, and base pages under a table each after that.
        let cut = if self.spec.page == 0x1000 && home == MemmapHome::Ram { blocks } else { 0 };
        self.room(seen, tables, memmap, cut)
    }

    /// Whether Normal has room for tables and for memmap, of which `cut` blocks may have to be base pages.
    pub(super) fn room(&self, seen: &Seen, tables: u64, memmap: u64, cut: u64) -> Answer {
        let used = self.used(seen);
        let free = self.free(ZoneKind::Normal, &used);
        // Making a block moves tenants' pages out of Normal, as far as Movable has room.
        let room = self.free(ZoneKind::Movable, &used);
        let pulled = if cut == 0 { 0 } else { room.min(self.tenants_in_zone(seen, ZoneKind::Normal)) };
        let lendable = self.lendable(seen, ZoneKind::Normal);
        match free {
            _ if free + pulled < tables + memmap => OUT,
            _ if free < tables + memmap + cut + lendable => Answer::DoneOrOut,
            _ => Answer::Done,
        }
    }

    /// The tables that mapping a range linearly will make.
    fn linear_tables(&self, machine: &Emulated, range: Range<u64>) -> u64 {
        let (base, len) = (layout::base(self.spec, self.ram_start), range.end - range.start);
        let va = layout::LINEAR.start + (range.start - base);
        let linear = Mapping { va, pa: range.start, len, max_leaf: len };
        need::tables(self.spec, machine.memory(), machine.root(), linear)
    }

    /// The tables that adding a range will make, while its memmap is in the largest leaves.
    pub fn tables_to_add(&self, machine: &Emulated, range: Range<u64>) -> u64 {
        let (spec, base, len) = (self.spec, layout::base(self.spec, self.ram_start), range.end - range.start);
        let block_leaf = spec.levels[2].size();
        let per_block = self.memmap_frames() * spec.page;
        let memmap = Mapping {
            va: layout::vmemmap(spec).start + (range.start - base) / spec.page * layout::STRUCT_PAGE,
            pa: 0,
            len: len / spec.page * layout::STRUCT_PAGE,
            max_leaf: if per_block == block_leaf { block_leaf } else { spec.page },
        };
        self.linear_tables(machine, range) + need::tables(spec, machine.memory(), machine.root(), memmap)
    }

    /// The tables of the image of a free block that an addition makes: one at 4K, with the first block on demand.
    pub fn image_tables(&self, home: MemmapHome) -> u64 {
        let first = home == MemmapHome::Demand && self.on_demand().next().is_none();
        u64::from(first && self.spec.page == 0x1000)
    }

    /// What taking `range` offline answers when a notifier vetoes: notifiers are asked before the pages are looked at.
    pub fn vetoed_offline(&self, range: Range<u64>, answer: Answer) -> Answer {
        let online = self.starts(range).any(|s| self.blocks.get(&s).is_some_and(|b| b.online.is_some()));
        let looked_at = matches!(
            answer,
            Answer::Done | Answer::DoneOrOut | Answer::Refused("Unmovable" | "Pinned" | "Stays", _)
        );
        if online && looked_at { Answer::Refused("Vetoed", None) } else { answer }
    }

    /// Bringing the block at `start` online.
    pub fn online(&self, start: u64) -> Answer {
        match self.blocks.get(&start) {
            None => Answer::Refused("NoBlock", None),
            Some(block) if block.online.is_some() => Answer::Refused("BlockState", None),
            Some(_) => Answer::Done,
        }
    }

    /// Taking the block at `start` offline by itself.
    pub fn offline(&self, seen: &Seen, start: u64) -> Answer {
        if self.blocks.get(&start).is_some_and(|block| block.online.is_none()) {
            return Answer::Refused("BlockState", None);
        }
        self.offline_all(seen, start..start + self.block_bytes())
    }

    /// Taking every block of a range offline that is not.
    pub fn offline_all(&self, seen: &Seen, range: Range<u64>) -> Answer {
        for start in self.starts(range.clone()) {
            let Some(block) = self.blocks.get(&start) else { return Answer::Refused("NoBlock", None) };
            if block.online.is_some() && block.spanned().len() != self.block_bytes() / self.spec.page {
                return Answer::Refused("NotWhole", None);
            }
        }
        let online = |start: &u64| self.blocks[start].online.is_some();
        if let Some(stuck) = self.starts(range.clone()).filter(online).find_map(|s| self.first_stuck(seen, s))
        {
            return stuck;
        }
        let used = self.used(seen);
        let moving: Vec<u64> =
            self.starts(range.clone()).flat_map(|s| self.tenant_frames_in(seen, s)).collect();
        let outside = self.blocks.keys().filter(|s| !range.contains(s));
        let room: u64 = outside.clone().map(|s| self.free_in(*s, &used).len()).sum();
        let lends = |s: &&u64| self.blocks[*s].online.is_some() && self.on_demand().any(|on| on == **s);
        let lendable = outside.filter(lends).count() as u64 * (self.memmap_frames() + 1);
        let all = moving.len() as u64;
        if lendable != 0 && all <= room && room < all + lendable {
            return Answer::DoneOrOut;
        }
        if lendable != 0 && all > room {
            return Answer::Refused("Stays", None);
        }
        // They move in order, as far as there is room.
        let first_left = moving.get(usize::try_from(room).unwrap_or(usize::MAX)).copied();
        first_left.map_or(Answer::Done, |frame| Answer::Refused("Stays", Some(frame)))
    }

    /// The first page in a block that cannot be moved, and why.
    fn first_stuck(&self, seen: &Seen, start: u64) -> Option<Answer> {
        self.first_stuck_in(seen, start, self.frames_of(start))
    }

    /// The first page of `block`, frames of the block at `start`, that cannot be moved, and why.
    pub(super) fn first_stuck_in(&self, seen: &Seen, start: u64, block: Range<u64>) -> Option<Answer> {
        let first = |frames: Frames| frames.within(block.clone()).first();
        let own = self.own_memmap(start);
        let others = seen
            .memmap
            .within(own.end.max(block.start)..block.end.max(own.end))
            .without(&self.lent_by(seen, start));
        let kernel = Frames::of(self.kernel.iter().map(|(f, order)| *f..f + (1 << order)));
        let fixed = [self.tables(seen), others, kernel, self.reserved.clone()].map(first);
        let unmovable = fixed.into_iter().flatten().min();
        let held = self.held.keys().filter_map(|va| seen.tenants.get(va)).copied();
        let pinned = held.chain(self.pinned.keys().copied()).filter(|f| block.contains(f)).min();
        let all = [("Unmovable", unmovable), ("Pinned", pinned)];
        let first = all.into_iter().filter_map(|(why, frame)| Some((frame?, why))).min();
        first.map(|(frame, why)| Answer::Refused(why, Some(frame)))
    }

    /// How many tenants' pages are in a block.
    pub fn tenants_in(&self, seen: &Seen, start: u64) -> u64 {
        seen.tenant_frames().within(self.frames_of(start)).len()
    }

    /// The frames of tenants in a block, ascending.
    fn tenant_frames_in(&self, seen: &Seen, start: u64) -> impl Iterator<Item = u64> + use<> {
        seen.tenant_frames().within(self.frames_of(start)).runs().into_iter().flatten()
    }

    fn tenants_in_zone(&self, seen: &Seen, zone: ZoneKind) -> u64 {
        self.zone(zone).into_iter().map(|start| self.tenants_in(seen, start)).sum()
    }

    /// Why a range cannot go, whatever state its blocks are in.
    pub fn refuse_parted(&self, range: Range<u64>) -> Option<Answer> {
        let blocks = self.starts(range.clone()).map(|block| self.blocks.get(&block));
        if blocks.clone().any(|block| block.is_none()) {
            return Some(Answer::Refused("NoBlock", None));
        }
        let inside = |group: &Range<u64>| range.start <= group.start && group.end <= range.end;
        let parted = blocks.flatten().any(|block| !inside(&block.group));
        parted.then_some(Answer::Refused("HeldTogether", None))
    }

    /// Removing a range.
    pub fn remove(&self, start: u64, len: u64) -> Answer {
        if let Some(refused) = self.refuse_parted(start..start + len) {
            return refused;
        }
        let mut blocks = self.starts(start..start + len).map(|block| self.blocks.get(&block));
        if blocks.any(|block| block.is_some_and(|b| b.online.is_some())) {
            return Answer::Refused("BlockState", None);
        }
        Answer::Done
    }
}
