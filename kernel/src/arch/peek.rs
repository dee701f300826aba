//! Reads memory beside its user: a tenant's page through the linear map, where the tenant itself uses its own
//! mapping, and whether a load works at all.
#![expect(unsafe_code, reason = "a reference into the linear map, and a load; the model's rules F1 and F2")]

use core::ptr::with_exposed_provenance;
use core::sync::atomic::AtomicU64;

use hotmap_mm::addr::{PhysAddr, VirtAddr};
use hotmap_mm::frame::page::{Page, PageKind};
use hotmap_mm::layout::DEVICES;
use hotmap_mm::machine::Machine;
use hotmap_mm::mm::Mm;
use hotmap_mm::pfn::Pfn;
use hotmap_sync::readers::Inside;

use super::machine::Arm;
#[cfg(target_os = "none")]
use super::probe::probe_read32;

/// Word `index` of the page `pfn`; `None` when that is not a tenant's page, or has no such word.
pub fn tenant_word(mm: &Mm<Arm>, pfn: Pfn, index: usize) -> Option<&AtomicU64> {
    let g = mm.granule();
    let tenant = mm.frames().use_of(pfn).is_ok_and(|(kind, _)| kind == PageKind::Tenant);
    if !tenant || index as u64 >= g.page_size / 8 {
        return None;
    }
    let words = mm.space().machine().frame(pfn.address(g), g.page_size).cast::<AtomicU64>();
    // SAFETY: F1: the linear map covers the frame (I8), which stays a tenant's as long as `mm` is borrowed; F2: the model
    // reaches a tenant's words through atomics only while it is shared; the index was checked.
    Some(unsafe { &*words.add(index) })
}

/// The word at `at`; `None` when that is not the address of a word in the usable part of a device that the CPU reaches.
pub fn device_word(mm: &Mm<Arm>, at: PhysAddr) -> Option<&AtomicU64> {
    let g = mm.granule();
    let pfn = Pfn::containing(g, at);
    let device = mm.devices().of(pfn).filter(|device| device.kind().is_reachable())?;
    if device.set_aside().contains(pfn) || !at.is_aligned(8) {
        return None;
    }
    // SAFETY: F1: the linear map covers the memory of a device that the CPU reaches (I8) as long as `mm` is borrowed; F2:
    // the kernel has no other use for it than this one, by atomics.
    Some(unsafe { &*mm.space().machine().frame(at, 8).cast::<AtomicU64>() })
}

/// The struct page at `va`, for a reader that found its compound page on the board: it may be used until the section ends.
pub(crate) fn struct_page<'a>(_section: &'a Inside<'_>, va: VirtAddr) -> &'a Page {
    // SAFETY: F1: code that takes the page off the board waits for the end of the section before it removes the struct
    // pages; while what maps them changes, an access waits in its fault. Every bit pattern is a `Page`; F2.
    unsafe { &*with_exposed_provenance(super::word(va.get())) }
}

/// Whether a load at `va` aborts. Device registers may change when they are read, so they are not: an address of theirs
/// counts as one that aborts.
pub fn load_aborts(va: VirtAddr) -> bool {
    DEVICES.contains(va) || aborts(va)
}

#[cfg(target_os = "none")]
fn aborts(va: VirtAddr) -> bool {
    // SAFETY: M4: outside of the devices' area is memory or nothing, and reading memory is harmless.
    unsafe { probe_read32(super::word(va.get())) }.is_none()
}
#[cfg(not(target_os = "none"))]
fn aborts(va: VirtAddr) -> bool {
    super::translate::load(va).address().is_none()
}
