//! The bus of a thread's emulated machine: at which addresses a window reaches a device instead of the host's memory.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use hotmap_emulator::devices::Registers;

type Device = Rc<RefCell<dyn Registers>>;

thread_local! {
    static BUS: RefCell<Vec<(Range<usize>, Device)>> = const { RefCell::new(Vec::new()) };
}

/// Puts `device` at `bytes` bytes from `base` on, in place of one that begins there.
pub(crate) fn attach(base: usize, bytes: usize, device: Device) {
    BUS.with_borrow_mut(|bus| {
        bus.retain(|(range, _)| range.start != base);
        bus.push((base..base + bytes, device));
    });
}

/// The device at `address`, and the offset in it.
fn find(address: usize) -> Option<(Device, usize)> {
    BUS.with_borrow(|bus| {
        let (range, device) = bus.iter().find(|(range, _)| range.contains(&address))?;
        Some((device.clone(), address - range.start))
    })
}

/// A load of `bytes` bytes, if a device answers.
pub(super) fn load(address: usize, bytes: usize) -> Option<u64> {
    find(address).map(|(device, offset)| device.borrow_mut().load(offset, bytes))
}

/// A store; whether a device takes it.
pub(super) fn store(address: usize, bytes: usize, value: u64) -> bool {
    find(address).map(|(device, offset)| device.borrow_mut().store(offset, bytes, value)).is_some()
}
