//! Relocates the image: adds a difference to each word that holds an address.
//!
//! Code is PC-relative, but a static that holds the address of another (a vtable, a `&'static str`) is a word with a
//! link-time address. The linker lists those words in .relr.dyn (ELF gABI, "SHT_RELR": an even entry is the address of a
//! word; an odd one is a bitmap of the 63 words that follow). It happens twice: from the link address to the load address
//! at entry, and to the high address before the MMU goes on.
#![expect(unsafe_code, reason = "edits the image's own words before anything else runs")]

use hotmap_mm::layout::IMAGE_START;

/// Adds `delta` to every word that holds an address. `list` to `list_end` is .relr.dyn, `here` is where the image is now: all
/// three come from the entry code, because a Rust reference to a linker's symbol goes through such a word itself.
///
/// # Safety
/// B1: called by the entry code only, at the load address with the MMU off, on the only CPU that runs.
pub(crate) unsafe extern "C" fn relocate(delta: u64, list: *const u64, list_end: *const u64, here: u64) {
    // The list holds link-time addresses of words, which are at their load addresses now.
    let to_here = here.wrapping_sub(IMAGE_START.get());
    let mut entry = list;
    let mut next = 0u64;
    while entry < list_end {
        // SAFETY: B1; the pointer is inside .relr.dyn, which the linker aligned to 8 bytes.
        let word = unsafe { entry.read() };
        if word & 1 == 0 {
            let at = word.wrapping_add(to_here);
            // SAFETY: B1; the linker's list names words of .data and .data.rel.ro.
            unsafe { add(at, delta) };
            next = at + 8;
        } else {
            let mut bits = word >> 1;
            let mut at = next;
            while bits != 0 {
                if bits & 1 != 0 {
                    // SAFETY: as above.
                    unsafe { add(at, delta) };
                }
                bits >>= 1;
                at += 8;
            }
            next += 63 * 8;
        }
        entry = entry.wrapping_add(1);
    }
}

/// # Safety
/// `at` is the address of a word of the image.
unsafe fn add(at: u64, delta: u64) {
    let word = at as *mut u64;
    // SAFETY: this function's own contract.
    unsafe { word.write(word.read().wrapping_add(delta)) };
}
