//! Signals: interrupts that the boot CPU sends to the others.
//!
//! ```text
//!  boot CPU                                     another CPU, idle or in a job
//!  send WAKE                                    leaves WFI, looks at its mailbox
//!  HOLD = true, send PARK                       PARKED = true, stays in the handler
//!  waits until it sees all PARKED               while HOLD
//!  HOLD = false, SEV                            PARKED = false, goes on where it was
//!  send STOP (a report has begun)               nothing more, for good
//! ```
//! Who holds a [`Lock`](crate::lock::Lock) takes no interrupt, so a CPU that is parked or stopped holds none. It may be
//! inside a readers' section: nobody may wait for the end of one while CPUs are parked, nor park them in an open window.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::PerCpu;
use super::plan::ROOM;
use super::start::{online, wait_until};
use crate::arch::{cpu, semihosting};
use crate::drivers::gic::own::{self, Taken};

/// The SGIs.
const WAKE: u32 = 0;
const PARK: u32 = 1;
const STOP: u32 = 2;

/// Whether CPUs that were told to park stay parked.
static HOLD: AtomicBool = AtomicBool::new(false);
static PARKED: PerCpu<AtomicBool> = PerCpu([const { AtomicBool::new(false) }; ROOM]);
/// How many interrupts each CPU has taken.
static INTERRUPTS: PerCpu<AtomicU64> = PerCpu([const { AtomicU64::new(0) }; ROOM]);

/// Takes the signals that are pending here. `false` if the interrupt is no signal: nothing expects it.
pub(crate) fn take() -> bool {
    let number = cpu::number();
    if number == 0 {
        return false;
    }
    // It may have gone since it interrupted: then there is none, and nothing to do.
    while let Some(taken) = Taken::next() {
        INTERRUPTS[number].fetch_add(1, Ordering::Relaxed);
        let signal = taken.id();
        taken.end();
        match signal {
            WAKE => {}
            PARK => stay(number),
            STOP => semihosting::halt(),
            _ => return false,
        }
    }
    true
}

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

/// All other CPUs are parked: nothing runs but this. Dropping it lets them go on.
#[must_use = "dropped at once, it lets them go on"]
pub struct Parked(());

/// The number of a CPU that did not park in time: it hangs with its interrupts off.
#[derive(Clone, Copy, Debug)]
pub struct Deaf(pub usize);

/// Park all other CPUs, for the boot CPU.
///
/// # Errors
/// `Deaf`, and all go on.
pub fn park_others() -> Result<Parked, Deaf> {
    HOLD.store(true, Ordering::Release);
    let parked = Parked(());
    for number in online().skip(1) {
        own::send(PARK, number);
    }
    match online().skip(1).find(|number| !wait_until(|| is_parked(*number))) {
        Some(number) => Err(Deaf(number)),
        None => Ok(parked),
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        HOLD.store(false, Ordering::Release);
        cpu::send_event();
    }
}

/// Tells all other CPUs to stop for good, for whichever CPU has to report what ends the run. The boot CPU takes no signals:
/// what it does meanwhile ends with the run.
pub(crate) fn stop_others() {
    for number in online().skip(1).filter(|number| *number != cpu::number()) {
        own::send(STOP, number);
    }
}
