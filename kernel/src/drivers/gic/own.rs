//! What each CPU has of the interrupt controller for itself: its interface, and the software-generated interrupts (SGIs) that
//! CPUs send each other. Every CPU calls this for itself, so there is no lock and no owner, only addresses.
//!
//! | | GICv2 (IHI 0048) | GICv3 (IHI 0069) |
//! |---|---|---|
//! | its own registers | banked: one address, each CPU sees its own | a redistributor of its own, which boot finds by its affinity |
//! | send | GICD_SGIR, a mask of CPU interfaces | ICC_SGI1R_EL1, affinity and a mask of Aff0 |
//! | take, end | GICC_IAR, GICC_EOIR: the value that was read, sender and all | ICC_IAR1_EL1, ICC_EOIR1_EL1 |
#![expect(unsafe_code, reason = "the registers' addresses come from outside; rule M4")]

use core::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering::Relaxed};

use arm_gic::gicv2::{GicV2, SgiTarget, SgiTargetListFilter};
use arm_gic::gicv3::{GicCpuInterface, GicRedistributor};
use arm_gic::{IntId, InterruptGroup, UniqueMmioPointer};

use super::registers::{
    ALL_PRIORITIES, DISTRIBUTOR_BYTES, FIRST_SPECIAL, GICD_ITARGETSR, GicAddresses, IAR, pointer,
};
use crate::arch::cpu;
use crate::drivers::affinity;
use crate::drivers::mmio::Window;
use crate::per_cpu::{CPUS, PerCpu};

/// SGIs 0 to 7 are on: the others are the Secure world's, by custom.
const SGIS: u32 = 8;

/// 2, 3, or 0 as long as there is none.
static VERSION: AtomicU8 = AtomicU8::new(0);
static DISTRIBUTOR: AtomicUsize = AtomicUsize::new(0);
/// By a CPU's number, GICv2: the CPU interface, the same for all; GICv3: the CPU's redistributor. 0 for none.
static OWN: PerCpu<AtomicUsize> = PerCpu([const { AtomicUsize::new(0) }; CPUS]);
/// How an SGI names each CPU: by GICv2's mask of interfaces, or by affinity. Each CPU fills in its own.
static NAMES: PerCpu<AtomicU64> = PerCpu([const { AtomicU64::new(0) }; CPUS]);

/// The boot CPU has set the controller up: now the others may.
pub(super) fn publish(addresses: GicAddresses) {
    let (version, distributor, each) = match addresses {
        GicAddresses::V2 { distributor, cpu_interface } => (2, distributor, [Some(cpu_interface); CPUS]),
        GicAddresses::V3 { distributor, redistributors } => (3, distributor, redistributors),
    };
    DISTRIBUTOR.store(distributor, Relaxed);
    for (place, address) in OWN.0.iter().zip(each) {
        place.store(address.unwrap_or(0), Relaxed);
    }
    VERSION.store(version, Relaxed);
}

/// A secondary CPU's own part: every priority passes, SGIs are on. `false` if there is none for it.
pub fn set_up_here() -> bool {
    match VERSION.load(Relaxed) {
        2 => set_up_v2(),
        3 => set_up_v3(),
        _ => false,
    }
}

/// What is this CPU's own: a GICv2's CPU interface, or a GICv3's redistributor. `None` if there is none.
fn own() -> Option<usize> {
    Some(OWN[cpu::number()].load(Relaxed)).filter(|address| *address != 0)
}

/// A GICv2 as this CPU sees it. `None` if there is none.
fn v2() -> Option<GicV2<'static>> {
    let distributor = DISTRIBUTOR.load(Relaxed);
    let (gicd, gicc) = (pointer(distributor), pointer(own()?));
    // SAFETY: M4 for `Gic::new`, which gave the addresses. What is used of it is banked, or takes single writes.
    Some(unsafe { GicV2::new(gicd.as_ptr(), gicc.as_ptr()) })
}

fn set_up_v2() -> bool {
    let Some(mut gic) = v2() else { return false };
    // SAFETY: M4, as in `v2`; the register is read-only.
    let mut distributor = unsafe { Window::new(DISTRIBUTOR.load(Relaxed), DISTRIBUTOR_BYTES) };
    let name = distributor.get(GICD_ITARGETSR);
    NAMES[cpu::number()].store(name.into(), Relaxed);
    // What is not banked gets the value again that the boot CPU has given it.
    gic.setup();
    name != 0 && (0..SGIS).map(IntId::sgi).all(|id| gic.enable_interrupt(id, true).is_ok())
}

fn set_up_v3() -> bool {
    let Some(address) = own() else { return false };
    NAMES[cpu::number()].store(cpu::affinity(), Relaxed);
    // SAFETY: M4 for `Gic::new`, which gave the address; each CPU has another one.
    let mut mine = GicRedistributor::new(unsafe { UniqueMmioPointer::new(pointer(address)) });
    GicCpuInterface::enable_system_register_el1();
    // It may be awake.
    let _ = mine.mark_core_awake();
    mine.configure_default_settings();
    GicCpuInterface::set_priority_mask(ALL_PRIORITIES);
    GicCpuInterface::enable_group1(true);
    (0..SGIS).map(IntId::sgi).all(|id| mine.enable_interrupt(id, true).is_ok())
}

/// Sends SGI `id` (below 8) to a CPU that has set up its part. That CPU sees what was stored before.
pub fn send(id: u32, number: usize) {
    cpu::finish_accesses();
    let name = NAMES[number].load(Relaxed);
    match VERSION.load(Relaxed) {
        2 => {
            #[expect(clippy::cast_possible_truncation, reason = "an interface mask has 8 bits")]
            let target_list = name as u16;
            let target_list_filter = SgiTargetListFilter::CPUTargetList;
            if let Some(mut gic) = v2() {
                gic.send_sgi(IntId::sgi(id), SgiTarget::List { target_list_filter, target_list });
            }
        }
        3 => cpu::send_sgi(affinity::sgi1r(name, id)),
        _ => {}
    }
}

/// An interrupt that was acknowledged and must be ended: what the acknowledge register has said.
pub struct Taken(IntId);

impl Taken {
    /// Acknowledges the most urgent interrupt that is pending here, if there is one.
    pub fn next() -> Option<Self> {
        let what = match VERSION.load(Relaxed) {
            2 => v2()?.get_and_acknowledge_interrupt(InterruptGroup::Group0),
            3 => GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1),
            _ => None,
        };
        // What the sender stored is seen from here on.
        cpu::finish_accesses();
        what.map(Self).filter(|taken| taken.id() < FIRST_SPECIAL)
    }

    /// Its interrupt ID.
    pub fn id(&self) -> u32 {
        IAR::INTID.read(self.0.into())
    }

    /// Ends it: it may come again.
    pub fn end(self) {
        match VERSION.load(Relaxed) {
            2 => {
                if let Some(mut gic) = v2() {
                    gic.end_interrupt(self.0, InterruptGroup::Group0);
                }
            }
            _ => GicCpuInterface::end_interrupt(self.0, InterruptGroup::Group1),
        }
    }
}
