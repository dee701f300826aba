//! Bytes of a property, and what they mean (Devicetree Specification 2.2.4: big-endian cells, NUL-terminated
//! text). Nothing here knows what it is reading.
use heapless::String;

use crate::error::DtError;
use crate::property::Property;

/// Size of a cell in bytes.
pub(crate) const CELL: usize = 4;

/// The big-endian `u32` at `offset`, if there are four bytes.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    bytes.get(offset..)?.first_chunk().map(|four| u32::from_be_bytes(*four))
}

/// The number in a property of exactly one cell.
pub(crate) fn one_cell(value: &[u8]) -> Option<u32> {
    (value.len() == CELL).then(|| u32_at(value, 0)).flatten()
}

/// The number in a property of exactly one or two cells.
pub(crate) fn one_or_two_cells(value: &[u8]) -> Option<u64> {
    match value.len() {
        4 | 8 => Some(number(value)),
        _ => None,
    }
}

/// The number that these big-endian bytes spell; of more than eight the last eight count.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))
}

/// The bytes before the first NUL, or all of them where there is none.
pub(crate) fn until_nul(value: &[u8]) -> &[u8] {
    match value.iter().position(|byte| *byte == 0) {
        Some(end) => &value[..end],
        None => value,
    }
}

/// The strings of a string list.
pub(crate) fn strings(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == 0)
}

/// Fills `to` with the text of `property`, all of it or none.
pub(crate) fn copy_text<const N: usize>(
    to: &mut String<N>,
    property: Property,
    value: &[u8],
) -> Result<(), DtError> {
    let text = core::str::from_utf8(value)
        .map_err(|error| DtError::NotUtf8 { property, valid: error.valid_up_to() })?;
    to.clear();
    to.push_str(text).map_err(|_| DtError::TooLong { property, length: value.len(), capacity: N })
}
