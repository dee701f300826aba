//! The jobs of the other CPUs: a CPU sleeps until it gets a job, and does it, both with IRQs unmasked.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hotmap_sync::mailbox::{Job, Mailbox, Progress, Refused};

use super::plan::ROOM;
use super::start::{MAILBOXES, NO_INTERRUPTS, wait_until};
use super::{PerCpu, signals};
use crate::arch::{cpu, interrupts, semihosting};
use crate::drivers::gic::own;
use crate::readers;

/// A job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Task {
    /// Return the CPU's affinity.
    Answer,
    /// Count until asked to stop, and return the count; [`progress`] shows it meanwhile.
    Count,
    /// Check the compound pages of the board until asked to stop.
    Read,
    /// Read a struct page that is not mapped, which ends the run with a report.
    Crash,
}

impl Task {
    const ALL: [Self; 4] = [Self::Answer, Self::Count, Self::Read, Self::Crash];

    /// The word of `cpus`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Count => "count",
            Self::Read => "reader",
            Self::Crash => "crash",
        }
    }

    const fn job(self) -> Job {
        Job { code: self as u64, argument: 0 }
    }

    fn of(job: Job) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.job().code == job.code)
    }

    fn run(self, number: usize, mailbox: &Mailbox) -> u64 {
        match self {
            Self::Answer => cpu::affinity(),
            Self::Count => count(number, mailbox),
            Self::Read => {
                readers::read(number, || mailbox.stop_requested());
                0
            }
            Self::Crash => readers::crash(number),
        }
    }
}

/// The code of the job that each CPU was given last.
static POSTED: PerCpu<AtomicU64> = PerCpu([const { AtomicU64::new(0) }; ROOM]);
/// The count of each CPU's [`Task::Count`].
static PROGRESS: PerCpu<AtomicU64> = PerCpu([const { AtomicU64::new(0) }; ROOM]);

fn count(number: usize, mailbox: &Mailbox) -> u64 {
    while !mailbox.stop_requested() {
        PROGRESS[number].fetch_add(1, Relaxed);
    }
    progress(number)
}

/// The loop of a secondary CPU, which enters with everything masked.
pub(crate) fn serve(number: usize) -> ! {
    let mailbox = &MAILBOXES[number];
    if !own::set_up_here() {
        mailbox.report_failure(NO_INTERRUPTS);
        semihosting::halt();
    }
    // The boot CPU has given up: it does not wait for this one.
    if !mailbox.report() {
        semihosting::halt();
    }
    loop {
        match mailbox.take() {
            Some(job) => {
                let result =
                    interrupts::unmasked(|| Task::of(job).map_or(0, |task| task.run(number, mailbox)));
                mailbox.finish(result);
            }
            // A signal that comes between the look and the WFI ends the WFI: it is pending, though masked.
            None => {
                cpu::wait_for_interrupt();
                interrupts::unmasked(|| ());
            }
        }
    }
}

/// Gives a CPU a job.
///
/// # Errors
/// It is not online, or busy.
pub fn post(number: usize, task: Task) -> Result<(), Refused> {
    MAILBOXES[number].post(task.job())?;
    POSTED[number].store(task.job().code, Relaxed);
    signals::wake(number);
    Ok(())
}

/// Asks a CPU's job to end.
pub fn request_stop(number: usize) {
    MAILBOXES[number].request_stop();
}

/// Waits for a CPU's job to end; returns its result, or `None` if it does not end or there is no job.
pub fn result(number: usize) -> Option<u64> {
    wait_until(|| MAILBOXES[number].poll() != Progress::Running);
    match MAILBOXES[number].poll() {
        Progress::Done(result) => Some(result),
        Progress::Idle | Progress::Running => None,
    }
}

/// The job that a CPU has, if it has one.
pub fn task(number: usize) -> Option<Task> {
    let code = POSTED[number].load(Relaxed);
    let busy = MAILBOXES[number].poll() == Progress::Running;
    Task::of(Job { code, argument: 0 }).filter(|_| busy)
}

/// How many jobs a CPU has done.
pub fn jobs_done(number: usize) -> u64 {
    MAILBOXES[number].jobs_done()
}

/// The count of a CPU's [`Task::Count`].
pub fn progress(number: usize) -> u64 {
    PROGRESS[number].load(Relaxed)
}
