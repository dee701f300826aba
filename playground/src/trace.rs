//! The steps of an operation, as JSON: what the machine recorded.

use hotmap_emulator::machine::record;
use serde::Serialize;

/// The most events of a step that are told.
const MOST_EVENTS: usize = 512;

/// An address, as `state` has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hex(pub(crate) u64);

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:#x}", self.0))
    }
}

/// A step.
#[derive(Debug, Serialize)]
pub(crate) struct Step {
    /// Its name.
    step: String,
    events: Vec<Event>,
    /// How many more events there are.
    #[serde(skip_serializing_if = "is_zero")]
    more: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Something that happened.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum Event {
    /// An entry of a table in force was written.
    Write {
        pa: Hex,
        level: usize,
        va: Hex,
        old: Hex,
        new: Hex,
        /// Why the architecture allows it in one step, or what it says against it.
        rule: &'static str,
        legal: bool,
        /// How many times the entry is reached, if that is not once.
        #[serde(skip_serializing_if = "Option::is_none")]
        times: Option<usize>,
    },
    /// An entry of a table was written to which no table in force leads: not yet, or no longer.
    Build { pa: Hex, old: Hex, new: Hex },
    /// Invalidation by address.
    Tlbi { va: Hex, bytes: u64, stride: u64, tables: bool },
    /// A barrier.
    Dsb {},
    /// Readers of these addresses wait from here on.
    Open { va: Hex, bytes: u64 },
    /// They wait no longer.
    Close {},
    /// A TLB may hold an entry that is gone.
    Stale { va: Hex, bytes: u64, pa: Hex, table: bool },
    /// Something that can run out was asked for.
    Ask { what: String, failed: bool },
    /// Memory came or went.
    Ram { pa: Hex, bytes: u64, there: bool },
    /// A rule was broken.
    Violation { rule: String, va: Hex, pa: Hex },
}

impl Step {
    /// The step as the page has it.
    pub(crate) fn new(step: &record::Step) -> Self {
        let more = step.events.len().saturating_sub(MOST_EVENTS);
        let events = step.events.iter().take(MOST_EVENTS).map(Event::new).collect();
        Self { step: step.name.clone(), events, more }
    }
}

impl Event {
    fn new(event: &record::Event) -> Self {
        match event {
            record::Event::Write { at, place: None, old, new } => {
                Self::Build { pa: Hex(*at), old: Hex(*old), new: Hex(*new) }
            }
            record::Event::Write { at, place: Some(place), old, new } => Self::Write {
                pa: Hex(*at),
                level: place.level,
                va: Hex(place.va),
                old: Hex(*old),
                new: Hex(*new),
                rule: place.judged.unwrap_or_else(|why| why),
                legal: place.judged.is_ok(),
                times: (place.times != 1).then_some(place.times),
            },
            record::Event::Invalidate { range, stride, tables } => {
                let bytes = range.end - range.start;
                Self::Tlbi { va: Hex(range.start), bytes, stride: *stride, tables: *tables }
            }
            record::Event::Publish => Self::Dsb {},
            record::Event::Window(Some(range)) => {
                Self::Open { va: Hex(range.start), bytes: range.end - range.start }
            }
            record::Event::Window(None) => Self::Close {},
            record::Event::Stale(stale) => Self::Stale {
                va: Hex(stale.va),
                bytes: stale.size,
                pa: Hex(stale.pa),
                table: stale.leaf.is_none(),
            },
            record::Event::Asked { what, failed } => Self::Ask { what: what.clone(), failed: *failed },
            record::Event::Ram { range, there } => {
                Self::Ram { pa: Hex(range.start), bytes: range.end - range.start, there: *there }
            }
            record::Event::Violation(found) => {
                Self::Violation { rule: format!("{:?}", found.rule), va: Hex(found.va), pa: Hex(found.pa) }
            }
        }
    }
}
