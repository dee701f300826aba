//! The emulated MMU: translates by the tables in force, and watches what is written to them.
//!
//! ```text
//!  entry valid -> invalid     the old entry is stale from now on
//!  use of an address          must not be covered by a stale entry, or by one that is not published
//!  new entry, cleared frame   must not meet a stale entry: neither at its address nor at its memory
//!  invalidate                 stale entries that one of the operations hits are gone
//! ```

use std::collections::{HashMap, HashSet, VecDeque};
use std::ops::Range;

use super::memory::{PhysMemory, host};
use super::record::Place;
use super::tlb::{Stale, Tlb};
use super::violation::{Rule, Violation};
use crate::arch::live;
use crate::arch::spec::{Entry, Spec};
use crate::arch::walker::{self, Everything, MappedTable, Memory, Walk};

/// A translation that was checked, until anything changes.
#[derive(Clone, Copy, Default)]
struct Checked {
    generation: u64,
    va: u64,
    size: u64,
    pa: u64,
    writable: bool,
}

/// How many checked translations are remembered.
const CHECKED: usize = 64;

/// How many leaves that were used are remembered.
const USED: usize = 64;

/// Where the translation of `va` is remembered.
fn slot(va: u64) -> usize {
    host((va >> 12 ^ va >> 21 ^ va >> 29) % CHECKED as u64)
}

/// The MMU, once it is on.
pub(crate) struct Mmu {
    root: u64,
    linear: Range<u64>,
    phys_base: u64,
    /// The tables in force: level, and the first virtual address that they serve, once for each entry that leads to them.
    tables: HashMap<u64, (usize, Vec<u64>)>,
    /// Whether a block and the table of its pieces may replace each other in one step (FEAT_BBM level 2).
    pub(crate) bbm_level_2: bool,
    /// Addresses that no access may use: their entries are being changed through an invalid one.
    window: Option<Range<u64>>,
    /// What blocks and tables were when they were taken down, by the first address that they served; and whether in a window.
    taken_down: HashMap<u64, (Everything, bool)>,
    tlb: Tlb,
    /// Addresses of entries that were written and not published.
    unpublished: HashSet<u64>,
    /// Runs under a Contiguous bit that agree: the address of their first entry.
    runs: HashSet<u64>,
    checked: [Checked; CHECKED],
    generation: u64,
    /// The addresses of the leaves that were used last.
    pub(crate) used: VecDeque<u64>,
    /// What was found since the last request.
    pub(crate) found: Vec<Violation>,
}

impl Mmu {
    /// Switches the MMU on.
    pub(crate) fn new(
        spec: &Spec,
        memory: &PhysMemory,
        root: u64,
        linear: Range<u64>,
        phys_base: u64,
    ) -> Self {
        let mut mmu = Self {
            root,
            linear,
            phys_base,
            tables: HashMap::new(),
            bbm_level_2: false,
            window: None,
            taken_down: HashMap::new(),
            tlb: Tlb::default(),
            unpublished: HashSet::new(),
            runs: HashSet::new(),
            checked: [Checked::default(); CHECKED],
            generation: 1,
            used: VecDeque::new(),
            found: Vec::new(),
        };
        // Miri checks pointers, at a ten-thousandth of the speed: it is spared the watch over table entries, which the same
        // tests keep when they run by themselves. Without tables in force `written` has nothing to watch.
        if !cfg!(miri) {
            mmu.link(memory, &walker::everything(spec, memory, root));
        }
        mmu
    }

    pub(crate) const fn root(&self) -> u64 {
        self.root
    }
    pub(crate) fn stale_entries(&self) -> &[Stale] {
        self.tlb.entries()
    }
    /// Where the linear map has `pa`.
    pub(crate) fn linear_address(&self, pa: u64) -> Option<u64> {
        let offset = pa.checked_sub(self.phys_base)?;
        (offset < self.linear.end - self.linear.start).then(|| self.linear.start + offset)
    }
    fn report(&mut self, rule: Rule, va: u64, pa: u64, note: &'static str) {
        self.found.push(Violation { rule, va, pa, note });
    }

    /// A translation of `va` that was checked before and has not changed since: as [`Self::translate`].
    pub(crate) fn checked(&self, va: u64, write: bool) -> Option<(u64, u64)> {
        let c = &self.checked[slot(va)];
        let good =
            c.generation == self.generation && c.va <= va && va - c.va < c.size && (c.writable || !write);
        good.then(|| (c.pa + (va - c.va), c.size - (va - c.va)))
    }

    /// Translates `va`: the physical address, and how many bytes of the leaf follow. `None`: the access faults.
    pub(crate) fn translate(
        &mut self,
        spec: &Spec,
        memory: &PhysMemory,
        va: u64,
        write: bool,
    ) -> Option<(u64, u64)> {
        let walked = walker::walk(spec, memory, self.root, va);
        if let Some(stale) = self.tlb.misleads(va, walked.as_ref().ok(), write) {
            let note = if stale.leaf.is_some() { "a cached leaf" } else { "a cached table entry" };
            self.report(Rule::StaleTranslation, va, stale.pa, note);
        }
        let walk = match walked {
            Ok(walk) => walk,
            Err(_) => {
                self.report(Rule::Unmapped, va, 0, if write { "a store" } else { "a load" });
                return None;
            }
        };
        if write && !walk.leaf.writable {
            self.report(Rule::ReadOnly, va, walk.leaf.pa, "");
        }
        if walk.reads.iter().flatten().any(|read| self.unpublished.contains(&read.at)) {
            self.report(Rule::Unpublished, va, walk.leaf.pa, "");
        }
        self.check_run(spec, memory, &walk);
        self.note_used(walk.va);
        let (generation, writable) = (self.generation, walk.leaf.writable);
        if self.found.is_empty() {
            self.checked[slot(va)] =
                Checked { generation, va: walk.va, size: walk.size, pa: walk.leaf.pa, writable };
        }
        Some((walk.leaf.pa + (va - walk.va), walk.size - (va - walk.va)))
    }

    fn note_used(&mut self, va: u64) {
        if self.used.contains(&va) {
            return;
        }
        if self.used.len() == USED {
            self.used.pop_front();
        }
        self.used.push_back(va);
    }

    /// All entries that share the Contiguous bit with this one say the same and map neighbouring memory.
    fn check_run(&mut self, spec: &Spec, memory: &PhysMemory, walk: &Walk) {
        let Some(read) = walk.reads.iter().flatten().last().filter(|_| walk.leaf.contiguous) else { return };
        let run = spec.levels[read.level].run;
        let first = read.at & !(run * 8 - 1);
        if self.runs.contains(&first) {
            return;
        }
        let base = walk.leaf.pa & !(run * walk.size - 1);
        let agree = (0..run).all(|i| {
            let entry = spec.decode(read.level, memory.read(first + i * 8));
            let Entry::Leaf(leaf) = entry else { return false };
            leaf.pa == base + i * walk.size
                && leaf.contiguous
                && (leaf.writable, leaf.executable, leaf.memory)
                    == (walk.leaf.writable, walk.leaf.executable, walk.leaf.memory)
        });
        if agree {
            self.runs.insert(first);
        } else {
            self.report(Rule::ContiguousRun, walk.va, walk.leaf.pa, "");
        }
    }

    /// The model wrote the entry `index` of `table`.
    pub(crate) fn written(
        &mut self,
        spec: &Spec,
        memory: &PhysMemory,
        table: u64,
        index: u64,
        old: u64,
        new: u64,
    ) -> Option<Place> {
        let (level, starts) = self.tables.get(&table).cloned()?;
        self.generation += 1;
        let (shape, at) = (spec.levels[level], table + index * 8);
        self.runs.remove(&(at & !(shape.run * 8 - 1)));
        let mut judged = Ok("");
        for start in &starts {
            let this = self.changed(spec, memory, level, (table, start + (index << shape.low)), old, new);
            judged = judged.and(this);
        }
        if old != new && !matches!(spec.decode(level, new), Entry::Invalid) {
            self.unpublished.insert(at);
        }
        let va = starts.first().map_or(0, |start| start + (index << shape.low));
        Some(Place { level, va, times: starts.len(), judged })
    }

    /// The entry for `va`, of `level` and in `table`, changed. Returns what the architecture says to that.
    fn changed(
        &mut self,
        spec: &Spec,
        memory: &PhysMemory,
        level: usize,
        (table, va): (u64, u64),
        old: u64,
        new: u64,
    ) -> Result<&'static str, &'static str> {
        let shape = spec.levels[level];
        let gone = self.contents(spec, memory, level, va, old);
        let come = self.contents(spec, memory, level, va, new);
        let resized = self.bbm_level_2 && gone.tables.len() != come.tables.len() && gone.translates_as(&come);
        let judged = match live::judge(spec, level, old, new, |a, b, len| memory.same(a, b, len)) {
            Err(_) if resized => Ok("a block and its pieces replace each other live (FEAT_BBM level 2)"),
            other => other,
        };
        if let Err(why) = judged {
            self.report(Rule::BreakBeforeMake, va, table, why);
        }
        if old == new {
            return judged;
        }
        if level < 3 {
            self.reshaped(va..va.saturating_add(shape.size()), (old, new), &gone, &come);
        }
        // A table that stays while its entry changes takes nothing down.
        let keeps_table = gone.tables.first().map(|t| t.pa) == come.tables.first().map(|t| t.pa);
        if !keeps_table || gone.tables.is_empty() {
            for (rule, va, pa) in self.tlb.collisions(spec, va, shape.size(), &come) {
                self.report(rule, va, pa, "");
            }
            self.tlb.add(spec, &gone);
            for t in &gone.tables {
                self.unlink(t);
            }
            self.link(memory, &come);
        }
        judged
    }

    /// A block that becomes the table of its pieces, or the reverse, through an invalid entry: a window must
    /// cover it.
    fn reshaped(&mut self, span: Range<u64>, (old, new): (u64, u64), gone: &Everything, come: &Everything) {
        let va = span.start;
        let told = self.window.as_ref().is_some_and(|window| window.contains(&va));
        if new == 0 {
            self.taken_down.remove(&va);
            return;
        }
        if come.leaves.is_empty() && come.tables.is_empty() {
            // What was below goes with it.
            self.taken_down.retain(|at, _| !span.contains(at));
            self.taken_down.insert(va, (gone.clone(), told));
            return;
        }
        // An entry that was empty in between had no owner: what it mapped was freed.
        let Some((was, in_window)) = self.taken_down.remove(&va).filter(|_| old != 0) else { return };
        let other_shape = was.tables.len() != come.tables.len();
        if other_shape && was.translates_as(come) && !(in_window && told) {
            self.report(Rule::NoWindow, va, 0, "");
        }
    }

    /// One entry less leads to a table.
    fn unlink(&mut self, gone: &MappedTable) {
        let Some((_, starts)) = self.tables.get_mut(&gone.pa) else { return };
        starts.retain(|start| *start != gone.va);
        if starts.is_empty() {
            self.tables.remove(&gone.pa);
        }
    }

    /// No access may use these addresses until [`Self::close_window`].
    pub(crate) fn open_window(&mut self, range: Range<u64>) {
        if let Some(open) = self.window.replace(range) {
            self.report(Rule::NoWindow, open.start, 0, "a window in a window");
        }
    }
    /// Whether a reader would wait.
    pub(crate) const fn window_is_open(&self) -> bool {
        self.window.is_some()
    }
    /// The entries are valid again, and what they were is in no TLB any more.
    pub(crate) fn close_window(&mut self) {
        let Some(range) = self.window.take() else { return };
        if self.tlb.leads_from(&range) {
            self.report(Rule::MakeBeforeInvalidate, range.start, 0, "a window was closed");
        }
    }

    /// All that an entry leads to.
    fn contents(&self, spec: &Spec, memory: &PhysMemory, level: usize, va: u64, raw: u64) -> Everything {
        let mut all = Everything::default();
        match spec.decode(level, raw) {
            Entry::Table { pa, .. } if memory.is_present(pa, spec.page) => {
                walker::below(spec, memory, level + 1, pa, va, &mut all);
            }
            Entry::Table { pa, .. } => all.reserved.push((pa, "the table is not in present memory")),
            Entry::Leaf(leaf) => {
                all.leaves.push(walker::MappedLeaf { va, size: spec.levels[level].size(), leaf });
            }
            Entry::Invalid => {}
            Entry::Reserved(why) => all.reserved.push((va, why)),
        }
        all
    }

    fn link(&mut self, memory: &PhysMemory, come: &Everything) {
        for t in &come.tables {
            self.tables.entry(t.pa).or_insert((t.level, Vec::new())).1.push(t.va);
        }
        for (at, why) in &come.reserved {
            self.report(Rule::GarbageTable, 0, *at, why);
        }
        for l in &come.leaves {
            if !memory.is_present(l.leaf.pa, l.size) {
                self.report(Rule::LeadsNowhere, l.va, l.leaf.pa, "");
            }
        }
    }

    /// Table writes are ordered before walks.
    pub(crate) fn publish(&mut self) {
        self.unpublished.clear();
    }

    /// TLBI by address for every `stride` bytes of the range, the barriers around it included.
    pub(crate) fn invalidate(&mut self, range: Range<u64>, stride: u64, tables: bool) {
        self.publish();
        self.generation += 1;
        self.tlb.invalidate(&range, stride, tables);
    }

    /// Memory that is cleared for a new use.
    pub(crate) fn cleared(&mut self, pa: u64, len: u64) {
        if let Some(s) = self.tlb.leading_to(pa, len).first() {
            self.report(Rule::ReuseWhileCached, s.va, pa, "cleared for a new use");
        }
        if let Some((table, (_, va))) = self.tables.iter().find(|(t, _)| (pa..pa + len).contains(*t)) {
            let (va, table) = (va[0], *table);
            self.report(Rule::TableCleared, va, table, "");
        }
    }

    /// Memory that is taken away.
    pub(crate) fn unplugged(&mut self, spec: &Spec, memory: &PhysMemory, range: Range<u64>) {
        self.generation += 1;
        let len = range.end - range.start;
        for s in self.tlb.leading_to(range.start, len) {
            self.report(Rule::UnplugWhileMapped, s.va, s.pa, "a cached translation");
        }
        if cfg!(miri) {
            return;
        }
        let all = walker::everything(spec, memory, self.root);
        for l in all.leaves.iter().filter(|l| l.leaf.pa < range.end && range.start < l.leaf.pa + l.size) {
            self.report(Rule::UnplugWhileMapped, l.va, l.leaf.pa, "a live leaf");
        }
        for t in all.tables.iter().filter(|t| range.contains(&t.pa)) {
            self.report(Rule::UnplugWhileMapped, t.va, t.pa, "a table in force");
        }
    }
}
