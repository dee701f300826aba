//! `inject`: every allocation of a DIMM's insertion and removal fails in turn, and notifiers veto. A refused DIMM
//! changes nothing and can be ejected, and the same DIMM can be plugged at once.

use super::life::is_listed_online;
use super::refused::nothing_changed;
use super::test::{Test, per_granule, slotted};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During, failed};
use hotmap_client::geometry::Granule;
use hotmap_client::guest::{Guest, Plugged, Unplug};
use hotmap_client::run::Run;
use hotmap_client::state::{Memmap, State};
use hotmap_client::{ensure, ensure_eq};

/// 1 TiB away from all memory, where no table exists.
const FAR: u64 = 1 << 40;
/// How often a page of what goes offline is tried (docs/reference/refusals.md).
const TRIES: u64 = 10;
/// More than the allocations of an insertion.
const MOST_SITES: u64 = 64;

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("inject/self", |run, granule| each_insertion(run, granule, "self", ""));
    tests.extend(per_granule("inject/ram", |run, granule| each_insertion(run, granule, "ram", "")));
    tests.push(Test::new("inject/self-and-all-later/4k", |run: &Run| {
        each_insertion(run, Granule::K4, "self", "+")
    }));
    tests.extend(per_granule("inject/removal", a_page_that_finds_no_place));
    tests.extend(per_granule("inject/offline", a_page_that_finds_no_place_at_first));
    tests.extend(per_granule("inject/veto", vetoes));
    tests.push(Test::new("inject/shell", the_shell_says_what_is_armed));
    tests.push(Test::new("inject/errno", refusals_end_with_their_number));
    tests
}

/// What `inject` reported of an operation.
enum Fired {
    Yes,
    No,
}

/// The line in which `inject` reports the outcome.
fn fired(guest: &mut Guest, since: usize) -> Checked<Fired> {
    // After a command's reply the line has been printed.
    guest.tell("dimms")?;
    let text = guest.text_since(since);
    let lines: Vec<&str> = text.lines().filter(|l| l.contains("inject: ") && l.contains("sites")).collect();
    match lines[..] {
        [line] if line.contains("inject: fired at ") => Ok(Fired::Yes),
        [line] if line.contains("inject: did not fire (") => Ok(Fired::No),
        _ => failed(format!("{} lines of inject: {text}", lines.len())),
    }
}

fn each_insertion(run: &Run, granule: Granule, memmap: &str, later: &str) -> Checked<String> {
    let machine = slotted(granule).maxmem("4T").append(&format!("memmap={memmap}"));
    let mut guest = Guest::boot(run, &machine)?;
    let start = guest.state()?;
    let dimm = Dimm::new("d0", granule.block()).at(FAR);
    let mut refusals = 0;
    for n in 1..MOST_SITES {
        guest.tell(&format!("inject alloc {n}{later}"))?;
        let since = guest.position();
        let plugged = guest.plug(&dimm)?;
        match (fired(&mut guest, since)?, plugged.status) {
            (Fired::Yes, 0) => ensure!(memmap == "ram", "allocation {n} failed, and the DIMM was taken"),
            (Fired::Yes, _) => {
                refusals += 1;
                is_refused(&mut guest, &start, plugged, since)
                    .during(&format!("with allocation {n} failing"))?;
            }
            (Fired::No, 0) => break,
            (Fired::No, status) => {
                return failed(format!("nothing failed, and the DIMM was refused: {status}"));
            }
        }
        guest.unplug_well(&dimm).during(&format!("with allocation {n} failing"))?;
        nothing_changed(&start, &guest.state()?)?;
    }
    ensure!(refusals >= 6, "{refusals} refusals: the lists, the tables and the zone are more sites");
    guest.unplug_well(&dimm)?;
    let plugged = guest.plug_well(&dimm).during("with nothing armed")?;
    let home = if memmap == "self" { Memmap::SelfHosted } else { Memmap::Ram };
    is_listed_online(&guest.state()?, plugged, granule, home)?;
    guest.unplug_well(&dimm)?;
    nothing_changed(&start, &guest.state()?)?;
    guest.finish()?;
    Ok(format!("{refusals} refusals"))
}

fn is_refused(guest: &mut Guest, start: &State, plugged: Plugged, since: usize) -> Checked {
    let text = guest.text_since(since);
    ensure!(text.contains("dimm0: refused: out of memory: "), "the refusal does not say why: {text}");
    let state = guest.state()?;
    nothing_changed(start, &state)?;
    let listed = state.dimm(plugged.slot).map(|dimm| dimm.state.as_str());
    ensure_eq!(listed, Some("refused"), "the DIMM in slot {}", plugged.slot);
    guest.tell("audit").map(drop)
}

/// A page that finds no place in any try keeps its DIMM, which is unchanged.
fn a_page_that_finds_no_place(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule))?;
    let dimm = Dimm::new("d0", granule.block());
    let plugged = guest.plug_well(&dimm)?;
    guest.tell("tenant new 3")?;
    let before = guest.state()?;
    for n in [2, 1] {
        guest.tell(&format!("inject alloc {n}+"))?;
        let since = guest.position();
        let refused = guest.unplug(&dimm)?;
        ensure!(matches!(refused, Unplug::Refused(status) if status != 0), "allocation {n}: {refused:?}");
        ensure!(matches!(fired(&mut guest, since)?, Fired::Yes), "allocation {n} did not fail");
        says(&mut guest, since, "cannot go: out of memory: ")?;
        says(&mut guest, since, &format!("tries: {TRIES}"))?;
        let state = guest.state()?;
        is_listed_online(&state, plugged, granule, Memmap::SelfHosted)?;
        ensure_eq!(state.pages, before.pages, "pages after the refusal");
        guest.tell("tenant check")?;
        guest.tell("audit")?;
    }
    guest.tell("inject alloc 9")?;
    let since = guest.position();
    guest.unplug_well(&dimm)?;
    ensure!(matches!(fired(&mut guest, since)?, Fired::No), "there is no ninth allocation");
    guest.tell("tenant check")?;
    guest.tell("tenant drop")?;
    guest.finish()?;
    Ok(String::new())
}

/// A page that finds no place at first moves in the next pass, whichever it is; one that never finds one is named.
fn a_page_that_finds_no_place_at_first(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule))?;
    let dimm = Dimm::new("d0", granule.block());
    let plugged = guest.plug_well(&dimm)?;
    guest.tell("tenant new 3")?;
    let offline = format!("offline {:#x}", plugged.address);
    guest.tell("inject alloc 1+")?;
    let refused = guest.ask(&offline)?;
    let first = granule.pages(plugged.address + granule.memmap_per_block());
    let names = format!("pfn {first:#x} cannot go: out of memory: no free run of 1 pages in system RAM; ");
    let ends = format!("tries: {TRIES} (ENOMEM)");
    let said = |error: &str| error.contains(&names) && error.ends_with(&ends);
    ensure!(refused.error().is_some_and(said), "{}", refused.text);
    // Three pages, tried in each pass.
    ensure!(refused.text.contains(&format!("inject: fired at 1 of {} sites", 3 * TRIES)), "{}", refused.text);
    guest.tell("audit")?;
    for n in [1, 2, 3] {
        guest.tell(&format!("inject alloc {n}"))?;
        let done = guest.tell(&offline)?;
        ensure!(done.contains(&format!("inject: fired at {n} of 4 sites")), "{done}");
        ensure!(done.contains("offline; 3 pages migrated"), "{done}");
        guest.tell("tenant check")?;
        guest.tell("audit")?;
        guest.tell("tenant drop")?;
        guest.tell(&format!("online {:#x}", plugged.address))?;
        guest.tell("tenant new 3")?;
    }
    guest.finish()?;
    Ok(String::new())
}

/// The range that a veto names is all of the DIMM, its own memmap included.
fn vetoes(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule))?;
    let start = guest.state()?;
    let dimm = Dimm::new("d0", 2 * granule.block());
    guest.tell("inject online")?;
    let since = guest.position();
    let plugged = guest.plug(&dimm)?;
    ensure!(plugged.status != 0, "the DIMM was taken");
    let names = |by: &str| {
        let end = plugged.address + plugged.size;
        format!("{:#x}..{end:#x} stays as it is: vetoed by the notifier '{by}'", plugged.address)
    };
    says(&mut guest, since, &names("inject online"))?;
    nothing_changed(&start, &guest.state()?)?;
    guest.unplug_well(&dimm).during("ejecting what was vetoed")?;
    guest.tell("inject off")?;

    guest.plug_well(&dimm).during("without the veto")?;
    let online = guest.state()?;
    is_listed_online(&online, plugged, granule, Memmap::SelfHosted)?;
    guest.tell("inject offline")?;
    let since = guest.position();
    let refused = guest.unplug(&dimm)?;
    ensure!(matches!(refused, Unplug::Refused(status) if status != 0), "{refused:?}");
    says(&mut guest, since, &names("inject offline"))?;
    nothing_changed(&online, &guest.state()?)?;
    guest.tell("audit")?;
    guest.tell("inject off")?;
    guest.unplug_well(&dimm).during("without the veto")?;
    nothing_changed(&start, &guest.state()?)?;
    guest.finish()?;
    Ok(String::new())
}

fn says(guest: &mut Guest, since: usize, what: &str) -> Checked {
    guest.tell("dimms")?;
    let text = guest.text_since(since);
    ensure!(text.contains(what), "nothing says '{what}': {text}");
    Ok(())
}

fn the_shell_says_what_is_armed(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K4))?;
    let armed = |guest: &mut Guest, what: &str| -> Checked {
        let reply = guest.tell("inject")?;
        ensure!(reply.contains(what), "inject says '{reply}', not '{what}'");
        Ok(())
    };
    armed(&mut guest, "nothing is armed")?;
    guest.tell("inject alloc 2+")?;
    armed(&mut guest, "allocation 2 of the next operation and all later ones")?;
    // A command that changes nothing is not an operation.
    for looking in ["mem", "tenant check", "audit", "page 0x40000"] {
        guest.tell(looking)?;
    }
    armed(&mut guest, "allocation 2")?;
    let refused = guest.ask("tenant new 4")?;
    ensure!(refused.error().is_some_and(|e| e.contains("out of memory")), "{}", refused.text);
    ensure!(refused.text.contains("inject: fired at 2 of "), "{}", refused.text);
    armed(&mut guest, "nothing is armed")?;
    guest.tell("tenant new 4")?;
    guest.tell("inject alloc 99")?;
    let reply = guest.tell("tenant drop")?;
    ensure!(reply.contains("inject: did not fire (0 sites)"), "{reply}");
    guest.tell("inject alloc 1")?;
    guest.tell("inject online")?;
    guest.tell("inject offline")?;
    armed(&mut guest, "notifier: inject online")?;
    armed(&mut guest, "notifier: inject offline")?;
    guest.tell("inject off")?;
    armed(&mut guest, "nothing is armed")?;
    for wrong in ["inject alloc", "inject alloc 0", "inject alloc x", "inject alloc 1 2", "inject everything"]
    {
        guest.tell_in_vain(wrong)?;
    }
    guest.finish()?;
    Ok(String::new())
}

/// A refusal of the model ends with Linux's error name.
fn refusals_end_with_their_number(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K4))?;
    let golden = [
        ("offline 0x40000001", "EINVAL"),
        ("offline 0x8000000000", "ENOENT"),
        ("offline 0x40000000", "EBUSY"),
        ("online 0x78000000", "EBUSY"),
        ("page 0xfffff0000", "ENXIO"),
        ("poison 0xfffff0000", "ENXIO"),
        ("unpoison 0x78000", "EINVAL"),
        ("tenant drop 77", "ESRCH"),
        ("tenant new 0x10000000", "ENOMEM"),
    ];
    for (command, errno) in golden {
        let sentence = guest.tell_in_vain(command)?;
        ensure!(sentence.ends_with(&format!(" ({errno})")), "'{command}': {sentence}");
    }
    guest.tell("inject offline")?;
    let sentence = guest.tell_in_vain("offline 0x78000000")?;
    ensure!(sentence.ends_with(" (EPERM)"), "a veto: {sentence}");
    guest.tell("inject off")?;
    guest.tell("poison 0x78123")?;
    let sentence = guest.tell_in_vain("poison 0x78123")?;
    ensure!(sentence.contains("0x78123 is poisoned") && sentence.ends_with(" (EHWPOISON)"), "{sentence}");
    guest.tell("unpoison 0x78123")?;
    guest.finish()?;
    Ok(String::new())
}
