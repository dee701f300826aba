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

use arm_gic::gicv3::GicCpuInterface;
use arm_gic::{IntId, InterruptGroup};

use super::registers::{
    ALL_PRIORITIES, CTLR, DISTRIBUTOR_BYTES, FIRST_SPECIAL, GICC_CTLR, GICC_EOIR, GICC_IAR, GICC_PMR,
    GICD_ITARGETSR, GICD_SGIR, GICD_TYPER, GICR_WAKER, GicAddresses, IAR, IGROUPR, INTERFACE_BYTES,
    IPRIORITYR, ISENABLER, SGI_FRAME, SGIR, TYPER, WAKER,
};
use crate::arch::{cpu, word};
use crate::drivers::affinity::{self, REDISTRIBUTOR_BYTES};
use crate::drivers::mmio::Window;
use crate::per_cpu::{CPUS, PerCpu};

/// SGIs 0 to 7 are on: the others are the Secure world's, by custom.
const SGIS: usize = 8;

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

fn distributor() -> Window {
    // SAFETY: M4 for `Gic::new`, which gave the address. What is used here is banked, or takes single writes.
    unsafe { Window::new(DISTRIBUTOR.load(Relaxed), DISTRIBUTOR_BYTES) }
}

/// What is this CPU's own: a GICv2's CPU interface, or a GICv3's redistributor. `None` if there is none.
fn own(bytes: usize) -> Option<Window> {
    match OWN[cpu::number()].load(Relaxed) {
        0 => None,
        // SAFETY: M4, as above: banked, or another one for each CPU.
        address => Some(unsafe { Window::new(address, bytes) }),
    }
}

/// Interrupts 0 to 31 of this CPU, whose registers are at `frame`: SGIs on, in one group, at the highest priority.
fn enable_sgis(window: &mut Window, frame: usize, group: u32) {
    window.set(IGROUPR.in_frame(frame), group);
    for word in 0..SGIS / 4 {
        window.set(IPRIORITYR.in_frame(frame).nth(word), 0);
    }
    window.set(ISENABLER.in_frame(frame), (1 << SGIS) - 1);
}

fn set_up_v2() -> bool {
    let Some(mut interface) = own(INTERFACE_BYTES) else { return false };
    let mut distributor = distributor();
    let name = distributor.get(GICD_ITARGETSR);
    NAMES[cpu::number()].store(name.into(), Relaxed);
    // The group that `GicV2::setup` has given to the boot CPU's.
    let secure = distributor.read(GICD_TYPER).is_set(TYPER::SecurityExtn);
    enable_sgis(&mut distributor, 0, if secure { u32::MAX } else { 0 });
    interface.set(GICC_PMR, ALL_PRIORITIES.into());
    interface.write(GICC_CTLR, CTLR::EnableGrp1::SET);
    name != 0
}

fn set_up_v3() -> bool {
    let Some(mut mine) = own(word(REDISTRIBUTOR_BYTES)) else { return false };
    NAMES[cpu::number()].store(cpu::affinity(), Relaxed);
    let mut waker = mine.read(GICR_WAKER);
    waker.modify(WAKER::ProcessorSleep::CLEAR);
    mine.set(GICR_WAKER, waker.get());
    while mine.read(GICR_WAKER).is_set(WAKER::ChildrenAsleep) {
        cpu::relax();
    }
    enable_sgis(&mut mine, SGI_FRAME, u32::MAX);
    GicCpuInterface::enable_system_register_el1();
    GicCpuInterface::set_priority_mask(ALL_PRIORITIES);
    GicCpuInterface::enable_group1(true);
    true
}

/// Sends SGI `id` (below 8) to a CPU that has set up its part. That CPU sees what was stored before.
pub fn send(id: u32, number: usize) {
    cpu::finish_accesses();
    let name = NAMES[number].load(Relaxed);
    match VERSION.load(Relaxed) {
        #[expect(clippy::cast_possible_truncation, reason = "an interface mask has 8 bits")]
        2 => distributor().write(GICD_SGIR, SGIR::CPUTargetList.val(name as u32) + SGIR::SGIINTID.val(id)),
        3 => cpu::send_sgi(affinity::sgi1r(name, id)),
        _ => {}
    }
}

/// An interrupt that was acknowledged and must be ended.
pub struct Taken(u32);

impl Taken {
    /// Acknowledges the most urgent interrupt that is pending here, if there is one.
    pub fn next() -> Option<Self> {
        let what = match VERSION.load(Relaxed) {
            2 => own(INTERFACE_BYTES)?.get(GICC_IAR),
            3 => GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1)?.into(),
            _ => return None,
        };
        // What the sender stored is seen from here on.
        cpu::finish_accesses();
        (IAR::INTID.read(what) < FIRST_SPECIAL).then_some(Self(what))
    }

    /// Its interrupt ID.
    pub fn id(&self) -> u32 {
        IAR::INTID.read(self.0)
    }

    /// Ends it: it may come again.
    pub fn end(self) {
        match VERSION.load(Relaxed) {
            2 => {
                if let Some(mut interface) = own(INTERFACE_BYTES) {
                    interface.set(GICC_EOIR, self.0);
                }
            }
            // What came from the controller is an ID.
            _ => {
                if let Ok(id) = IntId::try_from(self.0) {
                    GicCpuInterface::end_interrupt(id, InterruptGroup::Group1);
                }
            }
        }
    }
}
