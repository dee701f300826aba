//! Return addresses, found by walking frame records.
//!
//! AAPCS64 ("The frame pointer"): x29 points at a record of two words, the caller's x29 and the return address. The
//! records form a list towards higher addresses, which ends in a zero:
//!
//! ```text
//!  high   +---------------+ <- stack top
//!         | 0      | lr   |  the first frame: its record ends the list
//!         | ...           |
//!    .--->| caller's fp|lr|
//!    |    | ...           |
//!    '----| fp     | lr   | <- x29
//!  low    +---------------+
//! ```
//!
//! After a crash the list may lead anywhere: a record counts only if it is inside the stack, aligned, and above the
//! one before.

use core::ops::Range;

/// At most this many return addresses are reported.
pub const MAX_FRAMES: usize = 32;
/// Bytes of a frame record.
const RECORD_BYTES: u64 = 16;

/// The return addresses of the frames above `frame_pointer`, innermost first, until a record does not count.
pub struct Backtrace<R> {
    next: u64,
    stack: Range<u64>,
    read: R,
    left: usize,
}

impl<R: FnMut(u64) -> u64> Backtrace<R> {
    /// Starts at the record at `frame_pointer`, inside `stack`. `read` gives the word at an 8-byte aligned address
    /// inside `stack`, and is asked for no other.
    pub fn new(frame_pointer: u64, stack: Range<u64>, read: R) -> Self {
        Self { next: frame_pointer, stack, read, left: MAX_FRAMES }
    }

    /// Whether a whole frame record can be at `address`.
    fn believable(&self, address: u64) -> bool {
        address.is_multiple_of(8)
            && address >= self.stack.start
            && address.checked_add(RECORD_BYTES).is_some_and(|end| end <= self.stack.end)
    }
}

impl<R: FnMut(u64) -> u64> Iterator for Backtrace<R> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let record = self.next;
        if self.left == 0 || !self.believable(record) {
            return None;
        }
        self.left -= 1;
        let (caller, return_address) = ((self.read)(record), (self.read)(record + 8));
        // Only upwards: a list that turns back is a loop.
        self.next = if caller > record { caller } else { 0 };
        (return_address != 0).then_some(return_address)
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::vec::Vec;

    const BASE: u64 = 0xffff_0000_0000_8000;

    /// The addresses found from `frame_pointer` in a stack at BASE that holds `words`; panics on a read outside.
    fn trace(frame_pointer: u64, words: &[u64]) -> Vec<u64> {
        let end = BASE + 8 * words.len() as u64;
        let read = |at: u64| {
            assert!(at.is_multiple_of(8) && (BASE..end).contains(&at), "read outside the stack: {at:#x}");
            words[usize::try_from((at - BASE) / 8).expect("small")]
        };
        Backtrace::new(frame_pointer, BASE..end, read).collect()
    }

    #[test]
    fn a_sound_list_gives_every_return_address_innermost_first() {
        let words = [BASE + 0x20, 0x11, 0, 0, BASE + 0x30, 0x22, 0, 0x33];
        assert_eq!(trace(BASE, &words), [0x11, 0x22, 0x33]);
    }

    #[test]
    fn a_frame_pointer_outside_the_stack_or_unaligned_is_not_followed() {
        let words = [BASE + 0x20, 0x11, 0, 0, 0, 0x22];
        for bad in [0, BASE - 16, BASE + 4, BASE + 0x28, BASE + 0x30, u64::MAX - 7] {
            assert_eq!(trace(bad, &words), [0_u64; 0], "{bad:#x}");
        }
    }

    #[test]
    fn a_list_that_turns_back_ends() {
        let words = [BASE + 0x10, 0x11, BASE, 0x22];
        assert_eq!(trace(BASE, &words), [0x11, 0x22]);
        assert_eq!(trace(BASE, &[BASE, 0x11]), [0x11]);
    }

    #[test]
    fn a_list_that_leaves_the_stack_ends_at_the_edge() {
        assert_eq!(trace(BASE, &[BASE + 0x1000, 0x11]), [0x11]);
    }

    #[test]
    fn the_length_is_bounded() {
        let words: Vec<u64> = (0..200).flat_map(|i| [BASE + 16 * (i + 1), i + 1]).collect();
        assert_eq!(trace(BASE, &words).len(), MAX_FRAMES);
    }
}
