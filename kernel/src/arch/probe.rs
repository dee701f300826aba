//! A load that may abort: whether a device is where the device tree says.
//!
//! On QEMU a read of nothing is a synchronous external abort, which the exception handler recognises by its address. (On
//! hardware it may be an SError instead, which is reported like any unexpected exception.)
#![expect(unsafe_code, reason = "a load from an address that may not exist; rule M2")]

use core::arch::global_asm;

/// Set in the answer when the load worked.
const PRESENT: u64 = 1 << 32;

global_asm!(include_str!("probe.S"), present = const PRESENT);

unsafe extern "C" {
    fn hotmap_probe32(address: usize) -> u64;
    static hotmap_probe32_load: u8;
    static hotmap_probe32_absent: u8;
}

/// Where execution continues when the load at `elr` aborted: `Some` only for the load of this module.
pub(crate) fn fixup(elr: u64) -> Option<u64> {
    let load = (&raw const hotmap_probe32_load) as u64;
    (elr == load).then_some((&raw const hotmap_probe32_absent) as u64)
}

/// Reads 32 bits at virtual address `address`; `None` if the load aborts or `address` is not a multiple of 4.
///
/// Needs [`crate::exceptions::install`] first.
///
/// # Safety
/// If there is a device, the read must be harmless: some registers change when they are read.
pub unsafe fn probe_read32(address: usize) -> Option<u32> {
    if !address.is_multiple_of(4) {
        return None;
    }
    // SAFETY: M2; the caller vouches for the read's effect, and an abort of this one load ends at the fix-up.
    let answer = unsafe { hotmap_probe32(address) };
    #[expect(clippy::cast_possible_truncation, reason = "the low half is the value that was loaded")]
    (answer & PRESENT != 0).then_some(answer as u32)
}
