//! **The protocols between CPUs**: the boot CPU changes memory (the *writer*); the others read struct pages (*readers*).
//!
//! ```text
//!  mailbox   a secondary CPU reports in and gets work                         states . job . stop
//!  board     what readers check: compound pages, published and withdrawn      a whole entry or none
//!  readers   the writer waits for a grace period                              enter . leave . synchronize
//!  window    a live vmemmap entry is invalid for a moment                     open . fault . close
//! ```
//! The writer takes a compound page away in this order: it withdraws the page from `board`, so that no reader finds it;
//! waits in `readers`, until no reader uses it; then changes it. A change of an entry that readers may still be using (a
//! 2 MiB block of vmemmap maps 32768 struct pages) goes through break-before-make inside a `window`.
//!
//! Everything here is atomics with stated orderings: no locks, no assembly, no allocation. loom tries all orders of events
//! and all values that a load may return (kernel/sync/tests/loom). Where the MMU needs barriers too, the comment says which
//! the kernel must add.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(all(test, not(loom)))]
extern crate std;

mod atomic;
pub mod board;
pub mod cpu;
pub mod figures;
pub mod mailbox;
pub mod readers;
pub mod window;

#[cfg(all(test, not(loom)))]
mod tests {
    use crate::{board::Board, cpu::CPUS, mailbox::Mailbox, readers::Readers, window::Window};

    static WINDOW: Window = Window::new();
    static READERS: Readers = Readers::new();
    static BOARD: Board = Board::new();
    static MAILBOXES: [Mailbox; CPUS] = [const { Mailbox::new() }; CPUS];

    #[test]
    fn all_of_it_fits_in_statics_that_start_as_zeroes() {
        let zeroes = |text: std::string::String| !text.contains(['1', '2', '3']);
        assert!(
            zeroes(std::format!("{WINDOW:?} {READERS:?} {BOARD:?} {MAILBOXES:?}")),
            "they need room in .bss only"
        );
        assert_eq!(size_of_val(&BOARD), 64 * 8);
    }
}
