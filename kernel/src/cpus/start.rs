//! Starts the other CPUs, and lists those that run.

use core::fmt;

use hotmap_sync::mailbox::{Mailbox, State};

use super::plan::{LeftOut, Verdict, plan};
use crate::arch::{counter, cpu, psci};
use crate::boot_info::BootInfo;
use crate::per_cpu::{CPUS, PerCpu};
use crate::{klog, kprintln};

/// After so many seconds without an answer a CPU counts as failed. An answer takes much less, so this finds hangs.
const PATIENCE: u64 = 10;
/// Codes of [`State::Failed`] that are not PSCI's, which are negative.
const SILENT: i32 = 1;
pub(crate) const NO_INTERRUPTS: i32 = 2;

/// One for each CPU; the boot CPU's is not used.
pub(crate) static MAILBOXES: PerCpu<Mailbox> = PerCpu([const { Mailbox::new() }; CPUS]);

/// Where a CPU of the device tree is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whereabouts {
    /// It runs, with this number.
    Online(usize),
    /// It was never started.
    LeftOut(LeftOut),
    /// It was started, with this number, and does not run: the code says why.
    Failed(usize, i32),
}

impl fmt::Display for Whereabouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Online(_) => f.write_str("online"),
            Self::LeftOut(why) => write!(f, "left out: {why}"),
            Self::Failed(_, SILENT) => write!(f, "failed: no answer for {PATIENCE} s"),
            Self::Failed(_, NO_INTERRUPTS) => f.write_str("failed: no part of the GIC is its own"),
            // Arm DEN 0022, "Return error codes".
            Self::Failed(_, code) => write!(f, "failed: PSCI error {code}"),
        }
    }
}

/// Every CPU of the device tree: the affinity that names it, and where it is.
pub fn each(info: &BootInfo) -> impl Iterator<Item = (u64, Whereabouts)> + '_ {
    plan(&info.machine, info.boot_affinity, info.args.max_cpus)
        .map(|(mpidr, verdict)| (mpidr, whereabouts(verdict)))
}

fn whereabouts(verdict: Verdict) -> Whereabouts {
    match verdict {
        Verdict::Boot => Whereabouts::Online(0),
        Verdict::LeftOut(why) => Whereabouts::LeftOut(why),
        Verdict::Start(number) => match MAILBOXES[number].state() {
            State::Online => Whereabouts::Online(number),
            State::Failed(code) => Whereabouts::Failed(number, code),
            State::Absent | State::Starting => Whereabouts::Failed(number, SILENT),
        },
    }
}

/// The numbers of the CPUs that run, the boot CPU's 0 first.
pub fn online() -> impl Iterator<Item = usize> {
    (0..CPUS).filter(|number| *number == 0 || MAILBOXES[*number].state() == State::Online)
}

/// Starts the other CPUs, all at once, and waits for them. A CPU that does not answer is reported and left out.
pub fn start(info: &BootInfo) {
    for (mpidr, verdict) in plan(&info.machine, info.boot_affinity, info.args.max_cpus) {
        if let Verdict::Start(number) = verdict {
            turn_on(mpidr, number, info.secondary_entry.get());
        }
    }
    for mailbox in &MAILBOXES.0[1..] {
        if !wait_until(|| mailbox.state() != State::Starting) {
            // If it reports right now, it is online after all.
            let _ = mailbox.give_up(SILENT);
        }
    }
    for (mpidr, place) in each(info) {
        match place {
            Whereabouts::Online(_) | Whereabouts::LeftOut(LeftOut::Asked) => {}
            _ => kprintln!("warning: CPU {mpidr:#x} {place}"),
        }
    }
    let count = online().count();
    if info.machine.cpu_count > 1 {
        klog!("cpus: {count} of {} run", info.machine.cpu_count);
    }
}

fn turn_on(mpidr: u64, number: usize, entry: u64) {
    let mailbox = &MAILBOXES[number];
    if !mailbox.begin() {
        return;
    }
    if let Err(error) = psci::cpu_on(mpidr, entry) {
        let code = i32::try_from(i64::from(error)).unwrap_or(i32::MIN);
        // It cannot have reported: it was not started.
        let _ = mailbox.give_up(code);
    }
}

/// Waits until `done`, at most [`PATIENCE`] seconds; returns whether it is done.
pub fn wait_until(mut done: impl FnMut() -> bool) -> bool {
    let (start, most) = (counter::ticks(), PATIENCE * counter::ticks_per_second());
    while !done() {
        if counter::ticks().wrapping_sub(start) > most {
            return done();
        }
        cpu::relax();
    }
    true
}
