//! Linux's error number beside each refusal: what the same request comes back with there, so that a script that knows the
//! one knows the other. Where Linux cannot refuse at all (it does not check, or dies), the number is the nearest.

use core::fmt;

use crate::error::{
    AltmapError, BlockError, BlockNeeds, DeviceError, Error, HugeError, PageError, RangeError, Resource,
    SpaceError, TenantError,
};

/// An error number of Linux (include/uapi/asm-generic/errno-base.h and errno.h). Positive here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Errno {
    /// Operation not permitted: what a notifier's plain `NOTIFY_BAD` becomes.
    EPERM = 1,
    /// No such file or directory: there is no `/sys/devices/system/memory/memoryN`.
    ENOENT = 2,
    /// No such process.
    ESRCH = 3,
    /// Interrupted system call.
    EINTR = 4,
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
            Self::Out(resource) => resource_errno(resource),
            Self::Range(error) => range_errno(error),
            Self::Altmap(error) => altmap_errno(error),
            Self::Space(error) => space_errno(error),
            Self::Block(error) => block_errno(error),
            Self::Page(error) => page_errno(error),
            Self::Device(error) => device_errno(error),
            Self::Huge(error) => huge_errno(error),
            Self::Interrupted => Errno::EINTR,
            Self::Tenant(TenantError::Absent(_)) => Errno::ESRCH,
            Self::Tenant(TenantError::Corrupt { .. }) => Errno::EIO,
        }
    }
}

const fn resource_errno(resource: &Resource) -> Errno {
    match resource {
        // A full table is the one shortage that more memory would not end.
        Resource::Slots { .. } => Errno::ENOSPC,
        Resource::Frames { .. }
        | Resource::Memblock { .. }
        | Resource::Heap { .. }
        | Resource::Altmap { .. }
        | Resource::FreeBlocks { .. }
        | Resource::HugePages { .. }
        | Resource::TenantAddresses { .. } => Errno::ENOMEM,
    }
}

const fn range_errno(error: &RangeError) -> Errno {
    match error {
        // `register_memory_resource` asks `mhp_range_allowed`, which also sees a range that wraps.
        RangeError::BeyondLinearMap { .. } | RangeError::Wraps { .. } => Errno::E2BIG,
        // `section_activate`, and the resource tree before it.
        RangeError::Exists { .. } => Errno::EEXIST,
        // `check_hotplug_memory_range`; `memremap_pages`.
        RangeError::Empty(_)
        | RangeError::NotBlockAligned { .. }
        | RangeError::NotBlockStart { .. }
        | RangeError::NotSubsectionAligned(_)
        | RangeError::NotOneBlock { .. }
        | RangeError::NotCompoundAligned { .. } => Errno::EINVAL,
    }
}

const fn altmap_errno(error: &AltmapError) -> Errno {
    match error {
        AltmapError::HeldTogether { .. } => Errno::EBUSY,
        // `memremap_pages`, `add_pages` and `altmap_alloc_block_buf`.
        AltmapError::Misplaced { .. }
        | AltmapError::TooLarge { .. }
        | AltmapError::Padding { .. }
        | AltmapError::NotWholePages { .. }
        | AltmapError::OnPrivate(_)
        | AltmapError::Ranges { .. } => Errno::EINVAL,
    }
}

const fn space_errno(error: &SpaceError) -> Errno {
    match error {
        // `vmap_pages_pte_range`.
        SpaceError::AlreadyMapped(_) => Errno::EBUSY,
        SpaceError::NotMapped(_) => Errno::EFAULT,
        SpaceError::NotPages(_) | SpaceError::WouldSplit { .. } | SpaceError::BreakBeforeMake { .. } => {
            Errno::EINVAL
        }
    }
}

const fn block_errno(error: &BlockError) -> Errno {
    match error {
        BlockError::Absent(_) => Errno::ENOENT,
        // A block that should be offline is in use (`try_remove_memory`); one that should be in another state was asked for
        // nonsense (`memory_block_change_state`).
        BlockError::State { needs: BlockNeeds::Offline, .. } => Errno::EBUSY,
        BlockError::State {
            needs: BlockNeeds::Online | BlockNeeds::OwnMemory | BlockNeeds::SameState,
            ..
        } => Errno::EINVAL,
        // The holes that `offline_pages` walks. Linux hosts no memmap in a block of which only a part is plugged.
        BlockError::NotWhole(_) | BlockError::MemmapUnplugged { .. } => Errno::EINVAL,
        // `notifier_to_errno(NOTIFY_BAD)`, what arm64's own notifier answers for boot memory.
        BlockError::Vetoed { .. } => Errno::EPERM,
        // A pending signal ends the loop of `offline_pages`.
        BlockError::Interrupted { .. } => Errno::EINTR,
    }
}

const fn page_errno(error: &PageError) -> Errno {
    match error {
        // `memory_failure` and `soft_offline_page` of a pfn that is not online memory.
        PageError::NotPresent(_) => Errno::ENXIO,
        PageError::State { .. } => Errno::EINVAL,
        // The isolation and migration of `offline_pages`.
        PageError::Unmovable { .. } | PageError::Pinned { .. } => Errno::EBUSY,
        PageError::Stays { out, .. } => resource_errno(out),
        PageError::Poisoned(_) => Errno::EHWPOISON,
    }
}

const fn device_errno(error: &DeviceError) -> Errno {
    match error {
        DeviceError::Absent(_) => Errno::ENXIO,
        DeviceError::Dying(_) => Errno::EBUSY,
        DeviceError::Private(_)
        | DeviceError::CompoundSize { .. }
        | DeviceError::OnDemand(_)
        | DeviceError::NoCompoundLeft { .. }
        | DeviceError::Ranges { .. } => Errno::EINVAL,
    }
}

const fn huge_errno(error: &HugeError) -> Errno {
    match error {
        // `hugetlb_sysfs`: no such hstate; `hugetlb_vmemmap_optimize_folio` leaves such a page as it is.
        HugeError::Size { .. } | HugeError::NotOptimisable { .. } | HugeError::NotDemotable(_) => {
            Errno::EINVAL
        }
        // `dissolve_free_hugetlb_folio`, and a pool that keeps what is in use.
        HugeError::InUse { .. } | HugeError::Taken(_) => Errno::EBUSY,
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::addr::{PhysAddr, PhysRange, VirtAddr};
    use crate::error::{BbmRule, BlockIs, HvoRule, PageNeeds};
    use crate::frame::page::PageKind;
    use crate::pfn::Pfn;
    use std::format;

    /// Number and name as `errno -l` prints them, and the refusals, written down by hand.
    #[test]
    fn each_refusal_has_the_number_that_linux_has_for_it() {
        let (pa, va, pfn) = (PhysAddr::new(0x8000_0000), VirtAddr::new(0xffff_0000_0000_0000), Pfn::new(7));
        let range = PhysRange { start: pa, end: pa + 4096 };
        let state = |needs| Error::Block(BlockError::State { block: pa, is: BlockIs::Absent, needs });
        let golden = [
            (Error::Range(RangeError::Empty(pa)), 22, "EINVAL"),
            (Error::Range(RangeError::Wraps { start: pa, len: u64::MAX }), 7, "E2BIG"),
            (Error::Range(RangeError::NotBlockAligned { range, block: 1 << 27 }), 22, "EINVAL"),
            (Error::Range(RangeError::BeyondLinearMap { range, reach: range }), 7, "E2BIG"),
            (Error::Range(RangeError::Exists { range, present: pa }), 17, "EEXIST"),
            (Error::Out(Resource::Frames { order: 9 }), 12, "ENOMEM"),
            (Error::Out(Resource::Memblock { bytes: 1 }), 12, "ENOMEM"),
            (Error::Out(Resource::Heap { bytes: 1 }), 12, "ENOMEM"),
            (Error::Out(Resource::Altmap { pages: 1 }), 12, "ENOMEM"),
            (Error::Out(Resource::Slots { what: "notifiers" }), 28, "ENOSPC"),
            (Error::Out(Resource::TenantAddresses { bytes: 1 }), 12, "ENOMEM"),
            (Error::Altmap(AltmapError::Misplaced { base: pa, range }), 22, "EINVAL"),
            (Error::Altmap(AltmapError::TooLarge { pages: 9, range, of: 8 }), 22, "EINVAL"),
            (Error::Altmap(AltmapError::Padding { base: pa, pages: 511 }), 22, "EINVAL"),
            (Error::Altmap(AltmapError::OnPrivate(range)), 22, "EINVAL"),
            (Error::Device(DeviceError::Private(range)), 22, "EINVAL"),
            (Error::Altmap(AltmapError::Ranges { ranges: 2 }), 22, "EINVAL"),
            (Error::Altmap(AltmapError::NotWholePages { bytes: 1, page: 4096 }), 22, "EINVAL"),
            (Error::Range(RangeError::NotSubsectionAligned(range)), 22, "EINVAL"),
            (Error::Device(DeviceError::Ranges { ranges: 5, most: 4 }), 22, "EINVAL"),
            (Error::Device(DeviceError::Absent(pa)), 6, "ENXIO"),
            (Error::Device(DeviceError::Dying(pa)), 16, "EBUSY"),
            (Error::Altmap(AltmapError::HeldTogether { block: pa, host: pa }), 16, "EBUSY"),
            (Error::Space(SpaceError::AlreadyMapped(va)), 16, "EBUSY"),
            (Error::Space(SpaceError::NotPages(va)), 22, "EINVAL"),
            (Error::Space(SpaceError::NotMapped(va)), 14, "EFAULT"),
            (Error::Space(SpaceError::WouldSplit { block: va, size: 1 << 30 }), 22, "EINVAL"),
            (
                Error::Space(SpaceError::BreakBeforeMake { at: va, rule: BbmRule::AddressWhileWritable }),
                22,
                "EINVAL",
            ),
            (Error::Block(BlockError::Absent(pa)), 2, "ENOENT"),
            (Error::Range(RangeError::NotBlockStart { at: pa, block: 1 << 27 }), 22, "EINVAL"),
            (state(BlockNeeds::Online), 22, "EINVAL"),
            (state(BlockNeeds::Offline), 16, "EBUSY"),
            (Error::Page(PageError::Unmovable { pfn, kind: PageKind::Table }), 16, "EBUSY"),
            (Error::Page(PageError::Pinned { pfn, refs: 2 }), 16, "EBUSY"),
            (Error::Block(BlockError::NotWhole(pa)), 22, "EINVAL"),
            (Error::Page(PageError::NotPresent(pfn)), 6, "ENXIO"),
            (
                Error::Page(PageError::State { pfn, is: PageKind::Free, needs: PageNeeds::Pinned }),
                22,
                "EINVAL",
            ),
            (Error::Page(PageError::Poisoned(pfn)), 133, "EHWPOISON"),
            (Error::Block(BlockError::Vetoed { range, by: "?" }), 1, "EPERM"),
            (Error::Block(BlockError::Interrupted { migrated: 64 }), 4, "EINTR"),
            (Error::Out(Resource::FreeBlocks { bytes: 1 << 30 }), 12, "ENOMEM"),
            (Error::Out(Resource::HugePages { bytes: 2 << 20 }), 12, "ENOMEM"),
            (Error::Huge(HugeError::Size { bytes: 1 << 20 }), 22, "EINVAL"),
            (Error::Huge(HugeError::NotOptimisable { pfn, rule: HvoRule::Altmap }), 22, "EINVAL"),
            (Error::Huge(HugeError::InUse { bytes: 2 << 20, used: 5, asked: 3 }), 16, "EBUSY"),
            (Error::Huge(HugeError::Taken(pfn)), 16, "EBUSY"),
            (Error::Interrupted, 4, "EINTR"),
            (Error::Tenant(TenantError::Absent(3)), 3, "ESRCH"),
            (Error::Tenant(TenantError::Corrupt { tenant: 1, at: va, found: 0, expected: 1 }), 5, "EIO"),
        ];
        for (error, number, name) in golden {
            let errno = error.errno();
            assert_eq!((errno.number(), format!("{errno}").as_str()), (number, name), "{error}");
        }
    }
}
