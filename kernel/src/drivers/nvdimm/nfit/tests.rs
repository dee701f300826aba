//! Tables written down byte by byte from ACPI 6.5, 5.2.25, and bytes that are no table.
extern crate std;

use super::*;
use std::string::ToString;
use std::vec::Vec;

/// An SPA range (type 0) of persistent memory with index 2: 1 GiB at 0x8000_0000, on node 1.
#[rustfmt::skip]
const RANGE: [u8; 56] = [
    0x00, 0x00, 0x38, 0x00,                         // type 0, 56 bytes
    0x02, 0x00, 0x03, 0x00,                         // index 2, flags: for hot add only, proximity domain valid
    0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, // reserved, proximity domain 1
    0x79, 0xd3, 0xf0, 0x66, 0xf3, 0xb4, 0x74, 0x40, // 66F0D379-B4F3-4074-
    0xac, 0x43, 0x0d, 0x33, 0x18, 0xb7, 0x8c, 0xdb, // AC43-0D3318B78CDB
    0x00, 0x00, 0x00, 0x80, 0x00, 0x00, 0x00, 0x00, // start
    0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, // length
    0x08, 0x80, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // EFI_MEMORY_WB, EFI_MEMORY_NV
];

/// A region mapping (type 1): the range with index 2 lies on the NVDIMM with handle 1.
#[rustfmt::skip]
const MAPPED: [u8; 48] = [
    0x01, 0x00, 0x30, 0x00,                         // type 1, 48 bytes
    0x01, 0x00, 0x00, 0x00,                         // handle
    0x00, 0x00, 0x00, 0x00,                         // physical and region ID
    0x02, 0x00, 0x03, 0x00,                         // range index 2, control region index 3
    0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x00, 0x00, // region size
    0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // offset in the range
    0x00, 0x00, 0x00, 0x80, 0x00, 0x00, 0x00, 0x00, // address on the NVDIMM
    0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, // no interleave, one way, flags
];

/// A control region (type 4) without block windows: 32 bytes.
#[rustfmt::skip]
const CONTROL: [u8; 32] = [
    0x04, 0x00, 0x20, 0x00, 0x03, 0x00, 0x86, 0x80, 0x01, 0x00, 0x01, 0x00, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0x56, 0x34, 0x12, 0x00, 0x01, 0x02, 0x00, 0x00,
];

const AT: usize = 32;
const SIZE: usize = 40;

fn table(structures: &[&[u8]]) -> Vec<u8> {
    structures.concat()
}

/// A copy of `bytes` with `new` at `at`.
fn with<const N: usize>(bytes: &[u8; N], at: usize, new: &[u8]) -> [u8; N] {
    let mut changed = *bytes;
    changed[at..at + new.len()].copy_from_slice(new);
    changed
}

fn all(fit: &[u8]) -> Result<Vec<Region>, NfitError> {
    regions(fit).collect()
}

fn region(handle: u32, start: u64, size: u64, node: Option<u32>) -> Region {
    let start = PhysAddr::new(start);
    Region { handle, range: PhysRange::checked_new(start, size).expect("no wrap"), node }
}

#[test]
fn a_range_is_read_from_its_documented_offsets() {
    let first = region(1, 0x8000_0000, 0x4000_0000, Some(1));
    assert_eq!(all(&table(&[&RANGE, &MAPPED, &CONTROL])), Ok([first].to_vec()));
    assert_eq!(all(&table(&[&CONTROL, &MAPPED, &RANGE])), Ok([first].to_vec()), "in any order");
    assert_eq!(all(&[]), Ok(Vec::new()));
}

#[test]
fn each_range_finds_its_own_device() {
    let far = with(&with(&RANGE, 4, &[0x0c, 0]), AT, &0x0080_0000_0000_u64.to_le_bytes());
    let far_mapped = with(&with(&MAPPED, 12, &[0x0c, 0]), 4, &[6, 0, 0, 0]);
    let fit = table(&[&RANGE, &far, &far_mapped, &CONTROL, &MAPPED]);
    let should =
        [region(1, 0x8000_0000, 0x4000_0000, Some(1)), region(6, 0x80_0000_0000, 0x4000_0000, Some(1))];
    assert_eq!(all(&fit), Ok(should.to_vec()));
}

#[test]
fn a_node_counts_only_where_the_flags_say_so() {
    let fit = table(&[&with(&RANGE, 6, &[1, 0]), &MAPPED]);
    assert_eq!(all(&fit), Ok([region(1, 0x8000_0000, 0x4000_0000, None)].to_vec()));
}

#[test]
fn other_ranges_and_unknown_types_are_skipped_by_their_length() {
    // 7305944F-FDDA-44E3-B16C-3F22D252E5D0: volatile memory. A region without a mapping is no error if it is skipped.
    let volatile =
        [0x4f, 0x94, 0x05, 0x73, 0xda, 0xfd, 0xe3, 0x44, 0xb1, 0x6c, 0x3f, 0x22, 0xd2, 0x52, 0xe5, 0xd0];
    let volatile = with(&with(&RANGE, 4, &[9, 0]), 16, &volatile);
    // Platform capabilities (7), a type of tomorrow with a header alone, and one with an odd length.
    let capabilities = [7, 0, 16, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0];
    let fit = table(&[&volatile, &capabilities, &[0xff, 0xff, 4, 0], &[9, 0, 5, 0, 1], &RANGE, &MAPPED]);
    assert_eq!(all(&fit).map(|found| found.len()), Ok(1));
}

#[test]
fn a_longer_structure_of_a_later_version_is_the_same_structure() {
    // ACPI 6.4 added a location cookie to the range: 64 bytes.
    let fit = table(&[&with(&RANGE, 2, &[64, 0]), &[0xee; 8], &MAPPED]);
    assert_eq!(all(&fit).map(|found| found.len()), Ok(1));
}

#[test]
fn a_length_of_zero_is_an_error_and_no_loop() {
    for kind in [0, 1, 4, 0xff] {
        let least = [56, 48, 4, 4][[0, 1, 4, 0xff].iter().position(|k| *k == kind).expect("listed")];
        let fit = table(&[&RANGE, &MAPPED, &[kind, 0, 0, 0], &RANGE]);
        let error = NfitError::Short { offset: 104, kind: u16::from(kind), length: 0, least };
        assert_eq!(regions(&fit).last(), Some(Err(error)), "type {kind}");
        assert_eq!(regions(&fit).count(), 2, "nothing after the error");
    }
    let error = all(&[4, 0, 3, 0]).expect_err("shorter than its header");
    assert_eq!(error.to_string(), "FIT: the structure at 0x0 has 3 bytes; type 4 needs 4");
}

#[test]
fn a_range_or_mapping_that_is_too_short_for_its_fields_is_refused() {
    let fit = table(&[&CONTROL, &with(&RANGE, 2, &[55, 0])]);
    assert_eq!(all(&fit), Err(NfitError::Short { offset: 32, kind: 0, length: 55, least: 56 }));
    let fit = table(&[&CONTROL, &with(&MAPPED, 2, &[47, 0])]);
    assert_eq!(all(&fit), Err(NfitError::Short { offset: 32, kind: 1, length: 47, least: 48 }));
}

#[test]
fn a_table_that_ends_early_is_refused_at_every_byte() {
    let fit = table(&[&RANGE, &MAPPED, &CONTROL]);
    let borders = [0, 56, 104, 136];
    for end in (0..fit.len()).filter(|end| !borders.contains(end)) {
        let Err(NfitError::Truncated { offset, length, left }) = all(&fit[..end]) else {
            panic!("cut at {end}: {:?}", all(&fit[..end]));
        };
        let index = borders.iter().rposition(|border| *border <= end).expect("0 is one");
        assert_eq!((offset, left), (borders[index], end - borders[index]));
        assert_eq!(length, if left < 4 { 4 } else { [56, 48, 32][index] });
    }
}

#[test]
fn a_structure_longer_than_the_table_is_refused() {
    let fit = table(&[&RANGE, &with(&MAPPED, 2, &[0xff, 0xff])]);
    let error = all(&fit).expect_err("overlong");
    assert_eq!(error, NfitError::Truncated { offset: 56, length: 0xffff, left: 48 });
    assert_eq!(error.to_string(), "FIT: the structure at 0x38 has 65535 bytes, and 48 are left");
}

#[test]
fn a_range_that_is_empty_or_wraps_is_refused() {
    let empty = table(&[&with(&RANGE, SIZE, &[0; 8]), &MAPPED]);
    assert_eq!(all(&empty), Err(NfitError::Range { offset: 0, start: 0x8000_0000, size: 0 }));
    let wraps = table(&[&CONTROL, &with(&RANGE, SIZE, &[0xff; 8]), &MAPPED]);
    assert_eq!(all(&wraps), Err(NfitError::Range { offset: 32, start: 0x8000_0000, size: u64::MAX }));
}

#[test]
fn a_range_that_nobody_maps_is_refused() {
    let other = with(&MAPPED, 12, &[4, 0]);
    assert_eq!(all(&table(&[&RANGE, &other])), Err(NfitError::NoDevice { index: 2 }));
    // Index 0 and handle 0 are reserved: no match, even where both sides have them.
    let zero = table(&[&with(&RANGE, 4, &[0, 0]), &with(&MAPPED, 12, &[0, 0])]);
    assert_eq!(all(&zero), Err(NfitError::NoDevice { index: 0 }));
    let root = table(&[&RANGE, &with(&MAPPED, 4, &[0; 4])]);
    let error = all(&root).expect_err("handle 0");
    assert_eq!(error.to_string(), "FIT: the range with index 2 belongs to no NVDIMM");
    // What is wrong with the lengths is the better message.
    let torn = table(&[&RANGE, &[1, 0, 0, 0]]);
    assert_eq!(all(&torn), Err(NfitError::Short { offset: 56, kind: 1, length: 0, least: 48 }));
}

/// xorshift64 (Marsaglia 2003).
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// Any bytes end within as many steps as there are headers, and give only ranges that are ranges.
#[test]
fn hostile_bytes_end_in_sound_ranges_or_an_error() {
    let mut seed = 0x9e37_79b9_7f4a_7c15;
    let golden = table(&[&RANGE, &MAPPED, &CONTROL, &RANGE]);
    let (mut found, mut refused) = (0, 0);
    for round in 0..20_000 {
        let mut fit = golden.clone();
        for _ in 0..1 + round % 7 {
            let at = usize::try_from(random(&mut seed)).expect("64 bits") % fit.len();
            fit[at] = random(&mut seed).to_le_bytes()[0] >> (round % 8);
        }
        fit.truncate(usize::try_from(random(&mut seed)).expect("64 bits") % (2 * fit.len()));
        for (step, item) in regions(&fit).enumerate() {
            assert!(step <= fit.len() / HEADER_BYTES, "round {round} does not end: {fit:x?}");
            match item {
                Ok(region) => {
                    found += 1;
                    assert!(region.range.start < region.range.end && region.handle != 0, "{region:?}");
                }
                Err(error) => {
                    refused += 1;
                    assert!(!error.to_string().is_empty());
                }
            }
        }
    }
    assert!(found > 1000 && refused > 1000, "the rounds show little: {found} ranges, {refused} errors");
}
