//! The driver against a device in memory that answers as it likes: right, wrong, short, never. The device's side of the
//! queue is written from the specification (virtio 1.3, 2.7 "Split Virtqueues"); physical addresses are pointers.
#![expect(unsafe_code, reason = "the device reads and writes the driver's memory")]
#![expect(clippy::unwrap_used, reason = "a test that meets what it does not expect has failed")]

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::cell::RefCell;
use std::ptr::NonNull;
use std::rc::Rc;

use proptest::prelude::*;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{BufferDirection, Error, Hal, PAGE_SIZE, PhysAddr, Result};
use virtio_mem::{Answer, BlockState, ConfigRule, Device, Fault, Request, VirtioMem, Waiter};
use zerocopy::{FromBytes, Immutable, IntoBytes};

struct Memory;

thread_local! {
    /// How many pages were freed.
    static FREED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

fn layout(pages: usize) -> Layout {
    Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).unwrap()
}

// SAFETY: the allocator's memory is the caller's, aligned and zeroed; an address is the pointer.
unsafe impl Hal for Memory {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        // SAFETY: the layout is not empty.
        let memory = NonNull::new(unsafe { alloc_zeroed(layout(pages)) }).unwrap();
        (memory.as_ptr() as PhysAddr, memory)
    }
    unsafe fn dma_dealloc(_: PhysAddr, memory: NonNull<u8>, pages: usize) -> i32 {
        FREED.with(|freed| freed.set(freed.get() + pages));
        // SAFETY: the caller got it from `dma_alloc`.
        unsafe { dealloc(memory.as_ptr(), layout(pages)) };
        0
    }
    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        unreachable!("the transport has no registers")
    }
    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr() as PhysAddr
    }
    unsafe fn unshare(_: PhysAddr, _: NonNull<[u8]>, _: BufferDirection) {}
}

/// How the device treats a request.
#[derive(Clone, Copy, Debug)]
enum Treats {
    Answers { kind: u16, state: u16, len: u32 },
    OtherChain(u32),
    Never,
}

struct Registers {
    features: u64,
    takes_features: bool,
    config: Vec<u8>,
    generation: u32,
    tears: bool,
    queue_size: u32,
    ends_reset: bool,
    status: DeviceStatus,
    queue: Option<[PhysAddr; 3]>,
    treats: Treats,
    /// What was asked: kind, address, blocks.
    asked: Vec<(u16, u64, u16)>,
    used: u16,
}

#[derive(Clone)]
struct Fake(Rc<RefCell<Registers>>);

const MIB: u64 = 1 << 20;
const ADDR: u64 = 0x1_0020_0000;

fn config(fields: [u64; 7]) -> Vec<u8> {
    fields.into_iter().flat_map(u64::to_le_bytes).collect()
}

fn valid() -> Vec<u8> {
    config([2 * MIB, 3, ADDR, 1 << 40, 1 << 40, 0, 4 * MIB])
}

impl Fake {
    fn new() -> Self {
        let treats = Treats::Answers { kind: 0, state: 0, len: 10 };
        Self(Rc::new(RefCell::new(Registers {
            features: 1 << 32 | 0b11,
            takes_features: true,
            config: valid(),
            generation: 0,
            tears: false,
            queue_size: 128,
            ends_reset: true,
            status: DeviceStatus::empty(),
            queue: None,
            treats,
            asked: Vec::new(),
            used: 0,
        })))
    }
    fn change(self, change: impl FnOnce(&mut Registers)) -> Self {
        change(&mut self.0.borrow_mut());
        self
    }
}

/// Reads a little-endian number of guest memory.
fn read<const N: usize>(at: PhysAddr) -> [u8; N] {
    // SAFETY: the driver gave the address of memory that is its own and at least so long.
    unsafe { (at as *const [u8; N]).read_volatile() }
}

fn write(at: PhysAddr, bytes: &[u8]) {
    for (i, byte) in bytes.iter().enumerate() {
        // SAFETY: as in `read`.
        unsafe { (at as *mut u8).add(i).write_volatile(*byte) };
    }
}

impl Transport for Fake {
    fn device_type(&self) -> DeviceType {
        DeviceType::Memory
    }
    fn read_device_features(&mut self) -> u64 {
        self.0.borrow().features
    }
    fn write_driver_features(&mut self, features: u64) {
        assert_eq!(features & !self.0.borrow().features, 0, "a feature that the device does not offer");
    }
    fn max_queue_size(&mut self, _: u16) -> u32 {
        self.0.borrow().queue_size
    }
    fn notify(&mut self, queue: u16) {
        assert_eq!(queue, 0);
        let mut registers = self.0.borrow_mut();
        let [descriptors, driver, device] = registers.queue.unwrap();
        // The chain that was made available last: two descriptors of 16 bytes each.
        let head = u16::from_le_bytes(read(driver + 4 + u64::from(registers.used % 2) * 2));
        let descriptor = |i: u16| {
            let at = descriptors + u64::from(i) * 16;
            let [address, len, flags] = [
                u64::from_le_bytes(read(at)),
                u64::from(u32::from_le_bytes(read(at + 8))),
                u64::from(u16::from_le_bytes(read(at + 12))),
            ];
            (address, len, flags, u16::from_le_bytes(read(at + 14)))
        };
        let (request, len, flags, next) = descriptor(head);
        assert_eq!((len, flags & 3), (24, 1), "the request: read by the device, and one more follows");
        let (response, len, flags, _) = descriptor(next);
        assert_eq!((len, flags & 3), (10, 2), "the response: written by the device, and the last");
        let kind = u16::from_le_bytes(read(request));
        registers.asked.push((
            kind,
            u64::from_le_bytes(read(request + 8)),
            u16::from_le_bytes(read(request + 16)),
        ));
        let (id, len) = match registers.treats {
            Treats::Never => return,
            Treats::OtherChain(id) => (id, 10),
            Treats::Answers { kind, state, len } => {
                write(response, &kind.to_le_bytes());
                write(response + 8, &state.to_le_bytes());
                (u32::from(head), len)
            }
        };
        let slot = device + 4 + u64::from(registers.used % 2) * 8;
        write(slot, &id.to_le_bytes());
        write(slot + 4, &len.to_le_bytes());
        registers.used = registers.used.wrapping_add(1);
        write(device + 2, &registers.used.to_le_bytes());
    }
    fn get_status(&self) -> DeviceStatus {
        self.0.borrow().status
    }
    fn set_status(&mut self, status: DeviceStatus) {
        let mut registers = self.0.borrow_mut();
        if status.is_empty() {
            registers.used = 0;
            if !registers.ends_reset {
                return;
            }
        }
        let takes = registers.takes_features;
        registers.status = if takes { status } else { status - DeviceStatus::FEATURES_OK };
    }
    fn set_guest_page_size(&mut self, _: u32) {}
    fn requires_legacy_layout(&self) -> bool {
        false
    }
    fn queue_set(&mut self, _: u16, size: u32, descriptors: PhysAddr, driver: PhysAddr, device: PhysAddr) {
        assert_eq!(size, 2);
        self.0.borrow_mut().queue = Some([descriptors, driver, device]);
    }
    fn queue_unset(&mut self, _: u16) {
        self.0.borrow_mut().queue = None;
    }
    fn queue_used(&mut self, _: u16) -> bool {
        self.0.borrow().queue.is_some()
    }
    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT
    }
    fn read_config_generation(&self) -> u32 {
        let mut registers = self.0.borrow_mut();
        registers.generation += u32::from(registers.tears);
        registers.generation
    }
    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        assert!(align_of::<T>() <= 4, "a transport may align its configuration to four bytes");
        let registers = self.0.borrow();
        let bytes =
            registers.config.get(offset..offset + size_of::<T>()).ok_or(Error::ConfigSpaceTooSmall)?;
        T::read_from_bytes(bytes).map_err(|_| Error::ConfigSpaceTooSmall)
    }
    fn write_config_space<T: IntoBytes + Immutable>(&mut self, _: usize, _: T) -> Result<()> {
        unreachable!("the configuration is the device's")
    }
}

/// Waits a few times.
struct Few(u32);

impl Waiter for Few {
    fn begin(&mut self) {
        self.0 = 0;
    }
    fn wait(&mut self) -> bool {
        self.0 += 1;
        self.0 < 5
    }
}

type Driven = VirtioMem<Memory, Fake, Few>;

fn drive(fake: &Fake) -> std::result::Result<Driven, Fault> {
    VirtioMem::new(fake.clone(), Few(0))
}

#[test]
fn a_request_says_what_the_specification_wants() {
    let fake = Fake::new();
    let mut device = drive(&fake).unwrap();
    assert_eq!(device.plug(ADDR..ADDR + 8 * MIB), Ok(Answer::Ack));
    assert_eq!(device.unplug(ADDR + 2 * MIB..ADDR + 4 * MIB), Ok(Answer::Ack));
    assert_eq!(device.unplug_all(), Ok(Answer::Ack));
    assert_eq!(device.state(ADDR..ADDR + 2 * MIB), Ok(BlockState::Plugged));
    let asked = [(0, ADDR, 4), (1, ADDR + 2 * MIB, 1), (2, 0, 0), (3, ADDR, 1)];
    assert_eq!(fake.0.borrow().asked, asked);
    let config = device.config().unwrap();
    assert_eq!((config.block_size, config.node, config.addr), (2 * MIB, Some(3), ADDR));
    assert_eq!(config.requested_size, 4 * MIB);
}

#[test]
fn a_node_is_named_only_with_its_feature() {
    let fake = Fake::new().change(|r| r.features = 1 << 32);
    assert_eq!(drive(&fake).unwrap().config().unwrap().node, None);
}

#[test]
fn what_is_too_long_for_one_request_is_several() {
    let fake = Fake::new();
    let mut device = drive(&fake).unwrap();
    assert_eq!(device.plug(ADDR..ADDR + 65_537 * 2 * MIB), Ok(Answer::Ack));
    let second = ADDR + 65_535 * 2 * MIB;
    assert_eq!(fake.0.borrow().asked, [(0, ADDR, u16::MAX), (0, second, 2)]);
}

#[test]
fn a_device_that_does_not_take_the_features_is_refused() {
    let fake = Fake::new().change(|r| r.takes_features = false);
    assert_eq!(drive(&fake).err(), Some(Fault::Features(1 << 32 | 3)));
    assert!(fake.0.borrow().status.contains(DeviceStatus::FAILED));
    let legacy = Fake::new().change(|r| r.features = 3);
    assert_eq!(drive(&legacy).err(), Some(Fault::Features(3)));
}

#[test]
fn a_device_that_does_not_end_its_reset_is_refused_and_keeps_its_memory() {
    let stuck = Fake::new().change(|r| {
        r.status = DeviceStatus::DRIVER_OK;
        r.ends_reset = false;
    });
    assert_eq!(drive(&stuck).err(), Some(Fault::Reset));

    let fake = Fake::new();
    let mut device = drive(&fake).unwrap();
    fake.0.borrow_mut().ends_reset = false;
    assert_eq!(device.restart(), Err(Fault::Reset));
    let before = FREED.with(std::cell::Cell::get);
    drop(device);
    assert_eq!(FREED.with(std::cell::Cell::get), before, "the device may still write to it");
}

#[test]
fn a_device_without_a_queue_is_refused() {
    let fake = Fake::new().change(|r| r.queue_size = 1);
    assert_eq!(drive(&fake).err(), Some(Fault::Queue(Error::InvalidParam)));
}

#[test]
fn a_configuration_that_is_short_or_wrong_or_never_still_is_refused() {
    let short = Fake::new().change(|r| r.config.truncate(52));
    assert_eq!(drive(&short).err(), Some(Fault::Unreadable(Error::ConfigSpaceTooSmall)));
    let wrong = Fake::new().change(|r| r.config = config([0; 7]));
    assert_eq!(drive(&wrong).err(), Some(Fault::Config(ConfigRule::BlockSize(0))));
    let ones = Fake::new().change(|r| r.config = config([u64::MAX; 7]));
    assert_eq!(drive(&ones).err(), Some(Fault::Config(ConfigRule::BlockSize(u64::MAX))));
    let torn = Fake::new().change(|r| r.tears = true);
    assert_eq!(drive(&torn).err(), Some(Fault::Torn));
}

#[test]
fn a_region_that_moves_is_a_fault() {
    let fake = Fake::new();
    let mut device = drive(&fake).unwrap();
    fake.0.borrow_mut().config = config([2 * MIB, 3, ADDR + 2 * MIB, 1 << 40, 1 << 40, 0, 0]);
    let fault = Fault::Changed { field: "addr", was: ADDR, is: ADDR + 2 * MIB };
    assert_eq!(device.config(), Err(fault));
}

#[test]
fn a_device_that_never_answers_is_asked_no_more() {
    let fake = Fake::new().change(|r| r.treats = Treats::Never);
    let mut device = drive(&fake).unwrap();
    assert_eq!(device.plug(ADDR..ADDR + 2 * MIB), Err(Fault::Silent(Request::Plug)));
    assert_eq!(device.unplug_all(), Err(Fault::Silent(Request::Plug)));
    assert_eq!(fake.0.borrow().asked.len(), 1, "the memory of the first request is still the device's");
    drop(device);
    assert!(fake.0.borrow().queue.is_none(), "the device is reset before the memory is freed");
}

#[test]
fn a_device_that_is_found_anew_answers_again() {
    let fake = Fake::new().change(|r| r.treats = Treats::Never);
    let mut device = drive(&fake).unwrap();
    assert_eq!(device.unplug_all(), Err(Fault::Silent(Request::UnplugAll)));
    fake.0.borrow_mut().treats = Treats::Answers { kind: 0, state: 0, len: 10 };
    assert_eq!(device.restart(), Ok(()));
    assert_eq!(device.unplug_all(), Ok(Answer::Ack));
    fake.0.borrow_mut().takes_features = false;
    assert_eq!(device.restart(), Err(Fault::Features(1 << 32 | 3)));
}

#[test]
fn answers_that_mean_nothing_are_faults() {
    let fake = Fake::new();
    let mut device = drive(&fake).unwrap();
    let unit = ADDR..ADDR + 2 * MIB;
    let mut with = |kind, state, len| {
        fake.0.borrow_mut().treats = Treats::Answers { kind, state, len };
        (device.plug(unit.clone()), device.state(unit.clone()))
    };
    let unknown = |request, number| Fault::Unknown { request, number };
    assert_eq!(with(4, 0, 10), (Err(unknown(Request::Plug, 4)), Err(unknown(Request::State, 4))));
    assert_eq!(with(0, 7, 10), (Ok(Answer::Ack), Err(unknown(Request::State, 7))));
    let short = |request| Fault::Short { request, len: 9 };
    assert_eq!(with(0, 0, 9), (Err(short(Request::Plug)), Err(short(Request::State))));
    let error = Fault::Answered(Request::State, Answer::Busy);
    assert_eq!(with(2, 0, 10), (Ok(Answer::Busy), Err(error)));
    fake.0.borrow_mut().treats = Treats::OtherChain(1);
    assert_eq!(device.plug(unit), Err(Fault::Queue(Error::WrongToken)));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]
    #[test]
    fn no_device_makes_the_driver_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..64),
        fields in prop::array::uniform7(prop_oneof![Just(0u64), Just(2 * MIB), Just(u64::MAX), Just(1 << 40), any::<u64>()]),
        raw in any::<bool>(),
        answers in prop::collection::vec((0u16..6, 0u16..5, 0u32..20, 0u8..8), 1..8),
        queue_size in 0u32..300,
        features in any::<u64>(),
    ) {
        let config_bytes = if raw { bytes } else { config(fields) };
        let fake = Fake::new().change(|r| {
            r.config = config_bytes;
            r.queue_size = queue_size;
            r.features = features;
        });
        let Ok(mut device) = drive(&fake) else { return Ok(()) };
        let config = device.config().unwrap();
        for (kind, state, len, what) in answers {
            fake.0.borrow_mut().treats = match what {
                0 => Treats::Never,
                1 => Treats::OtherChain(u32::from(kind)),
                _ => Treats::Answers { kind, state, len },
            };
            let blocks = config.addr..config.addr + config.block_size;
            let _ = (device.plug(blocks.clone()), device.unplug(blocks.clone()), device.state(blocks), device.unplug_all());
        }
    }
}
