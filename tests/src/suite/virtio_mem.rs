//! Virtio memory: the guest follows the size that the device requests, at every granule in the device's steps, and QEMU
//! agrees on every byte.

use super::life::HOMES;
use super::looking;
use super::test::{Test, per_granule};
use hotmap_client::error::{Checked, During};
use hotmap_client::geometry::{GIB, GRANULES, Granule, MIB};
use hotmap_client::guest::{Guest, Plugged, run_to_end};
use hotmap_client::machine::{BOOTS, Boot, Machine};
use hotmap_client::qemu::Exit;
use hotmap_client::run::Run;
use hotmap_client::state::{BlockState, Memmap, State, ZoneName};
use hotmap_client::{ensure, ensure_eq};

/// What the device block is, unless a test says otherwise: QEMU's default on a host with 2 MiB huge pages.
pub(super) const STEP: u64 = 2 * MIB;
pub(super) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for granule in GRANULES {
        for boot in BOOTS {
            for gic in [2, 3] {
                let body = move |run: &Run| follows(run, granule, boot, gic);
                tests.push(Test::new(format!("virtio-mem/{granule}/{}-gic{gic}", boot.name()), body));
            }
        }
        for memmap in HOMES {
            let body = move |run: &Run| in_steps(run, granule, memmap);
            tests.push(Test::new(format!("virtio-mem/steps/{granule}/memmap-{}", memmap.word()), body));
        }
    }
    tests.extend(per_granule("virtio-mem/held", a_held_page_stays));
    tests.extend(per_granule("virtio-mem/host-memory", the_host_gets_its_memory_back));
    tests.extend(per_granule("virtio-mem/meanwhile", the_last_request_counts));
    tests.extend(per_granule("virtio-mem/several", several_devices));
    tests.extend(per_granule("virtio-mem/neighbours", two_in_one_block));
    tests.extend(per_granule("virtio-mem/untouched", what_is_unplugged_is_not_touched));
    tests.extend(per_granule("virtio-mem/rebind", plugged_when_it_is_found));
    tests.extend(per_granule("virtio-mem/manual", offline_until_told));
    tests.extend(per_granule("virtio-mem/inject", each_allocation_fails));
    tests.extend(per_granule("virtio-mem/large-blocks", large_device_blocks));
    for gic in [2, 3] {
        let body = move |run: &Run| busy_while_migrating(run, gic);
        tests.push(Test::new(format!("virtio-mem/busy/gic{gic}"), body));
    }
    tests.push(Test::new("virtio-mem/off", switched_off));
    tests
}

pub(super) fn machine(granule: Granule, device: &str) -> Machine {
    Machine::firmware().granule(granule).virtio_mem(&format!("{device},block=2M"))
}

/// The parts of memory that the blocks of a device have.
fn plugged_in_blocks(state: &State, number: usize) -> u64 {
    let source = format!("virtio-mem{number}");
    state.blocks.iter().filter(|block| block.source == source).filter_map(|block| block.plugged).sum()
}

/// A device with memory requested at boot, more later, less, and none.
fn follows(run: &Run, granule: Granule, boot: Boot, gic: u32) -> Checked<String> {
    let machine = Machine { gic: Some(gic), ..Machine::by(boot) }.granule(granule);
    let mut guest = Guest::boot(run, &machine.clone().virtio_mem("4G,block=2M"))?;
    let bare = guest.state()?;
    guest.finish()?;
    let mut guest = Guest::boot(run, &machine.virtio_mem("4G,requested=1G,block=2M"))?;
    let state = guest.await_resize(0)?;
    is_all_there(&state, GIB)?;
    for size in [3 * GIB, 3 * GIB - STEP, GIB + 5 * STEP, STEP, 0] {
        let state = guest.resize(0, size).during(&format!("resizing to {size:#x}"))?;
        is_all_there(&state, size)?;
        reaches_what_is_plugged(&mut guest, &state)?;
    }
    let end = guest.state()?;
    ensure_eq!(end.pages, bare.pages, "pages after all has gone, beside a boot that requested none");
    ensure_eq!(end.zones, bare.zones, "zones after all has gone");
    ensure_eq!(end.blocks, bare.blocks, "blocks after all has gone");
    guest.finish()?;
    Ok(String::new())
}

/// The lowest `size` bytes of the region are in online blocks of Movable.
fn is_all_there(state: &State, size: u64) -> Checked {
    let device = &state.virtio_mem[0];
    ensure_eq!(device.stuck.len(), 0, "what stays: {:?}", device.stuck);
    ensure_eq!(plugged_in_blocks(state, 0), size, "bytes that are plugged, by the blocks");
    for block in state.blocks.iter().filter(|block| block.source == "virtio-mem0") {
        let (start, end) =
            (block.start.max(device.start), (block.start + block.size).min(device.start + size));
        ensure_eq!(block.plugged, Some(end.saturating_sub(start)), "plugged of block {:#x}", block.start);
        ensure_eq!(
            (block.state, block.zone),
            (BlockState::Online, ZoneName::Movable),
            "block {:#x}",
            block.start
        );
    }
    Ok(())
}

/// QEMU's own walk of the linear map ends at what is plugged.
fn reaches_what_is_plugged(guest: &mut Guest, state: &State) -> Checked {
    let device = &state.virtio_mem[0];
    let plugged = Plugged { address: device.start, size: device.plugged_size, slot: 0, status: 0 };
    if device.plugged_size == 0 { Ok(()) } else { looking::linear_map_leads_to(guest, state, plugged) }
}

/// Steps of one device block up and down across the boundary of a memory block.
fn in_steps(run: &Run, granule: Granule, memmap: Memmap) -> Checked<String> {
    let machine = machine(granule, "2G").append(&format!("memmap={}", memmap.word()));
    let mut guest = Guest::boot(run, &machine)?;
    let start = guest.state()?;
    let edge = granule.block();
    for size in
        [1, 2, 3].map(|n| n * STEP).into_iter().chain([edge - STEP, edge, edge + STEP, edge + 2 * STEP])
    {
        is_all_there(&guest.resize(0, size)?, size)?;
    }
    guest.tell("audit").during("with a block and two steps")?;
    for size in [edge + STEP, edge, edge - STEP, 3 * STEP, STEP, 0] {
        is_all_there(&guest.resize(0, size)?, size)?;
    }
    let end = guest.state()?;
    ensure_eq!(end.pages, start.pages, "pages after all has gone");
    ensure_eq!(end.heap, start.heap, "heap after all has gone");
    guest.finish()?;
    Ok(String::new())
}

/// A held page keeps its unit, and no more than it has to; once it is released that goes too.
fn a_held_page_stays(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(granule, "4G,requested=2G").append("memmap=ram"))?;
    let state = guest.await_resize(0)?;
    let device = &state.virtio_mem[0];
    let held = device.start + GIB + GIB / 2 + 3 * STEP + 5 * state.granule;
    guest.tell(&format!("pin addr:{held:#x}"))?;
    guest.request(0, 0)?;
    let state = guest.await_resize(0)?;
    let device = &state.virtio_mem[0];
    ensure_eq!((device.plugged_size, device.state.as_str()), (STEP, "stuck"), "with a page held: {device:?}");
    let [stay] = device.stuck.as_slice() else {
        return hotmap_client::error::failed(format!("one unit should stay: {:?}", device.stuck));
    };
    ensure_eq!((stay.start, stay.size), (held / STEP * STEP, STEP), "what stays: {}", stay.why);
    ensure!(stay.why.contains("pinned") || stay.why.contains("held"), "why it stays: {}", stay.why);
    let said = guest.text();
    ensure!(said.contains("stays as it is"), "a line says what stays: {said}");
    guest.tell(&format!("unpin addr:{held:#x}"))?;
    ensure_eq!(guest.await_resize(0)?.virtio_mem[0].plugged_size, 0, "once the page was released");
    guest.finish()?;
    Ok(String::new())
}

/// What a tenant wrote to is the host's again once it is unplugged.
fn the_host_gets_its_memory_back(run: &Run, granule: Granule) -> Checked<String> {
    // A size that no other mapping has.
    let region = 3 * GIB;
    let mut guest = Guest::boot(run, &machine(granule, "3G,requested=1G").append("memmap=self"))?;
    guest.await_resize(0)?;
    guest.tell(&format!("tenant new {}", 512 * MIB / granule.bytes()))?;
    let full = guest.resident(region)?;
    ensure!(full >= 500 * MIB, "a tenant of 512 MiB made {full:#x} bytes resident");
    guest.tell("tenant drop")?;
    guest.resize(0, 64 * MIB)?;
    let small = guest.resident(region)?;
    ensure!(small <= 64 * MIB, "{small:#x} bytes are resident with 64 MiB plugged");
    guest.resize(0, 0)?;
    let none = guest.resident(region)?;
    ensure_eq!(none, 0, "bytes resident with nothing plugged");
    guest.finish()?;
    Ok(format!("{} MiB, then {} MiB, then none", full / MIB, small / MIB))
}

/// Requests that come while the guest still follows an earlier one: the last counts.
fn the_last_request_counts(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(granule, "4G"))?;
    let start = guest.state()?;
    for sizes in [[4 * GIB, STEP, 2 * GIB], [0, 3 * GIB, 5 * STEP], [GIB, 2 * GIB, 0]] {
        for size in sizes {
            guest.request(0, size)?;
        }
        let state = guest.await_resize(0)?;
        is_all_there(&state, sizes[2])?;
    }
    ensure_eq!(guest.state()?.pages, start.pages, "pages at the end");
    guest.finish()?;
    Ok(String::new())
}

/// Two devices, each on a NUMA node of its own.
fn several_devices(run: &Run, granule: Granule) -> Checked<String> {
    let nodes =
        ["-object", "memory-backend-ram,id=ram0,size=1G", "-numa", "node,nodeid=0,cpus=0,memdev=ram0"];
    let more = ["-numa", "node,nodeid=1", "-object", "memory-backend-ram,id=b1,size=2G"];
    let second = ["-device", "virtio-mem-pci,id=vm1,memdev=b1,node=1,requested-size=256M,block-size=2M"];
    let extra = nodes.into_iter().chain(more).chain(second);
    let machine = machine(granule, "2G,requested=512M").extra(extra);
    let mut guest = Guest::boot(run, &machine)?;
    guest.await_resize(0)?;
    let state = guest.await_resize(1)?;
    let sizes = [0, 1].map(|n| (state.virtio_mem[n].plugged_size, state.virtio_mem[n].node));
    ensure_eq!(sizes, [(512 * MIB, 0), (256 * MIB, 1)], "plugged, and the node");
    guest.resize(0, 0)?;
    guest.resize(1, GIB)?;
    guest.resize(0, GIB + STEP)?;
    guest.resize(1, 0)?;
    guest.resize(0, 0)?;
    guest.finish()?;
    Ok(String::new())
}

/// With dynamic-memslots QEMU has no memory at all where a large part of the region is unplugged: a guest that touched it would
/// end with an abort. All of what is plugged is used, the rest of its blocks is not.
fn what_is_unplugged_is_not_touched(run: &Run, granule: Granule) -> Checked<String> {
    let (slots, remark) = match has_memslots()? {
        true => (",dynamic-memslots=on", ""),
        false => ("", "this QEMU has no dynamic-memslots"),
    };
    for memmap in HOMES {
        let device = format!("virtio-mem-pci,id=vm0,memdev=m,block-size=2M{slots}");
        let extra = ["-object", "memory-backend-ram,id=m,size=16G", "-device", &device];
        let machine = Machine::firmware().granule(granule).extra(extra);
        let mut guest = Guest::boot(run, &machine.append(&format!("memmap={}", memmap.word())))?;
        let start = guest.state()?;
        for size in [3 * STEP, granule.block() + STEP] {
            guest.resize(0, size)?;
            let movable =
                guest.state()?.zones.iter().find(|zone| zone.name == "Movable").map_or(0, |zone| zone.free);
            guest.tell(&format!("tenant new {}", movable.max(1)))?;
            guest.tell("audit").during(&format!("with {size:#x} plugged and in use"))?;
            guest.resize(0, size - STEP)?;
            guest.tell("tenant check")?;
            guest.tell("tenant drop")?;
        }
        guest.resize(0, 0)?;
        ensure_eq!(guest.state()?.pages, start.pages, "pages at the end, memmap={}", memmap.word());
        guest.finish()?;
    }
    Ok(remark.to_owned())
}

/// Whether QEMU's device has the property.
fn has_memslots() -> Checked<bool> {
    let qemu = std::env::var("QEMU").unwrap_or_else(|_| "qemu-system-aarch64".into());
    let help = std::process::Command::new(&qemu).args(["-device", "virtio-mem-pci,help"]).output();
    match help {
        Ok(help) => Ok(String::from_utf8_lossy(&help.stdout).contains("dynamic-memslots")),
        Err(error) => {
            hotmap_client::error::unknown(format!("{qemu} cannot be asked for its properties: {error}"))
        }
    }
}

/// Two regions that meet in the middle of a memory block.
fn two_in_one_block(run: &Run, granule: Granule) -> Checked<String> {
    let size = granule.block() * 5 / 2;
    let device = format!("{}M,block=2M", size / MIB);
    let machine =
        Machine::image().granule(granule).virtio_mem(&device).virtio_mem(&device).append("memmap=ram");
    let mut guest = Guest::boot(run, &machine)?;
    let start = guest.state()?;
    let starts = [0, 1].map(|n| start.virtio_mem[n].start);
    let meet = starts[0].max(starts[1]);
    ensure!(!meet.is_multiple_of(granule.block()), "the regions start at {starts:x?}: no block is shared");
    for sizes in [[size, size], [size, STEP], [2 * STEP, size], [size, 0], [STEP, 3 * STEP], [0, size]] {
        for (number, size) in sizes.into_iter().enumerate() {
            guest.resize(number, size)?;
        }
        guest.tell("audit").during(&format!("at {sizes:x?}"))?;
    }
    guest.resize(1, 0)?;
    let end = guest.state()?;
    ensure_eq!((end.pages, end.blocks), (start.pages, start.blocks), "pages and blocks at the end");
    guest.finish()?;
    Ok(format!("{starts:x?}"))
}

/// A device that has memory plugged when it is found: it is used, and nothing is plugged or unplugged for that.
fn plugged_when_it_is_found(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(granule, "2G,requested=1G").append("memmap=demand"))?;
    let before = guest.await_resize(0)?;
    guest.tell("vmems rebind 0")?;
    let after = guest.await_resize(0)?;
    is_all_there(&after, GIB)?;
    ensure_eq!(after.pages, before.pages, "pages after the device was found anew");
    let held = after.virtio_mem[0].start + 100 * MIB;
    guest.tell(&format!("pin addr:{held:#x}"))?;
    guest.tell_in_vain("vmems rebind 0")?;
    is_all_there(&guest.await_resize(0)?, GIB)?;
    guest.tell(&format!("unpin addr:{held:#x}"))?;
    guest.resize(0, 0)?;
    guest.finish()?;
    Ok(String::new())
}

/// With online=manual what is plugged waits for `online`, block by block.
fn offline_until_told(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(granule, "4G").append("online=manual"))?;
    let start = guest.state()?;
    let size = granule.block() + 3 * STEP;
    let state = guest.resize(0, size)?;
    ensure_eq!(plugged_in_blocks(&state, 0), size, "bytes that are plugged");
    ensure!(state.pages.free <= start.pages.free, "nothing is online yet");
    let blocks: Vec<u64> =
        state.blocks.iter().filter(|block| block.source == "virtio-mem0").map(|block| block.start).collect();
    for block in &blocks {
        guest.tell(&format!("online {block:#x}"))?;
    }
    let online = guest.state()?;
    ensure!(online.pages.free > start.pages.free, "{} pages are free", online.pages.free);
    guest.tell("audit").during("with all blocks online")?;
    for block in &blocks {
        guest.tell(&format!("offline {block:#x}"))?;
    }
    guest.resize(0, STEP)?;
    guest.resize(0, 0)?;
    ensure_eq!(guest.state()?.pages, start.pages, "pages at the end");
    guest.finish()?;
    Ok(String::new())
}

/// Each allocation of a growth fails in turn: the guest and QEMU agree, and the next request is followed.
fn each_allocation_fails(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(granule, "2G").append("memmap=ram"))?;
    let start = guest.state()?;
    let size = granule.block() + 3 * STEP;
    let mut fired = 0;
    for n in 1..200 {
        let from = guest.position();
        guest.tell(&format!("inject alloc {n}"))?;
        guest.request(0, size)?;
        guest.await_resize(0).during(&format!("allocation {n} fails"))?;
        if guest.text_since(from).contains("did not fire") {
            break;
        }
        fired += 1;
        guest.resize(0, 0)?;
        ensure_eq!(guest.state()?.pages, start.pages, "pages after allocation {n} failed");
    }
    ensure!(fired > 3, "{fired} allocations failed");
    guest.resize(0, 0)?;
    guest.finish()?;
    Ok(format!("{fired} allocations"))
}

/// A device whose blocks are larger than a memory block: whole blocks come and go.
fn large_device_blocks(run: &Run, granule: Granule) -> Checked<String> {
    let machine = Machine::image().granule(granule).virtio_mem("4G,requested=1G,block=1G");
    let mut guest = Guest::boot(run, &machine)?;
    guest.await_resize(0)?;
    guest.resize(0, 3 * GIB)?;
    guest.resize(0, GIB)?;
    guest.resize(0, 0)?;
    guest.finish()?;
    Ok(String::new())
}

/// virtio_mem=off leaves the devices alone.
fn switched_off(run: &Run) -> Checked<String> {
    let machine =
        Machine::firmware().virtio_mem("2G,requested=1G").append("virtio_mem=off run=\"vmems; state\"");
    let finished = run_to_end(run, &machine)?;
    ensure_eq!(finished.exit, Exit::FINE, "the run");
    ensure!(finished.text.contains("virtio memory devices: 0"), "{}", finished.text);
    Ok(String::new())
}

/// A device answers BUSY while QEMU migrates the guest. The kernel sleeps, tries again when its timer ends that, and has what
/// was requested once the migration is over.
fn busy_while_migrating(run: &Run, gic: u32) -> Checked<String> {
    let machine = Machine { gic: Some(gic), ..machine(Granule::K4, "4G") };
    let mut guest = Guest::boot(run, &machine)?;
    for line in ["migrate_set_parameter max-bandwidth 1M", "migrate -d \"exec:cat > /dev/null\""] {
        let said = guest.qmp.monitor(line)?;
        ensure_eq!(said.trim(), "", "what QEMU says to {line}");
    }
    guest.request(0, GIB)?;
    let state = guest.state()?;
    let device = &state.virtio_mem[0];
    ensure_eq!((device.plugged_size, device.state.as_str()), (0, "waiting"), "{device:?}");
    looking::falls_asleep(&mut guest)?;
    guest.qmp.monitor("migrate_cancel")?;
    is_all_there(&guest.await_resize(0)?, GIB)?;
    guest.finish()?;
    Ok(String::new())
}
