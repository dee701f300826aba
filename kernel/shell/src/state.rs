//! `state`: everything that a script may want to know. The keys are a contract: docs/reference/state.md.

use hotmap_mm::frame::block::MemoryBlock;
use hotmap_mm::frame::extent::Extent;
use hotmap_mm::frame::page::PAGE_BYTES;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::layout::LINEAR_START;
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::Outcome;
use super::args::Words;
use super::dax;
use super::dedup;
use super::hugetlb;
use super::json::Json;
use super::vmems;
use crate::units::Units;
use hotmap_kernel::arch::heap;
use hotmap_kernel::args::effect::InEffect;
use hotmap_kernel::cpus;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::plug;
use hotmap_kernel::regions::{Region, RegionKind};

pub(super) fn state(kernel: &mut Kernel, _: &mut Words<'_>) -> Outcome {
    let kernel = &*kernel;
    Json::line(|json| {
        machine(kernel, json);
        memory(kernel, json);
        json.array("zones", zones(kernel), |json, zone| {
            json.word("name", zone.name);
            json.number("start_pfn", zone.span.start.get());
            json.number("end_pfn", zone.span.end.get());
            json.number("present", zone.present);
            json.number("free", zone.free);
            json.array("nodes", nodes(kernel, zone.kind), |json, part| {
                json.number("node", part.node);
                json.number("present", part.present);
                json.number("free", part.free);
            });
        });
        let frames = kernel.mm.frames();
        let folded = frames.blocks().nth(MOST_BLOCKS).is_some();
        let alone = |start: Pfn| !frames.extents().iter().any(|extent| extent.pages.contains(start));
        let blocks = frames.blocks().filter(|block| !folded || alone(block.start));
        json.number("blocks_folded", folded);
        json.array("blocks", blocks, |json, block| describe_block(kernel, json, &block));
        json.array("extents", frames.extents(), |json, extent| describe_extent(kernel, json, extent));
        json.array("dimms", kernel.dimms.all(), |json, dimm| {
            json.number("slot", dimm.slot);
            json.word("start", dimm.range.start);
            json.number("size", dimm.range.len());
            json.number("node", dimm.node);
            json.word("state", kernel.dimm_state(dimm));
            match kernel.dimm_reason(dimm) {
                Some(reason) => json.text("reason", reason),
                None => json.null("reason"),
            }
        });
        json.number("slots", kernel.platform.ged.as_ref().map_or(0, |ged| ged.slot_count()));
        json.array("nvdimms", kernel.nvdimms.all(), |json, nvdimm| {
            json.number("number", nvdimm.number);
            json.word("start", nvdimm.range.start);
            json.number("size", nvdimm.range.len());
            match nvdimm.node {
                Some(node) => json.number("node", node),
                None => json.null("node"),
            }
            json.word("state", kernel.nvdimm_state(nvdimm));
        });
        json.array("tenants", kernel.mm.tenants(), |json, tenant| {
            json.number("id", tenant.id);
            json.number("pages", tenant.range.len() / kernel.page_size());
        });
        vmems::describe(kernel, json);
        dax::describe(kernel, json);
        json.object("memmap_demand", |json| on_demand(kernel, json));
        json.object("dedup", |json| {
            dedup::describe(kernel, json);
            hugetlb::describe(kernel, json);
        });
        json.array("regions", kernel.regions.all(), |json, region| describe_region(kernel, json, region));
        let wrong_arguments = u64::from(kernel.info.args.wrong);
        json.number("warnings", kernel.mm.frames().warnings.total() + wrong_arguments);
        json.number("wrong_arguments", wrong_arguments);
        json.object("args", |json| arguments(kernel, json));
        let (used, size) = heap::usage();
        json.object("heap", |json| {
            json.number("size", size);
            json.number("used", used);
        });
    });
    Ok(())
}

/// A zone, in words and numbers.
struct ZoneRow {
    name: &'static str,
    /// `None`: Device.
    kind: Option<ZoneKind>,
    span: PfnRange,
    present: u64,
    free: u64,
}

/// The zones; Device only while a device is in it.
fn zones(kernel: &Kernel) -> impl Iterator<Item = ZoneRow> + '_ {
    let memory = ZoneKind::ALL.into_iter().map(|kind| {
        let zone = kernel.mm.frames().zone(kind);
        let (start, end) = kernel.mm.frames().zone_span(kind);
        ZoneRow {
            name: kind.name(),
            kind: Some(kind),
            span: PfnRange { start, end },
            present: zone.present,
            free: zone.free,
        }
    });
    let ranges = || kernel.mm.devices().iter().flat_map(|device| device.ranges());
    let (start, end) = (ranges().map(|r| r.start).min(), ranges().map(|r| r.end).max());
    let device = start.zip(end).map(|(start, end)| ZoneRow {
        name: "Device",
        kind: None,
        span: PfnRange { start, end },
        present: ranges().map(PfnRange::len).sum(),
        free: 0,
    });
    memory.chain(device)
}

/// What a zone, or a block or device in it, has of one NUMA node, in pages.
struct Part {
    node: u32,
    present: u64,
    free: u64,
}

/// A zone's blocks; of Device (`None`), the devices.
fn parts(kernel: &Kernel, zone: Option<ZoneKind>) -> impl Iterator<Item = Part> + '_ {
    let is_in = move |block: &MemoryBlock| zone.is_some() && block.state.zone() == zone;
    let blocks = kernel.mm.frames().blocks().filter(is_in).map(|block| Part {
        node: block.node,
        present: block.present,
        free: kernel.free_pages(&block),
    });
    let devices = kernel.mm.devices().iter().filter(move |_| zone.is_none());
    blocks.chain(devices.map(|device| Part { node: device.node(), present: device.pages(), free: 0 }))
}

/// What a zone has of each node, by the node's number.
fn nodes(kernel: &Kernel, zone: Option<ZoneKind>) -> impl Iterator<Item = Part> + '_ {
    let after = move |last: Option<u32>| {
        let node =
            parts(kernel, zone).map(|part| part.node).filter(|node| last.is_none_or(|l| *node > l)).min()?;
        let none = Part { node, present: 0, free: 0 };
        Some(parts(kernel, zone).filter(|part| part.node == node).fold(none, |sum, part| Part {
            node,
            present: sum.present + part.present,
            free: sum.free + part.free,
        }))
    };
    core::iter::successors(after(None), move |part| after(Some(part.node)))
}

/// The boot arguments in effect.
fn arguments(kernel: &Kernel, json: &mut Json) {
    for (name, value) in kernel.info.args.in_effect() {
        match value {
            InEffect::Word(word) => json.word(name, word),
            InEffect::Number(number) => json.number(name, number),
            InEffect::Text(text) => json.text(name, text),
            InEffect::Unset => json.null(name),
            InEffect::Pools(pools) => json.array(name, pools, |json, (size, count)| {
                json.number("size", size);
                json.number("count", count);
            }),
        }
    }
}

/// The version of the keys: it changes if one is renamed, removed or means something else.
const SCHEMA: u32 = 1;

fn machine(kernel: &Kernel, json: &mut Json) {
    let base = kernel.mm.space().layout().phys_base;
    json.number("schema", SCHEMA);
    json.word("version", env!("CARGO_PKG_VERSION"));
    json.number("granule", kernel.page_size());
    json.number("va_bits", kernel.granule().va_bits);
    json.word("root", kernel.mm.space().root());
    json.word("boot", kernel.info.way.name());
    json.number("cpus", cpus::start::online().count());
    json.object("linear", |json| {
        json.word("start", LINEAR_START);
        json.word("phys_base", base);
    });
    json.object("vmemmap", |json| {
        json.word("start", kernel.mm.space().layout().vmemmap().start);
        json.number("first_pfn", kernel.pfn(base).get());
        json.number("page_bytes", PAGE_BYTES);
    });
}

fn memory(kernel: &Kernel, json: &mut Json) {
    let counts = kernel.mm.frames().counts();
    json.object("pages", |json| {
        json.number("present", counts.present);
        json.number("free", counts.free);
        json.number("allocated", counts.allocated);
        json.number("memmap_self", counts.memmap_self);
        json.number("memmap_ram", counts.memmap_ram);
        json.number("tables", counts.tables);
        json.number("reserved", counts.reserved);
    });
}

/// The most blocks that are described one by one. With more, those of extents are only in `extents`.
const MOST_BLOCKS: usize = 1024;

fn describe_extent(kernel: &Kernel, json: &mut Json, extent: &Extent) {
    json.word("start", kernel.address(extent.pages.start));
    json.number("size", kernel.address(extent.pages.end) - kernel.address(extent.pages.start));
    json.word("state", extent.state.name());
    json.word("zone", extent.state.zone().map_or("none", ZoneKind::name));
    json.word("source", extent.source);
    json.number("node", extent.node);
}

fn describe_block(kernel: &Kernel, json: &mut Json, block: &MemoryBlock) {
    json.word("start", kernel.address(block.start));
    json.number("size", kernel.block_size());
    json.word("state", block.state.name());
    json.word("zone", block.state.zone().map_or("none", ZoneKind::name));
    json.word("source", block.source);
    json.number("node", block.node);
    json.word("memmap", kernel.memmap_of(block));
    json.word("usable_start", kernel.usable_start(block));
    json.number("tenant_pages", block.tenant_pages);
    json.number("free", kernel.free_pages(block));
    json.number("lent", block.memmap_inside);
    json.number("plugged", block.present << kernel.granule().page_shift);
}

/// The blocks whose memmap is populated on demand: what is lent, by the counts, and what for, by the tables. A block that a
/// huge page takes as a whole lends nothing.
fn on_demand(kernel: &Kernel, json: &mut Json) {
    let (frames, g) = (kernel.mm.frames(), kernel.granule());
    let blocks = || frames.blocks().filter(|block| block.demand.is_some());
    let lending = || blocks().filter(|block| block.memmap_inside > 0);
    let private: u64 = lending().map(|block| frames.populated_pages(block.start)).sum();
    let lent: u64 = lending().map(|block| block.memmap_inside).sum();
    let tables = if g.shares_tables() { lending().count() as u64 } else { 0 };
    json.number("image_blocks", blocks().filter(|block| block.is_image(g)).count());
    json.number("private", private);
    json.number("lent", lent);
    json.number("spare", lent.saturating_sub(private + tables));
    json.number("tables", tables);
    json.number("populated", frames.demand().figures().populated);
    json.number("given_back", frames.demand().figures().given_back);
}

fn describe_region(kernel: &Kernel, json: &mut Json, region: &Region) {
    json.word("start", region.range.start);
    json.number("size", region.range.len());
    json.word("kind", region.kind.name());
    json.number("volatile", region.kind == RegionKind::Pmem { volatile: true });
    match region.node {
        Some(node) => json.number("node", node),
        None => json.null("node"),
    }
    json.word("state", kernel.region_state(region));
    json.array("added", region.parts(), |json, part| {
        json.word("start", part.start);
        json.number("size", part.len());
        json.word("state", plug::state_of(&kernel.mm, *part));
    });
}
