//! `state` for programs: the version of its keys, and what it says of nodes, tenants, slots, arguments and reasons.

use super::shapes::NUMA;
use super::test::{Test, slotted};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, failed};
use hotmap_client::geometry::{GIB, Granule, MIB};
use hotmap_client::guest::{Guest, run_to_end};
use hotmap_client::machine::Machine;
use hotmap_client::run::Run;
use hotmap_client::state::{State, TenantState, ZoneNode};
use hotmap_client::{ensure, ensure_eq};

/// On the second node of boot RAM.
const DIMM: [&str; 4] =
    ["-object", "memory-backend-ram,id=m0,size=256M", "-device", "pc-dimm,id=d0,memdev=m0,node=1"];

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("state/schema", an_image_boot_has_the_keys_and_no_slots),
        Test::new("state/nodes", blocks_and_zones_name_their_nodes),
        Test::new("state/tenants", tenants_are_listed_while_they_are_there),
        Test::new("state/reason", a_dimm_that_is_not_online_says_why),
        Test::new("state/args", the_arguments_in_effect_are_listed),
    ]
}

fn an_image_boot_has_the_keys_and_no_slots(run: &Run) -> Checked<String> {
    let state = run_to_end(run, &Machine::image().append("run=state"))?.state()?;
    ensure_eq!((state.schema, state.slots), (Some(1), 0), "schema and slots of an Image boot");
    ensure_eq!(state.tenants, [], "tenants after boot");
    ensure!(state.args.is_some(), "no args");
    let firmware = Machine::firmware().append("run=state");
    ensure_eq!(run_to_end(run, &firmware)?.state()?.slots, 8, "the slots of scripts/qemu");
    Ok(String::new())
}

fn zone_nodes(state: &State, name: &str) -> Vec<ZoneNode> {
    state.zones.iter().filter(|zone| zone.name == name).flat_map(|zone| zone.nodes.clone()).collect()
}

/// The border of the nodes is a border of blocks at 4K. [`Guest::state`] checks that each zone's nodes have its pages.
fn blocks_and_zones_name_their_nodes(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K4).extra(NUMA).extra(DIMM))?;
    let state = guest.state()?;
    let border = GIB + 640 * MIB;
    for block in &state.blocks {
        ensure_eq!(
            block.node,
            u64::from(block.start >= border),
            "the node of the block at {:#x}",
            block.start
        );
    }
    ensure_eq!(state.dimms[0].node, 1, "the DIMM's node");
    let pages = |bytes: u64| bytes / 4096;
    let present = |name| -> Vec<(u64, u64)> {
        zone_nodes(&state, name).iter().map(|node| (node.node, node.present)).collect()
    };
    ensure_eq!(present("Normal"), [(0, pages(640 * MIB)), (1, pages(384 * MIB))], "zone Normal");
    ensure_eq!(present("Movable"), [(1, pages(256 * MIB))], "zone Movable");
    guest.tell("offline 0x80000000; offline 0x88000000")?;
    ensure_eq!(zone_nodes(&guest.state()?, "Movable"), [], "zone Movable without blocks");
    guest.finish()?;
    Ok(String::new())
}

fn tenants_are_listed_while_they_are_there(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K16))?;
    guest.tell("tenant new 5; tenant new 1; tenant new 700")?;
    let tenants = [(1, 5), (2, 1), (3, 700)].map(|(id, pages)| TenantState { id, pages });
    ensure_eq!(guest.state()?.tenants, tenants, "three tenants");
    guest.tell("tenant drop 2")?;
    ensure_eq!(guest.state()?.tenants, [tenants[0], tenants[2]], "without the second");
    guest.tell("tenant drop")?;
    ensure_eq!(guest.state()?.tenants, [], "without any");
    guest.finish()?;
    Ok(String::new())
}

fn reason(guest: &mut Guest, slot: u64) -> Checked<Option<String>> {
    match guest.state()?.dimm(slot) {
        Some(dimm) => Ok(dimm.reason.clone()),
        None => failed(format!("no DIMM in slot {slot}")),
    }
}

/// In the words of the console where it was refused; blocks that are offline are counted.
fn a_dimm_that_is_not_online_says_why(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K4).append("online=manual"))?;
    let dimm = Dimm::new("d0", 256 * MIB).at(2 * GIB);
    let slot = guest.plug_well(&dimm)?.slot;
    let offline = |count| Some(format!("{count} of 2 blocks are offline (online=manual)"));
    ensure_eq!(reason(&mut guest, slot)?, offline(2), "a DIMM of which nothing is online");
    guest.tell("online 0x80000000")?;
    ensure_eq!(reason(&mut guest, slot)?, offline(1), "a DIMM of which half is online");
    guest.tell("online 0x88000000")?;
    ensure_eq!(reason(&mut guest, slot)?, None, "a DIMM that is online");
    let odd = guest.plug(&Dimm::new("odd", 64 * MIB).at(4 * GIB))?;
    let Some(why) = reason(&mut guest, odd.slot)? else { return failed("a refused DIMM without a reason") };
    let line = format!("dimm{}: refused: {}", odd.slot, why.trim_end_matches(" (EINVAL)"));
    ensure!(guest.text().lines().any(|said| said == line), "the console has no line '{line}'");
    let listed = guest.tell("dimms")?;
    ensure!(listed.lines().any(|said| said.trim() == why), "dimms does not say '{why}': {listed}");
    guest.finish()?;
    Ok(why)
}

fn the_arguments_in_effect_are_listed(run: &Run) -> Checked<String> {
    let given = "memmap=nowhere online=manual hugepages=2M:3 heap=8M maxcpus=2 run=\"mem; state\"";
    let finished = run_to_end(run, &slotted(Granule::K64).append(given))?;
    let Some(args) = finished.state()?.args else { return failed("no args") };
    ensure_eq!((args.granule.as_str(), args.memmap.as_str()), ("64k", "self"), "granule, memmap");
    ensure_eq!((args.online.as_str(), args.hotadd.as_str()), ("manual", "manual"), "online, hotadd");
    ensure_eq!((args.heap, args.maxcpus), (8 * MIB, Some(2)), "heap, maxcpus");
    ensure_eq!(args.run.as_deref(), Some("mem; state"), "run");
    ensure_eq!(args.bug, None, "bug");
    let pools: Vec<(u64, u64)> = args.hugepages.iter().map(|pool| (pool.size, pool.count)).collect();
    ensure_eq!(pools, [(2 * MIB, 3)], "hugepages");
    Ok(String::new())
}
