//! The first instructions on machines of every make: what the entry code finds there, and how a run ends that cannot go
//! on.

use super::device_tree::with_nodes;
use super::smp::all_run;
use super::test::Test;
use crate::fdt::Node;
use hotmap_client::error::Checked;
use hotmap_client::geometry::{GIB, Granule};
use hotmap_client::guest::run_to_end;
use hotmap_client::machine::{BOOTS, Entry, Machine};
use hotmap_client::patience::Deadline;
use hotmap_client::qemu::{Exit, Qemu};
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};
use std::time::Duration;

/// QEMU without semihosting: the exit instruction is undefined.
const NO_SEMIHOSTING: [&str; 2] = ["-semihosting-config", "enable=off"];
/// How long a guest that has said its last word is watched for another one.
const SILENCE: Duration = Duration::from_secs(1);

pub(super) fn tests() -> Vec<Test> {
    let mut tests = vec![
        Test::new("entry/el2-below-el3", |run: &Run| {
            let machine = Machine { entry: Entry::El2, ..Machine::image() };
            all_run(run, &machine.extra(["-machine", "secure=on"]), 2)
        }),
        Test::new("entry/no-pmu", |run: &Run| {
            let machine = Machine { entry: Entry::El2, ..Machine::image() };
            all_run(run, &machine.cpu("neoverse-n1,pmu=off"), 2)
        }),
        Test::new("entry/ram-beyond-the-cpu", ram_beyond_the_cpu_is_refused),
        Test::new("entry/no-semihosting/refused", a_refusal_ends_without_semihosting),
        Test::new("entry/no-semihosting/el3", |run: &Run| {
            says_once(run, &Machine { entry: Entry::El3, ..Machine::firmware() }, "error: entered at EL3")
        }),
        Test::new("entry/no-semihosting/no-ram", |run: &Run| {
            says_once(run, &Machine::firmware().memory("2M"), "error: there is no RAM where boot copies")
        }),
    ];
    for boot in BOOTS {
        for (entry, level) in [(Entry::El1, "el1"), (Entry::El2, "el2")] {
            let machine = Machine { entry, ..Machine::by(boot) };
            let name = format!("entry/no-semihosting/{}/{level}", boot.name());
            tests.push(Test::new(name, move |run: &Run| every_end_without_semihosting(run, &machine)));
        }
    }
    tests
}

/// A Cortex-A53 has 40 bits of physical address (its manual, "ID_AA64MMFR0_EL1"); the device tree has RAM at 2^40.
fn ram_beyond_the_cpu_is_refused(run: &Run) -> Checked<String> {
    let ram = Node::new("ram@10000000000").text("device_type", "memory").reg(1 << 40, GIB);
    let machine = with_nodes(run, Granule::K4, &[ram])?.cpu("cortex-a53").append("run=\"state\"");
    let finished = run_to_end(run, &machine)?;
    ensure_eq!(finished.exit, Exit::PANIC, "RAM that the CPU cannot address");
    let line = finished.line("that refuses it", |line| line.starts_with("error: "))?;
    ensure!(line.contains("0x10000000000") && line.contains("40 bits"), "the refusal names neither: {line}");
    Ok(line.to_owned())
}

/// The end of `run=`, and the end after a report, power the machine off by PSCI.
fn every_end_without_semihosting(run: &Run, machine: &Machine) -> Checked<String> {
    let machine = Machine { smp: Some(2), ..machine.clone() }.extra(NO_SEMIHOSTING);
    let finished = run_to_end(run, &machine.clone().append("run=\"cpus; audit\""))?;
    ensure_eq!((finished.exit, finished.said()?), (Exit::FINE, 0), "PSCI has one exit status");
    finished.line("of `cpus`", |line| line.ends_with("online"))?;
    for cpu in [0, 1] {
        let finished = run_to_end(run, &machine.clone().append(&format!("run=\"crash {cpu}\"")))?;
        ensure_eq!((finished.exit, finished.said()?), (Exit::FINE, 2), "PSCI has one exit status");
        ensure_eq!(count(&finished.text, "exception: "), 1, "reports of a crash of CPU {cpu}");
    }
    Ok(String::new())
}

/// A boot that is refused as soon as the device tree was read ends by PSCI, which the tree describes.
fn a_refusal_ends_without_semihosting(run: &Run) -> Checked<String> {
    for boot in BOOTS {
        for entry in [Entry::El1, Entry::El2] {
            let machine = Machine { entry, ..Machine::by(boot) }.append("granule=5k").extra(NO_SEMIHOSTING);
            let finished = run_to_end(run, &machine)?;
            ensure_eq!((finished.exit, finished.said()?), (Exit::FINE, 2), "PSCI has one exit status");
            ensure_eq!(count(&finished.text, "error: "), 1, "error lines");
        }
    }
    Ok(String::new())
}

/// Before the device tree was read nothing is known that could end the run: one line, and then the CPU waits for good.
fn says_once(run: &Run, machine: &Machine, line: &str) -> Checked<String> {
    let machine = machine.clone().extra(NO_SEMIHOSTING);
    let mut qemu = Qemu::start(&machine, None)?;
    qemu.console.wait(0, line, Deadline::for_step(), |text| text.contains(line).then_some(()))?;
    std::thread::sleep(SILENCE);
    qemu.kill();
    let text = qemu.console.text();
    run.journal.add(&text);
    ensure_eq!(count(&text, "error: "), 1, "error lines");
    ensure!(
        text.ends_with(": boot cannot go on\n"),
        "the last line says how it ends, and has an end: {text:?}"
    );
    Ok(String::new())
}

fn count(text: &str, word: &str) -> usize {
    text.matches(word).count()
}
