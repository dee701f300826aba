//! Memory that is not zero: each byte of the DIMM is 0xa5 before it is plugged.

use super::looking;
use super::matrix::plan_is_kept;
use super::test::{Test, per_granule, slotted};
use hotmap_client::dimm::Dimm;
use hotmap_client::ensure;
use hotmap_client::error::{Checked, During, Error};
use hotmap_client::geometry::Granule;
use hotmap_client::guest::Guest;
use hotmap_client::qemu::Exit;
use hotmap_client::run::Run;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The byte that fills it.
const FILL: u8 = 0xa5;

pub(super) fn tests() -> Vec<Test> {
    per_granule("prefilled", struct_pages_are_clean)
}

fn struct_pages_are_clean(run: &Run, granule: Granule) -> Checked<String> {
    let size = granule.block();
    let file = run.filled_file("dimm", size, FILL)?;
    let mut guest = Guest::boot(run, &slotted(granule))?;
    let start = guest.state()?;
    let dimm = Dimm::new("d0", size).on_file(file.clone());
    let plugged = guest.plug_well(&dimm)?;
    let state = guest.state()?;
    // The file is the DIMM, so the host can read all of its memmap ...
    let dirty = filled_words(&file, granule.memmap_per_block())?;
    ensure!(
        dirty.is_none(),
        "struct page at byte {:#x} of the DIMM still holds {FILL:#x}",
        dirty.unwrap_or(0)
    );
    // ... and it is what the guest has.
    for pfn in [0, 1, granule.pages(size) / 2, granule.pages(size) - 1] {
        let words = looking::struct_page_words(&mut guest, &state, granule.pages(plugged.address) + pfn)?;
        ensure!(
            !words.contains(&u64::from_ne_bytes([FILL; 8])),
            "struct page of pfn {pfn} of the DIMM: {words:x?}"
        );
    }
    guest.tell("audit").during("with the filled DIMM online")?;
    uses_every_page(&mut guest, &state, granule)?;
    let reply = guest.tell("selftest").during("with the filled DIMM online")?;
    let plan = plan_is_kept(&reply, Exit::FINE)?;
    guest.unplug_well(&dimm)?;
    let end = guest.state()?;
    hotmap_client::ensure_eq!(end.pages, start.pages, "pages after the filled DIMM");
    guest.finish()?;
    Ok(format!("{} bytes of memmap without {FILL:#x}; {plan}", granule.memmap_per_block()))
}

/// Tenants in all of it, so that every struct page is used once.
fn uses_every_page(guest: &mut Guest, state: &hotmap_client::state::State, granule: Granule) -> Checked {
    ensure!(state.tenant_pages() == 0, "tenants before any were made");
    guest.tell(&format!("tenant new {}", granule.usable_pages_per_block()))?;
    guest.tell("tenant check")?;
    guest.tell("audit").during("with tenants on the filled DIMM")?;
    guest.tell("tenant drop").map(drop)
}

/// The offset of the first 8-byte word, in the first `length` bytes of the file, that still is the fill.
fn filled_words(file: &Path, length: u64) -> Checked<Option<u64>> {
    let cannot = |error: std::io::Error| Error::Unknown(format!("cannot read {}: {error}", file.display()));
    let mut bytes = Vec::new();
    File::open(file).map_err(cannot)?.take(length).read_to_end(&mut bytes).map_err(cannot)?;
    let at = bytes.chunks_exact(8).position(|word| word.iter().all(|&byte| byte == FILL));
    Ok(at.map(|index| index as u64 * 8))
}
