//! Memory against a reference model: random regions of every kind, in any order and spelling, against an array that
//! says for each page who owns it.
mod support;

use hotmap_devicetree::{DtError, MachineDescription};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use support::{Writer, read, region};

const RUNS: u32 = 10_000;
const SEED: u64 = 0x0d0d_feed;

/// The model's world: this many pages from here.
const PAGES: usize = 48;
const BASE: u64 = 0x4000_0000;
const PAGE: u64 = 0x1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    Hotpluggable,
    Pmem,
}

#[derive(Clone, Debug)]
struct Node {
    kind: Kind,
    numa_node: Option<u32>,
    volatile: bool,
    /// First page and number of pages, which may be none.
    ranges: Vec<(usize, usize)>,
    /// How it is spelled: with NOPs, with an uninteresting node before it, on a bus, or disabled.
    nops: bool,
    stranger: bool,
    on_bus: bool,
    disabled: bool,
}

fn node() -> impl Strategy<Value = Node> {
    let kind = prop_oneof![3 => Just(Kind::Plain), 2 => Just(Kind::Hotpluggable), 1 => Just(Kind::Pmem)];
    let range = (0..PAGES - 12, 0..12_usize);
    let spelling =
        (any::<bool>(), any::<bool>(), proptest::bool::weighted(0.3), proptest::bool::weighted(0.1));
    let traits = (proptest::option::of(0..4_u32), any::<bool>());
    (kind, traits, vec(range, 1..3), spelling).prop_map(
        |(kind, (numa_node, volatile), ranges, (nops, stranger, on_bus, disabled))| Node {
            kind,
            numa_node,
            volatile,
            ranges,
            nops,
            stranger,
            on_bus,
            disabled,
        },
    )
}

/// What the tree should come out as: `None` where two regions contradict each other.
#[derive(Debug, PartialEq, Eq)]
struct Expected {
    memory: Vec<(u64, u64, bool, Option<u32>)>,
    pmem: Vec<(u64, u64, bool, Option<u32>)>,
    /// For each page: the NUMA node that its owner names.
    numa_nodes: Vec<Option<u32>>,
}

/// Fills the array, and reads the answer off it page by page.
fn model(nodes: &[Node]) -> Option<Expected> {
    // Per page, the region that owns it: of the plain ones, and of the others, which may lie on top.
    let mut plain = [None; PAGES];
    let mut special = [None; PAGES];
    let enabled = nodes.iter().filter(|node| !node.disabled);
    for (number, (node, range)) in
        enabled.flat_map(|node| node.ranges.iter().map(move |range| (node, range))).enumerate()
    {
        let layer = if node.kind == Kind::Plain { &mut plain } else { &mut special };
        for owner in &mut layer[range.0..range.0 + range.1] {
            if owner.replace((number, node.kind, node.numa_node, node.volatile)).is_some() {
                return None;
            }
        }
    }
    let owners: Vec<_> = (0..PAGES).map(|page| special[page].or(plain[page])).collect();
    let numa_nodes = owners.iter().map(|owner| owner.and_then(|(_, _, numa_node, _)| numa_node)).collect();
    let mut expected = Expected { memory: Vec::new(), pmem: Vec::new(), numa_nodes };
    let mut page = 0;
    for run in owners.chunk_by(|a, b| a == b) {
        let (start, size) = (BASE + page * PAGE, run.len() as u64 * PAGE);
        page += run.len() as u64;
        match run[0] {
            None => {}
            Some((_, Kind::Pmem, numa_node, volatile)) => {
                expected.pmem.push((start, size, volatile, numa_node));
            }
            Some((_, kind, numa_node, _)) => {
                expected.memory.push((start, size, kind == Kind::Hotpluggable, numa_node));
            }
        }
    }
    Some(expected)
}

fn write(nodes: &[Node]) -> Vec<u8> {
    let mut writer = Writer::root();
    for node in nodes {
        // The bus subtracts half of the base.
        let shift = if node.on_bus { BASE / 2 } else { 0 };
        let regions: Vec<(u64, u64)> = node
            .ranges
            .iter()
            .map(|(page, count)| (BASE - shift + *page as u64 * PAGE, *count as u64 * PAGE))
            .collect();
        if node.stranger {
            writer
                .begin("stranger")
                .text("compatible", "virtio,mmio")
                .reg(&regions)
                .begin("child")
                .end()
                .end();
        }
        if node.on_bus {
            writer.begin("bus").cells("#address-cells", &[2]).cells("#size-cells", &[2]);
            let from = u32::try_from(BASE - shift).expect("fits");
            let to = u32::try_from(BASE).expect("fits");
            writer.cells("ranges", &[0, from, 0, to, 0, 0x1000_0000]);
        }
        one(&mut writer, node, &regions);
        if node.on_bus {
            writer.end();
        }
    }
    writer.blob()
}

fn one(writer: &mut Writer, node: &Node, regions: &[(u64, u64)]) {
    let nop = |writer: &mut Writer| {
        if node.nops {
            writer.token(4).token(4);
        }
    };
    nop(writer);
    writer.begin("region@1").reg(regions);
    nop(writer);
    if let Some(numa_node) = node.numa_node {
        writer.cells("numa-node-id", &[numa_node]);
    }
    // Of no meaning on RAM.
    if node.volatile {
        writer.property("volatile", b"");
    }
    match node.kind {
        Kind::Plain => writer.text("device_type", "memory"),
        Kind::Hotpluggable => writer.property("hotpluggable", b"").text("device_type", "memory"),
        Kind::Pmem => writer.text("compatible", "pmem-region"),
    };
    writer.text("status", if node.disabled { "disabled" } else { "okay" });
    nop(writer);
    writer.end();
    nop(writer);
}

fn found(machine: &MachineDescription) -> Expected {
    Expected {
        memory: machine
            .memory
            .iter()
            .map(|entry| (entry.region.start, entry.region.size, entry.hotpluggable, entry.numa_node))
            .collect(),
        pmem: machine
            .pmem
            .iter()
            .map(|entry| (entry.region.start, entry.region.size, entry.volatile, entry.numa_node))
            .collect(),
        // The last byte of each page: the ends of ranges are looked at too.
        numa_nodes: (1..=PAGES as u64).map(|page| machine.numa_node_at(BASE + page * PAGE - 1)).collect(),
    }
}

#[test]
fn memory_is_what_the_pages_say() {
    let counts = std::cell::Cell::new([0_u32; 3]);
    let count = |which: usize| {
        let mut all = counts.get();
        all[which] += 1;
        counts.set(all);
    };
    let config = Config {
        cases: RUNS,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(SEED),
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&vec(node(), 0..6), |nodes| {
        let result = read(&write(&nodes));
        match model(&nodes) {
            None => {
                count(0);
                prop_assert!(matches!(result, Err(DtError::Overlap { .. })), "{result:x?}");
            }
            Some(expected) if expected.memory.iter().all(|(_, _, hotpluggable, _)| *hotpluggable) => {
                count(1);
                prop_assert_eq!(result.map(drop), Err(DtError::NoMemory));
            }
            Some(expected) => {
                count(2);
                prop_assert_eq!(result.map(|machine| found(&machine)), Ok(expected));
            }
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(counts.get().iter().all(|count| *count > RUNS / 20), "each outcome is tried often: {counts:?}");
}

#[test]
fn an_overlap_is_told_with_both_regions() {
    let mut writer = Writer::root();
    writer.memory(&[(0x5000, 0x3000)]).end().memory(&[(0x4000, 0x2000)]).end();
    let expected = DtError::Overlap { first: region(0x4000, 0x2000), second: region(0x5000, 0x3000) };
    assert_eq!(read(&writer.blob()).map(drop), Err(expected));
}
