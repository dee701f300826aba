//! What QEMU calls: [`qemu_plugin_install`] at load, [`translated`] for each block, the others when the guest comes there.
#![expect(unsafe_code, unreachable_pub, reason = "the function that QEMU calls; rule Q1 (abi.rs)")]

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use crate::abi::{self, Block, Id, Info};
use crate::counts::COUNTS;
use crate::opcode::Class;
use crate::windows::{Site, Windows};

/// What the command line asks for; set once, by [`start`].
static WINDOWS: OnceLock<Windows> = OnceLock::new();

/// Reads the arguments and asks QEMU to be told of each translated block.
///
/// # Errors
/// What is wrong with the arguments, or with the guest.
fn start(id: Id, info: &Info, arguments: &[String]) -> Result<(), String> {
    if info.target() != "aarch64" {
        return Err(format!("it counts in guests of aarch64, not of {}", info.target()));
    }
    let windows = Windows::read(arguments)?;
    WINDOWS.set(windows).map_err(|_| "it is loaded twice".to_owned())?;
    abi::on_translation(id, info, translated)
}

/// A block was translated: asks for a call where something is to be counted.
fn translated(block: &Block<'_>) {
    let Some(windows) = WINDOWS.get() else { return };
    block.on_execution(executed_block, block.len());
    let mut before = None;
    for (at, instruction) in block.instructions().enumerate() {
        let (address, word) = (instruction.address(), instruction.word());
        // Calls come in the order in which they are asked for: what is written down comes before what is counted.
        for site in windows.sites(address, word, before, block.len() - at) {
            instruction.on_execution(reached, site.encode());
        }
        if let Some(class) = Class::of(word) {
            instruction.on_execution(executed, class as usize);
        }
        before = Some(word);
    }
}

extern "C" fn executed_block(_: c_uint, instructions: *mut c_void) {
    COUNTS.instructions.fetch_add(instructions.addr() as u64, Ordering::Relaxed);
}

extern "C" fn executed(_: c_uint, class: *mut c_void) {
    if let Some(count) = COUNTS.of.get(class.addr()) {
        count.fetch_add(1, Ordering::Relaxed);
    }
}

extern "C" fn reached(_: c_uint, site: *mut c_void) {
    if let Some(windows) = WINDOWS.get() {
        windows.reach(Site::decode(site.addr()));
    }
}

/// What QEMU calls when it loads the plugin; not zero: QEMU ends, and has said why.
///
/// # Safety
/// Q1.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: Id,
    info: *const Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    // SAFETY: Q1: QEMU passes what its documentation says.
    let (info, arguments) = unsafe { (&*info, abi::arguments(argc, argv)) };
    match start(id, info, &arguments) {
        Ok(()) => 0,
        Err(why) => {
            eprintln!("hotmap-counter: {why}");
            1
        }
    }
}
