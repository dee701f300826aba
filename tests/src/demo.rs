//! The life of a DIMM, narrated: `make demo`, and `make report`, which makes a page of it.

mod narrator;
mod record;
mod story;

pub use record::Record;
pub use story::tell;
