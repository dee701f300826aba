//! Memory blocks of which only a part is plugged. The machine withholds the rest: an access to it ends the test.
#![cfg(not(miri))]

mod coming;
mod going;
mod machine;
mod refusals;
