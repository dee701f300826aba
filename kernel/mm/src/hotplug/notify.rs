//! Notifiers: they are asked before memory goes online or offline, and told afterwards (Linux: the memory notifier chain).
//!
//! ```text
//!   going (asked in order) ---- all agree ----> the work ---- done (told in order)
//!      |                                          |
//!      | a veto: those asked before it            | it failed: all
//!      v                                          v
//!   cancelled (told in reverse order), and everything is as it was
//! ```
//! They hear of the whole range that goes online, or of each run of blocks that goes offline (blocks between two runs are
//! offline already; Linux calls block by block). Self-hosted memmap is part of the range, because its pages go with the
//! block.

use crate::addr::PhysRange;
use crate::error::{BlockError, Error, Resource, Result};

/// Where memory goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// To its zone.
    Online,
    /// Out of its zone.
    Offline,
}

/// What a notifier hears.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The range is about to go there. A veto counts here; to the other events it has no effect.
    Going(Direction),
    /// The range has gone there.
    Done(Direction),
    /// The range stays, although the notifier agreed.
    Cancelled(Direction),
}

/// A notifier's refusal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Veto;

/// A notifier.
#[derive(Clone, Copy, Debug)]
pub struct Notifier {
    /// The name in the refusal.
    pub name: &'static str,
    /// Called with the event and the range. It sees nothing of the model, which is in the middle of a change.
    pub hear: fn(Event, PhysRange) -> core::result::Result<(), Veto>,
}

/// The most notifiers.
pub const MAX_NOTIFIERS: usize = 8;

/// The notifiers, in the order in which they were registered. The array has a fixed size, so that telling them cannot fail.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    all: [Option<Notifier>; MAX_NOTIFIERS],
}

impl Chain {
    /// No notifiers.
    pub const fn new() -> Self {
        Self { all: [None; MAX_NOTIFIERS] }
    }

    /// The notifiers, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Notifier> {
        self.all.iter().flatten()
    }

    /// Registers `notifier` as the last; one of that name is replaced.
    ///
    /// # Errors
    /// `Out` when there are [`MAX_NOTIFIERS`] already.
    pub fn register(&mut self, notifier: Notifier) -> Result<()> {
        self.unregister(notifier.name);
        let room = self.all.iter_mut().find(|slot| slot.is_none());
        *room.ok_or(Error::Out(Resource::Slots { what: "notifiers" }))? = Some(notifier);
        Ok(())
    }

    /// Unregisters the notifier of that name; returns whether there was one.
    pub fn unregister(&mut self, name: &str) -> bool {
        let Some(at) = self.all.iter().position(|n| n.is_some_and(|n| n.name == name)) else { return false };
        // The others keep their order, and what is free stays at the end.
        self.all[at..].rotate_left(1);
        self.all[MAX_NOTIFIERS - 1] = None;
        true
    }

    /// Asks whether `range` may go. After a veto, the notifiers that agreed hear of the cancellation.
    ///
    /// # Errors
    /// `BlockError::Vetoed` with the notifier's name.
    pub fn ask(&self, direction: Direction, range: PhysRange) -> Result<()> {
        for (told, notifier) in self.iter().enumerate() {
            if (notifier.hear)(Event::Going(direction), range).is_err() {
                self.cancel_first(told, direction, range);
                return Err(BlockError::Vetoed { range, by: notifier.name }.into());
            }
        }
        Ok(())
    }

    /// Tells that `range` has gone.
    pub fn done(&self, direction: Direction, range: PhysRange) {
        for notifier in self.iter() {
            // A veto has no effect here.
            let _ = (notifier.hear)(Event::Done(direction), range);
        }
    }

    /// Tells that `range` stays, to which all agreed.
    pub fn cancel(&self, direction: Direction, range: PhysRange) {
        self.cancel_first(MAX_NOTIFIERS, direction, range);
    }

    fn cancel_first(&self, count: usize, direction: Direction, range: PhysRange) {
        for notifier in self.all[..count].iter().flatten().rev() {
            let _ = (notifier.hear)(Event::Cancelled(direction), range);
        }
    }
}
