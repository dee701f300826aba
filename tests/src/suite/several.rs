//! Several DIMMs: at once, at boot, in the same slot again, and while the guest is busy.

use super::life::is_listed_online;
use super::test::{Test, per_granule, slotted};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During};
use hotmap_client::geometry::{GIB, Granule};
use hotmap_client::guest::{Guest, Plugged, run_to_end};
use hotmap_client::machine::Machine;
use hotmap_client::patience::Deadline;
use hotmap_client::qemu::Exit;
use hotmap_client::qmp::{is_deleted, ost_of};
use hotmap_client::run::Run;
use hotmap_client::state::Memmap;
use hotmap_client::{ensure, ensure_eq};

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("several/at-once", at_once);
    tests.extend(per_granule("several/cold-plugged", cold_plugged));
    tests.extend(per_granule("several/same-slot", same_slot_again));
    tests.extend(per_granule("several/while-busy", while_a_command_runs));
    tests.extend(per_granule("several/asked-twice", a_second_request_is_not_for_the_next_dimm));
    tests.push(Test::new("several/no-slots", no_slots));
    tests
}

/// A machine without DIMM slots says so once while it boots, and says which boot has them.
fn no_slots(run: &Run) -> Checked<String> {
    let lines = |machine: Machine| -> Checked<Vec<String>> {
        let finished = run_to_end(run, &machine.append("run=\"audit\""))?;
        ensure_eq!(finished.exit, Exit::FINE, "the audit");
        let said = finished.text.lines().filter(|line| line.starts_with("dimms: ")).map(str::to_owned);
        Ok(said.collect())
    };
    ensure_eq!(lines(Machine::firmware())?, Vec::<String>::new(), "a machine with slots");
    for machine in [Machine::image(), Machine { acpi: false, ..Machine::firmware() }] {
        let said = lines(machine)?;
        ensure_eq!(said.len(), 1, "lines about slots: {said:?}");
        ensure!(said[0].contains("no slots") && said[0].contains("firmware boot"), "{}", said[0]);
    }
    Ok(String::new())
}

/// Four DIMMs of different sizes are plugged without waiting in between, and unplugged so.
fn at_once(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule))?;
    let start = guest.state()?;
    let dimms: Vec<Dimm> = (1..=4).map(|n| Dimm::new(&format!("d{n}"), n * granule.block())).collect();
    let mut plugged = Vec::new();
    for dimm in &dimms {
        plugged.push(guest.plug_without_waiting(dimm)?);
    }
    for (dimm, place) in dimms.iter().zip(&mut plugged) {
        *place = guest.await_insertion(dimm, *place)?;
        ensure_eq!(place.status, 0, "OST of {}", dimm.id);
    }
    let state = guest.state()?;
    for &place in &plugged {
        is_listed_online(&state, place, granule, Memmap::SelfHosted)?;
    }
    guest.tell("audit").during("with four DIMMs")?;
    for dimm in &dimms {
        guest.ask_back(dimm)?;
    }
    for dimm in &dimms {
        let end = guest.await_removal(dimm)?;
        ensure_eq!(end, hotmap_client::guest::Unplug::Gone, "{}", dimm.id);
    }
    let end = guest.state()?;
    ensure_eq!(end.pages, start.pages, "pages after four DIMMs");
    ensure_eq!(end.heap, start.heap, "heap after four DIMMs");
    guest.finish()?;
    Ok(String::new())
}

/// DIMMs that are plugged before boot are added at boot, and can be unplugged.
fn cold_plugged(run: &Run, granule: Granule) -> Checked<String> {
    let mut bare = Guest::boot(run, &slotted(granule))?;
    let without = bare.state()?;
    bare.finish()?;
    let dimms =
        [Dimm::new("c0", granule.block()), Dimm::new("c1", 2 * granule.block()).at(8 * GIB).in_slot(5)];
    let arguments: Vec<String> = dimms.iter().flat_map(Dimm::cold).collect();
    let mut guest = Guest::boot(run, &slotted(granule).extra(arguments.iter().map(String::as_str)))?;
    let state = guest.state()?;
    for dimm in &dimms {
        is_listed_online(&state, place_of(&mut guest, dimm)?, granule, Memmap::SelfHosted)?;
    }
    guest.tell("audit").during("with cold-plugged DIMMs")?;
    for dimm in &dimms {
        guest.unplug_well(dimm)?;
    }
    let end = guest.state()?;
    ensure_eq!(end.pages, without.pages, "pages after the cold-plugged DIMMs, beside a boot without them");
    guest.finish()?;
    Ok(String::new())
}

/// Where QEMU says that a DIMM is.
fn place_of(guest: &mut Guest, dimm: &Dimm) -> Checked<Plugged> {
    let info = dimm.find(&mut guest.qmp)?;
    let place = info.and_then(|info| {
        let (address, slot) = (u64::try_from(info.addr).ok()?, u64::try_from(info.slot).ok()?);
        Some(Plugged { address, size: dimm.size, slot, status: 0 })
    });
    place.map_or_else(|| hotmap_client::error::unknown(format!("QEMU does not list {}", dimm.id)), Ok)
}

/// Another DIMM in the same slot: nothing of the first one remains.
fn same_slot_again(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule))?;
    let start = guest.state()?;
    for (round, (blocks, address)) in [(1, 4 * GIB), (3, 8 * GIB), (2, 4 * GIB)].into_iter().enumerate() {
        let dimm = Dimm::new("again", blocks * granule.block()).at(address).in_slot(3);
        let plugged = guest.plug_well(&dimm).during(&format!("round {round}"))?;
        ensure_eq!((plugged.slot, plugged.address), (3, address), "where QEMU put it");
        is_listed_online(&guest.state()?, plugged, granule, Memmap::SelfHosted)?;
        guest.unplug_well(&dimm).during(&format!("round {round}"))?;
        let pages = guest.state()?.pages;
        ensure_eq!(pages, start.pages, "pages after round {round}");
    }
    guest.finish()?;
    Ok(String::new())
}

/// A second `device_del` that arrives while the guest migrates asks for the DIMM that is leaving: the next DIMM in its
/// slot is added and stays.
fn a_second_request_is_not_for_the_next_dimm(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule))?;
    let start = guest.state()?;
    let first = Dimm::new("first", GIB).in_slot(3);
    guest.plug_well(&first)?;
    // A sixth of all memory takes long enough to move, and has room in boot memory.
    let free = guest.state()?.pages.free;
    guest.tell(&format!("tenant new {}", free / 6))?;
    guest.ask_back(&first)?;
    guest.await_ejection_begun(&first)?;
    guest.ask_back(&first).during("the second request, while the guest migrates")?;
    let end = guest.await_removal(&first)?;
    ensure_eq!(end, hotmap_client::guest::Unplug::Gone, "the DIMM whose removal was requested twice");
    let next = Dimm::new("next", 2 * granule.block()).at(8 * GIB).in_slot(3);
    let plugged = guest.plug_without_waiting(&next)?;
    let taken = guest.qmp.wait_event("an event about the next DIMM", Deadline::for_step(), |event| {
        (is_deleted(event, &next.id) || ost_of(event, &next.id).is_some())
            .then(|| ost_of(event, &next.id).cloned())
    })?;
    let taken = taken.map(|ost| (ost.source, ost.status));
    ensure_eq!(taken, Some((1, 0)), "the OST of the next DIMM; without one it was ejected");
    is_listed_online(&guest.state()?, plugged, granule, Memmap::SelfHosted)?;
    guest.tell("tenant check")?;
    guest.tell("tenant drop")?;
    guest.unplug_well(&next)?;
    let pages = guest.state()?.pages;
    ensure_eq!(pages, start.pages, "pages after both DIMMs");
    guest.finish()?;
    Ok(String::new())
}

/// A DIMM that is plugged while a command runs is added after it: no log line is inside the reply.
fn while_a_command_runs(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule))?;
    let free = guest.state()?.pages.free;
    let command = format!("tenant new {}", free / 4);
    let dimm = Dimm::new("late", granule.block());
    guest.type_command(&command)?;
    let plugged = guest.plug_without_waiting(&dimm)?;
    let reply = guest.await_reply(&command, Deadline::for_steps(2))?;
    ensure!(reply.error().is_none(), "{}", reply.text);
    ensure!(!reply.text.contains("dimm"), "log lines inside a reply: {}", reply.text);
    let plugged = guest.await_insertion(&dimm, plugged)?;
    ensure_eq!(plugged.status, 0, "OST of a DIMM that was plugged while the guest was busy");
    is_listed_online(&guest.state()?, plugged, granule, Memmap::SelfHosted)?;
    guest.tell("tenant check")?;
    guest.unplug_well(&dimm)?;
    guest.tell("tenant drop")?;
    guest.finish()?;
    Ok(String::new())
}
