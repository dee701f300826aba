//! Where the image's parts are, by the linker's own symbols (linker/kernel.ld draws them).
#![expect(unsafe_code, reason = "declares the linker's symbols")]

use hotmap_mm::addr::{VirtAddr, VirtRange};

// SAFETY: the linker script defines them; only their addresses are taken.
unsafe extern "C" {
    static _image_start: u8;
    static _rodata_start: u8;
    static _data_start: u8;
    static _guard_start: u8;
    static _stack_start: u8;
    static _image_end: u8;
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
/// What lies below the boot CPU's stack, so that an overflow faults: may not be touched.
pub fn guard() -> VirtRange {
    between(&raw const _guard_start, &raw const _stack_start)
}
/// The boot CPU's stack.
pub fn stack() -> VirtRange {
    between(&raw const _stack_start, &raw const _image_end)
}
