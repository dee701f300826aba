//! Whatever the file says, the reader returns, asks for no more than the file, and finds only what is written there: a plain
//! search for the bytes of the region finds it too. Fixed seeds and a fixed number of runs: a failure here fails again.
mod support;

use hotmap_acpi::OpRegion;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, RngSeed, TestRunner};
use support::*;

/// Runs of each property.
const RUNS: u32 = 20_000;
const SEED: u64 = 0x4453_4454;

/// Bytes that mean something in AML, or are on the edge of something.
const BYTES: [u8; 32] = [
    0x00, 0x01, 0x06, 0x08, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x10, 0x11, 0x14, 0x15, 0x2e, 0x2f, 0x3f, 0x40,
    0x5b, 0x5c, 0x5e, 0x5f, 0x60, 0x70, 0x79, 0x80, 0x82, 0x89, 0xa0, 0xbf, 0xc0, 0xcf, 0xff,
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

/// Reads, and checks what can be said about any outcome.
fn survive(bytes: &[u8]) {
    let found = read(bytes);
    assert!(asked(bytes) <= bytes.len().next_multiple_of(8));
    for (name, region) in [(b"HPMR", found.slots), (b"EREG", found.events), (b"NPIO", found.nvdimm)] {
        assert!(region.is_none_or(|region| written(bytes, name).any(|other| other == region)), "{region:?}");
    }
    if let Some(problem) = found.problem {
        let message = problem.to_string();
        assert!(message.starts_with("acpi: byte 0x") && message.len() > 40, "{message}");
        assert!(!message.chars().any(char::is_control), "{message:?}");
        assert!((problem.at as usize) <= bytes.len(), "{message}");
    }
}

/// Each place with the bytes of `OperationRegion (name, ...)` and two constants.
fn written<'a>(bytes: &'a [u8], name: &'a [u8; 4]) -> impl Iterator<Item = OpRegion> + 'a {
    let place = |at: usize| {
        // The name may be the last segment of a longer one.
        let rest = bytes[at..].strip_prefix(name)?;
        let (&space, rest) = rest.split_first()?;
        let (start, rest) = constant(rest)?;
        let (bytes, _) = constant(rest)?;
        Some(OpRegion { space, start, bytes })
    };
    (0..bytes.len()).filter_map(place)
}

fn constant(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (opcode, rest) = bytes.split_first()?;
    let length = match opcode {
        0 | 1 => return Some((u64::from(*opcode), rest)),
        0xff => return Some((u64::MAX, rest)),
        0x0a => 1,
        0x0b => 2,
        0x0c => 4,
        0x0e => 8,
        _ => return None,
    };
    let (number, rest) = rest.split_at_checked(length)?;
    Some((number.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)), rest))
}

#[test]
fn the_plain_search_finds_what_is_there() {
    let bytes = like_qemu();
    let slots = OpRegion { space: 0, start: 0x0907_0000, bytes: 0x18 };
    assert_eq!(written(&bytes, b"HPMR").collect::<Vec<_>>(), [slots]);
}

#[test]
fn a_file_that_is_cut_off_anywhere_is_survived() {
    let file = like_qemu();
    for length in 0..file.len() {
        survive(&file[..length]);
    }
}

#[test]
fn each_byte_with_one_bit_flipped_or_a_byte_of_aml_is_survived() {
    let file = like_qemu();
    let used = file.iter().rposition(|&byte| byte != 0).expect("some bytes");
    for at in 0..used {
        let mut changed = file.clone();
        for byte in (0..8).map(|bit| file[at] ^ 1 << bit).chain(BYTES) {
            changed[at] = byte;
            survive(&changed);
        }
    }
}

/// One change to a file.
#[derive(Clone, Debug)]
enum Change {
    Byte(Index, u8),
    Copy(Index, Index, u8),
    Remove(Index),
    Insert(Index, u8),
}

fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![select(&BYTES), any::<u8>()]
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        6 => (any::<Index>(), byte()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        2 => (any::<Index>(), any::<Index>(), 1..64_u8).prop_map(|(from, to, length)| Change::Copy(from, to, length)),
        1 => any::<Index>().prop_map(Change::Remove),
        1 => (any::<Index>(), byte()).prop_map(|(at, byte)| Change::Insert(at, byte)),
    ]
}

fn apply(file: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Byte(at, byte) => {
            let at = at.index(file.len());
            file[at] = *byte;
        }
        Change::Copy(from, to, length) => {
            let length = usize::from(*length).min(file.len());
            let (from, to) = (from.index(file.len() - length + 1), to.index(file.len() - length + 1));
            file.copy_within(from..from + length, to);
        }
        Change::Remove(at) => {
            file.remove(at.index(file.len()));
        }
        Change::Insert(at, byte) => file.insert(at.index(file.len()), *byte),
    }
}

#[test]
fn damaged_tables_are_survived() {
    let mut file = like_qemu();
    file.truncate(file.iter().rposition(|&byte| byte != 0).expect("some bytes") + 1);
    check(vec(change(), 1..6), |changes| {
        let mut file = file.clone();
        for change in &changes {
            apply(&mut file, change);
        }
        survive(&file);
    });
}

#[test]
fn any_bytes_are_survived() {
    check(vec(any::<u8>(), 0..200), |bytes| survive(&bytes));
}

#[test]
fn tables_of_any_terms_are_survived() {
    check(vec(byte(), 0..120), |terms| {
        for place in [scope(b"\\_SB_", &terms), events(&terms, &terms), slots(&terms), nvdimms(&terms)] {
            survive(&[table(b"SSDT", &place), dsdt()].concat());
        }
    });
}

#[test]
fn pieces_of_tables_in_any_order_are_survived() {
    let pieces: Vec<Vec<u8>> = vec![
        hpmr(),
        ereg(),
        npio(),
        nram(),
        STORE.to_vec(),
        interrupts(3, &[41]),
        named(b"_CRS", &buffer(&interrupts(1, &[9, 10]))),
        method(b"NCAL", 0, &npio()),
        device(b"MHPD", &hpmr()),
        device(b"GED_", &ereg()),
        device(b"NVDR", &method(b"NCAL", 0, &npio())),
        dsdt(),
        vec![0x5b],
        vec![0x5b, 0x82, 0x10],
        vec![0x10, 0xcf, 0xff, 0xff, 0xff],
    ];
    check(vec(select(pieces), 0..12), |pieces| {
        let terms = pieces.concat();
        survive(&table(b"DSDT", &scope(b"\\_SB_", &terms)));
        survive(&table(b"DSDT", &device(b"MHPD", &terms)));
    });
}
