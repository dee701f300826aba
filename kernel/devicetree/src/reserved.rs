//! What must be left alone: the memory reservation block (Devicetree Specification 5.3) and the children of
//! /reserved-memory (3.5).
use heapless::String;

use crate::bus::Buses;
use crate::description::{MachineDescription, RESERVED_CAPACITY, Reservation};
use crate::error::{DtError, List};
use crate::facts::Facts;
use crate::header::Blocks;
use crate::name::name;
use crate::region::Region;
use crate::value::number;

/// An entry of the memory reservation block: address and size, 64 bits each, whatever the cells are.
const ENTRY_SIZE: usize = 16;

/// Reads the memory reservation block, up to its entry of zeroes.
pub(crate) fn read_map(blocks: &Blocks<'_>, out: &mut MachineDescription) -> Result<(), DtError> {
    for entry in blocks.reserve_map.chunks_exact(ENTRY_SIZE) {
        let (start, size) = entry.split_at(ENTRY_SIZE / 2);
        let (start, size) = (number(start), number(size));
        if (start, size) == (0, 0) {
            return Ok(());
        }
        if start.checked_add(size).is_none() {
            return Err(DtError::Wraps { node: name(b"the memory reservation block"), start, size });
        }
        if size > 0 {
            add(out, Reservation { region: Region { start, size }, no_map: false, name: String::new() })?;
        }
    }
    Err(DtError::ReserveMapEnd { offset: blocks.reserve_map_offset })
}

/// Takes a child of /reserved-memory. One without `reg` asks for memory and reserves none: nothing to take.
pub(crate) fn read_node(
    buses: &Buses<'_>,
    depth: usize,
    facts: &Facts<'_>,
    out: &mut MachineDescription,
) -> Result<(), DtError> {
    if facts.reg.is_none() {
        return Ok(());
    }
    buses.each_region(depth, facts, usize::MAX, |region| {
        add(out, Reservation { region, no_map: facts.no_map, name: facts.text() })
    })?;
    Ok(())
}

fn add(out: &mut MachineDescription, reservation: Reservation) -> Result<(), DtError> {
    let too_many = DtError::TooMany { list: List::Reserved, capacity: RESERVED_CAPACITY };
    out.reserved.push(reservation).map_err(|_| too_many)
}
