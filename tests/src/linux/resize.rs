//! A virtio memory device that requests 1 GiB more, then 1 GiB less, of Linux: memory is added and goes online by itself.

use super::guest::{LOAD_MODULE, Linux};
use super::symbols::{Symbols, VIRTIO_MEM};
use crate::bench::costs::Costs;
use hotmap_client::error::{Checked, Error, unknown};
use hotmap_client::geometry::GIB;
use hotmap_client::patience::Deadline;
use hotmap_client::virtio_mem::find;
use qapi::qmp::qom_set;
use std::time::Duration;

/// The driver's function.
const FUNCTION: &str = "virtio_mem_run_wq";

/// Loads the driver, and resizes up and down once: what each costs. `symbols` are those of the boot before.
///
/// # Errors
/// Unknown when the device does not get the size that it requests, or the driver is not where its calls are counted.
pub fn measure(linux: &mut Linux, symbols: &Symbols) -> Checked<[Costs; 2]> {
    linux.tell(LOAD_MODULE)?;
    let now = Symbols::read(&linux.tell(&Symbols::command())?);
    if now.find(FUNCTION) != symbols.find(FUNCTION) {
        return unknown(format!(
            "{FUNCTION} is not where it was in the boot before: its calls are not counted"
        ));
    }
    linux.tell("echo online_movable > /sys/devices/system/memory/auto_online_blocks")?;
    linux.settle(10)?;
    Ok([resize(linux, GIB)?, resize(linux, 0)?])
}

fn resize(linux: &mut Linux, size: u64) -> Checked<Costs> {
    let ((), costs) = linux.counted(VIRTIO_MEM, |linux| {
        let path = "/machine/peripheral/vm0".to_owned();
        let set = qom_set { path, property: "requested-size".into(), value: size.into() };
        linux.qmp.execute(&set).map_err(Error::from)?;
        await_size(linux, size)?;
        // The device has the size before the driver has returned.
        linux.settle(5)
    })?;
    Ok(costs)
}

fn await_size(linux: &mut Linux, size: u64) -> Checked {
    let deadline = Deadline::for_steps(5);
    loop {
        let is = find(&mut linux.qmp, 0)?.map(|device| device.size);
        if is == Some(size) {
            return Ok(());
        }
        if deadline.left().is_none() {
            return unknown(format!("vm0 requests {size:#x}, and the guest has {is:x?}"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
