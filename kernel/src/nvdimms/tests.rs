//! What is new in a table, by number, once.
extern crate std;

use super::*;
use crate::drivers::nvdimm::PAGE_BYTES;
use std::vec;

use hotmap_mm::addr::PhysAddr;
use hotmap_mm::error::{Error, Resource};

/// A device with a table in one page; without one, a device that does not answer.
struct Fake(Option<Vec<u8>>, Vec<u8>);

impl Port for Fake {
    fn put(&mut self, offset: usize, word: u32) {
        self.1[offset..offset + 4].copy_from_slice(&word.to_le_bytes());
    }
    fn call(&mut self) {
        let Some(fit) = &self.0 else { return };
        let rest = if self.1[12..16] == [0; 4] { fit.clone() } else { vec![] };
        let length = u32::try_from(8 + rest.len()).expect("a page").to_le_bytes();
        self.1.splice(..8 + rest.len(), [&length[..], &[0; 4], &rest].concat());
    }
    fn get(&mut self, offset: usize) -> u8 {
        self.1[offset]
    }
}

/// What QEMU says of an NVDIMM in `slot`: ACPI 6.5, 5.2.25.2 and 5.2.25.3.
fn nvdimm(slot: u8, gib: u64) -> Vec<u8> {
    let mut range = vec![0; 56];
    (range[2], range[4], range[6], range[12]) = (56, 2 * slot + 2, 2, 3);
    let guid =
        [0x79, 0xd3, 0xf0, 0x66, 0xf3, 0xb4, 0x74, 0x40, 0xac, 0x43, 0x0d, 0x33, 0x18, 0xb7, 0x8c, 0xdb];
    range[16..32].copy_from_slice(&guid);
    range[32..40].copy_from_slice(&(gib << 30).to_le_bytes());
    range[40..48].copy_from_slice(&(1_u64 << 30).to_le_bytes());
    let mut mapping = vec![0; 48];
    (mapping[0], mapping[2], mapping[4], mapping[12]) = (1, 48, slot + 1, 2 * slot + 2);
    [range, mapping].concat()
}

fn device(fit: Option<Vec<u8>>) -> Nvdimm<Fake> {
    Nvdimm::new(Fake(fit, vec![0; PAGE_BYTES]))
}

fn expected(number: u32, gib: u64) -> NvdimmRange {
    let range = PhysRange::checked_new(PhysAddr::new(gib << 30), 1 << 30).expect("no wrap");
    NvdimmRange { number, range, node: Some(3) }
}

#[test]
fn what_is_listed_is_not_new_and_the_list_is_by_number() {
    let mut nvdimms = Nvdimms::new();
    let fit = [nvdimm(5, 8), nvdimm(1, 4)].concat();
    assert_eq!(nvdimms.look(&mut device(Some(fit.clone()))), [expected(1, 4), expected(5, 8)]);
    assert_eq!(nvdimms.look(&mut device(Some(fit.clone()))), []);
    let fit = [fit, nvdimm(3, 2)].concat();
    assert_eq!(nvdimms.look(&mut device(Some(fit))), [expected(3, 2)]);
    assert_eq!(nvdimms.all(), [expected(1, 4), expected(3, 2), expected(5, 8)]);
}

#[test]
fn what_finds_the_heap_full_stays_pending_until_there_is_room() {
    let mut nvdimms = Nvdimms::new();
    assert!(!nvdimms.is_pending());
    let full = || Err(NvdimmError::Heap(Error::Out(Resource::Heap { bytes: 40 })));
    assert_eq!(nvdimms.settle(full()), []);
    assert_eq!(nvdimms.settle(full()), []);
    assert!(nvdimms.is_pending(), "still no room");
    assert_eq!(nvdimms.look(&mut device(Some(nvdimm(2, 4)))), [expected(2, 4)]);
    assert!(!nvdimms.is_pending());
    assert_eq!(nvdimms.settle(full()), []);
    nvdimms.settle(Err(NvdimmError::TooLong));
    assert!(!nvdimms.is_pending(), "a table that is wrong is not read again by itself");
}

#[test]
fn a_table_that_cannot_be_read_changes_nothing() {
    let mut nvdimms = Nvdimms::new();
    nvdimms.look(&mut device(Some(nvdimm(0, 4))));
    assert_eq!(nvdimms.look(&mut device(None)), []);
    let torn = [nvdimm(0, 4), nvdimm(1, 8), vec![0; 4]].concat();
    assert_eq!(nvdimms.look(&mut device(Some(torn))), []);
    assert_eq!(nvdimms.all(), [expected(0, 4)]);
}
