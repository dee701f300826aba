//! A device that has memory plugged when it is found, as after a reboot of the guest: STATE says which.

use core::ops::Range;

use hotmap_mm::error::Result as MmResult;
use virtio_mem::{Answer, BlockState, Device, Request};

use crate::{Failure, Resizer, Status};

impl Resizer {
    /// Asks the device what is plugged; all of it is idle then, and the next [`Self::follow`] uses it, or gives it back.
    /// Parts of units are given back at once.
    ///
    /// # Errors
    /// `Out` when the heap has no room to list what is plugged: to be tried again. What else fails is in [`Self::status`].
    pub fn take_over(&mut self, device: &mut impl Device) -> MmResult<()> {
        (self.plugged, self.idle) = Default::default();
        self.stuck.clear();
        self.status = Status::Steady;
        match device.config() {
            Ok(config) => self.config = config,
            Err(fault) => {
                self.status = Status::Failed(Failure::Fault(fault));
                return Ok(());
            }
        }
        if self.config.plugged_size == 0 {
            return Ok(());
        }
        let scanned = self.scan(device, self.config.usable()).and_then(|scanned| match scanned {
            Ok(()) => self.trim(device),
            out => Ok(out),
        });
        match scanned {
            Ok(Ok(())) => self.idle.copy_from(&self.plugged),
            Ok(Err(out)) => Err(out),
            Err(failure) => {
                self.status = Status::Failed(failure);
                Ok(())
            }
        }
    }

    /// Lists what of `range` is plugged: halves it where some of it is.
    fn scan(&mut self, device: &mut impl Device, range: Range<u64>) -> Result<MmResult<()>, Failure> {
        match device.state(range.clone())? {
            BlockState::Unplugged => Ok(Ok(())),
            BlockState::Plugged => Ok(self.note_plugged(range)),
            BlockState::Mixed => {
                let blocks = (range.end - range.start) / self.config.block_size;
                if blocks < 2 {
                    return Err(Failure::Fault(virtio_mem::Fault::Unknown {
                        request: Request::State,
                        number: 2,
                    }));
                }
                let middle = range.start + blocks / 2 * self.config.block_size;
                match self.scan(device, range.start..middle)? {
                    Ok(()) => self.scan(device, middle..range.end),
                    out => Ok(out),
                }
            }
        }
    }

    fn note_plugged(&mut self, range: Range<u64>) -> MmResult<()> {
        self.plugged.reserve(1)?;
        self.plugged.insert(range);
        Ok(())
    }

    /// Gives parts of units back, which device blocks smaller than a unit make possible.
    fn trim(&mut self, device: &mut impl Device) -> Result<MmResult<()>, Failure> {
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
        while let Some(part) = self.plugged.as_slice().iter().find_map(part) {
            match device.unplug(part.clone())? {
                Answer::Ack => self.plugged.remove(part),
                answer => return Err(self.refused(Request::Unplug, &part, answer)),
            }
        }
        Ok(Ok(()))
    }
}
