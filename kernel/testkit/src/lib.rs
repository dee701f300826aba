//! What the memory model is tested with, on the host: an emulated machine whose TLB forgets nothing by itself, a walker that
//! was written from the Arm ARM and shares no line with the model, and a reference model that predicts every operation.
//!
//! ```text
//!  tests -> rig ----------> hotmap-mm (the code that the kernel runs)
//!            |                  | Machine: frames, mapped memory, TLB maintenance
//!            v                  v
//!         reference          machine: RAM with holes, MMU, stale TLB
//!         snapshot  <------  arch: the specification's walker and rules, reading raw table bytes
//! ```

pub mod arch;
pub mod layout;
pub mod machine;
pub mod ops;
pub mod reference;
pub mod rig;
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
