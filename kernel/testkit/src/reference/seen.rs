//! What the specification's walker sees of a machine: which frames hold tables, memmap and tenants. The reference model
//! learns placement from here, and nothing from the model's own lookups.

use std::collections::BTreeMap;

use super::frames::Frames;
use hotmap_emulator::arch::spec::Spec;
use hotmap_emulator::arch::walker::Everything;
use hotmap_emulator::layout;
use hotmap_emulator::machine::Emulated;

/// Frames in use that the tables show.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Frames of tables.
    pub tables: Frames,
    /// Frames that hold memmap, self-hosted or not, and those of the image of a free block.
    pub memmap: Frames,
    /// Frames of tenants, by the virtual address that maps each.
    pub tenants: BTreeMap<u64, u64>,
    /// Everything, for closer looks.
    pub all: Everything,
}

impl Seen {
    /// Looks at `machine`.
    ///
    /// # Panics
    /// When a frame holds two tables, or is mapped twice as memmap and can be written to.
    pub fn of(machine: &Emulated) -> Self {
        let (spec, all) = (machine.spec(), machine.everything());
        let frame = |pa: u64| pa / spec.page;
        let tables = Frames::of(all.tables.iter().map(|t| frame(t.pa)..frame(t.pa) + 1));
        let vmemmap = layout::vmemmap(spec);
        let mut distinct: Vec<_> = all.tables.clone();
        distinct.sort_by_key(|t| (t.pa, t.va));
        // The table of the image is one for all free blocks (4K).
        distinct.dedup_by(|b, a| a.pa == b.pa && a.level == 3 && b.level == 3 && vmemmap.contains(&b.va));
        assert_eq!(tables.len(), distinct.len() as u64, "a frame holds two tables");
        let leaves = all.leaves.iter().filter(|l| vmemmap.contains(&l.va));
        let memmap = Frames::of(leaves.clone().map(|l| frame(l.leaf.pa)..frame(l.leaf.pa + l.size)));
        let mut own: Vec<u64> = leaves.filter(|l| l.leaf.writable).map(|l| l.leaf.pa).collect();
        own.sort_unstable();
        let twice = own.windows(2).find(|pair| pair[0] == pair[1]);
        assert_eq!(twice, None, "a frame is mapped twice as memmap");
        let area = all.leaves.iter().filter(|l| layout::TENANTS.contains(&l.va));
        let tenants = area.map(|l| (l.va, frame(l.leaf.pa))).collect();
        Self { tables, memmap, tenants, all }
    }

    /// The frames of tenants.
    pub fn tenant_frames(&self) -> Frames {
        Frames::of(self.tenants.values().map(|frame| *frame..frame + 1))
    }

    /// The linear map, as disjoint physical ranges in bytes.
    pub fn linear(&self, spec: &Spec, ram_start: u64) -> Frames {
        let base = layout::base(spec, ram_start);
        let leaves = self.all.leaves.iter().filter(|l| layout::LINEAR.contains(&l.va));
        Frames::of(leaves.map(|l| {
            assert_eq!(l.va - layout::LINEAR.start + base, l.leaf.pa, "the linear map is linear");
            l.leaf.pa..l.leaf.pa + l.size
        }))
    }
}
