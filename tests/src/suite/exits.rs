//! Every way of the exit status to QEMU, for every status, on machines of every make.

use super::device_tree::with_change;
use super::test::Test;
use hotmap_client::ensure_eq;
use hotmap_client::error::{Checked, Error};
use hotmap_client::geometry::Granule;
use hotmap_client::guest::run_to_end;
use hotmap_client::machine::{Boot, CHANNELS, Channel, Machine};
use hotmap_client::patience::Deadline;
use hotmap_client::qemu::{Exit, Qemu};
use hotmap_client::run::Run;

/// QEMU's MMIO transport with the registers of virtio 1.0; its default is the old layout.
const MODERN: [&str; 2] = ["-global", "virtio-mmio.force-legacy=false"];
/// A console with nothing behind it.
const NOTHING: [&str; 6] =
    ["-device", "virtio-serial-pci", "-device", "virtconsole,chardev=null", "-chardev", "null,id=null"];

pub(super) fn tests() -> Vec<Test> {
    let mut tests = vec![
        Test::new("exits/no-testdev", without_testdev_the_next_channel_has_the_status),
        Test::new("exits/what-is-written", one_digit_and_a_q_are_written),
        Test::new("exits/nothing", a_channel_without_a_status_is_status_125),
    ];
    for channel in CHANNELS {
        tests.push(Test::new(format!("exits/{}/script", channel.name()), move |run: &Run| {
            the_scripts_status_is_the_guests(run, channel)
        }));
        for (boot, gic) in [(Boot::Image, 2), (Boot::Firmware, 3)] {
            let machine = Machine { gic: Some(gic), smp: Some(2), exit: channel, ..Machine::by(boot) };
            let name = format!("exits/{}/{}/gic{gic}", channel.name(), boot.name());
            tests.push(Test::new(name, move |run: &Run| every_status(run, &machine)));
        }
    }
    let modern = Machine { exit: Channel::TestdevMmio, ..Machine::firmware() }.extra(MODERN);
    tests.push(Test::new("exits/testdev-mmio/modern", move |run: &Run| every_status(run, &modern)));
    tests
}

/// From the end of `run=`, from an exception on each CPU, and from a boot that is refused with its MMU off. QEMU's status is
/// compared with what the guest says (`run_to_end`), and that with what it is made to do.
fn every_status(run: &Run, machine: &Machine) -> Checked<String> {
    let run_of = |command: &str| format!("run=\"{command}\"");
    let mut ends = vec![
        (machine.clone().granule(Granule::K4).append(&run_of("mem")), Exit::FINE),
        (machine.clone().granule(Granule::K64).append(&run_of("offline 0x1000; mem")), Exit::COMMAND_FAILED),
        (machine.clone().granule(Granule::K16).append(&run_of("crash 0")), Exit::PANIC),
        (machine.clone().append("granule=5k"), Exit::PANIC),
        (machine.clone().cpu("cortex-a72").granule(Granule::K16), Exit::CPU_LACKS),
    ];
    if machine.smp == Some(2) {
        ends.push((machine.clone().append(&run_of("crash 1")), Exit::PANIC));
    }
    for (machine, exit) in ends {
        let finished = run_to_end(run, &machine)?;
        ensure_eq!(finished.exit, exit, "the status of {}", machine.command());
    }
    Ok(String::new())
}

fn the_scripts_status_is_the_guests(run: &Run, channel: Channel) -> Checked<String> {
    let machine = Machine { exit: channel, ..Machine::firmware() };
    let ends = [
        ("run=mem", Exit::FINE),
        ("run=\"offline 0x1000\"", Exit::COMMAND_FAILED),
        ("granule=5k", Exit::PANIC),
    ];
    for (argument, exit) in ends {
        let mut launched = Qemu::launch(&machine.clone().append(argument))?;
        let ended = launched.wait_exit(Deadline::for_step());
        launched.kill();
        run.journal.add(&launched.console.text());
        ensure_eq!(ended?, exit, "the script's status for {argument}");
    }
    Ok(String::new())
}

/// The console takes the bytes, nothing happens, and semihosting gives the status.
fn without_testdev_the_next_channel_has_the_status(run: &Run) -> Checked<String> {
    for device in ["virtio-serial-pci", "virtio-serial-device"] {
        let mut extra = NOTHING;
        extra[1] = device;
        let finished = run_to_end(run, &Machine::image().append("run=\"offline 0x1000\"").extra(extra))?;
        ensure_eq!(finished.exit, Exit::COMMAND_FAILED, "semihosting behind {device}");
        ensure_eq!(finished.text.matches("exit: ").count(), 0, "refusals of {device}");
    }
    Ok(String::new())
}

fn one_digit_and_a_q_are_written(run: &Run) -> Checked<String> {
    let file = run.path("written");
    let chardev = format!("file,id=null,path={}", file.display());
    let mut extra = NOTHING;
    extra[5] = &chardev;
    run_to_end(run, &Machine::firmware().append("run=\"offline 0x1000\"").extra(extra))?;
    let written =
        std::fs::read(&file).map_err(|error| Error::Unknown(format!("{}: {error}", file.display())))?;
    ensure_eq!(String::from_utf8_lossy(&written), "1q", "what the console was given");
    Ok(String::new())
}

/// A tree without the bus: the guest powers off by PSCI, and the script does not take QEMU's 0 for the guest's.
fn a_channel_without_a_status_is_status_125(run: &Run) -> Checked<String> {
    let mut machine = with_change(run, b"pci-host-ecam-generic", b"pci-host-of-no-driver")?.append("run=mem");
    machine.exit = Channel::Testdev;
    let mut launched = Qemu::launch(&machine)?;
    let ended = launched.wait_exit(Deadline::for_step());
    launched.kill();
    run.journal.add(&launched.console.text());
    ensure_eq!(ended?, Exit::LAUNCHER_FAILED, "a run without a status");
    Ok(launched.complaints.text().trim().to_owned())
}
