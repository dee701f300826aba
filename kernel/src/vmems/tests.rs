//! Several devices on the emulated machine, none of which plugs anything.

use hotmap_emulator::rig::{MIB, Rig, Shape};
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use virtio_mem::{Answer, BlockState, Config};

use super::*;

const UNIT: u64 = 2 * MIB;

/// Is busy.
struct Busy(Config);

impl Busy {
    fn new(addr: u64) -> Self {
        Self(Config {
            block_size: UNIT,
            node: None,
            addr,
            region_size: 1024 * MIB,
            usable_region_size: 1024 * MIB,
            plugged_size: 0,
            requested_size: 4 * UNIT,
        })
    }
}

type Answered<T> = core::result::Result<T, Fault>;

impl Device for Busy {
    fn config(&mut self) -> Answered<Config> {
        Ok(self.0)
    }
    fn plug(&mut self, _: Range<u64>) -> Answered<Answer> {
        Ok(Answer::Busy)
    }
    fn unplug(&mut self, _: Range<u64>) -> Answered<Answer> {
        Ok(Answer::Busy)
    }
    fn unplug_all(&mut self) -> Answered<Answer> {
        Ok(Answer::Busy)
    }
    fn state(&mut self, _: Range<u64>) -> Answered<BlockState> {
        Ok(BlockState::Unplugged)
    }
}

impl Driven for Busy {
    fn take_interrupt(&mut self) -> bool {
        false
    }
    fn restart(&mut self) -> Answered<()> {
        Ok(())
    }
    fn waited(&self) -> Spent {
        Spent::default()
    }
}

/// A guest with devices whose regions begin at `starts`.
fn with_devices(starts: &[u64]) -> (Rig, Vmems<Busy>) {
    let mut rig = Rig::boot(Granule::K16, &Shape::one("192 MiB", 0x4000_0000, 192 * MIB));
    let mut vmems = Vmems::new();
    let policy = Policy { home: MemmapHome::Ram, zone: None };
    for start in starts {
        vmems.find(&mut rig.mm, Busy::new(*start), policy, &"test");
    }
    (rig, vmems)
}

#[test]
fn devices_that_stay_busy_are_not_tried_for_ever() {
    let (mut rig, mut vmems) = with_devices(&[0x1_0000_0000, 0x2_0000_0000, 0x3_0000_0000]);
    for round in 0u32..100 {
        if vmems.next_retry().is_none() {
            assert!(vmems.all().iter().all(|vmem| vmem.resizer().status() == Status::Stuck));
            return assert!(round + 1 >= MOST_TRIES, "given up after {round} tries");
        }
        for (i, vmem) in (0u32..).zip(&mut vmems.all) {
            // Each is due at another time.
            if vmem.retry_at.is_some() && (i == 0 || round % (i + 1) == 0) {
                vmem.retry_at = Some(now());
            }
        }
        if vmems.needs_service() {
            vmems.service(&mut rig.mm, |_| {});
        }
    }
    panic!("the devices are tried for ever");
}

#[test]
fn a_region_that_another_device_has_is_refused() {
    let (_, vmems) = with_devices(&[0x1_0000_0000, 0x1_3fe0_0000, 0xc020_0000, 0x1_4000_0000]);
    let starts: Vec<u64> = vmems.all().iter().map(|vmem| vmem.resizer().config().addr).collect();
    assert_eq!(starts, [0x1_0000_0000, 0x1_4000_0000]);
}
