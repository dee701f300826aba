//! Device memory by `dax`: each type, holds, refusals, and creation and destruction in any order.

use super::devices::{HOT, Home, PMEM, all_is_as_before, device, machine, qemu_sees};
use super::looking;
use super::test::{Test, per_granule};
use crate::eyes;
use hotmap_client::error::{Checked, During, failed};
use hotmap_client::geometry::{GIB, Granule, MIB, RAM_BASE};
use hotmap_client::guest::Guest;
use hotmap_client::machine::Boot;
use hotmap_client::run::Run;
use hotmap_client::state::{Altmap, Device, DevicePart, State};
use hotmap_client::{ensure, ensure_eq};

/// The ranges that devices are created from.
const SUBSECTION: u64 = 2 * MIB;

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("dax/types", each_type_by_hand);
    tests.extend(per_granule("dax/held", a_held_device_waits));
    tests.extend(per_granule("dax/refused", what_no_device_is_made_of));
    tests.extend(per_granule("dax/neighbours", subsections_come_and_go_in_any_order));
    tests
}

/// Private memory has no linear map, and may be where no memory is; several ranges are one device; the driver's reserve
/// comes before the memmap.
fn each_type_by_hand(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(Boot::Image, granule))?;
    let start = guest.state()?;
    let (nowhere, hot) = (64 * GIB, [HOT + 8 * MIB, HOT]);
    guest.tell(&format!("dax create {nowhere:#x},64M --type private"))?;
    guest.tell(&format!("dax create {:#x},4M {:#x},2M --type coherent", hot[0], hot[1]))?;
    guest.tell(&format!("dax create {PMEM:#x} --map dev --reserve 2 --type generic"))?;
    let state = guest.state()?;
    let private = device(nowhere, 64 * MIB, "private", Home::Ram, granule);
    let ranges = [(hot[0], 4 * MIB), (hot[1], 2 * MIB)].map(|(start, size)| DevicePart { start, size });
    let (kind, live) = ("coherent".into(), "live".into());
    let two = Device {
        start: hot[0],
        size: 4 * MIB,
        kind,
        state: live,
        altmap: None,
        align: granule.bytes(),
        dedup: false,
        usable_start: hot[0],
        holds: 0,
        ranges: ranges.into(),
    };
    let kept = keeps_two_pages(granule);
    ensure_eq!(state.devices, [two, kept.clone(), private.clone()], "the devices, by address");
    qemu_sees(&mut guest, &state, granule, &kept)?;
    let linear = eyes::translate(&mut guest.qmp, state.linear_address(nowhere))?;
    ensure_eq!(linear, None, "what QEMU finds at the linear address of private memory");
    let frames = looking::memmap_frames(&mut guest, &state, granule, nowhere, private.size)?;
    ensure!(frames.iter().all(|frame| looking::is_boot_ram(&state, *frame)), "its memmap is not in boot RAM");
    guest.tell("audit").during("with the devices")?;
    for start in [nowhere, hot[0], PMEM] {
        guest.tell(&format!("dax destroy {start:#x}"))?;
    }
    all_is_as_before(&mut guest, &start)?;
    guest.finish()?;
    Ok(String::new())
}

/// 1 GiB with a reserve of two pages. At 4K the memmap is in block leaves of 512 pages, the first at a multiple of 512.
fn keeps_two_pages(granule: Granule) -> Device {
    let (free, align, alloc) = match granule {
        Granule::K4 => (4606, 510, 4096),
        Granule::K16 => (256, 0, 256),
        Granule::K64 => (16, 0, 16),
    };
    let altmap = Altmap { base_pfn: granule.pages(PMEM), reserve: 2, free, align, alloc };
    let usable_start = PMEM + (2 + free) * granule.bytes();
    let plain = device(PMEM, GIB, "generic", Home::Ram, granule);
    Device { altmap: Some(altmap), usable_start, ..plain }
}

/// `dax destroy` waits for the last hold, names the page that it waits for, and refuses new holds.
fn a_held_device_waits(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(Boot::Firmware, granule))?;
    let start = guest.state()?;
    guest.tell(&format!("dax create {PMEM:#x} --map dev"))?;
    let should = device(PMEM, GIB, "fs-dax", Home::Device, granule);
    let held = PMEM + GIB / 2;
    let pfn = granule.pages(held);
    for hold in ["pin", "pin"] {
        guest.tell(&format!("{hold} addr:{held:#x}"))?;
    }
    guest.tell("audit").during("with a page held")?;
    for (at, why) in [(PMEM, "the first"), (should.usable_start - 1, "the last")] {
        let refused = guest.tell_in_vain(&format!("pin addr:{at:#x}"))?;
        let rule = "is device (set aside), not a usable page of a device";
        ensure!(refused.contains(rule), "a hold on {why} page that is set aside: {refused}");
    }
    waits(&mut guest, pfn, 2)?;
    let dying = Device { state: "dying".into(), holds: 2, ..should.clone() };
    ensure_eq!(guest.state()?.devices, [dying], "the dying device");
    let goes = format!("the device at {PMEM:#x} is on its way out");
    let others = [
        format!("pin addr:{held:#x}"),
        format!("pin addr:{:#x}", should.usable_start),
        format!("dax kmem {PMEM:#x}"),
    ];
    for command in others {
        let refused = guest.tell_in_vain(&command)?;
        ensure!(refused.contains(&goes), "'{command}' says '{refused}', should say '{goes}'");
    }
    let taken = guest.tell_in_vain(&format!("dax create {PMEM:#x},2M"))?;
    ensure!(taken.contains("overlaps memory that is present"), "a device in its place: {taken}");
    guest.tell(&format!("unpin addr:{held:#x}"))?;
    let sentence = waits(&mut guest, pfn, 1)?;
    guest.tell("audit").during("with the last hold")?;
    guest.tell(&format!("unpin addr:{held:#x}"))?;
    all_is_as_before(&mut guest, &start).during("after the last hold")?;
    let gone = guest.tell_in_vain(&format!("unpin addr:{held:#x}"))?;
    ensure!(gone.contains("is not present"), "an unpin without a hold succeeded: {gone}");
    guest.finish()?;
    Ok(sentence)
}

/// `dax destroy` fails, and names the page and its holds.
fn waits(guest: &mut Guest, pfn: u64, holds: u64) -> Checked<String> {
    let reply = guest.ask(&format!("dax destroy {PMEM:#x}"))?;
    let line = format!("dax@{PMEM:x}: waits for pfn {pfn:#x}, holds {holds}");
    ensure!(reply.text.lines().any(|found| found == line), "no line '{line}' in: {}", reply.text);
    ensure!(reply.error().is_some(), "a destroy that waits succeeds: {}", reply.text);
    Ok(line)
}

/// A command after `dax`, and what its refusal must contain.
type Refusal = (String, String);

/// Each refusal names its rule and the value, and changes nothing.
fn what_no_device_is_made_of(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(Boot::Firmware, granule))?;
    guest.tell(&format!("dax create {PMEM:#x},64M --map dev"))?;
    guest.tell(&format!("add {HOT:#x},512M"))?;
    let start = guest.state()?;
    let cases: Vec<Refusal> =
        [taken(), impossible(), not_there(), not_so_called()].into_iter().flatten().collect();
    for (command, rule) in &cases {
        let sentence = guest.tell_in_vain(&format!("dax {command}"))?;
        ensure!(sentence.contains(rule.as_str()), "'dax {command}' says '{sentence}', should say '{rule}'");
    }
    all_is_as_before(&mut guest, &start)?;
    // The reverse: memory is not added where a device is.
    let (half, last) = (HOT + GIB / 2, HOT + GIB - SUBSECTION);
    guest.tell(&format!("dax create {last:#x},2M"))?;
    let over = guest.tell_in_vain(&format!("add {half:#x},512M"))?;
    let rule = format!("{half:#x}..{:#x} overlaps memory that is present at", HOT + GIB);
    ensure!(over.contains(&rule), "memory over a device: {over}");
    guest.tell(&format!("dax destroy {last:#x}"))?;
    all_is_as_before(&mut guest, &start)?;
    guest.finish()?;
    Ok(format!("{} refusals", cases.len() + 1))
}

/// A range that stays unused in these tests.
const FREE: u64 = PMEM + 128 * MIB;

/// Over RAM, over memory that was added, over another device, over itself.
fn taken() -> Vec<Refusal> {
    let (ram, last, second) = (RAM_BASE + 512 * MIB, PMEM + 62 * MIB, FREE + SUBSECTION);
    let over = |command: String, start: u64, end: u64, at: u64| {
        (command, format!("{start:#x}..{end:#x} overlaps memory that is present at {at:#x} (EEXIST)"))
    };
    vec![
        over(format!("create {ram:#x},2M --type private"), ram, ram + SUBSECTION, ram),
        over(format!("create {HOT:#x},2M"), HOT, HOT + SUBSECTION, HOT),
        over(format!("create {HOT:#x}"), HOT, HOT + GIB, HOT),
        over(format!("create {last:#x},4M"), last, last + 4 * MIB, last),
        over(format!("create {PMEM:#x}"), PMEM, PMEM + GIB, PMEM),
        over(format!("create {FREE:#x},4M {second:#x},2M"), second, second + SUBSECTION, FREE),
    ]
}

/// Not whole subsections, empty, out of reach; impossible altmaps.
fn impossible() -> Vec<Refusal> {
    let unaligned =
        |start: u64, end: u64| format!("{start:#x}..{end:#x} is not aligned to the 2 MiB subsection");
    let end = FREE + SUBSECTION;
    let private = format!("an altmap on {FREE:#x}..{end:#x}: private memory is out of the CPU's reach");
    let large = format!(" pages, and {FREE:#x}..{end:#x} has ");
    let beyond =
        format!("{:#x}..{:#x} is out of the linear map's reach", 1_u64 << 48, (1_u64 << 48) + SUBSECTION);
    let end_of_all = u64::MAX << 20;
    let wraps = format!("{end_of_all:#x} + 0x200000 wraps around the address space");
    vec![
        (format!("create {:#x},2M", FREE + MIB), unaligned(FREE + MIB, FREE + 3 * MIB)),
        (format!("create {FREE:#x},3M"), unaligned(FREE, FREE + 3 * MIB)),
        (format!("create {FREE:#x},0"), format!("the range at {FREE:#x} is empty")),
        (format!("create {end_of_all:#x},2M --type private"), wraps),
        ("create 0x1000000000000,2M --type private".into(), beyond),
        (format!("create {FREE:#x},2M --type private --map dev"), private),
        (format!("create {FREE:#x},2M {end:#x},2M --map dev"), "an altmap serves one range, not 2".into()),
        (format!("create {FREE:#x},2M --map dev --reserve 1000"), large),
    ]
}

/// No memory there, or not enough; no device there; a word outside of a device.
fn not_there() -> Vec<Refusal> {
    let (ram, odd, aside) = (RAM_BASE + 512 * MIB, PMEM + 32 * MIB + 4, PMEM);
    let no_memory = |command: String| (command, "there is no memory of a device".to_owned());
    let no_device = |word: &str, at: u64| {
        (word.replace('@', &format!("{at:#x}")), format!("no device starts at {at:#x}"))
    };
    let no_word = |command: String| (command, "expected the address of a word of a device".to_owned());
    vec![
        no_memory(format!("create {ram:#x},2M --type generic")),
        no_memory("create 0x1000000000,2M --type fs-dax".into()),
        no_memory(format!("create {:#x},4M", PMEM + GIB - SUBSECTION)),
        no_memory(format!("create {FREE:#x},2M 0x1000000000,2M")),
        no_device("destroy @", FREE),
        no_device("destroy @", PMEM + SUBSECTION),
        no_device("kmem @", FREE),
        no_device("kmem @ back", PMEM),
        no_word(format!("read {FREE:#x}")),
        no_word(format!("write {aside:#x} 1")),
        no_word(format!("read {odd:#x}")),
        no_word(format!("read {ram:#x}")),
    ]
}

fn not_so_called() -> Vec<Refusal> {
    let five: String = (0..5).map(|i| format!(" {:#x},2M", FREE + i * 4 * MIB)).collect();
    let commands = [format!("create{five}"), "create".into()];
    commands.into_iter().map(|command| (command, "usage: dax create".into())).collect()
}

/// Neighbours of one subsection each, self-hosted and in system RAM by turns: whichever is created or destroyed, the
/// others' memory and struct pages stay.
fn subsections_come_and_go_in_any_order(run: &Run, granule: Granule) -> Checked<String> {
    const COME: [u64; 8] = [3, 0, 6, 1, 7, 4, 2, 5];
    const GO: [u64; 8] = [5, 2, 7, 0, 4, 1, 6, 3];
    // The first one is at the end of its memory block.
    let first = PMEM + GIB / 2 - SUBSECTION;
    let home = |i: u64| if i.is_multiple_of(2) { Home::Device } else { Home::Ram };
    let at = |i: u64| first + i * SUBSECTION;
    let mut guest = Guest::boot(run, &machine(Boot::Image, granule))?;
    let start = guest.state()?;
    for (count, i) in COME.into_iter().enumerate() {
        guest.tell(&format!("dax create {:#x},2M --map {}", at(i), home(i).word()))?;
        guest.tell(&format!("dax write {:#x} {:#x}", at(i + 1) - 8, 0xfeed_0000 + i))?;
        guest.tell("audit").during(&format!("with {} devices", count + 1))?;
    }
    let state = guest.state()?;
    let should: Vec<Device> = (0..8).map(|i| device(at(i), SUBSECTION, "fs-dax", home(i), granule)).collect();
    ensure_eq!(state.devices, should, "the devices, by address");
    for (gone, i) in GO.into_iter().enumerate() {
        guest.tell(&format!("dax destroy {:#x}", at(i)))?;
        guest.tell("audit").during(&format!("with {} devices destroyed", gone + 1))?;
        let left = GO.get(gone + 1..).unwrap_or_default();
        for &i in left {
            let word = guest.tell(&format!("dax read {:#x}", at(i + 1) - 8))?;
            ensure!(
                word.ends_with(&format!("{:#018x}", 0xfeed_0000 + i)),
                "device {i} has lost its word: {word}"
            );
            is_described(
                &mut guest,
                &state,
                granule,
                (at(i), SUBSECTION),
                &left.iter().map(|&i| at(i)).collect::<Vec<_>>(),
            )?;
        }
    }
    all_is_as_before(&mut guest, &start)?;
    guest.finish()?;
    Ok(String::new())
}

/// QEMU finds a device's first and last struct page, in boot RAM or on a device that exists.
fn is_described(
    guest: &mut Guest,
    state: &State,
    granule: Granule,
    (start, size): (u64, u64),
    left: &[u64],
) -> Checked {
    for pfn in [granule.pages(start), granule.pages(start + size) - 1] {
        let Some(frame) = eyes::translate(&mut guest.qmp, state.struct_page(pfn))? else {
            return failed(format!("QEMU finds no struct page of pfn {pfn:#x}, which is still there"));
        };
        let lives = looking::is_boot_ram(state, frame)
            || left.iter().any(|&at| (at..at + SUBSECTION).contains(&frame));
        ensure!(lives, "the struct page of pfn {pfn:#x} is at {frame:#x}, where nothing is any more");
    }
    Ok(())
}
