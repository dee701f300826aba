//! What was measured, of hotmap and of each Linux, as a file: docs/evidence/linux.json.

use crate::bench::costs::Costs;
use hotmap_client::geometry::{GRANULES, Granule};
use serde::{Deserialize, Serialize};

/// A run of `make bench-linux`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The day, as `2026-11-29`.
    pub date: String,
    /// The command line that measured it.
    pub command: String,
    /// QEMU's version: `QEMU 7.2.22`.
    pub qemu: String,
    /// QEMU's CPU model.
    pub cpu: String,
    /// hotmap at each granule, then each Linux.
    pub columns: Vec<Column>,
    /// What could not be measured, and why.
    pub missing: Vec<String>,
}

/// A kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// `hotmap`, or Linux's version and flavour.
    pub name: String,
    /// Bytes of a page.
    pub granule: u64,
    /// Debian's package; empty for hotmap.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub package: String,
    /// The package's version.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// The package's SHA-256.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sha256: String,
    /// What was measured.
    pub cells: Vec<Cell>,
}

/// A figure, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// Of what.
    #[serde(flatten)]
    pub row: Row,
    /// The figure.
    #[serde(flatten)]
    pub value: Value,
}

/// Of what a figure is. The order is that of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    /// The kind of measurement.
    pub part: Part,
    /// Where the memmap is.
    pub memmap: Home,
    /// Bytes of the memory; 0 where there is none.
    pub bytes: u64,
    /// What of it.
    pub operation: Operation,
}

/// A kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Part {
    /// The kernel without added memory.
    Guest,
    /// A DIMM that is not used.
    Life,
    /// Larger DIMMs.
    Growth,
    /// A DIMM of 1 TiB.
    Tebibyte,
    /// A DIMM again and again.
    Cycles,
    /// A DIMM in use.
    Load,
    /// Runs of pages.
    Alloc,
    /// A virtio memory device.
    Resize,
    /// Huge pages that share their memmap.
    HugePage,
    /// Devices of persistent memory.
    Dax,
}

/// Where the memmap is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Home {
    /// In the memory that it describes.
    #[serde(rename = "self")]
    SelfHosted,
    /// In system RAM.
    Ram,
    /// In the memory that it describes, as far as runs begin.
    Demand,
    /// It does not matter.
    Any,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// From reset to the first instruction of init, or to the prompt.
    Boot,
    /// The image's bytes.
    Image,
    /// Bytes of boot RAM that are not free at the prompt.
    Used,
    /// Add.
    Add,
    /// Online.
    Online,
    /// Offline.
    Offline,
    /// Remove.
    Remove,
    /// The four together.
    Sum,
    /// Add and online.
    Plug,
    /// Offline and remove.
    Unplug,
    /// Bytes of system RAM that the memory costs.
    SystemRam,
    /// The four together, the first time.
    First,
    /// The same, the last time.
    Last,
    /// What a page that migrates costs.
    Migration,
    /// What a page in use costs when its memory goes offline.
    UsedPage,
    /// What it costs to take a run of pages.
    Take,
    /// What it costs to free it.
    Free,
    /// More of a virtio memory device.
    Up,
    /// Less of it.
    Down,
    /// Less of it, by a kernel that does not clear what it takes.
    DownUncleared,
    /// The memmap of a huge page is shared.
    Optimise,
    /// A device is created.
    Create,
}

/// A figure, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Value {
    /// Counts.
    Costs(Costs),
    /// Counts of all together, and of how many: the figure is what each costs.
    Each(Costs, u64),
    /// Bytes.
    Size(u64),
    /// Why it cannot be measured.
    Cannot(String),
}

impl Row {
    /// A row whose operation follows.
    pub const fn new(part: Part, memmap: Home, bytes: u64, operation: Operation) -> Self {
        Self { part, memmap, bytes, operation }
    }

    /// The kernel's own figures.
    pub const fn guest(operation: Operation) -> Self {
        Self::new(Part::Guest, Home::Any, 0, operation)
    }
}

impl Value {
    /// Guest instructions, or bytes.
    pub fn number(&self) -> Option<u64> {
        match self {
            Self::Costs(costs) => Some(costs.instructions),
            Self::Each(costs, count) => costs.instructions.checked_div(*count),
            Self::Size(bytes) => Some(*bytes),
            Self::Cannot(_) => None,
        }
    }
}

impl Column {
    /// Adds a figure.
    pub fn add(&mut self, row: Row, value: Value) {
        self.cells.push(Cell { row, value });
    }

    /// The figure of a row.
    pub fn get(&self, row: Row) -> Option<&Value> {
        self.cells.iter().find(|cell| cell.row == row).map(|cell| &cell.value)
    }

    /// The number of a row.
    pub fn number(&self, row: Row) -> Option<u64> {
        self.get(row)?.number()
    }

    /// Why there is no figure of a row that has none: what stopped other rows of its part, or all that is done to DIMMs.
    fn why_not(&self, row: Row) -> Option<String> {
        let reason = |same: &dyn Fn(Row) -> bool| {
            self.cells.iter().filter(|cell| same(cell.row)).find_map(|cell| match &cell.value {
                Value::Cannot(why) => Some(why.clone()),
                _ => None,
            })
        };
        let of_dimms = matches!(row.part, Part::Growth | Part::Cycles | Part::Load);
        reason(&|other| (other.part, other.memmap) == (row.part, row.memmap))
            .or_else(|| reason(&|other| of_dimms && other.part == Part::Life))
    }

    /// Whether this is hotmap.
    pub fn is_hotmap(&self) -> bool {
        self.package.is_empty() && self.name == HOTMAP
    }

    /// The page size, if hotmap has it too.
    pub fn granule(&self) -> Option<Granule> {
        GRANULES.into_iter().find(|granule| granule.bytes() == self.granule)
    }
}

/// hotmap's column.
pub const HOTMAP: &str = "hotmap";

impl Record {
    /// The kernels with a page size: hotmap, then each Linux.
    pub fn of(&self, granule: Granule) -> impl Iterator<Item = &Column> {
        self.columns.iter().filter(move |column| column.granule == granule.bytes())
    }

    /// Gives each Linux a reason for each row of hotmap's that it has no figure of, as far as one was observed.
    pub fn explain(&mut self) {
        for granule in GRANULES {
            let ours = self.of(granule).filter(|column| column.is_hotmap());
            let rows: Vec<Row> = ours.flat_map(|column| &column.cells).map(|cell| cell.row).collect();
            let theirs = self.columns.iter_mut().filter(|column| !column.is_hotmap());
            for column in theirs.filter(|column| column.granule == granule.bytes()) {
                let absent = rows.iter().filter(|row| column.get(**row).is_none());
                let reasons = absent.filter_map(|row| Some((*row, column.why_not(*row)?)));
                for (row, why) in reasons.collect::<Vec<_>>() {
                    column.add(row, Value::Cannot(why));
                }
            }
        }
    }

    /// Each Linux with a page size.
    pub fn linux(&self, granule: Granule) -> impl Iterator<Item = &Column> {
        self.of(granule).filter(|column| !column.is_hotmap())
    }
}

#[cfg(test)]
mod tests {
    use super::{Cell, Column, HOTMAP, Home, Operation, Part, Record, Row, Value};
    use crate::bench::costs::Costs;

    #[test]
    fn a_figure_is_a_flat_object() {
        let row = Row::new(Part::Life, Home::SelfHosted, 1 << 30, Operation::Add);
        let value = Value::Costs(Costs { instructions: 7, tlbi: 2, ..Costs::default() });
        let cell = Cell { row, value };
        let text = serde_json::to_string(&cell).expect("JSON");
        let should = r#"{"part":"life","memmap":"self","bytes":1073741824,"operation":"add","costs":{"instructions":7,"tlbi":2}}"#;
        assert_eq!(text, should);
        assert_eq!(serde_json::from_str::<Cell>(&text).expect("a cell"), cell);
    }

    #[test]
    fn a_row_that_linux_lacks_has_the_reason_of_its_part_or_of_dimms() {
        let row = |part, operation| Row::new(part, Home::SelfHosted, 1 << 30, operation);
        let [remove, first, create] = [
            row(Part::Life, Operation::Remove),
            row(Part::Cycles, Operation::First),
            row(Part::Dax, Operation::Create),
        ];
        let mut ours = Column { name: HOTMAP.into(), granule: 4096, ..Column::default() };
        let mut linux = Column { name: "7.2 cloud".into(), package: "p".into(), ..ours.clone() };
        [remove, first, create].into_iter().for_each(|row| ours.add(row, Value::Size(1)));
        linux.add(row(Part::Life, Operation::Offline), Value::Cannot("no permission".into()));
        let mut record = Record { columns: vec![ours, linux], ..Record::default() };
        record.explain();
        let cell = |row| record.columns[1].get(row).cloned();
        let reason = Some(Value::Cannot("no permission".into()));
        assert_eq!((cell(remove), cell(first), cell(create)), (reason.clone(), reason, None));
    }

    #[test]
    fn what_each_costs_is_a_quotient_and_a_reason_is_no_number() {
        let costs = Costs { instructions: 70, ..Costs::default() };
        let mut column = Column::default();
        column.add(Row::guest(Operation::Migration), Value::Each(costs, 10));
        column.add(Row::guest(Operation::Add), Value::Cannot("no".into()));
        assert_eq!(column.number(Row::guest(Operation::Migration)), Some(7));
        assert_eq!(column.number(Row::guest(Operation::Add)), None);
        assert_eq!(Value::Each(costs, 0).number(), None);
    }
}
