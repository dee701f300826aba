//! An NVDIMM that becomes a device of huge pages, as `ndctl create-namespace --mode=devdax --map=dev` makes it, by sysfs.

use super::guest::{Linux, Setup};
use super::record::{Column, Home, Operation, Part, Row, Value};
use super::symbols::BIND;
use hotmap_client::ensure;
use hotmap_client::error::Checked;

/// The drivers, in the order in which they are loaded.
pub const DRIVERS: &[&str] =
    &["virtio_mem", "libnvdimm", "nfit", "nd_btt", "nd_pmem", "device_dax", "dax_pmem"];

/// Linux's names of things: the namespace that covers all of the NVDIMM, and the device that waits for one.
const SETUP: &str = "cd /sys/bus/nd/devices && echo namespace0.0 > /sys/bus/nd/drivers/nd_pmem/unbind && \
                     echo 11111111-2222-3333-4444-555555555555 > dax0.0/uuid && echo pmem > dax0.0/mode && \
                     cat /sys/kernel/mm/transparent_hugepage/hpage_pmd_size > dax0.0/align && \
                     echo namespace0.0 > dax0.0/namespace";
/// It becomes a device.
const CREATE: &str = "echo dax0.0 > /sys/bus/nd/drivers/dax_pmem/bind && ls /dev/dax0.0";

/// A guest with an NVDIMM of `bytes`.
pub fn with_nvdimm<'a>(setup: Setup<'a>, bytes: u64) -> Setup<'a> {
    let backend = format!("memory-backend-ram,id=n0,size={bytes},reserve=off");
    let words = ["-m", "1G,slots=8,maxmem=2T", "-machine", "nvdimm=on", "-object", &backend];
    let words = words.into_iter().chain(["-device", "nvdimm,memdev=n0,id=nv0"]);
    Setup { drivers: DRIVERS, more: words.map(str::to_owned).collect(), ..setup }
}

/// Creates the device of `bytes`.
///
/// # Errors
/// Those of the guest, unless the kernel panics: that is why it cannot.
pub fn measure(linux: &mut Linux, column: &mut Column, bytes: u64) -> Checked {
    let row = Row::new(Part::Dax, Home::SelfHosted, bytes, Operation::Create);
    let value = match create(linux) {
        Ok(value) => value,
        Err(error) => Value::Cannot(linux.panic().ok_or(error)?),
    };
    column.add(row, value);
    Ok(())
}

fn create(linux: &mut Linux) -> Checked<Value> {
    for name in &DRIVERS[1..] {
        let reply = linux.ask(&format!("insmod /{name}.ko"))?;
        if reply.failed {
            return Ok(Value::Cannot(format!("{name} is not loaded: {}", reply.text.trim())));
        }
    }
    linux.tell(SETUP)?;
    linux.settle(10)?;
    let (reply, costs) = linux.counted(BIND, |linux| linux.ask(CREATE))?;
    ensure!(!reply.failed, "{CREATE}: {}", reply.text.trim());
    ensure!(costs.instructions > 0, "no driver's taking of a device was counted");
    Ok(Value::Costs(costs))
}
