//! Clearing and copying memory in bulk. Most of the cost of hotplug is clearing `struct Page`s, so each instruction counts.
//!
//! | method | clears 64 bytes in | needs | clears 16 MiB in, copies 4 KiB in |
//! |---|---|---|---|
//! | [`ZeroMethod::Mops`] | | FEAT_MOPS | next to none |
//! | [`ZeroMethod::St1`] | 1 instruction | SIMD registers, which the softfloat target leaves alone (rule M5) | 270 k, 144 |
//! | [`ZeroMethod::DcZva`] | 2 | DC ZVA of 64 bytes, Normal memory, MMU on | 532 k, 776 |
//! | [`ZeroMethod::Stp`] | 7 | nothing: the method before [`init`], with the MMU off as well | 1 835 k, 776 |
//!
//! (Counted with INST_RETIRED under `-icount`, the same on every CPU that QEMU has.)
#![expect(unsafe_code, reason = "assembly on raw memory; rules M1, M2, M5")]

use core::arch::global_asm;
use core::sync::atomic::{AtomicU8, Ordering};

use aarch64_cpu::asm::barrier::{SY, isb};
use aarch64_cpu::registers::{CPACR_EL1, ReadWriteable};

use super::costs::{self, Cost};
use super::features::Features;

/// How memory is cleared and copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum ZeroMethod {
    /// Pairs of general registers.
    Stp,
    /// DC ZVA, one cache line per instruction; copies as [`ZeroMethod::Stp`] does.
    DcZva,
    /// ST1 of four SIMD registers, 64 bytes per instruction.
    St1,
    /// SETP, SETM, SETE and CPYFP, CPYFM, CPYFE.
    Mops,
}

impl ZeroMethod {
    /// Every method, from the one that always works to the one that costs least.
    pub const ALL: [Self; 4] = [Self::Stp, Self::DcZva, Self::St1, Self::Mops];

    /// Whether a CPU with `features` has what the method needs.
    pub fn works_with(self, features: &Features) -> bool {
        match self {
            Self::Stp => true,
            Self::DcZva => matches!(features.zva_bytes(), Some(BLOCK)),
            Self::St1 => features.has_simd(),
            Self::Mops => features.has_mops(),
        }
    }
}

/// Bytes of a block: the unit of the loops.
const BLOCK: usize = 64;
/// Bytes that one pass of an unrolled loop clears.
const STRIDE: usize = 4096;

/// Bytes that one pass of the longest copy loop copies.
const COPY_STRIDE: usize = 1024;

/// The chosen method, as its number.
static METHOD: AtomicU8 = AtomicU8::new(ZeroMethod::Stp as u8);

/// Chooses the method that costs least on a CPU with `features`. Call it once, with the MMU on.
pub fn init(features: &Features) -> ZeroMethod {
    let best = ZeroMethod::ALL.into_iter().rfind(|method| method.works_with(features));
    let best = best.unwrap_or(ZeroMethod::Stp);
    select(best);
    best
}

/// Uses `method` from now on. It must be one that [works with](ZeroMethod::works_with) this CPU.
pub fn select(method: ZeroMethod) {
    if method == ZeroMethod::St1 {
        // CPACR_EL1.FPEN (bits 21:20): without it the first ST1 traps to EL1.
        CPACR_EL1.modify(CPACR_EL1::FPEN::TrapNothing);
        isb(SY);
        costs::add(Cost::Isb, 1);
    }
    METHOD.store(method as u8, Ordering::Relaxed);
}

/// The method in use.
pub fn method() -> ZeroMethod {
    let number = usize::from(METHOD.load(Ordering::Relaxed));
    ZeroMethod::ALL[number]
}

global_asm!(
    include_str!("bulk.S"),
    block = const BLOCK,
    block_shift = const BLOCK.ilog2(),
    stride = const STRIDE,
    copy_stride = const COPY_STRIDE,
);

unsafe extern "C" {
    fn hotmap_zero_stp(start: *mut u8, end: *mut u8);
    fn hotmap_zero_zva(start: *mut u8, end: *mut u8);
    fn hotmap_zero_st1(start: *mut u8, end: *mut u8);
    fn hotmap_zero_mops(start: *mut u8, end: *mut u8);
    fn hotmap_fill_stp(start: *mut u8, end: *mut u8, value: u64);
    fn hotmap_fill_st1(start: *mut u8, end: *mut u8, value: u64);
    fn hotmap_copy_stp(to: *mut u8, from: *const u8, from_end: *const u8);
    fn hotmap_copy_ld1(to: *mut u8, from: *const u8, from_end: *const u8);
    fn hotmap_copy_mops(to: *mut u8, from: *const u8, from_end: *const u8);
}

/// Clears `len` bytes at `start`, both multiples of 64.
///
/// # Safety
/// The bytes must be mapped writable, and no other code may use them meanwhile. Once a method other than
/// [`ZeroMethod::Stp`] is chosen, the mapping must be Normal memory.
pub unsafe fn zero(start: *mut u8, len: usize) {
    debug_assert!(start.addr().is_multiple_of(BLOCK) && len.is_multiple_of(BLOCK));
    if len == 0 {
        return;
    }
    costs::add(Cost::Cleared, len as u64);
    let end = start.wrapping_add(len);
    // SAFETY: the caller's promise covers start..end, and `select` chose a method that this CPU has (M5 for ST1).
    unsafe {
        match method() {
            ZeroMethod::Stp => hotmap_zero_stp(start, end),
            ZeroMethod::DcZva => hotmap_zero_zva(start, end),
            ZeroMethod::St1 => hotmap_zero_st1(start, end),
            ZeroMethod::Mops => hotmap_zero_mops(start, end),
        }
    }
}

/// Fills `len` bytes at `start`, both multiples of 64, with `value`.
///
/// # Safety
/// As for [`zero`].
pub unsafe fn fill(start: *mut u8, len: usize, value: u64) {
    debug_assert!(start.addr().is_multiple_of(BLOCK) && len.is_multiple_of(BLOCK));
    if len == 0 {
        return;
    }
    costs::add(Cost::Cleared, len as u64);
    let end = start.wrapping_add(len);
    // SAFETY: the caller's promise covers start..end; `select` has made SIMD registers usable before it chose ST1 (M5).
    unsafe {
        match method() {
            ZeroMethod::St1 => hotmap_fill_st1(start, end, value),
            // SETP repeats one byte, and DC ZVA writes zeroes.
            ZeroMethod::Stp | ZeroMethod::DcZva | ZeroMethod::Mops => hotmap_fill_stp(start, end, value),
        }
    }
}

/// Copies a page of `len` bytes, a multiple of 1024, between 64-byte aligned places that do not overlap.
///
/// # Safety
/// As for [`zero`], for both places.
pub unsafe fn copy_page(to: *mut u8, from: *const u8, len: usize) {
    debug_assert!((to.addr() | from.addr()).is_multiple_of(BLOCK) && len.is_multiple_of(COPY_STRIDE));
    if len == 0 {
        return;
    }
    costs::add(Cost::Copied, len as u64);
    let end = from.wrapping_add(len);
    // SAFETY: the caller's promise covers both places, and `select` chose a method that this CPU has (M5 for LD1).
    unsafe {
        match method() {
            ZeroMethod::Stp | ZeroMethod::DcZva => hotmap_copy_stp(to, from, end),
            ZeroMethod::St1 => hotmap_copy_ld1(to, from, end),
            ZeroMethod::Mops => hotmap_copy_mops(to, from, end),
        }
    }
}
