//! The thread that owns the guest: it answers requests, and notices changes.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use hotmap_client::error::{Checked, During, Error, failed};
use hotmap_client::guest::Guest;
use hotmap_client::state::State;
use hotmap_view::Machine;
use serde_json::{Value, json};

use crate::answers::{Request, refusal, success};
use crate::log::Log;
use crate::memory::{GuestMemory, Scratch};

/// How often the guest is looked at while a page listens.
const LOOK: Duration = Duration::from_millis(400);
/// Views that a page always shows.
const TOGETHER: [&str; 3] = ["memory", "vmemmap", "tables"];
/// What an error begins with that says that the guest is gone.
pub const ENDED: &str = "the guest ended";
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
    file: Scratch,
    line: String,
    state: State,
    /// When `state` was asked for; `None`: something was done since.
    looked: Option<Instant>,
    /// How many changes there were.
    changes: u64,
    views: BTreeMap<(String, Option<String>), Value>,
    listeners: Vec<Sender<String>>,
    log: Log,
    read_to: usize,
}

impl Watcher {
    /// Watches `guest`, whose replies are framed.
    ///
    /// # Errors
    /// Those of the first `state`; unknown when there is no place for a file.
    pub fn new(mut guest: Guest) -> Checked<Self> {
        let (file, (line, state)) = (Scratch::new()?, take_state(&mut guest)?);
        let looked = Some(Instant::now());
        let read_to = guest.position();
        let (views, log) = (BTreeMap::new(), Log::default());
        Ok(Self { guest, file, line, state, looked, changes: 0, views, listeners: Vec::new(), log, read_to })
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
                Err(RecvTimeoutError::Timeout) if self.listeners.is_empty() => self.must_run()?,
                Err(RecvTimeoutError::Timeout) => self.look()?,
            }
        }
    }

    fn must_run(&mut self) -> Checked {
        match self.guest.ended() {
            None => Ok(()),
            Some(exit) => failed(format!("{ENDED}: {exit}")),
        }
    }

    /// The receiver of an answer may be gone: a page that was closed.
    fn answer(&mut self, ask: Ask) -> Checked {
        match ask {
            Ask::Call(Request::State, reply) => {
                self.look_if_stale()?;
                let state = serde_json::from_str(&self.line).unwrap_or_default();
                drop(reply.send(success("state", state)));
            }
            Ask::Call(Request::View { name, of }, reply) => {
                let view = self.view(&name, of)?;
                drop(reply.send(view));
            }
            Ask::Listen(listener) => self.listeners.push(listener),
            Ask::Monitor(line, reply) => {
                drop(reply.send(self.guest.qmp.monitor(&line)?));
                self.looked = None;
            }
            Ask::Shell(line, reply) => {
                drop(reply.send(self.guest.ask(&line)?.text));
                self.look()?;
            }
            Ask::Stop => {}
        }
        Ok(())
    }

    /// [`Self::look`], unless that was a moment ago.
    fn look_if_stale(&mut self) -> Checked {
        let stale = self.looked.is_none_or(|then| then.elapsed() > LOOK);
        if stale { self.look() } else { Ok(()) }
    }

    /// Asks the guest for its state, and tells the listeners if it is another one.
    fn look(&mut self) -> Checked {
        let (line, state) = take_state(&mut self.guest).during("looking at the guest")?;
        self.looked = Some(Instant::now());
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
    /// With one of [`TOGETHER`] the others are taken, since a page asks for them next.
    fn view(&mut self, name: &str, of: Option<String>) -> Checked<Value> {
        self.look_if_stale()?;
        let key = (name.to_owned(), of);
        for _ in 0..TRIES {
            if let Some(known) = self.views.get(&key) {
                return Ok(known.clone());
            }
            let mut keys = vec![key.clone()];
            if TOGETHER.contains(&name) {
                keys = TOGETHER.map(|name| (name.to_owned(), key.1.clone())).to_vec();
            }
            let (taken, seen) = (self.take_views(&keys)?, self.changes);
            self.look()?;
            if seen == self.changes {
                self.views.extend(keys.into_iter().zip(taken));
            }
        }
        Ok(refusal("the guest changes faster than it can be looked at"))
    }

    /// Views by name and target, of what is in memory now.
    fn take_views(&mut self, keys: &[(String, Option<String>)]) -> Checked<Vec<Value>> {
        let memory = GuestMemory::new(&mut self.guest.qmp, &self.state, self.file.path());
        let machine = Machine::new(&memory, &self.state);
        let view = |(name, of): &(String, Option<String>)| {
            let view =
                machine.as_ref().map_err(Clone::clone).and_then(|machine| machine.view(name, of.as_deref()));
            view.map_or_else(|error| refusal(&error.to_string()), |view| success("view", view))
        };
        let views = keys.iter().map(view).collect();
        memory.sound()?;
        Ok(views)
    }
}

/// The line and what it says. A state that contradicts itself is shown like any other.
fn take_state(guest: &mut Guest) -> Checked<(String, State)> {
    let line = guest.tell("state")?;
    let state = State::parse(&line).map_err(Error::Failed)?;
    Ok((line, state))
}
