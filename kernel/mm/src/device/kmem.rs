//! Device memory given to the system, and back (Linux: `drivers/dax/kmem.c`): the device's page map goes, and the whole
//! memory blocks inside of it are plugged; or the reverse. An operation that fails undoes its part.
//!
//! The notifiers are asked first, before a byte of the device is written over. An undo that makes again what was taken down
//! needs as much memory as the same operation has just given back (a memmap in system RAM may come back in other frames), and
//! cannot be refused: neither injected faults nor notifiers apply to it. The memmap that was written into the blocks is not
//! undone: the device's contents are lost there.

use alloc::vec::Vec;

use crate::device::devices::Devices;
use crate::device::given::Kmem;
use crate::device::memremap::undo_memremap;
use crate::device::pagemap::DeviceState;
use crate::device::range::DeviceRange;
use crate::error::{BlockError, BlockIs, BlockNeeds, DeviceError, PageError, RangeError, Resource, Result};
use crate::frame::Frames;
use crate::frame::block::{BlockState, Source};
use crate::frame::page::PageKind;
use crate::frame::zone::ZoneKind;
use crate::hotplug::home::MemmapHome;
use crate::hotplug::notify::Direction;
use crate::hotplug::range::HotRange;
use crate::list;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::{Pfn, PfnRange};
use crate::stop::Stop;

impl<M: Machine> Mm<M> {
    /// Gives a device's memory to the system: its whole memory blocks go online in `zone`.
    ///
    /// # Errors
    /// As [`Devices::movable`], or why the memory cannot be plugged; the device is as before then.
    pub fn device_to_memory(&mut self, start: Pfn, home: MemmapHome, zone: ZoneKind) -> Result<PfnRange> {
        let (device, memory) = self.devices.movable(&self.frames, start)?;
        let bytes = memory.addresses(self.granule());
        self.frames.may_fail(Resource::Heap { bytes: size_of::<Kmem>() })?;
        self.devices.kmem.reserve(1)?;
        if let Err(veto) = self.notifiers.ask(Direction::Online, bytes) {
            self.devices.kmem.shrink();
            return Err(veto);
        }
        undo_memremap(&mut self.space, &mut self.frames, &mut self.devices, &device);
        if let Err(error) = unasked(self, |mm| plug(mm, memory, device.node, home, Some(zone))) {
            again(self, |mm| mm.memremap_pages(&device, |_, _| {}));
            self.devices.kmem.shrink();
            self.notifiers.cancel(Direction::Online, bytes);
            return Err(error);
        }
        self.devices.kmem.insert(Kmem { device, memory, home });
        self.notifiers.done(Direction::Online, bytes);
        Ok(memory)
    }

    /// Takes the memory back that the device at `start` gave to the system: what is in use moves away.
    ///
    /// # Errors
    /// `DeviceError::Absent`, why a block cannot go, or what making the device again ran out of; every block is in the
    /// state in which it was then.
    pub fn memory_to_device(&mut self, start: Pfn) -> Result<u64> {
        self.memory_to_device_unless(start, &mut |_| false)
    }

    /// [`Self::memory_to_device`], unless `stop` ends it.
    ///
    /// # Errors
    /// As [`Self::memory_to_device`] and [`Self::offline_pages_unless`].
    pub fn memory_to_device_unless(&mut self, start: Pfn, stop: Stop<'_>) -> Result<u64> {
        let g = self.granule();
        let given = self.devices.kmem.get(start.get()).cloned();
        let Kmem { device, memory, home } = given.ok_or(DeviceError::Absent(start.address(g)))?;
        let zone = common_state(&self.frames, memory)?;
        let poisoned = poisoned(&mut self.frames, memory)?;
        let offlined = self.unplug_kmem(memory.addresses(g), stop)?;
        // Before its record goes, which it would conflict with.
        let record = self.devices.kmem.remove(start.get());
        if let Err(error) = self.memremap_pages(&device, |_, _| {}) {
            again(self, |mm| plug_again(mm, memory, device.node, home, zone, &poisoned));
            record.into_iter().for_each(|record| self.devices.kmem.insert(record));
            return Err(error);
        }
        self.devices.kmem.shrink();
        Ok(offlined.migrated)
    }
}

impl Devices {
    /// The device at `start`, of which no page is held, and the whole memory blocks inside.
    ///
    /// # Errors
    /// `DeviceError::Absent`; `DeviceError::Dying`; `DeviceError::Ranges` for more than one; `DeviceError::Private` when
    /// the CPU does not reach it; `PageError::Pinned` when a page of it is held; `RangeError::NotBlockAligned` when there
    /// is no whole block inside.
    fn movable<M: Machine>(&self, frames: &Frames<M>, start: Pfn) -> Result<(DeviceRange, PfnRange)> {
        let (g, device) = (frames.granule(), self.range_of(frames, start)?);
        if self.at(g, start)?.state() != DeviceState::Live {
            return Err(DeviceError::Dying(start.address(g)).into());
        }
        if let Some((pfn, refs)) = self.first_held(frames, start) {
            return Err(PageError::Pinned { pfn, refs }.into());
        }
        let [pages] = *device.ranges.as_slice() else {
            return Err(DeviceError::Ranges { ranges: device.ranges.as_slice().len(), most: 1 }.into());
        };
        let range = pages.addresses(g);
        if !device.kind.is_reachable() {
            return Err(DeviceError::Private(range).into());
        }
        let memory = PfnRange {
            start: pages.start.align_up(g.section_order),
            end: pages.end.align_down(g.section_order),
        };
        if memory.is_empty() {
            return Err(RangeError::NotBlockAligned { range, block: g.section_size }.into());
        }
        Ok((device, memory))
    }
}

/// The zone that all blocks of `memory` are in, or none where all are offline.
///
/// # Errors
/// `BlockError::State` where they are in different states.
fn common_state<M: Machine>(frames: &Frames<M>, memory: PfnRange) -> Result<Option<ZoneKind>> {
    let g = frames.granule();
    let state = |start: Pfn| frames.state_of(start);
    let first = state(memory.start);
    let other = frames.pieces(memory).find(|piece| piece.state != first).map(|piece| piece.pages.start);
    match (first, other) {
        (Some(first), None) => Ok(first.zone()),
        (_, other) => {
            let block = other.unwrap_or(memory.start).address(g);
            let is = other.and_then(state).map_or(BlockIs::Absent, BlockState::described);
            Err(BlockError::State { block, is, needs: BlockNeeds::SameState }.into())
        }
    }
}

/// Adds a device's `memory`, and brings it online in `zone` if there is one.
fn plug<M: Machine>(
    mm: &mut Mm<M>,
    memory: PfnRange,
    node: u32,
    home: MemmapHome,
    zone: Option<ZoneKind>,
) -> Result<()> {
    let bytes = memory.addresses(mm.granule());
    let range = HotRange::new(mm, bytes.start, bytes.len(), Source::Kmem)?.on_node(node);
    match zone {
        Some(zone) => mm.plug(&range, home, zone, |_, _| {}),
        None => mm.add_memory(&range, home, |_, _| {}),
    }
}

/// Plugs `memory` as it was before: with these poisoned pages, which are marked as any page is, in a block that is online.
fn plug_again<M: Machine>(
    mm: &mut Mm<M>,
    memory: PfnRange,
    node: u32,
    home: MemmapHome,
    zone: Option<ZoneKind>,
    poisoned: &[Pfn],
) -> Result<()> {
    if poisoned.is_empty() {
        return plug(mm, memory, node, home, zone);
    }
    plug(mm, memory, node, home, Some(zone.unwrap_or(ZoneKind::Movable)))?;
    for &pfn in poisoned {
        mm.poison(pfn)?;
    }
    if zone.is_none() {
        mm.offline_pages(memory)?;
    }
    Ok(())
}

/// The poisoned pages of `memory`, ascending.
///
/// # Errors
/// `Out` of the heap.
fn poisoned<M: Machine>(frames: &mut Frames<M>, memory: PfnRange) -> Result<Vec<Pfn>> {
    let g = frames.granule();
    let mut found = Vec::new();
    let keys = memory.start.get()..memory.end.get();
    let count: u64 = frames.blocks.range(keys.clone()).iter().map(|block| block.poisoned).sum();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count == 0 {
        return Ok(found);
    }
    frames.may_fail(Resource::Heap { bytes: count.saturating_mul(size_of::<Pfn>()) })?;
    list::reserve(&mut found, count)?;
    for block in frames.blocks.range(keys).iter().filter(|block| block.poisoned > 0) {
        let (mut at, end) = (block.start, block.start + g.section_pages);
        while at < end {
            let (kind, head) = frames.pages().use_of(at);
            if kind == PageKind::Poisoned {
                found.push(head);
            }
            at = head + (1 << frames.pages().get(head).order());
        }
    }
    Ok(found)
}

/// Does something without the notifiers.
fn unasked<M: Machine, T>(mm: &mut Mm<M>, act: impl FnOnce(&mut Mm<M>) -> T) -> T {
    let notifiers = core::mem::take(&mut mm.notifiers);
    let result = act(mm);
    mm.notifiers = notifiers;
    result
}

/// Makes again what this operation has just taken down: there is room for it, since that is where it was.
fn again<M: Machine>(mm: &mut Mm<M>, make: impl FnOnce(&mut Mm<M>) -> Result<()>) {
    let faults = core::mem::take(&mut mm.frames.faults);
    let made = unasked(mm, make);
    mm.frames.faults = faults;
    debug_assert!(made.is_ok(), "what was there a moment ago fits again: {made:?}");
}
