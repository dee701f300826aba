//! Linux's error number beside each refusal: what the same request comes back with there, so that a script that knows the
//! one knows the other. Where Linux cannot refuse at all (it does not check, or dies), the number is the nearest.

use core::fmt;

use crate::error::{Error, Resource};

/// An error number of Linux (include/uapi/asm-generic/errno-base.h and errno.h). Positive here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Errno {
    /// Operation not permitted: what a notifier's plain `NOTIFY_BAD` becomes.
    EPERM = 1,
    /// No such file or directory: there is no `/sys/devices/system/memory/memoryN`.
    ENOENT = 2,
    /// No such process.
    ESRCH = 3,
    /// Input/output error.
    EIO = 5,
    /// No such device or address.
    ENXIO = 6,
    /// Argument list too long; of hot-plugged memory: beyond what can be addressed.
    E2BIG = 7,
    /// Out of memory.
    ENOMEM = 12,
    /// Bad address.
    EFAULT = 14,
    /// Device or resource busy.
    EBUSY = 16,
    /// File exists.
    EEXIST = 17,
    /// Invalid argument.
    EINVAL = 22,
    /// No space left on device.
    ENOSPC = 28,
    /// Memory page has hardware error.
    EHWPOISON = 133,
}

impl Errno {
    /// The number.
    pub const fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Error {
    /// The error number that Linux has for this refusal.
    pub const fn errno(&self) -> Errno {
        match self {
            // A full table is the one shortage that more memory would not end.
            Self::Out(Resource::Slots { .. }) => Errno::ENOSPC,
            Self::Out(
                Resource::Frames { .. }
                | Resource::Memblock { .. }
                | Resource::Heap { .. }
                | Resource::Altmap { .. }
                | Resource::FreeBlocks { .. }
                | Resource::HugePages { .. }
                | Resource::TenantAddresses { .. },
            ) => Errno::ENOMEM,
            // `register_memory_resource` asks `mhp_range_allowed`, which also sees a range that wraps.
            Self::BeyondLinearMap { .. } | Self::Wraps { .. } => Errno::E2BIG,
            // `check_hotplug_memory_range`, `memory_block_change_state`, and the holes that `offline_pages` walks.
            Self::Empty(_)
            | Self::NotBlockAligned { .. }
            | Self::NotBlockStart { .. }
            | Self::NotPages(_)
            | Self::NotWhole(_)
            | Self::BadAltmap { .. }
            // `memremap_pages`, `add_pages` and `altmap_alloc_block_buf`.
            | Self::AltmapPadding { .. }
            | Self::AltmapOnPrivate(_)
            | Self::PrivateMemory(_)
            | Self::AltmapRanges { .. }
            | Self::NotWholePages { .. }
            | Self::NotSubsectionAligned(_)
            | Self::CompoundSize { .. }
            | Self::NotCompoundAligned { .. }
            | Self::NoCompoundLeft { .. }
            | Self::DeviceRanges { .. }
            // `hugetlb_sysfs`: no such hstate; `hugetlb_vmemmap_optimize_folio` leaves such a page as it is.
            | Self::NotHugeSize { .. }
            | Self::NotOptimisable { .. }
            | Self::PageState { .. }
            | Self::WouldSplit { .. }
            | Self::BreakBeforeMake { .. } => Errno::EINVAL,
            // `section_activate`, and the resource tree before it.
            Self::Exists { .. } => Errno::EEXIST,
            // `vmap_pages_pte_range`; the isolation and migration of `offline_pages`.
            Self::AlreadyMapped(_)
            | Self::Unmovable { .. }
            | Self::Pinned { .. }
            | Self::DeviceGoes(_)
            // `dissolve_free_hugetlb_folio`, and a pool that keeps what is in use.
            | Self::HugeInUse { .. }
            | Self::HugeTaken(_)
            | Self::HeldTogether { .. } => Errno::EBUSY,
            Self::BlockState { needs, .. } => state_errno(needs),
            // `notifier_to_errno(NOTIFY_BAD)`, what arm64's own notifier answers for boot memory.
            Self::Vetoed { .. } => Errno::EPERM,
            Self::Poisoned(_) => Errno::EHWPOISON,
            Self::NotMapped(_) => Errno::EFAULT,
            Self::NoBlock(_) => Errno::ENOENT,
            // `memory_failure` and `soft_offline_page` of a pfn that is not online memory.
            Self::NotPresent(_) | Self::NoDevice(_) => Errno::ENXIO,
            Self::NoTenant(_) => Errno::ESRCH,
            Self::Corrupt { .. } => Errno::EIO,
        }
    }
}

/// A block that should be offline is in use (`try_remove_memory`); one that should be online was asked for nonsense
/// (`memory_block_change_state`).
const fn state_errno(needs: &str) -> Errno {
    match needs.as_bytes() {
        b"offline" => Errno::EBUSY,
        _ => Errno::EINVAL,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::addr::{PhysAddr, PhysRange, VirtAddr};
    use crate::error::BbmRule;
    use crate::error::HvoRule;
    use crate::frame::page::PageKind;
    use crate::pfn::Pfn;
    use std::format;

    /// Number and name as `errno -l` prints them, and the refusals, written down by hand.
    #[test]
    fn each_refusal_has_the_number_that_linux_has_for_it() {
        let (pa, va, pfn) = (PhysAddr::new(0x8000_0000), VirtAddr::new(0xffff_0000_0000_0000), Pfn::new(7));
        let range = PhysRange { start: pa, end: pa + 4096 };
        let state = |needs| Error::BlockState { block: pa, is: "?", needs };
        let golden = [
            (Error::Empty(pa), 22, "EINVAL"),
            (Error::Wraps { start: pa, len: u64::MAX }, 7, "E2BIG"),
            (Error::NotBlockAligned { range, block: 1 << 27 }, 22, "EINVAL"),
            (Error::BeyondLinearMap { range, reach: range }, 7, "E2BIG"),
            (Error::Exists { range, present: pa }, 17, "EEXIST"),
            (Error::Out(Resource::Frames { order: 9 }), 12, "ENOMEM"),
            (Error::Out(Resource::Memblock { bytes: 1 }), 12, "ENOMEM"),
            (Error::Out(Resource::Heap { bytes: 1 }), 12, "ENOMEM"),
            (Error::Out(Resource::Altmap { pages: 1 }), 12, "ENOMEM"),
            (Error::Out(Resource::Slots { what: "notifiers" }), 28, "ENOSPC"),
            (Error::Out(Resource::TenantAddresses { bytes: 1 }), 12, "ENOMEM"),
            (Error::BadAltmap { base: pa, range }, 22, "EINVAL"),
            (Error::AltmapPadding { base: pa, pages: 511 }, 22, "EINVAL"),
            (Error::AltmapOnPrivate(range), 22, "EINVAL"),
            (Error::PrivateMemory(range), 22, "EINVAL"),
            (Error::AltmapRanges { ranges: 2 }, 22, "EINVAL"),
            (Error::NotWholePages { bytes: 1, page: 4096 }, 22, "EINVAL"),
            (Error::NotSubsectionAligned(range), 22, "EINVAL"),
            (Error::DeviceRanges { ranges: 5, most: 4 }, 22, "EINVAL"),
            (Error::NoDevice(pa), 6, "ENXIO"),
            (Error::DeviceGoes(pa), 16, "EBUSY"),
            (Error::HeldTogether { block: pa, host: pa }, 16, "EBUSY"),
            (Error::AlreadyMapped(va), 16, "EBUSY"),
            (Error::NotPages(va), 22, "EINVAL"),
            (Error::NotMapped(va), 14, "EFAULT"),
            (Error::WouldSplit { block: va, size: 1 << 30 }, 22, "EINVAL"),
            (Error::BreakBeforeMake { at: va, rule: BbmRule::AddressWhileWritable }, 22, "EINVAL"),
            (Error::NoBlock(pa), 2, "ENOENT"),
            (Error::NotBlockStart { at: pa, block: 1 << 27 }, 22, "EINVAL"),
            (state("online"), 22, "EINVAL"),
            (state("offline"), 16, "EBUSY"),
            (Error::Unmovable { pfn, kind: PageKind::Table }, 16, "EBUSY"),
            (Error::Pinned { pfn, refs: 2 }, 16, "EBUSY"),
            (Error::NotWhole(pa), 22, "EINVAL"),
            (Error::NotPresent(pfn), 6, "ENXIO"),
            (Error::PageState { pfn, is: PageKind::Free, needs: "pinned" }, 22, "EINVAL"),
            (Error::Poisoned(pfn), 133, "EHWPOISON"),
            (Error::Vetoed { range, by: "?" }, 1, "EPERM"),
            (Error::Out(Resource::FreeBlocks { bytes: 1 << 30 }), 12, "ENOMEM"),
            (Error::Out(Resource::HugePages { bytes: 2 << 20 }), 12, "ENOMEM"),
            (Error::NotHugeSize { bytes: 1 << 20 }, 22, "EINVAL"),
            (Error::NotOptimisable { pfn, rule: HvoRule::Altmap }, 22, "EINVAL"),
            (Error::HugeInUse { bytes: 2 << 20, used: 5, asked: 3 }, 16, "EBUSY"),
            (Error::HugeTaken(pfn), 16, "EBUSY"),
            (Error::NoTenant(3), 3, "ESRCH"),
            (Error::Corrupt { tenant: 1, at: va, found: 0, expected: 1 }, 5, "EIO"),
        ];
        for (error, number, name) in golden {
            let errno = error.errno();
            assert_eq!((errno.number(), format!("{errno}").as_str()), (number, name), "{error}");
        }
    }
}
