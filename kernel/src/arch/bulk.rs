//! Clearing and copying memory in bulk. Most of what hotplug costs is clearing `struct Page`s, so instructions count here.
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

/// What the loops work in: bytes.
const BLOCK: usize = 64;
/// What one pass of an unrolled loop clears: bytes.
const STRIDE: usize = 4096;

/// What one pass of the longest copy loop moves: bytes.
const COPY_STRIDE: usize = 1024;

/// The chosen method, as its number.
static METHOD: AtomicU8 = AtomicU8::new(ZeroMethod::Stp as u8);

/// Chooses the method that costs least on a CPU with `features`. Once, with the MMU on.
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
    }
    METHOD.store(method as u8, Ordering::Relaxed);
}

/// The method in use.
pub fn method() -> ZeroMethod {
    let number = usize::from(METHOD.load(Ordering::Relaxed));
    ZeroMethod::ALL[number]
}

// Each takes (start, end) in x0 and x1 (and the value to fill with in x2), or (destination, source, end of source) in x0 to x2, all multiples of 64 with
// at least one block between them, and changes x0 to x17 and v0 to v3 at most, as a function call may.
global_asm!(
    r#"
    .pushsection .text.hotmap_bulk, "ax"
    .arch_extension simd
    .arch_extension mops

    .balign 64
    .global hotmap_zero_stp
hotmap_zero_stp:
1:  stp     xzr, xzr, [x0]
    stp     xzr, xzr, [x0, #16]
    stp     xzr, xzr, [x0, #32]
    stp     xzr, xzr, [x0, #48]
    add     x0, x0, #64
    cmp     x0, x1
    b.lo    1b
    ret

    .balign 64
    .global hotmap_fill_stp
hotmap_fill_stp:
1:  stp     x2, x2, [x0]
    stp     x2, x2, [x0, #16]
    stp     x2, x2, [x0, #32]
    stp     x2, x2, [x0, #48]
    add     x0, x0, #64
    cmp     x0, x1
    b.lo    1b
    ret

    // {stride} bytes unrolled, one step for each block; the first pass enters where the rest is a whole number of passes.
    .macro hotmap_unrolled name, setup, step, step_shift
    .global \name
    .balign 64
\name:
    \setup
    sub     x2, x0, x1
    and     x2, x2, #{stride} - 1           // bytes that the first pass skips
    adr     x3, 1f
    add     x3, x3, x2, lsr #({block_shift} - \step_shift)
    br      x3
1:  .rept {stride} / {block}
    \step
    .endr
    cmp     x0, x1
    b.lo    1b
    ret
    .endm

    .macro hotmap_step_zva
    dc      zva, x0
    add     x0, x0, #{block}
    .endm
    .macro hotmap_setup_st1
    movi    v0.2d, #0
    movi    v1.2d, #0
    movi    v2.2d, #0
    movi    v3.2d, #0
    .endm
    .macro hotmap_setup_fill
    dup     v0.2d, x2
    mov     v1.16b, v0.16b
    mov     v2.16b, v0.16b
    mov     v3.16b, v0.16b
    .endm
    .macro hotmap_step_st1
    st1     {{v0.2d, v1.2d, v2.2d, v3.2d}}, [x0], #64
    .endm

    hotmap_unrolled hotmap_zero_zva, nop, hotmap_step_zva, 3    // log2 of a step's bytes of code
    hotmap_unrolled hotmap_zero_st1, hotmap_setup_st1, hotmap_step_st1, 2
    hotmap_unrolled hotmap_fill_st1, hotmap_setup_fill, hotmap_step_st1, 2

    .global hotmap_zero_mops
hotmap_zero_mops:
    sub     x2, x1, x0
    setp    [x0]!, x2!, xzr
    setm    [x0]!, x2!, xzr
    sete    [x0]!, x2!, xzr
    ret

    .balign 64
    .global hotmap_copy_stp
hotmap_copy_stp:
1:  ldp     x3, x4, [x1]
    ldp     x5, x6, [x1, #16]
    ldp     x7, x8, [x1, #32]
    ldp     x9, x10, [x1, #48]
    stp     x3, x4, [x0]
    stp     x5, x6, [x0, #16]
    stp     x7, x8, [x0, #32]
    stp     x9, x10, [x0, #48]
    add     x0, x0, #64
    add     x1, x1, #64
    cmp     x1, x2
    b.lo    1b
    ret

    .balign 64
    .global hotmap_copy_ld1
hotmap_copy_ld1:
1:  .rept {copy_stride} / {block}
    ld1     {{v0.2d, v1.2d, v2.2d, v3.2d}}, [x1], #64
    st1     {{v0.2d, v1.2d, v2.2d, v3.2d}}, [x0], #64
    .endr
    cmp     x1, x2
    b.lo    1b
    ret

    // The F forms copy forwards only, which is enough for places that do not overlap.
    .global hotmap_copy_mops
hotmap_copy_mops:
    sub     x2, x2, x1
    cpyfp   [x0]!, [x1]!, x2!
    cpyfm   [x0]!, [x1]!, x2!
    cpyfe   [x0]!, [x1]!, x2!
    ret

    .arch_extension nomops
    .arch_extension nosimd
    .popsection
    "#,
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

/// Writes `value` over and over to `len` bytes at `start`, both multiples of 64.
///
/// # Safety
/// As for [`zero`].
pub unsafe fn fill(start: *mut u8, len: usize, value: u64) {
    debug_assert!(start.addr().is_multiple_of(BLOCK) && len.is_multiple_of(BLOCK));
    if len == 0 {
        return;
    }
    let end = start.wrapping_add(len);
    // SAFETY: the caller's promise covers start..end; `select` has made SIMD registers usable before it chose ST1 (M5).
    unsafe {
        match method() {
            ZeroMethod::St1 => hotmap_fill_st1(start, end, value),
            // SETP writes one byte over and over, DC ZVA zeroes.
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
