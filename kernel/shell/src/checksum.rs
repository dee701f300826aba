//! A checksum.

/// One number for a sequence; two that differ have the same once in 2^64.
pub(crate) fn checksum(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0, |sum, value| (sum ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) + 1)
}
