//! The machine under the memory model: exceptions, drivers, the console and its line editor.
//!
//! ```text
//!  commands, script              the main loop: where commands come from
//!  kernel                        all that the kernel owns; the events of devices
//!  plug dimms vmems regions devices  sources of memory    secondary     the loop of the other CPUs
//!    |                                                    exceptions    vectors, handlers, reports, panic
//!    |                                                    readers       other CPUs read struct pages
//!  platform                      brings the devices up    cpus          starts CPUs, gives them jobs, signals them
//!  drivers                       GED, GIC, UART, fw_cfg, NVDIMM, PCI, virtio
//!  arch, lock                    the CPU
//! ```
//! A file uses what is below it.
//!
//! What has no assembly in it (syndrome decoding, TLB plans, control-register values, line editing, the parsers of
//! device registers) compiles for the host too, where `cargo test -p hotmap-kernel` runs its tests.
#![cfg_attr(target_os = "none", no_std)]

extern crate alloc;

pub mod arch;
pub mod args;
pub mod attention;
pub mod boot_info;
#[cfg(target_os = "none")]
pub mod commands;
pub mod cpus;
pub mod devices;
pub mod dimms;
pub mod drivers;
#[cfg(target_os = "none")]
pub mod exceptions;
pub mod exit;
mod hugepages;
pub mod inject;
pub mod kernel;
pub mod line;
pub mod lock;
pub mod meter;
pub mod number;
pub mod nvdimms;
pub mod per_cpu;
pub mod plug;
#[cfg_attr(
    not(target_os = "none"),
    expect(dead_code, reason = "what other CPUs do has no caller on the host")
)]
pub mod readers;
pub mod regions;
pub mod script;
#[cfg(target_os = "none")]
pub mod secondary;
pub mod states;
#[cfg(target_os = "none")]
mod takeover;
pub mod vmems;

#[cfg(target_os = "none")]
pub use commands::kernel_main;
pub use drivers::console;
