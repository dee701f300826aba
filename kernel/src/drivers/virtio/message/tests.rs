//! A console that answers anything, from registers in plain memory: the message is taken, or there is a reason.
#![expect(clippy::cast_possible_truncation, reason = "random numbers are cut")]
extern crate std;

use core::ptr::NonNull;
use std::alloc::{Layout, alloc_zeroed};
use std::cell::Cell;
use std::string::ToString;
use std::vec::Vec;

use hotmap_mm::addr::{PhysAddr as Place, PhysRange};
use virtio_drivers::transport::DeviceType;
use virtio_drivers::{BufferDirection, PhysAddr};

use super::*;
use crate::drivers::virtio::found::{Device, Name, Registers};
use crate::drivers::virtio::transport::VirtioTransport;

/// Bytes of a device's registers.
const BYTES: usize = 0x200;
/// Its words that are read: magic, version, device ID, features, queue size, queue in use (old and new), status.
const READ: [usize; 8] = [0x00, 0x04, 0x08, 0x10, 0x34, 0x40, 0x44, 0x70];

std::thread_local! {
    /// Where the registers are.
    static REGISTERS: Cell<usize> = const { Cell::new(0) };
}

/// The host's heap, which is never given back: a device may have it.
struct Paper;

// SAFETY: F1: each allocation is its own and stays.
unsafe impl Hal for Paper {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let layout = Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).expect("small");
        // SAFETY: the layout is not empty.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("memory");
        // The old layout's page numbers have 32 bits, and nothing follows them here.
        (start.as_ptr().addr() as u64 & 0xfff_ffff_f000, start)
    }
    unsafe fn dma_dealloc(_: PhysAddr, start: NonNull<u8>, pages: usize) -> i32 {
        let layout = Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).expect("small");
        // SAFETY: `dma_alloc` gave it with this layout.
        unsafe { std::alloc::dealloc(start.as_ptr(), layout) };
        0
    }
    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        NonNull::new(core::ptr::with_exposed_provenance_mut(REGISTERS.get())).expect("set")
    }
    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr().addr() as u64
    }
    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// What the console at `words` is found to be.
fn outcome(words: &mut [u32; BYTES / 4]) -> Result<(), Refusal> {
    REGISTERS.set(words.as_mut_ptr().expose_provenance());
    let range = PhysRange { start: Place::new(0xa00_0000), end: Place::new(0xa00_0000 + BYTES as u64) };
    let registers = Registers::Mmio(range);
    let device =
        Device { name: Name::Mmio(0xa00_0000), kind: DeviceType::Console, interrupt: None, registers };
    // SAFETY: M4: `words` are the registers, and outlive the transport.
    let mut transport = unsafe { VirtioTransport::open::<Paper>(&device) }?;
    transport.reset()?;
    let looks = Cell::new(0);
    transmit::<_, Paper>(&mut transport, b"1q", |done| {
        (0..100).any(|_| {
            looks.set(looks.get() + 1);
            done()
        })
    })
}

#[test]
fn any_answers_of_a_console_are_survived() {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) as u32
    };
    let mut reasons: Vec<std::string::String> = Vec::new();
    for _ in 0..20_000 {
        let mut words = [0; BYTES / 4];
        for (offset, value) in READ.into_iter().zip([0x7472_6976, 1 + random() % 2, 3, random(), 64, 0, 0, 0])
        {
            words[offset / 4] = value;
        }
        for _ in 0..random() % 4 {
            words[READ[(random() % 8) as usize] / 4] = [0, 1, 2, !0, random()][(random() % 5) as usize];
        }
        match outcome(&mut words) {
            Ok(()) => panic!("memory does not take a message"),
            Err(refusal) => reasons.push(refusal.to_string()),
        }
    }
    let said = |text: &str| reasons.iter().filter(|reason| reason.contains(text)).count();
    for text in [
        "does not answer",
        "magic",
        "version",
        "device ID",
        "Virtqueue is already in use",
        "Invalid parameter",
    ] {
        assert!(said(text) > 0, "no case ended with: {text}");
    }
    assert!(reasons.iter().all(|reason| reason.len() > 10));
}
