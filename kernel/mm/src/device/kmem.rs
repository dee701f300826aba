//! Device memory given to the system, and back (Linux: `drivers/dax/kmem.c`): the device's page map goes, and the whole memory
//! blocks inside of it come as hot-plugged memory does; or the reverse. Either way all of it happens, or nothing.
//!
//! Who may veto is asked first, before a byte of the device is written over. An undo that has to make again what was taken
//! down takes memory, but only what the same operation has just given back (a memmap in system RAM may come back in other
//! frames), and cannot be refused: neither injected faults nor notifiers apply to it. What memory writes into its blocks (their
//! memmap) is not undone: a device's contents are gone once its memory is the system's, or nearly was.

use crate::device::given::Kmem;
use crate::device::pagemap::{DeviceState, Pagemap};
use crate::device::range::DeviceRange;
use crate::error::{
    BlockError, BlockIs, BlockNeeds, DeviceError, Error, PageError, RangeError, Resource, Result,
};
use crate::frame::block::{BlockState, Source};
use crate::frame::zone::ZoneKind;
use crate::hotplug::home::MemmapHome;
use crate::hotplug::notify::Direction;
use crate::hotplug::range::HotRange;
use crate::hotplug::step::Step;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::{Pfn, PfnRange};

impl<M: Machine> Mm<M> {
    /// The devices whose memory the system has.
    pub fn kmem(&self) -> &[Kmem] {
        self.kmem.as_slice()
    }

    /// The device that a range would overlap although nothing is present there: its memory comes back.
    pub(crate) fn kmem_at(&self, pages: PfnRange) -> Option<Pfn> {
        self.kmem().iter().map(Kmem::device).find(|device| device.overlaps(&pages)).map(|device| device.start)
    }

    /// Give a device's memory to the system: its whole memory blocks go online in `zone`.
    ///
    /// # Errors
    /// `NoDevice`, `DeviceRanges` for more than one, `Pinned` when a page of it is held, `PrivateMemory` when the CPU does
    /// not reach it, `NotBlockAligned` when there is no whole block inside, or why the memory cannot be plugged; the device is as before then.
    pub fn device_to_memory(&mut self, start: Pfn, home: MemmapHome, zone: ZoneKind) -> Result<PfnRange> {
        let g = self.granule();
        let (device, memory) = self.movable_device(start)?;
        let bytes = memory.addresses(g);
        self.frames.may_fail(Resource::Heap { bytes: size_of::<Kmem>() })?;
        self.kmem.reserve(1)?;
        if let Err(veto) = self.notifiers.ask(Direction::Online, bytes) {
            self.kmem.shrink();
            return Err(veto);
        }
        self.undo_memremap(start);
        let plugged = self.unasked(|mm| {
            let range = HotRange::new(mm, bytes.start, bytes.len(), Source::Kmem)?.on_node(device.node);
            mm.plug(&range, home, zone, |_, _| {})
        });
        if let Err(error) = plugged {
            self.again(|mm| mm.memremap_pages(&device, |_, _| {}));
            self.kmem.shrink();
            self.notifiers.cancel(Direction::Online, bytes);
            return Err(error);
        }
        self.kmem.insert(Kmem { device, memory, home });
        self.notifiers.done(Direction::Online, bytes);
        Ok(memory)
    }

    /// The device at `start`, of which no page is held, and the whole memory blocks inside.
    fn movable_device(&self, start: Pfn) -> Result<(DeviceRange, PfnRange)> {
        let g = self.granule();
        let pagemap =
            self.devices.get(start.get()).ok_or(Error::Device(DeviceError::Absent(start.address(g))))?;
        let Pagemap { ranges, kind, .. } = *pagemap;
        if pagemap.state() != DeviceState::Live {
            return Err(Error::Device(DeviceError::Dying(start.address(g))));
        }
        if let Some((pfn, refs)) = self.first_held(start) {
            return Err(Error::Page(PageError::Pinned { pfn, refs }));
        }
        let [pages] = *ranges.as_slice() else {
            return Err(Error::Device(DeviceError::Ranges { ranges: ranges.as_slice().len(), most: 1 }));
        };
        let bytes = pages.addresses(g);
        if !kind.is_reachable() {
            return Err(Error::Device(DeviceError::Private(bytes)));
        }
        let first = bytes.start.checked_align_up(g.section_size).unwrap_or(bytes.end);
        let memory = PfnRange {
            start: Pfn::containing(g, first),
            end: Pfn::containing(g, bytes.end.align_down(g.section_size)),
        };
        if memory.is_empty() {
            return Err(Error::Range(RangeError::NotBlockAligned { range: bytes, block: g.section_size }));
        }
        let device = self.range_of(start).ok_or(Error::Device(DeviceError::Absent(start.address(g))))?;
        Ok((device, memory))
    }

    /// Take the memory back that the device at `start` gave to the system: what is in use moves away.
    ///
    /// # Errors
    /// `NoDevice`, why a block cannot go, or what making the device again ran out of; every block is in the state in which it
    /// was then.
    pub fn memory_to_device(&mut self, start: Pfn) -> Result<u64> {
        let g = self.granule();
        let Kmem { device, memory, home } = self
            .kmem
            .get(start.get())
            .cloned()
            .ok_or(Error::Device(DeviceError::Absent(start.address(g))))?;
        let zone = self.common_state(memory)?;
        let offlined = self.unplug_kmem(memory.addresses(g))?;
        // Before its record goes, which it would conflict with.
        let record = self.kmem.remove(start.get());
        if let Err(error) = self.memremap_pages(&device, |_, _| {}) {
            self.again(|mm| mm.plug_again(memory, device.node, home, zone));
            record.into_iter().for_each(|record| self.kmem.insert(record));
            return Err(error);
        }
        self.kmem.shrink();
        Ok(offlined.migrated)
    }

    /// The zone that all blocks of `memory` are in, or none where all are offline.
    fn common_state(&self, memory: PfnRange) -> Result<Option<ZoneKind>> {
        let g = self.granule();
        let state = |start: Pfn| self.frames.blocks.get(start.get()).map(|block| block.state);
        let first = state(memory.start);
        let other = memory.blocks(g).find(|start| state(*start) != first);
        match (first, other) {
            (Some(first), None) => Ok(first.zone()),
            (_, other) => {
                let block = other.unwrap_or(memory.start).address(g);
                let is = other.and_then(state).map_or(BlockIs::Absent, BlockState::described);
                Err(Error::Block(BlockError::State { block, is, needs: BlockNeeds::SameState }))
            }
        }
    }

    fn plug_again(
        &mut self,
        memory: PfnRange,
        node: u32,
        home: MemmapHome,
        zone: Option<ZoneKind>,
    ) -> Result<()> {
        let g = self.granule();
        let bytes = memory.addresses(g);
        let range = HotRange::new(self, bytes.start, bytes.len(), Source::Kmem)?.on_node(node);
        match zone {
            Some(zone) => self.plug(&range, home, zone, |_, _: Step| {}),
            None => self.add_memory(&range, home, |_, _| {}),
        }
    }

    /// Do something without the notifiers.
    fn unasked<T>(&mut self, act: impl FnOnce(&mut Self) -> T) -> T {
        let notifiers = core::mem::take(&mut self.notifiers);
        let result = act(self);
        self.notifiers = notifiers;
        result
    }

    /// Make again what this operation has just taken down: there is room for it, since that is where it was.
    fn again(&mut self, make: impl FnOnce(&mut Self) -> Result<()>) {
        let faults = core::mem::take(&mut self.frames.faults);
        let made = self.unasked(make);
        self.frames.faults = faults;
        debug_assert!(made.is_ok(), "what was there a moment ago fits again: {made:?}");
    }
}
