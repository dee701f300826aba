//! A kernel on the emulated machine, its `state`, and its memory as the views read it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use hotmap_emulator::machine::Emulated;
use hotmap_emulator::rig::{GIB, MIB, Rig, Shape};
use hotmap_kernel::arch::machine;
use hotmap_kernel::boot_info::BootInfo;
use hotmap_kernel::drivers::ged::{Flags, Slot};
use hotmap_kernel::drivers::platform::Platform;
use hotmap_kernel::drivers::uart::take_printed;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::plug::Policy;
use hotmap_mm::addr::PhysAddr;
use hotmap_mm::device::compound::{Compound, TailScope};
use hotmap_mm::device::pagemap::DeviceType;
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::GranuleKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::pfn::PfnRange;
use hotmap_view::{Machine, Memory, State, Unreadable};

pub(crate) const GRANULES: [GranuleKind; 3] = [GranuleKind::K4, GranuleKind::K16, GranuleKind::K64];
pub(crate) const HOMES: [MemmapHome; 4] =
    [MemmapHome::SelfHosted, MemmapHome::Ram, MemmapHome::SelfRange { reserve: 0 }, MemmapHome::Demand];
/// Where DIMMs go.
pub(crate) const DIMM: u64 = 8 * GIB;
/// Where devices' memory is.
pub(crate) const DEVICE: u64 = 0x40_0000_0000;

/// Physical memory of the emulated machine.
pub(crate) struct Ram<'a>(pub(crate) &'a Emulated);

impl Memory for Ram<'_> {
    fn read(&self, pa: u64, bytes: &mut [u8]) -> Result<(), Unreadable> {
        if self.0.memory().copy_out(pa, bytes) { Ok(()) } else { Err(Unreadable { pa }) }
    }
}

/// A kernel and its machine.
pub(crate) struct Guest {
    pub(crate) kernel: Kernel,
    pub(crate) machine: Emulated,
    pub(crate) kind: GranuleKind,
}

impl Guest {
    /// A machine with 1 GiB.
    pub(crate) fn boot(kind: GranuleKind) -> Self {
        Self::with(kind, &Shape::one("1 GiB", 0x4000_0000, GIB))
    }

    pub(crate) fn with(kind: GranuleKind, shape: &Shape) -> Self {
        let rig = Rig::boot(kind.granule(), shape);
        let info: &'static mut BootInfo = Box::leak(Box::new(BootInfo::new()));
        info.granule = kind;
        machine::adopt(&rig.machine);
        let kernel = Kernel::new(info, rig.mm, Platform::default());
        take_printed();
        Self { kernel, machine: rig.machine, kind }
    }

    /// What a command prints; it must succeed.
    pub(crate) fn tell(&mut self, line: &str) -> String {
        let succeeded = (hotmap_shell::SHELL.run)(&mut self.kernel, line);
        let printed = take_printed();
        assert!(succeeded, "{line}: {printed}");
        printed
    }

    pub(crate) fn state(&mut self) -> State {
        let state = State::parse(&self.tell("state")).expect("the contract");
        assert_eq!(state.contradictions(), Vec::<String>::new());
        state
    }

    /// A DIMM in `slot`.
    pub(crate) fn plug_at(&mut self, number: u32, address: u64, size: u64, home: MemmapHome, online: bool) {
        self.machine.plug(address, size);
        let slot = Slot { number, address, size, node: 0, flags: Flags(1) };
        let policy = Policy { home, online };
        self.kernel
            .dimms
            .insert(&mut self.kernel.mm, &slot, policy)
            .unwrap_or_else(|error| panic!("{error}"));
        take_printed();
    }

    pub(crate) fn plug(&mut self, size: u64, home: MemmapHome) {
        self.plug_at(0, DIMM, size, home, true);
    }

    /// A device, of compound pages if `align` is more than a page.
    pub(crate) fn device(&mut self, start: u64, size: u64, home: MemmapHome, align: u64) {
        self.machine.plug(start, size);
        let ranges = [(PhysAddr::new(start), size)];
        let (mm, kind) = (&mut self.kernel.mm, DeviceType::FsDax);
        let device = if align <= self.kind.granule().page_size {
            mm.device_range(&ranges, kind, home)
        } else {
            let compound = Compound::new(self.kind.granule(), align, TailScope::Page).expect("a size");
            mm.compound_device_range(&ranges, kind, home, compound)
        };
        mm.memremap_pages(&device.expect("a device"), |_, _| {}).unwrap_or_else(|error| panic!("{error}"));
    }

    /// A block at `start` of which the first half is plugged.
    pub(crate) fn half_a_block(&mut self, start: u64, home: MemmapHome) {
        let g = self.kind.granule();
        self.machine.plug(start, g.section_size);
        self.machine.memory().provide(start + g.section_size / 2, g.section_size / 2, false);
        let hot = HotRange::new(&self.kernel.mm, PhysAddr::new(start), g.section_size, Source::VirtioMem(0));
        let plugged = PfnRange::inside(g, hotmap_emulator::rig::range(start, g.section_size / 2));
        let hot = hot.expect("nothing is there").in_blocks();
        let added = self.kernel.mm.plug_block_part(&hot, plugged, home, ZoneKind::Movable, |_, _| {});
        added.unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Calls `look` with the machine as the views see it.
pub(crate) fn look<T>(guest: &mut Guest, look: impl FnOnce(&Machine<'_>, &State) -> T) -> T {
    let state = guest.state();
    let ram = Ram(&guest.machine);
    look(&Machine::new(&ram, &state).expect("a machine"), &state)
}

/// What is done to a machine whose DIMM's memmap has this home.
type Prepare = fn(&mut Guest, MemmapHome);

/// Scenarios that every view must agree with, by name. What a granule cannot do is left out.
pub(crate) fn scenarios() -> Vec<(&'static str, Prepare)> {
    vec![
        ("plugged", |guest, home| guest.plug(GIB, home)),
        ("tenants and pins", |guest, home| {
            guest.plug(GIB, home);
            guest.tell("tenant new 700");
            guest.tell("tenant new 3");
            guest.tell("pin addr:0x48000000");
        }),
        ("poison", |guest, home| {
            guest.plug(GIB, home);
            guest.tell("tenant new 300");
            guest.tell(&format!("poison addr:{:#x}", DIMM + 100 * MIB));
            guest.tell("poison addr:0x60000000");
        }),
        ("offline", |guest, home| {
            guest.plug(GIB, home);
            guest.tell(&format!("poison addr:{:#x}", DIMM + 100 * MIB));
            guest.tell(&format!("offline {DIMM:#x}"));
        }),
        ("never online", |guest, home| guest.plug_at(0, DIMM, GIB, home, false)),
        ("huge pages", |guest, home| {
            guest.plug(GIB, home);
            let size = if guest.kind == GranuleKind::K16 { "32M 4" } else { "2M 4" };
            guest.tell(&format!("hugetlb {size}"));
        }),
        ("a huge page of several blocks", |guest, home| {
            guest.plug(GIB, home);
            let whole = matches!(home, MemmapHome::Ram | MemmapHome::Demand);
            if whole && guest.kind != GranuleKind::K64 {
                guest.tell("hugetlb 1G 1");
            }
        }),
        ("two DIMMs with a gap", |guest, home| {
            guest.plug_at(0, DIMM, GIB / 2, home, true);
            guest.plug_at(1, DIMM + GIB, GIB / 2, home, true);
        }),
        ("half a block", |guest, home| {
            guest.plug(GIB, home);
            let half = if home == (MemmapHome::SelfRange { reserve: 0 }) { MemmapHome::Ram } else { home };
            guest.half_a_block(DIMM + 4 * GIB, half);
            guest.tell("tenant new 100");
        }),
        ("devices", |guest, home| {
            guest.plug(GIB, home);
            guest.device(DEVICE, GIB, MemmapHome::SelfRange { reserve: 0 }, 0);
            guest.device(DEVICE + GIB, 512 * MIB, MemmapHome::Ram, 2 * MIB);
            guest.device(DEVICE + 2 * GIB, 2 * MIB, MemmapHome::Ram, 0);
        }),
    ]
}

/// Each granule, home and scenario.
pub(crate) fn each(mut check: impl FnMut(&mut Guest, &str)) {
    for kind in GRANULES {
        for home in HOMES {
            for (name, prepare) in scenarios() {
                let mut guest = Guest::boot(kind);
                prepare(&mut guest, home);
                check(&mut guest, &format!("{kind}, {home:?}, {name}"));
            }
        }
    }
}
