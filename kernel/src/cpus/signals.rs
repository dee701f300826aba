//! Signals: interrupts that the boot CPU sends to the others.
//!
//! ```text
//!  boot CPU                                     another CPU, idle or in a job
//!  send WAKE                                    leaves WFI, looks at its mailbox
//!  HOLD = true, send PARK                       PARKED = true, stays in the handler
//!  waits until it sees all PARKED               while HOLD
//!  HOLD = false, SEV                            PARKED = false, returns from the handler
//!  send STOP (a report has begun)               halts for ever
//! ```
//! A CPU that holds a [`Lock`](crate::lock::Lock) takes no interrupt, so a CPU that is parked or stopped holds none. It may
//! be inside a readers' section: while CPUs are parked, the boot CPU does not wait for a grace period, and it parks none
//! while a window is open.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::start::{online, wait_until};
use crate::arch::cpu;
#[cfg(target_os = "none")]
use crate::drivers::gic::own::{self, Taken};
use crate::per_cpu::{CPUS, PerCpu};

/// The SGIs.
const WAKE: u32 = 0;
const PARK: u32 = 1;
const STOP: u32 = 2;

/// While true, CPUs that have taken PARK stay parked.
static HOLD: AtomicBool = AtomicBool::new(false);
static PARKED: PerCpu<AtomicBool> = PerCpu([const { AtomicBool::new(false) }; CPUS]);
/// How many interrupts each CPU has taken.
static INTERRUPTS: PerCpu<AtomicU64> = PerCpu([const { AtomicU64::new(0) }; CPUS]);

/// Where there is one CPU, no signal is sent.
#[cfg(not(target_os = "none"))]
mod own {
    pub(super) const fn send(_signal: u32, _number: usize) {}
}

/// Takes the signals that are pending here. `false` if the interrupt is not a signal.
#[cfg(target_os = "none")]
pub(crate) fn take() -> bool {
    let number = cpu::number();
    if number == 0 {
        return false;
    }
    // The interrupt may have been withdrawn; then there is none to take.
    while let Some(taken) = Taken::next() {
        INTERRUPTS[number].fetch_add(1, Ordering::Relaxed);
        let signal = taken.id();
        taken.end();
        match signal {
            WAKE => {}
            PARK => stay(number),
            STOP => cpu::halt(),
            _ => return false,
        }
    }
    true
}

#[cfg(target_os = "none")]
fn stay(number: usize) {
    PARKED[number].store(true, Ordering::Release);
    while HOLD.load(Ordering::Acquire) {
        cpu::wait_for_event();
    }
    PARKED[number].store(false, Ordering::Release);
}

/// Makes a CPU look at its mailbox.
pub fn wake(number: usize) {
    own::send(WAKE, number);
}

/// How many interrupts a CPU has taken.
pub fn interrupts(number: usize) -> u64 {
    INTERRUPTS[number].load(Ordering::Relaxed)
}

/// Whether a CPU is parked.
pub fn is_parked(number: usize) -> bool {
    PARKED[number].load(Ordering::Acquire)
}

/// All other CPUs are parked. Dropping this releases them.
#[must_use = "dropped at once, it releases them"]
pub struct Parked(());

/// The number of a CPU that did not park in time: its interrupts are masked.
#[derive(Clone, Copy, Debug)]
pub struct NotParked(pub usize);

/// Boot CPU: parks all other CPUs.
///
/// # Errors
/// [`NotParked`]; the CPUs that have parked are released.
pub fn park_others() -> Result<Parked, NotParked> {
    HOLD.store(true, Ordering::Release);
    let parked = Parked(());
    for number in online().skip(1) {
        own::send(PARK, number);
    }
    match online().skip(1).find(|number| !wait_until(|| is_parked(*number))) {
        Some(number) => Err(NotParked(number)),
        None => Ok(parked),
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        HOLD.store(false, Ordering::Release);
        cpu::send_event();
    }
}

/// Stops all other CPUs, for a CPU that reports what ends the run. The boot CPU takes no signals, and continues until the run
/// ends.
#[cfg(target_os = "none")]
pub(crate) fn stop_others() {
    for number in online().skip(1).filter(|number| *number != cpu::number()) {
        own::send(STOP, number);
    }
}
