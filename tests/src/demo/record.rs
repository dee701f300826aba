//! What the demo tells, for a page of the run: `make report`.

use serde::Serialize;
use std::path::Path;

/// One thing that is told. `playground/page/report.js` makes a page of them.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Event {
    /// A heading.
    Chapter {
        /// From 1.
        number: usize,
        /// The heading.
        title: String,
    },
    /// A sentence.
    Say {
        /// It.
        text: String,
    },
    /// A fact that was checked.
    Checked {
        /// It.
        text: String,
    },
    /// An action or an event at QEMU's monitor.
    Monitor {
        /// It.
        text: String,
    },
    /// A command, with the prompt.
    Command {
        /// It.
        text: String,
    },
    /// What the guest printed.
    Guest {
        /// Lines.
        text: String,
    },
    /// What the memory looks like.
    Picture {
        /// What is to be seen.
        title: String,
        /// What the guest printed about it, for `scripts/picture map`.
        transcript: String,
    },
    /// The costs of a life.
    Figures {
        /// Where they were counted.
        machine: String,
        /// hotmap's, then Linux's.
        rows: Vec<Figure>,
    },
}

/// One row of the figures.
#[derive(Debug, Serialize)]
pub(super) struct Figure {
    /// The operation, or the kernel.
    pub(super) name: String,
    /// Guest instructions.
    pub(super) instructions: f64,
    /// The system RAM that it takes, in words, if it is known.
    pub(super) ram: Option<String>,
}

/// All that is told, in order.
#[derive(Debug, Default)]
pub struct Record(Vec<Event>);

impl Record {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    pub(super) fn add(&mut self, event: Event) {
        self.0.push(event);
    }

    pub(super) fn chapters(&self) -> usize {
        self.0.iter().filter(|event| matches!(event, Event::Chapter { .. })).count()
    }

    /// Writes it to a file as JSON, a list.
    ///
    /// # Errors
    /// A sentence, if the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        let text = serde_json::to_string(&self.0).map_err(|error| error.to_string())?;
        std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
    }
}
