//! Tables written by hand: each function gives the bytes of one term (ACPI 6.5, chapter 20), and nothing of the reader.
#![allow(dead_code, reason = "each test file uses a part")]

use hotmap_acpi::{Announced, Source};

/// A file that is read as the device gives it: zeros behind its end. Counts what was asked for.
pub(crate) struct File<'a> {
    bytes: &'a [u8],
    pub(crate) asked: usize,
}

impl<'a> File<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, asked: 0 }
    }
}

impl Source for File<'_> {
    fn next(&mut self) -> u64 {
        let word = core::array::from_fn(|at| self.bytes.get(self.asked + at).copied().unwrap_or(0));
        self.asked += 8;
        u64::from_le_bytes(word)
    }
}

pub(crate) fn read(bytes: &[u8]) -> Announced {
    hotmap_acpi::read(&mut File::new(bytes), u32::try_from(bytes.len()).expect("a small file"))
}

/// How many bytes of the file are asked for.
pub(crate) fn asked(bytes: &[u8]) -> usize {
    let mut file = File::new(bytes);
    hotmap_acpi::read(&mut file, u32::try_from(bytes.len()).expect("a small file"));
    file.asked
}

pub(crate) fn problem(bytes: &[u8]) -> String {
    read(bytes).problem.map_or_else(String::new, |problem| problem.to_string())
}

pub(crate) fn table(signature: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(36 + body.len()).expect("a small table");
    let mut table = signature.to_vec();
    table.extend(length.to_le_bytes());
    // Revision, a checksum of zero, and the maker: OEM ID, OEM table ID, OEM revision, compiler, its revision.
    table.extend(b"\x02\x00BOCHS BXPC    \x01\0\0\0BXPC\x01\0\0\0");
    table.extend(body);
    table
}

/// A package with as many bytes of length as it needs.
pub(crate) fn package(content: &[u8]) -> Vec<u8> {
    let fits = [0x40, 0x1000, 0x10_0000, 0x1000_0000];
    let bytes = fits.iter().position(|limit| content.len() + 4 < *limit).expect("a small package");
    package_of(bytes, content.len() + 1 + bytes, content)
}

/// A package that says that it has `length` bytes, with `more` bytes behind the first of its length.
pub(crate) fn package_of(more: usize, length: usize, content: &[u8]) -> Vec<u8> {
    let byte = |shift: usize| u8::try_from(length >> shift & 0xff).expect("a byte");
    let mut bytes =
        vec![if more == 0 { byte(0) } else { u8::try_from(more << 6).expect("two bits") | byte(0) & 0xf }];
    bytes.extend((0..more).map(|place| byte(4 + 8 * place)));
    bytes.extend(content);
    bytes
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

pub(crate) fn scope(name: &[u8], body: &[u8]) -> Vec<u8> {
    join(&[&[0x10], &package(&join(&[name, body]))])
}

pub(crate) fn device(name: &[u8], body: &[u8]) -> Vec<u8> {
    join(&[&[0x5b, 0x82], &package(&join(&[name, body]))])
}

pub(crate) fn method(name: &[u8], flags: u8, body: &[u8]) -> Vec<u8> {
    join(&[&[0x14], &package(&join(&[name, &[flags], body]))])
}

pub(crate) fn named(name: &[u8], object: &[u8]) -> Vec<u8> {
    join(&[&[0x08], name, object])
}

pub(crate) fn buffer(bytes: &[u8]) -> Vec<u8> {
    let size = u8::try_from(bytes.len()).expect("a small buffer");
    join(&[&[0x11], &package(&join(&[&[0x0a, size], bytes]))])
}

/// `Interrupt(ResourceConsumer, ...) { gsi }` with the flags' byte.
pub(crate) fn interrupts(flags: u8, gsis: &[u32]) -> Vec<u8> {
    let count = u8::try_from(gsis.len()).expect("few");
    let numbers: Vec<u8> = gsis.iter().flat_map(|gsi| gsi.to_le_bytes()).collect();
    let length = u8::try_from(2 + numbers.len()).expect("few");
    join(&[&[0x89, length, 0, flags, count], &numbers])
}

/// Memory32Fixed, and the end tag.
pub(crate) const MEMORY: [u8; 12] = [0x86, 9, 0, 1, 0, 0, 7, 9, 0x18, 0, 0, 0];
pub(crate) const END_TAG: [u8; 2] = [0x79, 0];

pub(crate) fn dword(number: u32) -> Vec<u8> {
    join(&[&[0x0c], &number.to_le_bytes()])
}

pub(crate) fn region(name: &[u8; 4], space: u8, start: &[u8], bytes: &[u8]) -> Vec<u8> {
    join(&[&[0x5b, 0x80], name, &[space], start, bytes])
}

pub(crate) fn slots(region: &[u8]) -> Vec<u8> {
    let names = [
        named(b"_HID", b"\x0dPNP0A06\0"),
        named(b"_UID", b"\x0dMemory hotplug resources\0"),
        named(b"_CRS", &buffer(&join(&[&MEMORY, &END_TAG]))),
    ];
    device(b"\\\x2e_SB_MHPD", &join(&[&names.concat(), region, &device(b"MHPC", &named(b"_HID", &[0]))]))
}

pub(crate) fn events(resources: &[u8], region: &[u8]) -> Vec<u8> {
    let names = [named(b"_HID", b"\x0dACPI0013\0"), named(b"_CRS", &buffer(resources))];
    let field = join(&[&[0x5b, 0x81], &package(b"EREG\x03ESEL\x20")]);
    device(b"\\\x2e_SB_GED_", &join(&[&names.concat(), region, &field, &method(b"_EVT", 9, &[0xab])]))
}

pub(crate) fn nvdimms(call: &[u8]) -> Vec<u8> {
    let body =
        [named(b"_HID", b"\x0dACPI0012\0"), method(b"NCAL", 0x0d, call), method(b"_DSM", 4, &[0xa4, 0])];
    scope(b"\\_SB_", &device(b"NVDR", &body.concat()))
}

/// `Store (MEMA, Local6)`.
pub(crate) const STORE: &[u8] = b"\x70MEMA\x66";

pub(crate) fn hpmr() -> Vec<u8> {
    region(b"HPMR", 0, &dword(0x0907_0000), &[0x0a, 0x18])
}

pub(crate) fn ereg() -> Vec<u8> {
    region(b"EREG", 0, &dword(0x0908_0000), &[0x0a, 4])
}

pub(crate) fn npio() -> Vec<u8> {
    region(b"NPIO", 0, &dword(0x0909_0000), &[0x0a, 4])
}

pub(crate) fn nram() -> Vec<u8> {
    region(b"NRAM", 0, &[0x66], &[0x0b, 0, 0x10])
}

pub(crate) fn dsdt() -> Vec<u8> {
    let others = [
        device(b"C000", &[named(b"_HID", b"\x0dACPI0007\0"), named(b"_UID", &[0])].concat()),
        device(
            b"PCI0",
            &[named(b"_CBA", &[0x0e, 0, 0, 0, 0x10, 0x40, 0, 0, 0]), method(b"_OSC", 4, &[0x8a; 300])]
                .concat(),
        ),
        named(b"XXXX", &[0x0b, 1, 2]),
    ];
    let ged = events(&[interrupts(3, &[41]), END_TAG.to_vec()].concat(), &ereg());
    table(b"DSDT", &scope(b"\\_SB_", &[others.concat(), ged, slots(&hpmr())].concat()))
}

/// What QEMU's virt makes of `-machine nvdimm=on` with memory slots, in small.
pub(crate) fn like_qemu() -> Vec<u8> {
    let ssdt = [nvdimms(&[STORE, &npio(), &nram()].concat()), named(b"MEMA", &dword(0))].concat();
    let mut file =
        [dsdt(), table(b"FACP", &[0xff; 240]), table(b"SSDT", &ssdt), table(b"XSDT", &[0; 80])].concat();
    file.resize(0x4000, 0);
    file
}
