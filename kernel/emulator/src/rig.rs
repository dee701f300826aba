//! A booted model on an emulated machine, in one call, the way the kernel boots it: memblock, a root table, the linear map,
//! the MMU, then [`Mm::boot`].

use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::boot::{self};
use hotmap_mm::error::Result;
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::{Granule, GranuleKind};
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::layout::{LINEAR_SIZE, LINEAR_START, Layout};
use hotmap_mm::memblock::Memblock;
use hotmap_mm::mm::Mm;
use hotmap_mm::pfn::Pfn;

use crate::arch::spec::{SPEC_4K, SPEC_16K, SPEC_64K, Spec};
use crate::machine::Emulated;

/// One MiB.
pub const MIB: u64 = 1 << 20;
/// One GiB.
pub const GIB: u64 = 1 << 30;

/// What RAM a machine has at boot, and what of it is not free.
#[derive(Clone, Debug)]
pub struct Shape {
    /// What the shape is, for messages.
    pub name: &'static str,
    /// Start and length of each range of RAM.
    pub ram: Vec<(u64, u64)>,
    /// Offset and length, from the start of the first range, of what is reserved.
    pub reserved: Vec<(u64, u64)>,
    /// How much of the first reserved range is code and constants, from its first whole 64 KiB on.
    pub constant: u64,
    /// Where the memmap of boot memory goes.
    pub memmap: MemmapHome,
}

impl Shape {
    /// One range of RAM, with an image at 2 MiB and a device tree at 8 MiB.
    pub fn one(name: &'static str, start: u64, len: u64) -> Self {
        Self::many(name, &[(start, len)])
    }
    /// Ranges of RAM, the image and the device tree in the first.
    pub fn many(name: &'static str, ram: &[(u64, u64)]) -> Self {
        let reserved = vec![(2 * MIB, 512 << 10), (8 * MIB, MIB + 0x123)];
        Self { name, ram: ram.to_vec(), reserved, constant: 256 << 10, memmap: MemmapHome::Ram }
    }
    /// The least RAM that is worth booting: what runs slowly, runs here.
    pub fn tiny() -> Self {
        Self::one("tiny", 0x4000_0000, 16 * MIB)
    }
    /// The shapes that every granule must boot with.
    pub fn all() -> Vec<Self> {
        vec![
            Self::one("256 MiB", 0x4000_0000, 256 * MIB),
            Self::one("1 GiB", 0x4000_0000, GIB),
            Self::many("a hole", &[(0x4000_0000, 192 * MIB), (0x6000_0000, GIB)]),
            Self::many(
                "two nodes, the upper one first",
                &[(0x1_0000_0000, 512 * MIB), (0x4000_0000, 512 * MIB)],
            ),
            Self::one("odd ends", 0x4020_1000, 300 * MIB + 0x3000),
            Self::many("two ranges in one block", &[(0x4000_0000, 40 * MIB), (0x4300_0000, 16 * MIB)]),
            Self::one("high", 0x80_0000_0000, GIB),
            Self::tiny(),
        ]
    }
    fn first(&self) -> u64 {
        self.ram[0].0
    }
    /// What is reserved, as ranges.
    pub fn reserved_ranges(&self) -> Vec<PhysRange> {
        self.reserved.iter().map(|(offset, len)| range(self.first() + offset, *len)).collect()
    }
}

/// `len` bytes at `start`.
pub fn range(start: u64, len: u64) -> PhysRange {
    PhysRange { start: PhysAddr::new(start), end: PhysAddr::new(start + len) }
}

/// The numbers of a granule, from the specification.
pub fn spec_of(g: Granule) -> &'static Spec {
    match g.kind {
        GranuleKind::K4 => &SPEC_4K,
        GranuleKind::K16 => &SPEC_16K,
        GranuleKind::K64 => &SPEC_64K,
    }
}

/// A model and its machine.
pub struct Rig {
    /// The machine.
    pub machine: Emulated,
    /// The model.
    pub mm: Mm<Emulated>,
    /// What it booted with.
    pub shape: Shape,
}

impl Rig {
    /// The model's granule.
    pub fn granule(&self) -> Granule {
        self.mm.granule()
    }

    /// Boot.
    ///
    /// # Errors
    /// The model's.
    pub fn try_boot(g: Granule, shape: &Shape) -> Result<Self> {
        let machine = Emulated::new(spec_of(g));
        let mut memblock = Memblock::new();
        for (start, len) in &shape.ram {
            machine.plug(*start, *len);
            memblock.add_ram(range(*start, *len))?;
        }
        for reserved in shape.reserved_ranges() {
            memblock.reserve(reserved, PageKind::Reserved)?;
        }
        let layout = Layout::new(g, memblock.span().start, 48);
        let mut space = boot::new_space(machine.clone(), layout, &mut memblock)?;
        // The image is aligned to the largest page, wherever RAM starts.
        let image = (shape.first() + shape.reserved.first().map_or(0, |r| r.0)).next_multiple_of(64 << 10);
        let constant = range(image, shape.constant);
        boot::map_boot_ram(&mut space, &mut memblock, constant)?;
        let linear = LINEAR_START.get()..LINEAR_START.get() + LINEAR_SIZE;
        machine.enable_mmu(space.root().get(), linear, layout.phys_base.get());
        let mm = Mm::boot(space, &mut memblock, shape.memmap)?;
        Ok(Self { machine, mm, shape: shape.clone() })
    }

    /// Boot.
    ///
    /// # Panics
    /// When the model does not boot with this shape.
    pub fn boot(g: Granule, shape: &Shape) -> Self {
        Self::try_boot(g, shape).unwrap_or_else(|e| panic!("{} does not boot: {e}", shape.name))
    }

    /// The first page of the block at `pa`.
    pub fn pfn(g: Granule, pa: u64) -> Pfn {
        Pfn::containing(g, PhysAddr::new(pa))
    }

    /// Bytes of `blocks` memory blocks.
    pub fn blocks(g: Granule, blocks: u64) -> u64 {
        blocks * g.section_size
    }

    /// Adds what has been plugged into the machine.
    ///
    /// # Errors
    /// The model's.
    pub fn add(&mut self, start: u64, len: u64, home: MemmapHome) -> Result<()> {
        let hot = HotRange::new(&self.mm, PhysAddr::new(start), len, Source::Dimm(0))?;
        self.mm.add_memory(&hot, home, |_, _| {})
    }

    /// Plugs RAM into the machine and adds it.
    ///
    /// # Panics
    /// When the model refuses.
    pub fn plug(&mut self, start: u64, len: u64, home: MemmapHome) {
        self.machine.plug(start, len);
        self.add(start, len, home).unwrap_or_else(|e| panic!("adding {start:#x}: {e}"));
    }

    /// Brings every block of a range online.
    ///
    /// # Panics
    /// When the model refuses.
    pub fn online(&mut self, start: u64, len: u64, zone: ZoneKind) {
        let g = self.granule();
        for block in (start..start + len).step_by(crate::machine::memory::host(g.section_size)) {
            self.mm
                .online_block(Self::pfn(g, block), zone)
                .unwrap_or_else(|e| panic!("onlining {block:#x}: {e}"));
        }
    }

    /// Audit, and fail the test with everything that was found.
    ///
    /// # Panics
    /// When an invariant is broken.
    pub fn assert_clean(&self, when: &str) {
        let g = self.granule();
        assert!(!self.machine.window_is_open(), "{} {when}: readers would wait for ever", g.kind);
        let mut found = Vec::new();
        let summary = self.mm.audit(&mut |finding| found.push(finding.to_string()));
        assert!(found.is_empty(), "{} {when}: {summary}\n  {}", g.kind, found.join("\n  "));
    }

    /// Takes every block of a range offline, then the range out of the model, then out of the machine.
    ///
    /// # Panics
    /// When the model refuses.
    pub fn unplug(&mut self, start: u64, len: u64) {
        self.mm.unplug(range(start, len)).unwrap_or_else(|e| panic!("unplugging {start:#x}: {e}"));
        self.machine.unplug(start);
    }
}
