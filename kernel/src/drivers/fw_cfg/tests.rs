//! The protocol against a device that is built from the specification's layout.
extern crate std;

use super::*;
use std::vec::Vec;

/// A device with items (key, bytes); zeros after an item's end and for items that do not exist.
struct Fake {
    items: Vec<(u16, Vec<u8>)>,
    selected: u16,
    at: usize,
}

impl Port for Fake {
    fn select(&mut self, key: u16) {
        (self.selected, self.at) = (key, 0);
    }
    fn next_byte(&mut self) -> u8 {
        self.at += 1;
        let item = self.items.iter().find(|item| item.0 == self.selected);
        item.and_then(|item| item.1.get(self.at - 1)).copied().unwrap_or(0)
    }
}

fn directory(files: &[(&str, u16, u32)]) -> Vec<u8> {
    let mut bytes = Vec::from(u32::try_from(files.len()).expect("few").to_be_bytes());
    for (name, key, size) in files {
        bytes.extend(size.to_be_bytes());
        bytes.extend(key.to_be_bytes());
        bytes.extend([0, 0]);
        let mut field = [0; 56];
        field[..name.len()].copy_from_slice(name.as_bytes());
        bytes.extend(field);
    }
    bytes
}

fn device(files: &[(&str, u16, &[u8])]) -> FwCfg<Fake> {
    let listed: Vec<_> = files.iter().map(|f| (f.0, f.1, u32::try_from(f.2.len()).expect("small"))).collect();
    let mut items = std::vec![(0, b"QEMU".to_vec()), (0x19, directory(&listed))];
    items.extend(files.iter().map(|f| (f.1, f.2.to_vec())));
    FwCfg::new(Fake { items, selected: 0, at: 0 }).expect("the signature is there")
}

#[test]
fn a_file_is_found_by_its_whole_name_and_read_to_its_size() {
    let mut fw = device(&[
        ("etc/acpi/tables", 0x20, b"xx"),
        ("opt/hotmap/args", 0x2a, b"granule=16k"),
        ("opt/z", 7, b""),
    ]);
    let mut buffer = [0xaa; 16];
    assert_eq!(fw.read("opt/hotmap/args", &mut buffer), Ok(Some(&b"granule=16k"[..])));
    assert_eq!(buffer[11..], [0xaa; 5], "nothing after the file is touched");
    assert_eq!(fw.find("opt/hotmap/args"), Ok(Some(File { key: 0x2a, size: 11 })));
    assert_eq!(fw.read("opt/z", &mut buffer), Ok(Some(&b""[..])));
}

#[test]
fn a_name_that_only_begins_alike_is_another_file() {
    let mut fw = device(&[("opt/hotmap/args2", 0x2a, b"no")]);
    assert_eq!(fw.find("opt/hotmap/args"), Ok(None));
    assert_eq!(fw.find("opt/hotmap/args22"), Ok(None));
}

#[test]
fn a_file_larger_than_the_buffer_is_an_error_not_a_part() {
    let mut fw = device(&[("opt/big", 0x30, b"0123456789")]);
    assert_eq!(fw.read("opt/big", &mut [0; 9]), Err(FwCfgError::TooLarge { size: 10, room: 9 }));
    assert_eq!(fw.read("opt/big", &mut [0; 10]), Ok(Some(&b"0123456789"[..])));
}

#[test]
fn without_the_signature_there_is_no_device() {
    let empty = Fake { items: Vec::new(), selected: 0, at: 0 };
    assert_eq!(FwCfg::new(empty).err(), Some(FwCfgError::NoSignature([0; 4])));
}

#[test]
fn an_absurd_directory_ends_at_once() {
    for count in [4097, u32::MAX] {
        let items = std::vec![(0, b"QEMU".to_vec()), (0x19, count.to_be_bytes().to_vec())];
        let mut fw = FwCfg::new(Fake { items, selected: 0, at: 0 }).expect("the signature is there");
        assert_eq!(fw.find("opt/x"), Err(FwCfgError::BadDirectory { count }));
    }
}

#[test]
fn a_directory_that_ends_early_has_no_such_file() {
    let items = std::vec![(0, b"QEMU".to_vec()), (0x19, 4096_u32.to_be_bytes().to_vec())];
    let mut fw = FwCfg::new(Fake { items, selected: 0, at: 0 }).expect("the signature is there");
    assert_eq!(fw.find("opt/x"), Ok(None));
}
