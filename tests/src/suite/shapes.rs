//! RAM of many shapes, and other variations of the machine: entry level, interrupt controller, CPUs, an initrd.

use super::matrix::{COMMANDS, checks_itself};
use super::test::Test;
use crate::eyes;
use hotmap_client::error::{Checked, Error, unknown};
use hotmap_client::geometry::{GRANULES, Granule, MIB, RAM_BASE};
use hotmap_client::guest::{Guest, run_to_end};
use hotmap_client::machine::{BOOTS, Boot, Entry, Machine};
use hotmap_client::qemu::Exit;
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};

/// A shape of RAM: its name, boot RAM, maxmem, and QEMU's other arguments.
const SHAPES: [(&str, &str, &str, &[&str]); 5] = [
    ("small", "256M", "64G", &[]),
    // Neither whole memory blocks nor whole level 2 leaves of any granule.
    ("ragged", "1001M", "64G", &[]),
    ("large", "4G", "64G", &[]),
    ("high", "12G", "64G", &UNRESERVED),
    // Two nodes, so several memory nodes in the device tree, in descending order, with a border inside a 512 MiB block.
    ("numa", "1G", "64G", &NUMA),
];

/// Boot RAM that may be larger than the host's: the host allocates what the guest touches.
const UNRESERVED: [&str; 4] =
    ["-object", "memory-backend-ram,id=big,size=12G,reserve=off", "-machine", "memory-backend=big"];

/// Boot RAM of 1 GiB on two nodes.
pub(super) const NUMA: [&str; 8] = [
    "-object",
    "memory-backend-ram,id=n0,size=640M",
    "-object",
    "memory-backend-ram,id=n1,size=384M",
    "-numa",
    "node,nodeid=0,memdev=n0",
    "-numa",
    "node,nodeid=1,memdev=n1",
];

pub(super) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for granule in GRANULES {
        for boot in BOOTS {
            tests.extend(SHAPES.map(|(name, memory, maxmem, extra)| {
                let machine = Machine::by(boot).memory(memory).maxmem(maxmem).extra(extra.iter().copied());
                vary(&format!("ram/{name}"), machine, boot, granule)
            }));
            let el2 = Machine { entry: Entry::El2, ..Machine::by(boot) };
            tests.push(vary("el2", el2, boot, granule));
            for gic in [2, 3] {
                let machine = Machine { gic: Some(gic), smp: Some(4), ..Machine::by(boot) };
                tests.push(vary(&format!("gic{gic}-smp4"), machine, boot, granule));
            }
        }
        tests.push(Test::new(format!("el3/{granule}"), move |run: &Run| entered_at_el3(run, granule)));
        tests.push(Test::new(format!("initrd/{granule}"), move |run: &Run| initrd_survives(run, granule)));
        let acpi_off = Machine { acpi: false, ..Machine::firmware() };
        tests.push(vary("acpi-off", acpi_off, Boot::Firmware, granule));
    }
    tests
}

fn vary(name: &str, machine: Machine, boot: Boot, granule: Granule) -> Test {
    let machine = machine.granule(granule).append(COMMANDS);
    let name = format!("{name}/{granule}/{}", boot.name());
    Test::new(name, move |run: &Run| checks_itself(run, &machine, boot, granule))
}

/// EL3 is refused with a message and status 3: there is no PSCI there.
fn entered_at_el3(run: &Run, granule: Granule) -> Checked<String> {
    let machine = Machine { entry: Entry::El3, ..Machine::firmware() }.granule(granule).append(COMMANDS);
    let finished = run_to_end(run, &machine)?;
    ensure_eq!(finished.exit, Exit::CPU_LACKS, "entered at EL3");
    Ok(finished
        .line("that names EL3", |line| line.starts_with("error: ") && line.contains("EL3"))?
        .to_owned())
}

/// An initrd is reserved: its bytes stay as they are while all other memory is filled with tenants.
fn initrd_survives(run: &Run, granule: Granule) -> Checked<String> {
    let file = run.filled_file("initrd", 3 * MIB + 4096, 0x5a)?;
    let machine = Machine::image().granule(granule).memory("512M");
    let mut guest = Guest::boot(run, &machine.extra(["-initrd", &file.to_string_lossy()]))?;
    let address = initrd_address(&mut guest, &file.to_string_lossy())?;
    ensure!(address > RAM_BASE, "QEMU put the initrd at {address:#x}");
    let free = guest.state()?.pages.free;
    guest.tell(&format!("tenant new {}", free * 9 / 10))?;
    for offset in [0, MIB, 3 * MIB + 4096 - 8] {
        let words = eyes::words(&mut guest.qmp, address + offset, 1)?;
        ensure_eq!(words, [0x5a5a_5a5a_5a5a_5a5a], "initrd at {offset:#x}");
    }
    guest.tell("tenant check")?;
    guest.finish()?;
    Ok(format!("initrd at {address:#x} beside {} tenant pages", free * 9 / 10))
}

/// Where QEMU loaded the initrd, by its own list: `addr=0000000048000000 size=0x301000 mem=ram name="/tmp/..."`.
fn initrd_address(guest: &mut Guest, name: &str) -> Checked<u64> {
    let roms = guest.qmp.monitor("info roms")?;
    let line = roms.lines().find(|line| line.contains(name));
    let Some(digits) = line.and_then(|line| line.split_whitespace().next()?.strip_prefix("addr=")) else {
        return unknown(format!("QEMU does not list the initrd: {roms}"));
    };
    u64::from_str_radix(digits, 16).map_err(|error| Error::Unknown(format!("{digits}: {error}")))
}
