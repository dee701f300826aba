//! Devices in compound pages: which pages of their memmap have a frame of their own, in RAM and in an altmap, at each
//! granule; and 1 TiB in a guest with 256 MiB.

use super::devices::{Home, PMEM, all_is_as_before, machine};
use super::looking;
use super::nvdimm::with_cold;
use super::test::{Test, per_granule};
use crate::eyes;
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During, failed};
use hotmap_client::geometry::{GIB, Granule, MIB, PAGE_STRUCT_BYTES};
use hotmap_client::guest::{Guest, run_to_end};
use hotmap_client::machine::{Boot, Machine};
use hotmap_client::qemu::Exit;
use hotmap_client::run::Run;
use hotmap_client::state::State;
use hotmap_client::{ensure, ensure_eq};

const TIB: u64 = 1024 * GIB;

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("dax/compound", two_pages_of_each_have_memory);
    tests.extend(per_granule("dax/align", what_is_no_compound_page));
    tests.push(Test::new("dax/tebibyte/4k", a_tebibyte_in_256_mebibytes));
    tests.push(Test::new("dax/tebibyte/4k/cost", a_tebibyte_costs_little));
    tests
}

/// A device of 1 GiB, computed by hand.
struct Expected {
    home: Home,
    tail: &'static str,
    /// The offset of its first compound page.
    usable: u64,
    /// Pages of memmap: in RAM, or in the altmap, with those for the altmap itself.
    memmap: u64,
}

/// The size of a compound page, a block leaf's, and the devices of it. At 4K the altmap is at least 6 MiB: 3 times 8
/// pages, and 2 for each of 509 compound pages. At 64K one compound page of two is set aside.
fn cases(granule: Granule) -> (u64, [Expected; 4]) {
    let case = |home, tail, usable, memmap| Expected { home, tail, usable: usable * MIB, memmap };
    let of = |in_ram: [u64; 2], aside: [u64; 2], in_altmap: [u64; 2]| {
        [
            case(Home::Ram, "page", 0, in_ram[0]),
            case(Home::Ram, "device", 0, in_ram[1]),
            case(Home::Device, "page", aside[0], in_altmap[0]),
            case(Home::Device, "device", aside[1], in_altmap[1]),
        ]
    };
    match granule {
        Granule::K4 => (2 * MIB, of([1024, 513], [6, 4], [24 + 2 * 509, 16 + 511])),
        Granule::K16 => (32 * MIB, of([64, 33], [32, 32], [8 + 2 * 31, 8 + 32])),
        Granule::K64 => (512 * MIB, of([4, 3], [512, 512], [8 + 2, 8 + 2])),
    }
}

fn two_pages_of_each_have_memory(run: &Run, granule: Granule) -> Checked<String> {
    let (align, cases) = cases(granule);
    let mut guest = Guest::boot(run, &machine(Boot::Image, granule))?;
    let start = guest.state()?;
    for Expected { home, tail, usable, memmap } in cases {
        let options = format!("--align {}M --map {} --tail {tail}", align / MIB, home.word());
        guest.tell(&format!("dax create {PMEM:#x} {options}"))?;
        let state = guest.state()?;
        let [device] = &state.devices[..] else { return failed(format!("devices: {:?}", state.devices)) };
        ensure_eq!((device.align, device.dedup), (align, true), "the device, {options}");
        ensure_eq!(device.usable_start, PMEM + usable, "its first usable byte, {options}");
        let in_ram = state.pages.memmap_ram - start.pages.memmap_ram;
        let own = device.altmap.map_or(0, |altmap| altmap.alloc);
        let free = device.altmap.map_or(0, |altmap| altmap.free);
        let should = if home == Home::Ram { (memmap, 0, 0) } else { (0, memmap, memmap) };
        ensure_eq!((in_ram, own, free), should, "pages of memmap, {options}");
        for head in [PMEM + usable, PMEM + GIB - align] {
            let (frame, tails) = look_at_compound(&mut guest, &state, granule, head, align)?;
            for frame in [frame, tails] {
                let set_aside = (PMEM..PMEM + usable).contains(&frame);
                ensure_eq!(set_aside, home == Home::Device, "frame {frame:#x} is set aside, {options}");
            }
        }
        let lines = looking::dump_agrees(&mut guest, &state)?;
        ensure!(lines < 20, "ptdump prints {lines} lines, {options}");
        looking::raw_agrees(&mut guest, &state, granule.pages(PMEM + usable))?;
        let list = guest.tell("dax list")?;
        let compounds = (GIB - usable) / align;
        let tails = if tail == "page" { compounds } else { 1 };
        let line = format!("align {} MiB, dedup yes, tail pages {tails}", align / MIB);
        ensure!(list.contains(&line), "'dax list' does not say '{line}': {list}");
        guest.tell("audit").during(&options)?;
        guest.tell(&format!("dax destroy {PMEM:#x}"))?;
        all_is_as_before(&mut guest, &start).during(&options)?;
    }
    guest.finish()?;
    Ok(String::new())
}

/// QEMU finds a compound page's head in a frame of its own, and its first and last tail in another frame, which records
/// the order alone. Returns both frames.
fn look_at_compound(
    guest: &mut Guest,
    state: &State,
    granule: Granule,
    head: u64,
    size: u64,
) -> Checked<(u64, u64)> {
    let (head, pages) = (granule.pages(head), granule.pages(size));
    let per_page = granule.bytes() / PAGE_STRUCT_BYTES;
    let mut frames = Vec::new();
    for pfn in [head, head + per_page, head + pages - per_page] {
        match eyes::translate(&mut guest.qmp, state.struct_page(pfn))? {
            Some(frame) => frames.push(frame),
            None => return failed(format!("QEMU finds no struct page of pfn {pfn:#x}")),
        }
    }
    ensure!(frames[0] != frames[1] && frames[1] == frames[2], "the memmap of pfn {head:#x}: {frames:#x?}");
    let order = u64::from(pages.ilog2());
    let second = looking::struct_page_words(guest, state, head + pages - 1)?;
    ensure_eq!(second, [order << 8, 0, 0, 0, 0, 0, 0, 0], "the last tail of pfn {head:#x}");
    let first = looking::struct_page_words(guest, state, head)?;
    // Kind 11: a page of a device.
    ensure_eq!(first[0], order << 8 | 11, "the head, pfn {head:#x}");
    Ok((frames[0], frames[1]))
}

/// A size that the granule does not have, and ranges that are not whole compound pages; small ones share nothing, and
/// the message says why.
fn what_is_no_compound_page(run: &Run, granule: Granule) -> Checked<String> {
    let (align, _) = cases(granule);
    let (small, sizes) = match granule {
        Granule::K4 => ("64K", "4k granule are not 3 MiB, but 4 KiB, 64 KiB, 2 MiB, 32 MiB, 1 GiB"),
        Granule::K16 => ("2M", "16k granule are not 3 MiB, but 16 KiB, 2 MiB, 32 MiB, 1 GiB, 64 GiB"),
        Granule::K64 => ("2M", "64k granule are not 3 MiB, but 64 KiB, 2 MiB, 512 MiB, 16 GiB, 4 TiB"),
    };
    let mut guest = Guest::boot(run, &machine(Boot::Image, granule))?;
    let start = guest.state()?;
    let (end, align_text) = (PMEM + align, format!("{}M", align / MIB));
    let one = format!("{PMEM:#x}..{end:#x}");
    let cases = [
        (format!("{PMEM:#x} --align 3M"), sizes.to_owned()),
        (
            format!("{:#x},{align_text} --align {align_text}", PMEM + align / 2),
            if granule == Granule::K4 { "is not aligned to the 2 MiB subsection" } else { "compound page" }
                .into(),
        ),
        (
            format!("{PMEM:#x},{align_text} --align {align_text} --map dev"),
            format!("what {one} sets aside for its memmap leaves no compound page of {} MiB", align / MIB),
        ),
        (format!("{PMEM:#x} --align 2M --tail none"), "expected page or device after --tail".into()),
    ];
    for (options, rule) in cases {
        let refused = guest.tell_in_vain(&format!("dax create {options}"))?;
        ensure!(refused.contains(&rule), "'dax create {options}' says '{refused}', should say '{rule}'");
    }
    let said = guest.tell(&format!("dax create {PMEM:#x} --align {small}"))?;
    let why = "dedup no: the memmap of a compound page is two pages or less";
    ensure!(said.contains(why), "compound pages of {small}: {said}");
    guest.tell("audit")?;
    guest.tell(&format!("dax destroy {PMEM:#x}"))?;
    all_is_as_before(&mut guest, &start)?;
    guest.finish()?;
    Ok(String::new())
}

fn with_a_tebibyte() -> Machine {
    let nvdimm = Dimm::nvdimm("n0", TIB).unreserved();
    with_cold(Granule::K4, &[nvdimm]).memory("256M").maxmem("2T")
}

/// 8 MiB of struct pages instead of 16 GiB, and at most 9 MiB of tables; all of it is freed.
fn a_tebibyte_in_256_mebibytes(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &with_a_tebibyte())?;
    let start = guest.state()?;
    let [nvdimm] = &start.nvdimms[..] else { return failed("there is no NVDIMM") };
    let (at, mut notes) = (nvdimm.start, Vec::new());
    for (tail, memmap) in [("page", 2048), ("device", 1025)] {
        guest.tell(&format!("dax create {at:#x} --align 1G --tail {tail}"))?;
        let state = guest.state()?;
        ensure_eq!(state.pages.memmap_ram - start.pages.memmap_ram, memmap, "pages of memmap, {tail}");
        let tables = state.pages.tables - start.pages.tables;
        ensure!(tables * 4096 <= 9 * MIB, "{tables} tables, {tail}");
        for head in [at, at + 517 * GIB, at + TIB - GIB] {
            look_at_compound(&mut guest, &state, Granule::K4, head, GIB)?;
        }
        guest.tell("audit").during(tail)?;
        guest.tell(&format!("dax destroy {at:#x}"))?;
        all_is_as_before(&mut guest, &start).during(tail)?;
        notes.push(format!("{memmap} pages of memmap, {tables} tables"));
    }
    guest.finish()?;
    Ok(notes.join("; "))
}

/// 5 million instructions to create, 15 to destroy.
fn a_tebibyte_costs_little(run: &Run) -> Checked<String> {
    let commands = "run=\"dax create 0x80000000,1T --align 1G; dax destroy 0x80000000\"";
    let machine =
        Machine { icount: true, ..with_a_tebibyte() }.cpu("neoverse-n1").append("bench=on").append(commands);
    let finished = run_to_end(run, &machine)?;
    ensure_eq!(finished.exit, Exit::FINE, "a device of 1 TiB, created and destroyed");
    let mut costs = Vec::new();
    for (operation, most) in [("dax-create", 5_000_000), ("dax-destroy", 15_000_000)] {
        let sign = format!("bench: {operation} {TIB} ");
        let line = finished.line("with the figures", |line| line.starts_with(&sign))?;
        let cost = line.split(' ').nth(3).and_then(|word| word.parse::<u64>().ok());
        ensure!(cost.is_some_and(|cost| (1..=most).contains(&cost)), "{operation} of 1 TiB: {line}");
        costs.push(format!("{operation} {}", cost.unwrap_or_default()));
    }
    Ok(costs.join(", "))
}
