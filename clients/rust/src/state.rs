//! `state`, the contract for scripts, as types: one line of JSON. Keys may be added; none is renamed or removed.
//!
//! A missing key or a value of another type is an error in every test; keys that are not in the contract are ignored.
//! docs/reference/state.md explains each key.

use crate::geometry::Granule;
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde::Deserialize;

mod address;
mod args;
mod check;
mod sources;

use address::{address, address_schema, optional_address};
pub use args::{Args, HugePages};
pub use sources::{Altmap, Device, DevicePart, DimmState, NvdimmState, Region, RegionPart, Stay, VirtioMem};

/// The whole line.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct State {
    /// The version of the keys, 1; absent from kernels older than the key.
    pub schema: Option<u64>,
    /// The kernel's version: a number or a word.
    #[schemars(with = "String")]
    pub version: serde_json::Value,
    /// Bytes per page.
    pub granule: u64,
    /// Virtual address bits.
    pub va_bits: u64,
    /// Physical address of the table at which a walk of the upper half starts (TTBR1_EL1); absent from kernels older than the key.
    #[serde(default, deserialize_with = "optional_address")]
    #[schemars(schema_with = "address_schema", !default)]
    pub root: Option<u64>,
    /// `image` or `firmware`.
    pub boot: BootWay,
    /// CPUs online.
    pub cpus: u64,
    /// The linear map.
    pub linear: Linear,
    /// The virtually mapped array of struct pages.
    pub vmemmap: Vmemmap,
    /// Where every granule page of system RAM is.
    pub pages: Pages,
    /// The zones.
    pub zones: Vec<Zone>,
    /// Whether `blocks` leaves out those that `extents` has; absent from kernels older than the key.
    #[serde(default)]
    pub blocks_folded: bool,
    /// The memory blocks, by address.
    pub blocks: Vec<Block>,
    /// Neighbouring blocks on demand that are alike; absent from kernels older than the key.
    #[serde(default)]
    pub extents: Vec<Extent>,
    /// The occupied DIMM slots.
    pub dimms: Vec<DimmState>,
    /// ACPI memory slots of the machine; absent from kernels older than the key.
    #[serde(default)]
    pub slots: u64,
    /// The tenants, by address; absent from kernels older than the key.
    #[serde(default)]
    pub tenants: Vec<TenantState>,
    /// The NVDIMMs; absent from kernels older than the key.
    #[serde(default)]
    pub nvdimms: Vec<NvdimmState>,
    /// The virtio memory devices; absent from kernels older than the key.
    #[serde(default)]
    pub virtio_mem: Vec<VirtioMem>,
    /// Device memory; absent from kernels older than the key.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// Memmap on demand; absent from kernels older than the key.
    #[serde(default)]
    pub memmap_demand: MemmapDemand,
    /// What shares its memmap; absent from kernels older than the key.
    #[serde(default)]
    pub dedup: Dedup,
    /// The regions of the device tree.
    pub regions: Vec<Region>,
    /// How many warnings the kernel has counted, wrong boot arguments included.
    pub warnings: u64,
    /// How many boot arguments are unknown or have a wrong value.
    pub wrong_arguments: u64,
    /// The boot arguments in effect; absent from kernels older than the key.
    pub args: Option<Args>,
    /// The kernel's heap; absent from kernels older than the key.
    pub heap: Option<Heap>,
}

/// How the kernel was booted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum BootWay {
    /// `-kernel`.
    Image,
    /// `-bios`.
    Firmware,
}

/// The linear map: virtual `start` maps physical `phys_base`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Linear {
    /// Virtual address.
    #[serde(deserialize_with = "address")]
    #[schemars(schema_with = "address_schema")]
    pub start: u64,
    /// Physical address.
    #[serde(deserialize_with = "address")]
    #[schemars(schema_with = "address_schema")]
    pub phys_base: u64,
}

/// The struct page of pfn p is at `start + (p - first_pfn) * page_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Vmemmap {
    /// Virtual address.
    #[serde(deserialize_with = "address")]
    #[schemars(schema_with = "address_schema")]
    pub start: u64,
    /// The pfn whose struct page is at `start`.
    pub first_pfn: u64,
    /// Bytes of one struct page.
    pub page_bytes: u64,
}

/// Counts of granule pages of system RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Pages {
    /// All of them.
    pub present: u64,
    /// On free lists.
    pub free: u64,
    /// Allocated.
    pub allocated: u64,
    /// Self-hosted memmap.
    pub memmap_self: u64,
    /// Memmap in system RAM, boot memory's included.
    pub memmap_ram: u64,
    /// Translation tables.
    pub tables: u64,
    /// Never allocated: the image, the device tree, what firmware reserves.
    pub reserved: u64,
}

/// A zone.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Zone {
    /// `Normal`, `Movable`.
    pub name: String,
    /// First pfn.
    pub start_pfn: u64,
    /// One past the last pfn.
    pub end_pfn: u64,
    /// Pages that belong to it.
    pub present: u64,
    /// Of these, free.
    pub free: u64,
    /// What it has of each NUMA node, by the node's number; absent from kernels older than the key.
    #[serde(default)]
    pub nodes: Vec<ZoneNode>,
}

/// What a zone has of one NUMA node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct ZoneNode {
    /// The node's number, or 0 if none is named.
    pub node: u64,
    /// Pages that belong to the zone.
    pub present: u64,
    /// Of these, free.
    pub free: u64,
}

/// A memory block.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Block {
    /// Physical address.
    #[serde(deserialize_with = "address")]
    #[schemars(schema_with = "address_schema")]
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// Whether the allocator uses it.
    pub state: BlockState,
    /// The zone it is in.
    pub zone: ZoneName,
    /// `boot`, `dimmN`, `dt`, `kmem`, `virtio-memN`.
    pub source: String,
    /// Its NUMA node, or 0 if none is named; absent from kernels older than the key.
    #[serde(default)]
    pub node: u64,
    /// Where its memmap lies.
    pub memmap: Memmap,
    /// The first physical address after its own memmap.
    #[serde(deserialize_with = "address")]
    #[schemars(schema_with = "address_schema")]
    pub usable_start: u64,
    /// Tenant pages in it.
    pub tenant_pages: u64,
    /// Pages on its free lists; absent from kernels older than the key.
    #[serde(default)]
    pub free: u64,
    /// Bytes of it that are plugged; absent from kernels older than the key.
    pub plugged: Option<u64>,
    /// Pages of it that it lends to its own memmap; absent from kernels older than the key.
    #[serde(default)]
    pub lent: u64,
}

/// Neighbouring memory blocks on demand, of which nothing is used.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Extent {
    /// Physical address.
    #[serde(deserialize_with = "address")]
    #[schemars(schema_with = "address_schema")]
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// Whether the allocator uses them.
    pub state: BlockState,
    /// The zone they are in.
    pub zone: ZoneName,
    /// As a block's.
    pub source: String,
    /// NUMA node.
    pub node: u64,
}

/// `blocks[].state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BlockState {
    /// In use.
    Online,
    /// Present, not in use.
    Offline,
    /// Going offline.
    GoingOffline,
}

/// `blocks[].zone`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum ZoneName {
    /// For all uses.
    Normal,
    /// For pages that can be migrated.
    Movable,
    /// Offline.
    #[serde(rename = "none")]
    None,
}

/// `blocks[].memmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Memmap {
    /// Populated at boot.
    Boot,
    /// In system RAM.
    Ram,
    /// Self-hosted.
    #[serde(rename = "self")]
    SelfHosted,
    /// The image of a free block, and pages of the block as it is used.
    Demand,
}

/// A user of movable pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct TenantState {
    /// Its number.
    pub id: u64,
    /// Its pages.
    pub pages: u64,
}

/// The blocks whose memmap is populated on demand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct MemmapDemand {
    /// Blocks that map the image.
    pub image_blocks: u64,
    /// Pages of memmap with a frame of their own, by the tables.
    pub private: u64,
    /// Pages that blocks lend, by the counts.
    pub lent: u64,
    /// Of these, for nothing yet.
    pub spare: u64,
    /// Of these, for tables.
    pub tables: u64,
    /// How often a page of memmap got a frame.
    pub populated: u64,
    /// How often one lost it.
    pub given_back: u64,
}

/// What shares its memmap.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Dedup {
    /// Frames to which several pages of vmemmap are mapped.
    pub shared_pages: u64,
    /// Those pages of vmemmap.
    pub mappings: u64,
    /// Pages of vmemmap, less the frames behind them.
    pub saved_pages: u64,
    /// The pools of huge pages, smallest pages first.
    #[serde(default)]
    pub hugetlb: Vec<HugePool>,
}

/// A pool of huge pages.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct HugePool {
    /// Bytes of a page.
    pub size: u64,
    /// How many there are.
    pub total: u64,
    /// Of these, not in use.
    pub free: u64,
    /// Of these, sharing their memmap.
    pub optimised: u64,
    /// The first granule page of each.
    pub heads: Vec<u64>,
}

/// The kernel's heap arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Heap {
    /// Bytes.
    pub size: u64,
    /// Of these, handed out.
    pub used: u64,
}

impl Memmap {
    /// The word of `memmap=`, and of `state`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Boot => "boot",
            Self::Ram => "ram",
            Self::SelfHosted => "self",
            Self::Demand => "demand",
        }
    }
}

impl State {
    /// Reads the one line that the command prints.
    ///
    /// # Errors
    /// A sentence that names the key that is missing or has the wrong type.
    pub fn parse(reply: &str) -> Result<Self, String> {
        let reply = reply.trim();
        if reply.lines().count() != 1 {
            return Err(format!("state is one line of JSON, not {} lines", reply.lines().count()));
        }
        serde_json::from_str(reply).map_err(|error| format!("state: {error}"))
    }

    /// The virtual address of pfn `pfn`'s struct page, by the contract's formula.
    pub fn struct_page(&self, pfn: u64) -> u64 {
        self.vmemmap.start + (pfn - self.vmemmap.first_pfn) * self.vmemmap.page_bytes
    }

    /// The linear map's address of physical address `physical`.
    pub fn linear_address(&self, physical: u64) -> u64 {
        self.linear.start.wrapping_add(physical.wrapping_sub(self.linear.phys_base))
    }

    /// The blocks that lie in `start..start + size`.
    pub fn blocks_in(&self, start: u64, size: u64) -> Vec<&Block> {
        self.blocks.iter().filter(|block| block.start >= start && block.start - start < size).collect()
    }

    /// The DIMM in a slot.
    pub fn dimm(&self, slot: u64) -> Option<&DimmState> {
        self.dimms.iter().find(|dimm| dimm.slot == slot)
    }

    /// The NVDIMM with a number.
    pub fn nvdimm(&self, number: u64) -> Option<&NvdimmState> {
        self.nvdimms.iter().find(|nvdimm| nvdimm.number == number)
    }

    /// The device whose first range starts at `start`.
    pub fn device(&self, start: u64) -> Option<&Device> {
        self.devices.iter().find(|device| device.start == start)
    }

    /// The pool of huge pages of a size.
    pub fn huge_pool(&self, size: u64) -> Option<&HugePool> {
        self.dedup.hugetlb.iter().find(|pool| pool.size == size)
    }

    /// Tenant pages in all blocks.
    pub fn tenant_pages(&self) -> u64 {
        self.blocks.iter().map(|block| block.tenant_pages).sum()
    }

    /// The granule, if it is one that exists.
    pub fn granule(&self) -> Option<Granule> {
        crate::geometry::GRANULES.into_iter().find(|granule| granule.bytes() == self.granule)
    }
}

/// The JSON Schema (draft 2020-12) of the line. It requires every key that this version of the kernel prints, and allows others.
pub fn schema() -> serde_json::Value {
    SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<State>().to_value()
}

#[cfg(test)]
mod tests;
