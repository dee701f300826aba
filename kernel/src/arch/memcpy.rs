//! `memcpy`, which the compiler calls for every value that moves: a block's and a section's records, mostly. The toolchain's
//! own, without SIMD, takes 5 instructions for 8 bytes; hotplug is short enough for that to show (`make bench`).
//!
//! In assembly, so that the compiler does not make a call of `memcpy` out of it. It runs with the MMU off as well, where an
//! access that is not aligned faults (Arm ARM, "Alignment of data accesses": Device memory): words only between addresses
//! that are multiples of 8 at the same time, bytes else.
#![expect(unsafe_code, reason = "assembly; the C library's contract of memcpy")]

use core::arch::global_asm;

global_asm!(include_str!("memcpy.S"));
