//! Everything that can be wrong with a blob. Each variant carries the value that offends, and its message
//! names the rule. No variant holds a pointer (see the head of the crate).
use core::fmt::{self, Display, Formatter};

use crate::name::Name;
use crate::property::Property;
use crate::region::Region;

/// A block of the blob (Devicetree Specification 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// The memory reservation block.
    ReserveMap,
    /// The structure block.
    Structure,
    /// The strings block.
    Strings,
}

impl Display for Block {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReserveMap => "memory reservation block",
            Self::Structure => "structure block",
            Self::Strings => "strings block",
        })
    }
}

/// A list of the description that has a fixed capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `memory`
    Memory,
    /// `pmem`
    Pmem,
    /// `reserved`
    Reserved,
    /// GICv3 redistributor regions
    Redistributors,
    /// `flash`
    Flash,
    /// A PCI host's `interrupt-map`
    PciInterrupts,
    /// `virtio_mmio`
    VirtioMmio,
}

impl Display for List {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory regions",
            Self::Pmem => "persistent memory regions",
            Self::Reserved => "reservations",
            Self::Redistributors => "GICv3 redistributor regions",
            Self::Flash => "flash banks",
            Self::PciInterrupts => "PCI interrupts",
            Self::VirtioMmio => "virtio,mmio nodes",
        })
    }
}

/// Why a blob was refused. Offsets count from the start of the blob, in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DtError {
    /// Fewer bytes than a header.
    HeaderTruncated {
        /// How many there are.
        have: usize,
    },
    /// The first word is not 0xd00dfeed.
    Magic {
        /// What it is.
        found: u32,
    },
    /// totalsize does not cover the header.
    TotalSizeTooSmall {
        /// What the header says.
        total_size: u32,
    },
    /// totalsize covers more than the blob.
    TotalSize {
        /// What the header says.
        total_size: u32,
        /// How many bytes there are.
        have: usize,
    },
    /// A format that is not version 17's.
    Version {
        /// What the header says.
        version: u32,
        /// The oldest version that it claims to be compatible with.
        last_compatible: u32,
    },
    /// A block that lies outside totalsize.
    BlockBounds {
        /// Which.
        block: Block,
        /// Where it starts.
        offset: u32,
        /// Its length; 0 for the memory reservation block, which has none in the header.
        size: u32,
        /// What the header says.
        total_size: u32,
    },
    /// A block whose offset is not a multiple of what it must be.
    BlockAlignment {
        /// Which.
        block: Block,
        /// Where it starts.
        offset: u32,
        /// Of what it must be a multiple.
        align: u32,
    },
    /// No entry of zeroes ends the memory reservation block.
    ReserveMapEnd {
        /// Where it starts.
        offset: u32,
    },
    /// A string of the strings block that is too long for a property's name, or does not end.
    StringLength {
        /// Where, in the strings block.
        offset: usize,
        /// How long it may be, in bytes.
        limit: usize,
    },
    /// A word of the structure block that is no token.
    UnknownToken {
        /// Where.
        offset: usize,
        /// The word.
        token: u32,
    },
    /// A token where it may not be: a property after a child node, a second root, an end too many.
    MisplacedToken {
        /// Where.
        offset: usize,
        /// The token.
        token: u32,
    },
    /// The structure block ends before FDT_END.
    StructureTruncated {
        /// Where the token starts that is cut off, or missing.
        offset: usize,
    },
    /// Bytes behind FDT_END.
    StructureTail {
        /// Where they start.
        offset: usize,
        /// How many.
        size: usize,
    },
    /// A node deeper than [`MAX_DEPTH`](crate::MAX_DEPTH) below the root.
    TooDeep {
        /// Where.
        offset: usize,
        /// The limit.
        limit: usize,
    },
    /// A property whose name lies outside the strings block.
    PropertyNameBounds {
        /// Where the property is.
        offset: usize,
        /// The name's offset in the strings block.
        name_offset: u32,
        /// The length of the strings block.
        strings_size: usize,
    },
    /// A property name that is not UTF-8.
    PropertyName {
        /// Whose property.
        node: Name,
    },
    /// A node name that is not UTF-8.
    NodeName {
        /// How many nodes come before it.
        index: usize,
    },
    /// The `fdt` crate refused what the token walk had accepted.
    Reader {
        /// How many nodes it had read.
        index: usize,
    },
    /// A number of cells that addresses and sizes cannot have here.
    Cells {
        /// Whose property.
        bus: Name,
        /// Which property.
        property: Property,
        /// What it says.
        value: u32,
    },
    /// A number of cells that is not a PCI bus's.
    PciCells {
        /// Whose property.
        node: Name,
        /// Which property.
        property: Property,
        /// What it must say.
        need: u32,
    },
    /// A number that is not of one cell, or where it may be of two, not of one or two.
    NumberSize {
        /// Whose property.
        node: Name,
        /// Which property.
        property: Property,
        /// Its length in bytes.
        size: usize,
        /// How many cells it may have.
        cells: usize,
    },
    /// A list that is empty, or ends in the middle of an entry.
    PropertySize {
        /// Whose property.
        node: Name,
        /// Which property.
        property: Property,
        /// Its length in bytes.
        size: usize,
        /// Of what it must be a multiple.
        unit: usize,
    },
    /// A property that must be there.
    MissingProperty {
        /// Whose property.
        node: Name,
        /// Which property.
        property: Property,
    },
    /// Too few regions in `reg`.
    RegEntries {
        /// Whose `reg`.
        node: Name,
        /// How many there are.
        have: usize,
        /// How many there must be.
        need: usize,
    },
    /// A region whose end is past the last address.
    Wraps {
        /// Whose region.
        node: Name,
        /// First byte.
        start: u64,
        /// Length in bytes.
        size: u64,
    },
    /// A region that the `ranges` of a bus above it do not cover.
    Unmapped {
        /// Whose region.
        node: Name,
        /// Where it is on that bus.
        region: Region,
    },
    /// Two regions of RAM or persistent memory that share bytes.
    Overlap {
        /// The lower one.
        first: Region,
        /// The other.
        second: Region,
    },
    /// An entry of `interrupt-map` that is not an interrupt of the GIC.
    InterruptMap {
        /// Whose map.
        node: Name,
        /// The phandle of the interrupt controller in the entry.
        parent: u32,
    },
    /// More entries than fit.
    TooMany {
        /// Of what.
        list: List,
        /// How many fit.
        capacity: usize,
    },
    /// There is no RAM to boot in.
    NoMemory,
    /// Text longer than what fits.
    TooLong {
        /// Which property.
        property: Property,
        /// Its length in bytes.
        length: usize,
        /// How many fit.
        capacity: usize,
    },
    /// Text that is not UTF-8.
    NotUtf8 {
        /// Which property.
        property: Property,
        /// How many bytes before the first wrong one.
        valid: usize,
    },
    /// The initial RAM disk ends before it starts.
    Initrd {
        /// First byte.
        start: u64,
        /// One past the last byte.
        end: u64,
    },
    /// `stdout-path` names no node.
    StdoutPath {
        /// The path, or an alias that is none.
        path: Name,
    },
    /// A PSCI `method` that is neither hvc nor smc.
    PsciMethod {
        /// What it says.
        method: Name,
    },
}
