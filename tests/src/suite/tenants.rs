//! Pages in use: tenants fill a DIMM, so that unplugging it migrates pages.

use super::test::{Test, per_granule, slotted};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During};
use hotmap_client::geometry::Granule;
use hotmap_client::guest::{Guest, Plugged};
use hotmap_client::run::Run;
use hotmap_client::state::State;
use hotmap_client::{ensure, ensure_eq};

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("tenants/migrate", unplug_migrates_pages_in_use);
    tests.extend(per_granule("tenants/no-room", a_dimm_stays_if_its_pages_cannot_migrate));
    tests
}

fn tenants_in(state: &State, plugged: Plugged) -> u64 {
    state.blocks_in(plugged.address, plugged.size).iter().map(|block| block.tenant_pages).sum()
}

/// The whole DIMM is in use; it is unplugged, and every tenant page is migrated with its contents.
fn unplug_migrates_pages_in_use(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule))?;
    let start = guest.state()?;
    let dimm = Dimm::new("d0", granule.block());
    let plugged = guest.plug_well(&dimm)?;
    let count = granule.usable_pages_per_block();
    guest.tell(&format!("tenant new {count}"))?;
    let full = guest.state()?;
    ensure_eq!(tenants_in(&full, plugged), count, "tenant pages in the DIMM, the newest Movable memory");
    guest.tell("tenant check").during("before the move")?;
    guest.tell("audit").during("with the DIMM full")?;

    guest.unplug_well(&dimm)?;
    let moved = guest.state()?;
    ensure_eq!(moved.tenant_pages(), count, "tenant pages after the move");
    ensure!(moved.blocks.iter().all(|block| block.source == "boot"), "the DIMM's block is still there");
    ensure_eq!(moved.pages.present, start.pages.present, "present pages after the unplug");
    guest.tell("tenant check").during("after the move")?;
    guest.tell("audit").during("after the move")?;

    guest.tell("tenant drop")?;
    let end = guest.state()?;
    ensure_eq!(end.pages, start.pages, "pages after the tenants left");
    guest.finish()?;
    Ok(format!("{count} pages moved"))
}

/// More tenant pages than boot RAM has room for: the removal is refused, nothing changes, and it succeeds once there is
/// room.
fn a_dimm_stays_if_its_pages_cannot_migrate(run: &Run, granule: Granule) -> Checked<String> {
    let (memory, blocks) = if granule == Granule::K64 { ("512M", 2) } else { ("256M", 3) };
    let mut guest = Guest::boot(run, &slotted(granule).memory(memory))?;
    let dimm = Dimm::new("d0", blocks * granule.block());
    let plugged = guest.plug_well(&dimm)?;
    let count = blocks * granule.usable_pages_per_block();
    guest.tell(&format!("tenant new {count}"))?;
    let full = guest.state()?;
    match guest.unplug(&dimm)? {
        hotmap_client::guest::Unplug::Gone => {
            return hotmap_client::error::failed("the DIMM was unplugged although its pages had no place");
        }
        hotmap_client::guest::Unplug::Refused(status) => ensure!(status != 0, "refused with status 0"),
    }
    let after = guest.state()?;
    ensure_eq!(after.pages.present, full.pages.present, "present pages after the refusal");
    ensure_eq!(after.tenant_pages(), count, "tenant pages after the refusal");
    super::life::is_listed_online(&after, plugged, granule, hotmap_client::state::Memmap::SelfHosted)?;
    guest.tell("tenant check").during("after the refusal")?;
    guest.tell("audit").during("after the refusal")?;
    guest.tell("tenant drop")?;
    guest.unplug_well(&dimm).during("with room")?;
    guest.finish()?;
    Ok(format!("{count} pages stayed"))
}
