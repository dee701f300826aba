//! Moving pages in use.
pub mod compact;
pub mod page;
mod tenancy;
pub mod tenant;
