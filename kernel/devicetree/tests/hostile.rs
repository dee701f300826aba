//! Whatever the blob says, `parse` returns, and what it returns is either an error with a message or a description
//! that keeps its promises. Fixed seeds and a fixed number of runs: a failure here fails again.
mod support;

use hotmap_devicetree::{MachineDescription, Region, parse};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use support::{Writer, blobs, fixtures, patch};

/// Runs of each property.
const RUNS: u32 = 20_000;
const SEED: u64 = 0x0d0d_feed;

/// Words that mean something in a blob, or are on the edge of something.
const WORDS: [u32; 16] = [
    0,
    1,
    2,
    3,
    4,
    5,
    8,
    9,
    0x28,
    0x100,
    0x10_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xd00d_feed,
    0xffff_fffc,
    0xffff_ffff,
];

fn check<S: Strategy>(strategy: S, test: impl Fn(S::Value)) {
    let config = Config {
        cases: RUNS,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(SEED),
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&strategy, |input| {
        test(input);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// Parses, and checks what can be said about any outcome. Returns whether the blob was taken.
fn survive(blob: &[u8]) -> bool {
    let mut out = Box::new(MachineDescription::new());
    match parse(blob, &mut out) {
        Ok(()) => {
            keeps_its_promises(&out);
            true
        }
        Err(error) => {
            let message = error.to_string();
            assert!(message.starts_with("device tree: ") && message.len() > 20, "{message}");
            assert!(!message.chars().any(char::is_control), "{message:?}");
            assert!(!message.ends_with("invalid"), "every rule has its message");
            false
        }
    }
}

fn keeps_its_promises(machine: &MachineDescription) {
    let memory: Vec<Region> = machine.memory.iter().map(|entry| entry.region).collect();
    let pmem: Vec<Region> = machine.pmem.iter().map(|entry| entry.region).collect();
    let reserved = machine.reserved.iter().map(|entry| entry.region);
    let all = memory.iter().chain(&pmem).copied().chain(reserved).chain(machine.initrd);
    let pci = [machine.pci.memory32, machine.pci.memory64, machine.pci.io].into_iter().flatten();
    let buses = pci.map(|window| window.region).chain(machine.virtio_mmio.iter().map(|device| device.region));
    for region in all.chain(machine.fw_cfg).chain(machine.pci.ecam).chain(buses) {
        assert!(region.size > 0 && region.start.checked_add(region.size).is_some(), "{region:x?}");
    }
    for list in [&memory, &pmem] {
        assert!(list.is_sorted_by(|a, b| a.end() <= b.start), "ascending, disjoint: {list:x?}");
    }
    assert!(!memory.iter().any(|ram| pmem.iter().any(|pmem| ram.overlaps(*pmem))));
    assert!(machine.memory.iter().any(|ram| !ram.hotpluggable));
    assert!(machine.cpus.len() <= machine.cpu_count as usize);
    for entry in &machine.memory {
        for address in [entry.region.start, entry.region.end() - 1] {
            assert_eq!(machine.numa_node_at(address), entry.numa_node, "{entry:x?}");
        }
    }
    for entry in &machine.pmem {
        assert_eq!(machine.numa_node_at(entry.region.start), entry.numa_node, "{entry:x?}");
    }
}

#[test]
fn findings_stay_found() {
    for (name, blob) in blobs("tests/findings") {
        let path = format!("{}/tests/findings/{name}.txt", env!("CARGO_MANIFEST_DIR"));
        let expected = std::fs::read_to_string(&path).expect("each finding has its message beside it");
        let outcome = support::read(&blob).map(drop).map_err(|error| error.to_string());
        assert_eq!(outcome, Err(expected.trim_end().to_string()), "{name}");
    }
}

#[test]
fn a_blob_that_is_cut_off_anywhere_is_refused() {
    for (name, blob) in fixtures() {
        for length in 0..blob.len() {
            assert!(!survive(&blob[..length]), "{name} cut to {length}");
        }
    }
}

#[test]
fn a_blob_that_is_cut_off_and_says_so_is_refused() {
    for (name, mut blob) in fixtures() {
        for length in (40..blob.len()).rev() {
            blob.truncate(length);
            patch(&mut blob, 4, u32::try_from(length).expect("small"));
            assert!(!survive(&blob), "{name} cut to {length}: the strings block is its last");
        }
    }
}

#[test]
fn a_structure_block_that_is_cut_off_anywhere_is_refused() {
    for (name, mut blob) in fixtures() {
        let size = u32::from_be_bytes(blob[36..40].try_into().expect("four bytes"));
        for shorter in 0..size {
            patch(&mut blob, 36, shorter);
            assert!(!survive(&blob), "{name}, structure block cut to {shorter}");
        }
    }
}

/// One change to a blob.
#[derive(Clone, Debug)]
enum Change {
    Byte(Index, u8),
    Word(Index, u32),
    CopyWord(Index, Index),
    Remove(Index),
    Insert(Index, u32),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        4 => (any::<Index>(), select(&WORDS)).prop_map(|(at, word)| Change::Word(at, word)),
        2 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Change::CopyWord(from, to)),
        1 => any::<Index>().prop_map(Change::Remove),
        1 => (any::<Index>(), select(&WORDS)).prop_map(|(at, word)| Change::Insert(at, word)),
    ]
}

fn apply(blob: &mut Vec<u8>, change: &Change) {
    let word_at = |at: &Index| at.index(blob.len() / 4) * 4;
    match change {
        Change::Byte(at, byte) => {
            let at = at.index(blob.len());
            blob[at] = *byte;
        }
        Change::Word(at, word) => {
            let at = word_at(at);
            patch(blob, at, *word);
        }
        Change::CopyWord(from, to) => {
            let (from, to) = (word_at(from), word_at(to));
            blob.copy_within(from..from + 4, to);
        }
        Change::Remove(at) => {
            let at = word_at(at);
            blob.drain(at..at + 4);
        }
        Change::Insert(at, word) => {
            let at = word_at(at);
            blob.splice(at..at, word.to_be_bytes());
        }
    }
}

#[test]
fn a_damaged_blob_is_survived() {
    let blobs: Vec<Vec<u8>> = fixtures().into_iter().map(|(_, blob)| blob).collect();
    check((select(blobs), vec(change(), 1..6)), |(mut blob, changes)| {
        for change in &changes {
            apply(&mut blob, change);
        }
        survive(&blob);
    });
}

#[test]
fn a_header_of_any_words_is_survived() {
    let blobs: Vec<Vec<u8>> = fixtures().into_iter().map(|(_, blob)| blob).collect();
    let word = prop_oneof![select(&WORDS), 0..0x2000_u32, any::<u32>()];
    check((select(blobs), vec((1..10_usize, word), 1..4)), |(mut blob, words)| {
        for (index, word) in words {
            patch(&mut blob, index * 4, word);
        }
        survive(&blob);
    });
}

#[test]
fn any_bytes_are_survived() {
    check(vec(any::<u8>(), 0..200), |mut blob| {
        survive(&blob);
        if blob.len() >= 8 {
            patch(&mut blob, 0, 0xd00d_feed);
            let length = u32::try_from(blob.len()).expect("small");
            patch(&mut blob, 4, length);
            survive(&blob);
        }
    });
}

#[test]
fn a_structure_block_of_any_words_is_survived() {
    let word = prop_oneof![8 => select(&[1_u32, 2, 3, 4, 9, 0]), 1 => select(&WORDS), 1 => any::<u32>()];
    check(vec(word, 0..60), |words| {
        let mut writer = machine();
        for word in words {
            writer.token(word);
        }
        survive(&writer.raw_blob());
        survive(&writer.blob());
    });
}

/// A root with RAM, left open.
fn machine() -> Writer {
    let mut writer = Writer::root();
    writer.memory(&[(0x4000_0000, 0x4000_0000)]).end();
    writer
}

const NODES: [&str; 10] =
    ["chosen", "aliases", "cpus", "reserved-memory", "memory@0", "intc", "psci", "soc", "uart@1", "n"];
const PROPERTIES: [&str; 28] = [
    "interrupt-map",
    "interrupt-map-mask",
    "bus-range",
    "dma-coherent",
    "#address-cells",
    "#size-cells",
    "#interrupt-cells",
    "#redistributor-regions",
    "redistributor-stride",
    "phandle",
    "interrupt-parent",
    "interrupts",
    "compatible",
    "device_type",
    "status",
    "reg",
    "ranges",
    "numa-node-id",
    "bootargs",
    "stdout-path",
    "linux,initrd-start",
    "linux,initrd-end",
    "method",
    "hotpluggable",
    "volatile",
    "no-map",
    "serial0",
    "x",
];
const TEXTS: [&str; 19] = [
    "virtio,mmio",
    "memory",
    "cpu",
    "okay",
    "disabled",
    "arm,gic-v3",
    "arm,gic-400",
    "arm,psci",
    "arm,psci-1.0",
    "pmem-region",
    "qemu,fw-cfg-mmio",
    "pci-host-ecam-generic",
    "arm,pl011",
    "hvc",
    "/soc/uart",
    "/uart@1",
    "serial0:1",
    "/n/n",
    "",
];

/// A piece of a tree that is well formed and means anything.
#[derive(Clone, Debug)]
enum Piece {
    Begin(&'static str),
    End,
    Nop,
    Text(&'static str, &'static str),
    Cells(&'static str, Vec<u32>),
    Bytes(&'static str, Vec<u8>),
}

fn piece() -> impl Strategy<Value = Piece> {
    let cell = prop_oneof![4 => select(&[0_u32, 1, 2, 3]), 2 => select(&WORDS), 1 => any::<u32>()];
    prop_oneof![
        3 => select(&NODES[..]).prop_map(Piece::Begin),
        2 => Just(Piece::End),
        1 => Just(Piece::Nop),
        5 => (select(&PROPERTIES[..]), select(&TEXTS[..])).prop_map(|(name, text)| Piece::Text(name, text)),
        5 => (select(&PROPERTIES[..]), vec(cell, 0..15)).prop_map(|(name, cells)| Piece::Cells(name, cells)),
        1 => (select(&PROPERTIES[..]), vec(any::<u8>(), 0..9)).prop_map(|(name, bytes)| Piece::Bytes(name, bytes)),
    ]
}

/// Writes the pieces so that the structure is well formed: properties first, nodes closed, not too deep.
fn well_formed(pieces: &[Piece]) -> Vec<u8> {
    let mut writer = machine();
    let (mut depth, mut properties_allowed) = (0, false);
    for piece in pieces {
        match piece {
            Piece::Begin(name) if depth < 15 => {
                writer.begin(name);
                (depth, properties_allowed) = (depth + 1, true);
            }
            Piece::End if depth > 0 => {
                writer.end();
                (depth, properties_allowed) = (depth - 1, false);
            }
            Piece::Nop => writer.token(4).done(),
            Piece::Text(name, text) if properties_allowed => writer.text(name, text).done(),
            Piece::Cells(name, cells) if properties_allowed => writer.cells(name, cells).done(),
            Piece::Bytes(name, bytes) if properties_allowed => writer.property(name, bytes).done(),
            _ => {}
        }
    }
    (0..depth).for_each(|_| writer.end().done());
    writer.blob()
}

#[test]
fn a_well_formed_tree_of_any_meaning_is_survived() {
    let taken = std::cell::Cell::new(0_u32);
    check(vec(piece(), 0..60), |pieces| taken.set(taken.get() + u32::from(survive(&well_formed(&pieces)))));
    // The trees must get past the first rule often enough for the rest to be tried.
    assert!(taken.get() > RUNS / 10, "only {} of {RUNS} were taken", taken.get());
}

/// Blobs of a megabyte whose naive reading takes the square of that. A parse that hangs here is the failure.
#[test]
fn large_blobs_take_no_more_than_their_size() {
    const COUNT: u32 = 40_000;
    // Many nodes and many properties.
    let mut writer = machine();
    // 40: the end of "reg", the last string so far.
    (0..COUNT).for_each(|_| writer.begin("n").property_named_at(40, b"").end().done());
    assert!(survive(&writer.blob()));
    // A bus with many ranges, and a device with many regions on it that all lie in the last of them.
    let mut writer = machine();
    let ranges: Vec<u32> = (1..=COUNT).rev().flat_map(|index| [index << 4, 0, index << 4, 16]).collect();
    writer.begin("bus").cells("#address-cells", &[1]).cells("#size-cells", &[1]).cells("ranges", &ranges);
    let reg: Vec<u32> = (0..COUNT).flat_map(|_| [16, 16]).collect();
    for (name, value) in
        [("compatible", "arm,gic-v3"), ("compatible", "qemu,fw-cfg-mmio"), ("device_type", "memory")]
    {
        writer.begin("n").text(name, value).cells("reg", &reg).end();
    }
    assert!(!survive(&writer.end().blob()), "the memory regions overlap");
    // Many reservations that reserve nothing, and long names of nodes on the way to a console that is not there.
    let mut writer = machine();
    writer.reserve_map = (1..u64::from(COUNT)).map(|index| (index, 0)).collect();
    writer.begin("chosen").text("stdout-path", &"/n".repeat(COUNT as usize)).end();
    (0..100).for_each(|_| writer.begin(&"n".repeat(COUNT as usize / 4)).end().done());
    assert!(!survive(&writer.blob()));
    // Every property named by the one long string: refused before it is read as many times.
    let mut writer = machine();
    writer.strings.extend(vec![b'x'; 500_000]);
    writer.begin("n");
    (0..COUNT).for_each(|_| writer.property_named_at(43, b"").done());
    assert!(!survive(&writer.end().blob()));
}
