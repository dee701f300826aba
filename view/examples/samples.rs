//! Writes views of a few machines as JSON: what the page's drawings are tested with.
//! usage: cargo run -p hotmap-view --example samples -- FOLDER

#[path = "../tests/support/mod.rs"]
mod support;

use std::error::Error;
use std::path::Path;

use hotmap_emulator::rig::{GIB, MIB};
use hotmap_mm::granule::GranuleKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_view::Machine;
use support::{DEVICE, DIMM, Guest, Ram};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: samples FOLDER")?;
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let mut guest = Guest::boot(GranuleKind::K4);
    guest.plug(GIB, MemmapHome::SelfHosted);
    guest.tell("tenant new 500");
    write(folder, "4k-self", &mut guest, DIMM + 64 * MIB)?;

    let mut guest = Guest::boot(GranuleKind::K4);
    guest.tell("hugetlb 2M 16");
    let state = guest.state();
    let head = state.dedup.hugetlb.iter().flat_map(|pool| &pool.heads).next().ok_or("no huge page")?;
    write(folder, "4k-hvo", &mut guest, head * 4096)?;

    let mut guest = Guest::boot(GranuleKind::K4);
    guest.plug(GIB, MemmapHome::Demand);
    guest.tell("tenant new 1");
    write(folder, "4k-demand", &mut guest, DIMM + GIB - 128 * MIB)?;

    let mut guest = Guest::boot(GranuleKind::K64);
    guest.device(DEVICE, GIB, MemmapHome::SelfRange { reserve: 0 }, 0);
    write(folder, "64k-dax", &mut guest, DEVICE + 512 * MIB)
}

/// Every view, and `state` itself.
fn write(folder: &Path, name: &str, guest: &mut Guest, look_at: u64) -> Result<(), Box<dyn Error>> {
    let line = guest.tell("state");
    let state = guest.state();
    let ram = Ram(&guest.machine);
    let machine = Machine::new(&ram, &state)?;
    let of = format!("addr:{look_at:#x}");
    std::fs::write(folder.join(format!("{name}.state.json")), line)?;
    for view in ["memory", "vmemmap", "walk", "tables", "page"] {
        let json = serde_json::to_string_pretty(&machine.view(view, Some(&of))?)?;
        std::fs::write(folder.join(format!("{name}.{view}.json")), json)?;
    }
    Ok(())
}
