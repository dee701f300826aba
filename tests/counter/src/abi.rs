//! QEMU's functions for plugins (QEMU docs/devel/tcg-plugins, "API"): a dozen of them, declared here, because QEMU's packages
//! come without their header.
//!
//! QEMU 7.2 speaks version 1, and refuses a plugin of another; QEMU 10 speaks 4, and refuses 1. What is used here is the same in
//! both, but for `qemu_plugin_insn_data`. So the plugin says which version it is when it is loaded: [`choose_version`] runs before
//! QEMU looks, and asks the program that loads it for a function that version 1 does not have.
//!
//! Rule that the unsafe code relies on: **Q1** QEMU calls the plugin, and keeps what it passes, as its documentation says: `Info`
//! and the arguments for the install, a block and its instructions for the translation callback.
#![expect(unsafe_code, unreachable_pub, reason = "QEMU is C; rule Q1")]

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

/// A plugin's number.
pub(crate) type Id = u64;

/// What QEMU says of itself.
#[repr(C)]
pub struct Info {
    target: *const c_char,
    oldest: c_int,
    version: c_int,
    system: bool,
    cpus: c_int,
    most_cpus: c_int,
}

impl Info {
    /// The architecture of the guest.
    pub(crate) fn target(&self) -> &str {
        // SAFETY: Q1.
        unsafe { CStr::from_ptr(self.target) }.to_str().unwrap_or_default()
    }
}

#[repr(C)]
struct RawBlock(c_void);
#[repr(C)]
struct RawInstruction(c_void);

type Translated = unsafe extern "C" fn(Id, *mut RawBlock);
type Executed = extern "C" fn(c_uint, *mut c_void);

/// No register is read or written.
const NO_REGISTERS: c_int = 0;

unsafe extern "C" {
    fn qemu_plugin_register_vcpu_tb_trans_cb(id: Id, callback: Translated);
    fn qemu_plugin_register_vcpu_tb_exec_cb(
        block: *mut RawBlock,
        callback: Executed,
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_register_vcpu_insn_exec_cb(
        instruction: *mut RawInstruction,
        callback: Executed,
        flags: c_int,
        data: *mut c_void,
    );
    fn qemu_plugin_tb_n_insns(block: *const RawBlock) -> usize;
    fn qemu_plugin_tb_get_insn(block: *const RawBlock, index: usize) -> *mut RawInstruction;
    fn qemu_plugin_insn_vaddr(instruction: *const RawInstruction) -> u64;
}

mod data {
    use super::RawInstruction;

    #[expect(clashing_extern_declarations, reason = "the function changed in version 3")]
    unsafe extern "C" {
        /// Until version 2: where the bytes are.
        #[link_name = "qemu_plugin_insn_data"]
        pub(super) fn data_at(instruction: *const RawInstruction) -> *const u32;
        /// From version 3 on: copies at most `len` bytes to `to`.
        #[link_name = "qemu_plugin_insn_data"]
        pub(super) fn copy_data(instruction: *const RawInstruction, to: *mut u32, len: usize) -> usize;
    }
}

/// The version of the API that the plugin is for: QEMU reads it before it calls anything.
#[unsafe(no_mangle)]
pub static qemu_plugin_version: AtomicI32 = AtomicI32::new(OLD);

/// QEMU 7.2's version, and the oldest that QEMU 9 and 10 take.
const OLD: i32 = 1;
const NEW: i32 = 2;
/// From this version on the bytes of an instruction are copied.
const COPIES: c_int = 3;

#[used]
#[cfg_attr(target_os = "linux", unsafe(link_section = ".init_array"))]
#[cfg_attr(target_os = "macos", unsafe(link_section = "__DATA,__mod_init_func"))]
static CHOOSE_VERSION: extern "C" fn() = choose_version;

extern "C" fn choose_version() {
    // SAFETY: both are strings; the function is not called.
    let newer = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"qemu_plugin_scoreboard_new".as_ptr()) };
    qemu_plugin_version.store(if newer.is_null() { OLD } else { NEW }, Ordering::Relaxed);
}

/// Whether the bytes of an instruction are copied.
static COPIED: OnceLock<bool> = OnceLock::new();
/// Who is called for each translated block.
static TRANSLATED: OnceLock<fn(&Block<'_>)> = OnceLock::new();

/// Notes the version that QEMU speaks, and has `callback` called for each block that it translates.
pub(crate) fn on_translation(id: Id, info: &Info, callback: fn(&Block<'_>)) -> Result<(), String> {
    let fresh = COPIED.set(info.version >= COPIES).is_ok() && TRANSLATED.set(callback).is_ok();
    if !fresh {
        return Err("it is loaded twice".to_owned());
    }
    // SAFETY: Q1: the number is the one that QEMU gave.
    unsafe { qemu_plugin_register_vcpu_tb_trans_cb(id, translated) };
    Ok(())
}

unsafe extern "C" fn translated(_: Id, block: *mut RawBlock) {
    if let Some(callback) = TRANSLATED.get() {
        callback(&Block { raw: block, lasts: PhantomData });
    }
}

/// The arguments of the command line.
///
/// # Safety
/// Q1: `argv` has `argc` strings.
pub(crate) unsafe fn arguments(argc: c_int, argv: *const *const c_char) -> Vec<String> {
    let count = usize::try_from(argc).unwrap_or(0);
    // SAFETY: Q1.
    let text = |at| unsafe { CStr::from_ptr(*argv.add(at)) }.to_string_lossy().into_owned();
    (0..count).map(text).collect()
}

/// A block that is being translated.
pub(crate) struct Block<'t> {
    raw: *mut RawBlock,
    lasts: PhantomData<&'t ()>,
}

/// An instruction of it.
pub(crate) struct Instruction<'t> {
    raw: *mut RawInstruction,
    lasts: PhantomData<&'t ()>,
}

impl Block<'_> {
    /// How many instructions it has.
    pub(crate) fn len(&self) -> usize {
        // SAFETY: Q1.
        unsafe { qemu_plugin_tb_n_insns(self.raw) }
    }
    pub(crate) fn instructions(&self) -> impl Iterator<Item = Instruction<'_>> {
        // SAFETY: Q1: the index is below the count.
        let raw = |at| unsafe { qemu_plugin_tb_get_insn(self.raw, at) };
        (0..self.len()).map(move |at| Instruction { raw: raw(at), lasts: PhantomData })
    }
    /// Has `callback` called with `value` whenever the block is entered.
    pub(crate) fn on_execution(&self, callback: Executed, value: usize) {
        let value = std::ptr::without_provenance_mut(value);
        // SAFETY: Q1; the value is handed back, and not used as a pointer.
        unsafe { qemu_plugin_register_vcpu_tb_exec_cb(self.raw, callback, NO_REGISTERS, value) };
    }
}

impl Instruction<'_> {
    /// Its virtual address.
    pub(crate) fn address(&self) -> u64 {
        // SAFETY: Q1.
        unsafe { qemu_plugin_insn_vaddr(self.raw) }
    }
    /// Its four bytes.
    pub(crate) fn word(&self) -> u32 {
        let mut word = 0_u32;
        if COPIED.get() == Some(&true) {
            // SAFETY: Q1; there is room for as many bytes.
            unsafe { data::copy_data(self.raw, &raw mut word, size_of::<u32>()) };
        } else {
            // SAFETY: Q1: an A64 instruction has four bytes there, wherever that is.
            word = unsafe { data::data_at(self.raw).read_unaligned() };
        }
        u32::from_le(word)
    }
    /// Has `callback` called with `value` before each execution.
    pub(crate) fn on_execution(&self, callback: Executed, value: usize) {
        let value = std::ptr::without_provenance_mut(value);
        // SAFETY: Q1, as for a block.
        unsafe { qemu_plugin_register_vcpu_insn_exec_cb(self.raw, callback, NO_REGISTERS, value) };
    }
}
