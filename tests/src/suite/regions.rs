//! Regions of the device tree: hotpluggable memory is added and removed by the shell or at boot, in both boot ways, and
//! persistent memory is a file.

use super::arithmetic::Added;
use super::device_tree::{reserved_memory, with_nodes};
use super::life::HOMES;
use super::looking;
use super::test::{Test, per_granule};
use crate::eyes;
use crate::fdt::Node;
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During, Error, failed};
use hotmap_client::geometry::{GIB, GRANULES, Granule, MIB, RAM_BASE};
use hotmap_client::guest::{Guest, Plugged, run_to_end};
use hotmap_client::machine::{BOOTS, Boot, Machine};
use hotmap_client::qemu::Exit;
use hotmap_client::run::Run;
use hotmap_client::state::{BlockState, Memmap, Region, RegionPart, State, ZoneName};
use hotmap_client::{ensure, ensure_eq};
use std::os::unix::fs::FileExt;

/// Where `scripts/qemu --hotpluggable 1G --pmem 64M` puts its regions: above 1 GiB of boot RAM.
const HOT: u64 = RAM_BASE + GIB;
const PMEM: u64 = HOT + GIB;
const PMEM_SIZE: u64 = 64 * MIB;
/// Pages in use, which must migrate when the region is removed.
const TENANT_PAGES: u64 = 1000;
/// All of the hotpluggable region, in the form that the checks of a DIMM take.
const WHOLE: Plugged = Plugged { address: HOT, size: GIB, slot: 0, status: 0 };

pub(super) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for boot in BOOTS {
        for granule in GRANULES {
            for memmap in HOMES {
                let name = format!("regions/life/{}/{granule}/memmap-{}", boot.name(), memmap.word());
                tests.push(Test::new(name, move |run: &Run| a_regions_life(run, boot, granule, memmap)));
            }
        }
    }
    tests.extend(per_granule("regions/self-range", one_memmap_for_the_whole_region));
    tests.extend(per_granule("regions/auto", all_are_added_at_boot));
    tests.extend(per_granule("regions/parts", parts_and_blocks));
    tests.extend(per_granule("regions/refused", what_cannot_be_added));
    tests.extend(per_granule("regions/holds", a_region_that_holds_the_blob_is_not_added));
    for boot in BOOTS {
        let body = move |run: &Run| persistent_memory_is_the_file(run, boot);
        tests.push(Test::new(format!("regions/pmem-file/{}", boot.name()), body));
    }
    tests.extend([
        Test::new("regions/under-the-image", the_image_needs_its_ram),
        Test::new("regions/overlap", regions_do_not_overlap),
        Test::new("regions/arguments", arguments_of_regions),
    ]);
    tests
}

fn machine(boot: Boot, granule: Granule) -> Machine {
    Machine { hotpluggable: Some("1G".into()), pmem: Some("64M".into()), ..Machine::by(boot) }
        .granule(granule)
}

fn hotpluggable(state: &str, added: &[(u64, u64, &str)]) -> Region {
    let part = |(start, size, state): &(u64, u64, &str)| RegionPart {
        start: *start,
        size: *size,
        state: (*state).into(),
    };
    let (kind, state) = ("hotpluggable".into(), state.into());
    let added = added.iter().map(part).collect();
    Region { start: HOT, size: GIB, kind, volatile: false, node: Some(0), state, added }
}

fn pmem() -> Region {
    let (kind, state) = ("pmem".into(), "waiting".into());
    Region { start: PMEM, size: PMEM_SIZE, kind, volatile: false, node: Some(0), state, added: Vec::new() }
}

/// `state` and `layout` list the two regions, in the same state.
fn are_listed(guest: &mut Guest, hot: Region) -> Checked<State> {
    let state = guest.state()?;
    let layout = guest.tell("layout")?;
    let line = layout.lines().find(|line| line.starts_with(&format!("region    {HOT:#x}..")));
    let (word, what) = (format!(", {}", hot.state), line.unwrap_or("(no line)"));
    ensure!(what.contains("hotpluggable") && what.contains(&word), "layout says of the region: {what}");
    ensure!(layout.contains(&format!("region    {PMEM:#x}..")), "layout has no line for {PMEM:#x}: {layout}");
    ensure_eq!(state.regions, [hot, pmem()], "the regions");
    Ok(state)
}

/// Waiting, in use, and removed: the counts are those of the start.
fn a_regions_life(run: &Run, boot: Boot, granule: Granule, memmap: Memmap) -> Checked<String> {
    let word = format!("memmap={}", memmap.word());
    let mut guest = Guest::boot(run, &machine(boot, granule).append(&word))?;
    let start = are_listed(&mut guest, hotpluggable("waiting", &[])).during("before anything is added")?;
    let boot_ram: u64 = start.blocks.iter().map(|block| block.size).sum();
    ensure_eq!((boot_ram, start.pages.present), (GIB, granule.pages(GIB)), "boot RAM, and pages present");
    guest.tell(&format!("add {HOT:#x}"))?;
    let state = are_listed(&mut guest, hotpluggable("memory", &[(HOT, GIB, "online")]))?;
    let tables = is_memory(&mut guest, &start, &state, granule, memmap)?;
    guest.tell(&format!("tenant new {TENANT_PAGES}"))?;
    let used = guest.state()?;
    let inside: u64 = used.blocks_in(HOT, GIB).iter().map(|block| block.tenant_pages).sum();
    ensure_eq!(inside, TENANT_PAGES, "tenant pages in the region, the newest Movable memory");
    guest.tell("audit").during("with the region in use")?;
    guest.tell(&format!("remove {HOT:#x}"))?;
    looking::nothing_is_mapped(&mut guest, &state, granule, WHOLE)?;
    guest.tell("tenant check").during("after the move")?;
    guest.tell("tenant drop")?;
    let end = are_listed(&mut guest, hotpluggable("waiting", &[])).during("after its life")?;
    ensure_eq!(end.pages, start.pages, "pages after the region's life");
    ensure_eq!(end.zones, start.zones, "zones after the region's life");
    ensure_eq!(end.blocks, start.blocks, "blocks after the region's life");
    ensure_eq!(end.heap, start.heap, "heap after the region's life");
    guest.finish()?;
    Ok(format!("1G for {tables} table pages"))
}

/// The added region in the log and in `state`, then by QEMU's walk.
fn is_memory(
    guest: &mut Guest,
    start: &State,
    state: &State,
    granule: Granule,
    memmap: Memmap,
) -> Checked<u64> {
    let blocks = state.blocks_in(HOT, GIB);
    ensure_eq!(blocks.len() as u64, GIB / granule.block(), "blocks of the region");
    let own = if memmap == Memmap::SelfHosted { granule.memmap_per_block() } else { 0 };
    for block in blocks {
        let at = block.start;
        ensure_eq!((block.state, block.zone), (BlockState::Online, ZoneName::Movable), "block {at:#x}");
        ensure_eq!((block.source.as_str(), block.memmap), ("dt", memmap), "source and memmap of {at:#x}");
        ensure_eq!(block.usable_start, at + own, "usable start of block {at:#x}");
    }
    let tables = Added { granule, size: GIB, memmap, online: true }.check(&start.pages, &state.pages)?;
    looking::linear_map_leads_to(guest, state, WHOLE)?;
    for block in [HOT, HOT + GIB - granule.block()] {
        looking::memmap_lies_in_its_place(guest, state, granule, block, memmap)?;
    }
    Ok(tables)
}

/// `memmap=self-range`: the log says where the memmap is and how much remains, and all of it is removed.
fn one_memmap_for_the_whole_region(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(Boot::Firmware, granule).append("memmap=self-range"))?;
    let start = guest.state()?;
    let said = guest.tell(&format!("add {HOT:#x}"))?;
    let memmap = GIB / granule.block() * granule.pages(granule.memmap_per_block());
    let lines = [
        format!("dt@80000000: 1 claim sections: {} of {} MiB", GIB / granule.block(), granule.block() / MIB),
        format!("dt@80000000: 3 choose backing: self-hosted, {memmap} pages at the start of the range"),
        format!("dt@80000000: 7 go online: {} free pages", granule.pages(GIB) - memmap),
        "dt@80000000: 0x80000000..0xc0000000 (1 GiB) is here".into(),
    ];
    for line in &lines {
        ensure!(said.lines().any(|found| found.trim() == line), "no line '{line}' in: {said}");
    }
    let state = guest.state()?;
    ensure_eq!(
        state.pages.free + state.pages.tables,
        start.pages.free + start.pages.tables + granule.pages(GIB) - memmap,
        "free pages and tables"
    );
    guest.tell("audit").during("with the region in use")?;
    guest.tell(&format!("remove {HOT:#x}"))?;
    let end = are_listed(&mut guest, hotpluggable("waiting", &[]))?;
    ensure_eq!((end.pages, end.heap), (start.pages, start.heap), "pages and heap without it");
    guest.finish()?;
    Ok(String::new())
}

/// `hotadd=auto`: added at the first prompt, beside DIMMs, and removable.
fn all_are_added_at_boot(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(Boot::Firmware, granule).append("hotadd=auto"))?;
    let start = are_listed(&mut guest, hotpluggable("memory", &[(HOT, GIB, "online")]))?;
    ensure_eq!(start.pages.present, granule.pages(2 * GIB), "pages present");
    let dimm = Dimm::new("d0", GIB);
    let plugged = guest.plug_well(&dimm)?;
    ensure!(plugged.address >= PMEM + PMEM_SIZE, "a DIMM at {:#x}, in RAM", plugged.address);
    guest.tell("audit").during("with a DIMM beside the region")?;
    guest.unplug_well(&dimm)?;
    ensure_eq!(guest.state()?.pages, start.pages, "pages after the DIMM");
    guest.tell(&format!("remove {HOT:#x}"))?;
    let removed = are_listed(&mut guest, hotpluggable("waiting", &[]))?;
    ensure_eq!(removed.pages.present, granule.pages(GIB), "pages present without the region");
    guest.tell(&format!("add {HOT:#x}"))?;
    let end = are_listed(&mut guest, hotpluggable("memory", &[(HOT, GIB, "online")]))?;
    ensure_eq!((end.pages, end.heap), (start.pages, start.heap), "pages and heap with the region again");
    guest.finish()?;
    let mut manual = Guest::boot(run, &machine(Boot::Image, granule).append("hotadd=auto online=manual"))?;
    are_listed(&mut manual, hotpluggable("memory", &[(HOT, GIB, "offline")]))?;
    manual.finish()?;
    Ok(String::new())
}

/// Two halves are added one by one; a block of one goes offline; each half is removed as it was added.
fn parts_and_blocks(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(Boot::Image, granule))?;
    let start = guest.state()?;
    let (half, middle) = (GIB / 2, HOT + GIB / 2);
    guest.tell(&format!("add {middle:#x},512M"))?;
    are_listed(&mut guest, hotpluggable("partial", &[(middle, half, "online")]))?;
    guest.tell(&format!("add {HOT:#x},{half}"))?;
    guest.tell(&format!("offline {HOT:#x}"))?;
    let low = if half == granule.block() { "offline" } else { "mixed" };
    are_listed(&mut guest, hotpluggable("memory", &[(HOT, half, low), (middle, half, "online")]))?;
    guest.tell("audit").during("with a block offline")?;
    let inside = guest.tell_in_vain(&format!("remove {:#x}", HOT + granule.block() / 2))?;
    ensure!(inside.contains("no part of a region was added at"), "{inside}");
    guest.tell(&format!("remove {HOT:#x}"))?;
    are_listed(&mut guest, hotpluggable("partial", &[(middle, half, "online")]))?;
    guest.tell(&format!("remove {middle:#x}"))?;
    let end = are_listed(&mut guest, hotpluggable("waiting", &[]))?;
    ensure_eq!((end.pages, end.heap), (start.pages, start.heap), "pages and heap after both halves");
    guest.finish()?;
    Ok(String::new())
}

/// Each refusal names its rule and the value, and changes nothing.
fn what_cannot_be_added(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(Boot::Firmware, granule))?;
    let block = granule.block();
    guest.tell(&format!("add {HOT:#x},{block}"))?;
    let start = guest.state()?;
    let aligned = format!("is not aligned to the {} MiB memory block", block / MIB);
    let (next, end) = (HOT + block, HOT + GIB);
    let cases = [
        (
            format!("add {HOT:#x}"),
            format!("{HOT:#x}..{end:#x} overlaps memory that is present at {HOT:#x} (EEXIST)"),
        ),
        (format!("add {HOT:#x},{block}"), format!("overlaps memory that is present at {HOT:#x}")),
        (format!("add {next:#x}"), format!("{next:#x} is not the start of the region {HOT:#x}..{end:#x}")),
        (format!("add {next:#x},64M"), aligned.clone()),
        (format!("add {:#x},{block}", next - 2 * MIB), aligned),
        (format!("add {next:#x},1G"), format!("is not inside of the region {HOT:#x}..{end:#x}")),
        (format!("add {next:#x},0"), format!("the range at {next:#x} is empty")),
        (format!("add {PMEM:#x}"), "is persistent memory, not hotpluggable".into()),
        (format!("add {RAM_BASE:#x}"), format!("overlaps memory that is present at {RAM_BASE:#x}")),
        ("add 0x2000000000".into(), "0x2000000000 is in no region that the device tree sets aside".into()),
        (format!("remove {next:#x}"), format!("no part of a region was added at {next:#x}")),
        (format!("remove {PMEM:#x}"), format!("no part of a region was added at {PMEM:#x}")),
        (format!("remove {RAM_BASE:#x}"), "cannot be moved".into()),
        (format!("remove {:#x}", RAM_BASE + 4096), "no part of a region was added at".into()),
        ("add".into(), "usage: add ADDR[,SIZE]".into()),
        ("add zebra".into(), "expected an address".into()),
        (format!("add {next:#x},"), "expected an address".into()),
        (format!("add {next:#x} 128M"), "usage: add ADDR[,SIZE]".into()),
        ("remove".into(), "usage: remove ADDR".into()),
    ];
    for (command, rule) in &cases {
        let sentence = guest.tell_in_vain(command)?;
        ensure!(sentence.contains(rule), "'{command}' says '{sentence}', should say '{rule}'");
    }
    guest.tell(&format!("pin addr:{:#x}", HOT + block - MIB))?;
    let held = guest.tell_in_vain(&format!("remove {HOT:#x}"))?;
    ensure!(held.contains("pinned"), "a pinned page: {held}");
    guest.tell(&format!("unpin addr:{:#x}", HOT + block - MIB))?;
    let after = guest.state()?;
    ensure_eq!(
        (after.pages, &after.regions, after.heap),
        (start.pages, &start.regions, start.heap),
        "after it all"
    );
    ensure_eq!(after.blocks, start.blocks, "blocks after {} refusals", cases.len() + 1);
    guest.finish()?;
    Ok(format!("{} refusals", cases.len() + 1))
}

fn ram(start: u64, size: u64) -> Node {
    let node = Node::new(&format!("ram@{start:x}")).text("device_type", "memory");
    node.bytes("hotpluggable", Vec::new()).reg(start, size)
}

/// QEMU's blob lies at 0x48000000 in an Image boot, a reservation in another region; a third region is free.
fn a_region_that_holds_the_blob_is_not_added(run: &Run, granule: Granule) -> Checked<String> {
    let (blob, kept, free) = (RAM_BASE + 128 * MIB, RAM_BASE + 512 * MIB, RAM_BASE + GIB);
    let kept_node = reserved_memory(Node::new("kept@70000000").reg(kept + 256 * MIB, MIB));
    let nodes = [ram(blob, 128 * MIB), ram(kept, 512 * MIB), ram(free, 512 * MIB), kept_node];
    let machine = Machine { boot: Boot::Image, ..with_nodes(run, granule, &nodes)? }.memory("1536M");
    let mut guest = Guest::boot(run, &machine.append("hotadd=auto"))?;
    let state = guest.state()?;
    let states: Vec<_> = state.regions.iter().map(|region| (region.start, region.state.as_str())).collect();
    ensure_eq!(states, [(blob, "refused"), (kept, "refused"), (free, "memory")], "the regions");
    let warning = "warning: the region 0x48000000..0x50000000 stays out of use: it holds the device tree at 0x48000000..";
    ensure!(guest.text().contains(warning), "no '{warning}' in {}", guest.text());
    let refused = guest.tell_in_vain(&format!("add {kept:#x}"))?;
    let rule = "the region 0x60000000..0x80000000 stays out of use: it holds reserved memory at 0x70000000..0x70100000";
    ensure!(refused.contains(rule), "{refused}");
    guest.finish()?;
    Ok(String::new())
}

/// No RAM where the image runs: one line says so.
fn the_image_needs_its_ram(run: &Run) -> Checked<String> {
    let nodes = [ram(RAM_BASE, 64 * MIB)];
    ends_with(
        run,
        &nodes,
        "error: the device tree sets 0x40000000..0x44000000 aside, and the image runs at 0x404",
    )
}

fn regions_do_not_overlap(run: &Run) -> Checked<String> {
    let pmem = Node::new("pmem-region@6ff00000").text("compatible", "pmem-region");
    let nodes = [ram(RAM_BASE + 512 * MIB, 256 * MIB), pmem.reg(RAM_BASE + 767 * MIB, 2 * MIB)];
    ends_with(run, &nodes, "memory regions 0x60000000..0x70000000 and 0x6ff00000..0x70100000 overlap")
}

fn ends_with(run: &Run, nodes: &[Node], message: &str) -> Checked<String> {
    let finished = run_to_end(run, &with_nodes(run, Granule::K4, nodes)?.append("run=state"))?;
    ensure_eq!(finished.exit, Exit::PANIC, "a device tree that leaves no way to boot");
    let said = finished.line("that says why", |line| line.starts_with("error: "))?;
    ensure!(said.contains(message), "it says '{said}', should say '{message}'");
    Ok(said.to_owned())
}

/// The arguments' values are accepted; wrong ones are reported.
fn arguments_of_regions(run: &Run) -> Checked<String> {
    for (argument, known) in [
        ("hotadd=manual", true),
        ("pmem=map=dev", true),
        ("pmem=mem", true),
        ("hotadd=later", false),
        ("pmem=map=off", true),
    ] {
        let finished = run_to_end(run, &Machine::image().append(argument).append("run=state"))?;
        ensure_eq!(finished.exit, Exit::FINE, "{argument}");
        let (key, value) = argument.split_once('=').unwrap_or_default();
        let complaint = format!("warning: boot argument {key}: '{value}' is not one of ");
        ensure_eq!(!finished.text.contains(&complaint), known, "whether {argument} is known");
    }
    Ok(String::new())
}

/// The file and the guest's memory at the region's address are the same, while it runs and over boots.
fn persistent_memory_is_the_file(run: &Run, boot: Boot) -> Checked<String> {
    let path = run.path("pmem");
    drop(std::fs::remove_file(&path));
    let with_file =
        Machine { pmem_file: Some(path.clone()), pmem_volatile: true, ..machine(boot, Granule::K4) };
    // QEMU's loader writes through the guest's own physical address space.
    let loader = format!("loader,addr={:#x},data={LOADED:#x},data-len=8", PMEM + 0x1000);
    Guest::boot(run, &with_file.clone().extra(["-device", &loader]))?.finish()?;
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).map_err(unknown_io)?;
    ensure_eq!(file.metadata().map_err(unknown_io)?.len(), PMEM_SIZE, "bytes of the file");
    ensure_eq!(read_word(&file, 0x1000)?, LOADED, "the file after the guest that had it loaded");
    write_word(&file, PMEM_SIZE - 8, WRITTEN)?;
    let mut guest = Guest::boot(run, &with_file)?;
    let state = guest.state()?;
    let Some(region) = state.regions.iter().find(|region| region.start == PMEM) else {
        return failed(format!("no region at {PMEM:#x}: {:?}", state.regions));
    };
    ensure_eq!(
        (region.volatile, region.node, region.state.as_str()),
        (true, Some(1), "waiting"),
        "the region"
    );
    let mut sees = |offset: u64| eyes::words(&mut guest.qmp, PMEM + offset, 1);
    ensure_eq!(sees(0x1000)?, [LOADED], "what the next guest has");
    ensure_eq!(sees(PMEM_SIZE - 8)?, [WRITTEN], "what the file got between the boots");
    write_word(&file, 0x2000, !WRITTEN)?;
    ensure_eq!(sees(0x2000)?, [!WRITTEN], "what the file gets now");
    guest.finish()?;
    Ok(String::new())
}

const LOADED: u64 = 0x1122_3344_5566_7788;
const WRITTEN: u64 = 0xa5a5_0000_5a5a_ffff;

pub(super) fn read_word(file: &std::fs::File, offset: u64) -> Checked<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, offset).map_err(unknown_io)?;
    Ok(u64::from_le_bytes(bytes))
}

pub(super) fn write_word(file: &std::fs::File, offset: u64, word: u64) -> Checked {
    file.write_all_at(&word.to_le_bytes(), offset).map_err(unknown_io)
}

#[expect(clippy::needless_pass_by_value, reason = "map_err gives it away")]
pub(super) fn unknown_io(error: std::io::Error) -> Error {
    Error::Unknown(format!("the pmem file: {error}"))
}
