//! NameString (ACPI 6.5, 20.2.2): `\` or `^`s, then no, one, two or more segments of four characters.

use crate::cursor::{Cursor, Stop};
use crate::problem::What;

const ROOT: u8 = b'\\';
const PARENT: u8 = b'^';
const NULL_NAME: u8 = 0x00;
const DUAL_NAME: u8 = 0x2e;
const MULTI_NAME: u8 = 0x2f;

/// Whether a NameString may begin with this byte.
pub(crate) fn begins(byte: u8) -> bool {
    matches!(byte, ROOT | PARENT | DUAL_NAME | MULTI_NAME) || leads(byte)
}

/// Reads a name, and returns its last segment; of a name without any, all zeros.
pub(crate) fn last_segment(cursor: &mut Cursor, end: u32) -> Result<[u8; 4], Stop> {
    let first = cursor.byte(end)?;
    last_segment_after(first, cursor, end)
}

/// Reads a name whose first byte was read.
pub(crate) fn last_segment_after(first: u8, cursor: &mut Cursor, end: u32) -> Result<[u8; 4], Stop> {
    let mut first = first;
    if first == ROOT {
        first = cursor.byte(end)?;
    } else {
        while first == PARENT {
            first = cursor.byte(end)?;
        }
    }
    let segments = match first {
        NULL_NAME => return Ok([0; 4]),
        DUAL_NAME => 2,
        MULTI_NAME => cursor.byte(end)?,
        _ => return segment(first, cursor, end),
    };
    let mut last = [0; 4];
    for _ in 0..segments {
        let first = cursor.byte(end)?;
        last = segment(first, cursor, end)?;
    }
    Ok(last)
}

fn segment(first: u8, cursor: &mut Cursor, end: u32) -> Result<[u8; 4], Stop> {
    let [second, third, fourth] = cursor.bytes(end)?;
    let name = [first, second, third, fourth];
    let bad =
        name.into_iter().enumerate().find(|&(at, byte)| !leads(byte) && (at == 0 || !byte.is_ascii_digit()));
    match bad {
        Some((_, byte)) => Err(cursor.stop(What::Name(byte))),
        None => Ok(name),
    }
}

fn leads(byte: u8) -> bool {
    byte.is_ascii_uppercase() || byte == b'_'
}
