//! Where memory comes from, in `state`: DIMMs, NVDIMMs, the regions of the device tree, and devices.

use schemars::JsonSchema;
use serde::Deserialize;

use super::address::{address, address_schema};

/// An occupied DIMM slot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct DimmState {
    /// Slot number.
    pub slot: u64,
    /// Physical address.
    #[serde(deserialize_with = "address")]
    #[schemars(schema_with = "address_schema")]
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// NUMA node; absent from kernels older than the key.
    #[serde(default)]
    pub node: u64,
    /// `online`, `offline`, `mixed` or `refused`.
    pub state: String,
    /// Why not all of it is online; `None` if it is, and from kernels older than the key.
    #[serde(default)]
    pub reason: Option<String>,
}

/// A range of an NVDIMM.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct NvdimmState {
    /// Its slot, as QEMU counts.
    pub number: u64,
    /// Physical address.
    #[serde(deserialize_with = "address")]
    #[schemars(schema_with = "address_schema")]
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// NUMA node, if the firmware's table has one.
    pub node: Option<u64>,
    /// `waiting`, ...
    pub state: String,
}

/// A virtio memory device.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct VirtioMem {
    /// `virtio-memN`.
    pub device: String,
    /// NUMA node.
    pub node: u64,
    /// Physical address of its region.
    #[serde(deserialize_with = "address")]
    #[schemars(schema_with = "address_schema")]
    pub start: u64,
    /// Bytes of its region.
    pub region_size: u64,
    /// Bytes of that which may be plugged now.
    pub usable_size: u64,
    /// Bytes of a device block.
    pub block_size: u64,
    /// Bytes that are to be plugged.
    pub requested_size: u64,
    /// Bytes that are plugged.
    pub plugged_size: u64,
    /// `steady`, `waiting`, `stuck` or `failed`.
    pub state: String,
    /// What stays as it is.
    pub stuck: Vec<Stay>,
}

/// What a virtio memory device could not plug or unplug.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Stay {
    /// Physical address.
    #[serde(deserialize_with = "address")]
    #[schemars(schema_with = "address_schema")]
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// Why.
    pub why: String,
}

/// Memory that belongs to a device.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Device {
    /// Physical address of its first range: its name.
    #[serde(deserialize_with = "address")]
    #[schemars(schema_with = "address_schema")]
    pub start: u64,
    /// Bytes of its first range.
    pub size: u64,
    /// `fs-dax`, `generic`, `coherent`, `private`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `live`, `dying`, `kmem`.
    pub state: String,
    /// Bytes of a compound page, or of a base page if it has none.
    pub align: u64,
    /// Whether their struct pages share memory.
    pub dedup: bool,
    /// Its altmap, if it has one.
    #[serde(deserialize_with = "Option::deserialize")]
    pub altmap: Option<Altmap>,
    /// First physical address that is its user's.
    #[serde(deserialize_with = "address")]
    #[schemars(schema_with = "address_schema")]
    pub usable_start: u64,
    /// Holds on its pages.
    pub holds: u64,
    /// All of its memory.
    pub ranges: Vec<DevicePart>,
}

/// A device's altmap, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Altmap {
    /// The pfn at which it starts.
    pub base_pfn: u64,
    /// Pages that the driver keeps, before all others.
    pub reserve: u64,
    /// Pages for memmap.
    pub free: u64,
    /// Of these, lost to padding.
    pub align: u64,
    /// Of these, in use.
    pub alloc: u64,
}

/// A range of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct DevicePart {
    /// Physical address.
    #[serde(deserialize_with = "address")]
    #[schemars(schema_with = "address_schema")]
    pub start: u64,
    /// Bytes.
    pub size: u64,
}

/// A region of the device tree.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct Region {
    /// Physical address.
    #[serde(deserialize_with = "address")]
    #[schemars(schema_with = "address_schema")]
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// What it is.
    pub kind: String,
    /// Whether its contents may be lost at power-off (persistent memory only).
    pub volatile: bool,
    /// Its NUMA node, if the device tree names one.
    pub node: Option<u64>,
    /// How it is used.
    pub state: String,
    /// The parts of it that are added.
    pub added: Vec<RegionPart>,
}

/// A part of a region, as it was added.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub struct RegionPart {
    /// Physical address.
    #[serde(deserialize_with = "address")]
    #[schemars(schema_with = "address_schema")]
    pub start: u64,
    /// Bytes.
    pub size: u64,
    /// `online`, `offline` or `mixed`.
    pub state: String,
}
