//! A static description costs the kernel's image nothing: `MachineDescription::new` is all zero bytes, so that the
//! linker puts it into .bss. The bytes cannot be read (some are padding), but the linker's choice can.
#![cfg(target_os = "linux")]
#![expect(unsafe_code, reason = "names two symbols of the linker")]

use std::sync::Mutex;

use hotmap_devicetree::MachineDescription;

// SAFETY: GNU ld and lld define these symbols; only their addresses are used.
unsafe extern "C" {
    safe static __bss_start: u8;
    safe static _end: u8;
}

/// Mutable, as the kernel's is: a constant would be in .rodata whatever its bytes.
static DESCRIPTION: Mutex<MachineDescription> = Mutex::new(MachineDescription::new());

/// One byte that is not zero, to show that the test can tell.
static NOT_ZERO: Mutex<[u8; 64]> = Mutex::new([1; 64]);

fn is_in_bss<T>(place: &T) -> bool {
    let bss = (&raw const __bss_start).addr()..(&raw const _end).addr();
    bss.contains(&std::ptr::from_ref(place).addr())
}

#[test]
fn a_new_description_is_all_zeroes() {
    assert!(is_in_bss(&DESCRIPTION));
    assert!(!is_in_bss(&NOT_ZERO));
}

/// The kernel keeps a description and its early stack in a few pages: a capacity raised without thought shows here.
#[test]
fn a_description_is_at_most_15_kib() {
    assert!(size_of::<MachineDescription>() <= 15 << 10, "{:#x}", size_of::<MachineDescription>());
}
