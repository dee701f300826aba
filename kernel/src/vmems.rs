//! Virtio memory devices: each follows the size that it asks for. What is plugged and unplugged, and when, `hotmap-resize`
//! decides; this file adds the events, the retries, the log lines and the figures.
//!
//! ```text
//!  at boot, at each change of the configuration, at a retry, after `unpin`:  follow -> one line for what changed,
//!                                                                             one for each block that stays
//! ```

use alloc::vec::Vec;
use core::ops::Range;

use hotmap_mm::addr::{Bytes, PhysAddr, PhysRange};
use hotmap_mm::error::{RangeError, Result};
use hotmap_mm::granule::Granule;
use hotmap_mm::list;
use hotmap_mm::machine::Machine;
use hotmap_mm::mm::Mm;
use hotmap_mm::pfn::PfnRange;
use hotmap_resize::follow::MOST_TRIES;
use hotmap_resize::{Failure, Policy, Resizer, Status};
use virtio_mem::{Device, Fault};

use crate::arch::counter;
use crate::attention;
use crate::meter::{self, Meter, Spent};
use crate::{klog, kprintln};

/// The first retry comes after this many milliseconds, and each later one after twice as many as the one before.
const FIRST_RETRY: u64 = 20;

/// What the kernel needs of a device beside what the policy needs.
pub trait Driven: Device {
    /// Takes its interrupt; whether its configuration changed.
    fn take_interrupt(&mut self) -> bool;
    /// Resets it, and finds it anew.
    ///
    /// # Errors
    /// What is wrong with it.
    fn restart(&mut self) -> core::result::Result<(), Fault>;
    /// What has gone into waiting for it.
    fn waited(&self) -> Spent;
}

/// A device.
pub struct Vmem<D> {
    device: D,
    resizer: Resizer,
    /// Its configuration has changed since it was followed.
    changed: bool,
    /// When to try again, in ticks.
    retry_at: Option<u64>,
}

impl<D: Driven> Vmem<D> {
    /// What is known of it.
    pub const fn resizer(&self) -> &Resizer {
        &self.resizer
    }

    /// All of its region that the memory blocks of the granule may cover.
    fn pages(&self, g: Granule) -> PfnRange {
        let region = self.resizer.config().region();
        PfnRange::inside(g, range(&region))
    }

    fn is_due(&self) -> bool {
        self.retry_at.is_some_and(|at| now().wrapping_sub(at) < u64::MAX / 2)
    }

    /// Follows the size that it asks for, and says what changed.
    fn follow<M: Machine>(&mut self, mm: &mut Mm<M>) {
        let (before, waited) = (self.resizer.plugged().total(), self.device.waited());
        let was = self.resizer.status();
        let name = self.resizer.source();
        let meter = Meter::start(&mm.frames().counts());
        let mut stop = attention::of_offline(&name, mm, self.pages(mm.granule()));
        let status = self.resizer.follow(mm, &mut self.device, &mut stop);
        let meter = meter.stop(|| mm.frames().counts()).without(self.device.waited() - waited);
        self.say_what_changed(before, meter);
        if status != was || self.resizer.stuck_changed() {
            self.say_what_stays(mm.granule(), status);
        }
        self.retry_at = match status {
            Status::Waiting { tries } => Some(now() + after(tries)),
            _ => None,
        };
    }

    fn say_what_changed(&self, before: u64, meter: Meter) {
        let (name, plugged) = (self.resizer.source(), self.resizer.plugged().total());
        let (what, bytes) = match plugged.checked_sub(before) {
            Some(0) => return,
            Some(more) => ("plugged", more),
            None => ("unplugged", before - plugged),
        };
        let requested = Bytes(self.resizer.config().requested_size);
        klog!("{name}: {} {what}; {} of {requested} requested", Bytes(bytes), Bytes(plugged));
        if meter::is_on() {
            kprintln!("bench: {what} {bytes} {meter}");
        }
    }

    fn say_what_stays(&self, g: Granule, status: Status) {
        let name = self.resizer.source();
        if let Status::Failed(failure) = status {
            return kprintln!("{name}: given up: {failure}");
        }
        let mut said = None;
        // A retry that finds what the one before found says so in no line.
        let stays = if self.resizer.stuck_changed() { self.resizer.stuck().as_slice() } else { &[] };
        for stay in stays {
            let block = PhysAddr::new(stay.range.start).align_down(g.section_size);
            if said.replace(block) != Some(block) {
                kprintln!("{name}: {} stays as it is: {}", range(&stay.range), stay.why);
            }
        }
        match status {
            Status::Waiting { tries } => {
                klog!("{name}: try {tries} of {MOST_TRIES}; the next is by the timer")
            }
            Status::Stuck if self.resizer.stuck().is_empty() => {
                kprintln!("{name}: stuck: no more of its region can be used; request another size");
            }
            Status::Stuck => kprintln!("{name}: stuck: unpin what is held, or request another size"),
            _ => {}
        }
    }

    /// Forgets what it knows of the device, whose memory leaves the kernel and stays plugged, and finds it anew.
    ///
    /// # Errors
    /// Why some of its memory cannot leave, or what the heap has no room for; all of it is as it was then.
    fn rebind<M: Machine>(&mut self, mm: &mut Mm<M>) -> Result<()> {
        self.resizer.leave(mm, &mut |_| false)?;
        if let Err(fault) = self.device.restart() {
            self.resizer.fail(Failure::Fault(fault));
            return Ok(());
        }
        self.resizer.take_over(mm, &mut self.device)
    }
}

/// The devices.
pub struct Vmems<D> {
    all: Vec<Vmem<D>>,
}

impl<D: Driven> Default for Vmems<D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<D: Driven> Vmems<D> {
    /// None.
    pub const fn new() -> Self {
        Self { all: Vec::new() }
    }
    /// All of them, by number.
    pub fn all(&self) -> &[Vmem<D>] {
        &self.all
    }
    /// When one is to be tried again, in ticks.
    pub fn next_retry(&self) -> Option<u64> {
        self.all.iter().filter_map(|vmem| vmem.retry_at).min()
    }

    /// One more device, found at `place`: what it has plugged is taken over, and the size that it asks for followed.
    pub fn find<M: Machine>(
        &mut self,
        mm: &mut Mm<M>,
        device: D,
        policy: Policy,
        place: &dyn core::fmt::Display,
    ) {
        if let Err(fault) = self.try_find(mm, device, policy, place) {
            kprintln!("virtio-mem{} ({place}): refused: {fault}", self.all.len());
        }
    }

    fn try_find<M: Machine>(
        &mut self,
        mm: &mut Mm<M>,
        mut device: D,
        policy: Policy,
        place: &dyn core::fmt::Display,
    ) -> core::result::Result<(), Refused> {
        let config = device.config().map_err(Refused::Fault)?;
        let region = range(&config.region());
        let mut regions = self.all.iter().map(|vmem| range(&vmem.resizer.config().region()));
        if let Some(PhysRange { start: present, .. }) = regions.find(|other| other.overlaps(&region)) {
            return Err(Refused::Model(RangeError::Exists { range: region, present }.into()));
        }
        list::reserve(&mut self.all, 1).map_err(Refused::Model)?;
        let number = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        let mut resizer = Resizer::new(number, config, policy, mm.granule());
        let found = config.plugged_size;
        resizer.take_over(mm, &mut device).map_err(Refused::Model)?;
        klog!(
            "{} ({place}): {} at {}, in blocks of {}",
            resizer.source(),
            Bytes(config.region_size),
            PhysAddr::new(config.addr),
            Bytes(config.block_size)
        );
        if found != 0 {
            klog!("{}: {} plugged when it was found", resizer.source(), Bytes(found));
        }
        let mut vmem = Vmem { device, resizer, changed: false, retry_at: None };
        vmem.follow(mm);
        self.all.push(vmem);
        Ok(())
    }

    /// Takes the devices' interrupts; whether one of them has changed, or a retry is due.
    pub fn needs_service(&mut self) -> bool {
        self.all.iter_mut().fold(false, |needs, vmem| {
            vmem.changed |= vmem.device.take_interrupt();
            needs | vmem.changed | vmem.is_due()
        })
    }

    /// Follows the devices that have changed, or whose retry is due; then those that are stuck, if that moved memory, since
    /// their neighbour may have held them. `before` is called with the pages of each.
    pub fn service<M: Machine>(&mut self, mm: &mut Mm<M>, mut before: impl FnMut(PfnRange)) {
        let changed = |vmem: &Vmem<D>| vmem.changed || vmem.is_due();
        let stuck = |vmem: &Vmem<D>| vmem.resizer.status() == Status::Stuck;
        // Decided before the first is followed, so that none is followed twice. Boot finds at most 16 devices.
        let (mut first, mut then) = (0u32, 0u32);
        for (i, vmem) in self.all.iter().enumerate() {
            first |= u32::from(changed(vmem)) << i;
            then |= u32::from(stuck(vmem) && !changed(vmem)) << i;
        }
        for which in [first, then] {
            let mut moved = false;
            for (_, vmem) in self.all.iter_mut().enumerate().filter(|(i, _)| which >> i & 1 != 0) {
                vmem.changed = false;
                before(vmem.pages(mm.granule()));
                let used = vmem.resizer.in_use();
                vmem.follow(mm);
                moved |= vmem.resizer.in_use() != used;
            }
            // Two that wait for each other would be tried for ever.
            if !moved {
                return;
            }
        }
    }

    /// Something may move that could not: what is not steady is tried again.
    pub fn try_again<M: Machine>(&mut self, mm: &mut Mm<M>) {
        for vmem in &mut self.all {
            if matches!(vmem.resizer.status(), Status::Waiting { .. } | Status::Stuck) {
                vmem.resizer.note_change();
                vmem.follow(mm);
            }
        }
    }

    /// Forgets device `number`, and finds it anew, as after a reboot: what it has plugged stays plugged.
    ///
    /// # Errors
    /// Why its memory cannot leave the kernel; it is as it was then. `None` when there is no such device.
    pub fn rebind<M: Machine>(&mut self, mm: &mut Mm<M>, number: usize) -> Option<Result<()>> {
        let vmem = self.all.get_mut(number)?;
        let result = vmem.rebind(mm);
        vmem.follow(mm);
        Some(result)
    }
}

/// Why a device is not used.
enum Refused {
    Fault(Fault),
    Model(hotmap_mm::error::Error),
}

impl core::fmt::Display for Refused {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Model(error) => error.fmt(f),
        }
    }
}

const fn range(range: &Range<u64>) -> PhysRange {
    PhysRange { start: PhysAddr::new(range.start), end: PhysAddr::new(range.end) }
}

fn now() -> u64 {
    counter::ticks()
}

/// How long to wait after so many tries, in ticks.
fn after(tries: u32) -> u64 {
    counter::ticks_per_second() * (FIRST_RETRY << tries.saturating_sub(1)) / 1000
}

#[cfg(test)]
mod tests;
