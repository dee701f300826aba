//! What the memory model is tested with, on the host, beside the emulated machine (`hotmap-emulator`): a reference model that
//! predicts every operation, random histories, and snapshots that say what differs.
//!
//! ```text
//!  tests -> world -> reference   what each operation does, and to which state it leads
//!             |
//!             +---> ops          random operations (proptest)
//!             +---> snapshot     everything about a machine, as facts
//! ```

pub mod ops;
pub mod reference;
pub mod snapshot;
pub mod world;

/// Make a test of each function, at each granule: `at_each_granule!(f, g)` makes `k4::f`, `k16::f`, `k64::f` and so on.
#[macro_export]
macro_rules! at_each_granule {
    ($($(#[$attribute:meta])* $name:ident),+ $(,)?) => {
        mod k4 {
            $(#[test] $(#[$attribute])* fn $name() { super::$name(::hotmap_mm::granule::Granule::K4) })+
        }
        mod k16 {
            $(#[test] $(#[$attribute])* fn $name() { super::$name(::hotmap_mm::granule::Granule::K16) })+
        }
        mod k64 {
            $(#[test] $(#[$attribute])* fn $name() { super::$name(::hotmap_mm::granule::Granule::K64) })+
        }
    };
}
