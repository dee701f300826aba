//! How `stdout-path` is resolved, and when the console's interrupt is one that the GIC delivers.
mod support;

use hotmap_devicetree::{Console, Interrupt, InterruptKind, Spacing, Uart};
use support::{Writer, read, region};

const GIC: u32 = 1;
const OTHER: u32 = 2;

/// A root with RAM, /aliases and a GIC, interrupts going to `interrupt_parent`; left open.
fn machine(interrupt_parent: Option<u32>) -> Writer {
    let mut writer = Writer::root();
    if let Some(phandle) = interrupt_parent {
        writer.cells("interrupt-parent", &[phandle]);
    }
    writer.memory(&[(0x4000_0000, 0x4000_0000)]).end();
    writer.begin("aliases").text("serial0", "/soc/uart@2").text("serial1", "serial0").end();
    writer
        .begin("intc")
        .text("compatible", "arm,gic-400")
        .cells("phandle", &[GIC])
        .cells("#interrupt-cells", &[3]);
    writer.reg(&[(0x100_0000, 0x1000), (0x200_0000, 0x1000)]).end();
    writer
}

/// Adds a console at `address`, left open.
fn uart<'a>(writer: &'a mut Writer, name: &str, address: u64) -> &'a mut Writer {
    writer.begin(name).text("compatible", "arm,pl011").reg(&[(address, 0x1000)])
}

/// The tree that the paths below are looked up in.
fn machine_with_consoles() -> Writer {
    let mut writer = machine(None);
    uart(&mut writer, "uart@1", 0x1000).end();
    writer.begin("soc").cells("#address-cells", &[2]).cells("#size-cells", &[2]).property("ranges", b"");
    uart(&mut writer, "uart@2", 0x2000).end();
    uart(&mut writer, "uart@3", 0x3000).end();
    uart(&mut writer, "off@4", 0x4000).text("status", "disabled").end();
    writer.end();
    writer.begin("i2c");
    uart(&mut writer, "uart@5", 0x5000).end();
    writer.end();
    writer.begin("off").text("status", "disabled").cells("#size-cells", &[2]).property("ranges", b"");
    uart(&mut writer, "uart@6", 0x6000).end();
    writer.end();
    writer
}

fn console(mut writer: Writer, path: &str) -> Console {
    writer.begin("chosen").text("stdout-path", path).end();
    read(&writer.blob()).unwrap_or_else(|error| panic!("{path}: {error}")).console
}

fn pl011(start: u64) -> Console {
    Console::Pl011(Uart { region: region(start, 0x1000), interrupt: None })
}

#[test]
fn a_path_an_alias_and_their_options_name_a_console() {
    for (path, address) in [
        ("/uart@1", 0x1000),
        ("/uart", 0x1000),
        ("/uart@1:115200n8", 0x1000),
        ("/soc/uart@2", 0x2000),
        ("/soc/uart@3:", 0x3000),
        ("/soc/uart", 0x2000),
        ("/soc//uart@3/", 0x3000),
        ("serial0", 0x2000),
        ("serial0:9600", 0x2000),
    ] {
        assert_eq!(console(machine_with_consoles(), path), pl011(address), "{path}");
    }
}

#[test]
fn a_console_that_is_not_for_us_is_none() {
    for (path, why) in [
        ("/soc/off@4", "disabled"),
        ("/off/uart@6", "on a disabled bus"),
        ("/i2c/uart@5", "on a bus that is not mapped"),
    ] {
        assert_eq!(console(machine_with_consoles(), path), Console::Absent, "{why}");
    }
    let silent = read(&machine_with_consoles().blob()).expect("parses");
    assert_eq!(silent.console, Console::Absent, "no stdout-path");
}

#[test]
fn an_alias_of_an_alias_names_nothing() {
    let mut writer = machine_with_consoles();
    writer.begin("chosen").text("stdout-path", "serial1").end();
    assert!(read(&writer.blob()).is_err());
}

#[test]
fn the_node_may_stand_before_or_after_chosen() {
    let mut writer = machine(None);
    writer.begin("chosen").text("stdout-path", "/uart@1").end();
    uart(&mut writer, "uart@1", 0x1000).end();
    assert_eq!(read(&writer.blob()).map(|machine| machine.console), Ok(pl011(0x1000)));
}

/// The interrupt of a console with `own` interrupt-parent in a machine with `inherited`.
fn interrupt(inherited: Option<u32>, own: Option<u32>, cells: &[u32]) -> Option<Interrupt> {
    let mut writer = machine(inherited);
    uart(&mut writer, "uart@1", 0x1000).cells("interrupts", cells);
    if let Some(phandle) = own {
        writer.cells("interrupt-parent", &[phandle]);
    }
    writer.end();
    match console(writer, "/uart@1") {
        Console::Pl011(uart) => uart.interrupt,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_interrupt_counts_if_it_goes_to_the_gic() {
    let spi = Some(Interrupt { kind: InterruptKind::Spi, number: 1, flags: 4 });
    assert_eq!(interrupt(Some(GIC), None, &[0, 1, 4]), spi);
    assert_eq!(interrupt(Some(OTHER), Some(GIC), &[0, 1, 4]), spi);
    assert_eq!(interrupt(None, None, &[0, 1, 4]), spi, "there is nothing else that it could go to");
    assert_eq!(interrupt(Some(OTHER), None, &[0, 1, 4]), None);
    assert_eq!(interrupt(Some(GIC), Some(OTHER), &[0, 1, 4]), None);
}

#[test]
fn an_interrupt_is_three_cells_of_a_kind_that_is_known() {
    let ppi = Some(Interrupt { kind: InterruptKind::Ppi, number: 7, flags: 8 });
    assert_eq!(interrupt(Some(GIC), None, &[1, 7, 8]), ppi);
    assert_eq!(
        interrupt(Some(GIC), None, &[0, 2, 1, 1, 7, 8]).map(Interrupt::intid),
        Some(34),
        "the first one"
    );
    assert_eq!(interrupt(Some(GIC), None, &[2, 7, 8]), None);
    assert_eq!(interrupt(Some(GIC), None, &[0, 1]), None);
    assert_eq!(interrupt(Some(GIC), None, &[]), None);
}

/// A 16550 with these properties.
fn ns16550(compatible: &[u8], shift: Option<u32>, width: Option<u32>) -> Console {
    let mut writer = machine(None);
    writer.begin("uart@1").property("compatible", compatible).reg(&[(0x1000, 0x100)]);
    for (name, value) in [("reg-shift", shift), ("reg-io-width", width)] {
        if let Some(value) = value {
            writer.cells(name, &[value]);
        }
    }
    writer.end();
    console(writer, "/uart@1")
}

/// The binding's values (serial/8250.yaml), with its defaults.
#[test]
fn a_16550_says_how_its_registers_lie() {
    let uart = Uart { region: region(0x1000, 0x100), interrupt: None };
    for (shift, width, spacing, bytes) in [
        (None, None, Spacing { shift: 0, width: 1 }, 8),
        (Some(0), Some(1), Spacing { shift: 0, width: 1 }, 8),
        (Some(1), Some(2), Spacing { shift: 1, width: 2 }, 16),
        (Some(2), None, Spacing { shift: 2, width: 1 }, 32),
        (Some(2), Some(4), Spacing { shift: 2, width: 4 }, 32),
        (Some(4), Some(4), Spacing { shift: 4, width: 4 }, 128),
    ] {
        for compatible in [&b"ns16550a\0"[..], b"ns16550\0", b"vendor,uart\0ns16550a\0"] {
            assert_eq!(ns16550(compatible, shift, width), Console::Ns16550(uart, spacing));
        }
        assert_eq!(spacing.bytes(), bytes, "{spacing:?}");
    }
}

#[test]
fn a_16550_whose_registers_overlap_or_have_no_width_is_not_driven() {
    let uart = Uart { region: region(0x1000, 0x100), interrupt: None };
    for (shift, width) in
        [(0, 4), (0, 2), (1, 4), (5, 1), (256, 1), (u32::MAX, 1), (3, 8), (2, 3), (2, 0), (2, 257)]
    {
        let console = ns16550(b"ns16550a\0", Some(shift), Some(width));
        assert_eq!(console, Console::Other(uart), "reg-shift {shift}, reg-io-width {width}");
    }
    assert_eq!(ns16550(b"ns8250\0", None, None), Console::Other(uart), "no 16550");
}

/// The ID of the virtual timer's interrupt in a machine whose timer's interrupts, go to `parent`.
fn timer(parent: u32, cells: &[u32]) -> Option<u32> {
    let mut writer = machine(Some(GIC));
    writer.begin("timer").text("compatible", "arm,armv8-timer").cells("interrupt-parent", &[parent]);
    writer.cells("interrupts", cells).end();
    read(&writer.blob()).expect("parses").timer.map(u32::from)
}

/// timer/arm,arch_timer.yaml: secure, non-secure, virtual, hypervisor.
#[test]
fn the_virtual_timer_has_the_third_interrupt() {
    let all = [1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4];
    assert_eq!(timer(GIC, &all), Some(27));
    assert_eq!(timer(OTHER, &all), None);
    assert_eq!(timer(GIC, &all[..9]), Some(27), "without a hypervisor's");
    assert_eq!(timer(GIC, &all[..8]), None, "a part of one");
    assert_eq!(timer(GIC, &all[..6]), None);
    assert_eq!(timer(GIC, &[]), None);
}
