//! The interrupt controller's registers that the crate `arm-gic` does not reach as they are needed here, and where they are.
//!
//! Sources: Arm IHI 0048 (GICv2), IHI 0069 (GICv3), by the registers' names.

use core::ptr::{NonNull, with_exposed_provenance_mut};

use tock_registers::register_bitfields;

use crate::drivers::mmio::Register;
use crate::per_cpu::CPUS;

/// The bytes of a GICv2 distributor.
pub(super) const DISTRIBUTOR_BYTES: usize = 0x1000;
/// Interrupt IDs from here to 1023 are not interrupts: "no pending interrupt" and the like.
pub(super) const FIRST_SPECIAL: u32 = 1020;
/// The priority mask that lets every priority through.
pub(super) const ALL_PRIORITIES: u8 = 0xff;

register_bitfields![u32,
    /// GICC_IAR and GICC_EOIR: the interrupt, and the CPU that sent it if it is an SGI.
    pub(super) IAR [
        INTID OFFSET(0) NUMBITS(10) [],
        CPUID OFFSET(10) NUMBITS(3) []
    ]
];

/// GICD_ICPENDR, one bit for each interrupt: write 1 to drop what is pending.
pub(super) const GICD_ICPENDR: Register<u32> = Register::at(0x280);
/// GICD_ITARGETSR, one byte for each interrupt: the CPU interfaces that may take it.
pub(super) const GICD_ITARGETSR: Register<u8> = Register::at(0x800);

/// A pointer to registers at `base`.
pub(super) fn pointer<T>(base: usize) -> NonNull<T> {
    NonNull::new(with_exposed_provenance_mut(base)).expect("an interrupt controller at address 0")
}

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
