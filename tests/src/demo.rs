//! The life of a DIMM, narrated: `make demo`.

mod narrator;
mod story;

pub use story::tell;
