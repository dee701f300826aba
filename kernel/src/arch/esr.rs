//! What ESR_EL1 says, in words. Pure: it decodes a number, so that the host can check every row.
//!
//! Source: Arm ARM (DDI 0487), "ESR_EL1, Exception Syndrome Register (EL1)":
//!
//! ```text
//!  63        56 55     32 31      26 25 24                                0
//! +------------+---------+----------+--+-----------------------------------+
//! |    RES0    |  ISS2   |    EC    |IL|                ISS                |
//! +------------+---------+----------+--+-----------------------------------+
//!  ISS of an abort:       ISV 24 ...  SET 12:11  FnV 10  EA 9  CM 8  S1PTW 7  WnR 6  FSC 5:0
//! ```

use core::fmt;

use tock_registers::register_bitfields;

use super::byte;

register_bitfields![u64,
    ESR [
        /// Of an abort, the fault status: DFSC or IFSC.
        FSC OFFSET(0) NUMBITS(6) [],
        /// Of a data abort: on a write. Cache maintenance counts as a write.
        WnR OFFSET(6) NUMBITS(1) [],
        /// Of a data abort: by a cache maintenance or address translation instruction.
        CM OFFSET(8) NUMBITS(1) [],
        /// Of an abort: FAR_EL1 is not valid.
        FnV OFFSET(10) NUMBITS(1) [],
        ISS OFFSET(0) NUMBITS(25) [],
        EC OFFSET(26) NUMBITS(6) []
    ]
];

/// An exception syndrome, as ESR_EL1 gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Syndrome(pub u64);

/// EC of an undefined instruction: "Unknown reason".
pub const EC_UNKNOWN: u8 = 0x00;
/// EC of an instruction abort from this exception level.
pub const EC_INSTRUCTION_ABORT_SAME: u8 = 0x21;
/// EC of a data abort from this exception level.
pub const EC_DATA_ABORT_SAME: u8 = 0x25;

/// The exception classes that an exception taken to EL1 from AArch64 can have, in the Arm ARM's order.
const CLASSES: &[(u8, &str)] = &[
    (EC_UNKNOWN, "unknown reason (undefined instruction)"),
    (0x01, "trapped WFI or WFE"),
    (0x07, "trapped SVE, SIMD or FP access (CPACR_EL1.FPEN)"),
    (0x0a, "trapped LD64B or ST64B"),
    (0x0d, "branch target"),
    (0x0e, "illegal execution state"),
    (0x11, "SVC in AArch32"),
    (0x15, "SVC"),
    (0x16, "HVC"),
    (0x17, "SMC"),
    (0x18, "trapped MSR, MRS or system instruction"),
    (0x19, "trapped SVE access"),
    (0x1b, "exception from TSTART"),
    (0x1c, "pointer authentication failure"),
    (0x1d, "trapped SME access"),
    (0x20, "instruction abort from a lower EL"),
    (EC_INSTRUCTION_ABORT_SAME, "instruction abort"),
    (0x22, "PC alignment fault"),
    (0x24, "data abort from a lower EL"),
    (EC_DATA_ABORT_SAME, "data abort"),
    (0x26, "SP alignment fault"),
    (0x27, "memory copy or set (FEAT_MOPS) out of step"),
    (0x2c, "trapped floating-point exception"),
    (0x2d, "guarded control stack"),
    (0x2f, "SError"),
    (0x30, "breakpoint from a lower EL"),
    (0x31, "breakpoint"),
    (0x32, "software step from a lower EL"),
    (0x33, "software step"),
    (0x34, "watchpoint from a lower EL"),
    (0x35, "watchpoint"),
    (0x3c, "BRK"),
];

/// The level of the translation walk that a fault status names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fault {
    /// What went wrong.
    pub what: &'static str,
    /// At which level of the walk (-2 and -1 exist with 128-bit descriptors and 52-bit addresses), where it has one.
    pub level: Option<i8>,
}

/// The fault status codes without a level, and those whose level is not in their low two bits.
const SINGLE_FAULTS: &[(u8, &str, Option<i8>)] = &[
    (0b01_0000, "external abort", None),
    (0b01_0001, "tag check fault", None),
    (0b01_0010, "external abort on the translation walk", Some(-2)),
    (0b01_0011, "external abort on the translation walk", Some(-1)),
    (0b01_1000, "parity or ECC error", None),
    (0b01_1011, "parity or ECC error on the translation walk", Some(-1)),
    (0b10_0001, "alignment fault", None),
    (0b10_0010, "granule protection fault on the translation walk", Some(-2)),
    (0b10_0011, "granule protection fault on the translation walk", Some(-1)),
    (0b10_1000, "granule protection fault", None),
    (0b10_1001, "address size fault", Some(-1)),
    (0b10_1010, "translation fault", Some(-2)),
    (0b10_1011, "translation fault", Some(-1)),
    (0b10_1100, "address size fault", Some(-2)),
    (0b11_0000, "TLB conflict abort", None),
    (0b11_0001, "unsupported atomic hardware update", None),
    (0b11_0100, "implementation defined fault (lockdown)", None),
    (0b11_0101, "implementation defined fault (exclusive or atomic)", None),
];

/// The fault status codes whose low two bits are the level, 0 to 3: the code with those bits clear.
const LEVEL_FAULTS: &[(u8, &str)] = &[
    (0b00_0000, "address size fault"),
    (0b00_0100, "translation fault"),
    (0b00_1000, "access flag fault"),
    (0b00_1100, "permission fault"),
    (0b01_0100, "external abort on the translation walk"),
    (0b01_1100, "parity or ECC error on the translation walk"),
    (0b10_0100, "granule protection fault on the translation walk"),
];

/// The fault status code (DFSC or IFSC, six bits) in words.
pub fn fault(status: u8) -> Fault {
    if let Some(&(_, what, level)) = SINGLE_FAULTS.iter().find(|row| row.0 == status) {
        return Fault { what, level };
    }
    let level = [0, 1, 2, 3][usize::from(status & 0b11)];
    match LEVEL_FAULTS.iter().find(|row| row.0 == status & !0b11) {
        Some(&(_, what)) => Fault { what, level: Some(level) },
        None => Fault { what: "reserved fault status", level: None },
    }
}

impl Syndrome {
    /// EC: the exception class.
    pub fn class(self) -> u8 {
        byte(ESR::EC.read(self.0))
    }
    /// ISS: what the class makes of it.
    pub fn iss(self) -> u32 {
        (ESR::ISS.read(self.0) & 0xffff_ffff) as u32
    }
    /// The class in words.
    pub fn class_name(self) -> &'static str {
        CLASSES.iter().find(|row| row.0 == self.class()).map_or("reserved class", |row| row.1)
    }
    /// Whether this is a data abort.
    pub fn is_data_abort(self) -> bool {
        matches!(self.class(), 0x24 | EC_DATA_ABORT_SAME)
    }
    /// Whether this is a data or an instruction abort, whose ISS has a fault status.
    pub fn is_abort(self) -> bool {
        self.is_data_abort() || matches!(self.class(), 0x20 | EC_INSTRUCTION_ABORT_SAME)
    }
    /// The fault status of an abort, in words.
    pub fn fault(self) -> Option<Fault> {
        self.status().map(fault)
    }
    /// FSC of an abort.
    fn status(self) -> Option<u8> {
        self.is_abort().then(|| byte(ESR::FSC.read(self.0)))
    }
    /// Whether an abort is a translation fault, at any level: the entry there is invalid.
    pub fn is_translation_fault(self) -> bool {
        matches!(self.status(), Some(0b00_0100..=0b00_0111 | 0b10_1010 | 0b10_1011))
    }
    /// Whether an abort is a permission fault, at any level.
    pub fn is_permission_fault(self) -> bool {
        matches!(self.status(), Some(0b00_1100..=0b00_1111))
    }
    /// Whether an abort is a TLB conflict: more than one entry for the address.
    pub fn is_tlb_conflict(self) -> bool {
        matches!(self.status(), Some(0b11_0000))
    }
    /// Whether a data abort was on a write. Cache maintenance counts as a write.
    pub fn is_write(self) -> bool {
        self.is_data_abort() && ESR::WnR.is_set(self.0)
    }
    /// Whether a data abort came from a cache maintenance or address translation instruction.
    pub fn is_cache_maintenance(self) -> bool {
        self.is_data_abort() && ESR::CM.is_set(self.0)
    }
    /// Whether FAR_EL1 holds the address: aborts unless FnV says no, PC alignment faults, watchpoints.
    pub fn has_far(self) -> bool {
        match self.class() {
            0x22 | 0x34 | 0x35 => true,
            _ => self.is_abort() && !ESR::FnV.is_set(self.0),
        }
    }
}

impl fmt::Display for Syndrome {
    /// `data abort on a write: translation fault, level 3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.class_name())?;
        if self.is_cache_maintenance() {
            f.write_str(" on cache maintenance")?;
        } else if self.is_data_abort() {
            f.write_str(if self.is_write() { " on a write" } else { " on a read" })?;
        }
        match self.fault() {
            Some(Fault { what, level: Some(level) }) => write!(f, ": {what}, level {level}")?,
            Some(Fault { what, level: None }) => write!(f, ": {what}")?,
            None => write!(f, ", ISS {:#x}", self.iss())?,
        }
        if self.is_abort() && !self.has_far() {
            f.write_str(" (FAR not valid)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
