//! The cost of an operation: guest instructions, table pages, other pages of system RAM.

use core::fmt;
use core::ops::Sub;
use core::sync::atomic::{AtomicBool, Ordering};

use hotmap_mm::frame::counts::Counts;

use crate::arch::counter;

static ON: AtomicBool = AtomicBool::new(false);

/// Prints figures from now on (`bench=on`).
pub fn turn_on() {
    ON.store(true, Ordering::Relaxed);
}
/// Whether figures are printed.
pub fn is_on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// A count that is running, then the difference.
#[derive(Clone, Copy)]
pub struct Meter {
    instructions: u64,
    tables: i64,
    ram: i64,
}

fn read_counts(counts: &Counts) -> (i64, i64) {
    (counts.tables.cast_signed(), counts.memmap_ram.cast_signed())
}

impl Meter {
    /// Starts counting.
    pub fn start(counts: &Counts) -> Self {
        let (tables, ram) = read_counts(counts);
        Self { tables, ram, instructions: counter::instructions() }
    }
    /// The difference since the start.
    pub fn stop(self, counts: impl FnOnce() -> Counts) -> Self {
        let now = counter::instructions();
        let (tables, ram) = read_counts(&counts());
        Self { instructions: now - self.instructions, tables: tables - self.tables, ram: ram - self.ram }
    }
    /// The same without so many instructions: those of a wait for the machine.
    pub const fn without(self, instructions: u64) -> Self {
        Self { instructions: self.instructions.saturating_sub(instructions), ..self }
    }
}

/// What one costs more than another.
impl Sub for Meter {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self {
            instructions: self.instructions.saturating_sub(other.instructions),
            tables: self.tables - other.tables,
            ram: self.ram - other.ram,
        }
    }
}

/// `INSTRUCTIONS TABLES RAM`: instructions, and the changes in table pages and in memmap pages of system RAM.
impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.instructions, self.tables, self.ram)
    }
}
