//! Faults on purpose (`bug=NAME`): the audit must name the invariant that each breaks, and find nothing without it.

use super::devices::HOT;
use super::looking;
use super::test::{Test, slotted};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During, Error, failed};
use hotmap_client::geometry::{GRANULES, Granule, MIB};
use hotmap_client::guest::{Guest, Plugged, run_to_end};
use hotmap_client::machine::Machine;
use hotmap_client::qemu::Exit;
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};

/// The faults that an audit during a DIMM's life finds, in the order of the invariants that they break.
const BUGS: [(&str, &str); 8] = [
    ("stale-section", "I1"),
    ("altmap-leak", "I2"),
    ("free-memmap", "I3"),
    ("empty-table", "I4"),
    ("skip-tlbi", "I5"),
    ("lost-page", "I6"),
    ("keep-memmap", "I7"),
    ("keep-linear", "I8"),
];

/// The faults that an audit of a block on demand finds, as pages of it are taken and freed.
const ON_DEMAND: [(&str, &str); 6] = [
    ("head-on-image", "I3"),
    ("lend-twice", "I3"),
    ("image-dirty", "I3"),
    ("skip-populate-tlbi", "I5"),
    ("share-early", "I6"),
    ("keep-private", "I7"),
];

/// The faults that need another scenario: the invariant, the granules at which the fault exists, and its witness. At 4K
/// no page of memmap serves two subsections; at 16K and 64K no block leaf maps the memmap of a section.
const OTHERS: [(&str, &str, &[Granule], Witness); 5] = [
    ("shared-block", "I7", &[Granule::K4], devices_audit_finds_it),
    ("free-neighbour", "I1", &[Granule::K16, Granule::K64], devices_audit_finds_it),
    ("altmap-as-ram", "I2", &GRANULES, a_warning_counts_it),
    ("no-bbm", "I5", &GRANULES, a_refusal_says_it),
    ("veto-range", "veto", &GRANULES, the_wrong_range_is_asked_about),
];

/// Takes a machine to where the fault shows, and returns the line that shows it, if there is one.
type Witness = fn(&mut Guest, Granule) -> Checked<Option<String>>;

/// A DIMM's life with audits in between.
#[derive(Clone, Copy)]
struct Life {
    /// Where the DIMM has its memmap.
    memmap: &'static str,
    audits: Witness,
    /// The faults that the audits find.
    bugs: &'static [(&'static str, &'static str)],
}

const LIVES: [Life; 2] = [
    Life { memmap: "self", audits: audits_of_a_life, bugs: &BUGS },
    Life { memmap: "demand", audits: audits_on_demand, bugs: &ON_DEMAND },
];

pub(super) fn tests() -> Vec<Test> {
    let mut tests = vec![Test::new("bugs/list", the_kernel_lists_these)];
    for granule in GRANULES {
        for life in LIVES {
            for (bug, rule) in life.bugs {
                let body = move |run: &Run| audit_names_it(run, granule, life, bug, rule);
                tests.push(Test::new(format!("bugs/{rule}/{bug}/{granule}"), body));
            }
        }
        for (bug, rule, granules, witness) in OTHERS {
            if granules.contains(&granule) {
                let body = move |run: &Run| witness_sees_it(run, granule, bug, witness);
                tests.push(Test::new(format!("bugs/{rule}/{bug}/{granule}"), body));
            }
        }
        tests.push(Test::new(format!("bugs/status/{granule}"), move |run: &Run| {
            a_finding_is_status_1(run, granule)
        }));
        tests
            .push(Test::new(format!("bugs/seen/{granule}"), move |run: &Run| qemu_sees_it_too(run, granule)));
        tests.push(Test::new(format!("bugs/none/{granule}"), move |run: &Run| audit_is_silent(run, granule)));
    }
    tests
}

/// `help bugs` names exactly the faults above: each has a test.
fn the_kernel_lists_these(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K4))?;
    let text = guest.tell("help bugs")?;
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("bug=")).collect();
    let others = OTHERS.iter().map(|(bug, rule, ..)| (*bug, *rule));
    let tested: Vec<_> = BUGS.into_iter().chain(ON_DEMAND).chain(others).collect();
    ensure!(lines.len() == tested.len(), "{} switches listed, {} tested: {text}", lines.len(), tested.len());
    for (bug, rule) in tested {
        let listed = lines.iter().any(|line| line.starts_with(&format!("bug={bug} ")) && line.contains(rule));
        ensure!(listed, "bug={bug} that breaks {rule} is not listed: {text}");
    }
    guest.finish()?;
    Ok(format!("{} switches", lines.len()))
}

/// Takes a DIMM through its life, with an audit between operations. Returns the output of the first audit that finds
/// something: after that the memory is broken, and its use may end in an exception.
fn audits_of_a_life(guest: &mut Guest, granule: Granule) -> Checked<Option<String>> {
    let dimm = Dimm::new("d0", 2 * granule.block());
    let steps: [&dyn Fn(&mut Guest) -> Checked; 5] = [
        &|_| Ok(()),
        &|guest| guest.plug(&dimm).map(drop),
        &|guest| guest.tell("tenant new 300").map(drop),
        &|guest| guest.unplug(&dimm).map(drop),
        &|guest| guest.tell("tenant drop").map(drop),
    ];
    for step in steps {
        step(guest)?;
        let reply = guest.ask("audit")?;
        if reply.error().is_some() {
            return Ok(Some(reply.text));
        }
    }
    Ok(None)
}

/// Takes two pages of a DIMM on demand, and frees the second, with an audit after each step: as [`audits_of_a_life`].
///
/// ```text
///   plugged        the image
///   first page     its runs begin in a few pages of the memmap, which are populated
///   page at 3/4    the upper half is split: more of them
///   freed          the upper half is one run again: they are given back
/// ```
fn audits_on_demand(guest: &mut Guest, granule: Granule) -> Checked<Option<String>> {
    let start = guest.plug_well(&Dimm::new("d0", granule.block()))?.address;
    let other = start + granule.block() / 4 * 3;
    for step in [
        String::new(),
        "tenant new 1".to_owned(),
        format!("pin addr:{other:#x}"),
        format!("unpin addr:{other:#x}"),
        "tenant drop".to_owned(),
    ] {
        if !step.is_empty() {
            guest.tell(&step)?;
        }
        let reply = guest.ask("audit")?;
        if reply.error().is_some() {
            return Ok(Some(reply.text));
        }
    }
    Ok(None)
}

impl Life {
    fn machine(self, granule: Granule, bug: &str) -> Machine {
        slotted(granule).append(&format!("memmap={} bug={bug}", self.memmap))
    }
}

fn audit_names_it(run: &Run, granule: Granule, life: Life, bug: &str, rule: &str) -> Checked<String> {
    let mut guest = Guest::boot(run, &life.machine(granule, bug))?;
    let Some(found) = (life.audits)(&mut guest, granule)? else {
        return failed(format!("bug={bug}: no audit found anything"));
    };
    match found.lines().find(|line| names(line, rule)) {
        Some(line) => Ok(line.to_owned()),
        None => failed(format!("no line of the audit names {rule}: {found}")),
    }
}

/// The witness sees the fault, and sees nothing without it. The broken machine is not shut down in order.
fn witness_sees_it(run: &Run, granule: Granule, bug: &str, witness: Witness) -> Checked<String> {
    let machine = Machine { hotpluggable: Some("1G".into()), ..slotted(granule) };
    let mut sound = Guest::boot(run, &machine.clone().append("bug=none"))?;
    let seen = witness(&mut sound, granule)?;
    ensure!(seen.is_none(), "without {bug}: {}", seen.unwrap_or_default());
    sound.finish().during("without a bug")?;
    let mut guest = Guest::boot(run, &machine.append(&format!("bug={bug}")))?;
    match witness(&mut guest, granule)? {
        Some(seen) => Ok(seen.lines().next().unwrap_or_default().to_owned()),
        None => failed(format!("bug={bug}: nothing shows it")),
    }
}

/// Two neighbouring devices are created and destroyed. An audit after each step.
fn devices_audit_finds_it(guest: &mut Guest, granule: Granule) -> Checked<Option<String>> {
    let rule = if granule == Granule::K4 { "I7" } else { "I1" };
    let (one, two) = (HOT, HOT + 2 * MIB);
    let steps = [
        format!("dax create {one:#x},2M"),
        format!("dax create {two:#x},2M"),
        format!("dax destroy {one:#x}"),
        format!("dax destroy {two:#x}"),
    ];
    for step in steps {
        guest.tell(&step)?;
        let reply = guest.ask("audit")?;
        if reply.error().is_some() {
            ensure!(
                reply.text.lines().any(|line| names(line, rule)),
                "no line of the audit names {rule}: {}",
                reply.text
            );
            return Ok(Some(reply.text));
        }
    }
    Ok(None)
}

/// A self-hosted DIMM is plugged and unplugged: freeing pages that the allocator never had is refused and counted.
fn a_warning_counts_it(guest: &mut Guest, granule: Granule) -> Checked<Option<String>> {
    let dimm = Dimm::new("d0", granule.block());
    guest.plug_well(&dimm)?;
    guest.unplug_well(&dimm)?;
    let warnings = guest.state()?.warnings;
    Ok((warnings > 0).then(|| format!("{warnings} warnings")))
}

/// A tenant's page is migrated: its live entry is not changed in place.
fn a_refusal_says_it(guest: &mut Guest, granule: Granule) -> Checked<Option<String>> {
    let plugged = guest.plug_well(&Dimm::new("d0", granule.block()))?;
    guest.tell("tenant new 3")?;
    let reply = guest.ask(&format!("offline {:#x}", plugged.address))?;
    guest.tell("tenant check")?;
    guest.tell("audit").during("after the refusal")?;
    let Some(why) = reply.error() else { return Ok(None) };
    ensure!(why.contains("break-before-make at "), "'offline' says: {why}");
    Ok(Some(why.to_owned()))
}

/// Notifiers are asked about the whole block, its memmap included: the refusal names the range.
fn the_wrong_range_is_asked_about(guest: &mut Guest, granule: Granule) -> Checked<Option<String>> {
    let Plugged { address, size, .. } = guest.plug_well(&Dimm::new("d0", granule.block()))?;
    guest.tell("inject offline")?;
    let why = guest.tell_in_vain(&format!("offline {address:#x}"))?;
    guest.tell("inject off")?;
    ensure!(why.contains("vetoed by the notifier 'inject offline'"), "'offline' says: {why}");
    let all = format!("offline: {address:#x}..{:#x} stays as it is", address + size);
    Ok(Some(why).filter(|why| !why.starts_with(&all)))
}

/// In `run=`, an audit that finds something is a command that failed: status 1. The DIMM is plugged before boot.
fn a_finding_is_status_1(run: &Run, granule: Granule) -> Checked<String> {
    let cold = Dimm::new("c0", granule.block()).cold();
    let machine = slotted(granule).extra(cold.iter().map(String::as_str));
    let commands = "run=\"tenant new 300; tenant drop; audit; mem\"";
    for (bug, should) in
        [("altmap-leak", Exit::COMMAND_FAILED), ("lost-page", Exit::COMMAND_FAILED), ("none", Exit::FINE)]
    {
        let finished = run_to_end(run, &machine.clone().append(&format!("bug={bug}")).append(commands))?;
        ensure_eq!(finished.exit, should, "run= of an audit with bug={bug}");
    }
    Ok(String::new())
}

/// The audit and QEMU agree: a mapping that stays is found by both.
fn qemu_sees_it_too(run: &Run, granule: Granule) -> Checked<String> {
    for bug in ["keep-linear", "keep-memmap"] {
        let mut guest = Guest::boot(run, &slotted(granule).append(&format!("bug={bug}")))?;
        let dimm = Dimm::new("d0", granule.block());
        let plugged = guest.plug_well(&dimm)?;
        let state = guest.state()?;
        guest.unplug_well(&dimm)?;
        let seen = looking::nothing_is_left(&mut guest, &state, granule, plugged);
        ensure!(matches!(seen, Err(Error::Failed(_))), "QEMU does not see bug={bug}: {seen:?}");
    }
    Ok(String::new())
}

fn audit_is_silent(run: &Run, granule: Granule) -> Checked<String> {
    for life in LIVES {
        let mut guest = Guest::boot(run, &life.machine(granule, "none"))?;
        let found = (life.audits)(&mut guest, granule)?;
        ensure!(found.is_none(), "an audit without a bug found: {}", found.unwrap_or_default());
        guest.finish().during("without a bug")?;
    }
    Ok(format!("{} lives", LIVES.len()))
}

/// Whether a line names the invariant as a word: `I1`, not `I12` or `AI1`.
fn names(line: &str, rule: &str) -> bool {
    line.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == rule)
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn an_invariant_is_named_as_a_word() {
        assert!(names("error: audit: I3: frame 0x80000 is free and mapped", "I3"));
        assert!(names("I3", "I3"));
        assert!(!names("error: I30 pages", "I3"));
    }
}
