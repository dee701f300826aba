//! The same interface where there is no CPU of our own: the emulated machine (`hotmap-emulator`) in a process of the host or
//! in a browser. One kernel for each thread, with one CPU.

use std::cell::RefCell;

use hotmap_emulator::machine::Emulated;

pub use super::translation::Translation;

thread_local! {
    static MACHINE: RefCell<Option<Emulated>> = const { RefCell::new(None) };
}

/// The machine of this thread's kernel.
///
/// # Panics
/// Before [`machine::adopt`].
fn machine_here() -> Emulated {
    MACHINE.with_borrow(|machine| machine.clone().expect("a kernel has adopted its machine"))
}

/// The memory model's machine.
pub mod machine {
    use crate::arch::hosted::{Emulated, MACHINE, counter};

    /// This machine.
    pub type Arm = Emulated;

    /// Makes `machine` the one that this thread's kernel runs on; its time begins.
    pub fn adopt(machine: &Arm) {
        MACHINE.replace(Some(machine.clone()));
        counter::reset();
    }
}

/// Clearing and copying memory.
pub mod bulk {
    /// How memory is cleared.
    pub const fn method() -> &'static str {
        "the host"
    }
}

/// Time goes by one tick for each look at it, so that what is done does not depend on the host; instructions are not counted.
pub mod counter {
    use std::cell::Cell;

    thread_local! {
        static LOOKS: Cell<u64> = const { Cell::new(0) };
    }

    /// The time.
    pub fn ticks() -> u64 {
        LOOKS.replace(LOOKS.get() + 1)
    }
    /// Time begins.
    pub(super) fn reset() {
        LOOKS.set(0);
    }
    /// How many ticks a second has.
    pub const fn ticks_per_second() -> u64 {
        1000
    }
    /// Whether instructions are counted.
    pub const fn have_instruction_counter() -> bool {
        false
    }
    /// How many there were.
    pub const fn instructions() -> u64 {
        0
    }
}

/// The CPU.
pub mod cpu {
    /// The only one.
    pub const fn number() -> usize {
        0
    }
    /// Waits for nothing.
    pub fn relax() {
        core::hint::spin_loop();
    }
    /// Wakes no other CPU.
    pub const fn send_event() {}
    /// Stops for ever.
    ///
    /// # Panics
    /// Always: the host goes on.
    pub fn halt() -> ! {
        panic!("the CPU stops")
    }
}

/// How long tenants' pages are unmapped: nothing counts it.
pub mod exchange {
    /// The longest time.
    pub const fn take_longest() -> u64 {
        0
    }
}

/// Faults of readers, of which there are none.
pub mod fault {
    use hotmap_sync::figures::Figures;

    /// The windows so far.
    pub fn figures() -> Figures {
        Figures::default()
    }
    /// TLB conflicts.
    pub const fn conflicts(_number: usize) -> u64 {
        0
    }
    /// No reader enters a window.
    pub const fn stretch_next(_turns: u64) {}
}

/// The host's heap.
pub mod heap {
    /// Not counted.
    pub const fn usage() -> (usize, usize) {
        (0, 0)
    }
}

/// Translations, by the specification's walker.
pub mod translate {
    use hotmap_mm::addr::{PhysAddr, VirtAddr};

    pub use crate::arch::hosted::Translation;

    /// How a load at `va` is translated.
    pub fn load(va: VirtAddr) -> Translation {
        let machine = crate::arch::hosted::machine_here();
        machine.walk(va.get()).map_or(Translation::unmapped(3), |pa| Translation::Mapped {
            pa: PhysAddr::new(pa),
            attributes: 0xff,
        })
    }
}
