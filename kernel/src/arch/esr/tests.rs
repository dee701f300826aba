//! Syndromes written down from the Arm ARM's field tables by hand, and some that real faults on QEMU gave.
extern crate std;

use super::*;
use std::string::ToString;

/// EC in bits 31:26, IL set, ISS below: written out here again, so that the decoder is not its own oracle.
fn esr(class: u64, iss: u64) -> Syndrome {
    Syndrome(class * 0x400_0000 + 0x200_0000 + iss)
}

#[test]
fn a_write_to_an_unmapped_page_reads_as_a_level_3_translation_fault() {
    let seen = Syndrome(0x9600_0047);
    assert_eq!(seen.class(), 0x25);
    assert_eq!(seen.to_string(), "data abort on a write: translation fault, level 3");
    assert!(seen.is_write() && seen.has_far());
}

#[test]
fn a_read_of_nothing_reads_as_an_external_abort() {
    assert_eq!(Syndrome(0x9600_0010).to_string(), "data abort on a read: external abort");
}

#[test]
fn fnv_makes_far_invalid_and_says_so() {
    let seen = esr(0x25, 0x410);
    assert!(!seen.has_far());
    assert_eq!(seen.to_string(), "data abort on a read: external abort (FAR not valid)");
}

#[test]
fn executing_what_is_not_executable_is_an_instruction_abort_with_a_permission_fault() {
    assert_eq!(esr(0x21, 0b00_1110).to_string(), "instruction abort: permission fault, level 2");
    assert!(!esr(0x21, 0x40 | 0b00_1110).is_write(), "bit 6 means WnR in data aborts only");
}

#[test]
fn an_undefined_instruction_has_class_zero() {
    assert_eq!(Syndrome(0x0200_0000).to_string(), "unknown reason (undefined instruction), ISS 0x0");
    assert!(!Syndrome(0x0200_0000).has_far());
}

#[test]
fn brk_keeps_its_comment_in_the_iss() {
    assert_eq!(Syndrome(0xf200_03e8).to_string(), "BRK, ISS 0x3e8");
}

#[test]
fn cache_maintenance_is_told_from_writes_and_dc_zva_counts_as_a_write() {
    assert_eq!(esr(0x25, 0x61).to_string(), "data abort on a write: alignment fault");
    assert_eq!(esr(0x25, 0x161).to_string(), "data abort on cache maintenance: alignment fault");
}

#[test]
fn iss2_above_bit_31_disturbs_nothing() {
    assert_eq!(Syndrome(0xff_0000_0000 | 0x9600_0047).to_string(), Syndrome(0x9600_0047).to_string());
}

/// Arm ARM, ESR_EL1, "ISS encoding for an exception from a Data Abort", DFSC: the whole table, as (first, last, words).
#[test]
fn every_fault_status_of_the_table_has_its_words_and_level() {
    let expected: [(u8, &str, &[i8]); 10] = [
        (0b000000, "address size fault", &[0, 1, 2, 3]),
        (0b000100, "translation fault", &[0, 1, 2, 3]),
        (0b001000, "access flag fault", &[0, 1, 2, 3]),
        (0b001100, "permission fault", &[0, 1, 2, 3]),
        (0b010100, "external abort on the translation walk", &[0, 1, 2, 3]),
        (0b011100, "parity or ECC error on the translation walk", &[0, 1, 2, 3]),
        (0b100100, "granule protection fault on the translation walk", &[0, 1, 2, 3]),
        (0b101010, "translation fault", &[-2, -1]),
        (0b010010, "external abort on the translation walk", &[-2, -1]),
        (0b100010, "granule protection fault on the translation walk", &[-2, -1]),
    ];
    for (first, what, levels) in expected {
        for (status, &level) in (first..).zip(levels) {
            assert_eq!(fault(status), Fault { what, level: Some(level) }, "{status:#08b}");
        }
    }
    for (status, what) in [
        (0b010000, "external abort"),
        (0b100001, "alignment fault"),
        (0b110000, "TLB conflict abort"),
        (0b110001, "unsupported atomic hardware update"),
    ] {
        assert_eq!(fault(status), Fault { what, level: None }, "{status:#08b}");
    }
}

#[test]
fn reserved_values_are_called_reserved() {
    for status in [0b111111, 0b111000, 0b110010, 0b101111, 0b011001] {
        assert_eq!(fault(status).what, "reserved fault status", "{status:#08b}");
    }
    assert_eq!(esr(0x3f, 0).class_name(), "reserved class");
}

/// Of the 64 codes, by the words of the table above.
#[test]
fn the_faults_that_readers_may_have_are_told_from_all_others() {
    for status in 0..64 {
        for class in [0x20, 0x21, 0x24, 0x25] {
            let seen = esr(class, status);
            let what = seen.fault().map(|fault| fault.what);
            assert_eq!(seen.is_translation_fault(), what == Some("translation fault"), "{status:#b}");
            assert_eq!(seen.is_permission_fault(), what == Some("permission fault"), "{status:#b}");
            assert_eq!(seen.is_tlb_conflict(), what == Some("TLB conflict abort"), "{status:#b}");
        }
        let other = esr(0x2f, status);
        assert!(!other.is_translation_fault() && !other.is_permission_fault() && !other.is_tlb_conflict());
    }
}
