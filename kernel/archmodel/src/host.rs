//! Host model. The machine under the models: memory, a node's free RAM, devices with an altmap, and which sections are
//! valid. Every frame taken or given back and every entry written is logged: golden tests read the log, undo runs it
//! backwards.

use std::collections::BTreeSet;

use hotmap_mm::addr::{PhysAddr, VirtRange};
use hotmap_mm::error::Resource;
use hotmap_mm::pfn::{Pfn, PfnRange};
use hotmap_mm::vmemmap::altmap::Altmap;
use hotmap_testkit::arch::walker::Memory;
use hotmap_testkit::machine::memory::PhysMemory;

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
    /// A machine whose free RAM is `ram`; its other pages are somebody else's.
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

    /// A device of whole sections appears; its altmap is `free` pages after the first `reserve`.
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

    /// The device that starts at `start` goes.
    ///
    /// # Errors
    /// `NoDevice`; `InUse` while somebody's memmap is in its altmap.
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

    /// Find the altmap of `range` (Linux: `to_vmem_altmap`).
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

    /// The log starts again.
    pub(crate) fn begin(&mut self) {
        self.log.clear();
    }
    /// The populate of `range` has worked.
    pub(crate) fn commit(&mut self, resolved: Resolved, range: PfnRange) {
        if let Some((at, altmap)) = resolved.0 {
            self.devices[at].altmap = altmap;
        }
        self.valid.extend(self.sections(range));
    }
    /// Undo everything in the log, the last first. An altmap's own account was never touched.
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
    /// The sections of `range` are not valid any more.
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

    /// `pages` frames of memmap, from the altmap if there is one, and from nowhere else then: the one function that every
    /// architecture asks (Linux: `__vmemmap_alloc_block_buf`).
    ///
    /// # Errors
    /// `Out`.
    pub fn memmap(&mut self, altmap: Option<&mut Altmap>, pages: u64) -> Result<PhysAddr> {
        self.take(Use::Memmap, altmap, pages).map(|frames| self.geometry.address(frames.first))
    }
    /// Frames for a table, from RAM: an altmap never backs one.
    ///
    /// # Errors
    /// `Out`.
    pub fn table(&mut self, pages: u64) -> Result<PhysAddr> {
        self.take(Use::Table, None, pages).map(|frames| self.geometry.address(frames.first))
    }
    /// Frames for any use, `pages` a power of two.
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
    /// Give frames back to where they came from, which their number tells: the altmap that they lie in, or RAM.
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
    /// Change an entry.
    pub fn write(&mut self, at: PhysAddr, new: u64) {
        self.log.push(Event::Wrote { at, old: self.read(at), new });
        self.memory.poke(at.get(), new);
    }
    /// Fill a table that nobody uses yet; not logged, its old contents are nobody's.
    pub fn fill(&mut self, table: PhysAddr, entries: u64, value: u64) {
        for i in 0..entries {
            self.memory.poke((table + i * 8).get(), value);
        }
    }

    /// Warn, if nobody has warned of that before.
    pub fn warn_once(&mut self, warning: &'static str) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
    /// Make the allocation after `after` more fail; the answer of [`Self::has_failed`] tells whether it was reached.
    pub fn fail_after(&mut self, after: u64) {
        self.fail_in = Some(after);
    }
    /// Whether the failure asked for has happened; it is called off if not.
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
    /// What was warned of, each once.
    pub fn warnings(&self) -> &[&'static str] {
        &self.warnings
    }
    /// How often an altmap was looked for.
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
