//! Devices that answer as they like, within a configuration that keeps the rules: whatever they say, the guest's memory stays
//! sound, and what the guest counts as plugged is what it was told.

use std::collections::VecDeque;
use std::ops::Range;

use hotmap_emulator::rig::{MIB, Rig, Shape};
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_resize::{Policy, Resizer, Status};
use proptest::prelude::*;
use virtio_mem::{Answer, BlockState, Config, Device, Fault, Request};

use crate::guest::{HOMES, REGION};

const UNIT: u64 = 2 * MIB;
const UNITS: u64 = 160;

/// One thing that the device says.
#[derive(Clone, Debug)]
enum Says {
    Answer(Answer),
    State(BlockState),
    Nothing,
}

/// Says what is next in its lists, and then ACK, and that it is as it was.
struct Liar {
    config: Config,
    configs: VecDeque<(u64, u64, Option<u64>)>,
    says: VecDeque<Says>,
    told: u64,
}

impl Liar {
    fn answer(&mut self, request: Request) -> Result<Answer, Fault> {
        match self.says.pop_front() {
            Some(Says::Answer(answer)) => Ok(answer),
            Some(Says::Nothing) => Err(Fault::Silent(request)),
            _ => Ok(Answer::Ack),
        }
    }
}

impl Device for Liar {
    fn config(&mut self) -> Result<Config, Fault> {
        if let Some((requested, usable, plugged)) = self.configs.pop_front() {
            self.config.requested_size = requested * UNIT;
            self.config.usable_region_size = usable * UNIT;
            self.config.plugged_size = plugged.map_or(self.told, |units| units * UNIT);
        } else {
            self.config.plugged_size = self.told;
        }
        self.config.check().map(|()| self.config)
    }
    fn plug(&mut self, blocks: Range<u64>) -> Result<Answer, Fault> {
        let answer = self.answer(Request::Plug)?;
        if answer == Answer::Ack {
            self.told += blocks.end - blocks.start;
        }
        Ok(answer)
    }
    fn unplug(&mut self, blocks: Range<u64>) -> Result<Answer, Fault> {
        let answer = self.answer(Request::Unplug)?;
        if answer == Answer::Ack {
            self.told -= blocks.end - blocks.start;
        }
        Ok(answer)
    }
    fn unplug_all(&mut self) -> Result<Answer, Fault> {
        let answer = self.answer(Request::UnplugAll)?;
        if answer == Answer::Ack {
            self.told = 0;
        }
        Ok(answer)
    }
    fn state(&mut self, _: Range<u64>) -> Result<BlockState, Fault> {
        match self.says.pop_front() {
            Some(Says::State(state)) => Ok(state),
            Some(Says::Answer(answer)) => Err(Fault::Answered(Request::State, answer)),
            Some(Says::Nothing) => Err(Fault::Silent(Request::State)),
            None => Ok(BlockState::Unplugged),
        }
    }
}

/// Says ACK to everything, and changes the requested size by `flip` each time that it is asked.
pub(crate) struct Agrees {
    pub(crate) config: Config,
    pub(crate) flip: u64,
}

impl Device for Agrees {
    fn config(&mut self) -> Result<Config, Fault> {
        self.config.requested_size ^= self.flip;
        self.config.check().map(|()| self.config)
    }
    fn plug(&mut self, blocks: Range<u64>) -> Result<Answer, Fault> {
        self.config.plugged_size += blocks.end - blocks.start;
        Ok(Answer::Ack)
    }
    fn unplug(&mut self, blocks: Range<u64>) -> Result<Answer, Fault> {
        self.config.plugged_size -= blocks.end - blocks.start;
        Ok(Answer::Ack)
    }
    fn unplug_all(&mut self) -> Result<Answer, Fault> {
        self.config.plugged_size = 0;
        Ok(Answer::Ack)
    }
    fn state(&mut self, _: Range<u64>) -> Result<BlockState, Fault> {
        Ok(BlockState::Plugged)
    }
}

#[test]
fn a_device_that_never_stops_changing_its_mind_is_left_until_it_interrupts_again() {
    let g = Granule::K4;
    let mut rig = Rig::boot(g, &Shape::one("192 MiB", 0x4000_0000, 192 * MIB));
    rig.machine.plug(0x8000_0000, 256 * MIB);
    let size = 256 * MIB;
    let config = Config {
        block_size: UNIT,
        node: None,
        addr: 0x8000_0000,
        region_size: size,
        usable_region_size: size,
        plugged_size: 0,
        requested_size: 8 * UNIT,
    };
    let policy = Policy { home: MemmapHome::Ram, zone: Some(ZoneKind::Movable) };
    let mut resizer = Resizer::new(0, config, policy, g);
    let mut fickle = Agrees { config, flip: UNIT };
    let status = resizer.follow(&mut rig.mm, &mut fickle, &mut |_| false);
    assert_eq!(status, Status::Stuck);
    rig.assert_clean("after it was left");
}

fn says() -> impl Strategy<Value = Says> {
    prop_oneof![
        8 => Just(Says::Answer(Answer::Ack)),
        1 => Just(Says::Answer(Answer::Nack)),
        1 => Just(Says::Answer(Answer::Busy)),
        1 => Just(Says::Answer(Answer::Error)),
        1 => Just(Says::Nothing),
        2 => prop::sample::select(vec![BlockState::Plugged, BlockState::Unplugged, BlockState::Mixed]).prop_map(Says::State),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn no_device_breaks_the_guests_memory(
        g in prop::sample::select(Granule::ALL.to_vec()),
        home in prop::sample::select(HOMES.to_vec()),
        configs in prop::collection::vec((0..=UNITS, 0..=UNITS, prop::option::weighted(0.1, 0..=UNITS)), 0..24),
        says in prop::collection::vec(says(), 0..48),
        found in any::<bool>(),
    ) {
        let mut rig = Rig::boot(g, &Shape::one("192 MiB", 0x4000_0000, 192 * MIB));
        // All of it is there, whatever the device says.
        let block = g.section_size;
        let room = REGION / block * block..(REGION + UNITS * UNIT).next_multiple_of(block);
        rig.machine.plug(room.start, room.end - room.start);
        let config = Config {
            block_size: UNIT, node: None, addr: REGION, region_size: UNITS * UNIT,
            usable_region_size: UNITS * UNIT, plugged_size: 0, requested_size: 0,
        };
        let mut device = Liar { config, configs: configs.into(), says: says.into(), told: 0 };
        let policy = Policy { home, zone: Some(ZoneKind::Movable) };
        let mut resizer = Resizer::new(0, config, policy, g);
        if found {
            let _ = resizer.take_over(&mut rig.mm, &mut device);
            rig.assert_clean("after taking over");
        }
        for round in 0..12 {
            resizer.follow(&mut rig.mm, &mut device, &mut |_| false);
            rig.assert_clean(&format!("round {round}: {:?}", resizer.status()));
            prop_assert!(resizer.idle().total() <= resizer.plugged().total());
        }
    }
}
