//! Huge pages: pools from the shell and at boot, the cost of their memmap, and a DIMM that a huge page holds. QEMU's
//! walker tells to which frames the memmap is mapped.

use super::looking;
use super::test::{Test, per_granule, slotted};
use crate::eyes;
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During, Error, failed};
use hotmap_client::geometry::{GIB, Granule, MIB, PAGE_STRUCT_BYTES, size_text};
use hotmap_client::guest::{Guest, Unplug, run_to_end};
use hotmap_client::machine::Machine;
use hotmap_client::qemu::Exit;
use hotmap_client::run::Run;
use hotmap_client::state::State;
use hotmap_client::{ensure, ensure_eq};

/// Pages of memmap of a huge page that is worth sharing, at every granule.
const MEMMAP: u64 = 8;

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("hugetlb/pool", a_pool_shares_its_memmap);
    tests.extend(per_granule("hugetlb/at-boot", pools_are_set_aside_at_boot));
    tests.extend(per_granule("hugetlb/too-many", a_pool_keeps_what_it_got));
    for granule in [Granule::K4, Granule::K16] {
        let body = move |run: &Run| a_huge_page_holds_its_dimm(run, granule);
        tests.push(Test::new(format!("hugetlb/dimm/{granule}"), body));
    }
    for cpu in ["neoverse-n1", "max"] {
        let body = move |run: &Run| every_cpu_splits_and_joins(run, cpu);
        tests.push(Test::new(format!("hugetlb/cpu/{cpu}"), body));
    }
    tests.extend(per_granule("hugetlb/inject", every_allocation_fails_in_turn));
    tests
}

/// A pool's total, free and optimised pages.
fn pool(state: &State, size: u64) -> Option<(u64, u64, u64)> {
    state.huge_pool(size).map(|pool| (pool.total, pool.free, pool.optimised))
}

/// The frames behind the memmap of the huge page at `head`, by QEMU's walk of the guest's tables.
fn frames(guest: &mut Guest, state: &State, head: u64) -> Checked<Vec<u64>> {
    let start = state.vmemmap.start + (head - state.vmemmap.first_pfn) * PAGE_STRUCT_BYTES;
    let pages = (0..MEMMAP).map(|i| start + i * state.granule);
    pages
        .map(|va| {
            let frame = eyes::translate(&mut guest.qmp, va)?;
            frame.ok_or_else(|| Error::Failed(format!("{va:#x} is not mapped")))
        })
        .collect()
}

fn a_pool_shares_its_memmap(run: &Run, granule: Granule) -> Checked<String> {
    let (size, mut guest) = (granule.huge_page_worth_sharing(), Guest::boot(run, &slotted(granule))?);
    let start = guest.state()?;
    // Boot memory of 1 GiB has one free block, which 64K needs.
    let count = if granule == Granule::K64 { 1 } else { 4 };
    let text = size_text(size);
    guest.tell(&format!("hugetlb {text} {count}"))?;
    let state = guest.state()?;
    ensure_eq!(pool(&state, size), Some((count, count, count)), "the pool");
    ensure_eq!(state.pages.allocated - start.pages.allocated, count * size / granule.bytes(), "allocated");
    let saved = count * (MEMMAP - 1) - 1;
    ensure_eq!(start.pages.memmap_ram - state.pages.memmap_ram, saved, "pages of memmap less");
    let heads = state.huge_pool(size).map(|pool| pool.heads.clone()).unwrap_or_default();
    let mut shared = Vec::new();
    for head in &heads {
        let behind = frames(&mut guest, &state, *head)?;
        ensure!(behind[1..].iter().all(|frame| *frame == behind[1]), "frames of {head:#x}: {behind:x?}");
        ensure!(behind[0] != behind[1], "the head's page of {head:#x} is shared");
        shared.push(behind[1]);
    }
    ensure!(shared.iter().all(|frame| *frame == shared[0]), "one page for all: {shared:x?}");
    guest.tell("audit").during("with a pool")?;
    let head = heads[0];
    let lines = looking::dump_agrees(&mut guest, &state)?;
    ensure!(lines < 30, "ptdump prints {lines} lines");
    for pfn in [head, head + 1, head + size / granule.bytes() - 1] {
        looking::raw_agrees(&mut guest, &state, pfn)?;
    }
    let taken = guest.tell(&format!("hugetlb take {text}"))?;
    let refused = guest.tell_in_vain(&format!("hugetlb {text} 0"))?;
    ensure!(refused.contains("1 huge pages of") && refused.contains("in use"), "{refused}");
    let pfn = taken.split_whitespace().nth(1).unwrap_or_default().to_owned();
    guest.tell(&format!("hugetlb put {pfn}"))?;
    guest.tell(&format!("hugetlb restore {head:#x}"))?;
    let own = frames(&mut guest, &state, head)?;
    let mut distinct = own.clone();
    distinct.sort_unstable();
    distinct.dedup();
    ensure_eq!(distinct.len(), own.len(), "frames of a restored page");
    guest.tell_in_vain(&format!("hugetlb restore {head:#x}"))?;
    guest.tell("audit").during("with a page restored")?;
    guest.tell(&format!("hugetlb {text} 0"))?;
    ensure_eq!(guest.state()?.pages, start.pages, "pages at the end");
    guest.finish()?;
    Ok(format!("{saved} pages of memmap saved by {count} pages of {text}"))
}

fn pools_are_set_aside_at_boot(run: &Run, granule: Granule) -> Checked<String> {
    let machine = slotted(granule).append("hugepages=2M:5,3M:1 hvo=off run=\"audit; state\"");
    let finished = run_to_end(run, &machine)?;
    ensure_eq!(finished.exit, Exit::FINE, "a size that there is none of stops nothing");
    ensure_eq!(pool(&finished.state()?, 2 * MIB), Some((5, 5, 0)), "the pool");
    let line = finished.line("that names the size", |line| line.contains("3 MiB is no huge page size"))?;
    let many = run_to_end(run, &slotted(granule).append("hugepages=2M:100000 run=state"))?;
    let total = pool(&many.state()?, 2 * MIB).map_or(0, |(total, ..)| total);
    ensure!((256..512).contains(&total), "{total} pages of 2 MiB in 1 GiB");
    many.line("that says how many", |line| line.contains(&format!("huge pages: {total} of 2 MiB")))?;
    Ok(line.to_owned())
}

/// As Linux's `nr_hugepages`: the pool keeps the pages that it got, and the error says how many and why not more.
fn a_pool_keeps_what_it_got(run: &Run, granule: Granule) -> Checked<String> {
    let (size, mut guest) = (granule.huge_page_worth_sharing(), Guest::boot(run, &slotted(granule))?);
    let (start, text) = (guest.state()?, size_text(size));
    let sentence = guest.tell_in_vain(&format!("hugetlb {text} 999999"))?;
    let state = guest.state()?;
    let total = pool(&state, size).map_or(0, |(total, ..)| total);
    ensure!(total > 0, "no huge page of {text} in 1 GiB");
    ensure!(state.pages.allocated > start.pages.allocated, "the pool's pages are not allocated");
    let wanted = format!("{total} huge pages of {} MiB, not 999999: ", size / MIB);
    ensure!(sentence.contains(&wanted) && sentence.ends_with("(ENOMEM)"), "not '{wanted}': {sentence}");
    guest.tell("audit").during("with all that the pool got")?;
    guest.tell(&format!("hugetlb {text} 0"))?;
    ensure_eq!(guest.state()?.pages, start.pages, "pages at the end");
    guest.finish()?;
    Ok(sentence)
}

/// A huge page as large as a DIMM: 1 GiB, with one page of memmap of its own.
fn a_huge_page_holds_its_dimm(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule).append("memmap=ram"))?;
    let start = guest.state()?;
    guest.tell_in_vain("hugetlb 1G 1").during("boot memory has no whole GiB")?;
    let dimm = Dimm::new("d0", GIB);
    let plugged = guest.plug_well(&dimm)?;
    let before = guest.state()?;
    guest.tell("hugetlb 1G 1")?;
    let state = guest.state()?;
    ensure_eq!(pool(&state, GIB), Some((1, 1, 1)), "the pool");
    let memmap = GIB / granule.bytes() * PAGE_STRUCT_BYTES / granule.bytes();
    ensure_eq!(before.pages.memmap_ram - state.pages.memmap_ram, memmap - 2, "pages of memmap less");
    let head = granule.pages(plugged.address);
    let last = head + granule.pages(GIB) - 1;
    ensure!(guest.tell(&format!("page {last:#x}"))?.contains("huge page"), "the last page is a huge page's");
    guest.tell("audit").during("with a page of 1 GiB")?;
    guest.tell("hugetlb take 1G")?;
    match guest.unplug(&dimm)? {
        Unplug::Gone => return failed("the DIMM was unplugged with a huge page in use"),
        Unplug::Refused(status) => ensure!(status != 0, "a refusal with status 0"),
    }
    ensure_eq!(pool(&guest.state()?, GIB), Some((1, 0, 1)), "the pool after the refusal");
    guest.tell(&format!("hugetlb put {head:#x}"))?;
    guest.unplug_well(&dimm).during("with a free huge page in it")?;
    ensure_eq!(guest.state()?.pages, start.pages, "pages at the end");
    guest.finish()?;
    Ok(format!("{memmap} pages of memmap were 2"))
}

/// On a CPU without FEAT_BBM and one with level 2, a block leaf of memmap is split and joined many times.
fn every_cpu_splits_and_joins(run: &Run, cpu: &str) -> Checked<String> {
    let mut guest = Guest::boot(run, &Machine::firmware().granule(Granule::K4).cpu(cpu))?;
    let start = guest.state()?;
    for _ in 0..4 {
        guest.tell("hugetlb 2M 70")?;
        let state = guest.state()?;
        ensure_eq!(pool(&state, 2 * MIB), Some((70, 70, 70)), "the pool");
        ensure!(state.pages.tables > start.pages.tables, "no block of memmap was split");
        guest.tell("audit")?;
        guest.tell("hugetlb 2M 0")?;
        ensure_eq!(guest.state()?.pages, start.pages, "pages at the end");
    }
    guest.finish()?;
    Ok(String::new())
}

fn every_allocation_fails_in_turn(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule))?;
    let text = size_text(granule.huge_page_worth_sharing());
    guest.tell(&format!("hugetlb {text} 1"))?;
    let shared = guest.state()?;
    let head = shared.dedup.hugetlb.iter().find_map(|pool| pool.heads.first().copied()).unwrap_or(0);
    let mut fired = 0;
    for site in 1..=MEMMAP {
        guest.tell(&format!("inject alloc {site}"))?;
        let reply = guest.ask(&format!("hugetlb restore {head:#x}"))?;
        guest.tell("audit")?;
        if reply.error().is_some() {
            fired += 1;
            ensure_eq!(guest.state()?.pages, shared.pages, "pages after a restore that ran out");
        } else {
            break;
        }
    }
    ensure_eq!(fired, MEMMAP - 1, "allocations of a restore");
    guest.tell("inject off")?;
    guest.tell(&format!("hugetlb {text} 0"))?;
    guest.finish()?;
    Ok(String::new())
}
