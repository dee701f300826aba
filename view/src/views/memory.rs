//! The view `memory`: blocks and devices, and the runs of pages in them.

use std::collections::BTreeMap;

use hotmap_client::state::{Block, BlockState, Device, Extent, Memmap, ZoneName};
use serde::Serialize;

use super::runs::{self, Run, Runs};
use crate::address::Address;
use crate::budget;
use crate::machine::Machine;
use crate::owner::Use;
use crate::struct_pages::StructPages;

/// Physical memory by use. What is in no block and in no device is not memory that the kernel knows.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MemoryView {
    /// `4k`, `16k` or `64k`.
    pub granule: &'static str,
    /// Bytes of a page.
    pub page_size: u64,
    /// Bytes of a section.
    pub section_size: u64,
    /// Bytes of a memory block: a section.
    pub block_size: u64,
    /// The memory blocks, by address.
    pub blocks: Vec<BlockView>,
    /// The devices' memory, by address. That of a device whose memory the system has (kmem) is in `blocks`.
    pub devices: Vec<DeviceView>,
}

/// A memory block, or neighbouring blocks on demand of which nothing is used.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct BlockView {
    /// Physical address.
    pub start: Address,
    /// Bytes.
    pub size: u64,
    /// Blocks: more than one only where `state` lists them as one.
    pub count: u64,
    /// `online`, `offline` or `going-offline`.
    pub state: &'static str,
    /// `Normal`, `Movable` or `none`.
    pub zone: &'static str,
    /// NUMA node.
    pub node: u64,
    /// `boot`, `dimmN`, `dt`, `kmem`, `virtio-memN`.
    pub source: String,
    /// `boot`, `ram`, `self` or `demand`.
    pub memmap: &'static str,
    /// The first byte after the memmap at its start.
    pub usable_start: Address,
    /// Bytes that are plugged.
    pub plugged: u64,
    /// Pages by use.
    pub totals: BTreeMap<Use, u64>,
    /// The runs.
    pub runs: Vec<Run>,
    /// Whether `runs` and `totals` are by its struct pages alone. They are by `state` where too many would have to be read.
    pub exact: bool,
}

/// A device's memory.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceView {
    /// Physical address of its first range: its name.
    pub start: Address,
    /// `fs-dax`, `generic`, `coherent` or `private`.
    pub kind: String,
    /// `live` or `dying`.
    pub state: String,
    /// `altmap` or `ram`.
    pub memmap: &'static str,
    /// Bytes of a compound page, or of a page.
    pub align: u64,
    /// Whether the struct pages of a compound page share memory.
    pub dedup: bool,
    /// Its ranges.
    pub ranges: Vec<DeviceRange>,
}

/// A range of a device.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct DeviceRange {
    /// Physical address.
    pub start: Address,
    /// Bytes.
    pub size: u64,
    /// Pages by use.
    pub totals: BTreeMap<Use, u64>,
    /// The runs.
    pub runs: Vec<Run>,
    /// As a block's.
    pub exact: bool,
}

impl Machine<'_> {
    /// Physical memory by use.
    pub fn memory(&self) -> MemoryView {
        let tables = self.tables();
        let pages = self.pages(&tables);
        let section_size = self.state.granule().map_or(0, hotmap_client::geometry::Granule::block);
        let mut blocks: Vec<BlockView> =
            self.state.blocks.iter().map(|block| self.block(&pages, block)).collect();
        if self.state.blocks_folded {
            blocks.extend(self.state.extents.iter().map(|extent| self.extent(extent, section_size)));
            blocks.sort_by_key(|block| block.start);
        }
        let devices = self.state.devices.iter().filter(|device| device.state != "kmem");
        let mut view = MemoryView {
            granule: self.state.granule().map_or("", hotmap_client::geometry::Granule::name),
            page_size: self.spec.page(),
            section_size,
            block_size: section_size,
            blocks,
            devices: devices.map(|device| self.device(&pages, device)).collect(),
        };
        view.fold_where_too_many();
        view
    }

    fn block(&self, pages: &StructPages<'_, '_>, block: &Block) -> BlockView {
        let phase = self.phase_at(block.start, block.state == BlockState::Offline);
        let (start, end) = (self.spec.pages(block.start), self.spec.pages(block.start + block.size));
        let mut runs = if pages.is_spent() { Runs::default() } else { runs::read(pages, start, end, phase) };
        if !runs.exact {
            runs = self.by_state(block);
        }
        BlockView {
            start: Address(block.start),
            size: block.size,
            count: 1,
            state: state_name(block.state),
            zone: zone_name(block.zone),
            node: block.node,
            source: block.source.clone(),
            memmap: block.memmap.word(),
            usable_start: Address(block.usable_start),
            plugged: block.plugged.unwrap_or(block.size),
            totals: runs.totals,
            runs: runs.runs,
            exact: runs.exact,
        }
    }

    /// What `state` says of a block whose struct pages are not read: its memmap, and what else it is if that is one thing.
    fn by_state(&self, block: &Block) -> Runs {
        let (start, end) = (self.spec.pages(block.start), self.spec.pages(block.start + block.size));
        let usable = self.spec.pages(block.usable_start);
        let others = end - usable;
        let used_for = match block.state {
            BlockState::Offline => Use::Offline,
            _ if others == block.free => Use::Free,
            _ if block.tenant_pages == others => Use::Tenant,
            _ => Use::Mixed,
        };
        let mut runs = Runs::default();
        runs.push_plain(start, usable - start, Use::Memmap);
        runs.push_plain(usable, others, used_for);
        if used_for == Use::Mixed {
            let rest = others.saturating_sub(block.free + block.tenant_pages);
            runs.totals.extend([
                (Use::Free, block.free),
                (Use::Tenant, block.tenant_pages),
                (Use::Mixed, rest),
            ]);
            runs.totals.retain(|_, pages| *pages > 0);
        }
        runs
    }

    /// Blocks of which each is one free run.
    fn extent(&self, extent: &Extent, block_size: u64) -> BlockView {
        let offline = extent.state == BlockState::Offline;
        let mut runs = Runs::default();
        let used_for = if offline { Use::Offline } else { Use::Free };
        runs.push_plain(self.spec.pages(extent.start), self.spec.pages(extent.size), used_for);
        BlockView {
            start: Address(extent.start),
            size: extent.size,
            count: extent.size / block_size.max(1),
            state: state_name(extent.state),
            zone: zone_name(extent.zone),
            node: extent.node,
            source: extent.source.clone(),
            memmap: Memmap::Demand.word(),
            usable_start: Address(extent.start),
            plugged: extent.size,
            totals: runs.totals,
            runs: runs.runs,
            exact: false,
        }
    }

    fn device(&self, pages: &StructPages<'_, '_>, device: &Device) -> DeviceView {
        let ranges = device.ranges.iter().map(|range| {
            let (start, end) = (self.spec.pages(range.start), self.spec.pages(range.start + range.size));
            let phase = self.phase_at(range.start, false);
            let mut runs =
                if pages.is_spent() { Runs::default() } else { runs::read(pages, start, end, phase) };
            if !runs.exact {
                runs = Runs::default();
                let aside = self.spec.pages(device.usable_start).clamp(start, end);
                runs.push_plain(start, aside - start, Use::Memmap);
                runs.push_plain(aside, end - aside, Use::Device);
            }
            DeviceRange {
                start: Address(range.start),
                size: range.size,
                totals: runs.totals,
                runs: runs.runs,
                exact: runs.exact,
            }
        });
        DeviceView {
            start: Address(device.start),
            kind: device.kind.clone(),
            state: device.state.clone(),
            memmap: if device.altmap.is_some() { "altmap" } else { "ram" },
            align: device.align,
            dedup: device.dedup,
            ranges: ranges.collect(),
        }
    }
}

impl MemoryView {
    /// Folds the blocks and ranges with the most runs until the view has no more than [`budget::ROWS`].
    fn fold_where_too_many(&mut self) {
        let blocks = self.blocks.iter_mut().map(|block| (&mut block.runs, &block.totals));
        let ranges = self.devices.iter_mut().flat_map(|device| &mut device.ranges);
        let mut all: Vec<_> = blocks.chain(ranges.map(|range| (&mut range.runs, &range.totals))).collect();
        let mut rows: usize = all.iter().map(|(runs, _)| runs.len()).sum();
        all.sort_by_key(|(runs, _)| std::cmp::Reverse(runs.len()));
        for (runs, totals) in all {
            if rows <= budget::ROWS {
                break;
            }
            rows -= runs.len().saturating_sub(1);
            let mut whole = Runs { runs: std::mem::take(runs), totals: totals.clone(), exact: true };
            whole.fold();
            *runs = whole.runs;
        }
    }
}

const fn state_name(state: BlockState) -> &'static str {
    match state {
        BlockState::Online => "online",
        BlockState::Offline => "offline",
        BlockState::GoingOffline => "going-offline",
    }
}

const fn zone_name(zone: ZoneName) -> &'static str {
    match zone {
        ZoneName::Normal => "Normal",
        ZoneName::Movable => "Movable",
        ZoneName::None => "none",
    }
}
