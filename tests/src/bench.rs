//! Figures: what a DIMM's life costs in guest instructions, counted exactly, and Linux's figures beside them.
//!
//! | room | what happens there |
//! |---|---|
//! | [`figures`] | the kernel's `bench:` lines, read |
//! | [`measure`] | a DIMM taken through its life on a counting machine |
//! | [`linux`] | the figures to beat |
//! | [`dedup`] | shared struct pages, measured likewise |
//! | [`table`] | both, for people and for machines |

pub mod dedup;
pub mod figures;
pub mod linux;
pub mod measure;
pub mod table;
