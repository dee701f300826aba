//! `bench`: a DIMM through its life, a DIMM that tenants leave, or a huge page's memmap shared and restored, and what each
//! part costs.

use alloc::vec::Vec;

use hotmap_mm::error::Error;
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::args::{Words, read};
use super::{Outcome, ShellError};
use crate::units::Units;
use hotmap_kernel::arch::{bulk, counter, exchange, fault};
use hotmap_kernel::attention::{self, Attention};
use hotmap_kernel::dimms::Dimm;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::kprintln;
use hotmap_kernel::meter::Meter;

pub(super) const BENCH: &str =
    "bench [CYCLES|hugetlb SIZE|offline PAGES|fill ORDER COUNT [STRIDE]|churn COUNT [LIVE]]";

/// One line for each operation: `bench: OPERATION BYTES INSTRUCTIONS TABLES RAM`, the last two as changes in pages.
pub(super) fn bench(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    if !counter::have_instruction_counter() || counter::instructions() == 0 {
        return Err(ShellError::Failed(
            "instructions are not counted here, and without a count the figures mean nothing: start with --icount, on a CPU with a PMU",
        ));
    }
    if words.peek() == Some("hugetlb") {
        return huge_page(kernel, words);
    }
    if words.peek() == Some("offline") {
        return in_use(kernel, words);
    }
    if words.peek() == Some("fill") {
        words.next();
        let (order, count) = (words.number(BENCH)?, words.number(BENCH)?);
        let stride = if words.peek().is_some() { words.number(BENCH)? } else { 1 };
        words.end(BENCH)?;
        return fill(kernel, order, count, stride.max(1));
    }
    if words.peek() == Some("churn") {
        words.next();
        let count = words.number(BENCH)?;
        let live = if words.peek().is_some() { words.number(BENCH)? } else { 4096 };
        words.end(BENCH)?;
        return churn(kernel, count, live);
    }
    let cycles = match words.next() {
        None => 1,
        Some(word) => read(word, "a number of cycles, hugetlb, offline, fill or churn")?,
    };
    words.end(BENCH)?;
    let dimm = last_dimm(kernel)?;
    kprintln!("bench: clears memory by {:?}", bulk::method());
    let mut attention = Attention::new(&"bench");
    for done in 0..cycles {
        if attention.stop(format_args!("{done} of {cycles} cycles")) {
            break;
        }
        cycle(kernel, &dimm)?;
    }
    Ok(attention.outcome()?)
}

/// How many runs are taken between two looks at the console: what is counted must not depend on it.
const LOOK: u64 = 1024;

fn last_dimm(kernel: &Kernel) -> Result<Dimm, ShellError> {
    let last = kernel.dimms.all().iter().rev().find(|dimm| kernel.dimm_state(dimm) != "refused").copied();
    last.ok_or(ShellError::Failed("there is no DIMM"))
}

/// The last DIMM goes offline when it is empty, and when a tenant has pages in it: the difference is what these pages cost.
/// `migrate` is that, and the bytes that were migrated; `unused` and `used` are the two, for an observer who counts between
/// marks; `unmapped` is the longest that a page was unmapped.
fn in_use(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    words.next();
    let count = words.number(BENCH)?;
    words.end(BENCH)?;
    let dimm = last_dimm(kernel)?;
    let pages = PfnRange::inside(kernel.granule(), dimm.range);
    let zone = common_zone(kernel, pages)?;
    let (_, empty) = offline(kernel, pages, zone)?;
    let mut attention = Attention::new(&"bench");
    let mut stop = |done: u64| attention.stop(format_args!("{done} of {count} pages are filled"));
    let tenant = kernel.mm.tenant_new_unless(count, &mut stop)?;
    exchange::take_longest();
    let measured = offline(kernel, pages, zone);
    let unmapped = exchange::take_longest();
    kernel.mm.tenant_drop(tenant)?;
    let (migrated, used) = measured?;
    let bytes = migrated * kernel.page_size();
    kprintln!("bench: unused {bytes} {empty}");
    kprintln!("bench: used {bytes} {used}");
    kprintln!("bench: migrate {bytes} {}", used - empty);
    kprintln!("bench: unmapped {bytes} {unmapped} 0 0");
    Ok(())
}

/// Takes `pages` offline, and online again; returns how many pages migrated, and what the offline cost.
fn offline(kernel: &mut Kernel, pages: PfnRange, zone: ZoneKind) -> Result<(u64, Meter), Error> {
    let meter = Meter::start(&kernel.mm.frames().counts());
    let mut stop = attention::of_offline(&"bench", &kernel.mm, pages);
    let migrated = kernel.mm.offline_pages_unless(pages, &mut stop)?.migrated;
    let meter = meter.stop(|| kernel.mm.frames().counts());
    kernel.mm.online_pages(pages, zone, |_, _| {})?;
    Ok((migrated, meter))
}

/// Offline, remove, add, online. What cannot be removed goes online again; a DIMM that cannot be added again can be ejected.
fn cycle(kernel: &mut Kernel, dimm: &Dimm) -> Outcome {
    let (bytes, home) = (dimm.range.len(), kernel.policy().home);
    let pages = PfnRange::inside(kernel.granule(), dimm.range);
    let zone = common_zone(kernel, pages)?;
    let meter = Meter::start(&kernel.mm.frames().counts());
    let mut stop = attention::of_offline(&"bench", &kernel.mm, pages);
    kernel.mm.offline_pages_unless(pages, &mut stop)?;
    let offline = meter.stop(|| kernel.mm.frames().counts());
    let meter = Meter::start(&kernel.mm.frames().counts());
    if let Err(error) = kernel.mm.remove_memory(dimm.range) {
        kernel.mm.online_pages(pages, zone, |_, _| {})?;
        return Err(error.into());
    }
    let remove = meter.stop(|| kernel.mm.frames().counts());
    let meter = Meter::start(&kernel.mm.frames().counts());
    let range = HotRange::new(&kernel.mm, dimm.range.start, bytes, Source::Dimm(dimm.slot))?;
    kernel.mm.add_memory(&range, home, |_, _| {})?;
    let add = meter.stop(|| kernel.mm.frames().counts());
    let meter = Meter::start(&kernel.mm.frames().counts());
    kernel.mm.online_pages(pages, zone, |_, _| {})?;
    let online = meter.stop(|| kernel.mm.frames().counts());
    for (operation, meter) in [("offline", offline), ("remove", remove), ("add", add), ("online", online)] {
        kprintln!("bench: {operation} {bytes} {meter}");
    }
    Ok(())
}

/// The memmap of a new huge page optimised, and restored: the split of a block and joining it again are in it. `window` is
/// the longest that any entry was invalid so far.
fn huge_page(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    words.next();
    let order = kernel.mm.hugetlb.order_of(words.number(BENCH)?)?;
    words.end(BENCH)?;
    let bytes = kernel.page_size() << order;
    let total = kernel.mm.hugetlb.pool(order).map_or(0, |pool| pool.total());
    let grown = kernel.mm.hugetlb_resize(order, total + 1)?;
    grown.stopped.map_or(Ok(()), Err)?;
    let head = kernel.mm.hugetlb_take(order)?;
    let measured = optimise_and_restore(kernel, head);
    kernel.mm.hugetlb_put(head)?;
    kernel.mm.hugetlb_resize(order, total)?.stopped.map_or(Ok(()), Err)?;
    let (optimise, restore) = measured?;
    kprintln!("bench: optimise {bytes} {optimise}");
    kprintln!("bench: restore {bytes} {restore}");
    kprintln!("bench: window {bytes} {} 0 0", fault::figures().longest.instructions);
    Ok(())
}

/// Runs of `1 << order` pages are taken, at most `count`; all but each `stride`-th are freed; the rest is freed.
fn fill(kernel: &mut Kernel, order: u64, count: u64, stride: u64) -> Outcome {
    let order = u32::try_from(order).map_err(|_| ShellError::BadWord("an order"))?;
    let meter = Meter::start(&kernel.mm.frames().counts());
    let (mut runs, mut got) = (Chain::default(), 0);
    let mut attention = Attention::new(&"bench");
    let mut stop =
        |got: u64| got.is_multiple_of(LOOK) && attention.stop(format_args!("{got} of {count} runs"));
    while got < count
        && !stop(got)
        && let Ok(run) = kernel.mm.frames_mut().alloc(order, PageKind::Pinned, Mobility::Movable)
    {
        runs.push(kernel, run);
        got += 1;
    }
    report_fill(kernel, "fill", order, got, meter);
    let meter = Meter::start(&kernel.mm.frames().counts());
    let (mut kept, mut freed) = (Chain::default(), 0);
    for i in 0..got {
        let Some(run) = runs.pop(kernel) else { break };
        if i % stride == 0 {
            kept.push(kernel, run);
        } else {
            kernel.mm.frames_mut().free(run);
            freed += 1;
        }
    }
    report_fill(kernel, "thin", order, freed, meter);
    let meter = Meter::start(&kernel.mm.frames().counts());
    while let Some(run) = kept.pop(kernel) {
        kernel.mm.frames_mut().free(run);
    }
    report_fill(kernel, "drain", order, got - freed, meter);
    Ok(attention.outcome()?)
}

/// `count` times a random one of `live` places: a run is taken for it, or its run is freed. Of 16 runs one has `1 << 9` pages,
/// three a few, and twelve one page.
fn churn(kernel: &mut Kernel, count: u64, live: u64) -> Outcome {
    let places = usize::try_from(live).ok().filter(|live| (1..=1 << 16).contains(live));
    let places = places.ok_or(ShellError::BadWord("1 to 65536 live runs"))?;
    let mut runs: Vec<Option<Pfn>> = Vec::new();
    runs.try_reserve_exact(places).map_err(|_| ShellError::Failed("the heap has no room for the runs"))?;
    runs.resize(places, None);
    let meter = Meter::start(&kernel.mm.frames().counts());
    let (mut random, mut taken) = (Random(1), 0);
    let mut attention = Attention::new(&"bench");
    for done in 0..count {
        if done.is_multiple_of(LOOK) && attention.stop(format_args!("{done} of {count} times")) {
            break;
        }
        let place = &mut runs[random.below(live)];
        match place.take() {
            Some(run) => kernel.mm.frames_mut().free(run),
            None => {
                let order = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 9][random.below(16)];
                *place = kernel.mm.frames_mut().alloc(order, PageKind::Pinned, Mobility::Movable).ok();
                taken += u64::from(place.is_some());
            }
        }
    }
    let counts = kernel.mm.frames().counts();
    let (lent, memmap) = (counts.memmap_self, meter.stop(|| counts));
    kprintln!("bench: churn {count} {memmap}");
    kprintln!("{taken} runs were taken; {lent} pages hold their own block's memmap");
    let meter = Meter::start(&kernel.mm.frames().counts());
    for run in runs.into_iter().flatten() {
        kernel.mm.frames_mut().free(run);
    }
    report_fill(kernel, "drain", 0, 0, meter);
    Ok(attention.outcome()?)
}

/// xorshift64 (Marsaglia, "Xorshift RNGs").
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % limit).unwrap_or(0)
    }
}

fn report_fill(kernel: &Kernel, what: &str, order: u32, runs: u64, meter: Meter) {
    let counts = kernel.mm.frames().counts();
    let (bytes, meter) = (runs * (kernel.page_size() << order), meter.stop(|| counts));
    kprintln!("bench: {what}-{order} {bytes} {meter}");
}

/// Runs that were taken, each of which knows the next by its struct page.
#[derive(Default)]
struct Chain(Option<Pfn>);

impl Chain {
    fn push(&mut self, kernel: &Kernel, run: Pfn) {
        let page = kernel.mm.frames().pages().get(run);
        page.set_private(self.0.replace(run).map_or(0, |next| next.get() + 1));
    }
    fn pop(&mut self, kernel: &Kernel) -> Option<Pfn> {
        let run = self.0?;
        self.0 = kernel.mm.frames().pages().get(run).private().checked_sub(1).map(Pfn::new);
        Some(run)
    }
}

fn optimise_and_restore(kernel: &mut Kernel, head: Pfn) -> Result<(Meter, Meter), Error> {
    if kernel.mm.frames().pages().get(head).as_huge_head().is_optimised() {
        kernel.mm.restore(head)?;
    }
    let meter = Meter::start(&kernel.mm.frames().counts());
    kernel.mm.optimise(head)?;
    let optimise = meter.stop(|| kernel.mm.frames().counts());
    let meter = Meter::start(&kernel.mm.frames().counts());
    kernel.mm.restore(head)?;
    Ok((optimise, meter.stop(|| kernel.mm.frames().counts())))
}

/// The zone that all blocks of `pages` are online in, so that the cycle can end where it began.
fn common_zone(kernel: &Kernel, pages: PfnRange) -> Result<ZoneKind, ShellError> {
    let mut zones = kernel.mm.frames().blocks().filter(|b| pages.contains(b.start)).map(|b| b.state.zone());
    let first = zones.next().flatten();
    let same = zones.all(|zone| zone == first);
    first.filter(|_| same).ok_or(ShellError::Failed("not every block of the DIMM is online in one zone"))
}
