//! The lines that the kernel prints with `bench=on`. No other file knows their format.
//!
//! `bench: OPERATION BYTES INSTRUCTIONS TABLES RAM [KEY=COUNT]... [marks=FIRST-LAST]`: the operation, the bytes of memory, the guest
//! instructions by PMEVCNTR0 (INST_RETIRED), the changes in table pages and in memmap pages of system RAM, what of the
//! instructions costs more than one (kernel/src/arch/costs.rs), and between which marks they were executed.

use super::costs::{Costs, Seen};
use hotmap_client::error::Checked;

/// One line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figure {
    /// `boot`, `add`, `online`, `offline`, `remove`.
    pub operation: String,
    /// Bytes of memory.
    pub bytes: u64,
    /// Guest instructions.
    pub instructions: u64,
    /// Change in translation table pages.
    pub tables: i64,
    /// Change in pages of system RAM that hold memmap.
    pub ram: i64,
    /// What costs more than other instructions do.
    pub costs: Costs,
    /// The numbers of the marks before and after the operation, if it has its own.
    pub marks: Option<(u64, u64)>,
}

impl Figure {
    /// The instructions, the kernel's counts, and from the plugin what the kernel cannot count.
    ///
    /// # Errors
    /// Failed when the plugin has not seen the marks.
    pub fn counted(&self, seen: Option<&Seen>) -> Checked<Costs> {
        let Costs { exclusive, atomic, zva, eret, .. } = match (seen, self.marks) {
            (Some(seen), Some(marks)) => seen.between(marks)?,
            _ => Costs::default(),
        };
        Ok(Costs { instructions: self.instructions, exclusive, atomic, zva, eret, ..self.costs })
    }
}

/// The start of every line.
const MARK: &str = "bench: ";

/// Reads one line; `None` when it is another line, or has a word that is not of the format.
pub fn read(line: &str) -> Option<Figure> {
    let mut fields = line.trim().strip_prefix(MARK)?.split_whitespace();
    let mut figure = Figure {
        operation: fields.next()?.to_owned(),
        bytes: fields.next()?.parse().ok()?,
        instructions: fields.next()?.parse().ok()?,
        tables: fields.next()?.parse().ok()?,
        ram: fields.next()?.parse().ok()?,
        ..Figure::default()
    };
    for field in fields {
        match field.split_once('=')? {
            ("marks", marks) => {
                let (first, last) = marks.split_once('-')?;
                figure.marks = Some((first.parse().ok()?, last.parse().ok()?));
            }
            (key, count) => *figure.costs.named(key)? = count.parse().ok()?,
        }
    }
    Some(figure)
}

/// The last figure of an operation on `bytes` bytes in a transcript.
pub fn last(text: &str, operation: &str, bytes: u64) -> Option<Figure> {
    text.lines().rev().filter_map(read).find(|figure| figure.operation == operation && figure.bytes == bytes)
}

/// How the kernel clears memory on this CPU: `bench: clears memory by WORD`. FEAT_MOPS clears with a few instructions,
/// so those figures have rows of their own.
pub fn clears_by(text: &str) -> Option<&str> {
    text.lines()
        .find_map(|line| line.trim().strip_prefix(MARK)?.strip_prefix("clears memory by "))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::{Figure, clears_by, last, read};

    const TEXT: &str = "bench: boot 1073741824 1356118 0 0\nhotmap> \nbench: add 1073741824 296969 1 0\n\
                        bench: add 1073741824 296692 0 4096\nbench: remove 1073741824 22596 -1 -4096\n\
                        bench: clears memory by St1\n";

    #[test]
    fn a_line_has_five_fields_and_signs() {
        let figure = read("bench: remove 1073741824 22596 -1 -4096").expect("a figure");
        let should = Figure {
            operation: "remove".into(),
            bytes: 1 << 30,
            instructions: 22_596,
            tables: -1,
            ram: -4096,
            ..Figure::default()
        };
        assert_eq!(figure, should);
    }

    #[test]
    fn what_costs_more_and_the_marks_follow() {
        let figure = read("bench: add 64 9 0 0 tlbi=3 dsb=2 cleared=4096 marks=7-12").expect("a figure");
        assert_eq!((figure.costs.tlbi, figure.costs.dsb, figure.costs.cleared), (3, 2, 4096));
        assert_eq!((figure.costs.isb, figure.marks), (0, Some((7, 12))));
        for line in ["bench: add 1 2 3 4 tlbi", "bench: add 1 2 3 4 tlbs=1", "bench: add 1 2 3 4 marks=1"] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn other_lines_are_no_figures() {
        for line in [
            "",
            "bench: add",
            "bench: add 1 2 3",
            "bench: add 1 2 3 4 5",
            "bench: add x 2 3 4",
            "add 1 2 3 4",
        ] {
            assert_eq!(read(line), None, "{line}");
        }
    }

    #[test]
    fn the_last_figure_of_an_operation_counts() {
        assert_eq!(last(TEXT, "add", 1 << 30).map(|figure| figure.instructions), Some(296_692));
        assert_eq!(last(TEXT, "add", 1 << 31), None);
        assert_eq!(last(TEXT, "boot", 1 << 30).map(|figure| figure.instructions), Some(1_356_118));
    }

    #[test]
    fn the_line_about_clearing_is_not_a_figure() {
        assert_eq!(clears_by(TEXT), Some("St1"));
        assert_eq!(clears_by("bench: add 1 2 3 4"), None);
    }
}
