//! VMSAv8-64 descriptors, stage 1, EL1&0 (Arm ARM D8.3, "Translation table descriptor formats").
//!
//! ```text
//!   63     58..55      54  53  52        47 .. page_shift      11 10 9:8 7:6  4:2   1     0
//!  [ 0 ] [software]  [UXN|PXN|Cont] ... [output address] ... [nG|AF| SH| AP|Attr][table][valid]
//! ```
//! An entry is a leaf when it is valid and either at the last level with bit 1 set, or at another level with it clear.
//!
//! An entry that has been broken keeps its address in an *invalid* descriptor, marked as dying, until the TLB
//! maintenance is done and the memory underneath can be let go: see [`Descriptor::broken`].
//!
//! A *shared* entry, a leaf or a table, leads to a frame that other entries lead to as well: it is read-only, and what becomes
//! of the frame when the entry goes is for a count to say. The bit is software's (Arm ARM D8.3.2: bits 58:55 of a leaf are
//! reserved for it, bits 58:51 of a table entry are ignored).

use core::fmt;

use crate::addr::PhysAddr;
use crate::granule::{Granule, LAST_LEVEL};

const VALID: u64 = 1 << 0;
const TABLE_OR_PAGE: u64 = 1 << 1;
const ATTR_SHIFT: u32 = 2;
const AP_READ_ONLY: u64 = 0b10 << 6;
const SH_INNER: u64 = 0b11 << 8;
const ACCESS_FLAG: u64 = 1 << 10;
const CONTIGUOUS: u64 = 1 << 52;
const PXN: u64 = 1 << 53;
const UXN: u64 = 1 << 54;
/// In an invalid descriptor all bits but 0 are ignored by the hardware (Arm ARM D8.3.1): this one is ours.
const DYING: u64 = 1 << 55;
/// Bits 58:55 of a valid leaf are software's, and those of a table entry are ignored.
const SHARED: u64 = 1 << 56;

/// MAIR_EL1 for the attribute indices that descriptors use: 0 is Device-nGnRE, 1 is Normal, Inner and Outer Write-Back
/// Read- and Write-Allocate (Arm ARM, "MAIR_EL1").
pub const MAIR: u64 = 0x04 | 0xff << 8;

/// The kind of memory behind a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MemoryType {
    /// Device-nGnRE.
    Device = 0,
    /// Normal, write-back.
    Normal = 1,
}

/// What the kernel may do through a mapping. Writable and executable at once cannot be said (I8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Permission {
    /// Load only.
    ReadOnly,
    /// Load and store.
    ReadWrite,
    /// Load and execute.
    ReadExecute,
}

/// Type and permission of a mapping.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attributes {
    /// The memory type.
    pub memory: MemoryType,
    /// What the kernel may do.
    pub permission: Permission,
}

impl Attributes {
    /// Data: normal memory, read and write.
    pub const DATA: Self = Self { memory: MemoryType::Normal, permission: Permission::ReadWrite };
    /// Constants.
    pub const RODATA: Self = Self { memory: MemoryType::Normal, permission: Permission::ReadOnly };
    /// Code.
    pub const TEXT: Self = Self { memory: MemoryType::Normal, permission: Permission::ReadExecute };
    /// Device registers.
    pub const DEVICE: Self = Self { memory: MemoryType::Device, permission: Permission::ReadWrite };

    const fn bits(self) -> u64 {
        let permission = match self.permission {
            Permission::ReadOnly => AP_READ_ONLY | PXN,
            Permission::ReadWrite => PXN,
            Permission::ReadExecute => AP_READ_ONLY,
        };
        ((self.memory as u64) << ATTR_SHIFT) | permission | UXN | SH_INNER | ACCESS_FLAG
    }
}

/// One 64-bit entry of a table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Descriptor(u64);

impl Descriptor {
    /// The empty entry.
    pub const EMPTY: Self = Self(0);

    /// The descriptor with these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
    /// All bits.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// A block (levels below the last) or page that maps `pa`.
    #[inline(always)]
    pub fn leaf(pa: PhysAddr, attributes: Attributes, level: u8, contiguous: bool) -> Self {
        let page = if level == LAST_LEVEL { TABLE_OR_PAGE } else { 0 };
        let contiguous = if contiguous { CONTIGUOUS } else { 0 };
        Self(pa.get() | attributes.bits() | contiguous | page | VALID)
    }
    /// An entry that points to the next table. It restricts nothing: permissions are the leaf's.
    pub fn table(pa: PhysAddr) -> Self {
        Self(pa.get() | TABLE_OR_PAGE | VALID)
    }

    /// The same entry, leading to what others lead to as well.
    pub const fn shared(self) -> Self {
        Self(self.0 | SHARED)
    }
    /// Whether others lead to the same frame.
    pub const fn is_shared(self) -> bool {
        self.0 & SHARED != 0
    }
    /// The same leaf, for loads only.
    pub const fn read_only(self) -> Self {
        Self(self.0 | AP_READ_ONLY)
    }
    /// The same leaf of data, for loads and stores.
    pub const fn writable(self) -> Self {
        Self(self.0 & !(AP_READ_ONLY | SHARED) | PXN)
    }
    /// The leaf number `index` of those of `level + 1` that together say what this leaf of `level` says.
    pub fn piece(self, level: u8, index: u64, g: Granule) -> Self {
        let size = 1 << g.level_shift(level + 1);
        let page = if level + 1 == LAST_LEVEL { TABLE_OR_PAGE } else { 0 };
        Self(self.moved_to(self.address(g) + index * size, g).0 | page)
    }
    /// The leaf of `level` whose first piece this leaf of `level + 1` is.
    pub const fn whole(self) -> Self {
        Self(self.0 & !TABLE_OR_PAGE)
    }

    /// Whether a walk uses it.
    pub const fn is_valid(self) -> bool {
        self.0 & VALID != 0
    }
    /// Whether it is all zero: there is nothing to invalidate or to free for it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// Whether it is a valid entry that points to a table.
    pub const fn is_table(self, level: u8) -> bool {
        self.is_valid() && self.0 & TABLE_OR_PAGE != 0 && level < LAST_LEVEL
    }
    /// Whether it is a valid block or page.
    pub const fn is_leaf(self, level: u8) -> bool {
        self.is_valid() && (self.0 & TABLE_OR_PAGE != 0) == (level == LAST_LEVEL)
    }
    /// Whether the Contiguous bit is set.
    pub const fn is_contiguous(self) -> bool {
        self.0 & CONTIGUOUS != 0
    }
    /// Whether EL1 may write through it.
    pub const fn is_writable(self) -> bool {
        self.0 & AP_READ_ONLY == 0
    }
    /// Whether EL1 may execute from it.
    pub const fn is_executable(self) -> bool {
        self.0 & PXN == 0
    }
    /// The attribute index and shareability bits: what makes the memory type.
    pub const fn memory_bits(self) -> u64 {
        self.0 & ((0b111 << ATTR_SHIFT) | SH_INNER)
    }
    /// The nG bit.
    pub const fn is_non_global(self) -> bool {
        self.0 & (1 << 11) != 0
    }
    /// The output address, or the next table's.
    #[inline(always)]
    pub fn address(self, g: Granule) -> PhysAddr {
        PhysAddr::new(self.0 & g.address_mask)
    }

    /// The same entry with another output address.
    pub fn moved_to(self, pa: PhysAddr, g: Granule) -> Self {
        Self(self.0 ^ self.address(g).get() ^ pa.get())
    }
    /// The same entry, invalid but remembered: no walk uses it, and what it mapped is not free yet.
    pub const fn broken(self) -> Self {
        Self(self.0 & !VALID | DYING)
    }
    /// Whether it is a broken entry.
    pub const fn is_broken(self) -> bool {
        self.0 & (VALID | DYING) == DYING
    }
    /// What a broken entry was.
    pub const fn unbroken(self) -> Self {
        Self(self.0 & !DYING | VALID)
    }
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

/// A leaf's attributes in words: `rw- normal contiguous`.
impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flag = |on, c| if on { c } else { '-' };
        let memory = if self.memory_bits() & (0b111 << ATTR_SHIFT) == 0 { "device" } else { "normal" };
        write!(f, "r{}{} {memory}", flag(self.is_writable(), 'w'), flag(self.is_executable(), 'x'))?;
        if self.is_contiguous() { f.write_str(" contiguous") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::granule::Granule;

    // Golden values assembled by hand from Arm ARM D8.3.
    #[test]
    fn descriptors_have_the_architectures_bits() {
        let pa = PhysAddr::new(0x8000_0000);
        assert_eq!(Descriptor::leaf(pa, Attributes::DATA, 2, false).bits(), 0x0060_0000_8000_0705);
        assert_eq!(Descriptor::leaf(pa, Attributes::DATA, 3, true).bits(), 0x0070_0000_8000_0707);
        assert_eq!(Descriptor::leaf(pa, Attributes::TEXT, 3, false).bits(), 0x0040_0000_8000_0787);
        assert_eq!(Descriptor::leaf(pa, Attributes::RODATA, 3, false).bits(), 0x0060_0000_8000_0787);
        assert_eq!(Descriptor::leaf(pa, Attributes::DEVICE, 3, false).bits(), 0x0060_0000_8000_0703);
        assert_eq!(Descriptor::table(pa).bits(), 0x0000_0000_8000_0003);
    }

    #[test]
    fn no_permission_is_both_writable_and_executable() {
        for permission in [Permission::ReadOnly, Permission::ReadWrite, Permission::ReadExecute] {
            let a = Attributes { memory: MemoryType::Normal, permission };
            let d = Descriptor::leaf(PhysAddr::new(0), a, 3, false);
            assert!(!(d.is_writable() && d.is_executable()));
        }
    }

    #[test]
    fn a_broken_entry_is_invalid_and_remembers_its_address() {
        let d = Descriptor::leaf(PhysAddr::new(0x1_2345_0000), Attributes::DATA, 3, false);
        let b = d.broken();
        assert!(!b.is_valid() && b.is_broken() && !b.is_empty() && b.unbroken() == d);
        assert_eq!(b.address(Granule::K4), PhysAddr::new(0x1_2345_0000));
        assert_eq!(b.address(Granule::K64), PhysAddr::new(0x1_2345_0000));
    }

    #[test]
    fn at_the_last_level_only_bit_1_makes_a_page() {
        let block_bits = Descriptor::from_bits(0x8000_0701);
        assert!(block_bits.is_leaf(2) && !block_bits.is_leaf(3) && !block_bits.is_table(2));
        let page_bits = Descriptor::from_bits(0x8000_0703);
        assert!(page_bits.is_leaf(3) && page_bits.is_table(2) && !page_bits.is_table(3));
    }
}
