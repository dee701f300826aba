//! What is wrong with a device.

use core::fmt;

use crate::rule::ConfigRule;
use crate::wire::{Answer, Request};

/// Why a device cannot be used, or not any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Its reset does not end.
    Reset,
    /// It does not take the features that the driver needs: of these it offers.
    Features(u64),
    /// Its queue cannot be set up or used.
    Queue(virtio_drivers::Error),
    /// Its configuration cannot be read.
    Unreadable(virtio_drivers::Error),
    /// Its configuration breaks a rule.
    Config(ConfigRule),
    /// Its configuration changes each time that it is read.
    Torn,
    /// A field changed that may not.
    Changed {
        /// The field's name in the specification.
        field: &'static str,
        /// Its value at first.
        was: u64,
        /// Its value now.
        is: u64,
    },
    /// It did not answer.
    Silent(Request),
    /// Its answer is shorter than a response.
    Short {
        /// The request.
        request: Request,
        /// The bytes that it wrote.
        len: u32,
    },
    /// Its answer is not in the specification.
    Unknown {
        /// The request.
        request: Request,
        /// The number.
        number: u16,
    },
    /// Its answer is one that the request does not permit.
    Answered(Request, Answer),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reset => f.write_str("its reset does not end"),
            Self::Features(offered) => {
                write!(f, "it offers features {offered:#x}, and refuses those of this driver")
            }
            Self::Queue(error) => write!(f, "its queue: {error}"),
            Self::Unreadable(error) => write!(f, "its configuration: {error}"),
            Self::Config(rule) => rule.fmt(f),
            Self::Torn => f.write_str("its configuration changes each time that it is read"),
            Self::Changed { field, was, is } => {
                write!(f, "{field} was {was:#x} and is now {is:#x}: it may not change")
            }
            Self::Silent(request) => write!(f, "it does not answer to {request}"),
            Self::Short { request, len } => write!(f, "its answer to {request} has {len} bytes, not 10"),
            Self::Unknown { request, number } => {
                write!(f, "its answer to {request} is {number}, which means nothing")
            }
            Self::Answered(request, answer) => write!(f, "its answer to {request} is {answer}"),
        }
    }
}
