//! The Rust side of boot: at the load address first, then high.
#![expect(unsafe_code, reason = "owns the static BootInfo and makes the jump to the high address; rule B1")]

use core::mem::MaybeUninit;

use hotmap_kernel::arch::{counter, cpu, mmu, word};
use hotmap_kernel::boot_info::BootInfo;
use hotmap_kernel::drivers::{platform, windows};
use hotmap_kernel::exit::exit;
use hotmap_kernel::{console, exceptions, kernel_main, kprint, kprintln};
use hotmap_mm::entry::descriptor::MAIR;

use crate::early_map::{self, Image, Roots};
use crate::handoff::{self, Stop};
use crate::secondary;

/// What boot hands over: 22 KB in .bss, which adds nothing to the image file.
static mut INFO: MaybeUninit<BootInfo> = MaybeUninit::uninit();

unsafe extern "C" {
    fn hotmap_go_high(
        delta: u64,
        ttbr0: u64,
        ttbr1: u64,
        tcr: u64,
        mair: u64,
        sctlr: u64,
        argument: u64,
        entry: u64,
    ) -> !;
    static _guard_start: u8;
    static _stack_start: u8;
    static _stack_end: u8;
}

/// Called by the entry code at the load address, with the MMU off.
pub(crate) extern "C" fn boot_main(dtb: u64, _load: u64, level: u64, from_flash: u64) -> ! {
    // SAFETY: B1: no other CPU runs, and this is the only reference until the jump, after which this code is gone.
    #[expect(static_mut_refs, reason = "B1: no other CPU runs")]
    let info = unsafe { INFO.write(BootInfo::new()) };
    // From here on a panic can be reported, and the run can end without semihosting. (At EL3 these vectors are not used.)
    exceptions::install();
    info.entry_level = level;
    info.boot_affinity = cpu::affinity();
    info.way = handoff::way(from_flash != 0);
    let stop = match prepare(info, dtb) {
        Ok(roots) => go_high(info, &roots),
        Err(stop) => stop,
    };
    // SAFETY: M4: the MMU is off, so the UART is at its physical address.
    unsafe { console::init_last_resort() };
    kprint!("error: ");
    // Writing to the console does not fail.
    let _ = stop.say(info, &mut console::ConsoleWriter);
    kprintln!();
    exit(stop.status(), "boot cannot go on")
}

fn prepare(info: &mut BootInfo, dtb: u64) -> Result<Roots, Stop> {
    let image = Image::here();
    let loaded = handoff::read(info, dtb, image.whole())?;
    if let Some((model, uart)) = windows::sound_console(&info.machine, &loaded) {
        // SAFETY: M4: the MMU is off, so the UART is at its physical address.
        unsafe { console::init(model, word(uart)) };
    }
    if info.entry_level == 3 {
        return Err(Stop::Level3);
    }
    handoff::look_around(info, &loaded)?;
    handoff::choose_granule(info)?;
    platform::find_redistributors(info);
    handoff::check_redistributors(info)?;
    handoff::check_addresses(info)?;
    handoff::find_memory(info, image.whole())?;
    early_map::build(info.granule.granule(), info, &image).map_err(Stop::Memory)
}

fn go_high(info: &mut BootInfo, roots: &Roots) -> ! {
    info.root = roots.ttbr1;
    let va_bits = info.granule.granule().va_bits;
    let tcr = mmu::tcr(info.granule, va_bits, cpu::features().ips());
    let entry = high_main as extern "C" fn(&'static mut BootInfo) -> !;
    // SAFETY: B1; the tables map the image at its linked address, and the code of the switch one to one.
    unsafe {
        hotmap_go_high(
            Image::here().delta(),
            roots.ttbr0.get(),
            roots.ttbr1.get(),
            tcr,
            MAIR,
            mmu::SCTLR_ON,
            core::ptr::from_mut(info) as u64,
            entry as usize as u64,
        )
    }
}

/// The first code at the high address.
extern "C" fn high_main(info: &'static mut BootInfo) -> ! {
    exceptions::install();
    let (model, registers) = windows::console(&info.machine);
    if let Some(uart) = platform::mapped(registers.start) {
        // SAFETY: M4: the early map has the console's window there.
        unsafe { console::init(model, uart) };
    }
    counter::adopt();
    let (guard, low) = (&raw const _guard_start as u64, &raw const _stack_start as u64);
    exceptions::set_kernel_stack(low..&raw const _stack_end as u64, low - guard);
    hotmap_kernel::arch::mmu_control::forget_identity_map();
    secondary::prepare(info);
    kernel_main(info, hotmap_shell::SHELL)
}
