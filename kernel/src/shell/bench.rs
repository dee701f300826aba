//! `bench`: the newest DIMM through its life, and what each part costs.

use hotmap_mm::addr::Bytes;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::block::Source;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::zone::ZoneKind;

use super::args::Words;
use super::{Outcome, ShellError};
use crate::arch::{bulk, counter};
use crate::dimms::Dimm;
use crate::kernel::Kernel;
use crate::kprintln;
use crate::meter::Meter;

/// One line for each operation: `bench: OPERATION BYTES INSTRUCTIONS TABLES RAM`, the last two as changes in pages.
pub(super) fn bench<G: Granule>(kernel: &mut Kernel<G>, words: &mut Words<'_>) -> Outcome {
    let cycles = match words.next() {
        None => 1,
        Some(word) => word.parse().map_err(|_| ShellError::BadWord("a number of cycles"))?,
    };
    let newest = kernel.dimms.all().iter().rev().find(|d| !d.refused).copied();
    let dimm = newest.ok_or(ShellError::Failed("there is no DIMM to take through its life"))?;
    if !counter::have_instruction_counter() || counter::instructions() == 0 {
        kprintln!("instructions are not counted here: start with --icount, on a CPU with a PMU");
    }
    kprintln!("bench: clears memory by {:?}", bulk::method());
    for _ in 0..cycles {
        cycle(kernel, &dimm)?;
    }
    Ok(())
}

fn cycle<G: Granule>(kernel: &mut Kernel<G>, dimm: &Dimm) -> Outcome {
    let (bytes, home) = (dimm.range.len(), kernel.policy().home);
    let pages = hotmap_mm::pfn::PfnRange::inside::<G>(dimm.range);
    if kernel.mm.blocks().iter().any(|b| pages.contains(b.start) && b.tenant_pages > 0) {
        kprintln!("note: {} of tenants move in the first cycle", Bytes(bytes));
    }
    let mm = &mut kernel.mm;
    let meter = Meter::start(mm);
    mm.offline_range(pages)?;
    let offline = meter.stop(mm);
    let meter = Meter::start(mm);
    mm.remove(dimm.range)?;
    let remove = meter.stop(mm);
    let meter = Meter::start(mm);
    let range = HotRange::new(mm, dimm.range.start, bytes, Source::Dimm(dimm.slot))?;
    mm.add(&range, home)?;
    let add = meter.stop(mm);
    let meter = Meter::start(mm);
    mm.online_range(pages, ZoneKind::Movable, |_, _| {})?;
    let online = meter.stop(mm);
    for (operation, meter) in [("offline", offline), ("remove", remove), ("add", add), ("online", online)] {
        kprintln!("bench: {operation} {bytes} {meter}");
    }
    Ok(())
}
