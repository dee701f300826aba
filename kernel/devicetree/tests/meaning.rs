//! What makes a node what it is: its place, its `compatible`, its `status`.
mod support;

use hotmap_devicetree::{Cpu, EnableMethod, Gic, Held, MachineDescription, Psci, PsciConduit, PsciVersion};
use support::{Writer, read, region};

/// A root with RAM and what `add` puts behind it.
fn machine(add: impl FnOnce(&mut Writer)) -> Box<MachineDescription> {
    let mut writer = Writer::root();
    writer.memory(&[(0x4000_0000, 0x4000_0000)]).end();
    add(&mut writer);
    read(&writer.blob()).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn chosen_and_reserved_memory_are_what_they_are_only_at_the_root() {
    let found = machine(|w| {
        w.begin("soc").cells("#size-cells", &[2]).property("ranges", b"");
        w.begin("chosen").text("bootargs", "not these").end();
        w.begin("reserved-memory").begin("r").reg(&[(0x1000, 0x1000)]).end().end();
        w.end();
        w.begin("secure-chosen").text("bootargs", "nor these").end();
        w.begin("chosen@0").text("bootargs", "nor these").end();
    });
    assert_eq!(found.bootargs, "");
    assert_eq!(found.reserved.len(), 0);
}

#[test]
fn a_cpu_is_a_child_of_cpus_with_the_device_type() {
    let found = machine(|w| {
        w.begin("cpu").text("device_type", "cpu").reg(&[(7, 1)]).end();
        w.begin("cpus").cells("#address-cells", &[1]).cells("#size-cells", &[0]);
        w.begin("cpu-map").begin("cpu").text("device_type", "cpu").cells("reg", &[8]).end().end();
        w.begin("l2-cache").text("device_type", "cache").cells("reg", &[9]).end();
        w.begin("cpu").text("device_type", "cpu").text("status", "fail").cells("reg", &[10]).end();
        w.begin("cpu").text("device_type", "cpu").cells("reg", &[11]).end();
        w.end();
    });
    assert_eq!(found.cpus, [Cpu { mpidr: 11, enable_method: EnableMethod::Absent }]);
    assert_eq!(found.cpu_count, 1);
}

#[test]
fn a_cpus_enable_method_is_any_string_of_the_list() {
    let found = machine(|w| {
        w.begin("cpus").cells("#address-cells", &[1]).cells("#size-cells", &[0]);
        for (number, method) in [
            (0, &b"psci\0"[..]),
            (1, b"spin-table\0psci\0"),
            (2, b"spin-table\0"),
            (3, b"psci-9\0"),
            (4, b""),
        ] {
            w.begin("cpu").text("device_type", "cpu").cells("reg", &[number]);
            w.property("enable-method", method).end();
        }
        w.end();
    });
    let methods: Vec<EnableMethod> = found.cpus.iter().map(|cpu| cpu.enable_method).collect();
    use EnableMethod::{Other, Psci};
    assert_eq!(methods, [Psci, Psci, Other, Other, Other]);
}

#[test]
fn a_cpus_reg_may_say_anything() {
    let found = machine(|w| {
        w.begin("cpus").cells("#address-cells", &[2]).cells("#size-cells", &[0]);
        w.begin("cpu").text("device_type", "cpu").cells("reg", &[0xffff_ffff, 0x8000_0000]).end();
        w.end();
    });
    assert_eq!(found.cpus.first().map(|cpu| cpu.mpidr), Some(0xffff_ffff_8000_0000));
}

#[test]
fn of_two_of_a_kind_the_first_counts() {
    let found = machine(|w| {
        for base in [0x1000_0000, 0x2000_0000] {
            w.begin("intc")
                .text("compatible", "arm,gic-400")
                .reg(&[(base, 0x1000), (base + 0x1000, 0x1000)])
                .end();
            w.begin("fw-cfg").text("compatible", "qemu,fw-cfg-mmio").reg(&[(base + 0x2000, 0x18)]).end();
            w.begin("pcie")
                .text("compatible", "pci-host-ecam-generic")
                .reg(&[(base + 0x10_0000, 0x10_0000)])
                .end();
        }
        w.begin("psci").text("compatible", "arm,psci-0.2").text("method", "smc").end();
        w.begin("psci2").text("compatible", "arm,psci-1.0").text("method", "hvc").end();
    });
    let expected =
        Gic::V2 { distributor: region(0x1000_0000, 0x1000), cpu_interface: region(0x1000_1000, 0x1000) };
    assert_eq!(found.gic, expected);
    assert_eq!(found.fw_cfg, Some(region(0x1000_2000, 0x18)));
    assert_eq!(found.pci.ecam, Some(region(0x1010_0000, 0x10_0000)));
    assert_eq!(found.psci, Psci { conduit: PsciConduit::Smc, version: PsciVersion::V0_2, cpu_on: None });
}

/// `memory@...` and any other name are the same: `device_type` makes it memory, `hotpluggable` makes it wait.
#[test]
fn hotpluggable_memory_waits_whatever_its_name_is() {
    for name in ["memory@60000000", "ram@60000000"] {
        let found = machine(|w| {
            w.begin(name).text("device_type", "memory").property("hotpluggable", b"");
            w.cells("numa-node-id", &[3]).reg(&[(0x6000_0000, 0x1000_0000)]).end();
        });
        let ranges: Vec<_> =
            found.memory.iter().map(|entry| (entry.region, entry.hotpluggable, entry.numa_node)).collect();
        let expected = [
            (region(0x4000_0000, 0x2000_0000), false, None),
            (region(0x6000_0000, 0x1000_0000), true, Some(3)),
            (region(0x7000_0000, 0x1000_0000), false, None),
        ];
        assert_eq!(ranges, expected, "{name}");
    }
}

#[test]
fn memory_knows_its_numa_node_to_the_byte() {
    let found = machine(|w| {
        w.memory(&[(0x8000_0000, 0x1000_0000)]).cells("numa-node-id", &[1]).end();
        w.begin("pmem").text("compatible", "pmem-region").cells("numa-node-id", &[2]);
        w.reg(&[(0x8800_0000, 0x100_0000)]).end();
    });
    let at = |address| found.numa_node_at(address);
    assert_eq!((at(0x4000_0000), at(0x7fff_ffff), at(0x9000_0000)), (None, None, None));
    assert_eq!(
        (at(0x8000_0000), at(0x87ff_ffff), at(0x8900_0000), at(0x8fff_ffff)),
        (Some(1), Some(1), Some(1), Some(1))
    );
    assert_eq!(
        (at(0x8800_0000), at(0x88ff_ffff)),
        (Some(2), Some(2)),
        "persistent memory has a node of its own"
    );
}

#[test]
fn what_a_region_holds_is_found() {
    let mut writer = Writer::root();
    writer.memory(&[(0x4000_0000, 0x4000_0000)]).end();
    writer.reserve_map.push((0x5000_0000, 0x1000));
    writer.begin("reserved-memory").cells("#address-cells", &[2]).cells("#size-cells", &[2]);
    writer.property("ranges", b"").begin("r").reg(&[(0x6000_0000, 0x1000)]).end().end();
    writer.begin("chosen").cells("linux,initrd-start", &[0x7000_0000]);
    writer.cells("linux,initrd-end", &[0x7000_1000]).end();
    let found = read(&writer.blob()).unwrap_or_else(|error| panic!("{error}"));
    let held = |start, size| found.held_in(region(start, size));
    assert_eq!(held(0x5000_0fff, 1), Some((Held::Reservation, region(0x5000_0000, 0x1000))));
    assert_eq!(held(0x5fff_ffff, 2), Some((Held::Reservation, region(0x6000_0000, 0x1000))));
    assert_eq!(held(0x6800_0000, 0x1000_0000), Some((Held::Initrd, region(0x7000_0000, 0x1000))));
    assert_eq!(held(0x5000_1000, 0xfff_f000), None, "what it touches it does not hold");
}

#[test]
fn compatible_is_searched_as_a_whole_and_by_whole_strings() {
    let fw_cfg = |compatible: &[u8]| {
        machine(|w| w.begin("f").property("compatible", compatible).reg(&[(0x1000, 0x18)]).end().done())
            .fw_cfg
    };
    assert_eq!(fw_cfg(b"example,a\0qemu,fw-cfg-mmio\0"), Some(region(0x1000, 0x18)));
    assert_eq!(fw_cfg(b"qemu,fw-cfg-mmio"), Some(region(0x1000, 0x18)), "not even terminated");
    assert_eq!(fw_cfg(b"qemu,fw-cfg-mmio-2\0"), None);
    assert_eq!(fw_cfg(b"xqemu,fw-cfg-mmio\0"), None);
    assert_eq!(fw_cfg(b""), None);
}

#[test]
fn only_okay_and_ok_leave_a_node_to_us() {
    for (status, ours) in [
        ("okay", true),
        ("ok", true),
        ("disabled", false),
        ("reserved", false),
        ("fail-ecc", false),
        ("", false),
    ] {
        let found = machine(|w| w.memory(&[(0x1000_0000, 0x1000)]).text("status", status).end().done());
        assert_eq!(found.memory.len(), 1 + usize::from(ours), "{status}");
    }
}

#[test]
fn cells_default_to_two_and_one_and_are_not_inherited() {
    let mut writer = Writer::default();
    writer
        .begin("")
        .begin("memory")
        .text("device_type", "memory")
        .cells("reg", &[1, 0x4000_0000, 0x1000])
        .end();
    let found = read(&writer.blob()).expect("parses");
    assert_eq!(found.memory[0].region, region(0x1_4000_0000, 0x1000));
    let found = machine(|w| {
        w.begin("bus").property("ranges", b"").begin("f").text("compatible", "qemu,fw-cfg-mmio");
        w.cells("reg", &[1, 0x1000, 0x18]).end().end();
    });
    assert_eq!(found.fw_cfg, Some(region(0x1_0000_1000, 0x18)));
}

/// psci.yaml: `cpu_on` is what `arm,psci` calls by; a node that is also `arm,psci-0.2` has it for older kernels.
#[test]
fn only_psci_0_1_takes_its_function_numbers_from_the_node() {
    let psci = |compatible: &str| {
        let compatible = compatible.to_owned();
        machine(move |w| {
            w.begin("psci").text("compatible", &compatible).text("method", "smc");
            w.cells("cpu_on", &[0x95c1_ba60]).end();
        })
        .psci
    };
    assert_eq!(psci("arm,psci").cpu_on, Some(0x95c1_ba60));
    assert_eq!(psci("arm,psci-0.2").cpu_on, None);
}
