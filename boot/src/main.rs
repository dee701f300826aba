//! hotmap's boot: from the first instruction to `kernel_main`, and nothing else.
//!
//! ```text
//!  entry       Image header, copy out of flash, EL2 -> EL1, .bss, relocation
//!  handoff     device tree -> BootInfo: RAM, what is taken, arguments, granule
//!  early_map   the kernel's translation tables
//!  entry       the MMU goes on, jump to the high address
//!  kernel_main
//!
//!  secondary   another CPU, much later: -> the kernel's secondary_main
//! ```
//!
//! Rules that safety comments here cite, beside the model's F1 and F2, and M1 to M7 of kernel/src/arch:
//! - **B1** until `kernel_main` only the boot CPU runs, with interrupts masked, and until the jump the MMU is off.
//! - **B2** x0 is the physical address of a device tree blob in RAM to which nothing writes: the boot protocol's promise.
//! - **B3** what boot lays out for the secondary CPUs is written before the first of them starts, and only read after that.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod early_map;
#[cfg(target_os = "none")]
mod entry;
#[cfg(target_os = "none")]
mod handoff;
#[cfg(target_os = "none")]
mod relocate;
#[cfg(target_os = "none")]
mod secondary;
#[cfg(target_os = "none")]
mod start;

#[cfg(target_os = "none")]
use start::boot_main;

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("error: the kernel runs on bare metal: make run");
    std::process::exit(2);
}
