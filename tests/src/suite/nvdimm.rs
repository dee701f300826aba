//! NVDIMMs: found at boot and when they are plugged, listed where QEMU has them, and independent of DIMMs.

use super::life::is_listed_online;
use super::matrix::{COMMANDS, checks_itself};
use super::test::{Test, per_granule, slotted};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During, failed};
use hotmap_client::geometry::{GIB, GRANULES, Granule, MIB};
use hotmap_client::guest::{Guest, Plugged, run_to_end};
use hotmap_client::machine::{Boot, Machine};
use hotmap_client::patience::Deadline;
use hotmap_client::qemu::Exit;
use hotmap_client::qmp::Refusal;
use hotmap_client::run::Run;
use hotmap_client::state::{Memmap, NvdimmState, State};
use hotmap_client::{ensure, ensure_eq};

/// The machine's option: without it QEMU has no NVDIMMs and no register for them.
pub(super) const SWITCH: [&str; 2] = ["-machine", "nvdimm=on"];

/// More NVDIMMs than one page of the FIT has room for: (4096 - 8) / 184 is 22.
const MANY: u64 = 30;

/// Reading the FIT of these takes half of a heap of 64 KiB for a moment.
const FULL: u64 = 60;
/// The blocks of a DIMM whose lists leave less than that.
const BLOCKS: u64 = 150;

/// What `nvdimms` prints on a machine that cannot have NVDIMMs ...
const NO_REGISTER: &str = "this machine has no NVDIMMs";
/// ... and on one that has none.
const NONE: &str = "NVDIMMs: 0";

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("nvdimm/cold", cold);
    tests.extend(per_granule("nvdimm/hot", hot));
    tests.extend(per_granule("nvdimm/beside-dimms", beside_dimms));
    tests.push(Test::new("nvdimm/many", many));
    tests.push(Test::new("nvdimm/full-heap", what_a_full_heap_refused_arrives_later));
    tests.push(Test::new("nvdimm/node", node));
    tests.push(Test::new("nvdimm/label", label));
    for granule in GRANULES {
        let itself = with_cold(granule, &[Dimm::nvdimm("n0", GIB)]).append(COMMANDS);
        let body = move |run: &Run| checks_itself(run, &itself, Boot::Firmware, granule);
        tests.push(Test::new(format!("nvdimm/selftest/{granule}"), body));
        let mut none = |name: &str, machine: Machine, sentence: &'static str| {
            let machine = machine.granule(granule).append("run=\"nvdimms; audit; state\"");
            let body = move |run: &Run| none_there(run, &machine, sentence);
            tests.push(Test::new(format!("nvdimm/{name}/{granule}"), body));
        };
        none("off", Machine::firmware(), NO_REGISTER);
        none("off-image", Machine::image(), NO_REGISTER);
        none("none", Machine::firmware().extra(SWITCH), NONE);
        none("none-image", Machine::image().extra(SWITCH), NONE);
        // The register is there, but nothing announces it.
        none("none-acpi-off", Machine { acpi: false, ..Machine::firmware() }.extra(SWITCH), NO_REGISTER);
    }
    tests
}

/// A machine with the option and these NVDIMMs and DIMMs plugged.
pub(super) fn with_cold(granule: Granule, dimms: &[Dimm]) -> Machine {
    let arguments: Vec<String> = dimms.iter().flat_map(Dimm::cold).collect();
    slotted(granule).extra(SWITCH).extra(arguments.iter().map(String::as_str))
}

/// A machine without any: the probe for the register has no effect, and the list is empty.
fn none_there(run: &Run, machine: &Machine, sentence: &str) -> Checked<String> {
    let finished = run_to_end(run, machine)?;
    ensure_eq!(finished.exit, Exit::FINE, "a machine without NVDIMMs");
    ensure_eq!(finished.state()?.nvdimms, [], "the NVDIMMs");
    let line = finished.line("that says so", |line| line.starts_with(sentence))?;
    Ok(line.to_owned())
}

/// A DIMM or NVDIMM as QEMU lists it: number, start, size, node.
pub(super) fn place_of(guest: &mut Guest, dimm: &Dimm) -> Checked<NvdimmState> {
    let Some(info) = dimm.find(&mut guest.qmp)? else {
        return failed(format!("QEMU does not list {}", dimm.id));
    };
    let numbers = [info.slot, info.addr, info.size, info.node].map(u64::try_from);
    let [Ok(number), Ok(start), Ok(size), Ok(node)] = numbers else {
        return failed(format!("QEMU lists an impossible DIMM: {info:?}"));
    };
    Ok(NvdimmState { number, start, size, node: Some(node), state: "waiting".into() })
}

/// `state` lists exactly these NVDIMMs, by number, each where QEMU has it, and none as a block or a DIMM.
fn are_listed(guest: &mut Guest, nvdimms: &[Dimm]) -> Checked<State> {
    let mut places = Vec::new();
    for nvdimm in nvdimms {
        places.push(place_of(guest, nvdimm)?);
    }
    places.sort_by_key(|place| place.number);
    let state = guest.state()?;
    ensure_eq!(state.nvdimms, places, "the NVDIMMs");
    for place in &places {
        ensure!(state.blocks_in(place.start, place.size).is_empty(), "NVDIMM {} is a block", place.number);
        let dimm = state.dimm(place.number);
        ensure!(dimm.is_none(), "NVDIMM {} is a DIMM: {dimm:?}", place.number);
        let line = format!("nvdimm{}: {:#x}..", place.number, place.start);
        let text = guest.text();
        let said = text.lines().filter(|l| l.starts_with(&line) && l.ends_with(" is here")).count();
        ensure_eq!(said, 1, "lines that begin with {line:?}");
    }
    Ok(state)
}

/// Plugs NVDIMMs one after the other, and waits for the guest's log line about the last one: it sends no OST.
pub(super) fn plug(guest: &mut Guest, nvdimms: &[Dimm]) -> Checked {
    for nvdimm in nvdimms {
        let slot = guest.plug_without_waiting(nvdimm)?.slot;
        let sign = format!("nvdimm{slot}: ");
        guest.wait_for(&format!("{} to be noticed", nvdimm.id), Deadline::for_step(), |text| {
            text.lines().any(|line| line.starts_with(&sign) && line.ends_with(" is here")).then_some(())
        })?;
    }
    Ok(())
}

/// Two NVDIMMs at boot: one where QEMU puts it, one with an address and a slot.
fn cold(run: &Run, granule: Granule) -> Checked<String> {
    let mut bare = Guest::boot(run, &slotted(granule).extra(SWITCH))?;
    let without = bare.state()?;
    ensure_eq!(without.nvdimms, [], "NVDIMMs of a machine without");
    bare.finish()?;
    let nvdimms = [Dimm::nvdimm("n0", GIB), Dimm::nvdimm("n1", 256 * MIB).at(8 * GIB).in_slot(5)];
    let mut guest = Guest::boot(run, &with_cold(granule, &nvdimms))?;
    let state = are_listed(&mut guest, &nvdimms)?;
    ensure_eq!(state.nvdimm(5).map(|n| n.start), Some(8 * GIB), "the start of the one in slot 5");
    ensure_eq!(state.pages, without.pages, "pages beside NVDIMMs, and without");
    guest.finish()?;
    Ok(String::new())
}

/// One NVDIMM at boot, two that are plugged; QEMU does not unplug them.
fn hot(run: &Run, granule: Granule) -> Checked<String> {
    let first = Dimm::nvdimm("n0", 512 * MIB);
    let mut guest = Guest::boot(run, &with_cold(granule, std::slice::from_ref(&first)))?;
    let start = guest.state()?;
    let second = Dimm::nvdimm("n1", GIB);
    plug(&mut guest, std::slice::from_ref(&second)).during("the first one plugged")?;
    are_listed(&mut guest, &[first.clone(), second.clone()])?;
    let third = Dimm::nvdimm("n2", 128 * MIB).at(16 * GIB).in_slot(7);
    plug(&mut guest, std::slice::from_ref(&third)).during("the second one plugged")?;
    let all = [first, second, third];
    are_listed(&mut guest, &all)?;
    let Err(Refusal::Refused(why)) = all[1].ask_back(&mut guest.qmp) else {
        return failed(
            "QEMU takes an NVDIMM back: it can be unplugged, and the kernel knows nothing of that",
        );
    };
    let state = are_listed(&mut guest, &all).during("after device_del")?;
    ensure_eq!(state.pages, start.pages, "pages with waiting NVDIMMs");
    guest.finish()?;
    Ok(why)
}

/// DIMMs and NVDIMMs share slots and addresses: plugging one kind does not change the other.
fn beside_dimms(run: &Run, granule: Granule) -> Checked<String> {
    let cold = [Dimm::nvdimm("n0", GIB), Dimm::new("d0", granule.block())];
    let mut guest = Guest::boot(run, &with_cold(granule, &cold))?;
    let [nvdimm, dimm] = cold;
    let state = are_listed(&mut guest, std::slice::from_ref(&nvdimm))?;
    is_listed_online(&state, in_its_place(&mut guest, &dimm)?, granule, Memmap::SelfHosted)?;
    let late = Dimm::nvdimm("n1", GIB).at(8 * GIB);
    plug(&mut guest, std::slice::from_ref(&late)).during("an NVDIMM after a DIMM")?;
    let second = Dimm::new("d1", granule.block());
    let plugged = guest.plug_well(&second).during("a DIMM after an NVDIMM")?;
    let both = [nvdimm, late];
    let state = are_listed(&mut guest, &both)?;
    is_listed_online(&state, plugged, granule, Memmap::SelfHosted)?;
    ensure_eq!(state.dimms.len(), 2, "DIMMs");
    for dimm in [&dimm, &second] {
        guest.unplug_well(dimm)?;
        are_listed(&mut guest, &both).during("after a DIMM was unplugged")?;
    }
    // Both at once: one interrupt may announce both.
    let (third, last) = (Dimm::new("d2", granule.block()), Dimm::nvdimm("n2", 128 * MIB).at(16 * GIB));
    let plugged = guest.plug_without_waiting(&third)?;
    plug(&mut guest, std::slice::from_ref(&last))?;
    let plugged = guest.await_insertion(&third, plugged)?;
    ensure_eq!(plugged.status, 0, "OST of a DIMM beside an NVDIMM");
    let [one, two] = both;
    let state = are_listed(&mut guest, &[one, two, last])?;
    is_listed_online(&state, plugged, granule, Memmap::SelfHosted)?;
    guest.unplug_well(&third)?;
    guest.finish()?;
    Ok(String::new())
}

fn in_its_place(guest: &mut Guest, dimm: &Dimm) -> Checked<Plugged> {
    let place = place_of(guest, dimm)?;
    Ok(Plugged { address: place.start, size: place.size, slot: place.number, status: 0 })
}

/// More NVDIMMs than the FIT has room for in a page, then one more.
fn many(run: &Run) -> Checked<String> {
    let nvdimm = |n| Dimm::nvdimm(&format!("n{n}"), 128 * MIB).unreserved();
    let mut nvdimms: Vec<Dimm> = (0..MANY).map(nvdimm).collect();
    let machine = with_cold(Granule::K4, &nvdimms).extra(["-m", "1G,slots=64,maxmem=64G"]);
    let mut guest = Guest::boot(run, &machine)?;
    are_listed(&mut guest, &nvdimms)?;
    let late = nvdimm(MANY);
    plug(&mut guest, std::slice::from_ref(&late))?;
    nvdimms.push(late);
    are_listed(&mut guest, &nvdimms).during("with one more")?;
    guest.finish()?;
    Ok(format!("{} NVDIMMs", nvdimms.len()))
}

/// An NVDIMM that is plugged while the heap is full is listed once memory is freed, without another event.
fn what_a_full_heap_refused_arrives_later(run: &Run) -> Checked<String> {
    let nvdimm = |n| Dimm::nvdimm(&format!("n{n}"), 128 * MIB).unreserved();
    let mut nvdimms: Vec<Dimm> = (0..FULL).map(nvdimm).collect();
    let machine =
        with_cold(Granule::K4, &nvdimms).append("heap=64K").extra(["-m", "1G,slots=128,maxmem=64G"]);
    let mut guest = Guest::boot(run, &machine)?;
    are_listed(&mut guest, &nvdimms)?;
    let filler = Dimm::new("d0", BLOCKS * Granule::K4.block()).unreserved();
    guest.plug_well(&filler)?;
    let late = nvdimm(FULL);
    guest.plug_without_waiting(&late)?;
    let reports = |text: &str| -> Vec<String> {
        let report = |line: &&str| line.starts_with("nvdimm: out of memory: the kernel heap ");
        text.lines().filter(report).map(str::to_owned).collect()
    };
    guest.wait_for("the full heap to be reported", Deadline::for_step(), |text| {
        (!reports(text).is_empty()).then_some(())
    })?;
    are_listed(&mut guest, &nvdimms).during("with the heap full")?;
    guest.unplug_well(&filler)?;
    nvdimms.push(late);
    let sign = format!("nvdimm{}: ", FULL + 1);
    guest.wait_for("the NVDIMM to be noticed", Deadline::for_step(), |text| {
        text.lines().any(|line| line.starts_with(&sign) && line.ends_with(" is here")).then_some(())
    })?;
    are_listed(&mut guest, &nvdimms).during("with the heap free")?;
    let reports = reports(&guest.text());
    ensure_eq!(reports.len(), 1, "reports of the full heap");
    guest.finish()?;
    Ok(reports.concat())
}

/// The node is the one that QEMU was given.
fn node(run: &Run) -> Checked<String> {
    let machine = slotted(Granule::K4).extra(SWITCH).extra([
        "-object",
        "memory-backend-ram,id=r0,size=512M",
        "-object",
        "memory-backend-ram,id=r1,size=512M",
        "-numa",
        "node,nodeid=0,memdev=r0",
        "-numa",
        "node,nodeid=1,memdev=r1",
        "-object",
        "memory-backend-ram,id=mem-n0,size=128M",
        "-device",
        "nvdimm,id=n0,memdev=mem-n0,node=1",
    ]);
    let mut guest = Guest::boot(run, &machine)?;
    let state = are_listed(&mut guest, &[Dimm::nvdimm("n0", 128 * MIB)])?;
    ensure_eq!(state.nvdimm(0).map(|n| n.node), Some(Some(1)), "the node");
    guest.finish()?;
    Ok(String::new())
}

/// A label takes its bytes from the end, and QEMU rounds the rest down to 2 MiB: the list has what is left.
fn label(run: &Run) -> Checked<String> {
    let object = ["-object", "memory-backend-ram,id=mem-n0,size=128M"];
    let device = ["-device", "nvdimm,id=n0,memdev=mem-n0,label-size=128K"];
    let machine = slotted(Granule::K4).extra(SWITCH).extra(object).extra(device);
    let mut guest = Guest::boot(run, &machine)?;
    let state = are_listed(&mut guest, &[Dimm::nvdimm("n0", 128 * MIB)])?;
    ensure_eq!(state.nvdimm(0).map(|n| n.size), Some(126 * MIB), "its size");
    guest.finish()?;
    Ok(String::new())
}
