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
//! A *shared* entry, a leaf or a table, leads to a frame that other entries lead to as well: it is read-only, and a count
//! says when the frame is free.

use core::fmt;

use tock_registers::fields::FieldValue;
use tock_registers::register_bitfields;

use crate::addr::PhysAddr;
use crate::granule::{Granule, LAST_LEVEL};

register_bitfields![u64,
    /// What tables, blocks and pages have in common, by the names of the Arm ARM; the output address depends on the granule
    /// ([`Descriptor::address`]).
    DESCRIPTOR [
        /// A walk uses the entry.
        VALID OFFSET(0) NUMBITS(1) [],
        /// Clear in a block; set in a table, and in a page of the last level.
        TABLE OFFSET(1) NUMBITS(1) [],
        /// The byte of [`MAIR`] that says the memory type.
        ATTR_INDX OFFSET(2) NUMBITS(3) [Device = 0, Normal = 1],
        /// AP\[2\]: stores fault.
        READ_ONLY OFFSET(7) NUMBITS(1) [],
        /// Shareability.
        SH OFFSET(8) NUMBITS(2) [Inner = 0b11],
        /// The access flag. Without it the first access faults.
        AF OFFSET(10) NUMBITS(1) [],
        /// Not global: an entry of the TLB belongs to an address space.
        NG OFFSET(11) NUMBITS(1) [],
        /// One of a group of entries that a TLB may hold as one.
        CONTIGUOUS OFFSET(52) NUMBITS(1) [],
        /// EL1 does not execute.
        PXN OFFSET(53) NUMBITS(1) [],
        /// EL0 does not execute.
        UXN OFFSET(54) NUMBITS(1) [],
        /// Software's: the entry is broken. In an invalid descriptor the MMU ignores all bits but 0.
        DYING OFFSET(55) NUMBITS(1) [],
        /// Software's: the entry is shared. The MMU ignores bits 58 to 55 of a leaf and 58 to 51 of a table entry.
        SHARED OFFSET(56) NUMBITS(1) [],
        /// Software's: the entry led to a table, and is broken with all that the table maps.
        WHOLE OFFSET(57) NUMBITS(1) [],
    ],
];
use DESCRIPTOR as D;

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

    #[inline(always)]
    fn fields(self) -> FieldValue<u64, D::Register> {
        let memory = match self.memory {
            MemoryType::Device => D::ATTR_INDX::Device,
            MemoryType::Normal => D::ATTR_INDX::Normal,
        };
        let permission = match self.permission {
            Permission::ReadOnly => D::READ_ONLY::SET + D::PXN::SET,
            Permission::ReadWrite => D::READ_ONLY::CLEAR + D::PXN::SET,
            Permission::ReadExecute => D::READ_ONLY::SET + D::PXN::CLEAR,
        };
        memory + permission + D::UXN::SET + D::SH::Inner + D::AF::SET
    }
}

/// One 64-bit entry of a table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Descriptor(u64);

impl Descriptor {
    /// The empty entry.
    pub const EMPTY: Self = Self(0);
    /// The bit that every entry which a walk uses has, and no other.
    pub(crate) const VALID_BIT: u64 = D::VALID::SET.value;
    /// The bit that above the last level every entry has which leads to a table, broken or not, and no other.
    pub(crate) const TABLE_BIT: u64 = D::TABLE::SET.value;

    /// The descriptor with these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
    /// All bits.
    pub const fn bits(self) -> u64 {
        self.0
    }
    #[inline(always)]
    fn with(self, fields: FieldValue<u64, D::Register>) -> Self {
        Self(fields.modify(self.0))
    }

    /// A block (levels below the last) or page that maps `pa`.
    #[inline(always)]
    pub fn leaf(pa: PhysAddr, attributes: Attributes, level: u8, contiguous: bool) -> Self {
        let mut fields = attributes.fields() + D::VALID::SET;
        if level == LAST_LEVEL {
            fields += D::TABLE::SET;
        }
        if contiguous {
            fields += D::CONTIGUOUS::SET;
        }
        // Without a mask, since these bits of an address are 0: at 64K, boot maps 8192 pages.
        Self(pa.get() | fields.value)
    }
    /// An entry that points to the next table. It restricts nothing: permissions are the leaf's.
    pub fn table(pa: PhysAddr) -> Self {
        Self(pa.get()).with(D::VALID::SET + D::TABLE::SET)
    }

    /// The same entry, leading to what others lead to as well.
    pub fn shared(self) -> Self {
        self.with(D::SHARED::SET)
    }
    /// Whether others lead to the same frame.
    pub fn is_shared(self) -> bool {
        D::SHARED.is_set(self.0)
    }
    /// The same leaf, for loads only.
    pub fn read_only(self) -> Self {
        self.with(D::READ_ONLY::SET)
    }
    /// The same leaf of data, for loads and stores.
    pub fn writable(self) -> Self {
        self.with(D::READ_ONLY::CLEAR + D::SHARED::CLEAR + D::PXN::SET)
    }
    /// The leaf number `index` of those of `level + 1` that together say what this leaf of `level` says.
    pub fn piece(self, level: u8, index: u64, g: Granule) -> Self {
        let size = 1 << g.level_shift(level + 1);
        let piece = self.moved_to(self.address(g) + index * size, g);
        if level + 1 == LAST_LEVEL { piece.with(D::TABLE::SET) } else { piece }
    }
    /// The leaf of `level` whose first piece this leaf of `level + 1` is.
    pub fn whole(self) -> Self {
        self.with(D::TABLE::CLEAR)
    }

    /// Whether a walk uses it.
    pub fn is_valid(self) -> bool {
        D::VALID.is_set(self.0)
    }
    /// Whether it is all zero: there is nothing to invalidate or to free for it.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
    /// Whether it is a valid entry that points to a table.
    pub fn is_table(self, level: u8) -> bool {
        self.is_valid() && D::TABLE.is_set(self.0) && level < LAST_LEVEL
    }
    /// Whether it is a valid block or page.
    pub fn is_leaf(self, level: u8) -> bool {
        self.is_valid() && D::TABLE.is_set(self.0) == (level == LAST_LEVEL)
    }
    /// Whether the Contiguous bit is set.
    pub fn is_contiguous(self) -> bool {
        D::CONTIGUOUS.is_set(self.0)
    }
    /// Whether EL1 may write through it.
    pub fn is_writable(self) -> bool {
        !D::READ_ONLY.is_set(self.0)
    }
    /// Whether EL1 may execute from it.
    pub fn is_executable(self) -> bool {
        !D::PXN.is_set(self.0)
    }
    /// The attribute index and shareability, which make the memory type.
    pub fn memory_type(self) -> (u64, u64) {
        (D::ATTR_INDX.read(self.0), D::SH.read(self.0))
    }
    /// The nG bit.
    pub fn is_non_global(self) -> bool {
        D::NG.is_set(self.0)
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
    pub fn broken(self) -> Self {
        self.with(D::VALID::CLEAR + D::DYING::SET)
    }
    /// [`Self::broken`], for an entry that leads to a table which goes with all that it maps: leaves, and no other table.
    pub fn broken_whole(self) -> Self {
        self.broken().with(D::WHOLE::SET)
    }
    /// Whether it was broken by [`Self::broken_whole`].
    pub fn is_broken_whole(self) -> bool {
        self.is_broken() && D::WHOLE.is_set(self.0)
    }
    /// Whether it is a broken entry.
    pub fn is_broken(self) -> bool {
        (D::VALID::CLEAR + D::DYING::SET).matches_all(self.0)
    }
    /// What a broken entry was.
    pub fn unbroken(self) -> Self {
        self.with(D::VALID::SET + D::DYING::CLEAR + D::WHOLE::CLEAR)
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
        let memory = if D::ATTR_INDX::Device.matches_all(self.0) { "device" } else { "normal" };
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

    // Arm ARM, "MAIR_EL1": Attr0 is 0b0000_0100, Device-nGnRE; Attr1 is 0b1111_1111, Normal Write-Back with all hints.
    #[test]
    fn the_memory_types_are_the_bytes_of_mair() {
        assert_eq!(MAIR, 0xff04);
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
        let whole = d.broken_whole();
        assert!(
            whole.is_broken() && whole.is_broken_whole() && !b.is_broken_whole() && whole.unbroken() == d
        );
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
