//! All that a model and its tables say, as facts that can be compared and whose difference can be read.

use std::collections::BTreeSet;

use hotmap_mm::frame::block::{BlockState, MemoryBlock};
use hotmap_mm::frame::counts::{Counts, Warnings};
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::pfn::PfnRange;

use hotmap_emulator::arch::spec::Leaf;
use hotmap_emulator::arch::walker::{MappedLeaf, MappedTable};
use hotmap_emulator::layout;
use hotmap_emulator::rig::Rig;

/// How much of a machine is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    /// Everything, to the frame.
    Exact,
    /// Everything but which frames the tenants have: an offlining that fails keeps what has moved already.
    WherePagesMayHaveMoved,
    /// Everything but which frames are what: an undo that makes something again may find other frames, and blocks that come
    /// again are the youngest of their zone.
    WhereFramesMayDiffer,
}

/// One thing that is so.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fact {
    Book(String),
    Head { pfn: u64, kind: u8, order: u32, refs: u32, private: u64 },
    Free { pfn: u64, order: u32 },
    Leaf(MappedLeaf),
    Table(MappedTable),
}

/// A machine's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    facts: Vec<Fact>,
}

impl Snapshot {
    /// Everything about `rig`.
    pub fn exact(rig: &Rig) -> Self {
        Self::of(rig, Detail::Exact)
    }

    /// The state of `rig`.
    pub fn of(rig: &Rig, detail: Detail) -> Self {
        let mut facts = Vec::new();
        books(rig, detail, &mut facts);
        blocks(rig, detail, &mut facts);
        tables(rig, detail, &mut facts);
        facts.sort();
        Self { facts }
    }

    /// Fails the test with the facts that differ.
    ///
    /// # Panics
    /// When the two differ.
    pub fn assert_same(&self, now: &Self, when: &str) {
        if self == now {
            return;
        }
        let [old, new] = [self, now].map(|s| s.facts.iter().collect::<BTreeSet<_>>());
        let lines = |sign: &str, facts: Vec<&&Fact>| {
            facts.iter().map(|fact| format!("  {sign} {fact:x?}\n")).collect::<String>()
        };
        let gone = lines("-", old.difference(&new).collect());
        let come = lines("+", new.difference(&old).collect());
        panic!("{when}, the machine is not as it was:\n{gone}{come}");
    }
}

fn books(rig: &Rig, detail: Detail, facts: &mut Vec<Fact>) {
    let mm = &rig.mm;
    let mut counts = mm.frames().counts();
    if detail != Detail::Exact {
        // Where a page moves, a block on demand may lend others than before.
        counts = Counts { free: counts.free + counts.memmap_self, memmap_self: 0, ..counts };
    }
    facts.push(Fact::Book(format!("{counts:?}")));
    // What is reported once is not undone.
    let warnings = Warnings { remote_memmap: 0, ..mm.frames().warnings };
    facts.push(Fact::Book(format!("{warnings:?}")));
    for kind in hotmap_mm::frame::zone::ZoneKind::ALL {
        let zone = mm.frames().zone(kind);
        let mut blocks: Vec<_> = mm.frames().blocks_in(kind).collect();
        if detail == Detail::WhereFramesMayDiffer {
            blocks.sort_unstable();
        }
        facts.push(Fact::Book(format!("{kind}: present {} blocks {blocks:?}", zone.present)));
        if detail == Detail::Exact {
            facts.push(Fact::Book(format!("{kind}: free {}", zone.free)));
        }
    }
    for section in mm.frames().sections() {
        facts.push(Fact::Book(format!("{section:?}")));
    }
    for device in mm.devices().iter() {
        facts.push(Fact::Book(format!("{device:?}")));
    }
    for kmem in mm.devices().kmem() {
        facts.push(Fact::Book(format!("{kmem:?}")));
    }
    for tenant in mm.tenants() {
        facts.push(Fact::Book(format!("{tenant:?}")));
    }
    for pool in mm.hugetlb.pools() {
        let (order, total, free, optimised) = (pool.order(), pool.total(), pool.free(), pool.optimised());
        facts.push(Fact::Book(format!(
            "huge pages of order {order}: {total}, free {free}, optimised {optimised}"
        )));
    }
    facts.push(Fact::Book(format!(
        "stale {}, unpaid {}",
        rig.machine.stale_entries(),
        mm.space().skipped_invalidations()
    )));
}

fn blocks(rig: &Rig, detail: Detail, facts: &mut Vec<Fact>) {
    for block in rig.mm.frames().blocks() {
        let MemoryBlock { start, state, source, memmap_pages, present, poisoned, unplugged, .. } = block;
        facts.push(Fact::Book(format!(
            "block {start:?}: {state:?} {source:?} memmap {memmap_pages} present {present} poisoned {poisoned} \
             unplugged {unplugged}"
        )));
        if detail == Detail::Exact {
            facts.push(Fact::Book(format!("block {start:?}: tenants {}", block.tenant_pages)));
            heads(rig, &block, facts);
            free_lists(rig, &block, facts);
        }
    }
}

/// What the struct pages of a block say.
fn heads(rig: &Rig, block: &MemoryBlock, facts: &mut Vec<Fact>) {
    let g = rig.granule();
    let offline = block.state == BlockState::Offline;
    let spoken_for = match block.state {
        BlockState::Offline if block.marked_inside() == 0 => PfnRange::new(block.start, block.memmap_pages),
        _ => block.pages(g),
    };
    let mut at = spoken_for.start;
    while at < spoken_for.end {
        let page = rig.mm.frames().pages().get(at);
        let (kind, order) = (page.kind(), page.order());
        if offline && kind == PageKind::Tail {
            at = at + 1;
            continue;
        }
        // A free run's reference count means nothing.
        let refs = if kind == PageKind::Free { 0 } else { page.refs() };
        let (pfn, kind, private) = (at.get(), kind as u8, page.private());
        facts.push(Fact::Head { pfn, kind, order, refs, private });
        at = at + (1 << order);
    }
}

fn free_lists(rig: &Rig, block: &MemoryBlock, facts: &mut Vec<Fact>) {
    let g = rig.granule();
    for order in 0..=g.section_order {
        for pfn in block.free.heads(&rig.mm.frames().pages(), order) {
            facts.push(Fact::Free { pfn: pfn.get(), order });
        }
    }
}

/// The addresses of the struct pages of each block on demand.
fn memmaps_on_demand(rig: &Rig) -> Vec<std::ops::Range<u64>> {
    let (spec, base) = (rig.machine.spec(), rig.shape.ram.iter().map(|r| r.0).min().unwrap_or(0));
    let first = layout::base(spec, base) / spec.page;
    let starts = rig.mm.frames().blocks().filter(|b| b.demand.is_some()).map(|b| b.start.get());
    let va = |frame: u64| layout::vmemmap(spec).start + (frame - first) * layout::STRUCT_PAGE;
    starts.map(|start| va(start)..va(start + layout::block(spec) / spec.page)).collect()
}

/// What the tables mean, read by the specification's walker.
fn tables(rig: &Rig, detail: Detail, facts: &mut Vec<Fact>) {
    let all = rig.machine.everything();
    let on_demand: Vec<_> = if detail == Detail::Exact { Vec::new() } else { memmaps_on_demand(rig) };
    let moves = |va: u64| on_demand.iter().any(|memmap| memmap.contains(&va));
    for l in all.leaves.iter().filter(|l| !moves(l.va)) {
        let tenant = layout::TENANTS.contains(&l.va);
        let memmap = layout::vmemmap(rig.machine.spec()).contains(&l.va);
        let moved = match detail {
            Detail::Exact => false,
            Detail::WherePagesMayHaveMoved => tenant,
            Detail::WhereFramesMayDiffer => tenant || memmap,
        };
        let leaf = Leaf { pa: if moved { 0 } else { l.leaf.pa }, ..l.leaf };
        facts.push(Fact::Leaf(MappedLeaf { leaf, ..*l }));
    }
    let same_frames = detail != Detail::WhereFramesMayDiffer;
    // At 4K a table of level 3 is one block's; at 16K and 64K it starts with some block's and serves others too.
    let lent = |t: &MappedTable| t.level == 3 && rig.granule().page_size == 0x1000 && moves(t.va);
    let tables = all.tables.iter().filter(|t| !lent(t));
    facts.extend(tables.map(|t| Fact::Table(MappedTable { pa: if same_frames { t.pa } else { 0 }, ..*t })));
    for (at, why) in &all.reserved {
        facts.push(Fact::Book(format!("reserved entry at {at:#x}: {why}")));
    }
    for at in &all.remembered {
        facts.push(Fact::Book(format!("entry at {at:#x} is not zero")));
    }
}
