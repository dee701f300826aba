//! Growing: the lowest units first.

use core::ops::Range;

use hotmap_mm::addr::PhysAddr;
use hotmap_mm::error::Error;
use hotmap_mm::machine::Machine;
use hotmap_mm::mm::Mm;
use virtio_mem::{Answer, Device, Request};

use crate::piece::Piece;
use crate::step::Step;
use crate::{Failure, Resizer, Status};

impl Resizer {
    /// Plugs and adds the next piece at or above `from`, at most `need` bytes, of what is usable. Whole blocks come by `most`
    /// bytes at once, which is halved where so many cannot be had, and doubled where they can.
    pub(crate) fn grow<M: Machine>(
        &mut self,
        mm: &mut Mm<M>,
        device: &mut impl Device,
        from: u64,
        need: u64,
        most: &mut u64,
    ) -> Result<Step, Failure> {
        loop {
            let Some(next) = self.next_unused(from, need) else { return Ok(Step::End) };
            let piece = at_most(self.first_piece(mm, next), *most, self.chunk());
            let blocks = (piece.range().end - piece.range().start) / self.chunk();
            match self.grow_by(mm, device, &piece)? {
                // Fewer blocks need less memory, and one that is refused keeps no other.
                Step::Short { .. } | Step::Stays { .. } if blocks > 1 => *most = blocks / 2 * self.chunk(),
                Step::Done => {
                    *most = most.saturating_mul(2);
                    return Ok(Step::Done);
                }
                step => return Ok(step),
            }
        }
    }

    /// What to add next: idle units first, since they need no request.
    fn next_unused(&self, from: u64, need: u64) -> Option<Range<u64>> {
        let usable = self.usable();
        let window = usable.start.max(from)..usable.end.max(from);
        let idle = self.idle.inside(window.clone()).next();
        let next = idle.or_else(|| self.plugged.first_gap(window))?;
        Some(next.start..next.end.min(next.start.saturating_add(need)))
    }

    fn grow_by<M: Machine>(
        &mut self,
        mm: &mut Mm<M>,
        device: &mut impl Device,
        piece: &Piece,
    ) -> Result<Step, Failure> {
        let range = piece.range().clone();
        let room = self.plugged.reserve(2).and_then(|()| self.idle.reserve(2));
        if let Err(why) = room {
            return Ok(Step::Short { at: range, why });
        }
        if self.idle.bytes_in(&range) == 0 {
            match device.plug(range.clone())? {
                Answer::Ack => {
                    self.plugged.insert(range.clone());
                    self.idle.insert(range.clone());
                }
                Answer::Nack => return Ok(Step::Refused),
                Answer::Busy => return Ok(Step::Busy),
                answer @ Answer::Error => return Err(self.refused(Request::Plug, &range, answer)),
            }
        }
        match self.add(mm, piece) {
            Ok(()) => {
                self.idle.remove(range.clone());
                Ok(Step::Done)
            }
            Err(why) => {
                self.give_back(device, range.clone())?;
                Ok(match why {
                    Error::Out(_) => Step::Short { at: range, why },
                    _ => Step::Stays { at: range, why },
                })
            }
        }
    }

    /// Asks the device to unplug idle units; they stay idle if it does not.
    pub(crate) fn give_back(&mut self, device: &mut impl Device, range: Range<u64>) -> Result<Step, Failure> {
        match device.unplug(range.clone())? {
            Answer::Ack => {
                self.plugged.remove(range.clone());
                self.idle.remove(range.clone());
                Ok(Step::Done)
            }
            Answer::Nack => Ok(Step::Refused),
            Answer::Busy => Ok(Step::Busy),
            answer @ Answer::Error => Err(self.refused(Request::Unplug, &range, answer)),
        }
    }

    pub(crate) fn refused(&mut self, request: Request, range: &Range<u64>, answer: Answer) -> Failure {
        let failure = Failure::Refused { request, at: PhysAddr::new(range.start), answer };
        self.status = Status::Failed(failure);
        failure
    }
}

/// The first blocks of a piece of several: `most` bytes, or one block.
fn at_most(piece: Piece, most: u64, block: u64) -> Piece {
    match piece {
        Piece::Whole(range) if range.end - range.start > most => {
            Piece::Whole(range.start..range.start + (most / block).max(1) * block)
        }
        piece => piece,
    }
}
