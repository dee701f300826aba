//! The console while something takes long: Ctrl-C ends it, what else is typed waits for the prompt, and a line every two
//! seconds says how far it is.

use core::fmt;

use hotmap_mm::error::{Error, Result};
use hotmap_mm::machine::Machine;
use hotmap_mm::mm::Mm;
use hotmap_mm::pfn::PfnRange;

use crate::arch::counter;
use crate::{console, kprintln};

/// The time between two lines, in seconds.
const SECONDS: u64 = 2;
/// How often in a second the console is looked at: reading the UART costs more than a step of some operations.
const LOOKS: u64 = 64;

/// An operation that the console can end.
pub struct Attention<'a> {
    /// What the lines begin with.
    subject: &'a dyn fmt::Display,
    /// Whether there are no lines: logging was off when it began.
    quiet: bool,
    /// The ticks of a second.
    second: u64,
    /// When it began, or said the last line.
    said: u64,
    /// When the console was looked at.
    looked: Option<u64>,
    /// Whether Ctrl-C was there.
    stopped: bool,
}

impl<'a> Attention<'a> {
    /// For an operation that begins now.
    pub fn new(subject: &'a dyn fmt::Display) -> Self {
        let (quiet, second, said) = (console::is_quiet(), counter::ticks_per_second(), counter::ticks());
        Self { subject, quiet, second, said, looked: None, stopped: false }
    }

    /// Whether Ctrl-C was typed since it began. Says `progress`, every two seconds.
    pub fn stop(&mut self, progress: fmt::Arguments<'_>) -> bool {
        let now = counter::ticks();
        if self.looked.is_none_or(|looked| now.wrapping_sub(looked) >= self.second / LOOKS) {
            self.looked = Some(now);
            self.stopped |= console::interrupted();
        }
        if !self.quiet && !self.stopped && now.wrapping_sub(self.said) >= SECONDS * self.second {
            self.said = now;
            kprintln!("{}: {progress}", self.subject);
        }
        self.stopped
    }

    /// Whether nothing has ended it: what an operation that has cleaned up returns.
    ///
    /// # Errors
    /// `Error::Interrupted`.
    pub const fn outcome(&self) -> Result<()> {
        if self.stopped { Err(Error::Interrupted) } else { Ok(()) }
    }
}

/// What ends an offline of `pages`: the `stop` of `Mm::offline_pages_unless`.
pub fn of_offline<'a, M: Machine>(
    subject: &'a dyn fmt::Display,
    mm: &Mm<M>,
    pages: PfnRange,
) -> impl FnMut(u64) -> bool + use<'a, M> {
    let (mut attention, total) = (Attention::new(subject), mm.frames().tenant_pages(pages));
    move |migrated| attention.stop(format_args!("{migrated} of {total} pages have migrated"))
}
