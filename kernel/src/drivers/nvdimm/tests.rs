//! The protocol against a device that does what `acpi_nvdimm.rst` says.
extern crate std;

use super::*;
use std::string::ToString;
use std::vec;

/// QEMU's side: a page, the table, and what goes wrong.
struct Fake {
    page: [u8; PAGE_BYTES],
    fit: Vec<u8>,
    /// The table was changed, and the read of the new one has not begun.
    dirty: bool,
    /// The table changes before the calls with these numbers.
    changes: Vec<usize>,
    calls: usize,
    /// What it answers instead, if anything: length and status.
    answer: Option<(u32, u32)>,
    silent: bool,
}

fn fake(fit: Vec<u8>) -> Fake {
    Fake {
        page: [0xaa; PAGE_BYTES],
        fit,
        dirty: true,
        changes: vec![],
        calls: 0,
        answer: None,
        silent: false,
    }
}

impl Fake {
    fn word(&self, offset: usize) -> u32 {
        u32::from_le_bytes(self.page[offset..offset + 4].try_into().expect("4 bytes"))
    }
    fn reply(&mut self, length: u32, status: u32) {
        self.page[..4].copy_from_slice(&length.to_le_bytes());
        self.page[4..8].copy_from_slice(&status.to_le_bytes());
    }
}

impl Port for Fake {
    fn put(&mut self, offset: usize, word: u32) {
        self.page[offset..offset + 4].copy_from_slice(&word.to_le_bytes());
    }
    fn call(&mut self) {
        self.calls += 1;
        if self.changes.contains(&self.calls) {
            self.fit.iter_mut().for_each(|byte| *byte ^= 0xff);
            self.dirty = true;
        }
        let question = [self.word(0), self.word(4), self.word(8)];
        assert_eq!(question, [0x1_0000, 1, 1], "reserved handle, revision 1, Read FIT");
        if self.silent {
            return;
        }
        if let Some((length, status)) = self.answer {
            return self.reply(length, status);
        }
        let offset = self.word(12);
        let Some(rest) = self.fit.get(usize::try_from(offset).expect("64 bits")..) else {
            return self.reply(8, 3);
        };
        if offset == 0 {
            self.dirty = false;
        } else if self.dirty {
            return self.reply(8, 0x100);
        }
        let part = rest[..rest.len().min(4088)].to_vec();
        self.page[8..8 + part.len()].copy_from_slice(&part);
        self.reply(u32::try_from(8 + part.len()).expect("a page"), 0);
    }
    fn get(&mut self, offset: usize) -> u8 {
        self.page[offset]
    }
}

fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|n| (n % 251).to_le_bytes()[0]).collect()
}

#[test]
fn a_table_is_read_whole_by_pages_of_4088_bytes() {
    for (size, calls) in [(0, 1), (1, 2), (184, 2), (4088, 2), (4089, 3), (47_104, 13)] {
        let mut device = Nvdimm::new(fake(bytes(size)));
        assert_eq!(device.read_fit(), Ok(bytes(size)), "{size} bytes");
        assert_eq!(device.port.calls, calls, "{size} bytes");
    }
}

#[test]
fn a_table_that_changes_is_read_again_from_its_beginning() {
    let mut port = fake(bytes(9000));
    port.changes = vec![2];
    let mut device = Nvdimm::new(port);
    let inverted: Vec<u8> = bytes(9000).iter().map(|byte| byte ^ 0xff).collect();
    assert_eq!(device.read_fit(), Ok(inverted), "no byte of the old one");
}

#[test]
fn a_table_that_always_changes_is_given_up() {
    let mut port = fake(bytes(9000));
    port.changes = (1..1000).collect();
    assert_eq!(Nvdimm::new(port).read_fit(), Err(NvdimmError::Restless));
}

#[test]
fn a_refusal_is_an_error_with_its_status() {
    let mut port = fake(bytes(9));
    port.answer = Some((8, 1));
    let error = Nvdimm::new(port).read_fit().expect_err("not supported");
    assert_eq!(error, NvdimmError::Status { status: 1, offset: 0 });
    assert_eq!(error.to_string(), "reading the FIT at 0x0: status 0x1");
}

#[test]
fn a_length_that_cannot_be_is_an_error() {
    for length in [0, 7, 4097, u32::MAX] {
        let mut port = fake(bytes(9));
        port.answer = Some((length, 0));
        assert_eq!(Nvdimm::new(port).read_fit(), Err(NvdimmError::Length(length)));
    }
    // No answer: the question is still there, and its handle is no length.
    let mut port = fake(bytes(9));
    port.silent = true;
    assert_eq!(Nvdimm::new(port).read_fit(), Err(NvdimmError::Length(0x1_0000)));
}

#[test]
fn a_table_without_end_is_given_up() {
    let mut port = fake(vec![]);
    port.answer = Some((4096, 0));
    let mut device = Nvdimm::new(port);
    assert_eq!(device.read_fit(), Err(NvdimmError::TooLong));
    assert_eq!(device.port.calls, 17, "16 parts of 4088 bytes fit into 64 KiB");
}

#[test]
fn a_table_with_one_error_lists_nothing() {
    // A structure of an unknown type, then one without a length.
    let mut device = Nvdimm::new(fake(vec![9, 0, 4, 0, 9, 0, 0, 0]));
    let error = NfitError::Short { offset: 4, kind: 9, length: 0, least: 4 };
    assert_eq!(device.regions(), Err(NvdimmError::Table(error)));
    assert_eq!(Nvdimm::new(fake(vec![9, 0, 4, 0])).regions(), Ok(vec![]));
}
