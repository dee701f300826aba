//! What could not be read, and where.

use core::fmt;

/// Something that could not be read: the rest of its package or of the file was left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Bytes from the start of the file.
    pub at: u32,
    /// What is there.
    pub what: What,
}

/// What could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// The file is larger than any that QEMU makes.
    File {
        /// Its bytes.
        size: u32,
        /// The most that there can be.
        most: u32,
    },
    /// A table's signature has other characters than capital letters, digits and `_`.
    Signature([u8; 4]),
    /// A table is smaller than its header, or larger than what is left of the file.
    Length {
        /// The table.
        signature: [u8; 4],
        /// Its length in bytes.
        length: u32,
        /// What is left of the file, in bytes.
        room: u32,
    },
    /// An opcode that is none of those that declare something.
    Opcode(u8),
    /// A name that is none.
    Name(u8),
    /// A package that is smaller than its own length, or larger than what it is in.
    Package {
        /// Its length in bytes.
        length: u32,
        /// What is left around it, in bytes.
        room: u32,
    },
    /// A term goes on behind the end of its package.
    End,
    /// More packages in each other than QEMU has.
    Deep,
    /// A region that is looked for is not at a constant.
    NotConstant([u8; 4]),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "acpi: byte {:#x} of the tables: ", self.at)?;
        match self.what {
            What::File { size, most } => write!(f, "the file has {size} bytes; the most is {most}"),
            What::Signature(found) => write!(f, "a table's signature is {found:02x?}"),
            What::Length { signature, length, room } => {
                let name = Name(signature);
                write!(f, "table {name} has {length} bytes; the least is 36, and {room} are left")
            }
            What::Opcode(opcode) => {
                write!(f, "{opcode:#04x} declares nothing; the rest of its package is not read")
            }
            What::Name(byte) => {
                write!(f, "a name with the byte {byte:#04x}; the rest of its package is not read")
            }
            What::Package { length, room } => {
                write!(f, "a package of {length} bytes, where {room} are left; it is not read")
            }
            What::End => f.write_str("a term goes on behind the end of its package"),
            What::Deep => f.write_str("a package in too many others; it is not read"),
            What::NotConstant(name) => {
                write!(f, "region {} is not at a constant; it is not used", Name(name))
            }
        }
    }
}

/// Four characters that were checked.
struct Name([u8; 4]);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(core::str::from_utf8(&self.0).unwrap_or("?"))
    }
}
