//! The interrupt controller, GICv2 or GICv3, by the `arm-gic` crate, as far as a boot CPU that polls needs it. What each of
//! the other CPUs has of it is in [`own`].
//!
//! Interrupts stay masked at the boot CPU. The idle loop sleeps in WFI, which a pending one ends, and then takes what there
//! is with [`Gic::next_pending`] and [`Gic::end`].
//!
//! Sources: Arm IHI 0048 (GICv2), IHI 0069 (GICv3). What runs here is Non-secure EL1, or EL1 of a machine without
//! security; both see their interrupts as Group 1 (GICv3), or through the plain acknowledge register (GICv2).
#![expect(unsafe_code, reason = "the registers' addresses come from outside; rule M4")]

pub use arm_gic::Trigger;
use arm_gic::gicv2::{GicV2, registers::Gicc, registers::Gicd as GicdV2};
use arm_gic::gicv3::registers::{Gicd, GicrSgi};
use arm_gic::gicv3::{GicCpuInterface, GicError, GicV3};
use arm_gic::{IntId, InterruptGroup, UniqueMmioPointer};

use super::mmio::Window;
use crate::arch::cpu;

pub mod own;
mod registers;

pub use registers::GicAddresses;
use registers::{ALL_PRIORITIES, DISTRIBUTOR_BYTES, FIRST_SPECIAL, GICD_ICPENDR, GICD_ITARGETSR, pointer};

/// The first interrupt ID of the shared peripheral interrupts.
pub const FIRST_SPI: u32 = 32;
/// `GicV3` knows one redistributor, the boot CPU's.
const BOOT_CPU: usize = 0;

/// The interrupt controller, ready for the boot CPU.
pub struct Gic {
    version: Version,
}

enum Version {
    V2 { gic: GicV2<'static>, distributor: Window },
    V3(GicV3<'static>),
}

impl Gic {
    /// Sets the controller up for the boot CPU: every priority passes, every SPI is off.
    ///
    /// # Errors
    /// A GICv3 that has no redistributor for the boot CPU, or one that does not look like one.
    ///
    /// # Safety
    /// M4.
    pub unsafe fn new(addresses: GicAddresses) -> Result<Self, SetupError> {
        let version = match addresses {
            GicAddresses::V2 { distributor, cpu_interface } => {
                let (gicd, gicc) = (pointer::<GicdV2>(distributor), pointer::<Gicc>(cpu_interface));
                // SAFETY: M4, which the caller promises. `Window` and `GicV2` are used one at a time, by this driver.
                let (mut gic, distributor) = unsafe {
                    (GicV2::new(gicd.as_ptr(), gicc.as_ptr()), Window::new(distributor, DISTRIBUTOR_BYTES))
                };
                gic.setup();
                // With the security extensions, bit 0 is "enable Group 1" in the Non-secure view, which `setup` takes
                // for the Secure one.
                gic.enable_group0(true);
                Version::V2 { gic, distributor }
            }
            GicAddresses::V3 { distributor, redistributors } => {
                let redistributor = redistributors[0].ok_or(SetupError::NoRedistributor)?;
                // SAFETY: M4, which the caller promises.
                let mut gic = unsafe {
                    let gicd = UniqueMmioPointer::new(pointer::<Gicd>(distributor));
                    GicV3::new(gicd, pointer::<GicrSgi>(redistributor), 1).map_err(SetupError::Gic)?
                };
                gic.setup(BOOT_CPU);
                GicCpuInterface::set_priority_mask(ALL_PRIORITIES);
                Version::V3(gic)
            }
        };
        own::publish(addresses);
        Ok(Self { version })
    }

    /// Lets the shared peripheral interrupt `spi` (0 is interrupt ID 32) reach this CPU.
    ///
    /// # Errors
    /// An SPI that the controller does not have.
    pub fn enable_spi(&mut self, spi: u32, trigger: Trigger) -> Result<(), SpiError> {
        if spi >= FIRST_SPECIAL - FIRST_SPI {
            return Err(SpiError(spi));
        }
        let id = IntId::spi(spi);
        match &mut self.version {
            Version::V2 { gic, distributor } => {
                let number = (FIRST_SPI + spi) as usize;
                let target = this_cpu_interface(distributor);
                distributor.set(GICD_ITARGETSR.nth(number), target);
                gic.set_trigger(id, trigger);
                distributor.set(GICD_ICPENDR.nth(number / 32), 1 << (number % 32));
                gic.enable_interrupt(id, true).map_err(|_| SpiError(spi))
            }
            Version::V3(gic) => {
                let distributor = gic.distributor();
                let mut enable = || {
                    distributor.set_routing(id, Some(cpu::affinity()))?;
                    distributor.set_trigger(id, trigger)?;
                    distributor.enable_interrupt(id, true)
                };
                enable().map_err(|_| SpiError(spi))
            }
        }
    }

    /// Lets the private interrupt with ID `id`, 16 to 31 and raised by a level, reach this CPU.
    ///
    /// # Errors
    /// Another ID.
    pub fn enable_ppi(&mut self, id: u32) -> Result<(), PpiError> {
        let wrong = PpiError(id);
        let id = IntId::try_from(id).ok().filter(|id| id.is_private() && !id.is_sgi()).ok_or(wrong)?;
        match &mut self.version {
            Version::V2 { gic, .. } => gic.enable_interrupt(id, true).map_err(|_| wrong),
            Version::V3(gic) => gic.enable_interrupt(id, Some(BOOT_CPU), true).map_err(|_| wrong),
        }
    }

    /// Lets `spi`, which [`Gic::enable_spi`] has taken, reach this CPU, or not.
    pub fn set_enabled(&mut self, spi: u32, enabled: bool) {
        // The controller had it when it was enabled first.
        let _ = match &mut self.version {
            Version::V2 { gic, .. } => gic.enable_interrupt(IntId::spi(spi), enabled).is_ok(),
            Version::V3(gic) => gic.distributor().enable_interrupt(IntId::spi(spi), enabled).is_ok(),
        };
    }

    /// Acknowledges the most urgent pending interrupt and gives its ID; `None` when there is none.
    pub fn next_pending(&mut self) -> Option<u32> {
        let id = match &mut self.version {
            // GICC_IAR: the crate's name for it is Group 0; seen from Non-secure state it gives Group 1's.
            Version::V2 { gic, .. } => gic.get_and_acknowledge_interrupt(InterruptGroup::Group0),
            Version::V3(_) => GicCpuInterface::get_and_acknowledge_interrupt(InterruptGroup::Group1),
        };
        id.map(u32::from).filter(|&id| !(FIRST_SPECIAL..1024).contains(&id))
    }

    /// Ends the interrupt that [`Gic::next_pending`] gave: it may come again.
    pub fn end(&mut self, id: u32) {
        // An ID that came from the controller is a valid one.
        let Ok(id) = IntId::try_from(id) else { return };
        match &mut self.version {
            Version::V2 { gic, .. } => gic.end_interrupt(id, InterruptGroup::Group0),
            Version::V3(_) => GicCpuInterface::end_interrupt(id, InterruptGroup::Group1),
        }
    }
}

/// The bit of this CPU's interface in a GICv2 target byte: what the read-only targets of interrupts 0 to 31 say, and 1
/// where they read as zero (a controller for one CPU).
fn this_cpu_interface(distributor: &mut Window) -> u8 {
    match distributor.get(GICD_ITARGETSR) {
        0 => 1,
        mask => mask,
    }
}

/// Why the controller cannot be used.
#[derive(Clone, Copy, Debug)]
pub enum SetupError {
    /// No redistributor has the boot CPU's affinity.
    NoRedistributor,
    /// It does not look like a GICv3.
    Gic(GicError),
}

impl core::fmt::Display for SetupError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::NoRedistributor => f.write_str("no redistributor has the boot CPU's affinity"),
            Self::Gic(error) => write!(f, "{error}"),
        }
    }
}

/// What is no private interrupt of the controller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PpiError(pub u32);

impl core::fmt::Display for PpiError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "interrupt {} is no CPU's own", self.0)
    }
}

/// An SPI that the interrupt controller does not have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SpiError(pub u32);

impl core::fmt::Display for SpiError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "the interrupt controller has no SPI {}", self.0)
    }
}
