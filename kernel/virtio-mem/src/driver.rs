//! The device behind a transport: one request at a time, in one queue.
//!
//! Rules that the unsafe blocks cite:
//! - **V1** A request and its response lie in one page of [`Hal::dma_alloc`], which this driver alone uses, and which is freed
//!   once the device has ended a reset. A device that does not end it keeps the page.
//! - **V2** From `add` to `pop_used` nothing else touches the page: there is one request at a time, and one that is not
//!   answered is the last until the device is reset.
#![expect(unsafe_code, reason = "memory that the device reads and writes")]

use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Range;
use core::ptr::NonNull;

use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::{DeviceStatus, InterruptStatus, Transport};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};
use zerocopy::{FromBytes, IntoBytes};

use crate::wire::{REQUEST_LEN, RESPONSE_LEN, RequestBytes, ResponseBytes};
use crate::{Answer, BlockState, Config, Device, Fault, Request};

/// The queue of requests (virtio 1.3, 5.15.2 "Virtqueues"): a request and its response are two descriptors.
const QUEUE: u16 = 0;
const QUEUE_SIZE: usize = 2;
/// Features (5.15.3 "Feature bits"; 6 "Reserved Feature Bits").
const ACPI_PXM: u64 = 1 << 0;
const UNPLUGGED_INACCESSIBLE: u64 = 1 << 1;
const PERSISTENT_SUSPEND: u64 = 1 << 2;
const VERSION_1: u64 = 1 << 32;
const FEATURES: u64 = ACPI_PXM | UNPLUGGED_INACCESSIBLE | PERSISTENT_SUSPEND | VERSION_1;
/// How often the configuration is read until it stands still.
const MOST_READS: u32 = 16;
/// How often the end of a reset is looked for.
const MOST_LOOKS: u32 = 100_000;
/// Where the response lies in the page of both.
const RESPONSE_AT: usize = PAGE_SIZE / 2;

/// How the driver waits for an answer.
pub trait Waiter {
    /// A request has been sent.
    fn begin(&mut self);
    /// Waits a moment; whether to wait on.
    fn wait(&mut self) -> bool;
}

/// A virtio memory device.
pub struct VirtioMem<H: Hal, T: Transport, W: Waiter> {
    transport: T,
    /// Dropped once the device has ended a reset (V1).
    link: ManuallyDrop<Link<H>>,
    names_node: bool,
    /// The configuration that was read first: what of it may not change has to be as it was.
    first: Config,
    waiter: W,
    /// The configuration changed, and [`Self::take_interrupt`] has not said so yet.
    changed: bool,
    /// A request that the device has not answered: it may still write the answer, so that there is no other request.
    unanswered: Option<Request>,
}

impl<H: Hal, T: Transport, W: Waiter> VirtioMem<H, T, W> {
    /// Resets the device and brings it up (3.1.1 "Driver Requirements: Device Initialization"). What is plugged stays plugged.
    ///
    /// # Errors
    /// [`Fault::Reset`], [`Fault::Features`], [`Fault::Queue`], [`Fault::Config`] or [`Fault::Torn`]. The device is marked as failed then.
    pub fn new(mut transport: T, waiter: W) -> Result<Self, Fault> {
        let (link, names_node) = bring_up(&mut transport)?;
        let (link, first) = (ManuallyDrop::new(link), Config::default());
        let mut device =
            Self { transport, link, names_node, first, waiter, changed: false, unanswered: None };
        device.read_first()?;
        Ok(device)
    }

    /// Resets the device and brings it up again, as [`Self::new`] does: it may have been found anew.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn restart(&mut self) -> Result<(), Fault> {
        let (link, names_node) = bring_up(&mut self.transport)?;
        // The reset that bringing it up begins with has ended.
        drop(ManuallyDrop::into_inner(core::mem::replace(&mut self.link, ManuallyDrop::new(link))));
        self.names_node = names_node;
        self.unanswered = None;
        self.read_first()
    }

    fn read_first(&mut self) -> Result<(), Fault> {
        self.first = self.read_consistent().inspect_err(|_| mark_failed(&mut self.transport))?;
        Ok(())
    }

    /// Takes the device's interrupt; whether its configuration changed since the last call.
    pub fn take_interrupt(&mut self) -> bool {
        self.note_interrupt();
        core::mem::take(&mut self.changed)
    }

    fn note_interrupt(&mut self) {
        self.changed |=
            self.transport.ack_interrupt().contains(InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT);
    }

    /// How the driver waits.
    pub const fn waiter(&self) -> &W {
        &self.waiter
    }

    fn field(&self, offset: usize) -> Result<u64, Fault> {
        // In halves: a transport may align its configuration to four bytes.
        let half = |at| self.transport.read_config_space::<u32>(at).map(u64::from).map_err(Fault::Unreadable);
        Ok(half(offset)? | half(offset + 4)? << 32)
    }

    fn read_config(&self) -> Result<Config, Fault> {
        let node = self.transport.read_config_space::<u16>(8).map_err(Fault::Unreadable)?;
        Ok(Config {
            block_size: self.field(0)?,
            node: self.names_node.then_some(node),
            addr: self.field(16)?,
            region_size: self.field(24)?,
            usable_region_size: self.field(32)?,
            plugged_size: self.field(40)?,
            requested_size: self.field(48)?,
        })
    }

    /// Reads the configuration between two changes, and checks it.
    fn read_consistent(&self) -> Result<Config, Fault> {
        for _ in 0..MOST_READS {
            let generation = self.transport.read_config_generation();
            let config = self.read_config()?;
            if self.transport.read_config_generation() == generation {
                return config.check().map(|()| config);
            }
        }
        Err(Fault::Torn)
    }

    /// Sends one request, and waits for the answer.
    fn ask(&mut self, request: Request, addr: u64, blocks: u16) -> Result<ResponseBytes, Fault> {
        if let Some(unanswered) = self.unanswered {
            return Err(Fault::Silent(unanswered));
        }
        let bytes = RequestBytes::new(request, addr, blocks);
        let Link { queue, buffers } = &mut *self.link;
        let (asked, answer) = buffers.fill(&bytes);
        // SAFETY: V1, V2.
        let token = unsafe { queue.add(&[asked], &mut [answer]) }.map_err(Fault::Queue)?;
        self.waiter.begin();
        self.transport.notify(QUEUE);
        while !queue.can_pop() {
            if !self.waiter.wait() {
                self.unanswered = Some(request);
                return Err(Fault::Silent(request));
            }
        }
        let (asked, answer) = buffers.both();
        // SAFETY: V1, V2: the buffers of `add`.
        let popped = unsafe { queue.pop_used(token, &[asked], &mut [answer]) };
        let len = popped.map_err(|error| {
            self.unanswered = Some(request);
            Fault::Queue(error)
        })?;
        // The interrupt of the queue says nothing that is not known.
        self.note_interrupt();
        if (len as usize) < RESPONSE_LEN {
            return Err(Fault::Short { request, len });
        }
        ResponseBytes::read_from_bytes(self.link.buffers.both().1).map_err(|_| Fault::Short { request, len })
    }

    /// Sends as many requests as `blocks` need, of which each names at most 65,535. Returns the first answer that is no ACK;
    /// then nothing of `blocks` has changed: what was done before it is undone by `inverse`.
    fn ask_for(&mut self, request: Request, inverse: Request, blocks: Range<u64>) -> Result<Answer, Fault> {
        let mut at = blocks.start;
        while at < blocks.end {
            let answer = self.ask_once(request, at..blocks.end)?;
            if answer.0 != Answer::Ack {
                if at != blocks.start && self.ask_for(inverse, request, blocks.start..at)? != Answer::Ack {
                    return Err(Fault::Answered(request, answer.0));
                }
                return Ok(answer.0);
            }
            at = answer.1;
        }
        Ok(Answer::Ack)
    }

    /// How many of `blocks` one request can name.
    fn count(&self, blocks: &Range<u64>) -> u16 {
        u16::try_from((blocks.end - blocks.start) / self.first.block_size).unwrap_or(u16::MAX)
    }

    /// One request for the first of `blocks`; the answer, and where those end that it is for.
    fn ask_once(&mut self, request: Request, blocks: Range<u64>) -> Result<(Answer, u64), Fault> {
        let count = self.count(&blocks);
        let number = self.ask(request, blocks.start, count)?.kind.get();
        let answer = Answer::of(number).ok_or(Fault::Unknown { request, number })?;
        Ok((answer, blocks.start + u64::from(count) * self.first.block_size))
    }
}

/// What the device reads and writes.
struct Link<H: Hal> {
    queue: VirtQueue<H, QUEUE_SIZE>,
    buffers: Buffers<H>,
}

/// Resets the device and gives it a queue; the link, and whether the device names its node. One that cannot be used is marked
/// as failed (2.1 "Device Status Field").
fn bring_up<H: Hal>(transport: &mut impl Transport) -> Result<(Link<H>, bool), Fault> {
    reset(transport)?;
    let begun = DeviceStatus::ACKNOWLEDGE | DeviceStatus::DRIVER;
    transport.set_status(begun);
    let offered = transport.read_device_features();
    transport.write_driver_features(offered & FEATURES);
    transport.set_status(begun | DeviceStatus::FEATURES_OK);
    let link = if offered & VERSION_1 == 0 || !transport.get_status().contains(DeviceStatus::FEATURES_OK) {
        Err(Fault::Features(offered))
    } else {
        Buffers::new().and_then(|buffers| {
            let queue = VirtQueue::new(transport, QUEUE, false, false).map_err(Fault::Queue)?;
            Ok(Link { queue, buffers })
        })
    };
    let link = link.inspect_err(|_| mark_failed(transport))?;
    transport.finish_init();
    Ok((link, offered & ACPI_PXM != 0))
}

/// Resets the device, and waits for the end of that (2.4 "Device Reset").
fn reset(transport: &mut impl Transport) -> Result<(), Fault> {
    transport.set_status(DeviceStatus::empty());
    let ended = (0..MOST_LOOKS).any(|_| transport.get_status().is_empty());
    transport.queue_unset(QUEUE);
    if ended { Ok(()) } else { Err(Fault::Reset) }
}

fn mark_failed(transport: &mut impl Transport) {
    let status = transport.get_status();
    transport.set_status(status | DeviceStatus::FAILED);
}

impl<H: Hal, T: Transport, W: Waiter> Device for VirtioMem<H, T, W> {
    fn config(&mut self) -> Result<Config, Fault> {
        let config = self.read_consistent()?;
        config.check_same(&self.first)?;
        Ok(config)
    }

    fn plug(&mut self, blocks: Range<u64>) -> Result<Answer, Fault> {
        self.ask_for(Request::Plug, Request::Unplug, blocks)
    }

    fn unplug(&mut self, blocks: Range<u64>) -> Result<Answer, Fault> {
        self.ask_for(Request::Unplug, Request::Plug, blocks)
    }

    fn unplug_all(&mut self) -> Result<Answer, Fault> {
        let request = Request::UnplugAll;
        let number = self.ask(request, 0, 0)?.kind.get();
        Answer::of(number).ok_or(Fault::Unknown { request, number })
    }

    fn state(&mut self, blocks: Range<u64>) -> Result<BlockState, Fault> {
        let request = Request::State;
        let (mut at, mut all) = (blocks.start, None);
        while at < blocks.end && all != Some(BlockState::Mixed) {
            let count = self.count(&(at..blocks.end));
            let response = self.ask(request, at, count)?;
            let number = response.kind.get();
            match Answer::of(number).ok_or(Fault::Unknown { request, number })? {
                Answer::Ack => {}
                other => return Err(Fault::Answered(request, other)),
            }
            let number = response.state.get();
            let state = BlockState::of(number).ok_or(Fault::Unknown { request, number })?;
            all = Some(if all.is_none_or(|all| all == state) { state } else { BlockState::Mixed });
            at += u64::from(count) * self.first.block_size;
        }
        Ok(all.unwrap_or(BlockState::Unplugged))
    }
}

impl<H: Hal, T: Transport, W: Waiter> Drop for VirtioMem<H, T, W> {
    fn drop(&mut self) {
        if reset(&mut self.transport).is_ok() {
            // SAFETY: V1: the device has let go of it, and this is the only time.
            unsafe { ManuallyDrop::drop(&mut self.link) };
        }
    }
}

/// A page for a request and its response.
struct Buffers<H: Hal> {
    page: NonNull<u8>,
    address: PhysAddr,
    hal: PhantomData<H>,
}

// SAFETY: V1.
unsafe impl<H: Hal> Send for Buffers<H> {}

impl<H: Hal> Buffers<H> {
    fn new() -> Result<Self, Fault> {
        let (address, page) = H::dma_alloc(1, BufferDirection::Both);
        if address == 0 {
            return Err(Fault::Queue(virtio_drivers::Error::DmaError));
        }
        Ok(Self { page, address, hal: PhantomData })
    }

    fn both(&mut self) -> (&[u8], &mut [u8]) {
        // SAFETY: V1; the two parts do not overlap.
        unsafe {
            let page = self.page.as_ptr();
            let answer = core::slice::from_raw_parts_mut(page.add(RESPONSE_AT), RESPONSE_LEN);
            (core::slice::from_raw_parts(page, REQUEST_LEN), answer)
        }
    }

    /// Writes a request, and clears the response to what no device answers.
    fn fill(&mut self, request: &RequestBytes) -> (&[u8], &mut [u8]) {
        // SAFETY: V1.
        let asked = unsafe { core::slice::from_raw_parts_mut(self.page.as_ptr(), REQUEST_LEN) };
        asked.copy_from_slice(request.as_bytes());
        let (asked, answer) = self.both();
        answer.fill(0xff);
        (asked, answer)
    }
}

impl<H: Hal> Drop for Buffers<H> {
    fn drop(&mut self) {
        // SAFETY: V1: the values are `dma_alloc`'s, and this is the only time.
        unsafe { H::dma_dealloc(self.address, self.page, 1) };
    }
}
