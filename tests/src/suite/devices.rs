//! Devices that boot creates: persistent memory of the device tree and NVDIMMs, self-hosted or with memmap in RAM,
//! whose contents outlive the guest.

use super::looking;
use super::nvdimm::{place_of, plug, with_cold};
use super::regions::{read_word, unknown_io, write_word};
use super::test::{Test, per_granule};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During, failed};
use hotmap_client::geometry::{GIB, GRANULES, Granule, MIB, RAM_BASE};
use hotmap_client::guest::{Guest, Plugged};
use hotmap_client::machine::{BOOTS, Boot, Machine};
use hotmap_client::patience::Deadline;
use hotmap_client::run::Run;
use hotmap_client::state::{Altmap, Block, Device, DevicePart, State};
use hotmap_client::{ensure, ensure_eq};

/// Where `scripts/qemu --hotpluggable 1G --pmem 1G` puts its regions: above 1 GiB of boot RAM.
pub(super) const HOT: u64 = RAM_BASE + GIB;
pub(super) const PMEM: u64 = HOT + GIB;
/// Translation tables that a device may cost.
const MOST_TABLES: u64 = 2;

pub(super) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for granule in GRANULES {
        for boot in BOOTS {
            for home in [Home::Device, Home::Ram] {
                let name = format!("devices/pmem/{}/{granule}/map-{}", boot.name(), home.word());
                tests.push(Test::new(name, move |run: &Run| pmem_is_a_device(run, boot, granule, home)));
            }
            let name = format!("devices/file/{}/{granule}", boot.name());
            tests.push(Test::new(name, move |run: &Run| what_is_written_stays(run, boot, granule)));
        }
    }
    tests.extend(per_granule("devices/volatile", volatile_memory_is_a_generic_device));
    tests.extend(per_granule("devices/nvdimm-cold", |run, granule| nvdimm_is_a_device(run, granule, false)));
    tests.extend(per_granule("devices/nvdimm-hot", |run, granule| nvdimm_is_a_device(run, granule, true)));
    tests
}

/// Where a device's memmap goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// Into an altmap on itself.
    Device,
    /// Into system RAM.
    Ram,
}

impl Home {
    /// As `--map` and `pmem=map=` name it.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Device => "dev",
            Self::Ram => "mem",
        }
    }
}

/// One GiB of each kind of region.
pub(super) fn machine(boot: Boot, granule: Granule) -> Machine {
    Machine { hotpluggable: Some("1G".into()), pmem: Some("1G".into()), ..Machine::by(boot) }.granule(granule)
}

/// Pages of memmap of a device of `size` bytes without neighbours, computed by hand: 64 bytes for each page.
pub(super) fn memmap_pages(size: u64, granule: Granule) -> u64 {
    let [k4, k16, k64] = match size / MIB {
        2 => [8, 0, 0],
        64 => [256, 16, 1],
        1024 => [4096, 256, 16],
        other => panic!("a device of {other} MiB has not been worked out"),
    };
    match granule {
        Granule::K4 => k4,
        Granule::K16 => k16,
        Granule::K64 => k64,
    }
}

/// A device of one range as `state` must have it, without holds.
pub(super) fn device(start: u64, size: u64, kind: &str, home: Home, granule: Granule) -> Device {
    let pages = memmap_pages(size, granule);
    let base_pfn = granule.pages(start);
    let altmap = (home == Home::Device).then_some(Altmap {
        base_pfn,
        reserve: 0,
        free: pages,
        align: 0,
        alloc: pages,
    });
    let usable_start = start + altmap.map_or(0, |_| pages * granule.bytes());
    let ranges = vec![DevicePart { start, size }];
    let (align, dedup) = (granule.bytes(), false);
    Device {
        start,
        size,
        kind: kind.into(),
        state: "live".into(),
        align,
        dedup,
        altmap,
        usable_start,
        holds: 0,
        ranges,
    }
}

/// A device's memory is not system RAM: it costs tables, and its memmap if that is in RAM.
pub(super) fn only_memmap_is_gone(before: &State, after: &State, memmap_in_ram: u64) -> Checked<u64> {
    let tables = after.pages.tables.saturating_sub(before.pages.tables);
    ensure!(tables <= MOST_TABLES, "a device cost {tables} table pages");
    let mut pages = before.pages;
    pages.tables += tables;
    pages.memmap_ram += memmap_in_ram;
    pages.free -= tables + memmap_in_ram;
    ensure_eq!(after.pages, pages, "pages with a device");
    // In which blocks of boot memory the tables and the memmap lie does not matter.
    let blocks = |state: &State| -> Vec<_> {
        state.blocks.iter().map(|block| Block { free: 0, ..block.clone() }).collect()
    };
    ensure_eq!(blocks(after), blocks(before), "blocks with a device");
    Ok(tables)
}

/// The state is that of `before`.
pub(super) fn all_is_as_before(guest: &mut Guest, before: &State) -> Checked {
    let after = guest.state()?;
    ensure_eq!(after.pages, before.pages, "pages");
    ensure_eq!(after.zones, before.zones, "zones");
    ensure_eq!(after.blocks, before.blocks, "blocks");
    ensure_eq!(after.devices, before.devices, "devices");
    ensure_eq!(after.regions, before.regions, "regions");
    ensure_eq!(after.heap, before.heap, "heap");
    ensure_eq!(after.warnings, before.warnings, "warnings");
    Ok(())
}

/// All of a device's memory, in the form that the checks of a DIMM take.
pub(super) const fn memory_of(device: &Device) -> Plugged {
    Plugged { address: device.start, size: device.size, slot: 0, status: 0 }
}

/// QEMU finds the device in the linear map, and each of its struct pages in its altmap, or in boot RAM if it has none.
pub(super) fn qemu_sees(guest: &mut Guest, state: &State, granule: Granule, device: &Device) -> Checked {
    looking::linear_map_leads_to(guest, state, memory_of(device))?;
    let frames = looking::memmap_frames(guest, state, granule, device.start, device.size)?;
    let at_home = |frame: &u64| match device.altmap {
        Some(altmap) => {
            let first = altmap.base_pfn + altmap.reserve;
            (first..first + altmap.free).contains(&granule.pages(*frame))
        }
        None => looking::is_boot_ram(state, *frame),
    };
    match frames.iter().find(|frame| !at_home(frame)) {
        Some(stray) => failed(format!("memmap of the device {:#x} is in frame {stray:#x}", device.start)),
        None => Ok(()),
    }
}

/// The regions of `state`: start and state.
fn uses(state: &State) -> Vec<(u64, &str)> {
    state.regions.iter().map(|region| (region.start, region.state.as_str())).collect()
}

/// `pmem=map=`: the region is a device at the first prompt; after the device is destroyed, the counts are as without
/// it.
fn pmem_is_a_device(run: &Run, boot: Boot, granule: Granule, home: Home) -> Checked<String> {
    let argument = format!("pmem=map={}", home.word());
    // The last one counts. Both lines have the same length, so that the device trees have.
    let mut without = Guest::boot(run, &machine(boot, granule).append(&argument).append("pmem=off"))?;
    let start = without.state()?;
    ensure_eq!(
        (uses(&start), start.devices.len()),
        (vec![(HOT, "waiting"), (PMEM, "waiting")], 0),
        "pmem=off"
    );
    without.finish()?;

    let mut guest = Guest::boot(run, &machine(boot, granule).append("pmem=off").append(&argument))?;
    let state = guest.state()?;
    let should = device(PMEM, GIB, "fs-dax", home, granule);
    ensure_eq!(state.devices, std::slice::from_ref(&should), "the devices");
    ensure_eq!(uses(&state), [(HOT, "waiting"), (PMEM, "device")], "the regions");
    let memmap = memmap_pages(GIB, granule);
    let (own, in_ram) = if home == Home::Device { (memmap, 0) } else { (0, memmap) };
    let tables = only_memmap_is_gone(&start, &state, in_ram)?;
    let line = format!(
        "dax@c0000000: 1 GiB fs-dax is here, {own} pages of it its own memmap, usable from {:#x}",
        should.usable_start
    );
    ensure!(guest.text().lines().any(|found| found.trim() == line), "no line '{line}'");
    qemu_sees(&mut guest, &state, granule, &should)?;
    guest.tell("audit").during("with the device")?;

    guest.tell(&format!("dax destroy {PMEM:#x}"))?;
    looking::nothing_is_mapped(&mut guest, &state, granule, memory_of(&should))?;
    all_is_as_before(&mut guest, &start).during("without the device")?;
    // The shell creates the same device as boot.
    guest.tell(&format!("dax create {PMEM:#x} --map {}", home.word()))?;
    all_is_as_before(&mut guest, &state).during("with the device again")?;
    guest.tell(&format!("dax destroy {PMEM:#x}"))?;
    guest.finish()?;
    Ok(format!("{own} pages of it and {in_ram} of RAM for memmap, {tables} for tables"))
}

/// Volatile memory is not for a file system, and neither is what the device tree calls hotpluggable.
fn volatile_memory_is_a_generic_device(run: &Run, granule: Granule) -> Checked<String> {
    let volatile = Machine { pmem_volatile: true, ..machine(Boot::Firmware, granule) };
    let mut guest = Guest::boot(run, &volatile.append("pmem=map=dev"))?;
    let pmem = device(PMEM, GIB, "generic", Home::Device, granule);
    ensure_eq!(guest.state()?.devices, std::slice::from_ref(&pmem), "the devices");
    guest.tell(&format!("dax create {HOT:#x},64M --map dev"))?;
    let hot = device(HOT, 64 * MIB, "generic", Home::Device, granule);
    let state = guest.state()?;
    ensure_eq!(state.devices, [hot.clone(), pmem], "the devices, by address");
    qemu_sees(&mut guest, &state, granule, &hot)?;
    guest.finish()?;
    Ok(String::new())
}

const FIRST: u64 = 0x1122_3344_5566_7788;
const SECOND: u64 = 0xfeed_0000_0000_beef;

/// What one guest writes into persistent memory is in the file, and the guest of another QEMU reads it.
fn what_is_written_stays(run: &Run, boot: Boot, granule: Granule) -> Checked<String> {
    let (path, size) = (run.path("pmem"), 64 * MIB);
    drop(std::fs::remove_file(&path));
    let with_file = Machine {
        pmem: Some("64M".into()),
        pmem_file: Some(path.clone()),
        ..machine(boot, granule).append("pmem=map=dev")
    };
    let should = device(PMEM, size, "fs-dax", Home::Device, granule);
    let (first, last) = (should.usable_start, PMEM + size - 8);
    let mut guest = Guest::boot(run, &with_file)?;
    ensure_eq!(guest.state()?.devices, [should], "the devices");
    guest.tell(&format!("dax write {first:#x} {FIRST:#x}"))?;
    guest.tell(&format!("dax write {last:#x} {SECOND:#x}"))?;
    guest.finish()?;

    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).map_err(unknown_io)?;
    ensure_eq!(read_word(&file, first - PMEM)?, FIRST, "the file at the device's first word");
    ensure_eq!(read_word(&file, size - 8)?, SECOND, "the file at the device's last word");
    write_word(&file, size / 2, !FIRST)?;

    // The next guest has its memmap where the one before had it, and reads no word of it as data.
    let mut guest = Guest::boot(run, &with_file).during("the second boot")?;
    for (at, word) in [(first, FIRST), (last, SECOND), (PMEM + size / 2, !FIRST)] {
        let said = guest.tell(&format!("dax read {at:#x}"))?;
        ensure_eq!(said, format!("{at:#x}: {word:#018x}"), "what the second guest reads");
    }
    guest.finish()?;
    Ok(String::new())
}

/// An NVDIMM that is there at boot, and one that is plugged, each become a self-hosted device.
fn nvdimm_is_a_device(run: &Run, granule: Granule, hot: bool) -> Checked<String> {
    let nvdimm = Dimm::nvdimm("n0", GIB);
    let cold: &[Dimm] = if hot { &[] } else { std::slice::from_ref(&nvdimm) };
    let mut guest = Guest::boot(run, &with_cold(granule, cold).append("pmem=map=dev"))?;
    let early = guest.state()?;
    if hot {
        plug(&mut guest, std::slice::from_ref(&nvdimm))?;
    }
    let place = place_of(&mut guest, &nvdimm)?;
    let sign = format!("dax@{:x}: 1 GiB fs-dax is here, ", place.start);
    if hot {
        guest.wait_for("a device of the NVDIMM", Deadline::for_step(), |text| {
            text.contains(&sign).then_some(())
        })?;
    }
    ensure!(guest.text().contains(&sign), "no line begins with '{sign}'");
    let state = guest.state()?;
    let should = device(place.start, GIB, "fs-dax", Home::Device, granule);
    ensure_eq!(state.devices, std::slice::from_ref(&should), "the devices");
    ensure_eq!(state.nvdimm(place.number).map(|n| n.state.as_str()), Some("device"), "the NVDIMM");
    qemu_sees(&mut guest, &state, granule, &should)?;
    guest.tell(&format!("dax write {:#x} 0x77", should.usable_start))?;
    guest.tell("audit").during("with the device")?;
    guest.tell(&format!("dax destroy {:#x}", place.start))?;
    let gone = guest.state()?;
    ensure_eq!(gone.devices, [], "the devices after all");
    ensure_eq!(gone.nvdimm(place.number).map(|n| n.state.as_str()), Some("waiting"), "the NVDIMM after all");
    looking::nothing_is_mapped(&mut guest, &state, granule, memory_of(&should))?;
    if hot {
        only_memmap_is_gone(&early, &state, 0)?;
        ensure_eq!(gone.pages, early.pages, "pages without the device");
    } else {
        only_memmap_is_gone(&gone, &state, 0)?;
    }
    guest.finish()?;
    Ok(String::new())
}
