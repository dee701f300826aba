//! The exit status through a virtio console: "1q" makes QEMU's `-chardev testdev` end with status 3, that is (1 << 1) | 1
//! (QEMU, chardev/testdev.c).
//!
//! It has to work from a panic, with the MMU off too. So the device is set up when the run ends, once, in memory of its own:
//! no lock, no heap, and each wait ends.
#![expect(unsafe_code, reason = "static memory that a device reads; rules M4, M8 and M9")]

use core::cell::UnsafeCell;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use virtio_drivers::transport::DeviceType;
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

use super::found::{Device, Found, Name};
use super::hal::{physical, registers};
use super::message;
use super::refusal::Refusal;
use super::transport::VirtioTransport;
use crate::arch::{counter, cpu};

/// What is written, by the status.
static MESSAGES: [&[u8]; 4] = [b"0q", b"1q", b"2q", b"3q"];
/// How long an answer is waited for: in seconds, and in looks, if the counter stands still.
const SECONDS: u64 = 1;
const LOOKS: u32 = 50_000_000;

/// The console that boot found. Written once, by boot; read after that.
struct WayOut(UnsafeCell<Option<Device>>);

// SAFETY: M9.
unsafe impl Sync for WayOut {}

static WAY_OUT: WayOut = WayOut(UnsafeCell::new(None));
/// Whether it was tried: what fails in the attempt ends the run without a second one.
static TRIED: AtomicBool = AtomicBool::new(false);

/// The queue's memory: two pages, one for each of its parts, or side by side in the old layout.
const PAGES: usize = 2;

#[repr(C, align(4096))]
struct Pages(UnsafeCell<[u8; PAGES * PAGE_SIZE]>);

// SAFETY: M8: the one queue has it.
unsafe impl Sync for Pages {}

static QUEUE: Pages = Pages(UnsafeCell::new([0; PAGES * PAGE_SIZE]));
/// How many of its pages are taken.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// Remembers the first console of `found`.
///
/// # Safety
/// M9: boot calls it once.
pub unsafe fn remember(found: &Found) {
    let console = found.devices.iter().find(|device| device.kind == DeviceType::Console);
    // SAFETY: M9, B1: nothing else runs, and there is no reference to it yet.
    unsafe { *WAY_OUT.0.get() = console.cloned() };
}

/// Writes `status`, 0 to 3, to the console, if there is one. Returns if that does not end the run: `Ok` where nothing
/// takes it, or there is no console.
///
/// # Errors
/// A device that does not do what a console does.
pub fn send(status: u32) -> Result<(), (Name, Refusal)> {
    // SAFETY: M9: boot has written it.
    let Some(device) = (unsafe { &*WAY_OUT.0.get() }) else { return Ok(()) };
    if TRIED.load(Relaxed) {
        return Ok(());
    }
    TRIED.store(true, Relaxed);
    transmit(device, status).map_err(|refusal| (device.name, refusal))
}

#[inline(never)]
fn transmit(device: &Device, status: u32) -> Result<(), Refusal> {
    // SAFETY: M4: boot has mapped the registers, and nothing else drives this device.
    let mut transport = unsafe { VirtioTransport::open::<OwnPages>(device) }?;
    transport.reset()?;
    message::transmit::<_, OwnPages>(&mut transport, MESSAGES[status as usize % MESSAGES.len()], wait)
}

/// Waits for a bounded time until `done`; whether it was.
fn wait(done: &dyn Fn() -> bool) -> bool {
    let (start, limit) = (counter::ticks(), SECONDS * counter::ticks_per_second());
    for _ in 0..LOOKS {
        if done() {
            return true;
        }
        if counter::ticks().wrapping_sub(start) > limit {
            break;
        }
        cpu::relax();
    }
    done()
}

/// The queue's memory comes from [`QUEUE`].
struct OwnPages;

// SAFETY: M8: [`QUEUE`] is zero, and its pages are given out once; M4 for the registers.
unsafe impl Hal for OwnPages {
    fn dma_alloc(count: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let first = TAKEN.load(Relaxed);
        if count > PAGES - first {
            return (0, NonNull::dangling());
        }
        TAKEN.store(first + count, Relaxed);
        let start = QUEUE.0.get().cast::<u8>();
        // SAFETY: the page is one of `PAGES`.
        let start = unsafe { NonNull::new_unchecked(start.add(first * PAGE_SIZE)) };
        (physical(start, count * PAGE_SIZE), start)
    }

    unsafe fn dma_dealloc(_: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        0 // They are not given out again.
    }

    unsafe fn mmio_phys_to_virt(start: PhysAddr, _: usize) -> NonNull<u8> {
        registers(start)
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        physical(buffer.cast(), buffer.len())
    }

    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}
