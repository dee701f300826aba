//! Power: the firmware's PSCI calls (Arm DEN 0022), through the conduit that the device tree names.

use hotmap_devicetree::{Psci, PsciConduit, PsciVersion};

/// The affinity fields of MPIDR_EL1, by which PSCI names a CPU: Aff3 in bits 39:32, Aff2 to Aff0 in 23:0. The bits between
/// them (MT, U) say how they are to be read, and do not name a CPU.
pub const AFFINITY: u64 = 0xff_00ff_ffff;

/// How PSCI is called: `method` of the device tree's node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conduit {
    /// `hvc #0`: what QEMU offers unless it emulates EL2.
    Hvc,
    /// `smc #0`: with `virtualization=on`.
    Smc,
}

/// What can be called, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Functions {
    /// How.
    pub conduit: Conduit,
    /// CPU_ON. PSCI 0.1 has no number of its own for it, so it is the node's property `cpu_on`; 0 where that is missing.
    pub cpu_on: u32,
    /// SYSTEM_OFF, which came with PSCI 0.2; 0 before that.
    pub system_off: u32,
}

/// CPU_ON with 64-bit arguments (DEN 0022, 5.1.4).
const CPU_ON_64: u32 = 0xc400_0003;
/// SYSTEM_OFF (DEN 0022, 5.1.9).
const SYSTEM_OFF: u32 = 0x8400_0008;

impl Functions {
    /// What the device tree's node promises; `None` if there is no node.
    pub fn of(psci: &Psci) -> Option<Self> {
        let conduit = match psci.conduit {
            PsciConduit::Absent => return None,
            PsciConduit::Hvc => Conduit::Hvc,
            PsciConduit::Smc => Conduit::Smc,
        };
        let by_the_node = psci.version <= PsciVersion::V0_1;
        Some(if by_the_node {
            Self { conduit, cpu_on: psci.cpu_on.unwrap_or(0), system_off: 0 }
        } else {
            Self { conduit, cpu_on: CPU_ON_64, system_off: SYSTEM_OFF }
        })
    }
}

#[cfg(target_os = "none")]
pub use calls::{cpu_on, init, system_off};

/// Where there is no firmware, no other CPU is started.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "none"))]
pub const fn cpu_on(_affinity: u64, _entry: u64) -> Result<(), smccc::psci::error::Error> {
    Err(smccc::psci::error::Error::NotSupported)
}

#[cfg(target_os = "none")]
mod calls {
    use core::sync::atomic::{AtomicU8, AtomicU32, Ordering::Relaxed};

    use smccc::error::success_or_error_32;
    use smccc::psci::error::Error;
    use smccc::{Call, Hvc, Smc};

    use super::{Conduit, Functions};

    const UNKNOWN: u8 = 0;
    const HVC: u8 = 1;
    const SMC: u8 = 2;

    /// What [`Functions`] says, where a panic can reach it.
    static CONDUIT: AtomicU8 = AtomicU8::new(UNKNOWN);
    static CPU_ON: AtomicU32 = AtomicU32::new(0);
    static OFF: AtomicU32 = AtomicU32::new(0);

    /// Remembers how to call PSCI, as soon as the device tree was read. Without it every call here does nothing: the wrong
    /// conduit is an undefined instruction.
    pub fn init(functions: &Functions) {
        CPU_ON.store(functions.cpu_on, Relaxed);
        OFF.store(functions.system_off, Relaxed);
        let conduit = match functions.conduit {
            Conduit::Hvc => HVC,
            Conduit::Smc => SMC,
        };
        CONDUIT.store(conduit, Relaxed);
    }

    /// Calls `function`, if it is one and there is a conduit: the 32-bit status.
    fn call(function: u32, arguments: [u64; 3]) -> Option<u32> {
        if function == 0 {
            return None;
        }
        let mut all = [0; 17];
        all[..3].copy_from_slice(&arguments);
        let [status, ..] = match CONDUIT.load(Relaxed) {
            HVC => Hvc::call64(function, all),
            SMC => Smc::call64(function, all),
            _ => return None,
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "a status has 32 bits, whatever the arguments have"
        )]
        Some(status as u32)
    }

    /// Powers the machine off. Returns only where there is no SYSTEM_OFF, or it was refused.
    pub fn system_off() {
        // A refusal leaves nothing to do but what the caller does without PSCI.
        let _refused = call(OFF.load(Relaxed), [0; 3]);
    }

    /// CPU_ON: starts the CPU with affinity `mpidr` at physical address `entry`. Asynchronous: success means only that the
    /// firmware will start it. What the CPU has in x0 then is not specified: PSCI 0.1 knows no context.
    ///
    /// # Errors
    /// What the firmware says; NOT_SUPPORTED where there is no CPU_ON.
    pub fn cpu_on(mpidr: u64, entry: u64) -> Result<(), Error> {
        match call(CPU_ON.load(Relaxed), [mpidr, entry, 0]) {
            Some(status) => success_or_error_32(status),
            None => Err(Error::NotSupported),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(conduit: PsciConduit, version: PsciVersion, cpu_on: Option<u32>) -> Option<Functions> {
        Functions::of(&Psci { conduit, version, cpu_on })
    }

    #[test]
    fn from_0_2_on_the_numbers_are_the_standards() {
        for version in [PsciVersion::V0_2, PsciVersion::V1_0] {
            for by_the_node in [None, Some(7)] {
                let functions = node(PsciConduit::Smc, version, by_the_node).expect("there is one");
                let Functions { conduit, cpu_on, system_off } = functions;
                assert_eq!((conduit, cpu_on, system_off), (Conduit::Smc, 0xc400_0003, 0x8400_0008));
            }
        }
    }

    #[test]
    fn psci_0_1_has_the_nodes_cpu_on_and_no_system_off() {
        let functions = node(PsciConduit::Hvc, PsciVersion::V0_1, Some(0x95c1_ba60)).expect("there is one");
        assert_eq!((functions.cpu_on, functions.system_off), (0x95c1_ba60, 0));
        let without = node(PsciConduit::Hvc, PsciVersion::V0_1, None).expect("there is one");
        assert_eq!((without.cpu_on, without.system_off), (0, 0));
    }

    #[test]
    fn without_a_node_nothing_can_be_called() {
        assert_eq!(node(PsciConduit::Absent, PsciVersion::Absent, None), None);
    }
}
