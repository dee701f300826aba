//! Requests and responses as they are in memory (virtio 1.3, 5.15.6 "Device Operation"): little-endian, and packed as the
//! specification pads them.

use core::fmt;

use zerocopy::byteorder::little_endian::{U16, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// What is asked of the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u16)]
pub enum Request {
    /// Plug blocks.
    Plug = 0,
    /// Unplug blocks.
    Unplug = 1,
    /// Unplug all blocks.
    UnplugAll = 2,
    /// Say whether blocks are plugged.
    State = 3,
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plug => "PLUG",
            Self::Unplug => "UNPLUG",
            Self::UnplugAll => "UNPLUG_ALL",
            Self::State => "STATE",
        })
    }
}

/// What the device answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Done.
    Ack,
    /// Not done: more than `requested_size` would be plugged.
    Nack,
    /// Not done now: to be tried again later.
    Busy,
    /// Not done: the request is wrong.
    Error,
}

impl Answer {
    /// The answer that `number` stands for.
    pub(crate) const fn of(number: u16) -> Option<Self> {
        match number {
            0 => Some(Self::Ack),
            1 => Some(Self::Nack),
            2 => Some(Self::Busy),
            3 => Some(Self::Error),
            _ => None,
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ack => "ACK",
            Self::Nack => "NACK",
            Self::Busy => "BUSY",
            Self::Error => "ERROR",
        })
    }
}

/// What the device says of some blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockState {
    /// All are plugged.
    Plugged,
    /// None is.
    Unplugged,
    /// Some are.
    Mixed,
}

impl BlockState {
    /// The state that `number` stands for.
    pub(crate) const fn of(number: u16) -> Option<Self> {
        match number {
            0 => Some(Self::Plugged),
            1 => Some(Self::Unplugged),
            2 => Some(Self::Mixed),
            _ => None,
        }
    }
}

/// `struct virtio_mem_req`.
#[derive(IntoBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(crate) struct RequestBytes {
    kind: U16,
    padding: [U16; 3],
    addr: U64,
    blocks: U16,
    tail: [U16; 3],
}

impl RequestBytes {
    pub(crate) const fn new(kind: Request, addr: u64, blocks: u16) -> Self {
        let none = [U16::ZERO; 3];
        Self {
            kind: U16::new(kind as u16),
            padding: none,
            addr: U64::new(addr),
            blocks: U16::new(blocks),
            tail: none,
        }
    }
}

/// `struct virtio_mem_resp`.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned, Clone, Copy)]
#[repr(C)]
pub(crate) struct ResponseBytes {
    pub(crate) kind: U16,
    _padding: [U16; 3],
    pub(crate) state: U16,
}

/// The bytes of a request and of a response.
pub(crate) const REQUEST_LEN: usize = size_of::<RequestBytes>();
pub(crate) const RESPONSE_LEN: usize = size_of::<ResponseBytes>();

#[cfg(test)]
mod tests {
    use super::*;

    // By hand, after the structures of the specification.
    #[test]
    fn a_request_and_a_response_lie_in_memory_as_the_specification_has_them() {
        let request = RequestBytes::new(Request::State, 0x1_8020_0000, 0x102);
        let mut bytes = [0; 24];
        bytes[0] = 3;
        bytes[8..16].copy_from_slice(&[0, 0, 0x20, 0x80, 1, 0, 0, 0]);
        bytes[16..18].copy_from_slice(&[2, 1]);
        assert_eq!(request.as_bytes(), bytes);
        assert_eq!((REQUEST_LEN, RESPONSE_LEN), (24, 10));

        let response = ResponseBytes::read_from_bytes(&[2, 0, 9, 9, 9, 9, 9, 9, 1, 0]);
        assert!(response.is_ok_and(|r| r.kind.get() == 2 && r.state.get() == 1));
    }

    #[test]
    fn numbers_that_the_specification_does_not_have_mean_nothing() {
        assert_eq!((Answer::of(3), Answer::of(4)), (Some(Answer::Error), None));
        assert_eq!((BlockState::of(2), BlockState::of(3)), (Some(BlockState::Mixed), None));
    }
}
