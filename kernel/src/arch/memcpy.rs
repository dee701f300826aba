//! `memcpy` and `memset`, which the compiler calls for values that move or begin. The toolchain's own, without SIMD, take 5
//! and 4 instructions for 8 bytes, which shows in `make bench`.
//!
//! They are assembly because the compiler would turn a loop of Rust into a call of them. With the MMU off an access that
//! is not aligned faults (Arm ARM, "Alignment of data accesses": Device memory), so words are copied only between addresses
//! that are multiples of 8 at the same time, and bytes otherwise.
#![expect(unsafe_code, reason = "assembly; the C library's contracts")]

use core::arch::global_asm;

global_asm!(include_str!("memcpy.S"), include_str!("memset.S"));
