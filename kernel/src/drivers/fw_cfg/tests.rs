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
    fn next_4(&mut self) -> [u8; 4] {
        core::array::from_fn(|_| self.next_byte())
    }
    fn next_8(&mut self) -> [u8; 8] {
        core::array::from_fn(|_| self.next_byte())
    }
}

impl Fake {
    fn next_byte(&mut self) -> u8 {
        self.at += 1;
        let item = self.items.iter().find(|item| item.0 == self.selected);
        item.and_then(|item| item.1.get(self.at - 1)).copied().unwrap_or(0)
    }
}

/// A bus on which nothing answers, and every byte reads as this one.
struct Nothing(u8);

impl Port for Nothing {
    fn select(&mut self, _: u16) {}
    fn next_4(&mut self) -> [u8; 4] {
        [self.0; 4]
    }
    fn next_8(&mut self) -> [u8; 8] {
        [self.0; 8]
    }
}

fn find(fw: &mut FwCfg<Fake>, name: &str) -> Result<Option<File>, FwCfgError> {
    fw.find([name]).map(|[file]| file)
}

fn read<'a>(fw: &mut FwCfg<Fake>, name: &str, buffer: &'a mut [u8]) -> Result<&'a [u8], FwCfgError> {
    let file = find(fw, name)?.expect("it is in the directory");
    fw.read(file, buffer)
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
    assert_eq!(read(&mut fw, "opt/hotmap/args", &mut buffer), Ok(&b"granule=16k"[..]));
    assert_eq!(buffer[11..], [0xaa; 5], "nothing after the file is touched");
    let (args, tables) = (File { key: 0x2a, size: 11 }, File { key: 0x20, size: 2 });
    assert_eq!(
        fw.find(["opt/hotmap/args", "opt/none", "etc/acpi/tables"]),
        Ok([Some(args), None, Some(tables)])
    );
    assert_eq!(read(&mut fw, "opt/z", &mut buffer), Ok(&b""[..]));
}

#[test]
fn the_first_of_two_files_of_a_name_counts() {
    let mut fw = device(&[("opt/a", 0x2a, b"first"), ("opt/a", 0x2b, b"second")]);
    assert_eq!(find(&mut fw, "opt/a"), Ok(Some(File { key: 0x2a, size: 5 })));
}

#[test]
fn a_name_that_only_begins_alike_is_another_file() {
    let mut fw = device(&[("opt/hotmap/args2", 0x2a, b"no")]);
    assert_eq!(fw.find(["opt/hotmap/args", "opt/hotmap/args22", "opt/hotma", ""]), Ok([None; 4]));
}

#[test]
fn a_file_larger_than_the_buffer_is_an_error_not_a_part() {
    let mut fw = device(&[("opt/big", 0x30, b"0123456789")]);
    assert_eq!(read(&mut fw, "opt/big", &mut [0; 9]), Err(FwCfgError::TooLarge { size: 10, room: 9 }));
    assert_eq!(read(&mut fw, "opt/big", &mut [0; 10]), Ok(&b"0123456789"[..]));
}

#[test]
fn without_the_signature_there_is_no_device() {
    let empty = Fake { items: Vec::new(), selected: 0, at: 0 };
    assert_eq!(FwCfg::new(empty).err(), Some(FwCfgError::NoSignature([0; 4])));
    for byte in [0, 0xff] {
        assert_eq!(FwCfg::new(Nothing(byte)).err(), Some(FwCfgError::NoSignature([byte; 4])));
    }
}

#[test]
fn an_absurd_directory_ends_at_once() {
    for count in [4097, u32::MAX] {
        let items = std::vec![(0, b"QEMU".to_vec()), (0x19, count.to_be_bytes().to_vec())];
        let mut fw = FwCfg::new(Fake { items, selected: 0, at: 0 }).expect("the signature is there");
        assert_eq!(find(&mut fw, "opt/x"), Err(FwCfgError::BadDirectory { count }));
    }
}

#[test]
fn a_directory_that_ends_early_has_no_such_file() {
    let items = std::vec![(0, b"QEMU".to_vec()), (0x19, 4096_u32.to_be_bytes().to_vec())];
    let mut fw = FwCfg::new(Fake { items, selected: 0, at: 0 }).expect("the signature is there");
    assert_eq!(find(&mut fw, "opt/x"), Ok(None));
}

#[test]
fn acpi_tables_are_read_from_their_first_byte_whatever_was_read_before() {
    // A DSDT of one device, which is none of those that are looked for, and then a table that is none.
    let mut tables = b"DSDT\x2c\0\0\0".to_vec();
    tables.resize(36, 0);
    tables.extend(b"\x5b\x82\x06C000\x08FACP\0\0\0\0");
    tables.resize(100, 0);
    let mut fw = device(&[("etc/acpi/tables", 0x20, &tables), ("opt/a", 0x2a, b"x")]);
    read(&mut fw, "opt/a", &mut [0; 8]).expect("it fits");
    let file = find(&mut fw, "etc/acpi/tables").expect("a directory").expect("a file");
    let problem = fw.read_acpi(file).problem.expect("the second table").to_string();
    assert_eq!(
        problem,
        "acpi: byte 0x2c of the tables: table FACP has 0 bytes; the least is 36, and 56 are left"
    );
}
