//! Grace periods. `Thing` is found through `shown`; its `contents` are a loom cell, which fails when a use and a change of
//! it are not ordered.

use hotmap_sync::readers::Readers;
use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::sync::atomic::AtomicU64;
use loom::sync::atomic::Ordering::Relaxed;
use loom::thread;

use crate::{bounded, cpu};

struct Thing {
    readers: Readers,
    shown: AtomicU64,
    contents: UnsafeCell<u64>,
}

impl Thing {
    fn new() -> Arc<Self> {
        Arc::new(Self { readers: Readers::new(), shown: AtomicU64::new(1), contents: UnsafeCell::new(0) })
    }

    fn read(&self, reader: usize) {
        let _section = self.readers.enter(cpu(reader));
        if self.shown.load(Relaxed) == 1 {
            self.contents.with(|_| ());
        }
    }

    fn take_away_and_reuse(&self) {
        self.shown.store(0, Relaxed);
        self.readers.synchronize(|_| thread::yield_now());
        self.contents.with_mut(|_| ());
    }
}

/// One reader, two sections: the writer may look in, between and after them.
///
/// loom finds a "Causality violation" of `contents` without each of: the fence in `enter`; the fence in
/// `synchronize`; Release when leaving; Acquire at either load of `synchronize`; Release when entering (the writer sees the
/// second section begin in place of the first one's end).
#[test]
fn nobody_uses_what_was_taken_away_before_the_wait() {
    loom::model(|| {
        let thing = Thing::new();
        let reader = thread::spawn({
            let thing = thing.clone();
            move || {
                thing.read(1);
                thing.read(1);
            }
        });
        thing.take_away_and_reuse();
        reader.join().expect("the reader");
    });
}

/// Two readers: both are waited for.
#[test]
fn every_reader_is_waited_for() {
    bounded(3, || {
        let thing = Thing::new();
        let readers = [1, 7].map(|reader| {
            let thing = thing.clone();
            thread::spawn(move || thing.read(reader))
        });
        thing.take_away_and_reuse();
        for reader in readers {
            reader.join().expect("a reader");
        }
    });
}

/// A nested section does not end the outer one.
///
/// If it counted like another, loom finds a "Causality violation" of `contents`.
#[test]
fn a_nested_section_protects_to_the_end_of_the_outer() {
    loom::model(|| {
        let thing = Thing::new();
        let reader = thread::spawn({
            let thing = thing.clone();
            move || {
                let _outer = thing.readers.enter(cpu(1));
                let found = thing.shown.load(Relaxed) == 1;
                thing.read(1);
                if found {
                    thing.contents.with(|_| ());
                }
            }
        });
        thing.take_away_and_reuse();
        reader.join().expect("the reader");
    });
}

/// The wait left out.
#[test]
#[should_panic(expected = "Causality violation")]
fn without_the_wait_it_is_used_while_it_changes() {
    loom::model(|| {
        let thing = Thing::new();
        let reader = thread::spawn({
            let thing = thing.clone();
            move || thing.read(1)
        });
        thing.shown.store(0, Relaxed);
        thing.contents.with_mut(|_| ());
        reader.join().expect("the reader");
    });
}

/// Waiting first and taking away afterwards.
#[test]
#[should_panic(expected = "Causality violation")]
fn waiting_before_taking_away_protects_nothing() {
    loom::model(|| {
        let thing = Thing::new();
        let reader = thread::spawn({
            let thing = thing.clone();
            move || thing.read(1)
        });
        thing.readers.synchronize(|_| thread::yield_now());
        thing.shown.store(0, Relaxed);
        thing.contents.with_mut(|_| ());
        reader.join().expect("the reader");
    });
}
