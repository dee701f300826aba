//! All that a model and its tables say, as lines that can be compared and whose difference can be read.

use std::collections::BTreeSet;

use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::block::{BlockState, MemoryBlock};
use hotmap_mm::page::PageKind;
use hotmap_mm::pfn::PfnRange;

use crate::layout;
use crate::rig::Rig;

/// How much of a machine is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Detail {
    /// Everything, to the frame.
    Exact,
    /// Everything but which frames the tenants have: an offlining that fails keeps what has moved already.
    WherePagesMayHaveMoved,
}

/// A machine's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    lines: BTreeSet<String>,
}

impl Snapshot {
    /// Everything about `rig`.
    pub fn exact<G: Granule>(rig: &Rig<G>) -> Self {
        Self::of(rig, Detail::Exact)
    }

    /// The state of `rig`.
    pub fn of<G: Granule>(rig: &Rig<G>, detail: Detail) -> Self {
        let mut lines = BTreeSet::new();
        books(rig, detail, &mut lines);
        blocks(rig, detail, &mut lines);
        tables(rig, detail, &mut lines);
        Self { lines }
    }

    /// Fail the test with the lines that differ.
    ///
    /// # Panics
    /// When the two differ.
    pub fn assert_same(&self, now: &Self, when: &str) {
        let gone: Vec<_> = self.lines.difference(&now.lines).map(|l| format!("  - {l}")).collect();
        let new: Vec<_> = now.lines.difference(&self.lines).map(|l| format!("  + {l}")).collect();
        let differ = !gone.is_empty() || !new.is_empty();
        assert!(!differ, "{when}, the machine is not as it was:\n{}\n{}", gone.join("\n"), new.join("\n"));
    }
}

fn books<G: Granule>(rig: &Rig<G>, detail: Detail, lines: &mut BTreeSet<String>) {
    let mm = &rig.mm;
    lines.insert(format!("{:?}", mm.counts()));
    lines.insert(format!("{:?}", mm.warnings()));
    for kind in hotmap_mm::zone::ZoneKind::ALL {
        let zone = mm.zone(kind);
        lines.insert(format!("{kind}: present {} blocks {:?}", zone.present, zone.blocks()));
        if detail == Detail::Exact {
            lines.insert(format!("{kind}: free {}", zone.free));
        }
    }
    for section in mm.sections() {
        lines.insert(format!("{section:?}"));
    }
    for tenant in mm.tenants() {
        lines.insert(format!("{tenant:?}"));
    }
    lines.insert(format!("stale {}, unpaid {}", rig.machine.stale_entries(), mm.unpaid_debts()));
}

fn blocks<G: Granule>(rig: &Rig<G>, detail: Detail, lines: &mut BTreeSet<String>) {
    for block in rig.mm.blocks() {
        let MemoryBlock { start, state, source, memmap_pages, present, .. } = block;
        lines.insert(format!("block {start:?}: {state:?} {source:?} memmap {memmap_pages} present {present}"));
        if detail == Detail::Exact {
            lines.insert(format!("block {start:?}: tenants {}", block.tenant_pages));
            heads(rig, block, lines);
            free_lists(rig, block, lines);
        }
    }
}

/// What the struct pages of a block say.
fn heads<G: Granule>(rig: &Rig<G>, block: &MemoryBlock, lines: &mut BTreeSet<String>) {
    let spoken_for = match block.state {
        BlockState::Offline => PfnRange::new(block.start, block.memmap_pages),
        _ => block.pages::<G>(),
    };
    let mut at = spoken_for.start;
    while at < spoken_for.end {
        let page = rig.mm.pages().get(at);
        let (kind, order) = (page.kind(), page.order());
        // A free run's reference count means nothing.
        let refs = if kind == PageKind::Free { 0 } else { page.refs() };
        lines.insert(format!("{at:?}: {kind} order {order} refs {refs} private {:#x}", page.private()));
        at = at + (1 << order);
    }
}

fn free_lists<G: Granule>(rig: &Rig<G>, block: &MemoryBlock, lines: &mut BTreeSet<String>) {
    for order in 0..=G::BLOCK_ORDER {
        for pfn in block.free.heads(&rig.mm.pages(), order) {
            lines.insert(format!("free list {order}: {pfn:?}"));
        }
    }
}

/// What the tables mean, read by the specification's walker.
fn tables<G: Granule>(rig: &Rig<G>, detail: Detail, lines: &mut BTreeSet<String>) {
    let all = rig.machine.everything();
    for l in &all.leaves {
        let tenant = layout::TENANTS.contains(&l.va);
        let moved = tenant && detail == Detail::WherePagesMayHaveMoved;
        let leaf = crate::arch::spec::Leaf { pa: if moved { 0 } else { l.leaf.pa }, ..l.leaf };
        lines.insert(format!("leaf {:#x} + {:#x}: {leaf:x?}", l.va, l.size));
    }
    for t in &all.tables {
        lines.insert(format!("table {:#x}: level {} va {:#x}, {} live", t.pa, t.level, t.va, t.live));
    }
    for (at, why) in &all.reserved {
        lines.insert(format!("reserved entry at {at:#x}: {why}"));
    }
    for at in &all.remembered {
        lines.insert(format!("entry at {at:#x} is not zero"));
    }
}
