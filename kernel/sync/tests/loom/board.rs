//! The board: a page is complete when it is found, and still there while it is used. `pages` stands for the struct pages
//! of the compound page whose head has that index.

use hotmap_sync::board::{Board, Compound, Kind};
use hotmap_sync::readers::Readers;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use crate::cpu;

const HUGE: Compound = Compound { head: 0, order: 9, kind: Kind::HugeTlb };
const DAX: Compound = Compound { head: 1, order: 18, kind: Kind::Dax };

struct Machine {
    readers: Readers,
    board: Board<2>,
    pages: [UnsafeCell<u64>; 2],
}

impl Machine {
    fn new() -> Arc<Self> {
        let pages = [UnsafeCell::new(0), UnsafeCell::new(0)];
        Arc::new(Self { readers: Readers::new(), board: Board::new(), pages })
    }

    /// The writer touches the page's struct pages: makes them, or dissolves them.
    fn change(&self, page: Compound) {
        self.pages[usize::try_from(page.head).expect("0 or 1")].with_mut(|_| ());
    }

    fn read(&self, reader: usize) {
        let section = self.readers.enter(cpu(reader));
        for page in self.board.scan(&section) {
            assert!(page == HUGE || page == DAX, "half of one page, half of another: {page:?}");
            self.pages[usize::try_from(page.head).expect("0 or 1")].with(|_| ());
        }
    }

    fn withdraw(&self, page: Compound) {
        self.board.withdraw(page.head, page.head + 1).wait(&self.readers, |_| thread::yield_now());
    }
}

/// The writer makes one page, dissolves it and makes another in the same slot; the reader looks once at any time.
///
/// loom finds a "Causality violation" of `pages` without each of: Release in `publish`, Acquire in `scan` (found before
/// it is complete); the wait in `Grace::wait` (changed while it is used).
#[test]
fn a_page_is_whole_when_found_and_stays_while_used() {
    loom::model(|| {
        let machine = Machine::new();
        let reader = thread::spawn({
            let machine = machine.clone();
            move || machine.read(1)
        });
        machine.change(HUGE);
        machine.board.publish(HUGE).expect("free");
        machine.withdraw(HUGE);
        machine.change(HUGE);
        machine.change(DAX);
        machine.board.publish(DAX).expect("free");
        reader.join().expect("the reader");
    });
}

/// Withdrawn and changed without the wait.
#[test]
#[should_panic(expected = "Causality violation")]
fn without_the_grace_period_a_page_changes_while_it_is_used() {
    loom::model(|| {
        let machine = Machine::new();
        machine.board.publish(HUGE).expect("free");
        let reader = thread::spawn({
            let machine = machine.clone();
            move || machine.read(1)
        });
        let _unpaid = machine.board.withdraw(0, 1);
        machine.change(HUGE);
        reader.join().expect("the reader");
    });
}
