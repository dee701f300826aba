//! Host model. The machine under the models: memory, a node's free RAM, devices with an altmap, and which sections are
//! valid. Every frame taken or given back and every entry written is logged: golden tests read the log, undo runs it
//! backwards.

use std::collections::BTreeSet;

use hotmap_emulator::arch::walker::Memory;
use hotmap_emulator::machine::memory::PhysMemory;
use hotmap_mm::addr::{PhysAddr, VirtRange};
use hotmap_mm::error::Resource;
use hotmap_mm::frame::altmap::Altmap;
use hotmap_mm::pfn::{Pfn, PfnRange};

use crate::error::{Error, Result};
use crate::geometry::Geometry;
use crate::log::{Event, Frames, Source, Use};
use crate::pool::Pool;

struct Device {
    range: PfnRange,
    altmap: Altmap,
}

/// The altmap that a range was found to have: a copy of its account, which becomes the device's with [`Host::commit`].
pub(crate) struct Resolved(Option<(usize, Altmap)>);

impl Resolved {
    /// The altmap, if there is one.
    pub(crate) fn altmap(&mut self) -> Option<&mut Altmap> {
        self.0.as_mut().map(|(_, altmap)| altmap)
    }
}

/// The machine.
pub struct Host {
    geometry: Geometry,
    memory: PhysMemory,
    ram: Pool,
    devices: Vec<Device>,
    valid: BTreeSet<u64>,
    log: Vec<Event>,
    warnings: Vec<&'static str>,
    lookups: u64,
    fail_in: Option<u64>,
}

impl Host {
    /// Makes a machine whose free RAM is `ram`; its other pages are in use.
    pub fn new(geometry: Geometry, ram: PfnRange) -> Self {
        let memory = PhysMemory::default();
        memory.plug(ram.start.get() << geometry.page_shift, ram.len() << geometry.page_shift);
        Self {
            geometry,
            memory,
            ram: Pool::new(ram),
            devices: Vec::new(),
            valid: BTreeSet::new(),
            log: Vec::new(),
            warnings: Vec::new(),
            lookups: 0,
            fail_in: None,
        }
    }

    /// Adds a device of whole sections; its altmap is `free` pages after the first `reserve`.
    ///
    /// # Errors
    /// `NotSections`, `BeyondVmemmap`, `BadAltmap`; `Straddles` where another device is.
    pub fn plug(&mut self, range: PfnRange, reserve: u64, free: u64) -> Result<()> {
        self.geometry.whole_sections(range)?;
        let offset = reserve.saturating_add(free);
        if offset == 0 || offset > range.len() {
            return Err(Error::BadAltmap { device: range, offset });
        }
        if let Some(at) = self.device_over(range) {
            return Err(Error::Straddles { range, device: self.devices[at].range });
        }
        let (start, len) = (self.geometry.address(range.start), offset << self.geometry.page_shift);
        self.memory.plug(start.get(), len);
        self.devices.push(Device { range, altmap: Altmap::new(range.start, reserve, free) });
        Ok(())
    }

    /// Removes the device that starts at `start`.
    ///
    /// # Errors
    /// `NoDevice`; `InUse` while memmap is in its altmap.
    pub fn unplug(&mut self, start: Pfn) -> Result<()> {
        let at = self.devices.iter().position(|d| d.range.start == start).ok_or(Error::NoDevice(start))?;
        let alloc = self.devices[at].altmap.alloc();
        if alloc != 0 {
            return Err(Error::InUse { device: start, alloc });
        }
        self.memory.unplug(self.geometry.address(start).get());
        self.devices.remove(at);
        Ok(())
    }

    /// Finds the altmap of `range` (Linux: `to_vmem_altmap`).
    ///
    /// # Errors
    /// `Straddles`.
    pub(crate) fn resolve(&mut self, range: PfnRange) -> Result<Resolved> {
        self.lookups += 1;
        let Some(at) = self.device_over(range) else { return Ok(Resolved(None)) };
        let device = self.devices[at].range;
        if range.start < device.start || device.end < range.end {
            return Err(Error::Straddles { range, device });
        }
        Ok(Resolved(Some((at, self.devices[at].altmap))))
    }

    fn device_over(&self, range: PfnRange) -> Option<usize> {
        self.devices.iter().position(|d| d.range.start < range.end && range.start < d.range.end)
    }

    /// Clears the log.
    pub(crate) fn begin(&mut self) {
        self.log.clear();
    }
    /// Keeps the account of the altmap and makes the sections of `range` valid, after a populate that worked.
    pub(crate) fn commit(&mut self, resolved: Resolved, range: PfnRange) {
        if let Some((at, altmap)) = resolved.0 {
            self.devices[at].altmap = altmap;
        }
        self.valid.extend(self.sections(range));
    }
    /// Undoes everything in the log, in reverse order. The device's altmap was not changed: the hook worked on a copy.
    pub(crate) fn roll_back(&mut self) {
        for event in std::mem::take(&mut self.log).into_iter().rev() {
            match event {
                Event::Wrote { at, old, .. } => self.memory.poke(at.get(), old),
                Event::Taken(Frames { from: Source::Ram, first, pages, .. }) => self.ram.give(first, pages),
                Event::Taken(_) => {}
                Event::Given(frames) => unreachable!("populate gives nothing back: {frames:?}"),
            }
        }
    }
    /// Makes the sections of `range` invalid.
    pub(crate) fn forget(&mut self, range: PfnRange) {
        for section in self.sections(range) {
            self.valid.remove(&section);
        }
    }
    fn sections(&self, range: PfnRange) -> std::ops::Range<u64> {
        self.geometry.sections(self.geometry.memmap(range))
    }

    /// # Errors
    /// `NotSections`, `BeyondVmemmap`, `Exists`.
    pub(crate) fn check_absent(&self, range: PfnRange) -> Result<()> {
        let present = self.geometry.whole_sections(range)?.find(|section| self.valid.contains(section));
        present.map_or(Ok(()), |section| Err(Error::Exists(self.first_page(section))))
    }
    /// # Errors
    /// `NotSections`, `BeyondVmemmap`, `NotPresent`.
    pub(crate) fn check_present(&self, range: PfnRange) -> Result<()> {
        let absent = self.geometry.whole_sections(range)?.find(|section| !self.valid.contains(section));
        absent.map_or(Ok(()), |section| Err(Error::NotPresent(self.first_page(section))))
    }
    const fn first_page(&self, section: u64) -> Pfn {
        Pfn::new(section * self.geometry.section_pages())
    }
    /// Whether a valid section has a struct page in `memmap` (I7; powerpc's `vmemmap_populated`).
    pub fn is_needed(&self, memmap: VirtRange) -> bool {
        self.geometry.sections(memmap).any(|section| self.valid.contains(&section))
    }

    /// Takes `pages` frames for memmap from the altmap, or from RAM if there is no altmap. Every architecture calls this
    /// (Linux: `__vmemmap_alloc_block_buf`).
    ///
    /// # Errors
    /// `Out`.
    pub fn memmap(&mut self, altmap: Option<&mut Altmap>, pages: u64) -> Result<PhysAddr> {
        self.take(Use::Memmap, altmap, pages).map(|frames| self.geometry.address(frames.first))
    }
    /// Takes frames for a table from RAM.
    ///
    /// # Errors
    /// `Out`.
    pub fn table(&mut self, pages: u64) -> Result<PhysAddr> {
        self.take(Use::Table, None, pages).map(|frames| self.geometry.address(frames.first))
    }
    /// Takes frames for any use; `pages` is a power of two.
    ///
    /// # Errors
    /// `Out`.
    pub fn take(&mut self, what: Use, altmap: Option<&mut Altmap>, pages: u64) -> Result<Frames> {
        let out = Error::Out(match altmap {
            Some(_) => Resource::Altmap { pages },
            None => Resource::Frames { order: pages.ilog2() },
        });
        if self.must_fail() {
            return Err(out);
        }
        let (from, first) = match altmap {
            Some(altmap) => (Source::Altmap(altmap.base_pfn()), altmap.allocate(pages).map_err(|_| out)?),
            None => (Source::Ram, self.ram.take(pages).ok_or(out)?),
        };
        let frames = Frames { what, from, first, pages };
        self.log.push(Event::Taken(frames));
        Ok(frames)
    }
    /// Gives frames back to the altmap that they lie in, or to RAM.
    pub fn give_back(&mut self, what: Use, at: PhysAddr, pages: u64) {
        let first = self.geometry.pfn(at);
        let from = match self.devices.iter_mut().find(|d| d.altmap.frames().contains(first)) {
            Some(device) => {
                device.altmap.release(first, pages);
                Source::Altmap(device.range.start)
            }
            None => {
                self.ram.give(first, pages);
                Source::Ram
            }
        };
        self.log.push(Event::Given(Frames { what, from, first, pages }));
    }

    /// The 64 bits at `at`.
    pub fn read(&self, at: PhysAddr) -> u64 {
        self.memory.read(at.get())
    }
    /// Changes an entry.
    pub fn write(&mut self, at: PhysAddr, new: u64) {
        self.log.push(Event::Wrote { at, old: self.read(at), new });
        self.memory.poke(at.get(), new);
    }
    /// Fills a table that is not in use yet. It is not logged, because its old contents have no meaning.
    pub fn fill(&mut self, table: PhysAddr, entries: u64, value: u64) {
        for i in 0..entries {
            self.memory.poke((table + i * 8).get(), value);
        }
    }

    /// Warns once: a second warning with the same text does nothing.
    pub fn warn_once(&mut self, warning: &'static str) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
    /// Makes the allocation after `after` more fail; [`Self::has_failed`] tells whether it was reached.
    pub fn fail_after(&mut self, after: u64) {
        self.fail_in = Some(after);
    }
    /// Whether the failure that was armed has happened; disarms it.
    pub fn has_failed(&mut self) -> bool {
        self.fail_in.take().is_none()
    }
    fn must_fail(&mut self) -> bool {
        let now = self.fail_in == Some(0);
        self.fail_in = if now { None } else { self.fail_in.map(|after| after - 1) };
        now
    }

    /// The log of the last operation.
    pub fn log(&self) -> &[Event] {
        &self.log
    }
    /// The warnings, each once.
    pub fn warnings(&self) -> &[&'static str] {
        &self.warnings
    }
    /// How often an altmap was resolved.
    pub const fn lookups(&self) -> u64 {
        self.lookups
    }
    /// The node's free RAM.
    pub const fn ram(&self) -> &Pool {
        &self.ram
    }
    /// The altmap of the device that starts at `start`.
    pub fn altmap(&self, start: Pfn) -> Option<Altmap> {
        self.devices.iter().find(|d| d.range.start == start).map(|d| d.altmap)
    }
    /// The numbers of the valid sections.
    pub const fn valid(&self) -> &BTreeSet<u64> {
        &self.valid
    }
    /// The architecture's numbers.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }
}
