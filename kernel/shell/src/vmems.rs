//! `vmems`: the virtio memory devices.

use hotmap_mm::addr::{Bytes, PhysAddr};
use hotmap_resize::stuck::Stay;
use hotmap_resize::{Resizer, Status};

use super::args::Words;
use super::json::Json;
use super::{Outcome, ShellError};
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::kprintln;

pub(super) const VMEMS: &str = "vmems [rebind N]";

pub(super) fn vmems(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    match words.next() {
        None => list(kernel),
        Some("rebind") => {
            let number = words.number(VMEMS)?;
            let number = usize::try_from(number).unwrap_or(usize::MAX);
            match kernel.vmems.rebind(&mut kernel.mm, number) {
                None => return Err(ShellError::BadWord("the number of a virtio memory device")),
                Some(result) => result?,
            }
            if let Some(vmem) = kernel.vmems.all().get(number) {
                kprintln!("{} was found anew: {}", vmem.resizer().source(), vmem.resizer().status().name());
            }
        }
        Some(_) => return Err(ShellError::Usage(VMEMS)),
    }
    Ok(())
}

fn list(kernel: &Kernel) {
    for resizer in kernel.vmems.all().iter().map(|vmem| vmem.resizer()) {
        let config = resizer.config();
        kprintln!(
            "{}  {}  {}  node {}  block {}  {} plugged of {} requested  {}",
            resizer.source(),
            PhysAddr::new(config.addr),
            Bytes(config.region_size),
            resizer.node(),
            Bytes(config.block_size),
            Bytes(resizer.plugged().total()),
            Bytes(config.requested_size),
            resizer.status().name(),
        );
        if let Status::Failed(failure) = resizer.status() {
            kprintln!("  given up: {failure}");
        }
        for Stay { range, why } in resizer.stuck().as_slice() {
            let (start, size) = (PhysAddr::new(range.start), Bytes(range.end - range.start));
            kprintln!("  {size} at {start} stays as it is: {why}");
        }
        if resizer.stuck().more() != 0 {
            kprintln!("  and {} more", resizer.stuck().more());
        }
    }
    kprintln!("virtio memory devices: {}", kernel.vmems.all().len());
}

/// `state.virtio_mem`.
pub(super) fn describe(kernel: &Kernel, json: &mut Json) {
    let devices = kernel.vmems.all().iter().map(|vmem| vmem.resizer());
    json.array("virtio_mem", devices, |json, resizer: &Resizer| {
        let config = resizer.config();
        json.word("device", resizer.source());
        json.number("node", resizer.node());
        json.word("start", PhysAddr::new(config.addr));
        json.number("region_size", config.region_size);
        json.number("usable_size", config.usable_region_size);
        json.number("block_size", config.block_size);
        json.number("requested_size", config.requested_size);
        json.number("plugged_size", resizer.plugged().total());
        json.word("state", resizer.status().name());
        json.array("stuck", resizer.stuck().as_slice(), |json, stay| {
            json.word("start", PhysAddr::new(stay.range.start));
            json.number("size", stay.range.end - stay.range.start);
            json.word("why", stay.why);
        });
    });
}
