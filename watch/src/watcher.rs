//! The thread that owns the guest: it answers requests, and notices changes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use hotmap_client::error::{Checked, During, Error};
use hotmap_client::guest::Guest;
use hotmap_client::state::State;
use hotmap_view::Machine;
use serde_json::{Value, json};

use crate::answers::{Request, refusal, success};
use crate::log::Log;
use crate::memory::GuestMemory;

/// How often the guest is looked at while a page listens.
const LOOK: Duration = Duration::from_millis(400);
/// How often a view is taken again because the guest changed meanwhile.
const TRIES: usize = 4;

/// What is asked of the watcher.
pub enum Ask {
    /// An answer to a page's request.
    Call(Request, Sender<Value>),
    /// Each change from now on, as the data of an event.
    Listen(Sender<String>),
    /// A line at QEMU's monitor, by the person at the terminal; the answer.
    Monitor(String, Sender<String>),
    /// A line at the guest's shell, by the person at the terminal; what it prints.
    Shell(String, Sender<String>),
    /// The end of the watch.
    Stop,
}

/// A way to ask, for other threads.
pub type Door = Sender<Ask>;

/// A guest that is watched.
pub struct Watcher {
    guest: Guest,
    /// Where QEMU saves memory.
    file: PathBuf,
    line: String,
    state: State,
    /// How many changes there were.
    changes: u64,
    views: BTreeMap<(String, Option<String>), Value>,
    listeners: Vec<Sender<String>>,
    log: Log,
    read_to: usize,
}

impl Watcher {
    /// Watches `guest`, whose replies are framed. `file` is a path at which QEMU may create a file.
    ///
    /// # Errors
    /// Those of the first `state`.
    pub fn new(mut guest: Guest, file: PathBuf) -> Checked<Self> {
        let (line, state) = take_state(&mut guest)?;
        let read_to = guest.position();
        let (views, log) = (BTreeMap::new(), Log::default());
        Ok(Self { guest, file, line, state, changes: 0, views, listeners: Vec::new(), log, read_to })
    }

    /// A door, and what comes through it.
    pub fn door() -> (Door, Receiver<Ask>) {
        channel()
    }

    /// Answers until it is told to stop, or no door is left; gives the guest back.
    ///
    /// # Errors
    /// Why the guest cannot be watched any more.
    pub fn serve(mut self, asks: &Receiver<Ask>) -> Checked<Guest> {
        loop {
            match asks.recv_timeout(LOOK) {
                Ok(Ask::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(self.guest),
                Ok(ask) => self.answer(ask)?,
                Err(RecvTimeoutError::Timeout) if self.listeners.is_empty() => {}
                Err(RecvTimeoutError::Timeout) => self.look()?,
            }
        }
    }

    /// The receiver of an answer may be gone: a page that was closed.
    fn answer(&mut self, ask: Ask) -> Checked {
        match ask {
            Ask::Call(Request::State, reply) => {
                self.look()?;
                let state = serde_json::from_str(&self.line).unwrap_or_default();
                drop(reply.send(success("state", state)));
            }
            Ask::Call(Request::View { name, of }, reply) => {
                let view = self.view(&name, of)?;
                drop(reply.send(view));
            }
            Ask::Listen(listener) => self.listeners.push(listener),
            Ask::Monitor(line, reply) => drop(reply.send(self.guest.qmp.monitor(&line)?)),
            Ask::Shell(line, reply) => {
                drop(reply.send(self.guest.ask(&line)?.text));
                self.look()?;
            }
            Ask::Stop => {}
        }
        Ok(())
    }

    /// Asks the guest for its state, and tells the listeners if it is another one.
    fn look(&mut self) -> Checked {
        let (line, state) = take_state(&mut self.guest).during("looking at the guest")?;
        let log = self.new_log();
        let changed = line != self.line;
        if changed {
            (self.line, self.state) = (line, state);
            self.changes += 1;
            self.views.clear();
        }
        if changed || !log.is_empty() {
            let mut event = json!({"changed": self.changes});
            if !log.is_empty() {
                event["log"] = Value::String(log.join("\n"));
            }
            let event = event.to_string();
            self.listeners.retain(|listener| listener.send(event.clone()).is_ok());
        }
        Ok(())
    }

    /// Log lines since the last call. A line that is not complete waits.
    fn new_log(&mut self) -> Vec<String> {
        let before = self.guest.position();
        let text = self.guest.text_since(self.read_to);
        if !text.ends_with('\n') || self.guest.position() != before {
            return Vec::new();
        }
        self.read_to = before;
        self.log.take(&text)
    }

    /// A view that belongs to one state: memory is read while the guest runs, so it is taken again if the state has changed.
    fn view(&mut self, name: &str, of: Option<String>) -> Checked<Value> {
        let key = (name.to_owned(), of);
        self.look()?;
        for _ in 0..TRIES {
            if let Some(known) = self.views.get(&key) {
                return Ok(known.clone());
            }
            let (view, seen) = (self.take_view(name, key.1.as_deref())?, self.changes);
            self.look()?;
            if seen == self.changes {
                self.views.insert(key, view.clone());
                return Ok(view);
            }
        }
        Ok(refusal("the guest changes faster than it can be looked at"))
    }

    fn take_view(&mut self, name: &str, of: Option<&str>) -> Checked<Value> {
        let memory = GuestMemory::new(&mut self.guest.qmp, &self.state, &self.file);
        let view = Machine::new(&memory, &self.state).and_then(|machine| machine.view(name, of));
        memory.sound()?;
        Ok(match view {
            Ok(view) => success("view", view),
            Err(error) => refusal(&error.to_string()),
        })
    }
}

/// The line and what it says. A state that contradicts itself is shown like any other.
fn take_state(guest: &mut Guest) -> Checked<(String, State)> {
    let line = guest.tell("state")?;
    let state = State::parse(&line).map_err(Error::Failed)?;
    Ok((line, state))
}
