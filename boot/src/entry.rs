//! From the first instruction to Rust, and from the MMU's being off to its being on: `entry.S`, which is
//! position-independent, and the constants that it uses.
#![expect(unsafe_code, reason = "the first instructions; nothing is set up that safe code could rely on")]

use core::arch::global_asm;

use hotmap_kernel::arch::{el2, mmu};
use hotmap_kernel::drivers::windows;
use hotmap_kernel::exit::Status;
use hotmap_mm::layout;

/// Where QEMU's virt has RAM; what runs below it runs in flash (hw/arm/virt.c, VIRT_MEM).
const RAM_START: u64 = 0x4000_0000;
/// The lowest address that the copy out of flash uses: above QEMU's padded DTB.
const COPY_NO_LOWER: u64 = 0x4040_0000;
/// The first word of a device tree blob (Devicetree Specification, 5.2).
const FDT_MAGIC: u64 = 0xd00d_feed;

global_asm!(
    include_str!("entry.S"),
    uart = const windows::EARLY_UART,
    ram = const RAM_START,
    safe = const COPY_NO_LOWER,
    magic = const FDT_MAGIC,
    image = const layout::IMAGE_START.get(),
    sctlr = const mmu::SCTLR_OFF,
    exit_status = const Status::Crashed as u32,
    leave_el2 = sym el2::apply,
    relocate = sym crate::relocate::relocate,
    main = sym crate::boot_main,
);
