//! The CPU: everything that is neither a device nor the memory model. Modules without assembly also compile for the host.
//!
//! Rules that safety comments cite here, in the drivers and in the lock, beside the invariants I1 to I8:
//! - **M1** System registers: reading an identification register, and writing a control register that only this
//!   module owns, touches no memory that Rust knows of and is allowed at EL1.
//! - **M2** On the boot CPU interrupts stay masked (`DAIF` all set) from the first instruction on. The others take IRQs
//!   while they idle and while they run a job, except while they hold a [`Masked`](interrupts::Masked). So nothing runs
//!   between two instructions of a module except a synchronous exception or, there, an IRQ; both restore every register but
//!   the SIMD ones, which their handlers do not touch.
//! - **M3** An emergency stack belongs to one CPU (found by `TPIDR_EL1`: [`cpu::number`]), and is used only inside an
//!   exception.
//! - **M4** A device's registers are mapped at the address given to the driver's constructor, as Device memory, for as
//!   long as the kernel runs, and no other driver uses them. The caller of the constructor promises it.
//! - **M5** The softfloat target does not let the compiler use a SIMD register, so assembly may use v0 to v3. Only the
//!   boot CPU runs what uses them (`bulk`).
//! - **M6** Memory that a device reads and writes belongs to one driver for as long as the kernel runs. It is reached by
//!   volatile accesses only, and there is no reference to what is in it.
//! - **M7** The value in a [`Lock`](crate::lock::Lock) is reached through a guard only, and there is one guard at a time:
//!   `lock` makes it once it has changed `holder` from 0, and only the guard's drop and `seize` change it back. With the
//!   MMU off there is one CPU and no interrupt.

/// A number of bytes or an address as Rust's own word: the kernel is 64-bit only.
#[expect(clippy::cast_possible_truncation, reason = "usize has 64 bits on the only target")]
pub const fn word(value: u64) -> usize {
    value as usize
}

/// The value of a register's field that has at most 8 bits.
const fn byte(field: u64) -> u8 {
    (field & 0xff) as u8
}

pub mod backtrace;
pub mod costs;
pub mod el2;
pub mod esr;
pub mod features;
pub mod interrupts;
pub mod mmu;
pub mod peek;
pub mod psci;
pub mod tlb;
pub mod translation;
#[cfg_attr(
    not(target_os = "none"),
    expect(dead_code, reason = "what other CPUs do has no caller on the host")
)]
pub(crate) mod vmemmap;

/// Gives the modules of the bare machine one condition.
macro_rules! bare {
    ($($(#[$attribute:meta])* $visibility:vis mod $name:ident;)+) => {
        $(#[cfg(target_os = "none")] $(#[$attribute])* $visibility mod $name;)+
    };
}
bare! {
    pub mod bulk;
    pub mod caches;
    pub mod counter;
    pub mod cpu;
    pub mod exchange;
    pub mod fault;
    pub mod heap;
    pub mod image;
    pub mod machine;
    mod memcpy;
    pub mod mmu_control;
    pub mod probe;
    pub(crate) mod semihosting;
    pub mod translate;
}

#[cfg(not(target_os = "none"))]
mod hosted;
#[cfg(not(target_os = "none"))]
pub use hosted::{bulk, counter, cpu, exchange, fault, heap, machine, translate};
