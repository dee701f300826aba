//! What the tests share: the blobs in fixtures/, and a writer of blobs that knows nothing of the parser.
#![allow(dead_code, reason = "each test file uses its part")]
#![expect(clippy::unwrap_used, reason = "a test that cannot read its input has failed")]

use std::path::{Path, PathBuf};

use hotmap_devicetree::{DtError, MachineDescription, Region, parse};

/// Every blob in fixtures/, with its name.
pub(crate) fn fixtures() -> Vec<(String, Vec<u8>)> {
    blobs("tests/fixtures")
}

/// The blobs in a folder of this package, in the order of their names.
pub(crate) fn blobs(folder: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut paths: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "dtb"));
    paths.sort();
    let name = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().to_string();
    paths.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect()
}

/// One blob of fixtures/.
pub(crate) fn fixture(name: &str) -> Vec<u8> {
    fixtures().into_iter().find(|(found, _)| found == name).unwrap().1
}

/// Parses into a description that already holds something, as a second boot's would.
pub(crate) fn read(blob: &[u8]) -> Result<Box<MachineDescription>, DtError> {
    let mut out = Box::new(MachineDescription::new());
    out.cpu_count = 99;
    out.bootargs.push_str("left over").unwrap();
    out.memory
        .push(hotmap_devicetree::MemoryRegion { region: region(1, 1), hotpluggable: true, numa_node: None })
        .unwrap();
    parse(blob, &mut out)?;
    Ok(out)
}

pub(crate) fn region(start: u64, size: u64) -> Region {
    Region { start, size }
}

/// Writes a blob, in the order of the format, without any checks.
#[derive(Clone, Default)]
pub(crate) struct Writer {
    pub(crate) reserve_map: Vec<(u64, u64)>,
    pub(crate) structure: Vec<u8>,
    pub(crate) strings: Vec<u8>,
}

impl Writer {
    /// An open root with two cells for addresses and sizes.
    pub(crate) fn root() -> Self {
        let mut writer = Self::default();
        writer.begin("").cells("#address-cells", &[2]).cells("#size-cells", &[2]);
        writer
    }

    pub(crate) fn token(&mut self, token: u32) -> &mut Self {
        self.structure.extend(token.to_be_bytes());
        self
    }

    pub(crate) fn begin(&mut self, name: &str) -> &mut Self {
        self.begin_bytes(name.as_bytes())
    }

    pub(crate) fn begin_bytes(&mut self, name: &[u8]) -> &mut Self {
        self.token(1);
        self.structure.extend(name);
        self.structure.push(0);
        self.pad()
    }

    pub(crate) fn end(&mut self) -> &mut Self {
        self.token(2)
    }

    pub(crate) fn property(&mut self, name: &str, value: &[u8]) -> &mut Self {
        let name_offset = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        self.property_named_at(name_offset, value)
    }

    pub(crate) fn property_named_at(&mut self, name_offset: u32, value: &[u8]) -> &mut Self {
        self.token(3).token(u32::try_from(value.len()).unwrap()).token(name_offset);
        self.structure.extend(value);
        self.pad()
    }

    pub(crate) fn text(&mut self, name: &str, text: &str) -> &mut Self {
        self.property(name, format!("{text}\0").as_bytes())
    }

    pub(crate) fn cells(&mut self, name: &str, cells: &[u32]) -> &mut Self {
        let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.property(name, &bytes)
    }

    /// A `reg` of two cells each.
    pub(crate) fn reg(&mut self, regions: &[(u64, u64)]) -> &mut Self {
        let bytes: Vec<u8> = regions
            .iter()
            .flat_map(|(start, size)| [start.to_be_bytes(), size.to_be_bytes()])
            .flatten()
            .collect();
        self.property("reg", &bytes)
    }

    /// A node with `device_type = "memory"`, left open.
    pub(crate) fn memory(&mut self, regions: &[(u64, u64)]) -> &mut Self {
        self.begin("memory").text("device_type", "memory").reg(regions)
    }

    /// Ends a chain of calls in a closure that returns nothing.
    pub(crate) fn done(&mut self) {}

    fn pad(&mut self) -> &mut Self {
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
        self
    }

    /// Closes the root and writes the blob.
    pub(crate) fn blob(&self) -> Vec<u8> {
        let mut whole = self.clone();
        whole.end().token(9);
        whole.raw_blob()
    }

    /// Writes the blob with the structure block as it stands.
    pub(crate) fn raw_blob(&self) -> Vec<u8> {
        let word = |value: usize| u32::try_from(value).unwrap().to_be_bytes();
        let reserve_map = 40;
        let structure = reserve_map + 16 * (self.reserve_map.len() + 1);
        let strings = structure + self.structure.len();
        let mut blob = Vec::new();
        blob.extend(0xd00d_feed_u32.to_be_bytes());
        for value in [strings + self.strings.len(), structure, strings, reserve_map, 17, 16, 0] {
            blob.extend(word(value));
        }
        blob.extend(word(self.strings.len()));
        blob.extend(word(self.structure.len()));
        for (start, size) in self.reserve_map.iter().chain(&[(0, 0)]) {
            blob.extend(start.to_be_bytes());
            blob.extend(size.to_be_bytes());
        }
        blob.extend(&self.structure);
        blob.extend(&self.strings);
        blob
    }
}

/// Puts a big-endian word into a blob.
pub(crate) fn patch(blob: &mut [u8], offset: usize, word: u32) {
    blob[offset..offset + 4].copy_from_slice(&word.to_be_bytes());
}
