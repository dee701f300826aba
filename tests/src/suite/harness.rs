//! The harness and the launcher against a real QEMU.

use super::test::{SELF_TESTS, Test, slotted};
use crate::eyes;
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, Error, failed};
use hotmap_client::geometry::{Granule, MIB};
use hotmap_client::guest::{Guest, run_to_end};
use hotmap_client::machine::Machine;
use hotmap_client::patience::Deadline;
use hotmap_client::qemu::{Exit, Qemu};
use hotmap_client::qmp::{Qmp, Refusal};
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};
use qapi::qmp::{query_memory_devices, quit};
use std::process::Command;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("harness/bare-qemu", a_bare_qemu_answers),
        Test::new("harness/refused-start", a_qemu_that_refuses_to_start_is_unknown),
        Test::new("launcher/qemu-fails", a_qemu_that_fails_is_status_125),
        Test::new("launcher/command-fails", a_command_that_fails_is_status_1),
        Test::new("launcher/end-of-input", the_end_of_the_input_powers_off),
        Test::new("harness/refused-device", a_refused_device_is_qemus_sentence),
        Test::new("harness/eyes", qemu_sees_ram_and_nothing_else),
        Test::new("harness/manifest", the_manifest_has_the_self_tests_that_the_kernel_lists),
    ]
}

/// A QEMU that is stopped before its first instruction, without any image.
fn a_bare_qemu_answers(run: &Run) -> Checked<String> {
    let program = std::env::var_os("QEMU").unwrap_or_else(|| "qemu-system-aarch64".into());
    let socket = run.path("qmp");
    let mut command = Command::new(program);
    command.args(["-machine", "virt", "-nodefaults", "-nic", "none", "-display", "none", "-S", "-qmp"]);
    let mut qemu = Qemu::spawn(command.arg(format!("unix:{},server=on,wait=off", socket.display())))?;
    let mut qmp = Qmp::connect(&socket, Deadline::for_step(), || qemu.ended().is_some())?;
    let (major, minor) = qmp.version();
    ensure!((major, minor) >= (7, 2), "QEMU {major}.{minor} is too old: 7.2 is the oldest that is tested");
    ensure!(qmp.execute(&query_memory_devices {})?.is_empty(), "a bare QEMU has DIMMs");
    ensure!(qmp.monitor("info status")?.contains("paused"), "a QEMU started with -S runs");
    qmp.execute(&quit {})?;
    ensure_eq!(qemu.wait_exit(Deadline::for_step())?, Exit::FINE, "quit");
    Ok(format!("QEMU {major}.{minor}"))
}

/// A machine that did not start has no result, whichever way it is started.
fn a_qemu_that_refuses_to_start_is_unknown(run: &Run) -> Checked<String> {
    let machine = slotted(Granule::K4).extra(["-device", "no-such-device"]);
    let silent = run_to_end(run, &machine).err();
    let Some(Error::Unknown(why)) = silent else { return failed(format!("run_to_end says {silent:?}")) };
    ensure!(why.contains("no-such-device"), "QEMU's own sentence is lost: {why}");
    match Guest::boot(run, &machine).err() {
        Some(Error::Unknown(why)) if why.contains("no-such-device") => {
            Ok(why.lines().next().unwrap_or("").to_owned())
        }
        other => failed(format!("Guest::boot says {other:?}")),
    }
}

/// QEMU's own status is 1, which is also the guest's when a command fails.
fn a_qemu_that_fails_is_status_125(run: &Run) -> Checked<String> {
    let mut launched = Qemu::launch(&slotted(Granule::K4).extra(["-device", "no-such-device"]))?;
    ensure_eq!(ended(run, &mut launched)?, Exit::LAUNCHER_FAILED, "a device that QEMU does not have");
    let why = launched.complaints.text();
    ensure!(why.contains("no-such-device"), "QEMU's own sentence is lost: {why}");
    Ok(why.trim().to_owned())
}

fn a_command_that_fails_is_status_1(run: &Run) -> Checked<String> {
    let mut launched = Qemu::launch(&slotted(Granule::K4).append("run=\"offline 0x1000; mem\""))?;
    ensure_eq!(ended(run, &mut launched)?, Exit::COMMAND_FAILED, "a command that fails");
    Ok(String::new())
}

/// `echo state | scripts/qemu` ends by itself, and a last line without a line end is run.
fn the_end_of_the_input_powers_off(run: &Run) -> Checked<String> {
    for typed in ["", "mem\nstate"] {
        let mut launched = Qemu::launch(&slotted(Granule::K4))?;
        launched.type_in(typed.as_bytes())?;
        launched.end_input();
        ensure_eq!(ended(run, &mut launched)?, Exit::FINE, "the end of the input after {typed:?}");
        let has_state = launched.console.text().lines().any(|line| line.starts_with("{\""));
        ensure_eq!(has_state, typed.ends_with("state"), "whether there is a state after {typed:?}");
    }
    Ok(String::new())
}

fn ended(run: &Run, launched: &mut Qemu) -> Checked<Exit> {
    let exit = launched.wait_exit(Deadline::for_step());
    launched.kill();
    run.journal.add(&launched.console.text());
    exit
}

/// A device_add that QEMU refuses while the guest is idle has an answer, and the guest goes on.
fn a_refused_device_is_qemus_sentence(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K4))?;
    let refused = Dimm::new("low", 128 * MIB).at(0x1000).plug(&mut guest.qmp);
    let Err(Refusal::Refused(why)) = refused else { return failed(format!("a DIMM at 0x1000: {refused:?}")) };
    let plugged = guest.plug_well(&Dimm::new("low", 128 * MIB))?;
    ensure_eq!(plugged.slot, 0, "the slot after the refusal");
    guest.finish()?;
    Ok(why)
}

/// [`eyes`] finds RAM where it is, and nothing where nothing is.
fn qemu_sees_ram_and_nothing_else(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &Machine::firmware().memory("256M"))?;
    let state = guest.state()?;
    let (inside, outside) = (state.linear.phys_base + 64 * MIB, state.linear.phys_base + 300 * MIB);
    ensure_eq!(eyes::translate(&mut guest.qmp, state.linear_address(inside))?, Some(inside), "RAM");
    ensure_eq!(eyes::translate(&mut guest.qmp, state.linear_address(outside))?, None, "beyond RAM");
    let region = eyes::region_at(&mut guest.qmp, inside)?;
    ensure_eq!(region.as_deref(), Some("mach-virt.ram"), "RAM's region");
    ensure_eq!(eyes::region_at(&mut guest.qmp, outside)?, None, "the region beyond RAM");
    ensure_eq!(eyes::words(&mut guest.qmp, inside, 3)?.len(), 3, "words of RAM");
    ensure!(eyes::words(&mut guest.qmp, outside, 1).is_err(), "words of nothing were read");
    guest.finish()?;
    Ok(String::new())
}

fn the_manifest_has_the_self_tests_that_the_kernel_lists(run: &Run) -> Checked<String> {
    let finished = run_to_end(run, &Machine::image().append("run=\"selftest list\""))?;
    let subject = |line: &'_ str| -> Option<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(words.as_slice(), [_, count, "tests"] if count.parse::<u32>().is_ok())
            .then(|| words[0].to_owned())
    };
    let listed: Vec<String> = finished.text.lines().filter_map(subject).collect();
    ensure_eq!(
        listed,
        SELF_TESTS.map(str::to_owned),
        "the self-tests, which tests/src/suite/test.rs lists too"
    );
    Ok(format!("{} subjects", listed.len()))
}
