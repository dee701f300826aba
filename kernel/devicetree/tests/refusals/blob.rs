//! The blob: its header, its blocks, its tokens.

use hotmap_devicetree::{HEADER_SIZE, MAX_DEPTH, total_size, used_size};

use crate::support::{Writer, patch, read};
use crate::{machine, refusal, refusal_with};

/// Offsets of the header's words (Devicetree Specification 5.2).
const TOTAL_SIZE: usize = 4;
const STRUCTURE: usize = 8;
const STRINGS: usize = 12;
const RESERVE_MAP: usize = 16;
const VERSION: usize = 20;
const LAST_COMPATIBLE: usize = 24;
const STRINGS_SIZE: usize = 32;
const STRUCTURE_SIZE: usize = 36;

/// The message for the tree of `machine` with one word of its header changed.
fn refusal_of_header(offset: usize, word: u32) -> String {
    let mut blob = machine().blob();
    patch(&mut blob, offset, word);
    refusal(&blob)
}

#[test]
fn header_rules() {
    let blob = machine().blob();
    assert_eq!(refusal(&[]), "0x0 bytes are too few for the header of 0x28");
    assert_eq!(refusal(&blob[..39]), "0x27 bytes are too few for the header of 0x28");
    assert_eq!(refusal(&blob[..100]), "totalsize 0xd3 exceeds the blob of 0x64 bytes");
    assert_eq!(refusal_of_header(0, 0xedfe_0dd0), "magic is 0xedfe0dd0, not 0xd00dfeed");
    assert_eq!(refusal_of_header(TOTAL_SIZE, 39), "totalsize 0x27 is smaller than the header of 0x28 bytes");
    assert_eq!(refusal_of_header(TOTAL_SIZE, 0xd4), "totalsize 0xd4 exceeds the blob of 0xd3 bytes");
    assert_eq!(refusal_of_header(VERSION, 16), "version 16 (compatible back to 16) is not version 17");
    assert_eq!(
        refusal_of_header(LAST_COMPATIBLE, 18),
        "version 17 (compatible back to 18) is not version 17"
    );
}

/// Words 1 to 9: totalsize, the offsets of structure, strings and reservations, three that do not matter, the sizes of strings
/// and structure (Devicetree Specification, 5.2).
#[test]
fn the_used_size_ends_with_the_last_block() {
    let header = |words: [u32; 9]| {
        let words = core::iter::once(0xd00d_feed).chain(words);
        words.flat_map(u32::to_be_bytes).collect::<Vec<u8>>()
    };
    let strings_last = header([0x10_0000, 56, 0x200, 40, 17, 16, 0, 0x80, 0x1a8]);
    assert_eq!(used_size(&strings_last), 0x280);
    let structure_last = header([0x10_0000, 0x400, 0x200, 40, 17, 16, 0, 0x80, 0x1a8]);
    assert_eq!(used_size(&structure_last), 0x5a8);
    let reservations_last = header([0x10_0000, 56, 0x200, 0x800, 17, 16, 0, 0x80, 0x1a8]);
    assert_eq!(used_size(&reservations_last), 0x10_0000);
    let absurd = header([0x1000, u32::MAX, 0x200, 40, 17, 16, 0, 0x80, u32::MAX]);
    assert_eq!(used_size(&absurd), 0x1000);
    assert_eq!(used_size(&[]), 0);
}

#[test]
fn total_size_reads_eight_bytes_only() {
    let blob = machine().blob();
    assert_eq!(total_size(&blob[..8]), Ok(0xd3));
    assert_eq!(
        total_size(&blob[..7]).map_err(|error| error.to_string()),
        Err("device tree: 0x7 bytes are too few for the header of 0x28".to_string())
    );
    assert_eq!(HEADER_SIZE, 40);
}

#[test]
fn blocks_lie_inside_the_blob_behind_the_header() {
    let outside =
        |block, offset, size| format!("the {block} at {offset}, size {size}, is not inside totalsize 0xd3");
    assert_eq!(refusal_of_header(STRUCTURE, 0x24), outside("structure block", "0x24", "0x70"));
    assert_eq!(refusal_of_header(STRUCTURE, 0xffff_fffc), outside("structure block", "0xfffffffc", "0x70"));
    assert_eq!(
        refusal_of_header(STRUCTURE_SIZE, 0xffff_ffff),
        outside("structure block", "0x38", "0xffffffff")
    );
    assert_eq!(refusal_of_header(STRINGS, 0xd4), outside("strings block", "0xd4", "0x2b"));
    assert_eq!(refusal_of_header(STRINGS_SIZE, 0x2c), outside("strings block", "0xa8", "0x2c"));
    assert_eq!(refusal_of_header(RESERVE_MAP, 0xf0), outside("memory reservation block", "0xf0", "0x0"));
    assert_eq!(refusal_of_header(RESERVE_MAP, 0x24), outside("memory reservation block", "0x24", "0xaf"));
}

#[test]
fn blocks_are_aligned() {
    assert_eq!(refusal_of_header(STRUCTURE, 0x3a), "the structure block at 0x3a is not aligned to 4 bytes");
    let reserve_map = "the memory reservation block at 0x2c is not aligned to 8 bytes";
    assert_eq!(refusal_of_header(RESERVE_MAP, 0x2c), reserve_map);
}

#[test]
fn the_reservation_block_ends_in_zeroes_and_does_not_wrap() {
    let end = "the memory reservation block at 0xd0 has no entry of zeroes at its end";
    assert_eq!(refusal_of_header(RESERVE_MAP, 0xd0), end);
    let mut writer = machine();
    writer.reserve_map.push((u64::MAX, 1));
    let wraps = "the region of the memory reservation block at 0xffffffffffffffff, size 0x1, wraps around";
    assert_eq!(refusal(&writer.blob()), wraps);
}

#[test]
fn tokens_stand_where_they_may() {
    let with = |add: &dyn Fn(&mut Writer)| {
        let mut writer = Writer::default();
        add(&mut writer);
        refusal(&writer.raw_blob())
    };
    assert_eq!(with(&|_| {}), "the structure block breaks off in the token at 0x38");
    assert_eq!(with(&|w| w.token(5).done()), "0x5 at 0x38 is not a token");
    assert_eq!(with(&|w| w.token(9).done()), "token 0x9 at 0x38 may not stand there");
    assert_eq!(with(&|w| w.token(2).done()), "token 0x2 at 0x38 may not stand there");
    assert_eq!(with(&|w| w.property("reg", b"").done()), "token 0x3 at 0x38 may not stand there");
    assert_eq!(with(&|w| w.begin("").done()), "the structure block breaks off in the token at 0x40");
    assert_eq!(with(&|w| w.begin("").token(9).done()), "token 0x9 at 0x40 may not stand there");
    assert_eq!(with(&|w| w.begin("").end().done()), "the structure block breaks off in the token at 0x44");
    let second_root = "token 0x1 at 0x44 may not stand there";
    assert_eq!(with(&|w| w.begin("").end().begin("").end().token(9).done()), second_root);
    let after_child = "token 0x3 at 0x4c may not stand there";
    assert_eq!(with(&|w| w.begin("").begin("a").end().property("reg", b"").done()), after_child);
    let tail = "0x4 bytes at 0x48 follow the end of the structure block";
    assert_eq!(with(&|w| w.begin("").end().token(9).token(9).done()), tail);
    let unended = "the structure block breaks off in the token at 0x38";
    assert_eq!(with(&|w| w.token(1).structure.extend(b"root")), unended);
    let cut_value = "the structure block breaks off in the token at 0x40";
    assert_eq!(with(&|w| w.begin("").property("a", b"").structure.truncate(16)), cut_value);
    assert_eq!(with(&|w| w.begin("").property("a", b"value").structure.truncate(24)), cut_value);
}

#[test]
fn properties_are_named_in_the_strings_block_by_short_text() {
    let bounds = refusal_with(|w| {
        w.structure.truncate(0);
        w.begin("").property_named_at(0x2b, b"");
    });
    assert_eq!(bounds, "the property at 0x40 has its name at 0x2b, outside the strings block of 0x2b bytes");
    let length = refusal_with(|w| w.strings.extend([b'x'; 256].iter().chain(&[0])));
    assert_eq!(length, "the string at 0x2b of the strings block does not end within 255 bytes");
    let mut longest = machine();
    longest.strings.extend([b'x'; 255].iter().chain(&[0]));
    assert!(read(&longest.blob()).is_ok());
    let open = refusal_with(|w| w.strings.push(b'x'));
    assert_eq!(open, "the string at 0x2b of the strings block does not end within 255 bytes");
    let mut writer = Writer::root();
    writer.strings.extend(b"\xff\0");
    writer.begin("odd").property_named_at(0x1b, b"").end();
    assert_eq!(refusal(&writer.blob()), "a property name of odd is not UTF-8");
    let node = refusal_with(|w| w.begin_bytes(b"caf\xe9").end().done());
    assert_eq!(node, "the name of node number 1 is not UTF-8");
}

#[test]
fn depth_is_limited() {
    let nested = |levels: usize| {
        let mut writer = machine();
        (0..levels).for_each(|_| writer.begin("n").done());
        (0..levels).for_each(|_| writer.end().done());
        writer.blob()
    };
    assert!(read(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(refusal(&nested(MAX_DEPTH + 1)), "the node at 0x118 is more than 15 levels below the root");
}
