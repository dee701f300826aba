//! Memmap on demand against an independent oracle: the second walker reads which memmap pages have a frame of their own, and
//! the history of what was handed out says which should.
#![cfg(not(miri))]

mod aside;
mod bounds;
mod faults;
mod groups;
mod life;
mod lives;
mod oracle;
