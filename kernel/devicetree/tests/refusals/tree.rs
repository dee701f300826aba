//! What the tree says about the machine.

use hotmap_devicetree::{
    BOOTARGS_CAPACITY, COMPATIBLE_CAPACITY, FLASH_CAPACITY, MEMORY_CAPACITY, PMEM_CAPACITY, RESERVED_CAPACITY,
};

use crate::support::{Writer, read};
use crate::{machine, refusal, refusal_with};

#[test]
fn cells_are_one_or_two() {
    for (property, value) in
        [("#address-cells", 3), ("#address-cells", 0), ("#size-cells", 0), ("#size-cells", 4)]
    {
        let mut writer = Writer::default();
        writer.begin("");
        for name in ["#address-cells", "#size-cells"] {
            writer.cells(name, &[if name == property { value } else { 2 }]);
        }
        writer.memory(&[(0, 1)]).end();
        let expected = format!("{property} of / is {value}; only 1 and 2 are supported");
        assert_eq!(refusal(&writer.blob()), expected);
    }
    let wide = refusal_with(|w| w.begin("a").property("#address-cells", &[0; 8]).end().done());
    assert_eq!(wide, "#address-cells of a is 0x8 bytes, not one cell of 4");
    let bus = refusal_with(|w| {
        w.begin("bus@1").cells("#address-cells", &[3]).cells("#size-cells", &[1]).property("ranges", b"");
        w.memory(&[(0, 1)]).end().end();
    });
    assert_eq!(bus, "#address-cells of bus@1 is 3; only 1 and 2 are supported");
}

#[test]
fn reg_is_there_and_whole() {
    let memory: [fn(&mut Writer); 4] = [
        |w| w.begin("ram@0").text("device_type", "memory").done(),
        |w| w.begin("ram@0").text("device_type", "memory").property("hotpluggable", b"").done(),
        |w| w.begin("ram@0").text("compatible", "pmem-region").done(),
        |w| w.begin("ram@0").text("compatible", "pmem-region").property("volatile", b"").done(),
    ];
    for node in memory {
        let missing = refusal_with(|w| {
            node(w);
            w.end();
        });
        assert_eq!(missing, "ram@0 has no reg");
        for size in [0, 4, 15, 17] {
            let odd = refusal_with(|w| {
                node(w);
                w.property("reg", &vec![0; size]).end();
            });
            assert_eq!(odd, format!("reg of ram@0 is {size:#x} bytes, not a positive multiple of 0x10"));
        }
        let numa = refusal_with(|w| {
            node(w);
            w.cells("numa-node-id", &[0, 1]).reg(&[(0, 1)]).end();
        });
        assert_eq!(numa, "numa-node-id of ram@0 is 0x8 bytes, not one cell of 4");
    }
    let gic = refusal_with(|w| {
        w.begin("intc").text("compatible", "arm,gic-400").reg(&[(0x1000, 0x1000), (0x2000, 0)]).end();
    });
    assert_eq!(gic, "reg of intc has 1 regions where 2 are needed");
    let gic = refusal_with(|w| {
        w.begin("intc").text("compatible", "arm,gic-v3").cells("#redistributor-regions", &[2]);
        w.reg(&[(0x1000, 0x1000), (0x2000, 0x1000)]).end();
    });
    assert_eq!(gic, "reg of intc has 2 regions where 3 are needed");
    let gic = refusal_with(|w| w.begin("intc").text("compatible", "arm,gic-v3").reg(&[(0, 0)]).end().done());
    assert_eq!(gic, "reg of intc has 0 regions where 2 are needed");
}

#[test]
fn regions_do_not_wrap() {
    let wraps = |start, size| refusal_with(|w| w.memory(&[(start, size)]).end().done());
    assert_eq!(
        wraps(u64::MAX - 0xfff, 0x1000),
        "the region of memory at 0xfffffffffffff000, size 0x1000, wraps around",
        "its end has no address"
    );
    assert_eq!(wraps(1, u64::MAX), "the region of memory at 0x1, size 0xffffffffffffffff, wraps around");
    let pmem = refusal_with(|w| {
        w.begin("pmem").text("compatible", "pmem-region").reg(&[(0x9000_0000, 0x1000), (2, u64::MAX)]).end();
    });
    assert_eq!(pmem, "the region of pmem at 0x2, size 0xffffffffffffffff, wraps around");
    let mut last = machine();
    last.memory(&[(u64::MAX - 0xfff, 0xfff)]).end();
    assert!(read(&last.blob()).is_ok());
}

#[test]
fn buses_map_what_is_on_them() {
    let bus = |ranges: &[u32]| {
        refusal_with(|w| {
            w.begin("bus").cells("#address-cells", &[1]).cells("#size-cells", &[1]).cells("ranges", ranges);
            w.begin("ram").text("device_type", "memory").cells("reg", &[0x1000, 0x2000]).end().end();
        })
    };
    let outside = "the region of ram at 0x1000..0x3000 is outside the ranges of its bus";
    assert_eq!(bus(&[0x1000, 0, 0, 0x1fff]), outside);
    assert_eq!(bus(&[0x1001, 0, 0, 0x2000]), outside);
    assert_eq!(bus(&[0, 0, 0]), "ranges of ram is 0xc bytes, not a positive multiple of 0x10");
    let wraps = "the region of ram at 0xfffffffffffff000, size 0x2000, wraps around";
    assert_eq!(bus(&[0x1000, 0xffff_ffff, 0xffff_f000, 0x2000]), wraps);
}

#[test]
fn memory_does_not_overlap() {
    let first = (0x1000_0000, 0x1000_0000);
    for second in
        [(0x1000_0000, 1), (0x0fff_ffff, 2), (0x1fff_ffff, 0x1000), (0x1800_0000, 1), (0, 0x3000_0000)]
    {
        for (kind, other) in [("plain", "plain"), ("hot", "hot"), ("hot", "pmem"), ("pmem", "pmem")] {
            let message = refusal_with(|w| {
                for (kind, region) in [(kind, first), (other, second)] {
                    match kind {
                        "pmem" => w.begin("p").text("compatible", "pmem-region").reg(&[region]),
                        "hot" => w.memory(&[region]).property("hotpluggable", b""),
                        _ => w.memory(&[region]),
                    }
                    .end();
                }
            });
            let sorted = if first.0 <= second.0 { [first, second] } else { [second, first] };
            let [a, b] = sorted.map(|(start, size): (u64, u64)| format!("{start:#x}..{:#x}", start + size));
            let either = [format!("{a} and {b}"), format!("{b} and {a}")];
            let expected = either.map(|pair| format!("the memory regions {pair} overlap"));
            assert!(expected.contains(&message), "{kind}, {other}: {message}");
        }
    }
}

#[test]
fn there_is_memory_to_boot_in() {
    let message = "no memory node says where there is RAM";
    assert_eq!(refusal(&Writer::root().blob()), message);
    let mut writer = Writer::root();
    writer.memory(&[(0x1000, 0)]).end();
    assert_eq!(refusal(&writer.blob()), message);
    let mut writer = Writer::root();
    writer.memory(&[(0x1000, 0x1000)]).property("hotpluggable", b"").end();
    assert_eq!(refusal(&writer.blob()), message);
    writer.memory(&[(0x1000, 0x1000)]).end();
    assert_eq!(refusal(&writer.blob()), message, "carved away");
}

/// `count` regions with gaps between them, from 4 GiB on.
fn regions(count: usize) -> Vec<(u64, u64)> {
    (0x10_0000_u64..).step_by(2).take(count).map(|page| (page << 12, 0x1000)).collect()
}

#[test]
fn lists_name_their_capacity_when_they_are_full() {
    let memory = |count| {
        let mut writer = Writer::root();
        writer.memory(&regions(count)).end();
        writer.blob()
    };
    assert_eq!(read(&memory(MEMORY_CAPACITY)).map(|machine| machine.memory.len()), Ok(128));
    assert_eq!(refusal(&memory(MEMORY_CAPACITY + 1)), "more than 128 memory regions");

    let pmem = |count| {
        let mut writer = machine();
        writer.begin("p").text("compatible", "pmem-region").reg(&regions(count)).end();
        writer.blob()
    };
    assert_eq!(read(&pmem(PMEM_CAPACITY)).map(|machine| machine.pmem.len()), Ok(16));
    assert_eq!(refusal(&pmem(PMEM_CAPACITY + 1)), "more than 16 persistent memory regions");

    let flash = |count| {
        let mut writer = machine();
        writer.begin("f").text("compatible", "cfi-flash").reg(&regions(count)).end();
        writer.blob()
    };
    assert_eq!(read(&flash(FLASH_CAPACITY)).map(|machine| machine.flash.len()), Ok(4));
    assert_eq!(refusal(&flash(FLASH_CAPACITY + 1)), "more than 4 flash banks");

    let reserved = |in_map, in_node| {
        let mut writer = machine();
        writer.reserve_map = regions(in_map);
        writer
            .begin("reserved-memory")
            .cells("#size-cells", &[2])
            .begin("r")
            .reg(&regions(in_node))
            .end()
            .end();
        writer.blob()
    };
    assert_eq!(read(&reserved(1, RESERVED_CAPACITY - 1)).map(|machine| machine.reserved.len()), Ok(64));
    assert_eq!(refusal(&reserved(1, RESERVED_CAPACITY)), "more than 64 reservations");
    assert_eq!(refusal(&reserved(RESERVED_CAPACITY + 1, 1)), "more than 64 reservations");

    let gic = refusal_with(|w| {
        w.begin("intc").text("compatible", "arm,gic-v3").cells("#redistributor-regions", &[9]);
        w.reg(&regions(10)).end();
    });
    assert_eq!(gic, "more than 8 GICv3 redistributor regions");
}

#[test]
fn carving_may_not_overflow_the_list_either() {
    let holes = |count: usize| {
        let mut writer = Writer::root();
        writer.memory(&[(0, 0x2_0000_0000)]).end();
        writer.memory(&regions(count)).property("hotpluggable", b"").end();
        writer.blob()
    };
    assert_eq!(read(&holes(63)).map(|machine| machine.memory.len()), Ok(127));
    assert_eq!(refusal(&holes(64)), "more than 128 memory regions");
}

#[test]
fn more_cpus_than_are_listed_are_counted() {
    let mut writer = machine();
    writer.begin("cpus").cells("#address-cells", &[1]).cells("#size-cells", &[0]);
    for cpu in 0..100 {
        writer.begin("cpu").text("device_type", "cpu").cells("reg", &[cpu]).end();
    }
    writer.begin("threads").text("device_type", "cpu").cells("reg", &[100, 101]).end();
    writer.end();
    let machine = read(&writer.blob()).expect("parses");
    assert_eq!((machine.cpus.len(), machine.cpu_count), (32, 102));
    assert_eq!(machine.cpus.last().map(|cpu| cpu.mpidr), Some(31));
}

#[test]
fn text_fits_and_is_utf8() {
    let bootargs = |text: &[u8]| {
        let mut writer = machine();
        writer.begin("chosen").property("bootargs", text).end();
        writer.blob()
    };
    let longest = "x".repeat(BOOTARGS_CAPACITY);
    let fits = read(&bootargs(format!("{longest}\0").as_bytes())).expect("parses");
    assert_eq!(fits.bootargs, longest.as_str());
    assert_eq!(refusal(&bootargs(&[b'x'; 2049])), "bootargs is 2049 bytes long; at most 2048 fit");
    assert_eq!(refusal(&bootargs(b"ab\xffcd\0")), "bootargs is not UTF-8 after 2 bytes");
    let mut writer = Writer::default();
    writer.begin("").property("compatible", &[b'x'; COMPATIBLE_CAPACITY + 1]);
    assert_eq!(refusal(&writer.blob()), "compatible is 65 bytes long; at most 64 fit");
}

#[test]
fn an_initrd_has_two_ends_in_order() {
    let chosen = |add: &dyn Fn(&mut Writer)| {
        refusal_with(|w| {
            add(w.begin("chosen"));
            w.end();
        })
    };
    let start = |w: &mut Writer| w.cells("linux,initrd-start", &[0x4800_0000]).done();
    assert_eq!(chosen(&start), "chosen has no linux,initrd-end");
    assert_eq!(chosen(&|w| w.cells("linux,initrd-end", &[0, 1]).done()), "chosen has no linux,initrd-start");
    let backwards = chosen(&|w| {
        start(w);
        w.cells("linux,initrd-end", &[0, 0x47ff_ffff]);
    });
    assert_eq!(backwards, "the initrd at 0x48000000 ends before it starts, at 0x47ffffff");
    let odd = chosen(&|w| w.cells("linux,initrd-start", &[0, 0, 0]).done());
    assert_eq!(odd, "linux,initrd-start of chosen is 0xc bytes, not one or two cells of 4");
}

#[test]
fn stdout_path_names_a_node() {
    let stdout = |path: &str| refusal_with(|w| w.begin("chosen").text("stdout-path", path).end().done());
    for path in ["/uart", "/memory/uart", "/chosen/x:9600", "serial0", "", "/", "/memory@1"] {
        assert_eq!(stdout(path), format!("stdout-path {path} names no node"));
    }
    assert_eq!(stdout("a\x1b[31m"), "stdout-path a?[31m names no node", "nothing reaches the terminal");
    let alias = refusal_with(|w| {
        w.begin("chosen").text("stdout-path", "serial1:9600n8").end();
        w.begin("aliases").text("serial0", "/memory").text("serial1", "/uart@1").end();
    });
    assert_eq!(alias, "stdout-path serial1:9600n8 names no node");
    let deeper = refusal_with(|w| {
        w.begin("chosen").text("stdout-path", "/soc/uart").end();
        w.begin("soc").begin("apb").begin("uart").end().end().end().begin("uart").end();
    });
    assert_eq!(deeper, "stdout-path /soc/uart names no node", "not /soc/apb/uart, not /uart");
}

#[test]
fn psci_is_called_by_hvc_or_smc() {
    let psci = |add: &dyn Fn(&mut Writer)| {
        refusal_with(|w| {
            add(w.begin("psci").text("compatible", "arm,psci-1.0"));
            w.end();
        })
    };
    assert_eq!(psci(&|_| {}), "psci has no method");
    assert_eq!(psci(&|w| w.text("method", "svc").done()), "PSCI method svc is neither hvc nor smc");
}
