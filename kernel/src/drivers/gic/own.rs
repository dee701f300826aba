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
use tock_registers::register_bitfields;

use super::{ALL_PRIORITIES, DISTRIBUTOR_BYTES, FIRST_SPECIAL, GicAddresses, ITARGETSR};
use crate::arch::vectors::MAX_CPUS;
use crate::arch::{cpu, word};
use crate::cpus::PerCpu;
use crate::drivers::affinity::{self, REDISTRIBUTOR_BYTES};
use crate::drivers::mmio::Window;

/// Offsets in a GICv2's distributor.
const TYPER: usize = 0x004;
const SGIR: usize = 0xf00;
/// GICC_CTLR, GICC_PMR, GICC_IAR, GICC_EOIR (IHI 0048, 4.4).
const CTLR: usize = 0x0;
const PMR: usize = 0x4;
const IAR: usize = 0xc;
const EOIR: usize = 0x10;
const INTERFACE_BYTES: usize = 0x1000;

/// For interrupts 0 to 31, at the same offsets in a GICv2's distributor and in a GICv3 redistributor's second frame: the
/// group, the enables, the priorities (a byte for each).
const IGROUPR: usize = 0x080;
const ISENABLER: usize = 0x100;
const IPRIORITYR: usize = 0x400;
/// A redistributor's second frame.
const SGI_FRAME: usize = 0x1_0000;
/// GICR_WAKER's offset in a redistributor's first frame.
const WAKER: usize = 0x014;

register_bitfields![u32,
    /// IHI 0048, 4.3.2.
    GICD_TYPER [
        SecurityExtn OFFSET(10) NUMBITS(1) []
    ],
    /// IHI 0048, 4.3.15.
    GICD_SGIR [
        SGIINTID OFFSET(0) NUMBITS(4) [],
        CPUTargetList OFFSET(16) NUMBITS(8) []
    ],
    /// IHI 0048, 4.4.4: the interrupt; the bits above it name the sender.
    GICC_IAR [
        InterruptID OFFSET(0) NUMBITS(10) []
    ],
    /// IHI 0069, "GICR_WAKER".
    GICR_WAKER [
        ProcessorSleep OFFSET(1) NUMBITS(1) [],
        ChildrenAsleep OFFSET(2) NUMBITS(1) []
    ]
];

/// SGIs 0 to 7 are on: the others are the Secure world's, by custom.
const SGIS: usize = 8;

/// 2, 3, or 0 as long as there is none.
static VERSION: AtomicU8 = AtomicU8::new(0);
static DISTRIBUTOR: AtomicUsize = AtomicUsize::new(0);
/// By a CPU's number, GICv2: the CPU interface, the same for all; GICv3: the CPU's redistributor. 0 for none.
static OWN: PerCpu<AtomicUsize> = PerCpu([const { AtomicUsize::new(0) }; MAX_CPUS]);
/// How an SGI names each CPU: by GICv2's mask of interfaces, or by affinity. Each CPU fills in its own.
static NAMES: PerCpu<AtomicU64> = PerCpu([const { AtomicU64::new(0) }; MAX_CPUS]);

/// The boot CPU has set the controller up: now the others may.
pub(super) fn publish(addresses: GicAddresses) {
    let (version, distributor, each) = match addresses {
        GicAddresses::V2 { distributor, cpu_interface } => (2, distributor, [Some(cpu_interface); MAX_CPUS]),
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
    window.write(frame + IGROUPR, group);
    for word in 0..SGIS / 4 {
        window.write(frame + IPRIORITYR + 4 * word, 0_u32);
    }
    window.write(frame + ISENABLER, (1_u32 << SGIS) - 1);
}

fn set_up_v2() -> bool {
    let Some(mut interface) = own(INTERFACE_BYTES) else { return false };
    let mut distributor = distributor();
    let name = distributor.read::<u8>(ITARGETSR);
    NAMES[cpu::number()].store(name.into(), Relaxed);
    // The group that `GicV2::setup` has given to the boot CPU's.
    let secure = GICD_TYPER::SecurityExtn.is_set(distributor.read(TYPER));
    enable_sgis(&mut distributor, 0, if secure { u32::MAX } else { 0 });
    interface.write(PMR, u32::from(ALL_PRIORITIES));
    interface.write(CTLR, 1_u32);
    name != 0
}

fn set_up_v3() -> bool {
    let Some(mut mine) = own(word(REDISTRIBUTOR_BYTES)) else { return false };
    NAMES[cpu::number()].store(cpu::affinity(), Relaxed);
    let awake = GICR_WAKER::ProcessorSleep::CLEAR.modify(mine.read(WAKER));
    mine.write(WAKER, awake);
    while GICR_WAKER::ChildrenAsleep.is_set(mine.read(WAKER)) {
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
        2 => {
            let signal = GICD_SGIR::CPUTargetList.val(name as u32) + GICD_SGIR::SGIINTID.val(id);
            distributor().write(SGIR, signal.value);
        }
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
            2 => own(INTERFACE_BYTES)?.read::<u32>(IAR),
            3 => GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1)?.into(),
            _ => return None,
        };
        // What the sender stored is seen from here on.
        cpu::finish_accesses();
        (GICC_IAR::InterruptID.read(what) < FIRST_SPECIAL).then_some(Self(what))
    }

    /// Its interrupt ID.
    pub fn id(&self) -> u32 {
        GICC_IAR::InterruptID.read(self.0)
    }

    /// Ends it: it may come again.
    pub fn end(self) {
        match VERSION.load(Relaxed) {
            2 => {
                if let Some(mut interface) = own(INTERFACE_BYTES) {
                    interface.write(EOIR, self.0);
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
