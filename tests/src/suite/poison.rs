//! A poisoned page is out of use, its contents have been migrated, and its DIMM can be pulled. `compact` beside it.

use super::test::{Test, per_granule, slotted};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During};
use hotmap_client::geometry::Granule;
use hotmap_client::guest::Guest;
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("poison/dimm", a_dimm_with_a_poisoned_page_can_be_pulled);
    tests.extend(per_granule("poison/compact", a_run_is_there_or_is_made));
    tests
}

fn a_dimm_with_a_poisoned_page_can_be_pulled(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule))?;
    let start = guest.state()?;
    let dimm = Dimm::new("d0", granule.block());
    let plugged = guest.plug_well(&dimm)?;
    // All that the block has is a tenant's, so the page in its middle is.
    guest.tell(&format!("tenant new {}", granule.usable_pages_per_block()))?;
    let full = guest.state()?;
    let pfn = granule.pages(plugged.address + granule.block() / 2);
    let said = guest.tell(&format!("poison {pfn:#x}"))?;
    ensure!(said.contains("moved to "), "where is the tenant's page? {said}");
    guest.tell("tenant check").during("after a page moved away")?;
    let poisoned = guest.state()?;
    ensure_eq!(poisoned.pages.reserved, full.pages.reserved + 1, "reserved pages");
    ensure_eq!(poisoned.pages.allocated, full.pages.allocated, "allocated pages");
    let said = guest.tell(&format!("page {pfn:#x}"))?;
    ensure!(said.contains("poisoned"), "page says {said}");
    guest.tell("tenant drop")?;
    guest.tell("audit").during("with a poisoned page")?;

    // Offline and online again it is still out of use.
    let block = plugged.address;
    guest.tell(&format!("offline {block:#x}"))?;
    guest.tell("audit").during("with a poisoned page in a block that is offline")?;
    ensure_eq!(guest.state()?.pages.reserved, start.pages.reserved, "reserved pages, the block offline");
    guest.tell(&format!("online {block:#x} movable"))?;
    guest.tell("audit").during("with a poisoned page in a block that is online again")?;
    ensure_eq!(guest.state()?.pages.reserved, start.pages.reserved + 1, "reserved pages, online again");
    let own = granule.pages(plugged.address);
    let sentence = guest.tell_in_vain(&format!("poison {own:#x}"))?;
    ensure!(sentence.contains("memmap (self-hosted) memory is unmovable"), "its own memmap: {sentence}");
    guest.tell_in_vain(&format!("poison {pfn:#x}"))?;
    guest.tell(&format!("unpoison {pfn:#x}"))?;
    guest.tell_in_vain(&format!("unpoison {pfn:#x}"))?;
    guest.tell(&format!("poison {pfn:#x}"))?;
    guest.unplug_well(&dimm).during("with a poisoned page")?;
    ensure_eq!(guest.state()?.pages, start.pages, "pages without the DIMM");
    guest.plug_well(&dimm)?;
    let said = guest.tell(&format!("page {pfn:#x}"))?;
    ensure!(!said.contains("poisoned"), "another DIMM is not poisoned: {said}");
    guest.unplug_well(&dimm).during("with nothing poisoned")?;
    ensure_eq!(guest.state()?.pages, start.pages, "pages at the end");
    guest.finish()?;
    Ok(String::new())
}

fn a_run_is_there_or_is_made(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule))?;
    let start = guest.state()?;
    let said = guest.tell("compact")?;
    ensure!(said.contains("pages moved: 0"), "a machine that is nearly empty: {said}");
    for size in ["0", "3", "2M", "4M"] {
        guest.tell(&format!("compact {size}"))?;
    }
    ensure_eq!(guest.state()?.pages, start.pages, "pages after looking for runs");
    for nonsense in ["compact 200", "compact 64G", "compact x"] {
        guest.tell_in_vain(nonsense)?;
    }
    guest.finish()?;
    Ok(said.trim().to_owned())
}
