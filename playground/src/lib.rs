//! The kernel in a web page: the memory model, the sources of memory and the shell, as they run on arm64, over the emulated
//! machine. A request and its answer are JSON.
//!
//! ```text
//!  abi        exports of the WebAssembly module: bytes in, bytes out
//!  session    one machine, and the requests: boot, line, monitor, state, view, trace
//!  view       what is looked at, now or after a step; trace: the steps
//!  monitor    what a VMM does: plug, unplug, virtio-mem
//!  boot       from a request's arguments to a kernel
//! ```
//! A file uses what is below it. The module is built as a `cdylib` (`make wasm`); with an rlib beside it there is no link-time
//! optimisation, and it is a quarter larger.

pub mod abi;
mod boot;
mod monitor;
mod request;
mod session;
mod trace;
mod view;

pub use request::Boot;
pub use session::Session;
