//! `dedup` and `state.dedup` against numbers computed by hand, and QEMU's walk to the frames of a compound page's
//! memmap.

use super::devices::{PMEM, machine};
use super::nvdimm::with_cold;
use super::test::{Test, per_granule, slotted};
use crate::eyes;
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During, failed};
use hotmap_client::geometry::{GIB, Granule};
use hotmap_client::guest::Guest;
use hotmap_client::machine::Boot;
use hotmap_client::run::Run;
use hotmap_client::state::State;
use hotmap_client::{ensure, ensure_eq};

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("dedup/device", a_device);
    tests.extend(per_granule("dedup/huge", a_huge_page));
    for granule in [Granule::K4, Granule::K16] {
        let body = move |run: &Run| a_gibibyte(run, granule);
        tests.push(Test::new(format!("dedup/gibibyte/{granule}"), body));
    }
    tests.push(Test::new("dedup/tebibyte/4k", a_tebibyte));
    tests
}

/// What `state` must have: shared frames, pages of vmemmap mapped to them, frames saved.
fn shares(state: &State, expected: (u64, u64, u64)) -> Checked {
    let dedup = &state.dedup;
    ensure_eq!((dedup.shared_pages, dedup.mappings, dedup.saved_pages), expected, "state.dedup");
    Ok(())
}

/// `dedup` has this row, with any number of blanks between cells.
fn has_row(guest: &mut Guest, row: &str) -> Checked {
    let table = guest.tell("dedup")?;
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    ensure!(table.lines().any(|line| cells(line) == cells(row)), "no row '{row}': {table}");
    Ok(())
}

/// A compound page's memmap: a frame of its own, and one frame for all other pages, where QEMU finds them.
fn has_picture(guest: &mut Guest, state: &State, head: u64, pages: u64) -> Checked {
    let text = guest.tell(&format!("dedup {head:#x}"))?;
    let sum = format!("{pages} pages of vmemmap, 2 frames behind them, 1 of these shared");
    ensure!(text.lines().last() == Some(&sum), "the picture's last line is not '{sum}': {text}");
    let va = |page: u64| state.struct_page(head) + page * state.granule;
    let own = eyes::translate(&mut guest.qmp, va(0))?;
    let tails = eyes::translate(&mut guest.qmp, va(1))?;
    let (Some(own), Some(tails)) = (own, tails) else { return failed("QEMU finds no memmap") };
    ensure!(own != tails, "the head's page is {tails:#x}, the tails' too");
    let rows =
        [(0, 0, own, "rw", "a frame of its own"), (1, pages - 1, tails, "r-", "one frame for all of them")];
    for (first, last, frame, rights, whose) in rows {
        let found = text.lines().any(|line| {
            line.trim_start().starts_with(&format!("{first}..{last} "))
                && line.contains(&format!("{frame:#x} {rights}  {whose}"))
        });
        ensure!(found, "no row of {first}..{last} at {frame:#x}: {text}");
    }
    // All of a few; of many the first, the last, and every 61st, which divides no table's size.
    for page in (1..pages).filter(|page| pages <= 64 || page % 61 == 1 || page + 1 == pages) {
        ensure_eq!(
            eyes::translate(&mut guest.qmp, va(page))?,
            Some(tails),
            "the frame of memmap page {page}"
        );
    }
    Ok(())
}

/// 1 GiB in compound pages of a block leaf's size: each has 2 frames for its 8 pages of memmap.
fn a_device(run: &Run, granule: Granule) -> Checked<String> {
    let (align, compounds, row) = match granule {
        Granule::K4 => ("2M", 512, "1 GiB 16 MiB 4 MiB 16 MiB 4 MiB"),
        Granule::K16 => ("32M", 32, "1 GiB 4 MiB 1 MiB 4 MiB 1 MiB"),
        Granule::K64 => ("512M", 2, "1 GiB 1 MiB 256 KiB 1 MiB 256 KiB"),
    };
    let mut guest = Guest::boot(run, &machine(Boot::Image, granule))?;
    let start = guest.state()?;
    shares(&start, (0, 0, 0)).during("before")?;
    guest.tell(&format!("dax create {PMEM:#x} --align {align}"))?;
    let state = guest.state()?;
    shares(&state, (compounds, compounds * 7, compounds * 6))?;
    has_row(&mut guest, &format!("device {PMEM:#x} {row}"))?;
    has_picture(&mut guest, &state, granule.pages(PMEM), 8)?;
    guest.tell(&format!("dax destroy {PMEM:#x}"))?;
    guest.tell(&format!("dax create {PMEM:#x} --align {align} --tail device"))?;
    shares(&guest.state()?, (1, compounds * 7, compounds * 7 - 1)).during("with one tail")?;
    guest.tell(&format!("dax destroy {PMEM:#x}"))?;
    shares(&guest.state()?, (0, 0, 0)).during("after")?;
    guest.finish()?;
    Ok(row.to_owned())
}

/// Three huge pages: each has 1 frame for its 8 pages of memmap, and they share one more.
fn a_huge_page(run: &Run, granule: Granule) -> Checked<String> {
    let (size, name, row) = match granule {
        Granule::K4 => ("2M", "2 MiB", "6 MiB 96 KiB 12 KiB 16 MiB 2 MiB"),
        Granule::K16 => ("32M", "32 MiB", "96 MiB 384 KiB 48 KiB 4 MiB 512 KiB"),
        Granule::K64 => ("512M", "512 MiB", "1536 MiB 1536 KiB 192 KiB 1 MiB 128 KiB"),
    };
    let mut guest = Guest::boot(run, &slotted(granule).memory("3G"))?;
    let start = guest.state()?;
    guest.tell(&format!("hugetlb {size} 3"))?;
    let state = guest.state()?;
    shares(&state, (1, 21, 20))?;
    has_row(&mut guest, &format!("huge pages of {name} {row}"))?;
    let heads = state.huge_pool(granule.huge_page_worth_sharing()).map(|pool| pool.heads.clone());
    for head in heads.unwrap_or_default() {
        has_picture(&mut guest, &state, head, 8)?;
        guest.tell(&format!("hugetlb restore {head:#x}"))?;
        let own = guest.tell(&format!("dedup {head:#x}"))?;
        let sum = "8 pages of vmemmap, 8 frames behind them, 0 of these shared";
        ensure!(own.lines().last() == Some(sum), "restored: {own}");
    }
    shares(&guest.state()?, (0, 0, 0)).during("after")?;
    guest.tell(&format!("hugetlb {size} 0"))?;
    ensure_eq!(guest.state()?.pages, start.pages, "pages at the end");
    guest.finish()?;
    Ok(row.to_owned())
}

/// A device of one compound page, and a huge page, of 1 GiB: 4096 pages of memmap at 4K, 256 at 16K.
fn a_gibibyte(run: &Run, granule: Granule) -> Checked<String> {
    let (pages, device, huge) = match granule {
        Granule::K4 => (4096, "1 GiB 16 MiB 8 KiB 16 MiB 8 KiB", "1 GiB 16 MiB 4 KiB 16 MiB 4 KiB"),
        _ => (256, "1 GiB 4 MiB 32 KiB 4 MiB 32 KiB", "1 GiB 4 MiB 16 KiB 4 MiB 16 KiB"),
    };
    let pmem = machine(Boot::Firmware, granule).append("memmap=ram");
    let mut guest = Guest::boot(run, &pmem)?;
    guest.plug_well(&Dimm::new("d0", GIB))?;
    guest.tell(&format!("dax create {PMEM:#x} --align 1G"))?;
    let state = guest.state()?;
    shares(&state, (1, pages - 1, pages - 2)).during("a device")?;
    has_row(&mut guest, &format!("device {PMEM:#x} {device}"))?;
    has_picture(&mut guest, &state, granule.pages(PMEM), pages)?;
    guest.tell(&format!("dax destroy {PMEM:#x}"))?;
    guest.tell("hugetlb 1G 1")?;
    let state = guest.state()?;
    shares(&state, (1, pages - 1, pages - 2)).during("a huge page")?;
    has_row(&mut guest, &format!("huge pages of 1 GiB {huge}"))?;
    let Some(head) = state.huge_pool(GIB).and_then(|pool| pool.heads.first().copied()) else {
        return failed("the pool has no page");
    };
    has_picture(&mut guest, &state, head, pages)?;
    guest.tell("hugetlb 1G 0")?;
    guest.finish()?;
    Ok(device.to_owned())
}

/// 8 MiB of struct pages instead of 16 GiB: 1024 compound pages of 4096 pages of memmap, with 2 frames each.
fn a_tebibyte(run: &Run) -> Checked<String> {
    let nvdimm = Dimm::nvdimm("n0", 1024 * GIB).unreserved();
    let mut guest = Guest::boot(run, &with_cold(Granule::K4, &[nvdimm]).memory("256M").maxmem("2T"))?;
    let Some(at) = guest.state()?.nvdimms.first().map(|nvdimm| nvdimm.start) else {
        return failed("there is no NVDIMM");
    };
    guest.tell(&format!("dax create {at:#x} --align 1G"))?;
    let state = guest.state()?;
    shares(&state, (1024, 1024 * 4095, 1024 * 4094))?;
    let row = "1 TiB 16 GiB 8 MiB 16 MiB 8 KiB";
    has_row(&mut guest, &format!("device {at:#x} {row}"))?;
    for head in [at, at + 700 * GIB, at + 1023 * GIB] {
        has_picture(&mut guest, &state, Granule::K4.pages(head), 4096)?;
    }
    guest.tell(&format!("dax destroy {at:#x}"))?;
    guest.finish()?;
    Ok(row.to_owned())
}
