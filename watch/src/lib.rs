//! Looks at a live QEMU guest, and serves what it sees to a page: `make watch`.
//!
//! ```text
//!  page  --POST /call-->  server  --channel-->  watcher  --`state`, framed-->  serial line  \
//!        <--GET /events--   one thread for        one thread,                                 QEMU
//!                           each connection       owns the guest  --pmemsave-->  QMP        /
//! ```
//! The server is read-only towards the guest: over the serial line it types `state`, over QMP it reads memory. Requests that
//! act are refused. It serves on 127.0.0.1, and answers a browser that asks it by that name.

pub mod answers;
pub mod guest;
pub mod http;
pub mod log;
pub mod memory;
pub mod server;
pub mod watcher;
