//! A device goes part by part, for tests: it goes as a whole otherwise.

use crate::device::pagemap::DeviceState;
use crate::device::steps::{drop_device, drop_device_altmap, forget_device_pages, unmap_device};
use crate::error::Result;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::pfn::{Pfn, PfnRange};
use crate::vmemmap::depopulate::depopulate;
use crate::vmemmap::leaves::leaves_around;

/// Takes the device at `start` down, but its struct pages part by part: `parts` are subsections of the device, in any order,
/// together all of it; whole sections where the compound pages' tables are shared. `gone` hears of each part. The device is
/// no whole one then: only its memmap can be looked at.
///
/// # Errors
/// `DeviceError::Absent`; `SpaceError::WouldSplit` when a part ends inside a leaf, or inside what a shared table serves.
/// Nothing has changed then.
pub fn undo_memremap_parts<M: Machine>(
    mm: &mut Mm<M>,
    start: Pfn,
    parts: &[PfnRange],
    mut gone: impl FnMut(&Mm<M>, &PfnRange),
) -> Result<()> {
    let device = mm.devices.range_of(&mm.frames, start)?;
    for part in parts {
        let leaves = leaves_around(&mut mm.frames, *part)?;
        mm.space.refuse_split(leaves)?;
    }
    mm.devices.set_state(start, DeviceState::Changing);
    for part in parts {
        forget_device_pages(&mut mm.frames, *part);
        depopulate(&mut mm.space, &mut mm.frames, *part);
        gone(mm, part);
    }
    drop_device_altmap(&mut mm.frames, &device);
    unmap_device(&mut mm.space, &mut mm.frames, &device);
    drop_device(&mut mm.frames, &mut mm.devices, &device);
    Ok(())
}
