//! Virtio memory devices as QEMU has them: what is requested, and what is plugged.

use crate::error::{Checked, failed, unknown};
use crate::guest::Guest;
use crate::patience::Deadline;
use crate::qmp::{Qmp, Refusal};
use crate::state::{State, VirtioMem};
use qapi::qmp::{MemoryDeviceInfo, VirtioMEMDeviceInfo, qom_set, query_memory_devices};

/// The device `vmN` as `query-memory-devices` lists it.
///
/// # Errors
/// [`Refusal`].
pub fn find(qmp: &mut Qmp, number: usize) -> Result<Option<VirtioMEMDeviceInfo>, Refusal> {
    let id = format!("vm{number}");
    let devices = qmp.execute(&query_memory_devices {})?;
    Ok(devices.into_iter().find_map(|device| match device {
        MemoryDeviceInfo::virtio_mem(found) if found.data.id.as_deref() == Some(&id) => Some(found.data),
        _ => None,
    }))
}

impl Guest {
    /// Requests `size` bytes of the device `vmN`, without waiting.
    ///
    /// # Errors
    /// Unknown when QEMU refuses.
    pub fn request(&mut self, number: usize, size: u64) -> Checked {
        self.note(&format!("QEMU monitor: qom-set vm{number} requested-size {size:#x}"));
        let path = format!("/machine/peripheral/vm{number}");
        let set = qom_set { path, property: "requested-size".into(), value: size.into() };
        self.qmp.execute(&set)?;
        Ok(())
    }

    /// Waits until the guest knows of the size that `vmN` requests, and is done with it. Returns its state; QEMU and the guest
    /// agree on what is plugged.
    ///
    /// # Errors
    /// Failed when they do not; unknown when the guest does not come to know.
    pub fn await_resize(&mut self, number: usize) -> Checked<State> {
        let deadline = Deadline::for_steps(2);
        loop {
            let state = self.state()?;
            let Some(info) = find(&mut self.qmp, number)? else {
                return unknown(format!("QEMU does not list vm{number}"));
            };
            let Some(device) = state.virtio_mem.get(number) else {
                return failed(format!("the guest does not list virtio-mem{number}: {:?}", state.virtio_mem));
            };
            if device.requested_size == info.requested_size && device.state != "waiting" {
                return agree(device, &info).map(|()| state);
            }
            if deadline.left().is_none() {
                let (has, wants) = (device, info.requested_size);
                return unknown(format!("vm{number} requests {wants:#x}, and the guest has {has:?}"));
            }
        }
    }

    /// Requests `size` bytes of `vmN`, all of which the guest has to plug, and no more.
    ///
    /// # Errors
    /// Failed when it does not.
    pub fn resize(&mut self, number: usize, size: u64) -> Checked<State> {
        self.request(number, size)?;
        let state = self.await_resize(number)?;
        let device = &state.virtio_mem[number];
        let is = (device.plugged_size, device.requested_size, device.state.as_str());
        if is != (size, size, "steady") {
            return failed(format!("vm{number} requests {size:#x}, and the guest has {device:?}"));
        }
        Ok(state)
    }
}

/// What the guest says of a device is what QEMU says.
fn agree(device: &VirtioMem, info: &VirtioMEMDeviceInfo) -> Checked {
    let guest =
        (device.start, device.region_size, device.block_size, device.requested_size, device.plugged_size);
    let qemu = (info.memaddr, info.max_size, info.block_size, info.requested_size, info.size);
    if guest == qemu { Ok(()) } else { failed(format!("the guest says {guest:x?}, QEMU {qemu:x?}")) }
}
