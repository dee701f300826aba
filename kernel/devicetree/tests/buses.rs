//! PCI hosts and virtio devices over MMIO: what a tree says of them, and that a wrong one costs the machine nothing else.
mod support;

use hotmap_devicetree::{
    Interrupt, InterruptKind, MachineDescription, PciWindow, Region, VIRTIO_MMIO_CAPACITY,
};
use support::{Writer, fixture, read, region};

const GIC: u32 = 0x8002;

fn spi(number: u32, flags: u32) -> Option<Interrupt> {
    Some(Interrupt { kind: InterruptKind::Spi, number, flags })
}

/// A machine with a GIC whose unit addresses have `unit` cells, behind whatever `add` adds.
fn machine(unit: u32, add: impl FnOnce(&mut Writer)) -> Box<MachineDescription> {
    let mut writer = Writer::root();
    writer.cells("interrupt-parent", &[GIC]).memory(&[(0x4000_0000, 0x1000_0000)]).end();
    add(&mut writer);
    writer.begin("intc").text("compatible", "arm,gic-400").cells("phandle", &[GIC]);
    writer.cells("#interrupt-cells", &[3]).cells("#address-cells", &[unit]);
    writer.reg(&[(0x800_0000, 0x1000), (0x801_0000, 0x1000)]).end();
    read(&writer.blob()).expect("a bus that is wrong costs the bus alone")
}

/// An open PCI host.
fn host(writer: &mut Writer) -> &mut Writer {
    writer.begin("pcie@10").text("compatible", "pci-host-ecam-generic").property("dma-coherent", b"");
    writer.cells("#address-cells", &[3]).cells("#size-cells", &[2]).reg(&[(0x40_1000_0000, 0x1000_0000)])
}

fn complaints(machine: &MachineDescription) -> Vec<String> {
    machine.complaints.iter().map(ToString::to_string).collect()
}

#[test]
fn qemus_host_has_three_windows_and_four_interrupts() {
    for name in ["qemu-image-gic2-el2", "qemu-firmware-gic3"] {
        let pci = read(&fixture(name)).expect("golden").pci;
        assert_eq!(pci.ecam, Some(region(0x40_1000_0000, 0x1000_0000)));
        assert!(pci.coherent && pci.first_bus == 0);
        let window = |bus, start, size| Some(PciWindow { bus, region: Region { start, size } });
        assert_eq!(pci.io, window(0, 0x3eff_0000, 0x1_0000));
        assert_eq!(pci.memory32, window(0x1000_0000, 0x1000_0000, 0x2eff_0000));
        assert_eq!(pci.memory64, window(0x80_0000_0000, 0x80_0000_0000, 0x80_0000_0000));
        for device in 0..32 {
            for pin in 1..=4 {
                // hw/arm/virt.c, create_pcie_irq_map: SPIs 3 to 6, level.
                let number = 3 + (u32::from(device) + u32::from(pin) - 1) % 4;
                assert_eq!(pci.interrupt(0, device, 5, pin), spi(number, 4), "{device} {pin}");
            }
            assert_eq!(pci.interrupt(0, device, 0, 0), None, "a function without a pin");
        }
    }
}

#[test]
fn qemus_places_for_virtio_over_mmio_are_32() {
    let devices = read(&fixture("qemu-firmware-gic3")).expect("golden").virtio_mmio;
    assert_eq!(devices.len(), 32);
    for device in &devices {
        let place = u32::try_from((device.region.start - 0xa00_0000) / 0x200).expect("small");
        assert_eq!(
            (device.region.size, device.interrupt, device.coherent),
            (0x200, spi(16 + place, 1), true)
        );
    }
}

#[test]
fn the_first_host_and_the_first_window_of_a_kind_count() {
    let found = machine(0, |w| {
        host(w).cells("bus-range", &[3, 7]);
        let memory = |kind: u32, start| [kind << 24, 0, start, 0, start, 0, 0x1000];
        w.cells("ranges", &[memory(2, 0x1000), memory(2, 0x5000), memory(0x43, 0x9000)].concat()).end();
        w.begin("pcie@20").text("compatible", "pci-host-ecam-generic").reg(&[(0x1000, 0x1000)]).end();
    });
    assert_eq!((found.pci.ecam, found.pci.first_bus), (Some(region(0x40_1000_0000, 0x1000_0000)), 3));
    assert_eq!(found.pci.memory32.map(|w| w.region), Some(region(0x1000, 0x1000)));
    assert_eq!(found.pci.memory64.map(|w| w.region), Some(region(0x9000, 0x1000)), "prefetchable or not");
    assert_eq!((found.pci.io, complaints(&found)), (None, vec![]));
}

/// The controller's unit address lies between its phandle and the specifier, and a GIC without `#address-cells` has none.
#[test]
fn the_interrupt_map_has_as_many_cells_as_the_gic_says() {
    for unit in [0, 2] {
        let found = machine(unit, |w| {
            host(w).cells("interrupt-map-mask", &[0xf800, 0, 0, 7]);
            let entry = |device: u32, pin, number| {
                let mut cells = vec![device << 11, 0, 0, pin, GIC];
                cells.extend(vec![0; unit as usize]);
                cells.extend([0, number, 4]);
                cells
            };
            w.cells("interrupt-map", &[entry(1, 1, 9), entry(2, 1, 10)].concat()).end();
        });
        assert_eq!(complaints(&found), Vec::<String>::new());
        let pin = |device, pin| found.pci.interrupt(0, device, 0, pin);
        assert_eq!((pin(1, 1), pin(2, 1), pin(2, 2), pin(3, 1)), (spi(9, 4), spi(10, 4), None, None));
    }
}

#[test]
fn a_host_that_is_wrong_is_left_out_with_a_reason() {
    let map = |w: &mut Writer, cells: &[u32]| host(w).cells("interrupt-map", cells).end().done();
    type Add<'a> = &'a dyn Fn(&mut Writer);
    let cases: [(Add<'_>, &str, bool); 9] = [
        (
            &|w| w.begin("pcie@1").text("compatible", "pci-host-ecam-generic").end().done(),
            "pcie@1 has no reg",
            false,
        ),
        (&|w| host(w).cells("bus-range", &[0, 256]).end().done(), "bus-range of pcie@10 is 0x8 bytes", false),
        (&|w| host(w).cells("bus-range", &[5, 4]).end().done(), "bus-range of pcie@10 is 0x8 bytes", false),
        (
            &|w| host(w).cells("interrupt-map-mask", &[1]).end().done(),
            "interrupt-map-mask of pcie@10 is 0x4",
            false,
        ),
        (&|w| host(w).cells("ranges", &[1, 2, 3]).end().done(), "ranges of pcie@10 is 0xc bytes", false),
        (
            &|w| host(w).cells("ranges", &[2 << 24, 0, 0, !0, !0, 0, 0x1000]).end().done(),
            "the region of pcie@10 at 0xffffffffffffffff, size 0x1000, wraps around",
            false,
        ),
        (&|w| map(w, &[0, 0, 0, 1]), "interrupt-map of pcie@10 is 0x10 bytes", true),
        (
            &|w| map(w, &[0, 0, 0, 1, 0x77, 0, 3, 4]),
            "interrupt-map of pcie@10 has an entry for 0x77, not an SPI or PPI of the GIC",
            true,
        ),
        (&|w| map(w, &[0, 0, 0, 1, GIC, 0, 3, 4].repeat(33)), "more than 32 PCI interrupts", true),
    ];
    for (add, complaint, usable) in cases {
        let found = machine(0, add);
        let said = complaints(&found);
        assert!(matches!(&said[..], [one] if one.contains(complaint)), "{complaint}: {said:?}");
        assert_eq!(found.pci.ecam.is_some(), usable, "{complaint}");
        assert!(found.pci.interrupts.is_empty());
    }
}

#[test]
fn virtio_nodes_that_are_wrong_or_too_many_are_left_out() {
    let place = |w: &mut Writer, n: u64| {
        w.begin("virtio").text("compatible", "virtio,mmio").reg(&[(0xa00_0000 + n * 0x200, 0x200)]).end();
    };
    let found = machine(0, |w| {
        w.begin("virtio@1").text("compatible", "virtio,mmio").end();
        for n in 0..VIRTIO_MMIO_CAPACITY as u64 + 9 {
            place(w, n);
        }
    });
    assert_eq!(found.virtio_mmio.len(), VIRTIO_MMIO_CAPACITY);
    let said = complaints(&found);
    assert_eq!(said.len(), 4, "the first of them: {said:?}");
    assert_eq!(said[0], "device tree: virtio@1 has no reg");
    assert_eq!(said[1], "device tree: more than 32 virtio,mmio nodes");
}

#[test]
fn an_interrupt_of_another_controller_is_none() {
    let found = machine(0, |w| {
        for (parent, name) in [(GIC, "virtio@1"), (7, "virtio@2")] {
            w.begin(name).text("compatible", "virtio,mmio").cells("interrupt-parent", &[parent]);
            w.cells("interrupts", &[0, 16, 1]).reg(&[(0xa00_0000, 0x200)]).end();
        }
    });
    let interrupts: Vec<_> = found.virtio_mmio.iter().map(|device| device.interrupt).collect();
    assert_eq!(interrupts, [spi(16, 1), None]);
}
