//! Changes of single mappings that the model has no operation for, by its address space; and devices in compound pages.

use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::device::compound::{Compound, TailScope};
use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::device::range::DeviceRange;
use hotmap_mm::entry::descriptor::Descriptor;
use hotmap_mm::entry::live_update::Contents;
use hotmap_mm::error::{Error, Result, SpaceError};
use hotmap_mm::frame::tables::TableFrames;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::layout::{LINEAR_START, TENANTS};
use hotmap_mm::machine::Machine;
use hotmap_mm::space::request::{Exchange, Gone, MapRequest};

use hotmap_kernel::kernel::Kernel;

/// Where memory starts, and how many bytes it is.
pub(super) type Bytes = (PhysAddr, u64);

/// The upper half.
pub(super) const EVERYTHING: VirtRange = VirtRange { start: LINEAR_START, end: VirtAddr::new(u64::MAX) };

pub(super) fn map(kernel: &mut Kernel, request: &MapRequest) -> Result<()> {
    let (space, frames) = kernel.mm.parts_mut();
    space.map(frames, request)?;
    space.publish();
    Ok(())
}

/// Breaks, invalidates and empties the entries, and frees the tables; the memory stays.
pub(super) fn unmap(kernel: &mut Kernel, range: VirtRange) -> Result<()> {
    let (space, frames) = kernel.mm.parts_mut();
    let debt = space.break_range(range, TENANTS, |_| false)?;
    space.invalidate(debt);
    space.reap(range, |gone| {
        if let Gone::Table(table) = gone {
            frames.free_table(table);
        }
    })
}

pub(super) fn exchange_page(kernel: &mut Kernel, va: VirtAddr, pa: PhysAddr) -> Result<()> {
    kernel.mm.parts_mut().0.exchange_pages(&mut [Exchange::new(va, pa, pa)], |_, _| {})
}

/// Breaks the leaf of vmemmap at `va` and makes it again, in a window.
pub(super) fn blink(kernel: &mut Kernel, va: VirtAddr) -> Result<()> {
    let machine = *kernel.mm.space().machine();
    let (space, _) = kernel.mm.parts_mut();
    let leaf = space.path(va).leaf().map(|step| step.slot.span);
    let leaf = leaf.ok_or(Error::Space(SpaceError::NotMapped(va)))?;
    let mut rewrite = |change: fn(Descriptor) -> Descriptor| -> Result<()> {
        let debt = space.rewrite(leaf, Contents::MayDiffer, &mut |_, old| change(old))?;
        space.invalidate(debt);
        Ok(())
    };
    machine.window_open(leaf);
    let made = rewrite(Descriptor::broken).and_then(|()| rewrite(Descriptor::unbroken));
    machine.window_close();
    made
}

/// A device in compound pages of `size` bytes.
pub(super) fn compound_device(
    kernel: &Kernel,
    range: Bytes,
    kind: DeviceType,
    memmap: MemmapHome,
    size: u64,
    tails: TailScope,
) -> Result<DeviceRange> {
    let compound = Compound::new(kernel.granule(), size, tails)?;
    kernel.mm.compound_device_range(&[range], kind, memmap, compound)
}
