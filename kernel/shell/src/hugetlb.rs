//! The pools of huge pages: `hugetlb`, and what `state` says of them.

use hotmap_mm::addr::Bytes;
use hotmap_mm::hugetlb::pool::{Resized, Use};
use hotmap_mm::pfn::Pfn;

use super::args::Words;
use super::json::Json;
use super::{Outcome, ShellError};
use crate::units::Units;
use hotmap_kernel::attention::Attention;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::{kprint, kprintln};

pub(super) const HUGETLB: &str =
    "hugetlb [SIZE N|take SIZE|put PFN|demote PFN SIZE|optimise PFN|restore PFN]";

pub(super) fn hugetlb(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    match words.peek() {
        None => {
            list(kernel);
            return Ok(());
        }
        Some("take" | "put" | "demote" | "optimise" | "optimize" | "restore") => {}
        Some(word) if word.starts_with(|c: char| c.is_ascii_digit()) => return resize(kernel, words),
        Some(_) => {
            words.next();
            return Err(ShellError::Usage(HUGETLB));
        }
    }
    let word = words.next().unwrap_or_default();
    if word == "take" {
        let order = order(kernel, words)?;
        words.end(HUGETLB)?;
        kprintln!("{} taken", kernel.mm.hugetlb_take(order)?);
        return Ok(());
    }
    let pfn = words.page(kernel, HUGETLB)?;
    if word == "demote" {
        let to = order(kernel, words)?;
        let order =
            kernel.mm.frames().use_of(pfn).map_or(to, |_| kernel.mm.frames().pages().get(pfn).order());
        kernel.mm.hugetlb_demote(pfn, to)?;
        let (count, size) = (1u64 << order.saturating_sub(to), Bytes(kernel.page_size() << to));
        kprintln!("{pfn} is {count} huge pages of {size} now");
        return Ok(());
    }
    words.end(HUGETLB)?;
    match word {
        "put" => {
            kernel.mm.hugetlb_put(pfn)?;
            kprintln!("{pfn} is in its pool again");
        }
        "restore" => {
            kernel.mm.restore(pfn)?;
            kprintln!("{pfn} is restored: its memmap has frames of its own");
        }
        _ => {
            kernel.mm.optimise(pfn)?;
            kprintln!("{pfn} is optimised: its memmap is shared");
        }
    }
    Ok(())
}

/// The order of the huge pages whose size is the next word.
fn order(kernel: &Kernel, words: &mut Words<'_>) -> Result<u32, ShellError> {
    Ok(kernel.mm.hugetlb.order_of(words.number(HUGETLB)?)?)
}

fn resize(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let order = order(kernel, words)?;
    let asked = words.number(HUGETLB)?;
    words.end(HUGETLB)?;
    let bytes = kernel.page_size() << order;
    let mut attention = Attention::new(&"hugetlb");
    let mut stop = |total: u64| attention.stop(format_args!("{total} huge pages of {asked}"));
    let Resized { total, stopped } = kernel.mm.hugetlb_resize_unless(order, asked, &mut stop)?;
    kprintln!("{}: {total} huge pages", Bytes(bytes));
    stopped.map_or(Ok(()), |why| Err(ShellError::Pool { bytes, total, asked, why }))
}

/// The most runs of huge pages that a line names.
const RUNS_SHOWN: usize = 8;

/// The first pages of a pool's huge pages: those that follow each other, up or down, as `FIRST to LAST`.
fn list_heads(name: &str, heads: impl Iterator<Item = Pfn>, pages: u64) {
    let mut heads = heads.peekable();
    if heads.peek().is_none() {
        return;
    }
    kprint!("          {name}:");
    for shown in 0..RUNS_SHOWN {
        let Some(first) = heads.next() else { break };
        let (mut last, mut step) = (first, None);
        let follows = |last: Pfn, next: &Pfn, step: Option<bool>| {
            let up = next.get() > last.get();
            next.get().abs_diff(last.get()) == pages && step.is_none_or(|step| step == up)
        };
        while let Some(next) = heads.next_if(|next| follows(last, next, step)) {
            (step, last) = (Some(next > last), next);
        }
        kprint!("{} {:#x}", if shown == 0 { "" } else { "," }, first.get());
        if last != first {
            kprint!(" to {:#x}", last.get());
        }
    }
    match heads.count() {
        0 => kprint!("\n"),
        more => kprintln!(", and {more} more"),
    }
}

fn list(kernel: &Kernel) {
    let tails: u64 = kernel.mm.hugetlb.tails().as_flattened().iter().map(|tail| tail.mappings).sum();
    let pages = kernel.mm.hugetlb.tails().as_flattened().iter().filter(|tail| tail.frame.is_some()).count();
    for pool in kernel.mm.hugetlb.pools() {
        kprintln!(
            "{:>8}  total {:>5}  free {:>5}  optimised {:>5}",
            Bytes(kernel.page_size() << pool.order()),
            pool.total(),
            pool.free(),
            pool.optimised()
        );
        for (which, name) in [(Use::Free, "free"), (Use::Taken, "in use")] {
            list_heads(name, pool.heads(kernel.mm.frames(), which), 1 << pool.order());
        }
    }
    let hvo = if kernel.mm.hugetlb.hvo { "on" } else { "off" };
    kprintln!("hvo={hvo}: {tails} pages of memmap are mapped to {pages} shared ones");
}

/// The members of `state`'s `dedup` that are the pools'.
pub(super) fn describe(kernel: &Kernel, json: &mut Json) {
    json.array("hugetlb", kernel.mm.hugetlb.pools(), |json, pool| {
        json.number("size", kernel.page_size() << pool.order());
        json.number("total", pool.total());
        json.number("free", pool.free());
        json.number("optimised", pool.optimised());
        json.list("heads", |comma| {
            for which in [Use::Free, Use::Taken] {
                pool.heads(kernel.mm.frames(), which).for_each(|pfn| kprint!("{}{}", comma(), pfn.get()));
            }
        });
    });
}
