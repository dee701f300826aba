//! Huge pages of whole blocks on demand, predicted: the first memmap page has a frame of its own outside of the page, and every
//! other one leads to the one page of tails that huge pages of the zone and order share. The other side is raw, as in
//! [`demand`](super::demand).

use std::ops::Range;

use hotmap_mm::frame::page::PageKind;

use super::demand::{RawImage, RawMemmap};
use hotmap_emulator::arch::walker::Memory;
use hotmap_emulator::layout;
use hotmap_emulator::machine::Emulated;

/// What huge pages of whole blocks of one zone and order share, as far as it is seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RawTails {
    /// The frame of all memmap pages of tails.
    pub frame: Option<u64>,
    /// The table whose entries all lead to it, where a table serves one block (4K).
    pub table: Option<u64>,
}

/// Holds the memmap of the huge page of `1 << order` frames, which is the bytes of `page`, against what it should be. `tails`
/// learns what such pages share, which is none of `image`.
///
/// # Panics
/// When a memmap page has a frame that it should not have, or a struct page says something else.
pub fn check(
    machine: &Emulated,
    ram_start: u64,
    (page, order): (Range<u64>, u32),
    image: &RawImage,
    tails: &mut RawTails,
    when: &str,
) {
    let (spec, when) =
        (machine.spec(), format!("{} {when}: the huge page at {page:x?}", machine.spec().name));
    let words = |frame: u64| machine.memory().read_table(frame * spec.page, spec.page / 8);
    let outside = |frame: u64| !page.contains(&(frame * spec.page));
    for block in page.clone().step_by(hotmap_emulator::machine::memory::host(layout::block(spec))) {
        let (memmap, first) = (RawMemmap::read(machine, ram_start, block), block == page.start);
        let own: Vec<u64> = memmap.own.keys().copied().collect();
        assert_eq!(
            own,
            if first { vec![0] } else { vec![] },
            "{when}: {block:#x}: memmap pages of their own"
        );
        for frame in memmap.shared.values() {
            assert_eq!(*tails.frame.get_or_insert(*frame), *frame, "{when}: {block:#x}: a page of tails");
        }
        for frame in memmap.own.values() {
            assert!(outside(*frame) && tails.frame != Some(*frame), "{when}: the head is in {frame:#x}");
            check_head(&words(*frame), order, &when);
        }
        let Some(table) = memmap.table else { continue };
        assert!(outside(table) && Some(table) != image.table, "{when}: {block:#x}: the table is {table:#x}");
        if first {
            assert_ne!(tails.table, Some(table), "{when}: the head is in the table of tails");
        } else {
            assert_eq!(*tails.table.get_or_insert(table), table, "{when}: {block:#x}: the table of tails");
        }
    }
    let tail = tails.frame.expect("a block has more than one memmap page");
    let others = [image.head, image.zero].contains(&Some(tail));
    assert!(outside(tail) && !others, "{when}: tails are in {tail:#x}, {image:x?}");
    assert!(words(tail).chunks(8).all(|words| is_tail(words, order)), "{when}: the page of tails");
}

/// A memmap page of a head, which says kind and order, and of tails.
fn check_head(words: &[u64], order: u32, when: &str) {
    let (head, tails) = words.split_at(8);
    let says = (head[0] & 0xff, head[0] >> 8 & 0xff);
    assert_eq!(says, (PageKind::HugeTlb as u64, u64::from(order)), "{when}: kind and order of the head");
    assert!(tails.chunks(8).all(|words| is_tail(words, order)), "{when}: tails beside the head");
}

/// An ordered tail: kind 0, the order in the second byte, and nothing else.
fn is_tail(words: &[u64], order: u32) -> bool {
    words[0] == u64::from(order) << 8 && words[1..].iter().all(|word| *word == 0)
}
