//! Moving pages in use.
//!
//! ```text
//!  page       one page moves: break, invalidate, copy, make
//!  compact    a large free run, made by moving the pages in its way
//!  tenant     users of movable pages; tenancy makes, checks and ends them
//! ```

pub mod compact;
pub mod page;
mod tenancy;
pub mod tenant;
