//! What is found in tables that are written as QEMU writes them, and with one thing changed.
mod support;

use hotmap_acpi::{Interrupt, OpRegion};
use support::*;

const fn at(start: u64, bytes: u64) -> Option<OpRegion> {
    Some(OpRegion { space: 0, start, bytes })
}

/// A file of one DSDT with these terms in `\_SB`.
fn file(terms: &[u8]) -> Vec<u8> {
    [table(b"DSDT", &scope(b"\\_SB_", terms)), vec![0; 100]].concat()
}

#[test]
fn the_three_regions_and_the_interrupt_are_found() {
    let found = read(&like_qemu());
    assert_eq!(found.slots, at(0x0907_0000, 0x18));
    assert_eq!(found.events, at(0x0908_0000, 4));
    assert_eq!(found.nvdimm, at(0x0909_0000, 4));
    assert_eq!(found.interrupt, Some(Interrupt { gsi: 41, edge: true }));
    assert_eq!(found.problem, None);
}

#[test]
fn reading_stops_where_everything_is_found_or_no_table_follows() {
    let file = like_qemu();
    let register = file.windows(4).position(|bytes| bytes == b"NPIO").expect("it is there");
    let asked_for = asked(&file);
    assert!(asked_for >= register && asked_for < register + 32, "{asked_for} of {}", file.len());
    let without = [dsdt(), vec![0; 0x4000]].concat();
    assert!(asked(&without) <= dsdt().len() + 16);
}

#[test]
fn tables_without_the_devices_announce_nothing() {
    for file in [vec![], vec![0; 100], file(&device(b"C000", &named(b"_UID", &[1]))), table(b"FACP", &[0; 9])]
    {
        assert_eq!(read(&file), hotmap_acpi::Announced::new());
    }
}

#[test]
fn a_region_of_that_name_elsewhere_is_another() {
    let elsewhere =
        [device(b"C000", &hpmr()), hpmr(), ereg(), npio(), slots(&ereg()), device(b"NVDR", &npio())];
    let found = read(&file(&elsewhere.concat()));
    assert_eq!((found.slots, found.events, found.nvdimm, found.problem), (None, None, None, None));
    let unlike = nvdimms(&[]);
    assert_eq!(read(&table(b"FACP", &unlike)).nvdimm, None);
}

#[test]
fn every_integer_constant_is_read() {
    for (start, expected) in [
        (vec![0x00], 0),
        (vec![0x01], 1),
        (vec![0x0a, 0x80], 0x80),
        (vec![0x0b, 0x34, 0x12], 0x1234),
        (vec![0x0c, 0, 0, 7, 0x89], 0x8907_0000),
        (vec![0x0e, 1, 2, 3, 4, 5, 6, 7, 0x88], 0x8807_0605_0403_0201),
        (vec![0xff], u64::MAX),
    ] {
        let found = read(&file(&slots(&region(b"HPMR", 0, &start, &[0x0a, 0x18]))));
        assert_eq!((found.slots, found.problem), (at(expected, 0x18), None));
    }
}

#[test]
fn the_address_space_is_told() {
    let found =
        read(&file(&slots(&region(b"HPMR", 1, &[0x0b, 0, 0xa], &[0x0a, 0x18])))).slots.expect("a region");
    assert_eq!(found, OpRegion { space: 1, start: 0xa00, bytes: 0x18 });
    assert!(!found.in_memory());
}

#[test]
fn a_region_at_no_constant_is_refused_and_the_rest_is_found() {
    let ged = events(&[interrupts(1, &[41]), END_TAG.to_vec()].concat(), &ereg());
    let odd = file(&[slots(&region(b"HPMR", 0, b"ADDR", &[0x0a, 0x18])), ged].concat());
    assert!(problem(&odd).ends_with("region HPMR is not at a constant; it is not used"), "{}", problem(&odd));
    let found = read(&odd);
    assert_eq!((found.slots, found.events), (None, at(0x0908_0000, 4)));
    assert_eq!(found.interrupt, Some(Interrupt { gsi: 41, edge: false }), "level");
}

#[test]
fn the_first_of_two_counts() {
    let two = [hpmr(), region(b"HPMR", 0, &dword(0x1000), &[0x0a, 0x18])].concat();
    assert_eq!(read(&file(&slots(&two))).slots, at(0x0907_0000, 0x18));
    let devices = [slots(&hpmr()), slots(&region(b"HPMR", 0, &dword(0x1000), &[0x0a, 0x18]))];
    assert_eq!(read(&file(&devices.concat())).slots, at(0x0907_0000, 0x18));
}

#[test]
fn the_interrupt_is_the_first_behind_other_resources() {
    let resources = |parts: &[&[u8]]| read(&file(&events(&parts.concat(), &ereg()))).interrupt;
    let two = interrupts(3, &[77, 78]);
    assert_eq!(resources(&[&MEMORY, &two, &END_TAG]), Some(Interrupt { gsi: 77, edge: true }));
    assert_eq!(resources(&[&[0x22, 0xff, 0xff], &two, &END_TAG]), Some(Interrupt { gsi: 77, edge: true }));
    assert_eq!(resources(&[&MEMORY, &END_TAG]), None);
    assert_eq!(resources(&[&interrupts(3, &[]), &END_TAG]), None);
}

#[test]
fn what_declares_nothing_ends_its_package_only() {
    let odd = device(b"MHPD", &[vec![0xab], hpmr()].concat());
    let bytes = file(&[odd, slots(&hpmr())].concat());
    let place = bytes.iter().position(|&byte| byte == 0xab).expect("it is there");
    assert_eq!(
        problem(&bytes),
        format!(
            "acpi: byte {place:#x} of the tables: 0xab declares nothing; the rest of its package is not read"
        )
    );
    assert_eq!(read(&bytes).slots, at(0x0907_0000, 0x18), "the device after it");
}

#[test]
fn a_package_ends_within_the_one_that_it_is_in() {
    for length in [0, 1, 0x3f] {
        let bytes = file(&[vec![0x5b, 0x82], package_of(0, length, b"MHPD")].concat());
        let found = problem(&bytes);
        assert!(!found.is_empty() && read(&bytes).slots.is_none(), "{length}: {found}");
    }
    let longer = file(&[vec![0x5b, 0x82], package_of(3, 0x0fff_ffff, b"MHPD")].concat());
    assert!(problem(&longer).contains("a package of 268435455 bytes"), "{}", problem(&longer));
}

#[test]
fn names_have_prefixes_and_any_number_of_segments() {
    for name in [&b"MHPD"[..], b"\\MHPD", b"^^MHPD", b"\x2e_SB_MHPD", b"\\\x2f\x03_SB_A123MHPD"] {
        assert_eq!(read(&file(&device(name, &hpmr()))).slots, at(0x0907_0000, 0x18), "{name:?}");
    }
    for name in [&b"mHPD"[..], b"0HPD", b"MH D", b"\x2eMHPD\0\0\0\0"] {
        let bytes = file(&device(name, &hpmr()));
        assert!(problem(&bytes).contains("a name with the byte"), "{}", problem(&bytes));
        assert_eq!(read(&bytes).slots, None);
    }
}

#[test]
fn scopes_in_scopes_end_somewhere() {
    let deep = (0..100).fold(slots(&hpmr()), |inner, _| scope(b"\\_SB_", &inner));
    let found = read(&table(b"DSDT", &deep));
    assert_eq!(found.slots, None);
    assert!(problem(&table(b"DSDT", &deep)).ends_with("a package in too many others; it is not read"));
}

#[test]
fn tables_that_are_none_end_the_file() {
    let behind = |bytes: &[u8]| [&dsdt()[..], bytes].concat();
    let signature = behind(&[b"ab\x01\x02".to_vec(), vec![0; 40]].concat());
    assert!(
        problem(&signature).ends_with("a table's signature is [61, 62, 01, 02]"),
        "{}",
        problem(&signature)
    );
    for length in [0, 35, 41, u32::MAX] {
        let odd = behind(&[b"FACP".to_vec(), length.to_le_bytes().to_vec(), vec![0; 32]].concat());
        let expected = format!("table FACP has {length} bytes; the least is 36, and 40 are left");
        assert!(problem(&odd).ends_with(&expected), "{}", problem(&odd));
        assert_eq!(read(&odd).slots, at(0x0907_0000, 0x18), "what came before it");
    }
    assert!(read(&behind(&[0xff; 36])).problem.is_some(), "all ones");
}

#[test]
fn a_file_larger_than_any_of_qemu_is_not_read() {
    let bytes = like_qemu();
    let mut file = File::new(&bytes);
    let found = hotmap_acpi::read(&mut file, 0x20_0001);
    assert!(found.slots.is_none() && file.asked == 0);
    let message = found.problem.expect("a refusal").to_string();
    assert!(message.ends_with("the file has 2097153 bytes; the most is 2097152"), "{message}");
}
