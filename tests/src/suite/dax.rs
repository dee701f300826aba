//! Memory of devices by hand: made and unmade in any order, held, refused, given to the system, and failed at each allocation.

use super::devices::{HOT, Home, PMEM, all_is_as_before, device, machine, memory_of, qemu_sees};
use super::{Test, looking, per_granule};
use crate::geometry::{GIB, Granule, MIB, RAM_BASE};
use crate::guest::Guest;
use crate::machine::Boot;
use crate::run::Run;
use crate::state::{Altmap, BlockState, Device, DevicePart, Memmap, State, ZoneName};
use crate::trouble::{Checked, During, failed};
use crate::{ensure, ensure_eq, eyes};

/// What devices are made of.
const SUBSECTION: u64 = 2 * MIB;
/// Pages in use that have to move when a device wants its memory back.
const TENANT_PAGES: u64 = 1000;
/// More allocations than any operation here makes.
const MANY_SITES: u64 = 200;

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("dax/types", each_type_by_hand);
    tests.extend(per_granule("dax/held", a_held_device_waits));
    tests.extend(per_granule("dax/refused", what_no_device_is_made_of));
    tests.extend(per_granule("dax/neighbours", subsections_come_and_go_in_any_order));
    tests.extend(per_granule("dax/kmem", the_system_borrows_a_device));
    tests.extend(per_granule("dax/kmem-refused", what_the_system_cannot_have));
    tests.extend(per_granule("dax/inject", every_allocation_fails_in_turn));
    tests
}

/// Private memory is out of the CPU's reach and may be where nothing is; several ranges are one device; what a driver keeps
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

/// 1 GiB with two pages kept. At 4K the memmap is blocks of 512 pages, the first of which begins at the next multiple of 512.
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

/// Teardown waits for the last hold, says which page it waits for, and lets nobody take a new one.
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
    ensure_eq!(guest.state()?.devices, [dying], "the device that goes");
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
    ensure!(gone.contains("is not present"), "one hold too many let go: {gone}");
    guest.finish()?;
    Ok(sentence)
}

/// `dax destroy` names the page and its holds, and fails.
fn waits(guest: &mut Guest, pfn: u64, holds: u64) -> Checked<String> {
    let reply = guest.ask(&format!("dax destroy {PMEM:#x}"))?;
    let line = format!("dax@{PMEM:x}: waits for pfn {pfn:#x}, holds {holds}");
    ensure!(reply.text.lines().any(|found| found == line), "no line '{line}' in: {}", reply.text);
    ensure!(reply.error().is_some(), "a destroy that waits succeeds: {}", reply.text);
    Ok(line)
}

/// Each refusal names its rule and the value, and changes nothing.
fn what_no_device_is_made_of(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(Boot::Firmware, granule))?;
    guest.tell(&format!("dax create {PMEM:#x},64M --map dev"))?;
    guest.tell(&format!("add {HOT:#x},512M"))?;
    let start = guest.state()?;
    let (free, hot_end) = (PMEM + 128 * MIB, HOT + GIB);
    let no_memory = "there is no memory of a device";
    let subsection =
        |start: u64, end: u64| format!("{start:#x}..{end:#x} is not aligned to the 2 MiB subsection");
    let present = |start: u64, end: u64, at: u64| {
        format!("{start:#x}..{end:#x} overlaps memory that is present at {at:#x} (EEXIST)")
    };
    let five: String = (0..5).map(|i| format!(" {:#x},2M", free + i * 4 * MIB)).collect();
    let (ram, last) = (RAM_BASE + 512 * MIB, PMEM + 62 * MIB);
    let cases = [
        // Over RAM, memory that was added, another device; over itself.
        (format!("create {ram:#x},2M --type private"), present(ram, ram + SUBSECTION, ram)),
        (format!("create {ram:#x},2M --type generic"), no_memory.into()),
        (format!("create {HOT:#x},2M"), present(HOT, HOT + SUBSECTION, HOT)),
        (format!("create {HOT:#x}"), present(HOT, hot_end, HOT)),
        (format!("create {last:#x},4M"), present(last, last + 4 * MIB, last)),
        (format!("create {PMEM:#x}"), present(PMEM, PMEM + GIB, PMEM)),
        (
            format!("create {free:#x},4M {:#x},2M", free + SUBSECTION),
            present(free + SUBSECTION, free + 4 * MIB, free),
        ),
        // Not whole subsections, nothing at all, out of this world.
        (format!("create {:#x},2M", free + MIB), subsection(free + MIB, free + 3 * MIB)),
        (format!("create {free:#x},3M"), subsection(free, free + 3 * MIB)),
        (format!("create {free:#x},0"), format!("the range at {free:#x} is empty")),
        ("create 0xfffffffffff00000,2M --type private".into(), "wraps around the address space".into()),
        (format!("create {:#x},2M --type private", 1u64 << 48), "is out of the linear map's reach".into()),
        // No memory there, or not so much of it.
        ("create 0x1000000000,2M --type fs-dax".into(), no_memory.into()),
        (format!("create {:#x},4M", PMEM + GIB - SUBSECTION), no_memory.into()),
        (format!("create {free:#x},2M 0x1000000000,2M"), no_memory.into()),
        // Altmaps that cannot be.
        (
            format!("create {free:#x},64M --type private --map dev"),
            format!(
                "an altmap on {free:#x}..{:#x}: private memory is out of the CPU's reach",
                free + 64 * MIB
            ),
        ),
        (
            format!("create {free:#x},2M {:#x},2M --map dev", free + 4 * MIB),
            "an altmap serves one range, not 2".into(),
        ),
        (
            format!("create {free:#x},2M --map dev --reserve 1000"),
            format!(
                "the altmap at {free:#x} does not start and fit its range {free:#x}..{:#x}",
                free + SUBSECTION
            ),
        ),
        // Not so called.
        (format!("create{five}"), "usage: dax create".into()),
        (format!("create {free:#x},2M --map disk"), "usage: dax create".into()),
        (format!("create {free:#x},2M --type tape"), "usage: dax create".into()),
        (format!("create {free:#x},2M --map"), "usage: dax create".into()),
        ("create".into(), "usage: dax create".into()),
        (format!("destroy {free:#x}"), format!("no device starts at {free:#x}")),
        (
            format!("destroy {:#x}", PMEM + SUBSECTION),
            format!("no device starts at {:#x}", PMEM + SUBSECTION),
        ),
        (format!("kmem {free:#x}"), format!("no device starts at {free:#x}")),
        (format!("kmem {PMEM:#x} back"), format!("no device starts at {PMEM:#x}")),
        // Only words of a device, and not of its memmap.
        (format!("read {free:#x}"), "expected the address of a word of a device".into()),
        (format!("write {PMEM:#x} 1"), "expected the address of a word of a device".into()),
        (format!("read {:#x}", PMEM + 32 * MIB + 4), "expected the address of a word of a device".into()),
        (format!("read {ram:#x}"), "expected the address of a word of a device".into()),
    ];
    for (command, rule) in &cases {
        let sentence = guest.tell_in_vain(&format!("dax {command}"))?;
        ensure!(sentence.contains(rule.as_str()), "'dax {command}' says '{sentence}', should say '{rule}'");
    }
    // The other way round: no memory where a device is.
    guest.tell(&format!("dax create {:#x},2M", hot_end - SUBSECTION))?;
    let over = guest.tell_in_vain(&format!("add {:#x},512M", HOT + 512 * MIB))?;
    ensure!(over.contains("overlaps memory that is present at"), "memory over a device: {over}");
    guest.tell(&format!("dax destroy {:#x}", hot_end - SUBSECTION))?;
    all_is_as_before(&mut guest, &start)?;
    guest.finish()?;
    Ok(format!("{} refusals", cases.len() + 1))
}

/// Neighbours of one subsection each, with their memmap on themselves and in RAM by turns: whichever comes or goes, the
/// others' memory and struct pages stay.
fn subsections_come_and_go_in_any_order(run: &Run, granule: Granule) -> Checked<String> {
    const COME: [u64; 8] = [3, 0, 6, 1, 7, 4, 2, 5];
    const GO: [u64; 8] = [5, 2, 7, 0, 4, 1, 6, 3];
    // The first is the last of its memory block.
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
        guest.tell("audit").during(&format!("with {} devices gone", gone + 1))?;
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

/// QEMU finds a device's first and last struct page, in boot RAM or on a device that is still there.
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

/// A device's memory serves the system as movable blocks that host themselves, and comes back although it is in use.
fn the_system_borrows_a_device(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(Boot::Firmware, granule))?;
    let start = guest.state()?;
    guest.tell(&format!("dax create {PMEM:#x} --map dev"))?;
    let before = guest.state()?;
    guest.tell(&format!("dax kmem {PMEM:#x}"))?;
    let given = guest.state()?;
    let is = given.device(PMEM).map(|device| (device.state.as_str(), device.altmap.map(|a| a.alloc)));
    ensure_eq!(is, Some(("kmem", Some(0))), "the device whose memory the system has");
    let blocks = given.blocks_in(PMEM, GIB);
    ensure_eq!(blocks.len() as u64, GIB / granule.block(), "blocks of the device");
    for block in blocks {
        let of = (block.state, block.zone, block.source.as_str(), block.memmap);
        ensure_eq!(
            of,
            (BlockState::Online, ZoneName::Movable, "kmem", Memmap::SelfHosted),
            "block {:#x}",
            block.start
        );
    }
    let memmap = GIB / granule.block() * granule.pages(granule.memmap_per_block());
    ensure_eq!(given.pages.present, before.pages.present + granule.pages(GIB), "pages present");
    ensure_eq!(given.pages.memmap_self, memmap, "pages of memmap that hosts itself");
    let is_kmem =
        given.regions.iter().find(|region| region.start == PMEM).map(|region| region.state.as_str());
    ensure_eq!(is_kmem, Some("kmem"), "the region");
    looking::linear_map_leads_to(&mut guest, &given, memory_of(&before.devices[0]))?;
    guest.tell(&format!("tenant new {TENANT_PAGES}"))?;
    let used = guest.state()?;
    let inside: u64 = used.blocks_in(PMEM, GIB).iter().map(|block| block.tenant_pages).sum();
    ensure_eq!(inside, TENANT_PAGES, "tenant pages in the device's memory, the newest Movable memory");
    guest.tell("audit").during("with the device's memory in use")?;
    let said = guest.tell(&format!("dax kmem {PMEM:#x} back"))?;
    ensure!(said.contains(&format!("{TENANT_PAGES} pages migrated")), "it says: {said}");
    guest.tell("tenant check").during("after the move")?;
    guest.tell("audit").during("with tenants that have moved")?;
    guest.tell("tenant drop")?;
    all_is_as_before(&mut guest, &before).during("a device again")?;
    guest.tell(&format!("dax destroy {PMEM:#x}"))?;
    all_is_as_before(&mut guest, &start).during("after all")?;
    guest.finish()?;
    Ok(said)
}

/// What is held or too small is not given; what cannot be emptied does not come back; each is as it was.
fn what_the_system_cannot_have(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(Boot::Image, granule))?;
    guest.tell(&format!("dax create {HOT:#x},64M"))?;
    guest.tell(&format!("dax create {PMEM:#x} --map dev"))?;
    let small = guest.tell_in_vain(&format!("dax kmem {HOT:#x}"))?;
    let rule = format!("is not aligned to the {} MiB memory block", granule.block() / MIB);
    ensure!(small.contains(&rule), "a device without a whole block: {small}");
    let held = PMEM + GIB - MIB;
    guest.tell(&format!("pin addr:{held:#x}"))?;
    let before = guest.state()?;
    let refused = guest.tell_in_vain(&format!("dax kmem {PMEM:#x}"))?;
    ensure!(refused.contains(&format!("pfn {:#x} cannot go: pinned", granule.pages(held))), "{refused}");
    all_is_as_before(&mut guest, &before).during("with a page held")?;
    guest.tell(&format!("unpin addr:{held:#x}"))?;
    guest.tell(&format!("dax kmem {PMEM:#x}"))?;
    guest.tell(&format!("pin addr:{held:#x}"))?;
    let given = guest.state()?;
    let refused = guest.tell_in_vain(&format!("dax kmem {PMEM:#x} back"))?;
    ensure!(refused.contains("pinned"), "a pinned page of memory that should come back: {refused}");
    all_is_as_before(&mut guest, &given).during("with a page pinned")?;
    guest.tell("audit").during("with a page pinned")?;
    guest.tell(&format!("unpin addr:{held:#x}"))?;
    guest.tell(&format!("dax kmem {PMEM:#x} back"))?;
    guest.finish()?;
    Ok(refused)
}

/// A device of two sections, the first of which it fills in part: each of its allocations fails in turn, and those of giving
/// it to the system and taking it back.
fn every_allocation_fails_in_turn(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(Boot::Firmware, granule))?;
    let (start, size) = (PMEM + granule.block() - SUBSECTION, granule.block() + SUBSECTION);
    let (mut failures, kmem) = (Vec::new(), format!("dax kmem {start:#x}"));
    let (back, destroy) = (format!("{kmem} back"), format!("dax destroy {start:#x}"));
    for home in [Home::Ram, Home::Device] {
        let create = format!("dax create {start:#x},{size} --map {}", home.word());
        // At 4K a section's memmap is one block, and base pages where system RAM has no free one.
        let second_choice = u64::from(granule == Granule::K4 && home == Home::Ram);
        failures.push(fails_in_turn(&mut guest, &create, &destroy, second_choice)?);
        failures.push(fails_in_turn(&mut guest, &kmem, &back, 0)?);
        failures.push(fails_in_turn(&mut guest, &back, &kmem, second_choice)?);
        guest.tell(&destroy)?;
    }
    guest.finish()?;
    Ok(format!("{failures:?} allocations"))
}

/// Fails each allocation of `command`, until there is none left and it succeeds; `second_choices` of them it can do without,
/// which `undo` undoes. Returns how many there were.
fn fails_in_turn(guest: &mut Guest, command: &str, undo: &str, second_choices: u64) -> Checked<u64> {
    let (before, mut done_without) = (guest.state()?, 0);
    for n in 1..MANY_SITES {
        guest.tell(&format!("inject alloc {n}"))?;
        let reply = guest.ask(command)?;
        let fired = reply.text.contains(&format!("inject: fired at {n} of "));
        let spared = reply.text.contains("inject: did not fire (");
        ensure!(fired != spared, "'{command}' with allocation {n} failing says: {}", reply.text);
        guest.tell("audit").during(&format!("after '{command}' without allocation {n}"))?;
        match reply.result() {
            Err(why) if fired => {
                ensure!(why.contains("out of memory"), "allocation {n} of '{command}': {why}")
            }
            Ok(_) if fired => {
                guest.tell(undo)?;
                done_without += 1;
            }
            Ok(_) => {
                ensure!(n > 3, "'{command}' makes {} allocations", n - 1);
                ensure_eq!(done_without, second_choices, "allocations that '{command}' can do without");
                return Ok(n - 1);
            }
            Err(why) => return failed(format!("'{command}' with nothing failing: {why}")),
        }
        all_is_as_before(guest, &before).during(&format!("'{command}' without allocation {n}"))?;
    }
    failed(format!("'{command}' has more than {MANY_SITES} allocations"))
}
