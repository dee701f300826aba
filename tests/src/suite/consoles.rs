//! A console that is no PL011: QEMU's `pci-serial`, a 16550 on a real bus, by `stdout-path`.
//!
//! Its registers are I/O ports of the PCI bus. Where these are is firmware's to say, and there is none: the test does its
//! part through QEMU's qtest socket (docs/devel/testing/qtest.rst), before the first instruction.

use super::device_tree::{qemus_blob, with_blob};
use super::looking;
use super::test::{Test, per_granule};
use crate::fdt::{Node, add_to_root};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, Error, unknown};
use hotmap_client::geometry::{Granule, MIB};
use hotmap_client::guest::{Guest, run_to_end};
use hotmap_client::machine::Machine;
use hotmap_client::patience::Deadline;
use hotmap_client::qemu::Exit;
use hotmap_client::qmp::Qmp;
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Slot 2 of bus 0 in the configuration space of QEMU's virt (hw/arm/virt.c, VIRT_HIGH_PCIE_ECAM).
const FUNCTION: u64 = 0x40_1000_0000 + (2 << 15);
/// The I/O port that its registers get, and where that is for the CPU (VIRT_PCIE_PIO).
const PORT: u32 = 0x1000;
const REGISTERS: u64 = 0x3eff_0000 + PORT as u64;
/// SPI of slot 2's INTA: 3 + (2 + 0) % 4 (`create_pcie_irq_map`).
const SPI: u32 = 5;

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("consoles/ns16550a", a_16550_is_the_console);
    tests.push(Test::new("consoles/ns16550a/boot-ends", why_boot_ends_is_said_there));
    tests
}

/// Commands and their replies, a DIMM's log lines while the shell waits, an interrupt for what is typed, and not a byte to
/// the PL011.
fn a_16550_is_the_console(run: &Run, granule: Granule) -> Checked<String> {
    let silent = run.path("pl011");
    let mut guest = Guest::boot(run, &machine(run, granule)?)?;
    guest.plug_well(&Dimm::new("d0", 1024 * MIB))?;
    for _ in 0..3 {
        looking::falls_asleep(&mut guest)?;
        guest.tell("audit")?;
    }
    guest.finish()?;
    let said =
        std::fs::read(&silent).map_err(|error| Error::Unknown(format!("{}: {error}", silent.display())))?;
    ensure_eq!(said.len(), 0, "bytes that PL011 was sent, which is no console");
    Ok(String::new())
}

/// A boot that ends before the MMU is on says why on the console that the device tree names.
fn why_boot_ends_is_said_there(run: &Run) -> Checked<String> {
    let machine = machine(run, Granule::K4)?.append("granule=8k");
    let finished = run_to_end(run, &machine)?;
    ensure_eq!(finished.exit, Exit::PANIC, "the exit of a boot that is refused");
    let line = finished.line("that says why", |line| line.starts_with("error: granule=8k"))?;
    Ok(line.to_owned())
}

/// A machine with such a console, whose firmware waits in a thread of its own.
fn machine(run: &Run, granule: Granule) -> Checked<Machine> {
    let (qtest, qmp) = (run.path("qtest"), run.path("qmp-firmware"));
    let machine = with_blob(run, granule, &tree(run)?)?.extra([
        "-S",
        "-chardev",
        "stdio,id=console",
        "-device",
        "pci-serial,chardev=console,addr=2",
        "-qtest",
        &format!("unix:{},server=on,wait=off", qtest.display()),
        "-qtest-log",
        "/dev/null",
        "-qmp",
        &format!("unix:{},server=on,wait=off", qmp.display()),
    ]);
    std::thread::spawn(move || firmware(&qtest, &qmp));
    Ok(Machine { serial: Some(format!("file:{}", run.path("pl011").display())), ..machine })
}

/// QEMU's tree with the 16550, which `stdout-path` names in place of the PL011.
fn tree(run: &Run) -> Checked<Vec<u8>> {
    let [was, is] = [b"/pl011@9000000\0", b"/uart@3eff1000\0"];
    let node = Node::new("uart@3eff1000").text("compatible", "ns16550a").reg(REGISTERS, 8);
    let node = node.cells("interrupts", &[0, SPI, 4]);
    let mut blob = add_to_root(&qemus_blob(run)?, &[node]).map_err(Error::Unknown)?;
    let places: Vec<usize> = (0..blob.len()).filter(|at| blob[*at..].starts_with(was)).collect();
    if places.is_empty() {
        return unknown("QEMU's tree names no PL011 by its path");
    }
    for at in places {
        blob[at..at + was.len()].copy_from_slice(is);
    }
    Ok(blob)
}

/// Gives the device its I/O port, lets it answer, and starts the machine. What fails shows as a guest that says nothing.
fn firmware(qtest: &Path, qmp: &Path) -> Checked {
    let deadline = Deadline::for_step();
    let stream = loop {
        match UnixStream::connect(qtest) {
            Ok(stream) => break stream,
            Err(error) if deadline.left().is_none() => return unknown(format!("{qtest:?}: {error}")),
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let lost = |error: std::io::Error| Error::Unknown(format!("qtest: {error}"));
    let mut replies = BufReader::new(stream.try_clone().map_err(lost)?);
    for (offset, value) in [(0x10, PORT), (0x04, 1)] {
        writeln!(&stream, "writel {:#x} {value:#x}", FUNCTION + offset).map_err(lost)?;
        let mut reply = String::new();
        replies.read_line(&mut reply).map_err(lost)?;
        ensure!(reply.starts_with("OK"), "qtest says {reply:?}");
    }
    let mut qmp = Qmp::connect(qmp, deadline, || false)?;
    match qmp.execute(&qapi::qmp::cont {}) {
        Ok(_) => Ok(()),
        Err(refusal) => unknown(format!("QEMU does not start: {refusal:?}")),
    }
}
