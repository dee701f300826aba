//! A model of the device, written from the specification (virtio 1.3, 5.15.6 "Device Operation") and from what QEMU's answers:
//! one flag for each device block, and RAM behind those that are plugged.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use virtio_mem::{Answer, BlockState, Config, Device, Fault, Request};

use crate::machine::Emulated;
use crate::machine::memory::host;

/// The step in which the machine's RAM comes and goes.
const PART: u64 = 2 << 20;

/// A request, and what it was answered.
pub type Asked = (Request, Range<u64>, Answer);

/// What a test changes while the driver asks.
type Script = Box<dyn FnMut(&mut State, Request, &Range<u64>) -> Option<Answer>>;

/// The device's side.
pub struct State {
    /// Its configuration.
    pub config: Config,
    /// Whether each device block is plugged.
    pub plugged: Vec<bool>,
    /// The least that stays usable beyond what is requested.
    pub extra: u64,
    /// The requests since [`Model::take_asked`].
    pub asked: Vec<Asked>,
    /// The configuration has changed since [`Model::take_interrupt`].
    changed: bool,
    machine: Emulated,
}

/// A device; clones are the same.
#[derive(Clone)]
pub struct Model {
    /// Its side.
    pub state: Rc<RefCell<State>>,
    script: Rc<RefCell<Option<Script>>>,
}

impl State {
    fn index(&self, at: u64) -> usize {
        host((at - self.config.addr) / self.config.block_size)
    }
    fn valid(&self, blocks: &Range<u64>) -> bool {
        let end = self.config.addr + self.config.usable_region_size;
        let aligned = |at: u64| at.is_multiple_of(self.config.block_size);
        blocks.start >= self.config.addr
            && blocks.end <= end
            && !blocks.is_empty()
            && aligned(blocks.start)
            && aligned(blocks.end)
    }
    fn flags(&mut self, blocks: &Range<u64>) -> &mut [bool] {
        let (first, last) = (self.index(blocks.start), self.index(blocks.end));
        &mut self.plugged[first..last]
    }
    /// RAM comes and goes by 2 MiB: where all of that is plugged, there is some.
    fn has_ram(&self, part: u64) -> bool {
        let (size, region) = (self.config.block_size, self.config.region());
        let mut blocks = (part / size * size..part + PART).step_by(host(size));
        blocks.all(|at| region.contains(&at) && self.plugged[self.index(at)])
    }
    fn set(&mut self, blocks: &Range<u64>, to: bool) {
        let parts = blocks.start / PART * PART..blocks.end.next_multiple_of(PART);
        let parts: Vec<u64> = (parts.start..parts.end).step_by(host(PART)).collect();
        let before: Vec<bool> = parts.iter().map(|part| self.has_ram(*part)).collect();
        let size = self.config.block_size;
        let flags = self.flags(blocks);
        let changed = flags.iter().filter(|flag| **flag != to).count() as u64 * size;
        flags.fill(to);
        let plugged = self.config.plugged_size;
        self.config.plugged_size = if to { plugged + changed } else { plugged - changed };
        for (part, was) in parts.into_iter().zip(before) {
            if self.has_ram(part) != was {
                self.machine.provide(part, PART, to);
            }
        }
    }
    /// What may be plugged when `size` is requested: nothing, if that is nothing (hw/virtio/virtio-mem.c,
    /// `virtio_mem_resize_usable_region`).
    fn usable(&self, size: u64) -> u64 {
        if size == 0 { 0 } else { (size + self.extra).min(self.config.region_size) }
    }
    /// What is requested from here on.
    pub fn request(&mut self, size: u64) {
        self.config.requested_size = size;
        self.changed = true;
        self.config.usable_region_size = self.config.usable_region_size.max(self.usable(size));
    }
    fn answer(&mut self, request: Request, blocks: &Range<u64>) -> Answer {
        let (plugged, requested) = (self.config.plugged_size, self.config.requested_size);
        match request {
            Request::Plug if !self.valid(blocks) || self.flags(blocks).contains(&true) => Answer::Error,
            Request::Plug if plugged + (blocks.end - blocks.start) > requested => Answer::Nack,
            Request::Unplug if !self.valid(blocks) || self.flags(blocks).contains(&false) => Answer::Error,
            Request::Plug | Request::Unplug => {
                self.set(blocks, request == Request::Plug);
                Answer::Ack
            }
            Request::UnplugAll => {
                self.set(&self.config.region(), false);
                self.config.usable_region_size = self.usable(requested);
                Answer::Ack
            }
            Request::State if !self.valid(blocks) => Answer::Error,
            Request::State => Answer::Ack,
        }
    }
}

impl Model {
    /// A device of which nothing is plugged, at addresses in `room`, for which the machine gets addresses if it
    /// is not empty.
    pub fn new(machine: &Emulated, block_size: u64, addr: u64, region_size: u64, room: Range<u64>) -> Self {
        if !room.is_empty() {
            machine.plug(room.start, room.end - room.start);
            machine.memory().provide(room.start, room.end - room.start, false);
        }
        let extra = region_size;
        let config = Config {
            block_size,
            node: Some(0),
            addr,
            region_size,
            usable_region_size: region_size,
            ..Config::default()
        };
        let plugged = vec![false; host(region_size / block_size)];
        let state =
            State { config, plugged, extra, asked: Vec::new(), changed: false, machine: machine.clone() };
        Self { state: Rc::new(RefCell::new(state)), script: Rc::new(RefCell::new(None)) }
    }

    /// Before each request `script` is asked: what it answers the driver gets, and nothing is done.
    pub fn script(&self, script: impl FnMut(&mut State, Request, &Range<u64>) -> Option<Answer> + 'static) {
        *self.script.borrow_mut() = Some(Box::new(script));
    }
    /// The device answers by itself again.
    pub fn no_script(&self) {
        *self.script.borrow_mut() = None;
    }
    /// What is requested from here on, of which an interrupt tells.
    pub fn request(&self, size: u64) {
        self.state.borrow_mut().request(size);
    }
    /// Takes the interrupt; whether the configuration has changed.
    pub fn take_interrupt(&self) -> bool {
        std::mem::take(&mut self.state.borrow_mut().changed)
    }
    /// The configuration.
    pub fn config(&self) -> Config {
        self.state.borrow().config
    }
    /// The requests since the last call.
    pub fn take_asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.state.borrow_mut().asked)
    }
    /// What is plugged.
    pub fn plugged(&self) -> Vec<Range<u64>> {
        let state = self.state.borrow();
        let Config { addr, block_size, .. } = state.config;
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for (at, _) in (addr..).step_by(host(block_size)).zip(&state.plugged).filter(|(_, p)| **p) {
            match ranges.last_mut() {
                Some(last) if last.end == at => last.end += block_size,
                _ => ranges.push(at..at + block_size),
            }
        }
        ranges
    }
    fn ask(&self, request: Request, blocks: &Range<u64>) -> Answer {
        let mut state = self.state.borrow_mut();
        let scripted =
            self.script.borrow_mut().as_mut().and_then(|script| script(&mut state, request, blocks));
        let answer = scripted.unwrap_or_else(|| state.answer(request, blocks));
        state.asked.push((request, blocks.clone(), answer));
        answer
    }
}

impl Device for Model {
    fn config(&mut self) -> Result<Config, Fault> {
        Ok(self.state.borrow().config)
    }
    fn plug(&mut self, blocks: Range<u64>) -> Result<Answer, Fault> {
        Ok(self.ask(Request::Plug, &blocks))
    }
    fn unplug(&mut self, blocks: Range<u64>) -> Result<Answer, Fault> {
        Ok(self.ask(Request::Unplug, &blocks))
    }
    fn unplug_all(&mut self) -> Result<Answer, Fault> {
        let region = self.state.borrow().config.region();
        Ok(self.ask(Request::UnplugAll, &region))
    }
    fn state(&mut self, blocks: Range<u64>) -> Result<BlockState, Fault> {
        match self.ask(Request::State, &blocks) {
            Answer::Ack => {}
            answer => return Err(Fault::Answered(Request::State, answer)),
        }
        let mut state = self.state.borrow_mut();
        let flags = state.flags(&blocks);
        Ok(match (flags.contains(&true), flags.contains(&false)) {
            (true, false) => BlockState::Plugged,
            (false, _) => BlockState::Unplugged,
            (true, true) => BlockState::Mixed,
        })
    }
}
