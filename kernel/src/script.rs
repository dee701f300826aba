//! The framing of `script=on`: lines of their own around what a command line prints, so that a program finds each reply.
//!
//! ```text
//!   ready 1                 the version of the framing: the shell takes commands from now on
//!   begin 1                 counts from 1
//!   ...                     what the commands of the line print
//!   end 1 0                 0: all of them succeeded; 1: one failed, and its `error: ` line is above
//! ```
//! Without `script=on` these functions print nothing.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::{console, kprintln};

/// The version of the framing.
const VERSION: u32 = 1;

/// Whether replies are framed.
static ON: AtomicBool = AtomicBool::new(false);
/// How many frames were begun.
static BEGUN: AtomicU32 = AtomicU32::new(0);
/// Whether the last of them has not ended.
static OPEN: AtomicBool = AtomicBool::new(false);
/// Whether a command of the open frame has failed.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Frames replies from now on, and says that the shell is ready.
pub fn turn_on() {
    ON.store(true, Ordering::Relaxed);
    kprintln!("ready {VERSION}");
}

/// Begins the frame of a line.
pub fn begin() {
    if ON.load(Ordering::Relaxed) {
        let number = BEGUN.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        FAILED.store(false, Ordering::Relaxed);
        OPEN.store(true, Ordering::Relaxed);
        kprintln!("begin {number}");
    }
}

/// Notes that a command of the open frame has failed.
pub fn fail() {
    FAILED.store(true, Ordering::Relaxed);
}

/// Notes that the run ends before the command of the open frame is done, if there is such a frame.
pub fn cut_off(why: &str) {
    if OPEN.load(Ordering::Relaxed) {
        console::complete_line();
        kprintln!("error: {why}");
        fail();
    }
}

/// Ends the frame, if one is open. A command that ends the run calls it before the last line.
pub fn end() {
    if OPEN.swap(false, Ordering::Relaxed) {
        console::complete_line();
        let (number, status) = (BEGUN.load(Ordering::Relaxed), u32::from(FAILED.load(Ordering::Relaxed)));
        kprintln!("end {number} {status}");
    }
}
