//! The header and where the blocks are (Devicetree Specification 5.2).
//!
//! The `fdt` crate adds a block's offset and size in 32 bits and then slices: it must only see a header whose
//! blocks lie inside the blob.
use crate::error::{Block, DtError};
use crate::value::u32_at;

/// Size of the version 17 header in bytes.
pub const HEADER_SIZE: usize = 40;
/// The first word.
pub(crate) const MAGIC: u32 = 0xd00d_feed;
/// The version of the format that this crate reads; it is the first whose header has the structure block's size.
pub(crate) const VERSION: u32 = 17;

/// The blob, cut to totalsize, and its blocks.
pub(crate) struct Blocks<'a> {
    /// The blob without what may follow it.
    pub(crate) blob: &'a [u8],
    /// From the memory reservation block to the end of the blob: the header does not say where it ends.
    pub(crate) reserve_map: &'a [u8],
    /// Offset of `reserve_map` in the blob.
    pub(crate) reserve_map_offset: u32,
    /// The structure block.
    pub(crate) structure: &'a [u8],
    /// Offset of `structure` in the blob.
    pub(crate) structure_offset: usize,
    /// The strings block.
    pub(crate) strings: &'a [u8],
}

/// How many bytes the device tree takes, its padding included, from the first 8 bytes or more of it.
///
/// # Errors
/// Fewer than 8 bytes, another magic, or a size that does not even cover the header.
pub fn total_size(header: &[u8]) -> Result<u32, DtError> {
    let truncated = DtError::HeaderTruncated { have: header.len() };
    let (Some(magic), Some(total_size)) = (u32_at(header, 0), u32_at(header, 4)) else {
        return Err(truncated);
    };
    if magic != MAGIC {
        return Err(DtError::Magic { found: magic });
    }
    if (total_size as usize) < HEADER_SIZE {
        return Err(DtError::TotalSizeTooSmall { total_size });
    }
    Ok(total_size)
}

/// How many bytes of the device tree are read, its padding excluded, from its header: up to the end of the block that ends
/// last. All of it where the memory reservation block, whose size the header does not say, comes behind the others.
pub fn used_size(header: &[u8]) -> u32 {
    let at = |offset| u32_at(header, offset).unwrap_or_default();
    let end = at(8).saturating_add(at(36)).max(at(12).saturating_add(at(32)));
    if at(16) < end { end.min(at(4)) } else { at(4) }
}

/// Checks the header and cuts the blob into its blocks.
pub(crate) fn split(blob: &[u8]) -> Result<Blocks<'_>, DtError> {
    let total_size = total_size(blob)?;
    let have = blob.len();
    let Some(header) = blob.first_chunk::<HEADER_SIZE>() else {
        return Err(DtError::HeaderTruncated { have });
    };
    let Some(blob) = blob.get(..total_size as usize) else {
        return Err(DtError::TotalSize { total_size, have });
    };
    let [_, _, structure, strings, reserve_map, version, last_compatible, _, strings_size, structure_size] =
        fields(header);
    if version < VERSION || last_compatible > VERSION {
        return Err(DtError::Version { version, last_compatible });
    }
    Ok(Blocks {
        blob,
        reserve_map: block(
            blob,
            total_size,
            Block::ReserveMap,
            reserve_map,
            total_size.saturating_sub(reserve_map),
            8,
        )?,
        reserve_map_offset: reserve_map,
        structure: block(blob, total_size, Block::Structure, structure, structure_size, 4)?,
        structure_offset: structure as usize,
        strings: block(blob, total_size, Block::Strings, strings, strings_size, 1)?,
    })
}

/// The header's ten words, in their order.
fn fields(header: &[u8; HEADER_SIZE]) -> [u32; 10] {
    let mut words = [0; 10];
    let (cells, _) = header.as_chunks::<4>();
    for (word, cell) in words.iter_mut().zip(cells) {
        *word = u32::from_be_bytes(*cell);
    }
    words
}

/// The bytes of one block.
fn block(
    blob: &[u8],
    total_size: u32,
    block: Block,
    offset: u32,
    size: u32,
    align: u32,
) -> Result<&[u8], DtError> {
    let bounds = DtError::BlockBounds { block, offset, size, total_size };
    if (offset as usize) < HEADER_SIZE {
        return Err(bounds);
    }
    if !offset.is_multiple_of(align) {
        return Err(DtError::BlockAlignment { block, offset, align });
    }
    blob.get(offset as usize..).and_then(|rest| rest.get(..size as usize)).ok_or(bounds)
}
