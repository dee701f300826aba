//! What a command is.

use super::Outcome;
use super::args::Words;
use hotmap_kernel::kernel::Kernel;

/// Whether a command is a whole operation, in which `inject` may make an allocation fail.
#[derive(Clone, Copy)]
pub(super) enum Operation {
    No,
    Yes,
    /// If any word follows its name.
    WithWords,
    /// Unless its first word is this.
    Unless(&'static str),
    /// If its first word is one of these.
    If(&'static [&'static str]),
}

impl Operation {
    pub(super) fn is_one(self, words: &Words<'_>) -> bool {
        match self {
            Self::No => false,
            Self::Yes => true,
            Self::WithWords => words.left() != 0,
            Self::Unless(word) => words.peek() != Some(word),
            Self::If(changes) => words.peek().is_some_and(|word| changes.contains(&word)),
        }
    }
}

/// What a command does.
pub(super) type Run = fn(&mut Kernel, &mut Words<'_>) -> Outcome;

/// A command.
pub(super) struct Command {
    /// How it is called; the first word is its name.
    pub(super) usage: &'static str,
    /// The most words that may follow the name.
    pub(super) most: usize,
    /// What it does, in half a line.
    pub(super) summary: &'static str,
    /// What else there is to say: a sentence or two, or nothing.
    pub(super) more: &'static str,
    /// Commands that show it.
    pub(super) example: &'static str,
    /// The options of `scripts/qemu` that the example needs.
    pub(super) needs: &'static str,
    pub(super) operation: Operation,
    pub(super) run: Run,
}

/// Commands for one purpose.
pub(super) struct Group {
    pub(super) name: &'static str,
    pub(super) commands: &'static [Command],
}

/// The longest summary: behind a name, it ends before column 80.
const SUMMARY: usize = 66;

pub(super) const fn command(usage: &'static str, most: usize, summary: &'static str, run: Run) -> Command {
    assert!(summary.len() <= SUMMARY, "a summary that does not fit on a line");
    Command { usage, most, summary, more: "", example: "", needs: "", operation: Operation::No, run }
}

impl Command {
    pub(super) const fn more(self, more: &'static str) -> Self {
        Self { more, ..self }
    }
    pub(super) const fn example(self, example: &'static str) -> Self {
        Self { example, ..self }
    }
    pub(super) const fn needs(self, needs: &'static str) -> Self {
        Self { needs, ..self }
    }
    pub(super) const fn operation(self, operation: Operation) -> Self {
        Self { operation, ..self }
    }
    pub(super) fn name(&self) -> &'static str {
        self.usage.split(' ').next().unwrap_or_default()
    }
}
