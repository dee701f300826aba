//! Writes device tree blobs, for boots with a tree that QEMU does not make.
//!
//! Devicetree Specification v0.4, chapter 5: header, memory reservation block, structure block (tokens), strings block.

/// `FDT_BEGIN_NODE` and the other tokens (section 5.4.1).
const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROP: u32 = 3;
const END: u32 = 9;
/// The header's magic (section 5.2).
const MAGIC: u32 = 0xd00d_feed;
/// Bytes of the header.
const HEADER_BYTES: usize = 40;

/// A node: properties first, then children.
#[derive(Clone, Debug, Default)]
pub struct Node {
    name: String,
    properties: Vec<(String, Vec<u8>)>,
    children: Vec<Node>,
}

impl Node {
    /// An empty node.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// With a property of 32-bit cells.
    #[must_use]
    pub fn cells(self, name: &str, cells: &[u32]) -> Self {
        self.bytes(name, cells.iter().flat_map(|cell| cell.to_be_bytes()).collect())
    }

    /// With a property of one 64-bit address and one 64-bit size.
    #[must_use]
    pub fn reg(self, address: u64, size: u64) -> Self {
        self.bytes("reg", [address, size].iter().flat_map(|value| value.to_be_bytes()).collect())
    }

    /// With a string property.
    #[must_use]
    pub fn text(self, name: &str, text: &str) -> Self {
        self.bytes(name, [text.as_bytes(), &[0]].concat())
    }

    /// With a property of raw bytes.
    #[must_use]
    pub fn bytes(mut self, name: &str, value: Vec<u8>) -> Self {
        self.properties.push((name.to_owned(), value));
        self
    }

    /// With a child.
    #[must_use]
    pub fn child(mut self, child: Self) -> Self {
        self.children.push(child);
        self
    }

    /// The blob with this node as its root.
    pub fn blob(&self) -> Vec<u8> {
        let mut strings = Vec::new();
        let mut structure = Vec::new();
        self.write(&mut structure, &mut strings);
        word(&mut structure, END);
        assemble(&structure, &strings)
    }

    fn write(&self, structure: &mut Vec<u8>, strings: &mut Vec<u8>) {
        word(structure, BEGIN_NODE);
        structure.extend(self.name.bytes());
        structure.push(0);
        pad(structure);
        for (name, value) in &self.properties {
            word(structure, PROP);
            word(structure, length(value.len()));
            word(structure, length(strings.len()));
            strings.extend(name.bytes());
            strings.push(0);
            structure.extend(value);
            pad(structure);
        }
        for child in &self.children {
            child.write(structure, strings);
        }
        word(structure, END_NODE);
    }
}

/// Puts `nodes` at the end of the root node of an existing blob.
///
/// # Errors
/// A sentence when it is not a blob.
pub fn add_to_root(blob: &[u8], nodes: &[Node]) -> Result<Vec<u8>, String> {
    let field = |index: usize| -> Result<usize, String> {
        let bytes = blob.get(index * 4..index * 4 + 4).and_then(|bytes| bytes.try_into().ok());
        let value = u32::from_be_bytes(bytes.ok_or("a blob without a header")?);
        usize::try_from(value).map_err(|error| error.to_string())
    };
    if field(0)? != MAGIC as usize {
        return Err("not a device tree blob".into());
    }
    let part = |start: usize, size: usize| blob.get(start..start + size).ok_or("a truncated blob");
    let mut structure = part(field(2)?, field(9)?)?.to_vec();
    let mut strings = part(field(3)?, field(8)?)?.to_vec();
    // The structure block ends with the root's END_NODE and END.
    let tail = [END_NODE.to_be_bytes(), END.to_be_bytes()].concat();
    if !structure.ends_with(&tail) {
        return Err("the structure block does not end where it should".into());
    }
    structure.truncate(structure.len() - tail.len());
    for node in nodes {
        node.write(&mut structure, &mut strings);
    }
    structure.extend(tail);
    Ok(assemble(&structure, &strings))
}

/// Header (version 17, compatible with 16), an empty reservation block, the two blocks.
fn assemble(structure: &[u8], strings: &[u8]) -> Vec<u8> {
    let structure_at = HEADER_BYTES + 16;
    let strings_at = structure_at + structure.len();
    let total = strings_at + strings.len();
    let mut blob = Vec::new();
    for field in [total, structure_at, strings_at, HEADER_BYTES] {
        word(&mut blob, length(field));
    }
    for field in [17, 16, 0] {
        word(&mut blob, field);
    }
    word(&mut blob, length(strings.len()));
    word(&mut blob, length(structure.len()));
    blob.splice(0..0, MAGIC.to_be_bytes());
    blob.extend([0; 16]);
    blob.extend(structure);
    blob.extend(strings);
    blob
}

fn word(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend(value.to_be_bytes());
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// A blob is far below 4 GiB; the kernel refuses one that is not.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{Node, add_to_root};

    /// The smallest blob, byte for byte, by the specification.
    #[test]
    fn an_empty_root_is_72_bytes() {
        let blob = Node::new("").blob();
        let words: Vec<u32> =
            blob.chunks_exact(4).map(|w| u32::from_be_bytes(w.try_into().expect("4"))).collect();
        assert_eq!(words, [0xd00d_feed, 72, 56, 72, 40, 17, 16, 0, 0, 16, 0, 0, 0, 0, 1, 0, 2, 9]);
    }

    #[test]
    fn nodes_added_to_a_root_are_as_if_written_there() {
        let child = || Node::new("pool@50000000").reg(0x5000_0000, 0x1000).text("status", "okay");
        let written = Node::new("").cells("#address-cells", &[2]).child(child()).blob();
        let added =
            add_to_root(&Node::new("").cells("#address-cells", &[2]).blob(), &[child()]).expect("added");
        assert_eq!(added, written);
    }

    #[test]
    fn what_is_no_blob_is_refused() {
        assert!(add_to_root(b"", &[]).is_err());
        assert!(add_to_root(&[0xa5; 64], &[]).is_err());
        let blob = Node::new("").blob();
        assert!(add_to_root(&blob[..60], &[]).is_err());
    }
}
