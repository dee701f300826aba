//! Memory that belongs to a device (ZONE_DEVICE): described by struct pages, never the buddy allocator's.
//!
//! ```text
//!  a source (device tree, NVDIMM, the shell)
//!    -> validate  Mm::device_range validates; the result is a DeviceRange (range)
//!    -> compound  how its pages are grouped, and whether their struct pages share memory
//!    -> memremap  memremap_pages: memory's steps, by 2 MiB subsections instead of whole blocks, and without the last
//!                 1 claim sections  2 map linearly (not private)  3 choose backing  4 populate vmemmap
//!                 5 initialise pages  6 join zone (Device)
//!                 (steps: the steps, each beside its inverse; holes: a device in a hole of boot memory)
//!    -> holds     holds on its pages; memunmap_pages waits for the last
//!    -> kmem      given to the system as memory blocks, and back; given is the record of it
//!  devices        Devices: the page maps, and those records
//! ```

pub mod compound;
pub mod devices;
pub mod given;
pub mod holds;
mod holes;
pub mod kmem;
pub mod memremap;
pub mod pagemap;
pub mod range;
pub(crate) mod steps;
mod validate;
