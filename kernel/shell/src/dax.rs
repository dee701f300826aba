//! `dax`: devices' memory, described by struct pages, read and written, given to the system and taken back.

use core::fmt;
use core::sync::atomic::Ordering::Relaxed;

use hotmap_mm::addr::{Bytes, PhysAddr, PhysRange};
use hotmap_mm::device::compound::{Dedup, TailScope};
use hotmap_mm::device::holds::Teardown;
use hotmap_mm::device::pagemap::{DeviceType, MAX_RANGES, Pagemap};
use hotmap_mm::error::{DeviceError, Error, RangeError};
use hotmap_mm::frame::altmap::Altmap;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::args::{Words, read as read_number};
use super::help::fold;
use super::json::Json;
use super::{Outcome, ShellError};
use crate::units::Units;
use hotmap_kernel::arch::peek;
use hotmap_kernel::attention;
use hotmap_kernel::devices::Wanted;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::kprintln;
use hotmap_kernel::meter::{self, Meter};

pub(super) const DAX: &str = "dax [list|create|destroy|kmem|read|write|help] ...";
const CREATE: &str = "dax create ADDR[,SIZE]... [--align SIZE] [--map dev|mem] \
    [--type fs-dax|generic|coherent|private] [--reserve PAGES] [--tail page|device]";
const DESTROY: &str = "dax destroy ADDR";
const KMEM: &str = "dax kmem ADDR [back]";
const READ: &str = "dax read ADDR";
const WRITE: &str = "dax write ADDR NUMBER";

pub(super) fn dax(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    match words.next() {
        None => list(kernel),
        Some("create") => return create(kernel, words),
        Some("destroy") => return destroy(kernel, words),
        Some("kmem") => return kmem(kernel, words),
        Some("read") => return read(kernel, words),
        Some("write") => return write(kernel, words),
        Some("list") => {
            words.end("dax list")?;
            list(kernel);
        }
        Some("help") => {
            words.end("dax help")?;
            [CREATE, DESTROY, KMEM, READ, WRITE].iter().for_each(|usage| fold("usage:", 7, usage));
        }
        Some(_) => return Err(ShellError::Usage(DAX)),
    }
    Ok(())
}

fn list(kernel: &Kernel) {
    for device in kernel.mm.devices().iter() {
        for range in device.ranges().iter().map(|range| kernel.addresses(*range)) {
            kprintln!("{range}  {}", Bytes(range.len()));
        }
        kprintln!(
            "  {} {}, usable from {}, holds {}",
            device.kind(),
            device.state().name(),
            kernel.address(device.usable_start()),
            device.holds()
        );
        kprintln!("  {}", Grouped(kernel, device));
        if let Some(a) = kernel.mm.frames().altmap(device.start()) {
            let (base, reserve, free, align, alloc) =
                (a.base_pfn(), a.reserve(), a.free(), a.align(), a.alloc());
            kprintln!("  altmap: base {base}, reserve {reserve}, free {free}, align {align}, alloc {alloc}");
        }
    }
    for kmem in kernel.mm.devices().kmem() {
        let (device, memory) = (kernel.addresses(kmem.device()), kernel.addresses(kmem.memory()));
        kprintln!("{device}  {}\n  given to the system: {memory}", Bytes(device.len()));
    }
}

/// How a device's pages are grouped, and what their struct pages share.
struct Grouped<'a>(&'a Kernel, &'a Pagemap);

impl fmt::Display for Grouped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(kernel, device) = self;
        write!(f, "align {}, dedup {}", Bytes(align(kernel, device)), device.dedup())?;
        match device.tail_pages() {
            0 => Ok(()),
            pages => write!(f, ", tail pages {pages}"),
        }
    }
}

fn align(kernel: &Kernel, device: &Pagemap) -> u64 {
    kernel.page_size() << device.compound().order()
}

/// What `dax create` was asked for.
struct Request {
    ranges: [(PhysAddr, u64); MAX_RANGES],
    count: usize,
    kind: Option<DeviceType>,
    on_device: bool,
    reserve: u64,
    align: Option<u64>,
    tails: TailScope,
}

fn create(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let request = parse(kernel, words)?;
    let ranges = &request.ranges[..request.count];
    let behind = ranges.first().and_then(|(start, _)| kernel.memory_behind(*start));
    let kind = request.kind.or(behind.map(|b| b.kind));
    if kind.is_none_or(DeviceType::is_reachable) {
        for (start, len) in ranges {
            let range = PhysRange::checked_new(*start, *len)
                .ok_or(Error::Range(RangeError::Wraps { start: *start, len: *len }))?;
            if !kernel.memory_behind(*start).is_some_and(|behind| behind.range.covers(&range)) {
                return Err(ShellError::Failed(
                    "there is no memory of a device: layout and nvdimms list what there is (--type private needs none)",
                ));
            }
        }
    }
    let kind = kind.unwrap_or(DeviceType::Private);
    let memmap = match request.on_device {
        true => MemmapHome::SelfRange { reserve: request.reserve },
        false => MemmapHome::Ram,
    };
    let Request { align, tails, .. } = request;
    let meter = Meter::start(&kernel.mm.frames().counts());
    let start = kernel.make_device(ranges, &Wanted { kind, memmap, align, tails })?;
    figures(kernel, "dax-create", ranges.iter().map(|(_, len)| len).sum(), meter);
    let made = kernel.mm.devices().iter().find(|device| device.start() == start);
    if let Some(device) = made.filter(|_| align.is_some()) {
        kprintln!("dax@{:x}: {}", kernel.address(start).get(), Grouped(kernel, device));
    }
    Ok(())
}

fn parse(kernel: &Kernel, words: &mut Words<'_>) -> Result<Request, ShellError> {
    let none = (PhysAddr::new(0), 0);
    let (ranges, on_device) = ([none; MAX_RANGES], false);
    let tails = TailScope::Page;
    let mut request = Request { ranges, count: 0, kind: None, on_device, reserve: 0, align: None, tails };
    while let Some(word) = words.peek() {
        if word.starts_with("--") {
            words.next();
            option(&mut request, word, words)?;
        } else {
            let (start, len) = words.range(CREATE)?;
            // Without a size: to the end of what there is.
            let rest = || kernel.memory_behind(start).map(|behind| behind.range.end - start);
            let len = len.or_else(rest).ok_or(ShellError::BadWord("a size (0x100000000,2M)"))?;
            *request.ranges.get_mut(request.count).ok_or(ShellError::Usage(CREATE))? = (start, len);
            request.count += 1;
        }
    }
    words.next(); // there is none: what is wrong from here on is no single word
    match request {
        Request { count: 0, .. } => Err(ShellError::Usage(CREATE)),
        Request { reserve: 1.., on_device: false, .. } => {
            Err(ShellError::BadWord("--map dev with --reserve: nothing else is set aside on the device"))
        }
        request => Ok(request),
    }
}

/// One option: `--map dev` or `--map=dev`.
fn option(request: &mut Request, word: &str, words: &mut Words<'_>) -> Result<(), ShellError> {
    let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
    let value = value.or_else(|| words.next()).unwrap_or_default();
    match name {
        "--map" => match value {
            "dev" | "mem" => request.on_device = value == "dev",
            _ => return Err(ShellError::BadWord("dev or mem after --map")),
        },
        "--type" => {
            let kind = DeviceType::from_name(value);
            let expected = ShellError::BadWord("fs-dax, generic, coherent or private after --type");
            request.kind = Some(kind.ok_or(expected)?);
        }
        "--align" => request.align = Some(read_number(value, "a size after --align (2M)")?),
        "--tail" => {
            let tails = TailScope::from_name(value);
            request.tails = tails.ok_or(ShellError::BadWord("page or device after --tail"))?;
        }
        "--reserve" => request.reserve = read_number(value, "a number of pages after --reserve")?,
        _ => return Err(ShellError::BadWord("one of --align, --map, --type, --reserve, --tail")),
    }
    Ok(())
}

/// What an operation cost, where figures are asked for (`bench=on`).
fn figures(kernel: &Kernel, operation: &str, bytes: u64, meter: Meter) {
    if meter::is_on() {
        kprintln!("bench: {operation} {bytes} {}", meter.stop(|| kernel.mm.frames().counts()));
    }
}

/// The address that is the next word, as a page, and nothing after it.
fn page(kernel: &Kernel, words: &mut Words<'_>, usage: &'static str) -> Result<Pfn, ShellError> {
    let address = words.address(usage)?;
    let pfn = kernel.pfn(address);
    // Not the page that it lies in: a device is called by where it starts.
    if kernel.address(pfn) == address {
        Ok(pfn)
    } else {
        Err(Error::Device(DeviceError::Absent(address)).into())
    }
}

fn destroy(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let start = page(kernel, words, DESTROY)?;
    words.end(DESTROY)?;
    let pages = kernel.mm.devices().iter().find(|device| device.start() == start).map_or(0, Pagemap::pages);
    let bytes = pages * kernel.page_size();
    let meter = Meter::start(&kernel.mm.frames().counts());
    match kernel.mm.memunmap_pages(start)? {
        Teardown::Gone => {
            figures(kernel, "dax-destroy", bytes, meter);
            kprintln!("dax@{:x}: gone, {}", kernel.address(start).get(), Bytes(bytes));
            Ok(())
        }
        Teardown::Waits { pfn, holds } => {
            kprintln!("dax@{:x}: waits for {pfn}, holds {holds}", kernel.address(start).get());
            Err(ShellError::Failed("the device goes when the page named above is held no more (unpin)"))
        }
    }
}

fn kmem(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let start = page(kernel, words, KMEM)?;
    let back = match words.next() {
        None => false,
        Some("back") => true,
        Some(_) => return Err(ShellError::Usage(KMEM)),
    };
    words.end(KMEM)?;
    if back {
        let given = kernel.mm.devices().kmem().iter().find(|kmem| kmem.device().start == start);
        let memory = given.map_or(PfnRange::new(start, 0), |kmem| kmem.memory());
        let mut stop = attention::of_offline(&"dax kmem", &kernel.mm, memory);
        let migrated = kernel.mm.memory_to_device_unless(start, &mut stop)?;
        kprintln!("a device again; {migrated} pages migrated");
    } else {
        let home = kernel.policy().home;
        let memory = kernel.mm.device_to_memory(start, home, ZoneKind::Movable)?;
        kprintln!("{} is memory now", kernel.addresses(memory));
    }
    Ok(())
}

const NO_WORD: ShellError =
    ShellError::BadWord("the address of a word of a device that the CPU reaches, not set aside");

fn read(kernel: &Kernel, words: &mut Words<'_>) -> Outcome {
    let at = words.address(READ)?;
    words.end(READ)?;
    let word = peek::device_word(&kernel.mm, at).ok_or(NO_WORD)?;
    kprintln!("{at}: {:#018x}", word.load(Relaxed));
    Ok(())
}

fn write(kernel: &Kernel, words: &mut Words<'_>) -> Outcome {
    let (at, value) = (words.address(WRITE)?, words.number(WRITE)?);
    words.end(WRITE)?;
    peek::device_word(&kernel.mm, at).ok_or(NO_WORD)?.store(value, Relaxed);
    kprintln!("{at}: {value:#018x} is written");
    Ok(())
}

/// The devices, in `state`: those that there are, and those whose memory the system has.
pub(super) fn describe(kernel: &Kernel, json: &mut Json) {
    let live = kernel.mm.devices().iter().map(|device| {
        let altmap = kernel.mm.frames().altmap(device.start()).copied();
        (device.clone(), altmap, device.state().name())
    });
    let given = kernel.mm.devices().kmem().iter().map(|kmem| {
        let device = kmem.as_device();
        (device.pagemap(), device.altmap(), "kmem")
    });
    json.array("devices", live.chain(given), |json, (device, altmap, state)| {
        one(kernel, json, &device, altmap, state);
    });
}

fn one(kernel: &Kernel, json: &mut Json, device: &Pagemap, altmap: Option<Altmap>, state: &str) {
    let first = device.ranges().first().map(|range| kernel.addresses(*range)).unwrap_or_default();
    json.word("start", first.start);
    json.number("size", first.len());
    json.word("type", device.kind());
    json.word("state", state);
    match altmap {
        None => json.number("altmap", "null"),
        Some(altmap) => json.object("altmap", |json| {
            json.number("base_pfn", altmap.base_pfn().get());
            json.number("reserve", altmap.reserve());
            json.number("free", altmap.free());
            json.number("align", altmap.align());
            json.number("alloc", altmap.alloc());
        }),
    }
    json.word("usable_start", kernel.address(device.usable_start()));
    json.number("holds", device.holds());
    json.number("align", align(kernel, device));
    json.number("dedup", device.dedup() == Dedup::Shared);
    json.array("ranges", device.ranges(), |json, range| {
        let range = kernel.addresses(*range);
        json.word("start", range.start);
        json.number("size", range.len());
    });
}
