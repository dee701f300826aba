//! DIMMs that are refused: the message names the rule, nothing changes, and the next DIMM is accepted.

use super::life::is_listed_online;
use super::test::{Test, per_granule, slotted};
use crate::report::Remark;
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During, failed};
use hotmap_client::geometry::{GIB, Granule, MIB};
use hotmap_client::guest::{Guest, Plugged};
use hotmap_client::qmp::Refusal;
use hotmap_client::run::Run;
use hotmap_client::state::{Memmap, State};
use hotmap_client::{ensure, ensure_eq};

/// An address beyond the 48-bit linear map, which is 128 TiB from the base of RAM.
const OUT_OF_REACH: u64 = (1 << 47) + (1 << 42);

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("refused/unaligned-base", unaligned_base);
    tests.extend(per_granule("refused/small", too_small));
    tests.extend(per_granule("refused/out-of-reach", out_of_reach));
    tests
}

/// The rule in the message.
fn alignment_rule(granule: Granule) -> &'static str {
    match granule {
        Granule::K4 | Granule::K16 => "is not aligned to the 128 MiB memory block",
        Granule::K64 => "is not aligned to the 512 MiB memory block",
    }
}

/// Whole blocks long, but 2 MiB off.
fn unaligned_base(run: &Run, granule: Granule) -> Checked<String> {
    let dimm = Dimm::new("odd", granule.block()).at(2 * GIB + 2 * MIB);
    refusal(run, granule, &dimm, alignment_rule(granule))
}

/// Aligned, but 64 MiB long.
fn too_small(run: &Run, granule: Granule) -> Checked<String> {
    refusal(run, granule, &Dimm::new("odd", 64 * MIB), alignment_rule(granule))
}

fn refusal(run: &Run, granule: Granule, dimm: &Dimm, rule: &str) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule))?;
    let reason = is_refused(&mut guest, dimm, rule)?;
    a_good_one_still_works(&mut guest, granule)?;
    guest.finish()?;
    Ok(reason)
}

/// Plugs `dimm`, checks how it is refused, ejects it, and compares with the start.
fn is_refused(guest: &mut Guest, dimm: &Dimm, rule: &str) -> Checked<String> {
    let start = guest.state()?;
    let before = guest.position();
    let plugged = guest.plug(dimm)?;
    ensure!(plugged.status != 0, "{} at {:#x} was taken", dimm.id, plugged.address);
    let state = guest.state()?;
    nothing_changed(&start, &state)?;
    let listed = state.dimm(plugged.slot).map(|dimm| dimm.state.as_str());
    ensure_eq!(listed, Some("refused"), "the DIMM in slot {}", plugged.slot);
    let text = guest.text_since(before);
    let Some(reason) = text.lines().find(|line| line.contains(rule)) else {
        return failed(format!("no message says '{rule}': {text}"));
    };
    ensure!(
        reason.contains(&format!("{:#x}", plugged.address)),
        "the message does not name the range: {reason}"
    );
    guest.unplug_well(dimm).during("ejecting the refused DIMM")?;
    let end = guest.state()?;
    nothing_changed(&start, &end)?;
    ensure!(end.dimms.is_empty(), "the ejected DIMM is still listed");
    Ok(reason.trim().to_owned())
}

pub(super) fn nothing_changed(start: &State, now: &State) -> Checked {
    ensure_eq!(now.pages, start.pages, "pages after a refused DIMM");
    ensure_eq!(now.blocks, start.blocks, "blocks after a refused DIMM");
    ensure_eq!(now.zones, start.zones, "zones after a refused DIMM");
    Ok(())
}

fn a_good_one_still_works(guest: &mut Guest, granule: Granule) -> Checked {
    let start = guest.state()?;
    let dimm = Dimm::new("good", granule.block()).at(4 * GIB);
    let plugged: Plugged = guest.plug_well(&dimm).during("after a refused DIMM")?;
    is_listed_online(&guest.state()?, plugged, granule, Memmap::SelfHosted)?;
    guest.unplug_well(&dimm)?;
    let end = guest.state()?;
    ensure_eq!(end.pages, start.pages, "pages after the good DIMM");
    Ok(())
}

/// Beyond what the linear map can show. The machine needs more than 47 bits of physical address for it.
fn out_of_reach(run: &Run, granule: Granule) -> Checked<Remark> {
    let machine = slotted(granule).cpu("max").maxmem("200T");
    let mut guest = Guest::boot(run, &machine)?;
    let dimm = Dimm::new("far", granule.block()).at(OUT_OF_REACH);
    // QEMU itself may refuse the address: that says nothing about the guest.
    if let Err(Refusal::Refused(why)) = dimm.plug(&mut guest.qmp) {
        return Ok(Remark::Skipped(format!("QEMU cannot place a DIMM at {OUT_OF_REACH:#x}: {why}")));
    }
    let info = dimm.find(&mut guest.qmp)?;
    let slot = info.and_then(|info| u64::try_from(info.slot).ok()).unwrap_or_default();
    let plugged = Plugged { address: OUT_OF_REACH, size: granule.block(), slot, status: 0 };
    let plugged = guest.await_insertion(&dimm, plugged)?;
    ensure!(plugged.status != 0, "a DIMM at {OUT_OF_REACH:#x} was taken");
    let state = guest.state()?;
    ensure_eq!(state.dimm(slot).map(|dimm| dimm.state.as_str()), Some("refused"), "the far DIMM");
    let text = guest.text();
    let Some(reason) = text.lines().find(|line| line.contains("linear map")) else {
        return failed("no message names the linear map's reach");
    };
    let reason = reason.trim().to_owned();
    guest.unplug_well(&dimm).during("ejecting the far DIMM")?;
    a_good_one_still_works(&mut guest, granule)?;
    guest.finish()?;
    Ok(reason.into())
}
