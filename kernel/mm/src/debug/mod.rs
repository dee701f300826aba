//! Faults on purpose: allocations that fail (`inject`), and bugs that are put in (`bug=`).

pub mod bugs;
pub mod faults;
pub(crate) mod hooks;
