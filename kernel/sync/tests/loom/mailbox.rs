//! Mailboxes: both sides agree on whether a CPU is there, and a job is whole.

use hotmap_sync::mailbox::{Job, Mailbox, Progress, State};
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

struct Machine {
    mailbox: Mailbox,
    /// What the boot CPU lays out for the secondary, and the secondary's report: memory that is not atomic.
    stack: UnsafeCell<u64>,
}

impl Machine {
    fn new() -> Arc<Self> {
        Arc::new(Self { mailbox: Mailbox::new(), stack: UnsafeCell::new(0) })
    }
}

/// The CPU reports while the boot CPU gives up.
///
/// With a load and a store in place of `compare_exchange`, loom finds "both" (given up, and running).
#[test]
fn a_cpu_is_online_or_given_up_but_never_both() {
    loom::model(|| {
        let machine = Machine::new();
        assert!(machine.mailbox.begin());
        let secondary = thread::spawn({
            let machine = machine.clone();
            move || machine.mailbox.report()
        });
        let given_up = machine.mailbox.give_up(-1);
        let state = machine.mailbox.state();
        let runs = secondary.join().expect("the secondary");
        assert_ne!(runs, given_up, "both");
        assert_eq!(state, if runs { State::Online } else { State::Failed(-1) });
        assert_eq!(machine.mailbox.state(), state, "and it stays so");
    });
}

/// What the CPU wrote before it reported is visible to a CPU that sees it online.
///
/// loom finds a "Causality violation" of `stack` without Release in `leave_starting`, or Acquire in `state`.
#[test]
fn what_was_written_before_the_report_is_seen_after_it() {
    loom::model(|| {
        let machine = Machine::new();
        assert!(machine.mailbox.begin());
        let secondary = thread::spawn({
            let machine = machine.clone();
            move || {
                machine.stack.with_mut(|_| ());
                assert!(machine.mailbox.report());
            }
        });
        if machine.mailbox.state() == State::Online {
            machine.stack.with_mut(|_| ());
        }
        secondary.join().expect("the secondary");
    });
}

/// Two jobs: each is taken whole, once, and its result is its own.
///
/// loom finds "a job's own words" without Release in `post`, or Acquire in `take`; a "Causality violation" of `stack` without
/// Release in `finish`, or Acquire in `poll`.
#[test]
fn a_job_is_taken_whole_and_its_result_is_its_own() {
    loom::model(|| {
        let machine = Machine::new();
        assert!(machine.mailbox.begin() && machine.mailbox.report());
        let secondary = thread::spawn({
            let machine = machine.clone();
            move || {
                for code in [5, 6] {
                    let job = loop {
                        match machine.mailbox.take() {
                            Some(job) => break job,
                            None => thread::yield_now(),
                        }
                    };
                    assert_eq!((job.code, job.argument), (code, code * 10), "a job's own words");
                    machine.stack.with_mut(|_| ());
                    machine.mailbox.finish(code + 100);
                }
            }
        });
        for code in [5, 6] {
            machine.mailbox.post(Job { code, argument: code * 10 }).expect("the one before is done");
            while machine.mailbox.poll() == Progress::Running {
                thread::yield_now();
            }
            machine.stack.with_mut(|_| ());
            assert_eq!(machine.mailbox.poll(), Progress::Done(code + 100), "the job's own result");
        }
        secondary.join().expect("the secondary");
    });
}

/// A stop ends the job that runs, whenever it comes, and not the one after it.
///
/// With a flag in place of the job's number loom finds "the stop was the first job's".
#[test]
fn a_stop_is_for_the_job_that_was_posted_last() {
    loom::model(|| {
        let machine = Machine::new();
        assert!(machine.mailbox.begin() && machine.mailbox.report());
        let secondary = thread::spawn({
            let machine = machine.clone();
            move || {
                for code in [1, 2] {
                    while machine.mailbox.take().is_none() {
                        thread::yield_now();
                    }
                    if code == 2 {
                        assert!(!machine.mailbox.stop_requested(), "the stop was the first job's");
                    }
                    while code == 1 && !machine.mailbox.stop_requested() {
                        thread::yield_now();
                    }
                    machine.mailbox.finish(0);
                }
            }
        });
        machine.mailbox.post(Job { code: 1, argument: 0 }).expect("free");
        machine.mailbox.request_stop();
        while machine.mailbox.poll() == Progress::Running {
            thread::yield_now();
        }
        machine.mailbox.post(Job { code: 2, argument: 0 }).expect("done");
        secondary.join().expect("the secondary");
    });
}
