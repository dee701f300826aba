//! A pinned page keeps its DIMM: the refusal names the page, and without the pin the DIMM can be unplugged.

use super::life::is_listed_online;
use super::test::{Test, per_granule, slotted};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During, failed};
use hotmap_client::geometry::Granule;
use hotmap_client::guest::{Guest, Unplug};
use hotmap_client::run::Run;
use hotmap_client::state::Memmap;
use hotmap_client::{ensure, ensure_eq};

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("pinned/free-page", |run, granule| held_by_one_page(run, granule, false));
    tests.extend(per_granule("pinned/tenant-page", |run, granule| held_by_one_page(run, granule, true)));
    tests
}

fn held_by_one_page(run: &Run, granule: Granule, tenants: bool) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule))?;
    let start = guest.state()?;
    // Two blocks, the pin in the second: the first is offline already when the second refuses.
    let dimm = Dimm::new("d0", 2 * granule.block());
    let plugged = guest.plug_well(&dimm)?;
    if tenants {
        // Allocation takes the newest block first: all of the second block is in use, and a part of the first.
        guest.tell(&format!("tenant new {}", granule.usable_pages_per_block() + 64))?;
    }
    let pfn = granule.pages(plugged.address + granule.block() + granule.block() / 2);
    guest.tell(&format!("pin {pfn:#x}"))?;
    let pinned = guest.state()?;

    let before = guest.position();
    let status = match guest.unplug(&dimm)? {
        Unplug::Gone => return failed("the DIMM was unplugged with a pinned page"),
        Unplug::Refused(status) => status,
    };
    ensure!(status != 0, "a refusal with status 0");
    let reason = names_the_page(&mut guest, before, pfn)?;
    let refused = guest.state()?;
    is_listed_online(&refused, plugged, granule, Memmap::SelfHosted).during("after the refusal")?;
    ensure_eq!(refused.pages.present, pinned.pages.present, "present pages after the refusal");
    ensure_eq!(refused.pages.free, pinned.pages.free, "free pages after the refusal");
    ensure_eq!(refused.tenant_pages(), pinned.tenant_pages(), "tenant pages after the refusal");
    guest.tell("tenant check").during("after the refusal")?;
    guest.tell("audit").during("after the refusal")?;

    guest.tell(&format!("unpin {pfn:#x}"))?;
    guest.unplug_well(&dimm).during("after unpin")?;
    guest.tell("tenant check").during("after the unplug")?;
    guest.tell("tenant drop")?;
    let end = guest.state()?;
    ensure_eq!(end.pages, start.pages, "pages at the end");
    guest.finish()?;
    Ok(reason)
}

/// The guest's log names the page and the reason.
fn names_the_page(guest: &mut Guest, since: usize, pfn: u64) -> Checked<String> {
    // After a command's reply the log line has been printed.
    guest.tell("dimms")?;
    let text = guest.text_since(since);
    let names = |line: &&str| line.contains(&format!("{pfn:#x}")) || line.contains(&pfn.to_string());
    match text.lines().find(|line| names(line) && line.contains("pinned")) {
        Some(line) => Ok(line.trim().to_owned()),
        None => failed(format!("no message names pfn {pfn:#x} and says that it is pinned: {text}")),
    }
}
