//! Drives hotmap from outside, for the test suite of a VMM: it starts QEMU, talks to the shell, plugs and unplugs
//! memory, and reads `state`.
//!
//! | module | what it has |
//! |---|---|
//! | [`machine`], [`qemu`] | options of `scripts/qemu`; one QEMU process and its exit status |
//! | [`serial`], [`shell`] | the serial console; commands and replies |
//! | [`qmp`], [`dimm`], [`virtio_mem`] | QEMU's control socket; DIMMs; virtio memory devices |
//! | [`guest`], [`run`] | a booted machine; a folder for sockets, and the transcripts |
//! | [`state`], [`geometry`] | `state` as types; the numbers per granule, written down independently of the kernel |
//! | [`ktap`] | the output of the kernel's self-tests |
//! | [`error`], [`patience`] | errors; time-outs |

pub mod dimm;
pub mod error;
pub mod geometry;
pub mod guest;
pub mod ktap;
pub mod machine;
pub mod patience;
pub mod qemu;
pub mod qmp;
pub mod run;
pub mod serial;
pub mod shell;
pub mod state;
pub mod virtio_mem;
