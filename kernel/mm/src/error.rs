//! The one error type: each variant names a rule and carries the value that broke it, so that the message can say why.

use core::fmt;

use crate::addr::{Bytes, PhysAddr, PhysRange, VirtAddr};
use crate::frame::page::PageKind;
use crate::granule::GranuleKind;
use crate::pfn::Pfn;

/// The rule that a change would break.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BbmRule {
    /// A table becomes a block or page, or the other way round.
    BlockSize,
    /// The Contiguous bit changes.
    Contiguous,
    /// Memory type, cacheability or shareability changes.
    MemoryType,
    /// The nG bit changes.
    Global,
    /// The output address changes while old or new is writable.
    AddressWhileWritable,
    /// The output address changes and the contents may differ.
    AddressWithOtherContents,
    /// One table is exchanged for another.
    TableAddress,
}

impl fmt::Display for BbmRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BlockSize => "the block size of a live entry may not change in one step",
            Self::Contiguous => "the Contiguous bit of a live entry may not change in one step",
            Self::MemoryType => "the memory type of a live entry may not change in one step",
            Self::Global => "the nG bit of a live entry may not change in one step",
            Self::AddressWhileWritable => {
                "the output address may not change while old or new entry is writable"
            }
            Self::AddressWithOtherContents => {
                "the output address may not change to memory with other contents"
            }
            Self::TableAddress => "a live table may not be exchanged for another in one step",
        })
    }
}

/// Why a huge page's memmap is not shared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HvoRule {
    /// Two pages or less: there is nothing to save.
    Memmap {
        /// How many there are.
        pages: u64,
    },
    /// It lies in an altmap, which has its own account.
    Altmap,
}

impl fmt::Display for HvoRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memmap { pages: 1 } => f.write_str("its memmap is 1 page, and sharing begins with 3"),
            Self::Memmap { pages } => write!(f, "its memmap is {pages} pages, and sharing begins with 3"),
            Self::Altmap => f.write_str(
                "its memmap is self-hosted, and an altmap's frames do not go to the buddy allocator",
            ),
        }
    }
}

/// What an operation ran out of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Resource {
    /// Page frames of system RAM (a run of `1 << order`).
    Frames {
        /// log2 of the run's pages.
        order: u32,
    },
    /// Boot memory, before the buddy allocator runs.
    Memblock {
        /// The bytes asked for.
        bytes: u64,
    },
    /// The kernel heap.
    Heap {
        /// The bytes asked for.
        bytes: usize,
    },
    /// Pages of an altmap. There is no fallback to system RAM: who asked for an altmap asked to spend no RAM.
    Altmap {
        /// The pages asked for.
        pages: u64,
    },
    /// Entries of a fixed table.
    Slots {
        /// What the table holds.
        what: &'static str,
    },
    /// Whole free memory blocks side by side, for a huge page that is larger than one.
    FreeBlocks {
        /// The huge page's size in bytes.
        bytes: u64,
    },
    /// Free huge pages of the pool.
    HugePages {
        /// Their size in bytes.
        bytes: u64,
    },
    /// Virtual addresses for a tenant's mapping.
    TenantAddresses {
        /// The bytes asked for.
        bytes: u64,
    },
}

/// Why an operation was refused. Nothing has changed when one of these comes back.
///
/// The tag is a word, as most of the values are: behind a tag of one byte the compiler moves the rest as single bytes, on a
/// target whose accesses must be aligned, and every `?` moves an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Error {
    /// A range without a byte.
    Empty(PhysAddr),
    /// A range whose end wraps around the address space.
    Wraps {
        /// Where it starts.
        start: PhysAddr,
        /// Its length in bytes.
        len: u64,
    },
    /// Memory comes and goes in whole memory blocks.
    NotBlockAligned {
        /// The range.
        range: PhysRange,
        /// The memory block size in bytes.
        block: u64,
    },
    /// The linear map cannot reach the range.
    BeyondLinearMap {
        /// The range.
        range: PhysRange,
        /// What the linear map can reach.
        reach: PhysRange,
    },
    /// Something is present there already.
    Exists {
        /// The range.
        range: PhysRange,
        /// Where what is present starts.
        present: PhysAddr,
    },
    /// Not enough of something.
    Out(Resource),
    /// An altmap that does not start at its range's start, or does not fit into it.
    BadAltmap {
        /// Where the altmap starts.
        base: PhysAddr,
        /// The range.
        range: PhysRange,
    },
    /// An altmap that would lose pages to padding before its first block.
    AltmapPadding {
        /// Where the altmap starts.
        base: PhysAddr,
        /// The pages.
        pages: u64,
    },
    /// A request to an altmap that is not whole pages.
    NotWholePages {
        /// The bytes asked for.
        bytes: u64,
        /// The page size in bytes.
        page: u64,
    },
    /// An altmap on memory that the CPU cannot reach.
    AltmapOnPrivate(PhysRange),
    /// Memory that the CPU cannot reach, which the system cannot have.
    PrivateMemory(PhysRange),
    /// An altmap for a device of several ranges.
    AltmapRanges {
        /// How many.
        ranges: usize,
    },
    /// Devices come and go in whole subsections.
    NotSubsectionAligned(PhysRange),
    /// No size that compound pages of the granule have.
    CompoundSize {
        /// The size in bytes.
        size: u64,
        /// The granule.
        granule: GranuleKind,
    },
    /// What has to be whole compound pages.
    NotCompoundAligned {
        /// The memory.
        range: PhysRange,
        /// The size of a compound page in bytes.
        size: u64,
    },
    /// A device of which what is set aside for its memmap leaves no compound page.
    NoCompoundLeft {
        /// The device.
        range: PhysRange,
        /// The size of a compound page in bytes.
        size: u64,
    },
    /// More ranges than a device can have, or none.
    DeviceRanges {
        /// How many.
        ranges: usize,
        /// The most.
        most: usize,
    },
    /// No device starts there.
    NoDevice(PhysAddr),
    /// A device that goes: nothing new may hold its pages.
    DeviceGoes(PhysAddr),
    /// A memory block that another one's memmap lies in, or the other way round: they go together.
    HeldTogether {
        /// The block that would go or stay alone.
        block: PhysAddr,
        /// The block where the altmap of both is.
        host: PhysAddr,
    },
    /// A virtual address that is mapped already.
    AlreadyMapped(VirtAddr),
    /// A virtual or physical address in a mapping request that is not the start of a page.
    NotPages(VirtAddr),
    /// A virtual address that is not mapped.
    NotMapped(VirtAddr),
    /// The range ends inside a block, which would have to be split.
    WouldSplit {
        /// The block's virtual address.
        block: VirtAddr,
        /// The block's size in bytes.
        size: u64,
    },
    /// A change to a live descriptor that the break-before-make rules forbid.
    BreakBeforeMake {
        /// The address that the descriptor translates.
        at: VirtAddr,
        /// The rule that it would break.
        rule: BbmRule,
    },
    /// No memory block starts or lies there.
    NoBlock(PhysAddr),
    /// An address that must be the start of a memory block.
    NotBlockStart {
        /// The address.
        at: PhysAddr,
        /// The memory block size in bytes.
        block: u64,
    },
    /// The block is not in the state that the operation needs.
    BlockState {
        /// The block's start.
        block: PhysAddr,
        /// What it is.
        is: &'static str,
        /// What the operation needs.
        needs: &'static str,
    },
    /// A page that cannot be moved away.
    Unmovable {
        /// The page.
        pfn: Pfn,
        /// What it is used for.
        kind: PageKind,
    },
    /// A page that somebody holds.
    Pinned {
        /// The page.
        pfn: Pfn,
        /// Its references, the owner's included.
        refs: u32,
    },
    /// A block with holes or with memory that the firmware keeps.
    NotWhole(PhysAddr),
    /// A page that is not described by a struct page.
    NotPresent(Pfn),
    /// A page that is not in the state that the operation needs.
    PageState {
        /// The page.
        pfn: Pfn,
        /// What it is.
        is: PageKind,
        /// What the operation needs.
        needs: &'static str,
    },
    /// A page that was taken out of use.
    Poisoned(Pfn),
    /// A notifier that does not want memory to go online or offline.
    Vetoed {
        /// The range that was to go.
        range: PhysRange,
        /// The notifier's name.
        by: &'static str,
    },
    /// A size that no huge page has at this granule.
    NotHugeSize {
        /// The size in bytes.
        bytes: u64,
    },
    /// A pool that is to be smaller than what is in use of it.
    HugeInUse {
        /// The huge pages' size in bytes.
        bytes: u64,
        /// How many are in use.
        used: u64,
        /// How many were to remain.
        asked: u64,
    },
    /// A huge page that somebody uses.
    HugeTaken(Pfn),
    /// A huge page whose memmap cannot be shared.
    NotOptimisable {
        /// Its first page.
        pfn: Pfn,
        /// Why not.
        rule: HvoRule,
    },
    /// A tenant number that is not in use.
    NoTenant(u32),
    /// A tenant's page that does not hold what the tenant wrote.
    Corrupt {
        /// The tenant.
        tenant: u32,
        /// The virtual address of the first wrong word.
        at: VirtAddr,
        /// What it holds.
        found: u64,
        /// What was written.
        expected: u64,
    },
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Frames { order } => write!(f, "no free run of {} pages in system RAM", 1u64 << order),
            Self::Memblock { bytes } => write!(f, "no {} of boot memory left", Bytes(bytes)),
            Self::Heap { bytes } => {
                write!(f, "the kernel heap has no {bytes} bytes left (boot argument heap= sets its size)")
            }
            Self::Altmap { pages } => {
                write!(f, "the altmap has no {pages} pages left, and there is no fallback to RAM")
            }
            Self::Slots { what } => write!(f, "the table of {what} is full"),
            Self::FreeBlocks { bytes } => write!(
                f,
                "no {} of whole free memory blocks side by side in one zone (a block that hosts its own memmap is never whole)",
                Bytes(bytes)
            ),
            Self::HugePages { bytes } => write!(f, "no free huge page of {} in the pool", Bytes(bytes)),
            Self::TenantAddresses { bytes } => write!(f, "no {} of tenant addresses left", Bytes(bytes)),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Empty(at) => write!(f, "the range at {at} is empty"),
            Self::Wraps { start, len } => write!(f, "{start} + {len:#x} wraps around the address space"),
            Self::NotBlockAligned { range, block } => {
                write!(f, "{range} is not aligned to the {} memory block", Bytes(block))
            }
            Self::BeyondLinearMap { range, reach } => {
                write!(f, "{range} is out of the linear map's reach, {reach}")
            }
            Self::Exists { range, present } => {
                write!(f, "{range} overlaps memory that is present at {present}")
            }
            Self::Out(resource) => write!(f, "out of memory: {resource}"),
            Self::BadAltmap { base, range } => {
                write!(f, "the altmap at {base} does not start and fit its range {range}")
            }
            Self::AltmapPadding { base, pages } => {
                write!(f, "the altmap at {base} would lose {pages} pages to padding before its first block")
            }
            Self::NotWholePages { bytes, page } => {
                write!(f, "{bytes} bytes of an altmap are not whole pages of {}", Bytes(page))
            }
            Self::AltmapOnPrivate(range) => {
                write!(f, "an altmap on {range}: private memory is out of the CPU's reach")
            }
            Self::PrivateMemory(range) => {
                write!(f, "{range} is private memory, out of the CPU's reach: no memory for the system")
            }
            Self::AltmapRanges { ranges } => write!(f, "an altmap serves one range, not {ranges}"),
            Self::NotSubsectionAligned(range) => {
                write!(f, "{range} is not aligned to the 2 MiB subsection")
            }
            Self::CompoundSize { size, granule } => {
                write!(
                    f,
                    "compound pages of the {granule} granule are not {}, but {}",
                    Bytes(size),
                    Bytes(granule.bytes())
                )?;
                granule
                    .granule()
                    .compound_shifts
                    .iter()
                    .try_for_each(|shift| write!(f, ", {}", Bytes(1 << shift)))
            }
            Self::NotCompoundAligned { range, size } => {
                write!(f, "{range} is not aligned to the {} compound page", Bytes(size))
            }
            Self::NoCompoundLeft { range, size } => {
                write!(f, "what {range} sets aside for its memmap leaves no compound page of {}", Bytes(size))
            }
            Self::DeviceRanges { ranges, most } => write!(f, "a device has 1 to {most} ranges, not {ranges}"),
            Self::NoDevice(at) => write!(f, "no device starts at {at}"),
            Self::DeviceGoes(at) => write!(f, "the device at {at} is on its way out"),
            Self::HeldTogether { block, host } => {
                write!(
                    f,
                    "the memmap of the memory block at {block} is in the altmap at {host}: they go together"
                )
            }
            Self::AlreadyMapped(va) => write!(f, "{va} is mapped already"),
            Self::NotPages(va) => write!(f, "the mapping at {va} is not made of whole pages"),
            Self::NotMapped(va) => write!(f, "{va} is not mapped"),
            Self::WouldSplit { block, size } => {
                write!(f, "the {} block at {block} would have to be split", Bytes(size))
            }
            Self::BreakBeforeMake { at, rule } => write!(f, "break-before-make at {at}: {rule}"),
            Self::NoBlock(at) => write!(f, "no memory block at {at}"),
            Self::NotBlockStart { at, block } => {
                write!(f, "{at} is not the start of a {} memory block", Bytes(block))
            }
            Self::BlockState { block, is, needs } => {
                write!(f, "the memory block at {block} is {is}, not {needs}")
            }
            Self::Unmovable { pfn, kind } => {
                write!(f, "{pfn} cannot be moved: {kind} memory is unmovable")
            }
            Self::Pinned { pfn, refs } => write!(f, "{pfn} cannot go: pinned, references held: {refs}"),
            Self::NotWhole(block) => {
                write!(f, "the memory block at {block} has holes: only a whole block can go")
            }
            Self::NotPresent(pfn) => write!(f, "{pfn} is not present"),
            Self::PageState { pfn, is, needs } => write!(f, "{pfn} is {is}, not {needs}"),
            Self::Poisoned(pfn) => write!(f, "{pfn} is poisoned: out of use, and its block cannot go"),
            Self::Vetoed { range, by } => write!(f, "{range} stays as it is: vetoed by the notifier '{by}'"),
            Self::NotHugeSize { bytes } => write!(f, "{} is no huge page size at this granule", Bytes(bytes)),
            Self::HugeInUse { bytes, used, asked } => {
                write!(f, "{used} huge pages of {} are in use: the pool cannot have {asked}", Bytes(bytes))
            }
            Self::HugeTaken(pfn) => write!(f, "{pfn} cannot go: a huge page in use"),
            Self::NotOptimisable { pfn, rule } => write!(f, "{pfn} is not optimised: {rule}"),
            Self::NoTenant(id) => write!(f, "there is no tenant {id}"),
            Self::Corrupt { tenant, at, found, expected } => {
                write!(f, "tenant {tenant}: {at} holds {found:#018x} instead of {expected:#018x}")
            }
        }
    }
}

impl core::error::Error for Error {}

/// The model's result.
pub type Result<T> = core::result::Result<T, Error>;
