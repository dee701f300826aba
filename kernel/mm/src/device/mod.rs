//! Memory that belongs to a device (ZONE_DEVICE): described by struct pages, never the buddy allocator's.
//!
//! ```text
//!  a source (device tree, NVDIMM, the shell)
//!    -> validate  Mm::device_range validates; the result is a DeviceRange (range)
//!    -> compound  how its pages are grouped, and whether their struct pages share memory
//!    -> memremap  memremap_pages: memory's steps, by 2 MiB subsections instead of whole blocks, and without the last
//!                 1 claim sections  2 map linearly (not private)  3 choose backing  4 populate vmemmap
//!                 5 initialise pages  6 join zone (Device)
//!    -> holds     holds on its pages; memunmap_pages waits for the last
//!    -> kmem      given to the system as memory blocks, and back; given is the record of it
//! ```

pub mod compound;
pub mod given;
pub mod holds;
pub mod kmem;
pub mod memremap;
pub mod pagemap;
pub mod range;
mod validate;
