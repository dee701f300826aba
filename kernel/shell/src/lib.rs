//! The shell: one table of commands, and the self-tests, which are one of them. A command succeeds, or prints the reason in
//! one line. The package is above the kernel, which knows only the function that runs a command line.
#![no_std]

extern crate alloc;

mod act;
mod args;
mod bench;
mod checksum;
mod command;
mod complete;
mod dax;
mod dedup;
mod harm;
mod help;
mod hugetlb;
mod json;
mod ptdump;
#[cfg(target_os = "none")]
mod selftest;
mod show;
mod state;
mod stress;
mod table;
mod units;
mod vmems;
mod walk;

use core::fmt;

use heapless::String;

use hotmap_mm::addr::Bytes;
use hotmap_mm::errno::Errno;
use hotmap_mm::error::Error;

use args::Words;
use hotmap_kernel::kernel::{Kernel, Shell};
use hotmap_kernel::kprintln;
use hotmap_kernel::regions::Refusal;

/// Why a command failed.
#[derive(Debug)]
pub enum ShellError {
    /// Wrong words; the usage.
    Usage(&'static str),
    /// A word that should have been a number, a pfn or an address; what was expected.
    BadWord(&'static str),
    /// A number that does not fit into 64 bits.
    TooLarge,
    /// More pages than there are free ones.
    Pages {
        /// How many were asked for.
        wanted: u64,
        /// How many are free.
        free: u64,
    },
    /// The model refused.
    Model(Error),
    /// A pool of huge pages did not reach the size that was asked for, and keeps the pages that it has.
    Pool {
        /// The size of a huge page.
        bytes: u64,
        /// How many the pool has now.
        total: u64,
        /// How many were asked for.
        asked: u64,
        /// What stopped it.
        why: Error,
    },
    /// A region of the device tree cannot be used so.
    Region(Refusal),
    /// A check failed; the details are printed.
    Failed(&'static str),
    /// There is no such command; one that begins alike.
    Unknown(Option<&'static str>),
    /// `help` was asked for a command that there is not.
    NoCommand {
        /// Its name, cut at 32 bytes.
        name: String<32>,
        /// A word after `help` that begins alike.
        near: Option<&'static str>,
    },
}

impl From<Error> for ShellError {
    fn from(error: Error) -> Self {
        Self::Model(error)
    }
}

impl From<Refusal> for ShellError {
    fn from(refusal: Refusal) -> Self {
        Self::Region(refusal)
    }
}

impl fmt::Display for ShellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(usage) => write!(f, "usage: {usage}"),
            Self::BadWord(expected) => write!(f, "expected {expected}"),
            Self::TooLarge => f.write_str("the number is too large: 0xffffffffffffffff is the largest"),
            Self::Pages { wanted, free } => {
                write!(f, "{wanted} pages wanted, and {free} are free ({})", Errno::ENOMEM)
            }
            Self::Region(refusal) => write!(f, "{refusal} ({})", refusal.errno()),
            Self::Model(error) => write!(f, "{error} ({})", error.errno()),
            Self::Pool { bytes, total, asked, why } => {
                write!(f, "{total} huge pages of {}, not {asked}: {why} ({})", Bytes(*bytes), why.errno())
            }
            Self::Failed(what) => f.write_str(what),
            Self::NoCommand { name, near } => {
                write!(f, "there is no command '{name}'{} (help lists them)", Near("help ", *near))
            }
            Self::Unknown(near) => write!(f, "no such command{} (help lists them)", Near("", *near)),
        }
    }
}

/// An error, and the word that it is about, of which at most 32 characters are shown.
struct About<'a>(&'a ShellError, Option<&'a str>);

impl fmt::Display for About<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(error @ ShellError::Usage(_), Some(word)) => {
                write!(f, "'{word:.32}' is not understood; {error}")
            }
            Self(error @ (ShellError::BadWord(_) | ShellError::TooLarge), Some(word)) => {
                write!(f, "{error}, not '{word:.32}'")
            }
            Self(error, _) => error.fmt(f),
        }
    }
}

/// A question after what stands before it: was this word, behind another, meant?
struct Near(&'static str, Option<&'static str>);

impl fmt::Display for Near {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(before, near) = self;
        near.map_or(Ok(()), |word| write!(f, "; did you mean '{before}{word}'?"))
    }
}

type Outcome = Result<(), ShellError>;

/// What boot gives to the kernel.
pub const SHELL: Shell = Shell { run, complete: complete::complete };

/// Runs one command line; returns whether it succeeded. A failure prints one line that starts with `error: `.
fn run(kernel: &mut Kernel, line: &str) -> bool {
    let mut words = Words::new(line);
    let name = words.next().unwrap_or("");
    let outcome = match table::find(name) {
        // Before it runs: a command that is refused has done nothing.
        Some(command) if words.left() > command.most => {
            (0..command.most).for_each(|_| _ = words.next());
            words.next(); // the one too many
            Err(ShellError::Usage(command.usage))
        }
        Some(command) if command.operation.is_one(&words) => {
            kernel.injection.begin(&mut kernel.mm.frames_mut().faults);
            let outcome = (command.run)(kernel, &mut words);
            kernel.injection.end(&mut kernel.mm.frames_mut().faults);
            outcome
        }
        Some(command) => (command.run)(kernel, &mut words),
        None => Err(table::unknown(name)),
    };
    match outcome {
        Ok(()) => true,
        Err(error) => {
            kprintln!("error: {name}: {}", About(&error, words.last()));
            false
        }
    }
}
