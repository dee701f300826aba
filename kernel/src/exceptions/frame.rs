//! What an exception leaves on the emergency stack.

/// The registers at an exception, as `vectors.S` stores them.
#[repr(C)]
pub(super) struct Frame {
    /// x0 to x30.
    pub(super) x: [u64; 31],
    /// The stack pointer that was in use.
    pub(super) sp: u64,
    /// ELR_EL1: the instruction that failed, and where execution continues.
    pub(super) elr: u64,
    /// SPSR_EL1: the processor state to return to.
    pub(super) spsr: u64,
    /// ESR_EL1.
    pub(super) esr: u64,
    /// FAR_EL1.
    pub(super) far: u64,
    /// Which of the 16 vectors.
    pub(super) vector: u64,
    padding: u64,
}
