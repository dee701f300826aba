//! What a VMM does to the machine: the words of QEMU's monitor, in short.
//!
//! ```text
//!  plug SIZE [node=N] [at=ADDRESS] [slot=N]    object_add memory-backend-ram, device_add pc-dimm
//!  unplug SLOT                                 device_del
//!  virtio-mem NUMBER SIZE                      qom-set requested-size
//! ```

use std::fmt::Write;

use hotmap_emulator::devices::slots::Told;
use hotmap_kernel::number;
use hotmap_mm::addr::{Bytes, PhysAddr};

use crate::boot::{Machine, size};

/// What `help` says.
const HELP: &str = "\
plug SIZE [node=N] [at=ADDRESS] [slot=N]   a DIMM into a slot (QEMU: object_add memory-backend-ram, device_add pc-dimm)
unplug SLOT                                asks the guest to give the slot's DIMM back (QEMU: device_del)
virtio-mem NUMBER SIZE                     sets what a virtio-mem device requests (QEMU: qom-set requested-size)
help                                       this text
";

/// QEMU's own words, and what to type here.
const QEMUS: [(&str, &str); 6] = [
    ("object_add", "one command does both here: plug SIZE"),
    ("device_add", "plug SIZE"),
    ("device_del", "unplug SLOT"),
    ("object_del", "nothing: a slot's memory goes with its DIMM"),
    ("qom-set", "virtio-mem NUMBER SIZE"),
    ("info", "state at the kernel's prompt"),
];

/// How the monitor is used.
const USAGE: &str = "usage: plug SIZE [node=N] [at=ADDRESS] [slot=N] | unplug SLOT | virtio-mem NUMBER SIZE";

/// Does what `text` says, and lets the kernel handle the events. What QEMU would tell.
///
/// # Errors
/// Why the VMM, or the kernel, refuses.
pub(crate) fn run(machine: &mut Machine, text: &str) -> Result<String, String> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    match words[..] {
        ["plug", bytes, ref options @ ..] => plug(machine, bytes, options),
        ["unplug", slot] => unplug(machine, slot),
        ["virtio-mem", number, bytes] => resize(machine, number, bytes),
        ["help" | "?"] => Ok(HELP.to_owned()),
        [word, ..] => match QEMUS.iter().find(|(qemus, _)| *qemus == word) {
            Some((_, ours)) => Err(format!("{word}: this monitor has short forms; type {ours}")),
            None => Err(USAGE.to_owned()),
        },
        [] => Err(USAGE.to_owned()),
    }
}

fn small(text: &str) -> Result<u32, String> {
    let number = number::parse(text).and_then(|number| u32::try_from(number).ok());
    number.ok_or_else(|| format!("{text}: expected a number"))
}

fn plug(machine: &mut Machine, bytes: &str, options: &[&str]) -> Result<String, String> {
    let (mut node, mut at, mut slot) = (0, None, None);
    for option in options {
        match option.split_once('=') {
            Some(("node", value)) => node = small(value)?,
            Some(("slot", value)) => slot = Some(small(value)?),
            Some(("at", value)) => at = Some(size(value)?),
            _ => return Err(format!("{option}: {USAGE}")),
        }
    }
    // As QEMU's pc_dimm_realize (hw/mem/pc-dimm.c).
    if node as usize >= machine.nodes {
        return Err(format!("node={node}: the machine has nodes 0 to {}", machine.nodes - 1));
    }
    let inserted = machine.slots.insert(slot, at, size(bytes)?, node);
    let (slot, dimm) = inserted.map_err(|refused| refused.to_string())?;
    let here = format!("slot {slot}: {} at {}", Bytes(dimm.size), PhysAddr::new(dimm.address));
    machine.kernel.service();
    told(machine, here)
}

fn unplug(machine: &mut Machine, slot: &str) -> Result<String, String> {
    machine.slots.request_removal(small(slot)?).map_err(|refused| refused.to_string())?;
    machine.kernel.service();
    told(machine, String::new())
}

fn resize(machine: &mut Machine, number: &str, bytes: &str) -> Result<String, String> {
    let (number, size) = (small(number)? as usize, size(bytes)?);
    let device = machine.vmems.get(number).ok_or_else(|| format!("there is no virtio-mem{number}"))?;
    let config = device.config();
    if size > config.region_size || !size.is_multiple_of(config.block_size) {
        let (region, block) = (Bytes(config.region_size), Bytes(config.block_size));
        return Err(format!("{bytes}: at most {region}, and a multiple of {block}"));
    }
    device.request(size);
    machine.kernel.service();
    let config = machine.vmems[number].config();
    Ok(format!(
        "virtio-mem{number}: {} plugged of {} requested\n",
        Bytes(config.plugged_size),
        Bytes(config.requested_size)
    ))
}

/// What the driver told, as lines; an error if it tells of one.
fn told(machine: &Machine, mut text: String) -> Result<String, String> {
    let mut failed = false;
    if !text.is_empty() {
        text.push('\n');
    }
    for told in machine.slots.take_told() {
        // Writing to a string does not fail.
        let _ = match told {
            Told::Ost { slot, event, status } => {
                let (event, status, bad) = names(event, status);
                failed |= bad;
                let stays = if bad && event == INSERTION {
                    format!("\nslot {slot} keeps the DIMM; \"unplug {slot}\" takes it out")
                } else {
                    String::new()
                };
                writeln!(text, "ACPI_DEVICE_OST slot {slot}: {event}: {status}{stays}")
            }
            Told::Deleted { slot } => writeln!(text, "DEVICE_DELETED slot {slot}"),
        };
    }
    if failed { Err(text) } else { Ok(text) }
}

/// The name of the event of a DIMM that comes.
const INSERTION: &str = "insertion";

/// The names of an event and a status (ACPI 6.5, 6.3.5 "_OST"), and whether it is a failure.
fn names(event: u32, status: u32) -> (&'static str, &'static str, bool) {
    let what = if event == 1 { INSERTION } else { "ejection" };
    match status {
        0 => (what, "success", false),
        0x82 => (what, "busy: the device is in use", true),
        0x84 => (what, "pending", false),
        _ => (what, "failure", true),
    }
}
