//! Faults on purpose.
pub mod bugs;
pub mod faults;
