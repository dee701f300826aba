//! Which CPUs of the device tree are started, and why the others are not. Pure: a list in, a verdict for each out.

use core::fmt;

use hotmap_devicetree::{Cpu, EnableMethod, MachineDescription, PsciConduit};

/// How many CPUs there is room for (stacks, mailboxes, emergency stacks).
pub const ROOM: usize = 8;
/// The affinity fields of MPIDR_EL1: Aff3 in bits 39:32, Aff2 to Aff0 in 23:0.
const AFFINITY: u64 = 0xff_00ff_ffff;

/// Why a CPU is not started.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LeftOut {
    /// `maxcpus=` says so.
    Asked,
    /// It is off, and the device tree has no PSCI to turn it on.
    NoPsci,
    /// Its `enable-method` is not `psci`.
    Method,
    /// Its `reg` has bits that are not affinity fields.
    Reg,
    /// Its Aff0, which is its number here, is beyond the room.
    Room,
    /// Its Aff0 is another CPU's.
    Taken,
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "maxcpus= wants fewer",
            Self::NoPsci => "the device tree has no PSCI",
            Self::Method => "its enable-method is not psci",
            Self::Reg => "its reg is no MPIDR affinity",
            Self::Room => "there is room for CPUs with Aff0 0 to 7",
            Self::Taken => "another CPU has the same Aff0",
        })
    }
}

/// What becomes of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is the boot CPU, and runs.
    Boot,
    /// It is started, as this number.
    Start(usize),
    /// It is not.
    LeftOut(LeftOut),
}

/// What becomes of each CPU of the tree, in the tree's order. The boot CPU is the one with affinity 0.
pub fn plan(machine: &MachineDescription, max_cpus: u32) -> impl Iterator<Item = (u64, Verdict)> + '_ {
    let psci = machine.psci.conduit != PsciConduit::Absent;
    // The boot CPU is there, whether or not the tree lists it.
    let mut taken = [false; ROOM];
    taken[0] = true;
    let mut left = max_cpus.saturating_sub(1);
    machine.cpus.iter().map(move |cpu| {
        let verdict = match check(cpu, psci, &taken) {
            Ok(number) if left > 0 => {
                left -= 1;
                taken[number] = true;
                Verdict::Start(number)
            }
            Ok(_) => Verdict::LeftOut(LeftOut::Asked),
            Err(verdict) => verdict,
        };
        (cpu.mpidr, verdict)
    })
}

fn check(cpu: &Cpu, psci: bool, taken: &[bool; ROOM]) -> Result<usize, Verdict> {
    if cpu.mpidr == 0 {
        return Err(Verdict::Boot);
    }
    let number = usize::from(cpu.mpidr.to_le_bytes()[0]);
    let reason = match taken.get(number) {
        _ if cpu.mpidr & !AFFINITY != 0 => LeftOut::Reg,
        None => LeftOut::Room,
        Some(true) => LeftOut::Taken,
        Some(false) if !psci => LeftOut::NoPsci,
        Some(false) if cpu.enable_method != EnableMethod::Psci => LeftOut::Method,
        Some(false) => return Ok(number),
    };
    Err(Verdict::LeftOut(reason))
}

/// The highest number that is started: for so many CPUs there must be stacks.
pub fn highest(machine: &MachineDescription, max_cpus: u32) -> usize {
    plan(machine, max_cpus)
        .map(|(_, verdict)| if let Verdict::Start(number) = verdict { number } else { 0 })
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use LeftOut::*;
    use Verdict::{Boot, Start};
    use std::vec::Vec;

    fn machine(mpidrs: &[u64]) -> MachineDescription {
        let mut machine = MachineDescription::new();
        machine.psci.conduit = PsciConduit::Hvc;
        for &mpidr in mpidrs {
            machine.cpus.push(Cpu { mpidr, enable_method: EnableMethod::Psci }).expect("fits");
        }
        machine
    }
    fn verdicts(machine: &MachineDescription, max_cpus: u32) -> Vec<Verdict> {
        plan(machine, max_cpus).map(|(_, verdict)| verdict).collect()
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
        assert_eq!(highest(&machine, u32::MAX), 7);
    }

    #[test]
    fn maxcpus_counts_the_boot_cpu() {
        let machine = machine(&[0, 1, 2, 3]);
        assert_eq!(verdicts(&machine, 3), [Boot, Start(1), Start(2), out(Asked)]);
        assert_eq!(verdicts(&machine, 1), [Boot, out(Asked), out(Asked), out(Asked)]);
        assert_eq!((highest(&machine, 3), highest(&machine, 1)), (2, 0));
    }

    #[test]
    fn a_cluster_whose_aff0_are_taken_is_left_out() {
        let machine = machine(&[0, 1, 0x100, 0x101, 0x1_0000_0002]);
        assert_eq!(verdicts(&machine, 8), [Boot, Start(1), out(Taken), out(Taken), Start(2)]);
    }

    #[test]
    fn what_cannot_be_turned_on_is_left_out() {
        let mut machine = machine(&[0, 1, 2, 3, 0x8000_0001, 1 << 40 | 4]);
        machine.cpus[1].enable_method = EnableMethod::Absent;
        machine.cpus[2].enable_method = EnableMethod::Other;
        assert_eq!(verdicts(&machine, 8), [Boot, out(Method), out(Method), Start(3), out(Reg), out(Reg)]);
        machine.psci.conduit = PsciConduit::Absent;
        assert_eq!(verdicts(&machine, 8)[3], out(NoPsci));
        assert_eq!(highest(&machine, 8), 0);
    }

    #[test]
    fn a_tree_without_cpus_has_the_boot_cpu_alone() {
        assert_eq!(highest(&machine(&[]), 8), 0);
    }
}
