//! Device trees that lie, one lie each, against the map of QEMU's virt (hw/arm/virt.c, `base_memmap`).
extern crate std;

use super::*;
use hotmap_devicetree::{MemoryRegion, PmemRegion, Spacing, Uart};
use std::boxed::Box;
use std::string::{String, ToString};

const fn region(start: u64, size: u64) -> Region {
    Region { start, size }
}

fn uart(region: Region) -> Console {
    Console::Pl011(Uart { region, interrupt: None })
}

fn v2(distributor: Region, cpu_interface: Region) -> Gic {
    Gic::V2 { distributor, cpu_interface }
}

fn v3(distributor: Region, redistributors: Region) -> Gic {
    let redistributors = [redistributors].into_iter().collect();
    Gic::V3 { distributor, redistributors, redistributor_stride: 0 }
}

fn ram(start: u64, size: u64) -> MemoryRegion {
    MemoryRegion { region: region(start, size), hotpluggable: false, numa_node: None }
}

/// QEMU's virt with 1 GiB of RAM, GICv3 and 4 CPUs.
fn virt() -> Box<MachineDescription> {
    let mut machine = Box::new(MachineDescription::new());
    machine.compatible.push_str("linux,dummy-virt").expect("it fits");
    machine.memory.push(ram(0x4000_0000, 0x4000_0000)).expect("it fits");
    machine.flash.push(region(0, 0x400_0000)).expect("it fits");
    machine.flash.push(region(0x400_0000, 0x400_0000)).expect("it fits");
    machine.console = uart(region(0x900_0000, 0x1000));
    machine.gic = v3(region(0x800_0000, 0x1_0000), region(0x80a_0000, 0xf6_0000));
    machine.fw_cfg = Some(region(0x902_0000, 0x18));
    machine.pci.ecam = Some(region(0x40_1000_0000, 0x1000_0000));
    machine.cpu_count = 4;
    machine
}

/// A firmware boot's: the blob at the start of RAM, the image above it.
fn loaded() -> Loaded {
    let range = |start, size| super::range(region(start, size));
    Loaded {
        image: range(0x4040_0000, 0x10_0000),
        blob: range(0x4000_0000, 0x10_0000),
        flash: Some(range(0, 0x10_0000)),
    }
}

/// The message for virt with one thing changed.
fn refusal(change: impl FnOnce(&mut MachineDescription)) -> String {
    let mut machine = virt();
    change(&mut machine);
    check(&machine, &loaded()).map_or_else(|bad| bad.to_string(), |()| "taken".to_string())
}

#[test]
fn qemus_own_map_is_fine_with_either_controller() {
    assert_eq!(refusal(|_| {}), "taken");
    let gic = v2(region(0x800_0000, 0x1_0000), region(0x801_0000, 0x1_0000));
    assert_eq!(refusal(|machine| machine.gic = gic), "taken");
    assert_eq!(refusal(|machine| machine.gic = Gic::Absent), "taken");
    assert_eq!(check(&virt(), &Loaded { flash: None, ..loaded() }), Ok(()), "an Image boot");
}

#[test]
fn a_window_is_as_large_as_what_the_driver_uses_and_no_larger() {
    let machine = virt();
    let found = mapped(&machine, &[0x80a_0000, 0x80c_0000, 0]);
    let of = |device| {
        found.iter().find(|window| window.device == device).map(|w| (w.range.start.get(), w.range.len()))
    };
    assert_eq!(of(Device::Redistributor), Some((0x80a_0000, 0x2_0000)), "the first CPU's");
    assert_eq!(of(Device::FwCfg), Some((0x902_0000, 0x10)));
    assert_eq!(
        found.len(),
        5,
        "UART, fw_cfg, the distributor, two redistributors: no more than the tree has"
    );
}

#[test]
fn windows_smaller_than_what_the_driver_uses_are_refused() {
    let small = refusal(|m| m.gic = v3(region(0x800_0000, 0x1_0000), region(0x80a_0000, 0x1000)));
    let expected = "device tree: GIC redistributor registers at 0x80a0000..0x80a1000: 0x1000 bytes, and the driver uses 0x20000";
    assert_eq!(small, expected);
    let small = refusal(|m| m.gic = v2(region(0x800_0000, 0x10), region(0x801_0000, 0x1_0000)));
    assert!(small.contains("GIC distributor") && small.contains("0x10 bytes"), "{small}");
    let small = refusal(|m| m.fw_cfg = Some(region(0x902_0000, 8)));
    assert!(small.contains("fw_cfg") && small.contains("0x8 bytes"), "{small}");
    let small = refusal(|m| m.console = uart(region(0x900_0000, 0x30)));
    assert!(small.contains("UART") && small.contains("0x30 bytes"), "{small}");
}

#[test]
fn a_16550_has_eight_registers_as_far_apart_as_it_says() {
    let at = |start, size, shift, width| {
        let uart = Uart { region: region(start, size), interrupt: None };
        refusal(|m| m.console = Console::Ns16550(uart, Spacing { shift, width }))
    };
    assert_eq!(at(0x3eff_1001, 8, 0, 1), "taken", "bytes need no alignment");
    assert!(
        at(0x3eff_1002, 32, 2, 4).ends_with("UART registers at 0x3eff1002..0x3eff1022: not aligned to 0x4")
    );
    assert!(at(0x3eff_1000, 8, 2, 1).contains("0x8 bytes, and the driver uses 0x20"));
    assert_eq!(
        at(0x3fff_ffe0, 0x1000, 2, 4),
        "taken",
        "only the registers must be free, RAM begins behind them"
    );
}

/// Boot prints there before the rest of the tree is checked: a wrong window elsewhere costs no message, one of the console
/// costs no access.
#[test]
fn the_console_is_used_if_its_own_window_is_sound() {
    let found = |change: fn(&mut MachineDescription)| {
        let mut machine = virt();
        change(&mut machine);
        sound_console(&machine, &loaded()).map(|(_, start)| start)
    };
    assert_eq!(found(|_| {}), Some(0x900_0000));
    assert_eq!(found(|m| m.fw_cfg = Some(region(0, 0x18))), Some(0x900_0000));
    assert_eq!(found(|m| m.console = uart(region(0x900_1000, 0x1000))), Some(0x900_1000));
    assert_eq!(found(|m| m.console = Console::Absent), Some(0x900_0000), "the last resort");
    for (start, why) in [
        (0, "address 0"),
        (0x900_0800, "not aligned"),
        (0x5000_0000, "in RAM"),
        (0x4040_0000, "in the image"),
        (0x800_0000, "the GIC's"),
        (0x1_0000_0000, "out of reach"),
    ] {
        let mut machine = virt();
        machine.console = uart(region(start, 0x1000));
        assert_eq!(sound_console(&machine, &loaded()), None, "{why}");
    }
}

#[test]
fn an_address_that_a_device_cannot_have_is_refused() {
    let odd = refusal(|m| m.gic = v3(region(0x800_0800, 0x1_0000), region(0x80a_0000, 0xf6_0000)));
    assert!(
        odd.ends_with("GIC distributor registers at 0x8000800..0x8010800: not aligned to 0x10000"),
        "{odd}"
    );
    let far = check_redistributors(&virt(), &[0x80a_0000, 0x40_0000_0000]).map_err(|bad| bad.to_string());
    assert!(far.is_err_and(|bad| bad.contains("redistributor registers at 0x4000000000")));
    assert_eq!(check_redistributors(&virt(), &[0x80a_0000, 0]), Ok(()));
    let second = [region(0x80a_0000, 0xf6_0000), region(0x40_0000_0000, 0x400_0000)].into_iter().collect();
    let gic = Gic::V3 {
        distributor: region(0x800_0000, 0x1_0000),
        redistributors: second,
        redistributor_stride: 0,
    };
    assert_eq!(
        refusal(|m| m.gic = gic),
        "taken",
        "a region out of reach, of which no redistributor is used yet"
    );
    for start in [0, 1 << 32, (1 << 32) - 8, u64::MAX - 0x18] {
        let far = refusal(|m| m.fw_cfg = Some(region(start, 0x18)));
        assert!(far.contains("fw_cfg") && far.ends_with("devices lie above 0 and below 4 GiB"), "{far}");
    }
    let last = refusal(|m| m.fw_cfg = Some(region((1 << 32) - 0x10, 0x10)));
    assert_eq!(last, "taken", "the last bytes below 4 GiB are below 4 GiB");
}

#[test]
fn registers_in_memory_the_image_or_the_blob_are_refused() {
    let at = |start| refusal(|m| m.console = uart(region(start, 0x1000)));
    assert!(at(0x5000_0000).ends_with("they overlap RAM at 0x40000000..0x80000000"));
    assert!(at(0x4044_0000).ends_with("they overlap the image at 0x40400000..0x40500000"));
    assert!(at(0x4000_1000).ends_with("they overlap the device tree at 0x40000000..0x40100000"));
    assert!(at(0x3_f000).ends_with("they overlap flash at 0x0..0x4000000"));
    assert!(
        at(0x800_f000).contains("UART") || at(0x800_f000).contains("distributor"),
        "two devices in one place"
    );
    let interface = refusal(|m| m.gic = v2(region(0x800_0000, 0x1_0000), region(0x5000_0000, 0x2000)));
    assert!(interface.contains("CPU interface") && interface.contains("RAM"), "{interface}");
    let pmem = PmemRegion { region: region(0x8000_0000, 0x1000_0000), volatile: false, numa_node: None };
    let persistent = refusal(|m| {
        m.pmem.push(pmem).expect("it fits");
        m.console = uart(region(0x8000_0000, 0x1000));
    });
    assert!(persistent.contains("persistent memory"), "{persistent}");
}

#[test]
fn memory_over_flash_or_devices_is_refused() {
    let with = |start, size| refusal(|m| m.memory.insert(0, ram(start, size)).expect("it fits"));
    for (start, size) in [(0, 0x4000_0000), (0x400_0000, 0x400_0000), (0xa00_0000, 0x1000)] {
        let below = with(start, size);
        let window = below.contains("they overlap RAM");
        assert!(window || below.ends_with("on QEMU's virt, RAM starts at 0x40000000"), "{below}");
    }
    let another_vmm = refusal(|m| {
        m.fw_cfg = None;
        m.memory.insert(0, ram(0x2000_0000, 0x1000_0000)).expect("it fits");
    });
    assert_eq!(another_vmm, "taken", "it calls itself what QEMU does, and its RAM may start lower");
    let over = with(0x40_1000_0000, 0x1000);
    assert!(over.ends_with("it overlaps PCI configuration space at 0x4010000000..0x4020000000"), "{over}");
    let elsewhere = |flash: &[Region]| {
        refusal(|m| {
            m.compatible.clear();
            m.flash = flash.iter().copied().collect();
            m.memory.insert(0, ram(0, 0x800_0000)).expect("it fits");
        })
    };
    let flash = elsewhere(&[region(0, 0x400_0000)]);
    assert!(flash.ends_with("memory at 0x0..0x8000000: it overlaps flash at 0x0..0x4000000"), "{flash}");
    let started = elsewhere(&[]);
    assert!(started.contains("the flash that the image was started from at 0x0..0x100000"), "{started}");
}
