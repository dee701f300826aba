//! Devices in compound pages: how much of their memmap has memory of its own, who counts what is shared, and that it comes
//! and goes in any order. The oracles: numbers worked out by hand, the specification's walker over raw tables, snapshots.
#![cfg(not(miri))]

use hotmap_mm::addr::PhysAddr;
use hotmap_mm::device::compound::{Compound, Dedup, NoDedup, TailScope};
use hotmap_mm::device::holds::Teardown;
use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::device::range::{DeviceMemmap, DeviceRange};
use hotmap_mm::error::{Error, Result};
use hotmap_mm::granule::Granule;
use hotmap_testkit::rig::{GIB, MIB, Rig, Shape};
use hotmap_testkit::snapshot::Snapshot;

/// Where no table is shared with boot memory.
const FAR: u64 = 8 << 40;
const ON_DEVICE: DeviceMemmap = DeviceMemmap::Device { reserve: 0 };
const SCOPES: [TailScope; 2] = [TailScope::Page, TailScope::Device];

fn boot<G: Granule>() -> Rig<G> {
    Rig::boot(&Shape::one("256 MiB", 0x4000_0000, 256 * MIB))
}

/// What a device shall be.
#[derive(Clone, Copy, Debug)]
struct Wish {
    start: u64,
    len: u64,
    kind: DeviceType,
    memmap: DeviceMemmap,
    size: u64,
    tails: TailScope,
}

impl Wish {
    fn new(start: u64, len: u64, size: u64) -> Self {
        let (kind, memmap, tails) = (DeviceType::Generic, DeviceMemmap::Ram, TailScope::Page);
        Self { start, len, kind, memmap, size, tails }
    }
    fn private(self) -> Self {
        Self { kind: DeviceType::Private, ..self }
    }
    fn on_device(self, reserve: u64) -> Self {
        Self { memmap: DeviceMemmap::Device { reserve }, ..self }
    }
    fn tails(self, tails: TailScope) -> Self {
        Self { tails, ..self }
    }
    fn range<G: Granule>(&self, rig: &Rig<G>) -> Result<DeviceRange> {
        let compound = Compound::new::<G>(self.size, self.tails)?;
        DeviceRange::grouped(
            &rig.mm,
            &[(PhysAddr::new(self.start), self.len)],
            self.kind,
            self.memmap,
            compound,
        )
    }
    fn create<G: Granule>(&self, rig: &mut Rig<G>) -> Result<()> {
        let device = self.range(rig)?;
        rig.mm.device_create(&device, |_, _| {})
    }
}

fn destroy<G: Granule>(rig: &mut Rig<G>, start: u64) {
    assert_eq!(rig.mm.device_destroy(Rig::<G>::pfn(start)), Ok(Teardown::Gone), "{start:#x}");
}

/// The sizes of compound pages that share, as Linux's documents have them: PMD, and what is larger and not too large to test.
const SIZES: [[u64; 3]; 3] =
    [[2 * MIB, 32 * MIB, GIB], [32 * MIB, GIB, 64 * GIB], [512 * MIB, 16 * GIB, 4096 * GIB]];

fn a_compound_device_comes_and_goes_without_a_trace<G: Granule>() {
    for size in SIZES[G::KIND as usize] {
        for tails in SCOPES {
            let mut rig = boot::<G>();
            let before = Snapshot::exact(&rig);
            let wish = Wish::new(FAR, 2 * size, size).private().tails(tails);
            wish.create(&mut rig).expect("room");
            rig.assert_clean("made");
            assert_eq!(rig.mm.devices()[0].dedup(), Dedup::Shared);
            destroy(&mut rig, FAR);
            rig.assert_clean("gone");
            before.assert_same(&Snapshot::exact(&rig), "after a device's life");
            assert_eq!(rig.mm.warnings().total(), 0);
        }
    }
}

hotmap_testkit::at_each_granule!(a_compound_device_comes_and_goes_without_a_trace,);
