//! The tables in the file, one behind the other (ACPI 6.5, 5.2.6).

use crate::aml;
use crate::announced::Announced;
use crate::cursor::{Cursor, Source, Stop};
use crate::problem::What;

/// Bytes of a table's header: signature and length first.
const HEADER_BYTES: u32 = 36;

/// The most bytes of the file that QEMU makes (include/hw/acpi/aml-build.h, `ACPI_BUILD_TABLE_MAX_SIZE`).
const MOST_BYTES: u32 = 0x20_0000;

/// Reads the `size` bytes of the file `etc/acpi/tables`, as far as needed: up to the first bytes that are no table (QEMU fills
/// the file up with zeros, hw/arm/virt-acpi-build.c, `acpi_align_size`), or until everything is found.
pub fn read(source: &mut dyn Source, size: u32) -> Announced {
    let mut found = Announced::new();
    let mut cursor = Cursor::new(source);
    if size > MOST_BYTES {
        cursor.stop(What::File { size, most: MOST_BYTES });
    } else {
        while let Ok(true) = read_table(&mut cursor, size, &mut found)
            && !found.is_complete()
        {}
    }
    found.problem = cursor.problem();
    found
}

/// Reads a table; false: there is none.
fn read_table(cursor: &mut Cursor, size: u32, found: &mut Announced) -> Result<bool, Stop> {
    let start = cursor.at();
    let room = size - start;
    if room < HEADER_BYTES {
        return Ok(false);
    }
    let signature: [u8; 4] = cursor.bytes(size)?;
    if signature == [0; 4] {
        return Ok(false);
    }
    if !signature.iter().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_') {
        return Err(cursor.stop_at(start, What::Signature(signature)));
    }
    let length = u32::from_le_bytes(cursor.bytes(size)?);
    if length < HEADER_BYTES || length > room {
        return Err(cursor.stop_at(start, What::Length { signature, length, room }));
    }
    let end = start + length;
    if matches!(&signature, b"DSDT" | b"SSDT") {
        cursor.go_to(start + HEADER_BYTES);
        aml::read(cursor, end, found);
    }
    if !found.is_complete() {
        cursor.go_to(end);
    }
    Ok(true)
}
