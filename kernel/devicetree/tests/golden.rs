//! Real blobs, and what they say. The expected values come from the command lines in fixtures/regenerate, from the
//! .dts sources, and from QEMU's memory map (hw/arm/virt.c, `base_memmap`), read with `dtc` and written down here.
mod support;

use hotmap_devicetree::{
    Console, Cpu, EnableMethod, Gic, Interrupt, InterruptKind, MachineDescription, MemoryRegion, PmemRegion,
    Psci, PsciConduit, PsciVersion, Region, Uart, parse, total_size,
};
use support::{fixture, fixtures, patch, read, region};

/// Hardware that every one of QEMU's own trees has.
const UART: Uart = Uart {
    region: Region { start: 0x900_0000, size: 0x1000 },
    interrupt: Some(Interrupt { kind: InterruptKind::Spi, number: 1, flags: 4 }),
};
const FW_CFG: Option<Region> = Some(Region { start: 0x902_0000, size: 0x18 });
const ECAM: Option<Region> = Some(Region { start: 0x40_1000_0000, size: 0x1000_0000 });
const HVC: Psci = Psci { conduit: PsciConduit::Hvc, version: PsciVersion::V1_0, cpu_on: None };

fn golden(name: &str) -> Box<MachineDescription> {
    read(&fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn ram(start: u64, size: u64, numa_node: Option<u32>) -> MemoryRegion {
    MemoryRegion { region: region(start, size), hotpluggable: false, numa_node }
}

fn hot(start: u64, size: u64, numa_node: Option<u32>) -> MemoryRegion {
    MemoryRegion { region: region(start, size), hotpluggable: true, numa_node }
}

fn pmem(start: u64, size: u64, volatile: bool) -> PmemRegion {
    PmemRegion { region: region(start, size), volatile, numa_node: None }
}

fn cpus<const N: usize>(mpidrs: [u64; N], enable_method: EnableMethod) -> [Cpu; N] {
    mpidrs.map(|mpidr| Cpu { mpidr, enable_method })
}

fn qemu_gic_v3() -> Gic {
    let redistributors = [region(0x80a_0000, 0xf6_0000)].into_iter().collect();
    Gic::V3 { distributor: region(0x800_0000, 0x1_0000), redistributors, redistributor_stride: 0 }
}

fn qemu_gic_v2() -> Gic {
    Gic::V2 { distributor: region(0x800_0000, 0x1_0000), cpu_interface: region(0x801_0000, 0x1_0000) }
}

#[test]
fn firmware_boot_with_gic_v3() {
    let machine = golden("qemu-firmware-gic3");
    assert_eq!(machine.compatible, "linux,dummy-virt");
    assert_eq!(machine.memory, [ram(0x4000_0000, 0x4000_0000, None)]);
    assert_eq!(machine.bootargs, "granule=16k run=\"state; audit\"");
    assert_eq!(machine.console, Console::Pl011(UART));
    assert_eq!(UART.interrupt.map(Interrupt::intid), Some(33));
    assert_eq!(machine.gic, qemu_gic_v3());
    assert_eq!(machine.timer.map(u32::from), Some(27));
    assert_eq!(machine.psci, HVC);
    assert_eq!(machine.cpus, cpus([0, 1, 2, 3], EnableMethod::Psci));
    assert_eq!(machine.cpu_count, 4);
    assert_eq!((machine.fw_cfg, machine.pci.ecam), (FW_CFG, ECAM));
    assert_eq!(machine.flash, [region(0, 0x400_0000), region(0x400_0000, 0x400_0000)]);
    assert_eq!((machine.initrd, machine.reserved.len(), machine.pmem.len()), (None, 0, 0));
}

#[test]
fn image_boot_at_el2_with_gic_v2_and_an_initrd() {
    let machine = golden("qemu-image-gic2-el2");
    assert_eq!(machine.memory, [ram(0x4000_0000, 0x2000_0000, None)]);
    assert_eq!(machine.bootargs, "granule=64k online=manual");
    assert_eq!(machine.initrd, Some(region(0x4800_0000, 5000)));
    assert_eq!(machine.console, Console::Pl011(UART));
    assert_eq!(machine.gic, qemu_gic_v2());
    assert_eq!(machine.psci, Psci { conduit: PsciConduit::Smc, version: PsciVersion::V1_0, cpu_on: None });
    assert_eq!(machine.cpus, cpus([0], EnableMethod::Absent), "QEMU gives one CPU alone no method");
    assert_eq!(machine.cpu_count, 1);
    assert_eq!((machine.fw_cfg, machine.pci.ecam), (FW_CFG, ECAM));
}

#[test]
fn numa_nodes_in_descending_order_come_out_ascending() {
    let machine = golden("qemu-numa");
    let expected = [
        ram(0x4000_0000, 0x2000_0000, Some(0)),
        ram(0x6000_0000, 0x1000_0000, Some(1)),
        ram(0x7000_0000, 0x3000_0000, Some(2)),
    ];
    assert_eq!(machine.memory, expected);
    assert_eq!(machine.cpu_count, 3);
    assert_eq!(machine.bootargs, "");
}

#[test]
fn what_belongs_to_the_secure_world_is_not_ours() {
    let machine = golden("qemu-secure");
    assert_eq!(machine.memory, [ram(0x4000_0000, 0x4000_0000, None)], "secram@e000000 is disabled");
    assert_eq!(machine.console, Console::Pl011(UART), "not /secure-chosen's pl011@9040000");
    assert_eq!(machine.psci, Psci::default(), "the secure firmware would have to provide it");
    assert_eq!(machine.gic, qemu_gic_v2());
}

#[test]
fn regions_of_a_given_tree_are_carved_out_of_qemus_ram() {
    let machine = golden("qemu-given-dtb");
    let expected = [
        ram(0x4000_0000, 0x2800_0000, None),
        hot(0x6800_0000, 0x800_0000, None),
        ram(0x7400_0000, 0xc00_0000, None),
    ];
    assert_eq!(machine.memory, expected, "memory@60000000, hotpluggable, was nopped out by QEMU");
    assert_eq!(machine.pmem, [pmem(0x7000_0000, 0x400_0000, true)]);
    let reserved: Vec<_> =
        machine.reserved.iter().map(|entry| (entry.region, entry.no_map, entry.name.as_str())).collect();
    let expected = [
        (region(0x4f00_0000, 0x1_0000), false, ""),
        (region(0x5000_0000, 0x20_0000), true, "firmware@50000000"),
    ];
    assert_eq!(reserved, expected);
    assert_eq!(machine.bootargs, "granule=4k");
    assert_eq!((&machine.gic, machine.psci), (&qemu_gic_v3(), HVC));
    assert_eq!(machine.fw_cfg, None);
}

#[test]
fn the_tree_before_qemu_changed_it_says_the_same_with_its_own_ram() {
    let machine = golden("user-given");
    let expected = [
        ram(0x4000_0000, 0x1000_0000, None),
        hot(0x6000_0000, 0x800_0000, None),
        hot(0x6800_0000, 0x800_0000, None),
    ];
    assert_eq!(machine.memory, expected);
    assert_eq!(machine.console, Console::Pl011(UART));
}

#[test]
fn one_cell_addresses_and_nested_buses_are_translated() {
    let machine = golden("narrow-cells");
    assert_eq!(machine.compatible, "example,board");
    assert_eq!(machine.memory, [ram(0x8000_0000, 0x1000_0000, None), ram(0xa000_0000, 0x1000_0000, None)]);
    let reserved: Vec<Region> = machine.reserved.iter().map(|entry| entry.region).collect();
    assert_eq!(reserved, [region(0x8000_0000, 0x1000), region(0x8ff0_0000, 0x10_0000)]);
    assert_eq!(machine.initrd, Some(region(0x8800_0000, 0x1000)));
    // uart@20 is at 0x1020 of /soc, whose 0x0.. is at 0x2000_0000.
    let interrupt = Some(Interrupt { kind: InterruptKind::Ppi, number: 5, flags: 0xf08 });
    assert_eq!(machine.console, Console::Other(Uart { region: region(0x2000_1020, 0x20), interrupt }));
    assert_eq!(interrupt.map(Interrupt::intid), Some(21));
    let expected =
        Gic::V2 { distributor: region(0x1000_1000, 0x1000), cpu_interface: region(0x1000_2000, 0x2000) };
    assert_eq!(machine.gic, expected);
    assert_eq!(machine.psci, Psci { conduit: PsciConduit::Smc, version: PsciVersion::V0_2, cpu_on: None });
    assert_eq!(machine.cpus, cpus([0x1_0000_0000, 0x101], EnableMethod::Absent));
    assert_eq!(machine.cpu_count, 2);
}

#[test]
fn what_the_bindings_allow_and_qemu_does_not_do() {
    let machine = golden("odd-shapes");
    let expected = [
        ram(0x8000_0000, 0x2800_0000, Some(0)),
        hot(0xa800_0000, 0x1000_0000, Some(1)),
        ram(0xc000_0000, 0xc00_0000, None),
        hot(0x10_0000_0000, 0x4000_0000, None),
    ];
    assert_eq!(machine.memory, expected);
    assert_eq!(machine.pmem, [pmem(0xcc00_0000, 0x400_0000, false)]);
    let redistributors =
        [region(0x110_0000, 0x20_0000), region(0x40_0000_0000, 0x40_0000)].into_iter().collect();
    let distributor = region(0x100_0000, 0x1_0000);
    assert_eq!(machine.gic, Gic::V3 { distributor, redistributors, redistributor_stride: 0x4_0000 });
    let uart = Uart { region: region(0x400_0000, 0x1000), interrupt: None };
    assert_eq!(machine.console, Console::Other(uart), "four interrupt cells are not the GIC's three");
    assert_eq!(machine.pci.ecam, Some(region(0x80_0000_0000, 0x1000_0000)));
    assert_eq!(machine.psci, Psci { conduit: PsciConduit::Smc, version: PsciVersion::V0_1, cpu_on: None });
    assert_eq!((machine.initrd, machine.cpu_count), (None, 0));
    let reserved: Vec<_> =
        machine.reserved.iter().map(|entry| (entry.region, entry.no_map, entry.name.as_str())).collect();
    let expected = [
        (region(0x9000_0000, 0x1000), true, "carveout@90000000"),
        (region(0x9200_0000, 0x2000), true, "carveout@90000000"),
        (region(0x9600_0000, 0x1000), false, "a-name-that-is-longer-than-a-name-may-be-by-the"),
    ];
    assert_eq!(reserved, expected);
}

#[test]
fn padding_and_what_follows_the_blob_do_not_matter() {
    for (name, blob) in fixtures() {
        let plain = read(&blob).unwrap_or_else(|error| panic!("{name}: {error}"));
        // QEMU's own form: padded to 1 MiB, totalsize with it.
        let mut padded = blob.clone();
        padded.resize(1 << 20, 0xa5);
        assert_eq!(read(&padded).as_ref(), Ok(&plain), "{name} in a longer buffer");
        patch(&mut padded, 4, 1 << 20);
        assert_eq!(read(&padded).as_ref(), Ok(&plain), "{name} padded");
        assert_eq!(total_size(&padded[..8]), Ok(1 << 20));
    }
}

#[test]
fn a_blob_may_start_at_any_address() {
    for (name, blob) in fixtures() {
        let expected = read(&blob);
        for shift in 1..8 {
            let mut shifted = vec![0; shift];
            shifted.extend(&blob);
            let mut out = Box::new(MachineDescription::new());
            assert_eq!(parse(&shifted[shift..], &mut out), Ok(()), "{name}");
            assert_eq!(Ok(out), expected, "{name}");
        }
    }
}
