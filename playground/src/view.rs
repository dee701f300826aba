//! Views of the machine: what a TLB may hold, and what the audit finds. The others are those of a machine that is looked at from
//! outside.

use hotmap_emulator::machine::recording::{Cached, Moment};
use hotmap_emulator::machine::violation::Rule;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::boot::Machine;
use crate::trace::Hex;

/// The view `name` of `of`, after step `at`.
///
/// # Errors
/// There is no such view, or no such step.
pub(crate) fn view(
    machine: &Machine,
    name: &str,
    of: Option<&str>,
    at: Option<i64>,
) -> Result<Box<RawValue>, String> {
    let moment = moment(machine, at)?;
    match name {
        "tlb" => json(&tlb(machine, moment)),
        "audit" => json(&audit(machine)),
        _ => Err(format!("there is no view {name} {}", of.unwrap_or_default())),
    }
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
