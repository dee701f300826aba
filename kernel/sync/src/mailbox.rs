//! A secondary CPU's mailbox: it reports in, and it gets work.
//!
//! ```text
//!  boot CPU                                    secondary
//!  begin        absent -> starting
//!  (PSCI CPU_ON, asynchronous)                 report       starting -> online
//!  give_up      starting -> failed             (too late to report: park)
//!  post(job)    posted = n                     take         a job that was not taken yet
//!  request_stop                                stop_requested, now and then
//!  poll         the result, when done = n      finish       done = n
//! ```
//! One of `report` and `give_up` succeeds and the other fails (compare-exchange), so both sides agree on whether the CPU
//! is online. `post` refuses a job until the one before is done, so its words are not written while they are read.

use crate::atomic::{AcqRel, Acquire, AtomicU64, Relaxed, Release, constructor};

/// The state of a CPU.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum State {
    /// Never started.
    Absent,
    /// CPU_ON was called, and the CPU has not reported yet.
    Starting,
    /// Has reported, takes jobs.
    Online,
    /// Could not be started, with PSCI's or the CPU's own error code; may be started again unless it runs.
    Failed(i32),
}

impl State {
    fn to_word(self) -> u64 {
        match self {
            Self::Absent => 0,
            Self::Starting => 1,
            Self::Online => 2,
            Self::Failed(code) => 3 | u64::from(code.cast_unsigned()) << 32,
        }
    }

    fn from_word(word: u64) -> Self {
        let [_, _, _, _, code @ ..] = word.to_le_bytes();
        match word & 0xff {
            0 => Self::Absent,
            1 => Self::Starting,
            2 => Self::Online,
            _ => Self::Failed(i32::from_le_bytes(code)),
        }
    }
}

/// A job for a CPU, which the kernel interprets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Job {
    /// The operation.
    pub code: u64,
    /// Its argument.
    pub argument: u64,
}

/// Why a job cannot be posted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// The CPU is not online.
    NotOnline(State),
    /// The job before is not done.
    Busy,
}

/// The state of the last job.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// There is none yet.
    Idle,
    /// Posted, not done.
    Running,
    /// Done, with its result.
    Done(u64),
}

/// A mailbox; each CPU has one.
#[derive(Debug)]
pub struct Mailbox {
    state: AtomicU64,
    code: AtomicU64,
    argument: AtomicU64,
    result: AtomicU64,
    // Counts of jobs: posted and stopped are written by the boot CPU, taken and done by the secondary.
    posted: AtomicU64,
    stopped: AtomicU64,
    taken: AtomicU64,
    done: AtomicU64,
}

impl Mailbox {
    constructor! {
        /// The mailbox of a CPU that was not started.
        pub fn new() -> Self {
            Self {
                state: AtomicU64::new(0),
                code: AtomicU64::new(0),
                argument: AtomicU64::new(0),
                result: AtomicU64::new(0),
                posted: AtomicU64::new(0),
                stopped: AtomicU64::new(0),
                taken: AtomicU64::new(0),
                done: AtomicU64::new(0),
            }
        }
    }

    /// The CPU's state. Acquire: if it is online, what it wrote before is visible.
    pub fn state(&self) -> State {
        State::from_word(self.state.load(Acquire))
    }

    /// Boot CPU: begins to start the CPU. `false` if it is starting or online already.
    pub fn begin(&self) -> bool {
        match self.state() {
            State::Absent | State::Failed(_) => {
                // Release: what is laid out for the CPU (its stack) is visible before it may report.
                self.state.store(State::Starting.to_word(), Release);
                true
            }
            State::Starting | State::Online => false,
        }
    }

    /// Boot CPU: gives up, because PSCI refused or a time-out has passed. `false` if the CPU has reported and is online.
    pub fn give_up(&self, code: i32) -> bool {
        self.leave_starting(State::Failed(code))
    }

    /// The CPU itself: reports that it runs and takes jobs. `false` if the boot CPU has given up: it must park.
    #[must_use = "a CPU that was given up must park"]
    pub fn report(&self) -> bool {
        self.leave_starting(State::Online)
    }

    /// The CPU itself: reports that it runs, cannot take part (it lacks the granule), and parks.
    pub fn report_failure(&self, code: i32) -> bool {
        self.leave_starting(State::Failed(code))
    }

    fn leave_starting(&self, to: State) -> bool {
        self.state.compare_exchange(State::Starting.to_word(), to.to_word(), AcqRel, Acquire).is_ok()
    }

    /// Boot CPU: posts `job`. The caller then wakes the CPU (SEV or an SGI).
    ///
    /// # Errors
    /// `NotOnline`, `Busy`; nothing has changed.
    pub fn post(&self, job: Job) -> Result<(), Refused> {
        let state = self.state();
        if state != State::Online {
            return Err(Refused::NotOnline(state));
        }
        if self.poll() == Progress::Running {
            return Err(Refused::Busy);
        }
        self.code.store(job.code, Relaxed);
        self.argument.store(job.argument, Relaxed);
        // Release: a CPU that sees the job posted sees its words.
        self.posted.store(self.posted.load(Relaxed) + 1, Release);
        Ok(())
    }

    /// Boot CPU: the state of the last job. Acquire: if it is done, all that it did is visible.
    pub fn poll(&self) -> Progress {
        let posted = self.posted.load(Relaxed);
        if posted == 0 {
            Progress::Idle
        } else if self.done.load(Acquire) == posted {
            Progress::Done(self.result.load(Relaxed))
        } else {
            Progress::Running
        }
    }

    /// Boot CPU: asks the job that was posted last to end. A later job does not see this request.
    pub fn request_stop(&self) {
        self.stopped.store(self.posted.load(Relaxed), Release);
    }

    /// The CPU itself: takes a job that it has not taken yet.
    pub fn take(&self) -> Option<Job> {
        let posted = self.posted.load(Acquire);
        if posted == self.taken.load(Relaxed) {
            return None;
        }
        self.taken.store(posted, Relaxed);
        Some(Job { code: self.code.load(Relaxed), argument: self.argument.load(Relaxed) })
    }

    /// The CPU itself: whether the job that it has taken is asked to end.
    pub fn stop_requested(&self) -> bool {
        self.stopped.load(Acquire) >= self.taken.load(Relaxed)
    }

    /// The CPU itself: reports that the job that it has taken is done.
    pub fn finish(&self, result: u64) {
        self.result.store(result, Relaxed);
        // Release: a CPU that sees the job done sees its result and all that it did.
        self.done.store(self.taken.load(Relaxed), Release);
    }

    /// How many jobs the CPU has done.
    pub fn jobs_done(&self) -> u64 {
        self.done.load(Relaxed)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::thread;

    const fn job(code: u64) -> Job {
        Job { code, argument: code * 1000 }
    }
    fn online() -> Mailbox {
        let mailbox = Mailbox::new();
        assert!(mailbox.begin() && mailbox.report());
        mailbox
    }

    #[test]
    fn the_way_to_online_and_to_failed() {
        let mailbox = Mailbox::new();
        assert_eq!(mailbox.state(), State::Absent);
        assert!(!mailbox.report(), "the boot CPU did not begin to start it");
        assert!(mailbox.begin() && !mailbox.begin(), "once");
        assert_eq!(mailbox.state(), State::Starting);
        assert!(mailbox.give_up(-9) && !mailbox.report(), "too late");
        assert_eq!(mailbox.state(), State::Failed(-9));
        assert!(mailbox.begin() && mailbox.report() && !mailbox.give_up(-9) && !mailbox.begin());
        assert_eq!(mailbox.state(), State::Online);
    }

    #[test]
    fn the_cpu_itself_may_say_why_not() {
        let mailbox = Mailbox::new();
        assert!(mailbox.begin() && mailbox.report_failure(i32::MIN));
        assert_eq!(mailbox.state(), State::Failed(i32::MIN));
    }

    #[test]
    fn a_job_is_posted_to_an_online_cpu_that_is_free() {
        let mailbox = Mailbox::new();
        assert_eq!(mailbox.post(job(1)), Err(Refused::NotOnline(State::Absent)));
        let mailbox = online();
        assert_eq!((mailbox.poll(), mailbox.take()), (Progress::Idle, None));
        assert_eq!(mailbox.post(job(7)), Ok(()));
        assert_eq!(mailbox.post(job(8)), Err(Refused::Busy), "posted");
        assert_eq!((mailbox.take(), mailbox.take()), (Some(job(7)), None));
        assert_eq!(mailbox.post(job(8)), Err(Refused::Busy), "taken");
        mailbox.finish(42);
        assert_eq!((mailbox.poll(), mailbox.jobs_done()), (Progress::Done(42), 1));
        assert_eq!(mailbox.post(job(8)), Ok(()));
        assert_eq!(mailbox.poll(), Progress::Running);
    }

    #[test]
    fn a_stop_is_for_one_job_only() {
        let mailbox = online();
        mailbox.post(job(1)).expect("free");
        assert_eq!(mailbox.take(), Some(job(1)));
        assert!(!mailbox.stop_requested());
        mailbox.request_stop();
        assert!(mailbox.stop_requested());
        mailbox.finish(0);
        mailbox.post(job(2)).expect("free");
        assert_eq!(mailbox.take(), Some(job(2)));
        assert!(!mailbox.stop_requested(), "that stop was the other's");
    }

    #[test]
    fn a_thousand_jobs_are_done_once_each() {
        let mailbox = online();
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..1000 {
                    let job = loop {
                        match mailbox.take() {
                            Some(job) => break job,
                            None => thread::yield_now(),
                        }
                    };
                    assert_eq!(job.argument, job.code * 1000);
                    mailbox.finish(job.code + 1);
                }
            });
            for code in 1..=1000 {
                mailbox.post(job(code)).expect("the one before is done");
                while mailbox.poll() == Progress::Running {
                    thread::yield_now();
                }
                assert_eq!(mailbox.poll(), Progress::Done(code + 1));
            }
        });
        assert_eq!(mailbox.jobs_done(), 1000);
    }
}
