//! Commands that look at single pages and mappings.

use hotmap_mm::addr::{Bytes, PhysAddr, VirtAddr};
use hotmap_mm::error::{Error, PageError, SpaceError};
use hotmap_mm::frame::page::{PAGE_BYTES, PageKind};
use hotmap_mm::pfn::Pfn;

use super::args::{Words, read};
use super::{Outcome, ShellError};
use crate::units::Units;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::{kprint, kprintln};

const USAGE: &str = "walk pfn:N|addr:A";

/// `pfn:N` and a physical `addr:A` start at the page's struct page; a virtual `addr:A` is walked itself.
pub(super) fn walk(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let word = words.next().ok_or(ShellError::Usage(USAGE))?;
    if let Some(address) = word.strip_prefix("addr:") {
        let address = read(address, "an address after addr:")?;
        if VirtAddr::new(address) >= hotmap_mm::layout::LINEAR_START {
            return walk_to(kernel, VirtAddr::new(address));
        }
        return walk_page(kernel, kernel.pfn(PhysAddr::new(address)));
    }
    let pfn = word.strip_prefix("pfn:").ok_or(ShellError::Usage(USAGE))?;
    walk_page(kernel, Pfn::new(read(pfn, "a number after pfn:")?))
}

fn walk_page(kernel: &Kernel, pfn: Pfn) -> Outcome {
    if !kernel.mm.frames().is_valid(pfn) {
        return Err(Error::Page(PageError::NotPresent(pfn)).into());
    }
    let va = kernel.mm.space().layout().page_address(pfn);
    kprintln!("{pfn} ({}): its struct page is at {va}", kernel.address(pfn));
    walk_to(kernel, va)
}

fn walk_to(kernel: &Kernel, va: VirtAddr) -> Outcome {
    let path = kernel.mm.space().path(va);
    for step in path.steps() {
        let (slot, d) = (&step.slot, step.descriptor);
        let address = d.address(kernel.granule());
        let at = format_args!(
            "level {} table {} index {:>4}: {:#018x}",
            slot.level,
            slot.table,
            slot.index,
            d.bits()
        );
        if d.is_table(slot.level) {
            kprintln!("{at}  table {address}");
        } else if d.is_leaf(slot.level) {
            let what = if slot.level == 3 { "page" } else { "block" };
            kprintln!("{at}  {} {what} {address}  {d}", Bytes(slot.span.len()));
        } else {
            kprintln!("{at}  invalid");
        }
    }
    let frame = kernel.mm.space().translate(va).ok_or(Error::Space(SpaceError::NotMapped(va)))?;
    kprintln!("{va} -> {frame}, {}", Owner(kernel, frame));
    Ok(())
}

/// Whose memory a physical address is, in words.
struct Owner<'a>(&'a Kernel, PhysAddr);

impl core::fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self(kernel, address) = self;
        let pfn = kernel.pfn(*address);
        if let Some(device) = kernel.mm.devices().iter().find(|device| device.contains(pfn)) {
            let (start, part) = (kernel.address(device.start()), device.set_aside().contains(pfn));
            let what = if part { "what is set aside of " } else { "" };
            return write!(f, "{what}the device at {start} ({})", device.kind());
        }
        let Some(block) = kernel.mm.frames().block_of(pfn).filter(|_| kernel.mm.frames().is_valid(pfn))
        else {
            return f.write_str("not memory that the model knows");
        };
        if kernel.mm.frames().demand().image().is_some_and(|image| image.contains(*address, kernel.granule()))
        {
            return f.write_str("the image of a free block");
        }
        match kernel.mm.frames().pages().use_of(pfn).0 {
            PageKind::MemmapSelf if block.demand.is_some() => {
                write!(f, "{} RAM: {pfn}, {}", block.source, Lent(kernel, pfn))
            }
            PageKind::MemmapSelf => {
                write!(f, "self-hosted: memory of {} that holds its own memmap", block.source)
            }
            PageKind::MemmapRam => write!(f, "{} RAM that holds memmap", block.source),
            kind => write!(f, "{} RAM: {kind}", block.source),
        }
    }
}

/// What a page of a block on demand is lent for.
struct Lent<'a>(&'a Kernel, Pfn);

impl core::fmt::Display for Lent<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Self(kernel, pfn) = self;
        let Some(number) = kernel.mm.frames().pages().get(*pfn).as_lent().memmap_page() else {
            return f.write_str("lent: the table of its block's memmap");
        };
        let each = kernel.page_size() / PAGE_BYTES;
        let block = pfn.align_down(kernel.granule().section_order);
        let (first, last) = (block + number * each, block + (number * each + each - 1));
        write!(f, "lent: memmap page {number} of its block, for {first} to {last}")
    }
}

pub(super) const PAGE: &str = "page [--raw] PFN|addr:A";

/// The fields of a struct page, as `Page` has them: offset, bytes, name. What is spare takes three lines.
const FIELDS: [(usize, usize, &str); 10] = [
    (0, 1, "kind"),
    (1, 1, "order"),
    (2, 2, "flags"),
    (4, 4, "refs"),
    (8, 4, "next"),
    (12, 4, "prev"),
    (16, 8, "private"),
    (24, 16, "spare"),
    (40, 16, "spare"),
    (56, 8, "spare"),
];

/// The bytes of a page's own struct page, field by field.
fn raw(kernel: &Kernel, pfn: Pfn) {
    let page = kernel.mm.frames().pages().get(pfn);
    let bytes = page.bytes();
    kprintln!("{pfn}: struct page at {}", kernel.mm.space().layout().page_address(pfn));
    for (offset, len, name) in FIELDS {
        let field = || bytes.iter().skip(offset).take(len);
        kprint!("  +{offset:<3}{name:<8}");
        field().for_each(|byte| kprint!(" {byte:02x}"));
        match name {
            "kind" => kprintln!("  {}", page.checked_kind().map_or("no kind", PageKind::name)),
            "spare" => kprintln!(),
            _ => kprintln!("  {:#x}", field().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))),
        }
    }
}

pub(super) fn page(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let is_raw = words.peek() == Some("--raw");
    if is_raw {
        words.next();
    }
    let pfn = words.page(kernel, PAGE)?;
    words.end(PAGE)?;
    let (kind, head) = kernel.mm.frames().use_of(pfn)?;
    if is_raw {
        raw(kernel, pfn);
        return Ok(());
    }
    let page = kernel.mm.frames().pages().get(head);
    kprintln!(
        "{pfn} ({}), struct page at {}",
        kernel.address(pfn),
        kernel.mm.space().layout().page_address(pfn)
    );
    if kind == PageKind::Tail {
        kprintln!("no head: its block is offline");
        return Ok(());
    }
    kprintln!("{kind}, in the run of {} pages at {head}, references: {}", 1u64 << page.order(), page.refs());
    if kind == PageKind::Tenant {
        kprintln!("mapped at {:#x}", page.private());
    }
    if kernel.mm.frames().is_lent(pfn) {
        kprintln!("{}", Lent(kernel, pfn));
    }
    Ok(())
}
