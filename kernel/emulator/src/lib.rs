//! A machine that the memory model runs on unchanged, in a process of the host or in a browser: RAM that comes and goes, and an
//! MMU whose TLB forgets nothing by itself. Beside it a walker that was written from the Arm ARM and shares no line with the
//! model.
//!
//! ```text
//!  rig ----------> hotmap-mm (the code that the kernel runs)
//!                      | Machine: frames, mapped memory, TLB maintenance
//!                      v
//!                  machine: RAM with holes, MMU, stale TLB
//!                      |
//!                      v
//!                  arch: the specification's walker and rules, reading raw table bytes
//! ```

pub mod arch;
pub mod devices;
pub mod layout;
pub mod machine;
pub mod rig;
