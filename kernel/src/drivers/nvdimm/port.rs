//! The page that goes back and forth, and the register that sends it.
#![expect(unsafe_code, reason = "shares a page of memory with a device; rules M4 and M6")]

use core::cell::UnsafeCell;
use core::fmt;

use hotmap_mm::addr::{PhysAddr, VirtAddr};

use super::{PAGE_BYTES, Port, REGISTER_BYTES};
use crate::arch::{cpu, translate};
use crate::drivers::mmio::{Register, Window};

/// The register takes the page's physical address.
const ADDRESS: Register<u32> = Register::at(0);

/// Aligned to its size, so that it lies in one page frame of any granule.
#[repr(C, align(4096))]
struct Page(UnsafeCell<[u8; PAGE_BYTES]>);

// SAFETY: M6: only the one port reaches into it, by volatile accesses.
unsafe impl Sync for Page {}

static PAGE: Page = Page(UnsafeCell::new([0; PAGE_BYTES]));

/// The page is where the register cannot name it.
///
/// The page is in the image, and QEMU's virt loads that into the first GiB of RAM, which starts at 0x4000_0000: it cannot
/// happen there, however much RAM there is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutOfReach(pub Option<PhysAddr>);

impl fmt::Display for OutOfReach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(page) => write!(f, "its page is at {page}, and its register has 32 bits"),
            None => write!(f, "its page is not mapped"),
        }
    }
}

/// The device behind its memory-mapped register.
#[derive(Debug)]
pub struct MmioPort {
    register: Window,
    page: Window,
    /// The page's physical address.
    address: u32,
}

impl MmioPort {
    /// The device whose register is at `base`.
    ///
    /// # Safety
    /// M4, and M6: there is no other port. The register exists only where ACPI announces it: elsewhere it aborts.
    ///
    /// # Errors
    /// [`OutOfReach`].
    pub unsafe fn new(base: usize) -> Result<Self, OutOfReach> {
        let page = PAGE.0.get().expose_provenance();
        let physical = translate::store(VirtAddr::new(page as u64)).address();
        let low = physical.and_then(|pa| u32::try_from(pa.get()).ok());
        let address = low.ok_or(OutOfReach(physical))?;
        // SAFETY: M4, which the caller promises, for the register; M6 for the page, which is `PAGE_BYTES` long.
        let (register, page) = unsafe { (Window::new(base, REGISTER_BYTES), Window::new(page, PAGE_BYTES)) };
        Ok(Self { register, page, address })
    }
}

impl Port for MmioPort {
    fn put(&mut self, offset: usize, word: u32) {
        self.page.set(Register::<u32>::at(offset), word.to_le());
    }
    fn call(&mut self) {
        // The question is in memory before the device gets its address ...
        cpu::finish_accesses();
        self.register.set(ADDRESS, self.address.to_le());
        // ... and the answer is not read before the device has taken the store.
        cpu::finish_accesses();
    }
    fn get(&mut self, offset: usize) -> u8 {
        self.page.get(Register::<u8>::at(offset))
    }
}
