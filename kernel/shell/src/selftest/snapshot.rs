//! What the machine is like, as numbers that can be compared. What may differ after a test that leaves no trace is left out:
//! which frames hold tables and memmap, and the number of the next tenant.

use hotmap_mm::device::pagemap::Pagemap;
use hotmap_mm::frame::block::MemoryBlock;
use hotmap_mm::frame::counts::Counts;
use hotmap_mm::frame::section::{Backing, Section};
use hotmap_mm::frame::zone::ZoneKind;

use super::check::{Outcome, check, fail};
use super::expected::Expected;
use crate::checksum::checksum;
use hotmap_kernel::arch::heap;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::kprintln;

const COUNTS: [&str; 7] =
    ["pages present", "free", "allocated", "memmap_self", "memmap_ram", "tables", "reserved"];
const OTHERS: [&str; 15] = [
    "zone Normal, present",
    "zone Normal, free",
    "zone Normal, its blocks (checksum)",
    "zone Movable, present",
    "zone Movable, free",
    "zone Movable, its blocks (checksum)",
    "memory blocks (checksum)",
    "sections (checksum)",
    "devices (checksum)",
    "tenants (checksum)",
    "pools of huge pages (checksum)",
    "warnings",
    "unpaid TLB maintenance",
    "heap bytes in use",
    "audit findings",
];
/// The most findings that are told.
const FINDINGS_SHOWN: u32 = 4;

/// A machine's state.
pub(super) struct Snapshot {
    counts: [u64; COUNTS.len()],
    others: [u64; OTHERS.len()],
}

impl Snapshot {
    /// The state now.
    pub(super) fn of(kernel: &Kernel) -> Self {
        let [normal, movable] = ZoneKind::ALL.map(|kind| {
            let zone = kernel.mm.frames().zone(kind);
            [zone.present, zone.free, checksum(kernel.mm.frames().blocks_in(kind).map(|start| start.get()))]
        });
        let tenants =
            kernel.mm.tenants().iter().flat_map(|t| [u64::from(t.id), t.range.start.get(), t.range.len()]);
        let pools = kernel.mm.hugetlb.pools().flat_map(|pool| [pool.total(), pool.free(), pool.optimised()]);
        Self {
            counts: array(&kernel.mm.frames().counts()),
            others: [
                normal[0],
                normal[1],
                normal[2],
                movable[0],
                movable[1],
                movable[2],
                blocks(kernel.mm.frames().blocks()),
                sections(kernel),
                devices(kernel),
                checksum(tenants),
                checksum(pools),
                kernel.mm.frames().warnings.total(),
                kernel.mm.space().skipped_invalidations(),
                heap::usage().0 as u64,
                u64::from(kernel.mm.audit(&mut |_| {}).total()),
            ],
        }
    }

    /// The machine is as it was; every number that is not is told, and what an audit finds beyond what it found.
    pub(super) fn is_still(&self, kernel: &Kernel) -> Outcome {
        let now = Self::of(kernel);
        let counts = compare(&COUNTS, &now.counts, &self.counts);
        let others = compare(&OTHERS, &now.others, &self.others);
        if others.is_err() {
            tell_findings(kernel);
        }
        counts.and(others)
    }
}

/// The invariants hold. On a machine on which they do not, a test may do more harm.
pub(super) fn is_sound(kernel: &Kernel) -> Outcome {
    let findings = tell_findings(kernel);
    check!(findings == 0, "{findings} findings of an audit before the first test");
    Ok(())
}

fn tell_findings(kernel: &Kernel) -> u32 {
    let mut told = 0;
    let summary = kernel.mm.audit(&mut |finding| {
        told += 1;
        if told <= FINDINGS_SHOWN {
            kprintln!("  # {finding}");
        }
    });
    summary.total()
}

/// The pages by use, as numbers.
fn array(counts: &Counts) -> [u64; COUNTS.len()] {
    let Counts { present, free, allocated, memmap_self, memmap_ram, tables, reserved } = *counts;
    [present, free, allocated, memmap_self, memmap_ram, tables, reserved]
}

/// The pages by use are exactly as expected.
pub(super) fn counts_are(found: &Counts, expected: &Counts) -> Outcome {
    compare(&COUNTS, &array(found), &array(expected))
}

fn compare(names: &[&str], found: &[u64], expected: &[u64]) -> Outcome {
    let mut outcome = Ok(());
    for ((name, found), expected) in names.iter().zip(found).zip(expected) {
        if found != expected {
            outcome = Err(fail(format_args!("{name}: {found} instead of {expected}")));
        }
    }
    outcome
}

fn blocks(blocks: impl Iterator<Item = MemoryBlock>) -> u64 {
    checksum(blocks.flat_map(|block| {
        let inside = block.marked_inside();
        let MemoryBlock { start, state, memmap_pages, present, free, tenant_pages, .. } = block;
        let zone = state.zone().map_or(0, |zone| 1 + zone as u64);
        [start.get(), zone, memmap_pages, inside, present, free.pages(), tenant_pages]
    }))
}

fn sections(kernel: &Kernel) -> u64 {
    checksum(kernel.mm.frames().sections().flat_map(|section| {
        let Section { start, present, device_subsections, early, backing, optimised, memmap_run: _ } =
            section;
        let backing = match backing {
            Backing::Boot => 0,
            Backing::Ram => 1,
            Backing::Demand => 2,
            Backing::Altmap(base) => {
                3 + base.get() + kernel.mm.frames().altmap(base).map_or(0, |a| a.alloc())
            }
        };
        let (present, device) = (u64::from(present.count()), u64::from(device_subsections));
        // That a section was there at boot matters while something of it is not: all of its memmap is.
        let early = early && present != kernel.numbers().section >> 21;
        // Whether a memmap is mapped by pages is a matter of luck; what shares in it is not.
        [start.get(), present, device, u64::from(early), backing, u64::from(optimised)]
    }))
}

fn devices(kernel: &Kernel) -> u64 {
    let sum = |device: &Pagemap| {
        let altmap = kernel
            .mm
            .frames()
            .altmap(device.start())
            .map_or([0; 4], |a| [a.reserve(), a.free(), a.align(), a.alloc()]);
        let words = [device.kind() as u64, device.state() as u64, device.holds()];
        let ranges = device.ranges().iter().flat_map(|range| [range.start.get(), range.len()]);
        checksum(ranges.chain(words).chain(altmap))
    };
    let given = kernel.mm.devices().kmem().iter().map(|kmem| kmem.device().start.get());
    checksum(kernel.mm.devices().iter().map(sum).chain(given))
}
