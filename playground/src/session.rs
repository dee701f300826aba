//! One machine, and what is asked of it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hotmap_emulator::machine::record;
use hotmap_kernel::drivers::uart::hosted::take_printed_apart;
use hotmap_kernel::line;
use hotmap_mm::hotplug::step::Step;
use serde_json::value::RawValue;

use crate::boot::{self, Machine};
use crate::monitor;
use crate::request::{Answer, Boot, Request};
use crate::{trace, view};

/// What a request without a machine is answered.
const NO_MACHINE: &str = "there is no machine: boot first";

/// The most violations that an answer tells.
const MOST_VIOLATIONS: usize = 64;

/// One machine at a time, and the requests to it. A machine that panics is gone: boot again.
#[derive(Default)]
pub struct Session {
    machine: Option<Machine>,
}

impl Session {
    /// Without a machine.
    pub const fn new() -> Self {
        Self { machine: None }
    }

    /// Answers a request: JSON both ways.
    pub fn call(&mut self, request: &str) -> String {
        let answer = match serde_json::from_str(request) {
            Err(error) => Answer::error(format!("request: {error}")),
            Ok(request) => self.answer_or_panic(&request),
        };
        serde_json::to_string(&answer)
            .unwrap_or_else(|error| format!("{{\"ok\":false,\"error\":\"{error}\"}}"))
    }

    /// Where a panic unwinds, it is an answer; in WebAssembly it ends the instance, and the host asks for its message.
    fn answer_or_panic(&mut self, request: &Request) -> Answer {
        match catch_unwind(AssertUnwindSafe(|| self.answer(request))) {
            Ok(answer) => answer,
            Err(payload) => {
                // What it holds may be in the middle of a change.
                std::mem::forget(self.machine.take());
                let text = payload.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic");
                let (_, log) = take_printed_apart();
                Answer { log: Some(log), ..Answer::error(format!("{text}; boot again")) }
            }
        }
    }

    fn answer(&mut self, request: &Request) -> Answer {
        match request {
            Request::Boot(request) => self.boot(request),
            Request::Line { text } => self.with(|machine| run_line(machine, text)),
            Request::Monitor { text } => self.with(|machine| run_monitor(machine, text)),
            Request::State => self.with(state),
            Request::Complete { text } => self.with(|machine| complete(machine, text)),
            Request::View { name, of, at } => self.with(|machine| view(machine, name, of.as_deref(), *at)),
            Request::Trace => self.with(trace),
        }
    }

    fn with(&mut self, act: impl FnOnce(&mut Machine) -> Answer) -> Answer {
        self.machine.as_mut().map_or_else(|| Answer::error(NO_MACHINE), act)
    }

    fn boot(&mut self, request: &Boot) -> Answer {
        self.machine = None;
        take_printed_apart();
        match boot::boot(request) {
            Ok(machine) => {
                self.machine = Some(machine);
                let (text, log) = take_printed_apart();
                Answer { ok: true, text: Some(text), log: Some(log), ..Answer::default() }
            }
            Err(error) => Answer::error(error),
        }
    }
}

/// The shell's commands of a line, as at the prompt: each runs, whether the one before succeeded or not.
fn run_line(machine: &mut Machine, text: &str) -> Answer {
    let mut failed = false;
    view::begin(machine);
    machine.machine.record();
    for command in line::commands(text) {
        failed |= !(hotmap_shell::SHELL.run)(&mut machine.kernel, command);
        machine.kernel.service();
    }
    machine.machine.finish_record(text.trim());
    done(machine, failed)
}

fn run_monitor(machine: &mut Machine, text: &str) -> Answer {
    view::begin(machine);
    machine.machine.record();
    let outcome = monitor::run(machine, text);
    machine.machine.finish_record(text.trim());
    let (text, failed) = match outcome {
        Ok(text) => (text, false),
        Err(text) => (text, true),
    };
    let mut answer = done(machine, failed);
    // What the kernel prints about an event is its log.
    let log = [answer.text.take(), answer.log.take()].into_iter().flatten().collect();
    (answer.text, answer.log) = (Some(text), Some(log));
    answer
}

/// What was printed, and what the emulated machine found wrong.
fn done(machine: &mut Machine, failed: bool) -> Answer {
    machine.failed = failed;
    let (text, log) = take_printed_apart();
    let mut violations: Vec<String> = Vec::new();
    for found in machine.machine.take_violations() {
        let text = found.to_string();
        if violations.len() < MOST_VIOLATIONS && !violations.contains(&text) {
            violations.push(text);
        }
    }
    let status = Some(u32::from(failed));
    Answer { ok: true, text: Some(text), status, log: Some(log), violations, ..Answer::default() }
}

fn complete(machine: &Machine, text: &str) -> Answer {
    let mut words = Vec::new();
    (hotmap_shell::SHELL.complete)(&machine.kernel, text, &mut |word| words.push(word.to_owned()));
    Answer { ok: true, words: Some(words), ..Answer::default() }
}

/// Exactly what the shell prints.
fn state(machine: &mut Machine) -> Answer {
    match RawValue::from_string(view::print_state(machine)) {
        Ok(state) => Answer { ok: true, state: Some(state), ..Answer::default() },
        Err(error) => Answer::error(format!("state: {error}")),
    }
}

fn view(machine: &mut Machine, name: &str, of: Option<&str>, at: Option<i64>) -> Answer {
    match view::view(machine, name, of, at) {
        Ok(view) => Answer { ok: true, view: Some(view), ..Answer::default() },
        Err(error) => Answer::error(error),
    }
}

fn trace(machine: &mut Machine) -> Answer {
    let (steps, truncated) = machine.machine.steps();
    // An operation that has come to its removal takes back with the removal's steps.
    let removed = |step: &record::Step| step.name == Step::ClaimSections.inverse();
    let undone = steps.iter().any(|step| step.undo || machine.failed && removed(step));
    let steps = steps.iter().map(trace::Step::new).collect();
    let (undone, truncated) = (Some(undone), truncated.then_some(true));
    Answer { ok: true, steps: Some(steps), undone, truncated, ..Answer::default() }
}
