//! Which instructions the kernel executes, by QEMU's log of each: none that needs Normal memory while the MMU is off, and
//! plain loads and stores at device registers. TCG executes the others as well; hardware and KVM need not.

use super::nvdimm::SWITCH;
use super::test::Test;
use crate::a64::caches;
use crate::a64::log::{self, Executed, OPTIONS};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, Error, unknown};
use hotmap_client::geometry::{GIB, GRANULES, Granule, MIB};
use hotmap_client::guest::{Guest, Plugged, run_to_end, run_to_end_within};
use hotmap_client::machine::{BOOTS, Boot, Entry, Machine};
use hotmap_client::patience::Deadline;
use hotmap_client::qemu::{Exit, IMAGE_VARIABLE, root};
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where QEMU loads the image in an image boot (hw/arm/boot.c: 2 MiB behind the start of RAM).
const IMAGE_AT: u64 = 0x4020_0000;

pub(super) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for boot in BOOTS {
        for (entry, level) in [(Entry::El1, "el1"), (Entry::El2, "el2")] {
            for gic in [2, 3] {
                let machine = Machine { entry, gic: Some(gic), smp: Some(2), ..Machine::by(boot) };
                let name = format!("instructions/boot/{}/{level}-gic{gic}", boot.name());
                tests.push(Test::new(name, move |run: &Run| a_boot(run, &machine)));
            }
        }
    }
    for granule in GRANULES {
        for boot in BOOTS {
            let name = format!("instructions/caches/{}/{granule}", boot.name());
            tests.push(Test::new(name, move |run: &Run| what_is_written_is_cleaned(run, boot, granule)));
        }
    }
    tests.push(Test::new("instructions/refused", a_refused_boot));
    tests.push(Test::new("instructions/devices/gic2", |run: &Run| every_device(run, 2)));
    tests.push(Test::new("instructions/devices/gic3", |run: &Run| every_device(run, 3)));
    tests
}

/// A boot with two CPUs and arguments from fw_cfg: all that happens with the MMU off.
fn a_boot(run: &Run, machine: &Machine) -> Checked<String> {
    let machine = machine.clone().virtio_mem("1G,block=2M").append("run=\"state; dimms\"");
    let (machine, file) = logged(run, machine.extra(["-fw_cfg", "name=opt/hotmap/args,string=memmap=ram"]))?;
    let finished = run_to_end(run, &machine)?;
    ensure_eq!(finished.exit, Exit::FINE, "a boot one instruction at a time");
    sound(&file)
}

/// A boot that ends with the MMU off: the console's lock is taken, and the machine powered off.
fn a_refused_boot(run: &Run) -> Checked<String> {
    let (machine, file) = logged(run, Machine::firmware().append("granule=8k"))?;
    let finished = run_to_end(run, &machine)?;
    ensure_eq!(finished.exit, Exit::PANIC, "a granule that there is not");
    let executed = read(&file)?;
    ensure_eq!(executed.exclusives_with_mmu_on, 0, "the MMU was never on");
    offends_not(&executed)?;
    Ok(remark(&executed))
}

/// Every device that there is a driver for: UART in both directions, GIC, timer, GED, DIMM slots, NVDIMMs, PCI, virtio.
fn every_device(run: &Run, gic: u32) -> Checked<String> {
    let machine = Machine { gic: Some(gic), smp: Some(2), ..Machine::firmware() }
        .virtio_mem("1G,requested=128M,block=2M")
        .extra(SWITCH)
        .extra(["-fw_cfg", "name=opt/hotmap/args,string=memmap=ram"]);
    let (machine, file) = logged(run, machine)?;
    let mut guest = Guest::boot(run, &machine)?;
    guest.await_resize(0)?;
    let (dimm, nvdimm) = (Dimm::new("d0", 128 * MIB), Dimm::nvdimm("n0", GIB));
    let Plugged { .. } = guest.plug_well(&dimm)?;
    guest.unplug_well(&dimm)?;
    guest.plug_without_waiting(&nvdimm)?;
    guest.wait_for("the NVDIMM", Deadline::for_step(), |text| text.contains("nvdimm0: ").then_some(()))?;
    guest.tell("cpus")?;
    guest.power_off()?;
    let executed = read(&file)?;
    for device in ["pl011", "gic", "fwcfg", "acpi-ged", "acpi-mem-hotplug", "nvdimm", "pcie", "virtio"] {
        let reached = executed.devices.keys().any(|name| name.contains(device));
        ensure!(reached, "no access to {device}: {:?}", executed.devices);
    }
    offends_not(&executed)?;
    Ok(remark(&executed))
}

/// Each line that is written with the MMU off is cleaned and invalidated before its first store and after its last one. In
/// an image boot the boot protocol promises the first for the image file (Linux, Documentation/arch/arm64/booting.rst).
fn what_is_written_is_cleaned(run: &Run, boot: Boot, granule: Granule) -> Checked<String> {
    let fifo = run.path("registers");
    let made = Command::new("mkfifo").arg(&fifo).status();
    ensure!(made.is_ok_and(|status| status.success()), "no FIFO");
    let reader = std::thread::spawn({
        let fifo = fifo.clone();
        move || File::open(fifo).and_then(|log| caches::read(BufReader::new(log)))
    });
    let machine = Machine::by(boot).granule(granule).virtio_mem("1G,block=2M").append("run=\"mem\"");
    // QEMU writes down the registers before each instruction, which takes a quarter of a minute and more.
    let machine = one_at_a_time(machine, &fifo)?.extra(caches::OPTIONS);
    let finished = run_to_end_within(run, &machine, Deadline::for_steps(6))?;
    ensure_eq!(finished.exit, Exit::FINE, "a boot one instruction at a time");
    let Ok(Ok(lines)) = reader.join() else { return unknown("QEMU's log cannot be read") };
    ensure!(lines.switched && lines.stored.len() > 1000, "a log without stores: {}", lines.stored.len());
    let promised = match boot {
        Boot::Image => IMAGE_AT..IMAGE_AT + image_bytes()?,
        Boot::Firmware => 0..0,
    };
    let before: Vec<String> = lines
        .not_before
        .iter()
        .filter(|line| !promised.contains(line))
        .map(|line| format!("{line:#x}"))
        .collect();
    let after: Vec<String> = lines.not_after.iter().map(|line| format!("{line:#x}")).collect();
    ensure!(
        before.is_empty(),
        "{} of {} lines not cleaned before: {}",
        before.len(),
        lines.stored.len(),
        span(&before)
    );
    ensure!(
        after.is_empty(),
        "{} of {} lines not invalidated after: {}",
        after.len(),
        lines.stored.len(),
        span(&after)
    );
    Ok(format!("{} lines are written with the MMU off", lines.stored.len()))
}

fn span(lines: &[String]) -> String {
    format!("{:?} to {:?}", lines.first(), lines.last())
}

/// The bytes of the image file.
fn image_bytes() -> Checked<u64> {
    let file =
        std::env::var_os(IMAGE_VARIABLE).map_or_else(|| root().join("target/hotmap.Image"), PathBuf::from);
    let metadata = std::fs::metadata(&file);
    metadata.map(|metadata| metadata.len()).map_err(|error| Error::Unknown(format!("no image: {error}")))
}

/// `machine` with a log of each instruction, and the log's file.
fn logged(run: &Run, machine: Machine) -> Checked<(Machine, PathBuf)> {
    let file = run.path("instructions");
    Ok((one_at_a_time(machine, &file)?.extra(OPTIONS), file))
}

/// `machine` with one instruction for each of TCG's blocks, and what it logs in `file`.
fn one_at_a_time(machine: Machine, file: &Path) -> Checked<Machine> {
    let path = file.display().to_string();
    let help = std::env::var_os("QEMU").unwrap_or_else(|| "qemu-system-aarch64".into());
    let help = Command::new(help).arg("-help").output();
    let help = help.map_err(|error| Error::Unknown(format!("QEMU does not start: {error}")))?;
    // QEMU 8.1 has a new name for it.
    let one_at_a_time: &[&str] = if String::from_utf8_lossy(&help.stdout).contains("one-insn-per-tb") {
        &["-accel", "tcg,one-insn-per-tb=on"]
    } else {
        &["-singlestep"]
    };
    Ok(machine.extra(one_at_a_time.iter().copied()).extra(["-D", &path]))
}

fn read(file: &PathBuf) -> Checked<Executed> {
    let log = File::open(file).and_then(|file| log::read(BufReader::new(file)));
    log.map_err(|error| Error::Unknown(format!("QEMU's log: {error}")))
}

/// The rules hold, and the log is one that could say otherwise: the kernel's locks are found with the MMU on.
fn sound(file: &PathBuf) -> Checked<String> {
    let executed = read(file)?;
    ensure!(executed.exclusives_with_mmu_on > 0, "no lock was taken: {executed:?}");
    offends_not(&executed)?;
    Ok(remark(&executed))
}

fn offends_not(executed: &Executed) -> Checked {
    ensure!(executed.with_mmu_off > 1000 && !executed.devices.is_empty(), "an empty log: {executed:?}");
    let offences = executed.needing_normal_memory.iter().chain(&executed.without_syndrome);
    let offences: Vec<&str> = offences.map(String::as_str).collect();
    ensure!(offences.is_empty(), "with the MMU off, or at a device: {}", offences.join("; "));
    Ok(())
}

fn remark(executed: &Executed) -> String {
    let accesses: usize = executed.devices.values().sum();
    format!("{} instructions with the MMU off, {accesses} accesses to devices", executed.with_mmu_off)
}
