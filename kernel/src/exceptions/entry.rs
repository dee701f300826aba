//! What the vectors call: an expected exception is handled, any other ends the run.

use super::frame::Frame;
use super::report;
use crate::arch::costs::{self, Cost};
use crate::arch::esr::{EC_DATA_ABORT_SAME, EC_UNKNOWN, Syndrome};
use crate::arch::{fault, probe, semihosting};
use crate::cpus::signals;

/// The vector of a synchronous exception from this EL on its own stack: the one that expected exceptions take.
const SYNC_SAME_SPX: u64 = 4;
/// The vector of an IRQ likewise.
const IRQ_SAME_SPX: u64 = 5;

/// The address at which execution continues after an expected exception.
fn fixup(frame: &Frame) -> Option<u64> {
    if frame.vector != SYNC_SAME_SPX {
        return None;
    }
    match Syndrome(frame.esr).class() {
        EC_DATA_ABORT_SAME => {
            let retry = || fault::retry(Syndrome(frame.esr), frame.far).then_some(frame.elr);
            probe::fixup(frame.elr).or_else(retry)
        }
        EC_UNKNOWN => semihosting::fixup(frame.elr),
        _ => None,
    }
}

/// Called by the vectors on an emergency stack, with everything masked.
pub(super) extern "C" fn exception_entry(frame: &mut Frame) {
    costs::add(Cost::Exception, 1);
    if frame.vector == IRQ_SAME_SPX && signals::take() {
        return;
    }
    match fixup(frame) {
        Some(address) => frame.elr = address,
        None => report::fail(frame),
    }
}
