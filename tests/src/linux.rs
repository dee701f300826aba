//! Linux on the same QEMU, measured as hotmap is: `make bench-linux`.
//!
//! | room | what happens there |
//! |---|---|
//! | [`kernels`] | which kernels there are: what `scripts/linux` has fetched |
//! | [`initramfs`] | the files that each of them boots with |
//! | [`symbols`] | addresses of functions, and windows of the counter for their calls |
//! | [`guest`] | a Linux that takes shell commands, with its monitor and its counter |
//! | [`dimm`] | the life of a DIMM, and DIMMs in use |
//! | [`resize`] | a virtio memory device |
//! | [`alloc`] | runs of pages |
//! | [`dax`] | an NVDIMM that becomes a device |
//! | [`plan`] | what is measured of a kernel, in which order |
//! | [`hotmap`] | the same figures of hotmap |
//! | [`record`] | what was measured, as a file |
//! | [`table`] | the same, side by side |

pub mod alloc;
pub mod dax;
pub mod dimm;
pub mod guest;
pub mod hotmap;
pub mod initramfs;
pub mod kernels;
pub mod plan;
pub mod record;
pub mod resize;
pub mod symbols;
pub mod table;
