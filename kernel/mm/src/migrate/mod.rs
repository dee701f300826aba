//! Moving pages in use.
pub mod compact;
pub mod page;
pub mod tenant;
