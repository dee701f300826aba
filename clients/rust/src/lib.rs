//! Drives hotmap from outside, for the test suite of a VMM: it starts QEMU, talks to the shell, plugs and unplugs
//! memory, and reads `state`.
//!
//! | module | what it has |
//! |---|---|
//! | [`machine`], [`qemu`] | options of `scripts/qemu`; one QEMU process and its exit status |
//! | [`serial`], [`shell`], [`frame`] | the serial console; commands and replies, at the prompt and with `script=on` |
//! | [`qmp`], [`dimm`], [`virtio_mem`] | QEMU's control socket; DIMMs; virtio memory devices |
//! | [`guest`], [`run`] | a booted machine; a folder for sockets, and the transcripts |
//! | [`state`], [`geometry`] | `state` as types; the numbers per granule, written down independently of the kernel |
//! | [`ktap`] | the output of the kernel's self-tests |
//! | [`error`], [`patience`] | errors; time-outs |
//!
//! ```no_run
//! use hotmap_client::{dimm::Dimm, geometry::GIB, guest::Guest, machine::Machine, run::Run};
//!
//! # fn main() -> hotmap_client::error::Checked {
//! let run = Run::new("plug")?;
//! let mut guest = Guest::boot(&run, &Machine::firmware().framed())?;
//! guest.plug_well(&Dimm::new("d0", GIB))?;
//! assert_eq!(guest.state()?.dimms[0].state, "online");
//! guest.finish()
//! # }
//! ```
//!
//! A QEMU with a command line of your own is started by [`qemu::Qemu::spawn`], one that runs already is attached to by
//! [`qemu::Qemu::attach`]; [`guest::Guest::over`] makes a guest of either. docs/guide/scripting.md says what the command line
//! needs.
//! Without the default feature `qemu` there are [`state`] and [`geometry`] alone: they need no process and no socket.

#[cfg(feature = "qemu")]
pub mod dimm;
#[cfg(feature = "qemu")]
pub mod error;
#[cfg(feature = "qemu")]
pub mod frame;
pub mod geometry;
#[cfg(feature = "qemu")]
pub mod guest;
#[cfg(feature = "qemu")]
pub mod ktap;
#[cfg(feature = "qemu")]
pub mod machine;
#[cfg(feature = "qemu")]
pub mod patience;
#[cfg(feature = "qemu")]
pub mod qemu;
#[cfg(feature = "qemu")]
pub mod qmp;
#[cfg(feature = "qemu")]
pub mod run;
#[cfg(feature = "qemu")]
pub mod serial;
#[cfg(feature = "qemu")]
pub mod shell;
pub mod state;
#[cfg(feature = "qemu")]
pub mod virtio_mem;
