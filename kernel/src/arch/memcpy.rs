//! `memcpy`, which the compiler calls for values that move. The toolchain's own, without SIMD, takes 5 instructions for 8
//! bytes, which shows in `make bench`.
//!
//! It is assembly because the compiler would turn a loop of Rust into a call of `memcpy`. With the MMU off an access that
//! is not aligned faults (Arm ARM, "Alignment of data accesses": Device memory), so words are copied only between addresses
//! that are multiples of 8 at the same time, and bytes otherwise.
#![expect(unsafe_code, reason = "assembly; the C library's contract of memcpy")]

use core::arch::global_asm;

global_asm!(include_str!("memcpy.S"));
