//! From what boot hands over to a kernel.

use hotmap_mm::layout::Layout;
use hotmap_mm::mm::Mm;
use hotmap_mm::space::table::KernelSpace;

use crate::arch::machine::Arm;
use crate::arch::{bulk, counter, cpu, heap, tlb};
use crate::boot_info::BootInfo;
use crate::drivers::platform::Platform;
use crate::exit::{Status, exit};
use crate::kernel::Kernel;
use crate::{console, kprintln, meter};

/// Takes over the memory and brings up everything, at the high addresses, on the boot CPU.
pub(crate) fn take_over(info: &'static mut BootInfo) -> Kernel {
    console::set_quiet(info.args.bench);
    if info.args.bench {
        meter::turn_on();
    }
    let features = cpu::features();
    bulk::init(&features);
    tlb::adopt(&features, info.granule);
    let layout = Layout::new(info.granule.granule(), info.ram_start, features.pa_bits());
    let machine = Arm::new(layout.phys_base);
    heap::init(&machine, info.heap);
    let space = KernelSpace::new(machine, layout, info.root);
    let mm = match Mm::boot(space, &mut info.memblock, info.args.boot_memmap) {
        Ok(mm) => mm,
        Err(error) => {
            kprintln!("error: {error}");
            exit(Status::Crashed, "boot cannot go on")
        }
    };
    let info: &'static BootInfo = info;
    let kernel = Kernel::new(info, mm, Platform::bring_up(info));
    if meter::is_on() {
        kprintln!("bench: boot {} {} 0 0", info.memblock.span().len(), counter::instructions());
    }
    kernel
}
