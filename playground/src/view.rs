//! Views of the machine: what a TLB may hold, and what the audit finds. The others are those of a machine that is looked at from
//! outside.

use std::collections::BTreeMap;
use std::rc::Rc;

use hotmap_emulator::machine::Emulated;
use hotmap_emulator::machine::recording::{Cached, Moment};
use hotmap_emulator::machine::violation::Rule;
use hotmap_kernel::drivers::uart::hosted::take_printed_apart;
use hotmap_mm::hotplug::step::Step;
use hotmap_view::{BlockState, Memory, State, Transit, Unreadable};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::boot::Machine;
use crate::trace::Hex;

/// Memory at a moment.
struct Ram<'a>(&'a Emulated, Moment);

impl Memory for Ram<'_> {
    fn read(&self, pa: u64, bytes: &mut [u8]) -> Result<(), Unreadable> {
        if self.0.copy_out(self.1, pa, bytes) { Ok(()) } else { Err(Unreadable { pa }) }
    }
}

/// Exactly what the shell prints.
pub(crate) fn print_state(machine: &mut Machine) -> String {
    (hotmap_shell::SHELL.run)(&mut machine.kernel, "state");
    take_printed_apart().0.trim_end().to_owned()
}

/// What `state` says now.
pub(crate) fn state(machine: &mut Machine) -> Result<Rc<State>, String> {
    if let Some(state) = &machine.now {
        return Ok(state.clone());
    }
    let state = Rc::new(State::parse(&print_state(machine))?);
    machine.now = Some(state.clone());
    Ok(state)
}

/// An operation begins: what `state` says now is what it said before.
pub(crate) fn begin(machine: &mut Machine) {
    machine.before = state(machine).ok();
    machine.now = None;
    // What the look at the state found is not the operation's.
    machine.machine.take_violations();
}

/// The view `name` of `of`, after step `at`.
///
/// # Errors
/// There is no such view, or no such step.
pub(crate) fn view(
    machine: &mut Machine,
    name: &str,
    of: Option<&str>,
    at: Option<i64>,
) -> Result<Box<RawValue>, String> {
    let moment = moment(machine, at)?;
    match name {
        "tlb" => json(&tlb(machine, moment)),
        "audit" => json(&audit(machine)),
        _ => {
            let state = state_at(machine, moment)?;
            let transit = transit(machine, moment);
            let ram = Ram(&machine.machine, moment);
            let outside = hotmap_view::Machine::new(&ram, &state).map_err(|error| error.to_string())?;
            json(&outside.in_transit(transit).view(name, of).map_err(|error| error.to_string())?)
        }
    }
}

/// The state that goes with memory at `moment`. Between the first step and the last: that of before or of now, which has more
/// memory, so that it is seen as it comes and as it goes.
fn state_at(machine: &mut Machine, moment: Moment) -> Result<Rc<State>, String> {
    let now = state(machine)?;
    let last = machine.machine.step_count().checked_sub(1);
    let size = |state: &State| memory(state).keys().map(|(start, end)| end - start).sum::<u64>();
    Ok(match (moment, &machine.before) {
        (Moment::After(None), Some(before)) => before.clone(),
        (Moment::After(step), Some(before)) if step != last && size(before) > size(&now) => before.clone(),
        _ => now,
    })
}

/// The memory that the operation adds, removes, or takes on- or offline, at a moment between its steps.
fn transit(machine: &Machine, moment: Moment) -> Vec<Transit> {
    let (steps, _) = machine.machine.steps();
    let (Moment::After(Some(step)), Some(before), Some(now)) = (moment, &machine.before, &machine.now) else {
        return Vec::new();
    };
    if step + 1 >= steps.len() {
        return Vec::new();
    }
    let count = |name| steps[..=step].iter().filter(|step| step.name == name).count();
    let (done, undone) = (count(Step::InitialisePages.name()), count(Step::InitialisePages.inverse()));
    let (before, now) = (memory(before), memory(now));
    let mut changed: Vec<Transit> = Vec::new();
    for (range, state) in &before {
        // What is removed was initialised before the first step; what stays is.
        let initialised = undone == 0 || now.contains_key(range);
        if now.get(range) != Some(state) {
            changed.push(Transit { range: range.0..range.1, initialised });
        }
    }
    for range in now.keys().filter(|range| !before.contains_key(range)) {
        changed.push(Transit { range: range.0..range.1, initialised: done > undone });
    }
    changed
}

/// The blocks, extents and devices' ranges of `state`: whether each is in use, by its first byte and the one after its last.
fn memory(state: &State) -> BTreeMap<(u64, u64), bool> {
    let blocks = state.blocks.iter().map(|block| (block.start, block.size, block.state));
    let extents = state.extents.iter().map(|extent| (extent.start, extent.size, extent.state));
    let ranges = state.devices.iter().flat_map(|device| &device.ranges);
    let devices = ranges.map(|range| (range.start, range.size, BlockState::Online));
    let all = blocks.chain(extents).chain(devices);
    all.map(|(start, size, state)| ((start, start + size), state == BlockState::Online)).collect()
}

fn json(view: &impl Serialize) -> Result<Box<RawValue>, String> {
    serde_json::value::to_raw_value(view).map_err(|error| error.to_string())
}

/// The moment after step `at`.
fn moment(machine: &Machine, at: Option<i64>) -> Result<Moment, String> {
    let moment = match at {
        None => Moment::Now,
        Some(-1) => Moment::After(None),
        Some(step) => {
            Moment::After(Some(usize::try_from(step).map_err(|_| format!("there is no step {step}"))?))
        }
    };
    if machine.machine.has_moment(moment) {
        Ok(moment)
    } else {
        Err("there is no such step, or memory before it is not kept: too much changed".to_owned())
    }
}

#[derive(Serialize)]
struct Tlb {
    entries: Vec<TlbEntry>,
}

#[derive(Serialize)]
struct TlbEntry {
    va: Hex,
    bytes: u64,
    pa: Hex,
    attributes: String,
    stale: bool,
    /// The rule that an access by the entry breaks.
    #[serde(skip_serializing_if = "Option::is_none")]
    would_break: Option<String>,
}

fn tlb(machine: &Machine, moment: Moment) -> Tlb {
    Tlb { entries: machine.machine.cached(moment).iter().map(TlbEntry::new).collect() }
}

impl TlbEntry {
    fn new(cached: &Cached) -> Self {
        let attributes = match cached.leaf {
            None => "leads to a table".to_owned(),
            Some(leaf) => {
                let letter = |set, letter| if set { letter } else { '-' };
                // AttrIndx: 0 is Device memory (MAIR_EL1 as the kernel has it).
                let kind = if leaf.memory & 0x1c == 0 { "device" } else { "normal" };
                let contiguous = if leaf.contiguous { " contiguous" } else { "" };
                format!("r{}{} {kind}{contiguous}", letter(leaf.writable, 'w'), letter(leaf.executable, 'x'))
            }
        };
        let would_break = cached.stale.then(|| format!("{:?}", Rule::StaleTranslation));
        let (va, pa) = (Hex(cached.va), Hex(cached.pa));
        Self { va, bytes: cached.bytes, pa, attributes, stale: cached.stale, would_break }
    }
}

/// What the audit says: of now, whatever the step.
#[derive(Serialize)]
struct Audit {
    summary: String,
    findings: Vec<String>,
}

fn audit(machine: &Machine) -> Audit {
    let mut findings = Vec::new();
    let summary = machine.kernel.mm.audit(&mut |finding| findings.push(finding.to_string())).to_string();
    Audit { summary, findings }
}
