//! Following the requested size: grow or shrink, piece by piece, and read the configuration again after each.

use hotmap_mm::error::{Error, PageError, RangeError};
use hotmap_mm::machine::Machine;
use hotmap_mm::mm::Mm;
use hotmap_mm::stop::Stop;
use virtio_mem::{Answer, Device, Request};

use crate::shrink::Candidates;
use crate::step::Step;
use crate::{Failure, Resizer, Status};

/// How often a device is tried again by itself while nothing else has changed.
pub const MOST_TRIES: u32 = 10;
/// How often a request that the device refuses is tried again at once: what it asks for may have changed meanwhile.
const MOST_REFUSALS: u32 = 3;
/// How often the requested size may change in one try.
const MOST_CHANGES: u32 = 100;

/// One try to have as much plugged as the device asks for.
struct Try {
    /// Where growing looks on.
    from: u64,
    /// How much it asks for at once.
    most: u64,
    candidates: Candidates,
    refusals: u32,
    /// What is idle is given back, and no more.
    ends: bool,
    /// Whether another try may do better by itself.
    may_pass: bool,
}

impl Try {
    const fn new() -> Self {
        let candidates = Candidates::all();
        Self { from: 0, most: u64::MAX, candidates, refusals: 0, ends: false, may_pass: false }
    }
}

impl Resizer {
    /// Plugs or unplugs until as much is plugged as the device asks for, or no more can be done. What it asks for may change
    /// meanwhile: the last word counts. `stop` ends an offline.
    pub fn follow<M: Machine>(&mut self, mm: &mut Mm<M>, device: &mut impl Device, stop: Stop<'_>) -> Status {
        self.stuck_changed = false;
        if let Status::Failed(_) = self.status {
            return self.status;
        }
        let before = core::mem::take(&mut self.stuck);
        self.status = match self.try_to_follow(mm, device, stop) {
            Ok(_) if self.in_use() == self.target() && self.idle.is_empty() => Status::Steady,
            Ok(may_pass) => self.next_try(may_pass),
            Err(failure) => Status::Failed(failure),
        };
        self.stuck_changed = !self.stuck.is_like(&before);
        self.status
    }

    /// The next try is the first again: something may have changed.
    pub const fn note_change(&mut self) {
        if let Status::Waiting { tries } = &mut self.status {
            *tries = 0;
        }
    }

    /// Takes all of its memory out of the kernel's. It is idle then, and still plugged.
    ///
    /// # Errors
    /// Why some of it stays; the next [`Self::follow`] uses the rest again.
    pub fn leave<M: Machine>(&mut self, mm: &mut Mm<M>, stop: Stop<'_>) -> hotmap_mm::error::Result<()> {
        let mut candidates = Candidates::all();
        let mut stays = Ok(());
        loop {
            match self.shrink(mm, &mut candidates, self.in_use(), stop) {
                Step::Done | Step::Again => {}
                Step::Stays { why, .. } => stays = stays.and(Err(why)),
                Step::Short { why, .. } => return Err(why),
                _ => return stays,
            }
        }
    }

    /// The device is not driven any more.
    pub const fn fail(&mut self, failure: Failure) {
        self.status = Status::Failed(failure);
    }

    const fn next_try(&self, may_pass: bool) -> Status {
        let tries = match self.status {
            Status::Waiting { tries } => tries + 1,
            _ => 1,
        };
        if may_pass && tries < MOST_TRIES { Status::Waiting { tries } } else { Status::Stuck }
    }

    /// Returns whether another try may do better by itself.
    fn try_to_follow<M: Machine>(
        &mut self,
        mm: &mut Mm<M>,
        device: &mut impl Device,
        stop: Stop<'_>,
    ) -> Result<bool, Failure> {
        let (mut this, mut changes) = (Try::new(), 0);
        loop {
            if self.read_config(device)? {
                self.stuck.clear();
                this = Try::new();
                changes += 1;
            }
            if changes > MOST_CHANGES {
                // The next change interrupts again.
                return Ok(false);
            }
            let (target, used) = (self.target(), self.in_use());
            let step = if this.ends {
                Step::End
            } else if used < target {
                self.grow(mm, device, this.from, target - used, &mut this.most)?
            } else if used > target {
                self.shrink(mm, &mut this.candidates, used - target, stop)
            } else {
                Step::End
            };
            let step = match step {
                Step::End if !self.idle.is_empty() => self.release(device)?,
                step => step,
            };
            if !self.goes_on(&mut this, used < target, step) {
                return Ok(this.may_pass);
            }
        }
    }

    fn goes_on(&mut self, this: &mut Try, growing: bool, step: Step) -> bool {
        match step {
            Step::Done => {
                this.refusals = 0;
                true
            }
            Step::Again => true,
            Step::Stays { at, why } => {
                this.may_pass |= matches!(why, Error::Out(_) | Error::Page(PageError::Stays { .. }));
                if growing {
                    this.from = if is_beyond(&why) { u64::MAX } else { at.end };
                }
                self.stuck.note(at, why);
                true
            }
            Step::Short { at, why } => {
                self.stuck.note(at, why);
                this.may_pass = true;
                !core::mem::replace(&mut this.ends, true)
            }
            Step::Refused => {
                this.refusals += 1;
                this.may_pass = true;
                this.refusals <= MOST_REFUSALS
            }
            Step::Busy => {
                this.may_pass = true;
                false
            }
            Step::Interrupted => {
                this.ends = true;
                true
            }
            Step::End => false,
        }
    }

    /// Reads the configuration; whether the device asks for something else.
    fn read_config(&mut self, device: &mut impl Device) -> Result<bool, Failure> {
        let config = device.config()?;
        let (says, is) = (config.plugged_size, self.plugged.total());
        if says != is {
            return Err(Failure::PluggedSize { says, is });
        }
        let changed = config.requested_size != self.config.requested_size;
        self.config = config;
        if changed {
            self.note_change();
        }
        Ok(changed)
    }

    /// Asks the device to unplug the highest idle units, as long as more is plugged than it asks for; all of the region by one
    /// request, if all of it goes.
    fn release(&mut self, device: &mut impl Device) -> Result<Step, Failure> {
        let excess = self.plugged.total().saturating_sub(self.target());
        if self.target() == 0 && self.in_use() == 0 {
            return Ok(match device.unplug_all()? {
                Answer::Ack => {
                    (self.plugged, self.idle) = Default::default();
                    Step::Done
                }
                Answer::Nack => Step::Refused,
                Answer::Busy => Step::Busy,
                answer @ Answer::Error => {
                    return Err(self.refused(Request::UnplugAll, &self.config.region(), answer));
                }
            });
        }
        match self.idle.as_slice().last().cloned().filter(|_| excess > 0) {
            Some(idle) => {
                let start = idle.start.max(idle.end.saturating_sub(excess));
                if let Err(why) = self.plugged.reserve(1) {
                    return Ok(Step::Short { at: start..idle.end, why });
                }
                self.give_back(device, start..idle.end)
            }
            None => Ok(Step::End),
        }
    }
}

/// Whether all that is above is refused as well.
fn is_beyond(why: &Error) -> bool {
    matches!(why, Error::Range(RangeError::BeyondLinearMap { range, reach }) if range.end > reach.end)
}
