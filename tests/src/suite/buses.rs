//! Virtio devices on their buses: found where QEMU has them, with the registers and the interrupt that QEMU then says they
//! have; and buses that are not what the device tree says.

use super::device_tree::with_change;
use super::test::Test;
use hotmap_client::error::{Checked, failed};
use hotmap_client::geometry::Granule;
use hotmap_client::guest::{Guest, run_to_end};
use hotmap_client::machine::{BOOTS, Machine};
use hotmap_client::qemu::Exit;
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};

/// Two virtio-mem devices, and between them devices that the kernel does not drive.
const DEVICES: [&str; 18] = [
    "-object",
    "memory-backend-ram,id=m0,size=1G",
    "-object",
    "memory-backend-ram,id=m1,size=1G",
    "-device",
    "pcie-root-port,id=beyond",
    "-device",
    "virtio-mem-pci,memdev=m0,addr=3",
    "-device",
    "qemu-xhci",
    "-device",
    "virtio-rng-pci",
    "-device",
    "virtio-mem-pci,memdev=m1,addr=6,multifunction=on",
    "-device",
    "virtio-balloon-pci,addr=6.1",
    "-device",
    "virtio-rng-pci,bus=beyond",
];
/// Where they are, and their SPIs: 3 + (slot + pin - 1) % 4 (QEMU, hw/arm/virt.c, `create_pcie_irq_map`).
const FOUND: [&str; 2] = ["pci 0:3.0: virtio Memory, SPI 6", "pci 0:6.0: virtio Memory, SPI 5"];

/// QEMU's windows for 32-bit and 64-bit registers (hw/arm/virt.c, `base_memmap` and `extended_memmap`).
const WINDOW_32: std::ops::Range<u64> = 0x1000_0000..0x3eff_0000;
const WINDOW_64: std::ops::Range<u64> = 0x80_0000_0000..0x100_0000_0000;

/// The size of the 64-bit BAR that has a virtio device's structures; the other one, if there is one, is MSI-X's.
const STRUCTURES: u64 = 0x4000;

pub(super) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for boot in BOOTS {
        for (gic, granule) in [(2, Granule::K64), (3, Granule::K16), (3, Granule::K4)] {
            let machine = Machine { gic: Some(gic), ..Machine::by(boot) }.granule(granule).extra(DEVICES);
            let name = format!("buses/pci/{}/gic{gic}/{granule}", boot.name());
            tests.push(Test::new(name, move |run: &Run| qemu_has_the_registers(run, &machine, &WINDOW_64)));
        }
    }
    // All of the machine below 4 GiB, the configuration space too.
    let low = Machine::image().extra(LOW);
    tests.push(Test::new("buses/pci/highmem-off", move |run: &Run| {
        qemu_has_the_registers(run, &low, &WINDOW_32)
    }));
    for lie in LIES {
        let name = format!("buses/lie/{}", lie.name);
        tests.push(Test::new(name, move |run: &Run| a_lie_costs_the_bus_alone(run, &lie)));
    }
    tests
}

/// RAM has 3 GiB there, and a slot would take one.
const LOW: [&str; 8] = [
    "-machine",
    "highmem=off",
    "-m",
    "1G,slots=0,maxmem=2G",
    "-object",
    "memory-backend-ram,id=m0,size=256M",
    "-device",
    "virtio-mem-pci,memdev=m0,addr=3",
];

/// `info pci` says where QEMU has the registers that the guest placed: inside the window, aligned, none over another.
fn qemu_has_the_registers(run: &Run, machine: &Machine, wide: &std::ops::Range<u64>) -> Checked<String> {
    let mut guest = Guest::boot(run, machine)?;
    let text = guest.text();
    let count = if machine.extra.iter().any(|word| word.contains("m1")) { 2 } else { 1 };
    let found: Vec<&str> = text.lines().filter(|line| line.contains(": virtio ")).collect();
    ensure_eq!(found, FOUND[..count], "virtio devices that the kernel drives");
    let listing = guest.qmp.monitor("info pci")?;
    let placed = placed_bars(&listing);
    let structures = placed.iter().filter(|bar| bar.end - bar.start == STRUCTURES).count();
    ensure_eq!(structures, count, "BARs of structures with an address in {listing}");
    for (at, bar) in placed.iter().enumerate() {
        let size = bar.end - bar.start;
        let window = if size == STRUCTURES { wide } else { &WINDOW_32 };
        ensure!(window.start <= bar.start && bar.end <= window.end, "{bar:x?} is outside {window:x?}");
        ensure_eq!(bar.start % size, 0, "the alignment of {bar:x?}");
        let over = placed[..at].iter().find(|other| other.start < bar.end && bar.start < other.end);
        ensure!(over.is_none(), "{bar:x?} is over {over:x?}");
    }
    guest.finish()?;
    Ok(format!("{placed:x?}"))
}

/// The addresses of BARs that have one, of a listing such as
/// `BAR4: 64 bit prefetchable memory at 0x8000000000 [0x8000003fff].`
fn placed_bars(listing: &str) -> Vec<std::ops::Range<u64>> {
    let hex = |word: &str| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok();
    let bar = |line: &str| {
        let (_, range) = line.trim().strip_prefix("BAR")?.split_once(" memory at ")?;
        let (start, last) = range.trim_end_matches(['.', ']']).split_once(" [")?;
        let (start, last) = (hex(start)?, hex(last)?);
        (last != u64::MAX && start != u64::MAX && start > 0 && last > start).then(|| start..last + 1)
    };
    listing.lines().filter_map(bar).collect()
}

/// A tree that says something wrong of its buses.
#[derive(Clone, Copy)]
struct Lie {
    name: &'static str,
    /// Cells that are in QEMU's tree once, and what they are instead.
    cells: (&'static [u32], &'static [u32]),
    /// What the guest says.
    says: &'static [&'static str],
}

const LIES: [Lie; 5] = [
    Lie {
        name: "no-ecam",
        cells: (&[0x40, 0x1000_0000, 0, 0x1000_0000], &[0x3, 0x1000_0000, 0, 0x1000_0000]),
        says: &["pci: nothing answers in its configuration space at 0x310000000..0x310100000; not used"],
    },
    Lie {
        name: "ecam-out-of-reach",
        cells: (&[0x40, 0x1000_0000, 0, 0x1000_0000], &[0xff_ffff, 0x1000_0000, 0, 0x1000_0000]),
        says: &["are out of reach; not used"],
    },
    Lie {
        name: "window-over-ram",
        cells: (
            &[0x300_0000, 0x80, 0, 0x80, 0, 0x80, 0],
            &[0x300_0000, 0, 0x4000_0000, 0, 0x4000_0000, 0, 0x1000_0000],
        ),
        says: &["pci: its registers at 0x40000000..0x50000000 overlap", "pci 0:3.0: virtio Memory, SPI 6"],
    },
    Lie {
        name: "interrupt-map",
        cells: (&[0x1800, 0, 0, 7], &[0x1800, 0, 0, 0xffff_ffff]),
        says: &["pci 0:3.0: virtio Memory, SPI 6"],
    },
    Lie {
        name: "virtio-over-uart",
        cells: (&[0, 0xa00_0000, 0, 0x200], &[0, 0x900_0000, 0, 0x1000]),
        says: &[
            "virtio-mmio@9000000: its registers at 0x9000000..0x9001000 overlap UART at 0x9000000..0x9001000; not used",
        ],
    },
];

/// One line that names the bus and the value; the commands after it succeed.
fn a_lie_costs_the_bus_alone(run: &Run, lie: &Lie) -> Checked<String> {
    let bytes = |cells: &[u32]| cells.iter().flat_map(|cell| cell.to_be_bytes()).collect::<Vec<u8>>();
    let machine = with_change(run, &bytes(lie.cells.0), &bytes(lie.cells.1))?;

    let finished = run_to_end(run, &machine.extra(DEVICES).append("run=\"state; audit\""))?;
    ensure_eq!(finished.exit, Exit::FINE, "the commands behind {}", lie.name);
    for part in lie.says {
        if !finished.text.lines().any(|line| line.contains(part)) {
            return failed(format!("no line says '{part}'"));
        }
    }
    Ok(String::new())
}
