//! The exports of the WebAssembly module. The host writes a request into memory that it asks for, and reads the answer.
//!
//! ```text
//!  alloc(len) -> ptr          room for a request
//!  call(ptr, len) -> ptr      the answer: its length as a little-endian u32, then as many bytes of UTF-8
//!  release(ptr)               gives the answer's memory back
//!  free(ptr, len)             gives a request's memory back
//!  panicked() -> ptr          after a trap: what the panic said, as an answer is, or 0; the instance is of no use any more
//! ```
//! Rule that the unsafe code relies on: **W1** the host passes what `alloc` and `call` returned, once each, and the length that it
//! asked for.
#![expect(unsafe_code, reason = "the host of a WebAssembly module knows pointers only; rule W1")]

use std::alloc::{Layout, alloc as allocate, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::sync::Once;

use crate::session::Session;

/// Bytes of an answer's length.
const HEAD: usize = 4;

thread_local! {
    static SESSION: RefCell<Session> = const { RefCell::new(Session::new()) };
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

fn layout(len: usize) -> Layout {
    Layout::from_size_align(len.max(1), align_of::<u32>()).expect("a length that memory has")
}

/// Room for a request of `len` bytes.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn alloc(len: usize) -> *mut u8 {
    // SAFETY: the layout is not empty.
    let memory = unsafe { allocate(layout(len)) };
    if memory.is_null() {
        handle_alloc_error(layout(len));
    }
    memory
}

/// Gives the memory of a request back.
///
/// # Safety
/// W1.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub unsafe extern "C" fn free(at: *mut u8, len: usize) {
    // SAFETY: W1.
    unsafe { dealloc(at, layout(len)) }
}

/// Answers the request at `at`.
///
/// # Safety
/// W1: `len` bytes that `alloc` gave are there, and the host has written them.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub unsafe extern "C" fn call(at: *const u8, len: usize) -> *mut u8 {
    HOOK.call_once(|| {
        std::panic::set_hook(Box::new(|what| PANIC.set(Some(what.to_string()))));
    });
    // SAFETY: W1.
    let request = unsafe { std::slice::from_raw_parts(at, len) };
    let answer = match std::str::from_utf8(request) {
        Ok(request) => SESSION.with_borrow_mut(|session| session.call(request)),
        Err(error) => format!("{{\"ok\":false,\"error\":\"request: {error}\"}}"),
    };
    hand_out(&answer)
}

/// What the panic said that ended the instance, or null.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub extern "C" fn panicked() -> *mut u8 {
    PANIC.take().map_or(std::ptr::null_mut(), |text| hand_out(&text))
}

fn hand_out(text: &str) -> *mut u8 {
    let memory = alloc(HEAD + text.len());
    let head = u32::try_from(text.len()).expect("an answer is shorter than 4 GiB").to_le_bytes();
    // SAFETY: the memory was just allocated, with room for both.
    unsafe {
        memory.copy_from_nonoverlapping(head.as_ptr(), HEAD);
        memory.add(HEAD).copy_from_nonoverlapping(text.as_ptr(), text.len());
    }
    memory
}

/// Gives the memory of an answer back.
///
/// # Safety
/// W1.
#[cfg_attr(target_family = "wasm", unsafe(no_mangle))]
pub unsafe extern "C" fn release(at: *mut u8) {
    // SAFETY: W1: the answer's length is in front of it.
    let len = u32::from_le_bytes(unsafe { at.cast::<[u8; HEAD]>().read() });
    // SAFETY: W1: the memory was allocated with this length.
    unsafe { dealloc(at, layout(HEAD + len as usize)) }
}
