//! Where the image's parts are, by the linker's symbols (linker/kernel.ld draws them).
#![expect(unsafe_code, reason = "declares the linker's symbols")]

use hotmap_mm::addr::{VirtAddr, VirtRange};

// SAFETY: F1: nothing is read through them. The linker script defines them, and only their addresses are taken.
unsafe extern "C" {
    static _image_start: u8;
    static _rodata_start: u8;
    static _data_start: u8;
    static _guard_start: u8;
    static _stack_start: u8;
    static _image_end: u8;
}

/// The bytes of a secondary CPU's stack. A page of the largest granule, like the boot CPU's guard page.
pub const STACK_BYTES: u64 = 0x1_0000;
/// The distance from one secondary CPU's stack to the next. The half of it between them is unmapped.
pub const STACK_STRIDE: u64 = 2 * STACK_BYTES;

/// The stack of secondary CPU `number`, from 1 on, behind an image that ends at `image_end`.
pub const fn secondary_stack(image_end: VirtAddr, number: u64) -> VirtRange {
    let end = VirtAddr::new(image_end.get() + number * STACK_STRIDE);
    VirtRange { start: VirtAddr::new(end.get() - STACK_BYTES), end }
}

fn between(start: *const u8, end: *const u8) -> VirtRange {
    VirtRange { start: VirtAddr::new(start as u64), end: VirtAddr::new(end as u64) }
}

/// Code: may be loaded and executed.
pub fn text() -> VirtRange {
    between(&raw const _image_start, &raw const _rodata_start)
}
/// Constants: may be loaded.
pub fn constants() -> VirtRange {
    between(&raw const _rodata_start, &raw const _data_start)
}
/// Variables: may be loaded and stored.
pub fn data() -> VirtRange {
    between(&raw const _data_start, &raw const _guard_start)
}
/// The guard page below the boot CPU's stack: an overflow faults there.
pub fn guard() -> VirtRange {
    between(&raw const _guard_start, &raw const _stack_start)
}
/// The boot CPU's stack.
pub fn stack() -> VirtRange {
    between(&raw const _stack_start, &raw const _image_end)
}
/// The image's end, at the high addresses.
pub fn end() -> VirtAddr {
    VirtAddr::new(&raw const _image_end as u64)
}
