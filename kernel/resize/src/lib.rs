//! Follows the size that a virtio memory device asks for (`requested_size`): plugs from the lowest address up, unplugs from
//! the highest down, in units of the device's block size, whatever the granule. What cannot move stays, and says why.
//!
//! ```text
//!   memory blocks     |        0        |        1        |        2        |     of the kernel: 128 or 512 MiB
//!   the region            |PPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPuuuuuuuuuuuu|         P plugged, u unplugged: units
//!                         a part of 0    all of 1           a part of 2
//! ```
//! A unit is a device block, or 2 MiB if that is more. A memory block comes when its first unit is plugged and goes with its
//! last. Each plugged unit is in the kernel's memory, or [*idle*](Resizer::idle): plugged at the device, and not used, since
//! the kernel could not take it or the device could not take it back. The next change uses idle units first.
//!
//! ```text
//!   grow      [`grow`]      PLUG, then add the memory; if that fails, UNPLUG
//!   shrink    [`shrink`]    empty and remove memory: whole blocks first, else units of a block; then UNPLUG
//!   follow    [`follow`]    one of both, piece by piece, until as much is plugged as the device asks for
//!   take over [`takeover`]  what a device has plugged already, by STATE
//! ```
#![no_std]

extern crate alloc;

pub mod follow;
mod grow;
mod piece;
pub mod ranges;
mod shrink;
mod step;
pub mod stuck;
mod takeover;

use core::fmt;

use hotmap_mm::addr::PhysAddr;
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use virtio_mem::{Answer, Config, Fault};

use crate::ranges::Ranges;
use crate::stuck::Stuck;

/// The smallest unit, in bytes: what of a section is present is known in such steps.
pub const LEAST_UNIT: u64 = 2 << 20;

/// How memory of the device is added.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// Where its memmap lies. A block whose first pages are not plugged has it in system RAM all the same.
    pub home: MemmapHome,
    /// The zone that it goes online in; none if it stays offline.
    pub zone: Option<ZoneKind>,
}

/// What a device is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    /// As much is plugged as it asks for.
    Steady,
    /// Not as much, and a later try may help: memory is short, or the device was busy.
    Waiting {
        /// How often was tried.
        tries: u32,
    },
    /// Not as much, until something that stays can move, or the device asks for another size.
    Stuck,
    /// It is not driven any more.
    Failed(Failure),
}

impl Status {
    /// The word of `state` and of messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Waiting { .. } => "waiting",
            Self::Stuck => "stuck",
            Self::Failed(_) => "failed",
        }
    }
}

/// Why a device is not driven any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// What it answered.
    Fault(Fault),
    /// It refused a request that keeps every rule.
    Refused {
        /// What was asked for.
        request: virtio_mem::Request,
        /// The address.
        at: PhysAddr,
        /// What it answered.
        answer: Answer,
    },
    /// It says that another size is plugged than was.
    PluggedSize {
        /// What it says.
        says: u64,
        /// What was plugged.
        is: u64,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Fault(fault) => fault.fmt(f),
            Self::Refused { request, at, answer } => {
                write!(f, "its answer to {request} at {at} is {answer}, and the request keeps every rule")
            }
            Self::PluggedSize { says, is } => {
                write!(f, "plugged_size is {says:#x}, and {is:#x} was plugged: the two have to agree")
            }
        }
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// What is known of one device.
pub struct Resizer {
    number: u32,
    config: Config,
    policy: Policy,
    granule: Granule,
    plugged: Ranges,
    idle: Ranges,
    stuck: Stuck,
    stuck_changed: bool,
    status: Status,
}

impl Resizer {
    /// The device `number`, whose configuration is `config`. Nothing of it is plugged as far as is known:
    /// [`Resizer::take_over`] asks.
    pub const fn new(number: u32, config: Config, policy: Policy, granule: Granule) -> Self {
        Self {
            number,
            config,
            policy,
            granule,
            plugged: Ranges::new(),
            idle: Ranges::new(),
            stuck: Stuck::new(),
            stuck_changed: false,
            status: Status::Steady,
        }
    }
    /// The source of its memory: also its name.
    pub const fn source(&self) -> Source {
        Source::VirtioMem(self.number)
    }
    /// The configuration that was read last.
    pub const fn config(&self) -> &Config {
        &self.config
    }
    /// What the device is doing.
    pub const fn status(&self) -> Status {
        self.status
    }
    /// What is plugged, of the region.
    pub const fn plugged(&self) -> &Ranges {
        &self.plugged
    }
    /// What of that is not in the kernel's memory.
    pub const fn idle(&self) -> &Ranges {
        &self.idle
    }
    /// What could not be plugged or unplugged, and why.
    pub const fn stuck(&self) -> &Stuck {
        &self.stuck
    }
    /// Whether the last [`Self::follow`] found that something else stays than the one before.
    pub const fn stuck_changed(&self) -> bool {
        self.stuck_changed
    }
    /// Its NUMA node, 0 if it names none.
    pub fn node(&self) -> u32 {
        self.config.node.map_or(0, u32::from)
    }
    /// The step in which memory is plugged and unplugged, in bytes.
    pub fn unit(&self) -> u64 {
        self.config.block_size.max(LEAST_UNIT)
    }
    /// How much is to be plugged: what the device asks for, in whole units.
    pub fn target(&self) -> u64 {
        self.config.requested_size / self.unit() * self.unit()
    }
    /// How much is in the kernel's memory.
    pub fn in_use(&self) -> u64 {
        self.plugged.total() - self.idle.total()
    }
    /// What of the region is of whole units and may be plugged now.
    fn usable(&self) -> core::ops::Range<u64> {
        let usable = self.config.usable();
        let unit = self.unit();
        let start = usable.start.checked_next_multiple_of(unit).unwrap_or(usable.end);
        start..usable.end / unit * unit
    }
}
