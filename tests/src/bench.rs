//! What a DIMM's life costs in guest instructions, counted exactly, and Linux's figures.
//!
//! | room | what happens there |
//! |---|---|
//! | [`figures`] | a parser of the kernel's `bench:` lines |
//! | [`costs`] | what costs more than other instructions do, as the kernel and as QEMU see it |
//! | [`measure`] | a DIMM's life on a machine that counts instructions |
//! | [`linux`] | Linux's figures |
//! | [`migrate`] | the cost of a DIMM that goes offline in use |
//! | [`paid`] | the costs that a real CPU pays, with their goals |
//! | [`plot`] | pictures |
//! | [`resize`] | the cost of a change of a virtio memory device's size |
//! | [`demand`] | the cost of memory with `memmap=demand` |
//! | [`alloc`] | the cost of taking and freeing runs there |
//! | [`churn`] | the cost of using memory there |
//! | [`audit`] | the cost of an audit |
//! | [`dedup`] | the cost of shared struct pages |
//! | [`table`] | the table, as text and as JSON |

pub mod alloc;
pub mod audit;
pub mod churn;
pub mod costs;
pub mod dedup;
pub mod demand;
pub mod figures;
pub mod linux;
pub mod measure;
pub mod migrate;
pub mod paid;
pub mod plot;
pub mod resize;
pub mod table;
