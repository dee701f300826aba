//! The interrupt controller's registers that the crate `arm-gic` does not reach as they are needed here, and where they are.
//!
//! Sources: Arm IHI 0048 (GICv2), IHI 0069 (GICv3), by the registers' names.

use tock_registers::register_bitfields;

use crate::drivers::mmio::Register;
use crate::per_cpu::CPUS;

/// The bytes of a GICv2 distributor.
pub(super) const DISTRIBUTOR_BYTES: usize = 0x1000;
/// The bytes of a GICv2 CPU interface (without GICC_DIR).
pub(super) const INTERFACE_BYTES: usize = 0x1000;
/// A redistributor's second frame, for the interrupts 0 to 31.
pub(super) const SGI_FRAME: usize = 0x1_0000;
/// Interrupt IDs from here to 1023 are not interrupts: "no pending interrupt" and the like.
pub(super) const FIRST_SPECIAL: u32 = 1020;
/// The priority mask that lets every priority through.
pub(super) const ALL_PRIORITIES: u8 = 0xff;

register_bitfields![u32,
    pub(super) TYPER [
        SecurityExtn OFFSET(10) NUMBITS(1) []
    ],
    pub(super) SGIR [
        SGIINTID OFFSET(0) NUMBITS(4) [],
        CPUTargetList OFFSET(16) NUMBITS(8) []
    ],
    pub(super) CTLR [
        EnableGrp1 OFFSET(0) NUMBITS(1) []
    ],
    /// GICC_IAR and GICC_EOIR: the interrupt, and the CPU that sent it if it is an SGI.
    pub(super) IAR [
        INTID OFFSET(0) NUMBITS(10) [],
        CPUID OFFSET(10) NUMBITS(3) []
    ],
    pub(super) WAKER [
        ProcessorSleep OFFSET(1) NUMBITS(1) [],
        ChildrenAsleep OFFSET(2) NUMBITS(1) []
    ]
];

/// GICD_TYPER.
pub(super) const GICD_TYPER: Register<u32, TYPER::Register> = Register::at(0x004);
/// GICD_ICPENDR, one bit for each interrupt: write 1 to drop what is pending.
pub(super) const GICD_ICPENDR: Register<u32> = Register::at(0x280);
/// GICD_ITARGETSR, one byte for each interrupt: the CPU interfaces that may take it.
pub(super) const GICD_ITARGETSR: Register<u8> = Register::at(0x800);
/// GICD_SGIR.
pub(super) const GICD_SGIR: Register<u32, SGIR::Register> = Register::at(0xf00);

/// GICC_CTLR, in the view of one security state.
pub(super) const GICC_CTLR: Register<u32, CTLR::Register> = Register::at(0x00);
/// GICC_PMR.
pub(super) const GICC_PMR: Register<u32> = Register::at(0x04);
/// GICC_IAR.
pub(super) const GICC_IAR: Register<u32, IAR::Register> = Register::at(0x0c);
/// GICC_EOIR.
pub(super) const GICC_EOIR: Register<u32, IAR::Register> = Register::at(0x10);

/// GICR_WAKER.
pub(super) const GICR_WAKER: Register<u32, WAKER::Register> = Register::at(0x014);

/// For the interrupts 0 to 31, at the same offsets in a GICv2's distributor and in [`SGI_FRAME`]: the group of each.
pub(super) const IGROUPR: Register<u32> = Register::at(0x080);
/// The enables.
pub(super) const ISENABLER: Register<u32> = Register::at(0x100);
/// The priorities, four to a word.
pub(super) const IPRIORITYR: Register<u32> = Register::at(0x400);

/// Where the controller's registers are mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GicAddresses {
    /// GICv2.
    V2 {
        /// The distributor, GICD.
        distributor: usize,
        /// The CPU interface, GICC.
        cpu_interface: usize,
    },
    /// GICv3 (and GICv4).
    V3 {
        /// The distributor, GICD.
        distributor: usize,
        /// Each CPU's redistributor, GICR, by its number; the boot CPU's is the first.
        redistributors: [Option<usize>; CPUS],
    },
}
