//! The cost of an operation: guest instructions, what of them costs more than one, table pages, other pages of system RAM.

use core::fmt;
use core::ops::{Add, Sub};
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use hotmap_mm::frame::counts::Counts;

use crate::arch::costs::{self, Costs};
use crate::arch::counter;

static ON: AtomicBool = AtomicBool::new(false);
/// How many marks there were.
static MARKS: AtomicU32 = AtomicU32::new(0);

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
    costs: Costs,
    /// The numbers of the marks at its start and at its end (tests/counter); 0: it has none of its own.
    marks: (u32, u32),
}

/// Executes a mark, if figures are printed: an observer of instructions notes its counts. Returns its number.
fn mark() -> u32 {
    if !is_on() {
        return 0;
    }
    costs::mark();
    let number = MARKS.load(Ordering::Relaxed) + 1;
    MARKS.store(number, Ordering::Relaxed);
    number
}

fn read_counts(counts: &Counts) -> (i64, i64) {
    (counts.tables.cast_signed(), counts.memmap_ram.cast_signed())
}

impl Meter {
    /// Starts counting.
    #[inline(never)]
    pub fn start(counts: &Counts) -> Self {
        let (tables, ram) = read_counts(counts);
        let (mark, costs) = (mark(), costs::read());
        Self { tables, ram, costs, marks: (mark, 0), instructions: counter::instructions() }
    }
    /// The difference since the start.
    pub fn stop(mut self, counts: impl FnOnce() -> Counts) -> Self {
        self.halt();
        let (tables, ram) = read_counts(&counts());
        Self { tables: tables - self.tables, ram: ram - self.ram, ..self }
    }
    /// Counts no further: the pages are still to be compared.
    #[inline(never)]
    fn halt(&mut self) {
        self.instructions = counter::instructions() - self.instructions;
        self.costs = costs::read() - self.costs;
        self.marks.1 = mark();
    }
    /// The same without a part of it: a wait for the machine.
    pub fn without(self, part: Spent) -> Self {
        let instructions = self.instructions.saturating_sub(part.instructions);
        Self { instructions, costs: self.costs - part.costs, ..self }
    }
}

/// Instructions since boot or of a time, and what of them costs more than one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    instructions: u64,
    costs: Costs,
}

impl Spent {
    /// Those until now, as a time begins: what reading the costs takes is in the time.
    pub fn at_start() -> Self {
        let instructions = counter::instructions();
        Self { instructions, costs: costs::read() }
    }
    /// Those until now, as a time ends.
    pub fn at_end() -> Self {
        let costs = costs::read();
        Self { instructions: counter::instructions(), costs }
    }
}

impl Add for Spent {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { instructions: self.instructions + other.instructions, costs: self.costs + other.costs }
    }
}

impl Sub for Spent {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        let instructions = self.instructions.saturating_sub(other.instructions);
        Self { instructions, costs: self.costs - other.costs }
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
            costs: self.costs - other.costs,
            marks: (0, 0),
        }
    }
}

/// `INSTRUCTIONS TABLES RAM`: instructions, and the changes in table pages and in memmap pages of system RAM. Then `KEY=COUNT` for
/// each of [`Costs`] that is not zero, and `marks=FIRST-LAST`.
impl fmt::Display for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}{}", self.instructions, self.tables, self.ram, self.costs)?;
        match self.marks {
            (0, _) | (_, 0) => Ok(()),
            (first, last) => write!(f, " marks={first}-{last}"),
        }
    }
}
