//! The first translation tables, written by the memory model's walker with the MMU off.
//!
//! ```text
//!   TTBR1   linear map of boot RAM (the image's code and constants read-only there too)
//!           the image at its linked address: code RX, constants R, data RW, the guard page unmapped
//!           behind the image: the other CPUs' stacks, with unmapped pages between them
//!           devices, one to one from layout::DEVICES on
//!   TTBR0   the image's code one to one, for the few instructions around the switch
//! ```
#![expect(
    unsafe_code,
    reason = "physical memory is reached by raw pointers while the MMU is off; rules F1, B1"
)]

use hotmap_kernel::arch::image::{STACK_BYTES, secondary_stack};
use hotmap_kernel::arch::{caches, cpu, word};
use hotmap_kernel::boot_info::BootInfo;
use hotmap_kernel::drivers::windows;
use hotmap_mm::addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use hotmap_mm::boot;
use hotmap_mm::entry::descriptor::Attributes;
use hotmap_mm::error::Result;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::layout::{self, Layout};
use hotmap_mm::machine::{Access, Machine};
use hotmap_mm::memblock::Memblock;
use hotmap_mm::space::request::MapRequest;
use hotmap_mm::space::table::KernelSpace;

/// Memory with the MMU off: an address is a pointer.
#[derive(Clone, Copy)]
struct Physical;

// SAFETY: F1: with the MMU off the pointer to a physical address is that address, and memblock hands out RAM only.
unsafe impl Machine for Physical {
    fn frame(&self, pa: PhysAddr, _len: u64) -> *mut u8 {
        pa.get() as *mut u8
    }
    fn mapped(&self, va: VirtAddr, _len: u64, _access: Access) -> *mut u8 {
        // Nothing is mapped yet, and no caller asks. The first page faults if one does.
        debug_assert!(va.get() == 0, "no mappings before the MMU is on");
        core::ptr::null_mut()
    }
    fn publish(&self) {}
    /// Every table is cleared before it is written: lines of before go first.
    unsafe fn zero(&self, ptr: *mut u8, len: u64) {
        caches::clean_invalidate(ptr as u64, len);
        // SAFETY: this function's `# Safety`.
        unsafe { ptr.write_bytes(0, word(len)) };
    }
    fn invalidate(&self, _range: VirtRange, _stride: u64, _tables: bool) {
        // No TLB has been filled: the MMU is off, and entry.S invalidates everything before the MMU goes on.
    }
}

unsafe extern "C" {
    static _image_start: u8;
    static _rodata_start: u8;
    static _data_start: u8;
    static _guard_start: u8;
    static _stack_start: u8;
    static _image_end: u8;
}

/// The image's parts as physical ranges, while it runs at its load address.
pub(crate) struct Image {
    text: PhysRange,
    rodata: PhysRange,
    data: PhysRange,
    stack: PhysRange,
}

impl Image {
    pub(crate) fn here() -> Self {
        let at = |symbol: *const u8| PhysAddr::new(symbol as u64);
        let range = |start, end| PhysRange { start: at(start), end: at(end) };
        Self {
            text: range(&raw const _image_start, &raw const _rodata_start),
            rodata: range(&raw const _rodata_start, &raw const _data_start),
            data: range(&raw const _data_start, &raw const _guard_start),
            stack: range(&raw const _stack_start, &raw const _image_end),
        }
    }

    /// From the first byte to the end of the stack.
    pub(crate) fn whole(&self) -> PhysRange {
        PhysRange { start: self.text.start, end: self.stack.end }
    }
    fn constant(&self) -> PhysRange {
        PhysRange { start: self.text.start, end: self.rodata.end }
    }
    /// What to add to a load address to get the linked one.
    pub(crate) fn delta(&self) -> u64 {
        layout::IMAGE_START.get().wrapping_sub(self.text.start.get())
    }
    fn high(&self, part: PhysRange) -> VirtRange {
        let at = |pa: PhysAddr| VirtAddr::new(pa.get().wrapping_add(self.delta()));
        VirtRange { start: at(part.start), end: at(part.end) }
    }
}

/// The two roots.
pub(crate) struct Roots {
    pub(crate) ttbr0: PhysAddr,
    pub(crate) ttbr1: PhysAddr,
}

/// Builds the tables for `info`'s machine.
///
/// # Errors
/// `Out` when boot memory runs out, `AlreadyMapped` when the device tree puts two things in one place.
pub(crate) fn build(g: Granule, info: &mut BootInfo, image: &Image) -> Result<Roots> {
    let windows = windows::mapped(&info.machine, &info.redistributors);
    let (memblock, virtio, acpi) = (&mut info.memblock, &info.virtio, &info.acpi);
    let layout = Layout::new(g, info.ram_start, cpu::features().pa_bits());
    let mut space = boot::new_space(Physical, layout, memblock)?;
    boot::map_boot_ram(&mut space, memblock, image.constant())?;
    let parts = [
        (image.text, Attributes::TEXT),
        (image.rodata, Attributes::RODATA),
        (image.data, Attributes::DATA),
        (image.stack, Attributes::DATA),
    ];
    for (part, attributes) in parts {
        let request = request(g, image.high(part), part.start, attributes);
        boot::map_boot(&mut space, memblock, &request)?;
    }
    map_stacks(&mut space, memblock, image, info.stacks)?;
    for range in windows.iter().map(|window| window.range).chain(virtio.ranges()).chain(acpi.ranges()) {
        map_device(&mut space, memblock, range)?;
    }
    let ttbr0 = identity(layout, memblock, image)?;
    Ok(Roots { ttbr0, ttbr1: space.root() })
}

fn request(g: Granule, range: VirtRange, pa: PhysAddr, attributes: Attributes) -> MapRequest {
    MapRequest { range, pa, attributes, max_leaf: g.pmd_size, contiguous: true }
}

/// Maps the other CPUs' stacks.
fn map_stacks(
    space: &mut KernelSpace<Physical>,
    memblock: &mut Memblock,
    image: &Image,
    stacks: PhysRange,
) -> Result<()> {
    let (g, image_end) = (space.granule(), image.high(image.stack).end);
    for number in 1..=stacks.len() / STACK_BYTES {
        let pa = stacks.start + (number - 1) * STACK_BYTES;
        let request = request(g, secondary_stack(image_end, number), pa, Attributes::DATA);
        boot::map_boot(space, memblock, &request)?;
    }
    Ok(())
}

/// Maps the pages around a device's registers. Two devices may share a page.
fn map_device(space: &mut KernelSpace<Physical>, memblock: &mut Memblock, device: PhysRange) -> Result<()> {
    let g = space.granule();
    let mut page = device.start.align_down(g.page_size);
    while page < device.end {
        if let Some(va) = layout::device_address(page)
            && space.translate(va).is_none()
        {
            let range = VirtRange { start: va, end: va + g.page_size };
            boot::map_boot(space, memblock, &request(g, range, page, Attributes::DEVICE))?;
        }
        page = page + g.page_size;
    }
    Ok(())
}

/// Builds the identity map. Its tables are in memory that `memblock` still calls free: nothing is allocated between here and
/// the jump, after which they are not used.
fn identity(layout: Layout, memblock: &Memblock, image: &Image) -> Result<PhysAddr> {
    let g = layout.granule();
    let mut scratch = memblock.clone();
    let mut space = boot::new_space(Physical, layout, &mut scratch)?;
    let range = VirtRange {
        start: VirtAddr::new(image.text.start.get()),
        end: VirtAddr::new(image.text.start.get() + g.page_size),
    };
    boot::map_boot(&mut space, &mut scratch, &request(g, range, image.text.start, Attributes::TEXT))?;
    // The walker reads all tables through the caches.
    for table in scratch.taken().iter().filter(|taken| taken.kind == Some(PageKind::Table)) {
        caches::clean_invalidate(table.range.start.get(), table.range.len());
    }
    Ok(space.root())
}
