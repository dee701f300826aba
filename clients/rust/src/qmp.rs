//! QEMU's control socket: each command has a time-out, and events are kept until a test takes them.
//!
//! The command and event types are the `qapi` crate's. Its transport has no time-out, and loses a half-read line when
//! the socket has one; and a `device_add` that QEMU refuses can hang QEMU itself while the guest spins. So a thread of
//! our own splits the stream into lines, and every wait here has a deadline.

use crate::error::{Checked, Error, unknown};
use crate::patience::Deadline;
use qapi::qmp::{ACPIOSTInfo, Event, QapiCapabilities, QmpMessage, human_monitor_command, qmp_capabilities};
use qapi::{Command, Execute};
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How often to try a socket that QEMU has not created yet.
const RETRY: Duration = Duration::from_millis(2);

/// Why a command has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// QEMU refused, with this message.
    Refused(String),
    /// QEMU did not answer in time, or the connection is closed.
    NoAnswer(String),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        // In both cases the test has learned nothing about the guest.
        match refusal {
            Refusal::Refused(why) => Self::Unknown(format!("QEMU refused: {why}")),
            Refusal::NoAnswer(why) => Self::Unknown(why),
        }
    }
}

/// A connection that has negotiated its capabilities. Dropping it closes it.
#[derive(Debug)]
pub struct Qmp {
    stream: UnixStream,
    lines: Receiver<String>,
    /// Events that are not taken yet, oldest first.
    events: Vec<Event>,
    /// QEMU's version, major and minor.
    version: (i64, i64),
}

impl Qmp {
    /// Connects to the socket that QEMU creates while it starts, and negotiates capabilities.
    ///
    /// # Errors
    /// Unknown when `gone` reports that QEMU ended, or at the deadline.
    pub fn connect(socket: &Path, deadline: Deadline, mut gone: impl FnMut() -> bool) -> Checked<Self> {
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if deadline.left().is_none() => return unknown(format!("no QMP socket: {error}")),
                Err(_) if gone() => return unknown("QEMU ended before its QMP socket could be reached"),
                Err(_) => std::thread::sleep(RETRY),
            }
        };
        Self::over(stream, deadline)
    }

    /// Negotiates capabilities over a connected socket.
    ///
    /// # Errors
    /// Unknown when the greeting does not come or cannot be read.
    pub fn over(stream: UnixStream, deadline: Deadline) -> Checked<Self> {
        let torn = |error: std::io::Error| Error::Unknown(format!("QMP socket: {error}"));
        stream.set_write_timeout(Some(crate::patience::step())).map_err(torn)?;
        let lines = read_lines(stream.try_clone().map_err(torn)?);
        let mut qmp = Self { stream, lines, events: Vec::new(), version: (0, 0) };
        let greeting = qmp.line(deadline).map_err(|error| match error {
            Error::Unknown(why) if why.starts_with("hang") => {
                Error::Unknown(format!("{why} with its greeting: does another client hold it?"))
            }
            error => error,
        })?;
        let greeting: QapiCapabilities = serde_json::from_str(&greeting)
            .map_err(|error| Error::Unknown(format!("not a QMP greeting ({error}): {greeting}")))?;
        qmp.version = (greeting.QMP.version.qemu.major, greeting.QMP.version.qemu.minor);
        qmp.execute(&qmp_capabilities { enable: None })?;
        Ok(qmp)
    }

    /// QEMU's version, major and minor.
    pub fn version(&self) -> (i64, i64) {
        self.version
    }

    /// Executes one command and returns what QEMU returns.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn execute<C: Command>(&mut self, command: &C) -> Result<C::Ok, Refusal> {
        let no_answer = |why: String| Refusal::NoAnswer(format!("{}: {why}", C::NAME));
        let mut line = serde_json::to_vec(&Execute::<&C>::from(command))
            .map_err(|error| no_answer(format!("cannot be written as JSON: {error}")))?;
        line.push(b'\n');
        self.stream.write_all(&line).map_err(|error| no_answer(format!("cannot be sent: {error}")))?;
        let deadline = Deadline::for_step();
        loop {
            let line = self.line(deadline).map_err(|error| no_answer(error.why().to_owned()))?;
            if self.keep_event(&line) {
                continue;
            }
            let message = serde_json::from_str::<QmpMessage<C::Ok>>(&line);
            return match message.map_err(|error| no_answer(format!("answer {line}: {error}")))? {
                QmpMessage::Event(_) => Err(no_answer(format!("answer {line} is an event"))),
                QmpMessage::Response(response) => {
                    response.result().map_err(|error| Refusal::Refused(error.desc))
                }
            };
        }
    }

    /// What the human monitor answers to `line`.
    ///
    /// # Errors
    /// Unknown when QEMU does not answer.
    pub fn monitor(&mut self, line: &str) -> Checked<String> {
        let command = human_monitor_command { cpu_index: None, command_line: line.to_owned() };
        Ok(self.execute(&command)?.replace('\r', ""))
    }

    /// Takes the first event for which `wanted` returns a value; the others stay.
    ///
    /// # Errors
    /// Unknown at the deadline or when QEMU is gone; `what` says what was awaited.
    pub fn wait_event<T>(
        &mut self,
        what: &str,
        deadline: Deadline,
        mut wanted: impl FnMut(&Event) -> Option<T>,
    ) -> Checked<T> {
        let mut seen = 0;
        loop {
            while let Some(event) = self.events.get(seen) {
                if let Some(thing) = wanted(event) {
                    self.events.remove(seen);
                    return Ok(thing);
                }
                seen += 1;
            }
            let line = self.line(deadline).map_err(|error| error.during(&format!("waiting for {what}")))?;
            self.keep_event(&line);
        }
    }

    /// Forgets the events that have arrived, so that a later wait sees only what comes after.
    pub fn forget_events(&mut self) {
        while let Ok(line) = self.lines.try_recv() {
            self.keep_event(&line);
        }
        self.events.clear();
    }

    /// Keeps `line` if it is an event. Events that the crate's schema does not know (a newer QEMU) are dropped.
    fn keep_event(&mut self, line: &str) -> bool {
        let Ok(value) = serde_json::from_str::<serde_json::Value>(line) else { return false };
        if value.get("event").is_none() {
            return false;
        }
        self.events.extend(serde_json::from_value::<Event>(value));
        true
    }

    fn line(&mut self, deadline: Deadline) -> Checked<String> {
        let left = deadline.left().unwrap_or_default();
        self.lines.recv_timeout(left).map_err(|error| {
            Error::Unknown(match error {
                RecvTimeoutError::Timeout => "hang: QEMU's monitor did not answer".into(),
                RecvTimeoutError::Disconnected => "QEMU closed its monitor".into(),
            })
        })
    }
}

/// QEMU serves one client at a time, and the reader has a copy of the socket.
impl Drop for Qmp {
    fn drop(&mut self) {
        drop(self.stream.shutdown(Shutdown::Both));
    }
}

/// Splits the stream into lines until its end; the thread ends with the socket.
fn read_lines(stream: UnixStream) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines() {
            let Ok(line) = line else { break };
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// The `_OST` report in an event, if it is one about `device`.
pub fn ost_of<'a>(event: &'a Event, device: &str) -> Option<&'a ACPIOSTInfo> {
    match event {
        Event::ACPI_DEVICE_OST { data, .. } if data.info.device.as_deref() == Some(device) => {
            Some(&data.info)
        }
        _ => None,
    }
}

/// Whether an event says that QEMU could not unplug `device`, although the guest had released it. (`MEM_UNPLUG_ERROR`,
/// which is deprecated, comes beside it.)
pub fn is_unplug_error(event: &Event, device: &str) -> bool {
    matches!(event, Event::DEVICE_UNPLUG_GUEST_ERROR { data, .. } if data.device.as_deref() == Some(device))
}

/// Whether an event says that `device` is gone.
pub fn is_deleted(event: &Event, device: &str) -> bool {
    matches!(event, Event::DEVICE_DELETED { data, .. } if data.device.as_deref() == Some(device))
}

#[cfg(test)]
mod tests;
