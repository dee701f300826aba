//! Moving pages in use.
//!
//! ```text
//!  batch      pages move, many at once: break, invalidate, copy, make
//!  compact    a large free run, made by moving the pages in its way
//!  tenant     users of movable pages; tenancy makes, checks and ends them
//! ```

pub(crate) mod batch;
pub mod compact;
mod tenancy;
pub mod tenant;
