//! The view `tables`: the tree of translation tables, without the leaves.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::address::Address;
use crate::descriptor::{Entry, EntryType};
use crate::layout;
use crate::machine::Machine;
use crate::spec::UPPER_HALF;
use crate::translation::Tables;

/// The tree of tables.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TablesView {
    /// The table at which a walk starts.
    pub root: Address,
    /// The tables, the root first, each before those below it.
    pub nodes: Vec<TableNode>,
    /// Entries that lead to where there is no memory.
    pub unreadable: Vec<Address>,
    /// Whether `nodes` has all of them: false for more tables than a sound machine has.
    pub complete: bool,
}

/// A table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct TableNode {
    /// Its physical address.
    pub pa: Address,
    /// Its level.
    pub level: usize,
    /// The table whose entry leads to it: the first, if several do.
    pub parent: Option<Address>,
    /// That entry's number.
    pub index_in_parent: Option<u64>,
    /// How many entries lead to it; 0 to the root.
    pub times: u64,
    /// The first virtual address that it translates.
    pub va: Address,
    /// Bytes that it translates.
    pub covers: u64,
    /// Its entries by type.
    pub entries: Entries,
    /// The regions that it translates addresses of, by name, with `+` between them.
    #[serde(rename = "for")]
    pub serves: String,
}

/// How many entries a table has of each type.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Entries {
    /// Leading to tables.
    pub table: u64,
    /// Blocks.
    pub block: u64,
    /// Pages.
    pub page: u64,
    /// Invalid ones.
    pub invalid: u64,
    /// Reserved encodings.
    pub reserved: u64,
}

impl Machine<'_> {
    /// The tree of translation tables.
    pub fn table_tree(&self) -> TablesView {
        let tables = self.tables();
        let mut tree = Tree {
            tables: &tables,
            vmemmap: self.state.vmemmap.start,
            nodes: Vec::new(),
            at: BTreeMap::new(),
            unreadable: Vec::new(),
        };
        tree.add(tables.root, tables.spec.first, UPPER_HALF, None);
        let complete = !tables.is_spent();
        TablesView { root: Address(tables.root), nodes: tree.nodes, unreadable: tree.unreadable, complete }
    }
}

struct Tree<'t, 'm> {
    tables: &'t Tables<'m>,
    vmemmap: u64,
    nodes: Vec<TableNode>,
    /// Where a table of a level is in `nodes`.
    at: BTreeMap<(u64, usize), usize>,
    unreadable: Vec<Address>,
}

impl Tree<'_, '_> {
    /// Adds the table `pa`, to which the entry `parent` (its table and number) leads, and all below it. A table is listed
    /// once for each level: so it ends where tables lead in circles.
    fn add(&mut self, pa: u64, level: usize, va: u64, parent: Option<(u64, u64)>) {
        if let Some(known) = self.at.get(&(pa, level)) {
            self.nodes[*known].times += 1;
            return;
        }
        let Some(entries) = self.tables.table(pa, level) else {
            return self.unreadable.extend(parent.map(|(table, index)| Address(table + index * 8)));
        };
        let shape = self.tables.spec.level(level);
        let covers = shape.size() << shape.bits;
        let mine = self.nodes.len();
        self.at.insert((pa, level), mine);
        self.nodes.push(TableNode {
            pa: Address(pa),
            level,
            parent: parent.map(|(table, _)| Address(table)),
            index_in_parent: parent.map(|(_, index)| index),
            times: u64::from(parent.is_some()),
            va: Address(va),
            covers,
            entries: Entries::default(),
            serves: self.serves(va, covers),
        });
        for (index, raw) in (0..).zip(entries.iter()) {
            let entry = Entry::decode(self.tables.spec, level, *raw);
            let count = &mut self.nodes[mine].entries;
            *match entry.entry_type(level) {
                EntryType::Table => &mut count.table,
                EntryType::Block => &mut count.block,
                EntryType::Page => &mut count.page,
                EntryType::Invalid => &mut count.invalid,
                EntryType::Reserved => &mut count.reserved,
            } += 1;
            if let Entry::Table { pa: below, .. } = entry {
                self.add(below, level + 1, va + (index << shape.low), Some((pa, index)));
            }
        }
    }

    fn serves(&self, va: u64, covers: u64) -> String {
        let last = va.wrapping_add(covers - 1);
        let touched =
            layout::regions(self.vmemmap).into_iter().filter(|(_, r)| r.start <= last && va < r.end);
        touched.map(|(name, _)| name).collect::<Vec<_>>().join("+")
    }
}
