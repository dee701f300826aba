//! Which CPUs of the device tree are started, with which numbers, and why the others are not. Pure: a list in, a verdict for
//! each out.

use core::fmt;

use hotmap_devicetree::{Cpu, EnableMethod, MachineDescription};

use crate::arch::psci::{AFFINITY, Functions};
use crate::per_cpu::CPUS;

/// Why a CPU is not started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeftOut {
    /// `maxcpus=` is smaller.
    Asked,
    /// It is off, and the device tree has no PSCI to turn it on.
    NoPsci,
    /// Its `enable-method` is not `psci`.
    Method,
    /// Its `reg` has bits that are not affinity fields.
    Reg,
    /// There are as many CPUs as there is room for.
    Room,
    /// An earlier CPU of the device tree has the same `reg`.
    Taken,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "maxcpus= wants fewer",
            Self::NoPsci => "the device tree has no PSCI that can start it",
            Self::Method => "its enable-method is not psci",
            Self::Reg => "its reg is no MPIDR affinity",
            Self::Room => "there is room for 8 CPUs",
            Self::Taken => "another CPU has the same affinity",
        })
    }
}

// What the message says.
const _: () = assert!(CPUS == 8);

/// Whether a CPU runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is the boot CPU, and runs.
    Boot,
    /// It is started, as this number.
    Start(usize),
    /// It is not.
    LeftOut(LeftOut),
}

/// The verdict on each CPU of the tree, in the tree's order. `boot` is the boot CPU's affinity, which may be any; that CPU
/// runs whether or not the tree lists it.
pub fn plan(
    machine: &MachineDescription,
    boot: u64,
    max_cpus: u32,
) -> impl Iterator<Item = (u64, Verdict)> + '_ {
    let psci = Functions::of(&machine.psci).is_some_and(|functions| functions.cpu_on != 0);
    let mut left = max_cpus.saturating_sub(1);
    let mut next = 1;
    machine.cpus.iter().enumerate().map(move |(index, cpu)| {
        let listed = machine.cpus[..index].iter().any(|earlier| earlier.mpidr == cpu.mpidr);
        let verdict = match check(cpu, boot, psci, listed) {
            Err(verdict) => verdict,
            Ok(()) if left == 0 => Verdict::LeftOut(LeftOut::Asked),
            Ok(()) if next == CPUS => Verdict::LeftOut(LeftOut::Room),
            Ok(()) => {
                left -= 1;
                next += 1;
                Verdict::Start(next - 1)
            }
        };
        (cpu.mpidr, verdict)
    })
}

/// Whether a CPU can be started. `listed`: an earlier one has the same affinity.
fn check(cpu: &Cpu, boot: u64, psci: bool, listed: bool) -> Result<(), Verdict> {
    let reason = match cpu.enable_method {
        _ if listed => LeftOut::Taken,
        _ if cpu.mpidr == boot => return Err(Verdict::Boot),
        _ if cpu.mpidr & !AFFINITY != 0 => LeftOut::Reg,
        _ if !psci => LeftOut::NoPsci,
        EnableMethod::Psci => return Ok(()),
        EnableMethod::Absent | EnableMethod::Other => LeftOut::Method,
    };
    Err(Verdict::LeftOut(reason))
}

/// The highest number that is started: for so many CPUs there must be stacks.
pub fn highest(machine: &MachineDescription, boot: u64, max_cpus: u32) -> usize {
    plan(machine, boot, max_cpus)
        .map(|(_, verdict)| if let Verdict::Start(number) = verdict { number } else { 0 })
        .max()
        .unwrap_or(0)
}

/// The affinity of each number; `None` where no CPU has it.
pub fn affinities(machine: &MachineDescription, boot: u64, max_cpus: u32) -> [Option<u64>; CPUS] {
    let mut all = [None; CPUS];
    all[0] = Some(boot);
    for (mpidr, verdict) in plan(machine, boot, max_cpus) {
        if let Verdict::Start(number) = verdict {
            all[number] = Some(mpidr);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use LeftOut::*;
    use Verdict::{Boot, Start};
    use hotmap_devicetree::{PsciConduit, PsciVersion};
    use std::vec::Vec;

    fn machine(mpidrs: &[u64]) -> MachineDescription {
        let mut machine = MachineDescription::new();
        machine.psci.conduit = PsciConduit::Hvc;
        machine.psci.version = PsciVersion::V1_0;
        for &mpidr in mpidrs {
            machine.cpus.push(Cpu { mpidr, enable_method: EnableMethod::Psci }).expect("fits");
        }
        machine
    }
    fn verdicts_with(machine: &MachineDescription, boot: u64, max_cpus: u32) -> Vec<Verdict> {
        plan(machine, boot, max_cpus).map(|(_, verdict)| verdict).collect()
    }
    fn verdicts(machine: &MachineDescription, max_cpus: u32) -> Vec<Verdict> {
        verdicts_with(machine, 0, max_cpus)
    }
    const fn out(why: LeftOut) -> Verdict {
        Verdict::LeftOut(why)
    }

    #[test]
    fn the_first_eight_run_and_the_rest_are_named() {
        let machine = machine(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        let expected = [
            Boot,
            Start(1),
            Start(2),
            Start(3),
            Start(4),
            Start(5),
            Start(6),
            Start(7),
            out(Room),
            out(Room),
        ];
        assert_eq!(verdicts(&machine, u32::MAX), expected);
        assert_eq!(highest(&machine, 0, u32::MAX), 7);
    }

    #[test]
    fn maxcpus_counts_the_boot_cpu() {
        let machine = machine(&[0, 1, 2, 3]);
        assert_eq!(verdicts(&machine, 3), [Boot, Start(1), Start(2), out(Asked)]);
        assert_eq!(verdicts(&machine, 1), [Boot, out(Asked), out(Asked), out(Asked)]);
        assert_eq!((highest(&machine, 0, 3), highest(&machine, 0, 1)), (2, 0));
    }

    /// Threads (MPIDR_EL1.MT: Aff0 is the thread, Aff1 the core) and clusters alike: Aff0 is no number.
    #[test]
    fn numbers_are_the_device_trees_order_whatever_the_affinity() {
        let machine = machine(&[0, 0x100, 0x200, 0x1_0000_0001, 0x8_0f0f]);
        assert_eq!(verdicts(&machine, 8), [Boot, Start(1), Start(2), Start(3), Start(4)]);
        let expected =
            [Some(0), Some(0x100), Some(0x200), Some(0x1_0000_0001), Some(0x8_0f0f), None, None, None];
        assert_eq!(affinities(&machine, 0, 8), expected);
    }

    #[test]
    fn any_cpu_of_the_tree_can_be_the_boot_cpu() {
        let machine = machine(&[0, 1, 0x100, 0x101]);
        assert_eq!(verdicts_with(&machine, 0x100, 8), [Start(1), Start(2), Boot, Start(3)]);
        assert_eq!(verdicts_with(&machine, 0x100, 2), [Start(1), out(Asked), Boot, out(Asked)]);
        assert_eq!(affinities(&machine, 0x100, 2)[..3], [Some(0x100), Some(0), None]);
    }

    #[test]
    fn a_boot_cpu_that_the_tree_does_not_list_is_number_0_all_the_same() {
        let machine = machine(&[1, 2]);
        assert_eq!(verdicts_with(&machine, 0x300, 8), [Start(1), Start(2)]);
        assert_eq!(affinities(&machine, 0x300, 8)[0], Some(0x300));
        assert_eq!(highest(&super::tests::machine(&[]), 0, 8), 0);
    }

    #[test]
    fn a_cpu_that_is_listed_twice_is_started_once() {
        let machine = machine(&[0, 1, 1, 0, 2]);
        assert_eq!(verdicts(&machine, 8), [Boot, Start(1), out(Taken), out(Taken), Start(2)]);
    }

    #[test]
    fn what_cannot_be_turned_on_is_left_out_and_takes_no_number() {
        let mut machine = machine(&[0, 1, 2, 3, 0x8000_0001, 1 << 40 | 4]);
        machine.cpus[1].enable_method = EnableMethod::Absent;
        machine.cpus[2].enable_method = EnableMethod::Other;
        assert_eq!(verdicts(&machine, 8), [Boot, out(Method), out(Method), Start(1), out(Reg), out(Reg)]);
        machine.psci.conduit = PsciConduit::Absent;
        assert_eq!(verdicts(&machine, 8)[3], out(NoPsci));
        assert_eq!(highest(&machine, 0, 8), 0);
    }

    #[test]
    fn psci_0_1_starts_cpus_only_by_the_nodes_number() {
        let mut machine = machine(&[0, 1]);
        machine.psci.version = PsciVersion::V0_1;
        assert_eq!(verdicts(&machine, 8), [Boot, out(NoPsci)]);
        machine.psci.cpu_on = Some(0x95c1_ba60);
        assert_eq!(verdicts(&machine, 8), [Boot, Start(1)]);
    }
}
