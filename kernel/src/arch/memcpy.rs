//! `memcpy`, which the compiler calls for every value that moves: a block's and a section's records, mostly. The toolchain's
//! own, without SIMD, takes 5 instructions for 8 bytes; hotplug is short enough for that to show (`make bench`).
//!
//! In assembly, so that the compiler does not make a call of `memcpy` out of it. It runs with the MMU off as well, where an
//! access that is not aligned faults (Arm ARM, "Alignment of data accesses": Device memory): words only between addresses
//! that are multiples of 8 at the same time, bytes else.
#![expect(unsafe_code, reason = "assembly; the C library's contract of memcpy")]

use core::arch::global_asm;

// x0: destination, which comes back; x1: source; x2: bytes. Changes x1 to x8.
global_asm!(
    r#"
    .pushsection .text.hotmap_memcpy, "ax"
    .balign 64
    .global memcpy
memcpy:
    mov     x4, x0
    eor     x3, x0, x1
    tst     x3, #7
    b.ne    8f
1:  tst     x4, #7                          // bytes up to a multiple of 8
    b.eq    2f
    cbz     x2, 9f
    ldrb    w5, [x1], #1
    strb    w5, [x4], #1
    sub     x2, x2, #1
    b       1b
2:  subs    x2, x2, #32
    b.lo    4f
3:  ldp     x5, x6, [x1], #16
    ldp     x7, x8, [x1], #16
    stp     x5, x6, [x4], #16
    stp     x7, x8, [x4], #16
    subs    x2, x2, #32
    b.hs    3b
4:  adds    x2, x2, #24                     // the rest, less 8
    b.mi    6f
5:  ldr     x5, [x1], #8
    str     x5, [x4], #8
    subs    x2, x2, #8
    b.pl    5b
6:  add     x2, x2, #8
8:  cbz     x2, 9f
7:  ldrb    w5, [x1], #1
    strb    w5, [x4], #1
    subs    x2, x2, #1
    b.ne    7b
9:  ret
    .popsection
    "#
);
