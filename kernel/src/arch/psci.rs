//! Power: the firmware's PSCI calls (Arm DEN 0022), through the conduit that the device tree names.

use core::sync::atomic::{AtomicU8, Ordering};

pub use smccc::psci::{Version, error::Error};
use smccc::{Hvc, Smc, psci};

/// How PSCI is called: `/psci/method` of the device tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// `hvc #0`: what QEMU offers unless it emulates EL2.
    Hvc,
    /// `smc #0`: with `virtualization=on`.
    Smc,
}

const UNKNOWN: u8 = 0;
const HVC: u8 = 1;
const SMC: u8 = 2;

/// The conduit in use. It has to be reachable from a panic, so it is a static of its own.
static CONDUIT: AtomicU8 = AtomicU8::new(UNKNOWN);

/// Remembers how to call PSCI. Before this, every call here does nothing: the wrong conduit is an undefined instruction.
pub fn set_conduit(conduit: Conduit) {
    let value = match conduit {
        Conduit::Hvc => HVC,
        Conduit::Smc => SMC,
    };
    CONDUIT.store(value, Ordering::Relaxed);
}

/// The conduit, if one was set.
pub fn conduit() -> Option<Conduit> {
    match CONDUIT.load(Ordering::Relaxed) {
        HVC => Some(Conduit::Hvc),
        SMC => Some(Conduit::Smc),
        _ => None,
    }
}

/// Powers the machine off. Returns only where there is no PSCI, or it refused.
pub fn system_off() {
    // A refusal leaves nothing better to do than what the caller does when there is no PSCI.
    let _refused = match conduit() {
        Some(Conduit::Hvc) => psci::system_off::<Hvc>(),
        Some(Conduit::Smc) => psci::system_off::<Smc>(),
        None => Ok(()),
    };
}

/// PSCI_VERSION, or `None` without a conduit.
pub fn version() -> Option<Result<Version, Error>> {
    Some(match conduit()? {
        Conduit::Hvc => psci::version::<Hvc>(),
        Conduit::Smc => psci::version::<Smc>(),
    })
}

/// CPU_ON: starts the CPU with affinity `mpidr` at physical address `entry`, with `context` in its x0. `None` without a
/// conduit. Asynchronous: success means only that the firmware will start it.
pub fn cpu_on(mpidr: u64, entry: u64, context: u64) -> Option<Result<(), Error>> {
    Some(match conduit()? {
        Conduit::Hvc => psci::cpu_on::<Hvc>(mpidr, entry, context),
        Conduit::Smc => psci::cpu_on::<Smc>(mpidr, entry, context),
    })
}
