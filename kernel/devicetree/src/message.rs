//! The message of each [`DtError`]: one line that names the rule and the value that breaks it.
use core::fmt::{self, Display, Formatter};

use crate::error::DtError;
use crate::header::{HEADER_SIZE, MAGIC, VERSION};

impl Display for DtError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("device tree: ")?;
        self.header_rule(f)
    }
}

impl DtError {
    /// Rules of the header.
    fn header_rule(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::HeaderTruncated { have } => {
                write!(f, "{have:#x} bytes are too few for the header of {HEADER_SIZE:#x}")
            }
            Self::Magic { found } => write!(f, "magic is {found:#010x}, not {MAGIC:#010x}"),
            Self::TotalSizeTooSmall { total_size } => {
                write!(f, "totalsize {total_size:#x} is smaller than the header of {HEADER_SIZE:#x} bytes")
            }
            Self::TotalSize { total_size, have } => {
                write!(f, "totalsize {total_size:#x} exceeds the blob of {have:#x} bytes")
            }
            Self::Version { version, last_compatible } => {
                write!(f, "version {version} (compatible back to {last_compatible}) is not version {VERSION}")
            }
            Self::BlockBounds { block, offset, size, total_size } => {
                write!(
                    f,
                    "the {block} at {offset:#x}, size {size:#x}, is not inside totalsize {total_size:#x}"
                )
            }
            Self::BlockAlignment { block, offset, align } => {
                write!(f, "the {block} at {offset:#x} is not aligned to {align} bytes")
            }
            Self::ReserveMapEnd { offset } => {
                write!(f, "the memory reservation block at {offset:#x} has no entry of zeroes at its end")
            }
            Self::StringLength { offset, limit } => {
                write!(f, "the string at {offset:#x} of the strings block does not end within {limit} bytes")
            }
            _ => self.structure_rule(f),
        }
    }

    /// Rules of the structure block.
    fn structure_rule(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownToken { offset, token } => write!(f, "{token:#x} at {offset:#x} is not a token"),
            Self::MisplacedToken { offset, token } => {
                write!(f, "token {token:#x} at {offset:#x} may not stand there")
            }
            Self::StructureTruncated { offset } => {
                write!(f, "the structure block breaks off in the token at {offset:#x}")
            }
            Self::StructureTail { offset, size } => {
                write!(f, "{size:#x} bytes at {offset:#x} follow the end of the structure block")
            }
            Self::TooDeep { offset, limit } => {
                write!(f, "the node at {offset:#x} is more than {limit} levels below the root")
            }
            Self::PropertyNameBounds { offset, name_offset, strings_size } => {
                write!(f, "the property at {offset:#x} has its name at {name_offset:#x}, ")?;
                write!(f, "outside the strings block of {strings_size:#x} bytes")
            }
            Self::PropertyName { node } => write!(f, "a property name of {node} is not UTF-8"),
            Self::NodeName { index } => write!(f, "the name of node number {index} is not UTF-8"),
            Self::Reader { index } => write!(f, "unreadable after {index} nodes"),
            _ => self.property_rule(f),
        }
    }

    /// Rules of a single property.
    fn property_rule(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cells { bus, property, value } => {
                write!(f, "{property} of {bus} is {value}; only 1 and 2 are supported")
            }
            Self::PciCells { node, property, need } => {
                write!(f, "{property} of {node} is not {need}, a PCI bus's")
            }
            Self::InterruptMap { node, parent } => {
                write!(
                    f,
                    "interrupt-map of {node} has an entry for {parent:#x}, not an SPI or PPI of the GIC"
                )
            }
            Self::NumberSize { node, property, size, cells } => {
                let needed = if *cells == 1 { "one cell" } else { "one or two cells" };
                write!(f, "{property} of {node} is {size:#x} bytes, not {needed} of 4")
            }
            Self::PropertySize { node, property, size, unit } => {
                write!(f, "{property} of {node} is {size:#x} bytes, not a positive multiple of {unit:#x}")
            }
            Self::MissingProperty { node, property } => write!(f, "{node} has no {property}"),
            Self::RegEntries { node, have, need } => {
                write!(f, "reg of {node} has {have} regions where {need} are needed")
            }
            Self::TooLong { property, length, capacity } => {
                write!(f, "{property} is {length} bytes long; at most {capacity} fit")
            }
            Self::NotUtf8 { property, valid } => write!(f, "{property} is not UTF-8 after {valid} bytes"),
            Self::StdoutPath { path } => write!(f, "stdout-path {path} names no node"),
            Self::PsciMethod { method } => write!(f, "PSCI method {method} is neither hvc nor smc"),
            _ => self.region_rule(f),
        }
    }

    /// Rules of regions, alone and together; the last of the four.
    fn region_rule(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wraps { node, start, size } => {
                write!(f, "the region of {node} at {start:#x}, size {size:#x}, wraps around")
            }
            Self::Unmapped { node, region } => {
                write!(f, "the region of {node} at {:#x}..{:#x} ", region.start, region.end())?;
                f.write_str("is outside the ranges of its bus")
            }
            Self::Overlap { first, second } => {
                write!(f, "the memory regions {:#x}..{:#x} and ", first.start, first.end())?;
                write!(f, "{:#x}..{:#x} overlap", second.start, second.end())
            }
            Self::TooMany { list, capacity } => write!(f, "more than {capacity} {list}"),
            Self::NoMemory => f.write_str("no memory node says where there is RAM"),
            Self::Initrd { start, end } => {
                write!(f, "the initrd at {start:#x} ends before it starts, at {end:#x}")
            }
            // Every variant that is not above is in one of the three functions before.
            _ => f.write_str("invalid"),
        }
    }
}
