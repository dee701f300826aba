//! Faults on purpose: allocations that fail (`inject`), and bugs that are put in (`bug=`). A device that goes part by part,
//! for tests.

pub mod bugs;
pub mod faults;
pub(crate) mod hooks;
pub mod parts;
