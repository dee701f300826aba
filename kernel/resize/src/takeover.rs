//! A device that has memory plugged when it is found, as after a reboot of the guest: STATE says which.

use core::ops::Range;

use hotmap_mm::error::{Resource, Result as MmResult};
use hotmap_mm::machine::Machine;
use hotmap_mm::mm::Mm;
use virtio_mem::{Answer, BlockState, Device, Request};

use crate::ranges::Ranges;
use crate::{Failure, Resizer, Status};

impl Resizer {
    /// Asks the device what is plugged; all of it is idle then, and the next [`Self::follow`] uses it, or gives it back.
    /// Parts of units are given back at once.
    ///
    /// # Errors
    /// `Out` when the heap has no room to list what is plugged; nothing has changed then. What else fails is in
    /// [`Self::status`].
    pub fn take_over<M: Machine>(&mut self, mm: &mut Mm<M>, device: &mut impl Device) -> MmResult<()> {
        match self.find_plugged(mm, device) {
            Ok(Ok((plugged, idle))) => {
                (self.plugged, self.idle, self.status) = (plugged, idle, Status::Steady);
                self.stuck.clear();
                Ok(())
            }
            Ok(Err(out)) => Err(out),
            Err(failure) => {
                self.status = Status::Failed(failure);
                Ok(())
            }
        }
    }

    /// What is plugged, twice.
    fn find_plugged<M: Machine>(
        &mut self,
        mm: &mut Mm<M>,
        device: &mut impl Device,
    ) -> Result<MmResult<(Ranges, Ranges)>, Failure> {
        self.config = device.config()?;
        let (mut found, mut idle) = (Ranges::new(), Ranges::new());
        if self.config.plugged_size == 0 {
            return Ok(Ok((found, idle)));
        }
        let listed = self.scan(mm, device, self.config.usable(), &mut found)?;
        let listed = listed.and_then(|()| mm.frames_mut().may_fail(Resource::Heap { bytes: found.bytes() }));
        // All that needs room, before the device changes.
        if let Err(out) = listed.and_then(|()| idle.copy_from(&found)) {
            return Ok(Err(out));
        }
        self.trim(device, &mut found)?;
        Ok(idle.copy_from(&found).map(|()| (found, idle)))
    }

    /// Lists what of `range` is plugged: halves it where some of it is.
    fn scan<M: Machine>(
        &self,
        mm: &mut Mm<M>,
        device: &mut impl Device,
        range: Range<u64>,
        found: &mut Ranges,
    ) -> Result<MmResult<()>, Failure> {
        match device.state(range.clone())? {
            BlockState::Unplugged => Ok(Ok(())),
            BlockState::Plugged => {
                let room = mm.frames_mut().may_fail(Resource::Heap { bytes: size_of::<Range<u64>>() });
                Ok(room.and_then(|()| found.reserve(1)).map(|()| found.insert(range)))
            }
            BlockState::Mixed => {
                let blocks = (range.end - range.start) / self.config.block_size;
                if blocks < 2 {
                    return Err(Failure::Fault(virtio_mem::Fault::Unknown {
                        request: Request::State,
                        number: 2,
                    }));
                }
                let middle = range.start + blocks / 2 * self.config.block_size;
                match self.scan(mm, device, range.start..middle, found)? {
                    Ok(()) => self.scan(mm, device, middle..range.end, found),
                    out => Ok(out),
                }
            }
        }
    }

    /// Gives parts of units back, which device blocks smaller than a unit make possible.
    fn trim(&mut self, device: &mut impl Device, found: &mut Ranges) -> Result<(), Failure> {
        let unit = self.unit();
        let part = |range: &Range<u64>| {
            let start = range.start.checked_next_multiple_of(unit).unwrap_or(range.end);
            let whole = start..range.end / unit * unit;
            if whole.start >= whole.end {
                Some(range.clone())
            } else if range.start < whole.start {
                Some(range.start..whole.start)
            } else {
                (whole.end < range.end).then_some(whole.end..range.end)
            }
        };
        // Each part is at an end of a range: nothing is cut.
        while let Some(part) = found.as_slice().iter().find_map(part) {
            match device.unplug(part.clone())? {
                Answer::Ack => found.remove(part),
                answer => return Err(self.refused(Request::Unplug, &part, answer)),
            }
        }
        Ok(())
    }
}
