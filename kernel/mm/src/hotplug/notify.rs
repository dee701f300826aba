//! Who is asked before memory goes online or offline, and told afterwards (Linux: the memory notifier chain).
//!
//! ```text
//!   going (asked in order) ---- all agree ----> the work ---- done (told in order)
//!      |                                          |
//!      | a veto: those asked before it            | it failed: all
//!      v                                          v
//!   cancelled (told in reverse order), and everything is as it was
//! ```
//! What they hear of is the whole range that goes online, or each run of blocks that goes offline by itself (blocks between
//! them that are offline already are not heard of; Linux calls block by block), self-hosted memmap included. A block that goes
//! offline takes its memmap's pages along, so a listener that looks at less, or at a range that is shifted by the memmap, vetoes for the wrong pages.

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
    /// Shall the range go there? The only question: a veto to anything else is not heard.
    Going(Direction),
    /// It has.
    Done(Direction),
    /// It has not, although the notifier agreed.
    Cancelled(Direction),
}

/// A notifier's no.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Veto;

/// A listener.
#[derive(Clone, Copy, Debug)]
pub struct Notifier {
    /// The name that a refusal says.
    pub name: &'static str,
    /// Called with the event and the range. It sees nothing of the model, which is in the middle of a change.
    pub hear: fn(Event, PhysRange) -> core::result::Result<(), Veto>,
}

/// The most notifiers.
pub const MAX_NOTIFIERS: usize = 8;

/// The notifiers, in the order in which they came. Fixed, so that telling them cannot fail.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    all: [Option<Notifier>; MAX_NOTIFIERS],
}

impl Chain {
    /// No notifiers.
    pub const fn new() -> Self {
        Self { all: [None; MAX_NOTIFIERS] }
    }

    /// The notifiers, first comer first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Notifier> {
        self.all.iter().flatten()
    }

    /// Ask and tell `notifier` from now on; one of that name is replaced.
    ///
    /// # Errors
    /// `Out` when there are too many.
    pub fn register(&mut self, notifier: Notifier) -> Result<()> {
        self.unregister(notifier.name);
        let room = self.all.iter_mut().find(|slot| slot.is_none());
        *room.ok_or(Error::Out(Resource::Slots { what: "notifiers" }))? = Some(notifier);
        Ok(())
    }

    /// Forget the notifier of that name; whether there was one.
    pub fn unregister(&mut self, name: &str) -> bool {
        let Some(at) = self.all.iter().position(|n| n.is_some_and(|n| n.name == name)) else { return false };
        // The others keep their order, and what is free stays at the end.
        self.all[at..].rotate_left(1);
        self.all[MAX_NOTIFIERS - 1] = None;
        true
    }

    /// May `range` go? Those who agreed before a veto hear that it does not.
    ///
    /// # Errors
    /// `Vetoed`, with the name of who said no.
    pub fn ask(&self, direction: Direction, range: PhysRange) -> Result<()> {
        for (told, notifier) in self.iter().enumerate() {
            if (notifier.hear)(Event::Going(direction), range).is_err() {
                self.cancel_first(told, direction, range);
                return Err(Error::Block(BlockError::Vetoed { range, by: notifier.name }));
            }
        }
        Ok(())
    }

    /// `range` has gone.
    pub fn done(&self, direction: Direction, range: PhysRange) {
        for notifier in self.iter() {
            // Too late for a veto.
            let _ = (notifier.hear)(Event::Done(direction), range);
        }
    }

    /// `range`, to which all agreed, has not gone.
    pub fn cancel(&self, direction: Direction, range: PhysRange) {
        self.cancel_first(MAX_NOTIFIERS, direction, range);
    }

    fn cancel_first(&self, count: usize, direction: Direction, range: PhysRange) {
        for notifier in self.all[..count].iter().flatten().rev() {
            let _ = (notifier.hear)(Event::Cancelled(direction), range);
        }
    }
}
