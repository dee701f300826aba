//! The jobs of the other CPUs, as the boot CPU gives them. [`crate::secondary`] does them.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hotmap_sync::mailbox::{Job, Mailbox, Progress, Refused};

use super::signals;
use super::start::{MAILBOXES, wait_until};
use crate::per_cpu::{CPUS, PerCpu};

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

    /// The task of a job.
    pub(crate) fn of(job: Job) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.job().code == job.code)
    }
}

/// The code of the job that each CPU was given last.
static POSTED: PerCpu<AtomicU64> = PerCpu([const { AtomicU64::new(0) }; CPUS]);
/// The count of each CPU's [`Task::Count`].
static PROGRESS: PerCpu<AtomicU64> = PerCpu([const { AtomicU64::new(0) }; CPUS]);

/// Does [`Task::Count`], on the CPU that counts.
pub(crate) fn count(number: usize, mailbox: &Mailbox) -> u64 {
    while !mailbox.stop_requested() {
        PROGRESS[number].fetch_add(1, Relaxed);
    }
    progress(number)
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
