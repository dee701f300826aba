//! The policy against a model of the device, on the memory of an emulated machine: at every granule, with each home of the
//! memmap. The model has RAM behind plugged device blocks only, so that a touch of any other ends the test.

#![expect(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

mod answers;
mod edges;
mod guest;
mod hostile;
mod neighbours;
mod random;
mod sizes;
mod stays;
mod takeover;
