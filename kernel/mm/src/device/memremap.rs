//! A device's page map comes and goes (Linux: `memremap_pages`, `memunmap_pages`): memory's steps, by subsections.
//!
//! ```text
//!   step                 memremap_pages           undo_memremap
//!   1 claim sections     claim_device             drop_device
//!   2 map linearly       map_device               unmap_device            not for private memory
//!   3 choose backing     choose_device_altmap     drop_device_altmap
//!   4 populate vmemmap   populate_device          depopulate_device
//!   5 initialise pages   initialise_device        forget_device
//!   6 join zone          Live                     Changing                from here on its pages can be held
//! ```

use crate::device::devices::Devices;
use crate::device::pagemap::DeviceState;
use crate::device::range::DeviceRange;
use crate::device::steps::{
    choose_device_altmap, claim_device, depopulate_device, drop_device, drop_device_altmap, forget_device,
    initialise_device, map_device, populate_device, unmap_device,
};
use crate::error::Result;
use crate::frame::Frames;
use crate::hotplug::step::Step;
use crate::hotplug::undo::Undo;
use crate::machine::Machine;
use crate::mm::Mm;
use crate::space::table::KernelSpace;

impl<M: Machine> Mm<M> {
    /// Describes a device's memory by struct pages. `progress` is called after each step.
    ///
    /// # Errors
    /// `RangeError::Exists` when something became present there after the range was validated, or what a step ran out of; the
    /// machine is exactly as it was.
    pub fn memremap_pages(
        &mut self,
        device: &DeviceRange,
        mut progress: impl FnMut(&Self, Step),
    ) -> Result<()> {
        let mut undo = Undo::new(self, *device, &mut progress);
        undo.step(
            Step::ClaimSections,
            |mm, device| claim_device(&mut mm.frames, &mut mm.devices, device),
            |mm, device| drop_device(&mut mm.frames, &mut mm.devices, device),
        )?;
        undo.step(
            Step::MapLinear,
            |mm, device| map_device(&mut mm.space, &mut mm.frames, device),
            |mm, device| unmap_device(&mut mm.space, &mut mm.frames, device),
        )?;
        undo.step(
            Step::ChooseBacking,
            |mm, device| choose_device_altmap(&mut mm.frames, device),
            |mm, device| drop_device_altmap(&mut mm.frames, device),
        )?;
        undo.step(
            Step::PopulateVmemmap,
            |mm, device| populate_device(&mut mm.space, &mut mm.frames, device),
            |mm, device| depopulate_device(&mut mm.space, &mut mm.frames, device),
        )?;
        undo.step(
            Step::InitialisePages,
            |mm, device| {
                initialise_device(&mut mm.frames, device);
                Ok(())
            },
            |mm, device| forget_device(&mut mm.frames, device),
        )?;
        undo.step(
            Step::JoinZone,
            |mm, device| {
                mm.devices.set_state(device.start(), DeviceState::Live);
                Ok(())
            },
            |mm, device| mm.devices.set_state(device.start(), DeviceState::Changing),
        )?;
        undo.commit();
        self.note_remote_memmap(device.start());
        Ok(())
    }
}

/// The inverse of [`Mm::memremap_pages`], for a device of which no page is held: its steps backwards.
pub(super) fn undo_memremap<M: Machine>(
    space: &mut KernelSpace<M>,
    frames: &mut Frames<M>,
    devices: &mut Devices,
    device: &DeviceRange,
) {
    devices.set_state(device.start(), DeviceState::Changing);
    forget_device(frames, device);
    Step::InitialisePages.reversed(space.machine());
    depopulate_device(space, frames, device);
    Step::PopulateVmemmap.reversed(space.machine());
    drop_device_altmap(frames, device);
    Step::ChooseBacking.reversed(space.machine());
    unmap_device(space, frames, device);
    Step::MapLinear.reversed(space.machine());
    drop_device(frames, devices, device);
    Step::ClaimSections.reversed(space.machine());
}
