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
pub mod machine;
pub mod rig;
