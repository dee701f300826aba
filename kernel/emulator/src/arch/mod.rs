//! The architecture, a second time: written from the Arm ARM and sharing no line with the model's own tables, so that the
//! two can contradict each other.
//!
//! `spec` knows the granules and the bits of a descriptor, `walker` reads tables as the hardware does, and `live` says
//! which change of a live entry is legal.

pub mod live;
pub mod spec;
pub mod walker;
