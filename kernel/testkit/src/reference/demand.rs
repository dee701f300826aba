//! Memmap on demand, predicted: which runs begin where in a block follows from what was handed out, the rest being free in
//! the largest aligned runs; from those follows which memmap pages have a frame of their own. The other side is raw: the
//! specification's walker reads the entries, and the struct pages are read from the frames that it finds.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use hotmap_mm::frame::page::PageKind;

use hotmap_emulator::arch::spec::{Entry, Spec};
use hotmap_emulator::arch::walker::{self, Memory};
use hotmap_emulator::layout;
use hotmap_emulator::machine::Emulated;

/// The runs of a block: kind and order by the first frame.
pub type Runs = BTreeMap<u64, (PageKind, u32)>;

/// The memmap of one block, as the specification's walker reads it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct RawMemmap {
    /// The frame of each memmap page that can be written to, by the page's number in the block.
    pub own: BTreeMap<u64, u64>,
    /// The frame of each other memmap page.
    pub shared: BTreeMap<u64, u64>,
    /// The frame of the table of level 3, where a table serves one block (4K).
    pub table: Option<u64>,
}

/// What all blocks on demand share, as far as it is seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RawImage {
    /// The frame of the first memmap page of a free block.
    pub head: Option<u64>,
    /// The frame of its other memmap pages.
    pub zero: Option<u64>,
    /// The frame of the table of both.
    pub table: Option<u64>,
}

/// Numbers of the granule: frames of a block, memmap pages of a block, frames that one memmap page describes.
fn numbers(spec: &Spec) -> (u64, u64, u64) {
    let frames = layout::block(spec) / spec.page;
    (frames, frames * layout::STRUCT_PAGE / spec.page, spec.page / layout::STRUCT_PAGE)
}

impl RawMemmap {
    /// Reads the memmap of the block that starts at the byte `block`.
    ///
    /// # Panics
    /// When a memmap page is not mapped by a page.
    pub fn read(machine: &Emulated, ram_start: u64, block: u64) -> Self {
        let spec = machine.spec();
        let (_, pages, _) = numbers(spec);
        let first = layout::vmemmap(spec).start
            + (block - layout::base(spec, ram_start)) / spec.page * layout::STRUCT_PAGE;
        let mut memmap = Self::default();
        for number in 0..pages {
            let va = first + number * spec.page;
            let walk = walker::walk(spec, machine.memory(), machine.root(), va);
            let walk = walk.unwrap_or_else(|fault| panic!("{block:#x}: memmap page {number}: {fault:?}"));
            assert_eq!(walk.size, spec.page, "{block:#x}: memmap page {number} is part of a block leaf");
            let which = if walk.leaf.writable { &mut memmap.own } else { &mut memmap.shared };
            which.insert(number, walk.leaf.pa / spec.page);
            if let (Some(read), true) = (walk.reads[2], spec.levels[2].size() == pages * spec.page) {
                let Entry::Table { pa, .. } = spec.decode(2, read.raw) else { panic!("level 3 has a table") };
                memmap.table = Some(pa / spec.page);
            }
        }
        memmap
    }

    /// What the block that starts at the byte `block` lends: the frames of its own memmap pages, and of their table if it
    /// lies in the block, each with the memmap page that it is for.
    pub fn lent(&self, spec: &Spec, block: u64) -> BTreeMap<u64, Option<u64>> {
        let (frames, first) = (numbers(spec).0, block / spec.page);
        let table = self.table.filter(|table| (first..first + frames).contains(table));
        self.own
            .iter()
            .map(|(number, frame)| (*frame, Some(*number)))
            .chain(table.map(|t| (t, None)))
            .collect()
    }

    /// The struct page of the `n`-th frame of the block, as eight words.
    fn words(&self, machine: &Emulated, number: u64) -> Vec<u64> {
        let spec = machine.spec();
        let frame = self.own.get(&number).or_else(|| self.shared.get(&number));
        let frame = *frame.expect("every memmap page is mapped");
        machine.memory().read_table(frame * spec.page, spec.page / 8)
    }
}

/// The free runs between those of `used` in the block that starts at the byte `block`, and `used`: whatever the history, the
/// free memory is in the largest runs that are aligned to their size.
///
/// # Panics
/// When runs overlap or leave the block.
pub fn all_runs(spec: &Spec, block: u64, used: &Runs) -> Runs {
    let (frames, first) = (numbers(spec).0, block / spec.page);
    let (mut all, mut at) = (Runs::new(), first);
    let end = first + frames;
    for (start, (kind, order)) in used {
        assert!(at <= *start && start + (1 << order) <= end, "{kind} {start:#x} order {order}: overlaps");
        largest_runs(at..*start, &mut all);
        all.insert(*start, (*kind, *order));
        at = start + (1 << order);
    }
    largest_runs(at..end, &mut all);
    all
}

fn largest_runs(gap: Range<u64>, all: &mut Runs) {
    let mut at = gap.start;
    while at < gap.end {
        let order = at.trailing_zeros().min((gap.end - at).ilog2());
        all.insert(at, (PageKind::Free, order));
        at += 1 << order;
    }
}

/// The memmap pages in which runs of `all`, all of a block's, begin; none when that is one free run.
pub fn begun(spec: &Spec, block: u64, all: &Runs) -> BTreeSet<u64> {
    let (frames, _, each) = numbers(spec);
    let first = block / spec.page;
    if all.get(&first) == Some(&(PageKind::Free, frames.ilog2())) {
        return BTreeSet::new();
    }
    all.keys().map(|start| (start - first) / each).collect()
}

/// Holds the memmap of a block against the runs that were handed out of it, `used`, what it lends not among them; returns
/// all of its runs. `image` learns what blocks share.
///
/// # Panics
/// When a memmap page has a frame and no run begins in it, or the reverse; when a struct page says something else.
pub fn check(
    machine: &Emulated,
    ram_start: u64,
    block: u64,
    used: &Runs,
    image: &mut RawImage,
    when: &str,
) -> Runs {
    let spec = machine.spec();
    let (_, pages, each) = numbers(spec);
    let memmap = RawMemmap::read(machine, ram_start, block);
    let lent = memmap.lent(spec, block);
    let when = format!("{} {when}: block {block:#x}", spec.name);
    assert_eq!(
        lent.len() as u64,
        memmap.own.len() as u64 + u64::from(memmap.table.is_some() && !memmap.own.is_empty()),
        "{when}: a frame is lent twice, or the table of the image is written to"
    );
    let mut marked = used.clone();
    for frame in lent.keys() {
        let free = !used.iter().any(|(start, (_, order))| (*start..start + (1 << order)).contains(frame));
        assert!(free, "{when}: frame {frame:#x} is lent and in use");
        marked.insert(*frame, (PageKind::MemmapSelf, 0));
    }
    let all = all_runs(spec, block, &marked);
    let expected = begun(spec, block, &all);
    let own: BTreeSet<u64> = memmap.own.keys().copied().collect();
    let (more, fewer): (Vec<_>, Vec<_>) =
        (own.difference(&expected).collect(), expected.difference(&own).collect());
    assert!(
        more.is_empty() && fewer.is_empty(),
        "{when}: frames of their own without a run {more:?}, runs without a frame {fewer:?}"
    );
    let most = pages + u64::from(memmap.table.is_some());
    assert!(lent.len() as u64 <= most, "{when}: {} pages are lent, more than a whole memmap", lent.len());
    share(&memmap, image, &when);
    let mut seen = BTreeSet::new();
    for number in 0..pages {
        // Pages that share a frame say the same: one look is enough.
        if memmap.shared.get(&number).is_some_and(|frame| !seen.insert(*frame)) {
            continue;
        }
        for (i, words) in (0..).zip(memmap.words(machine, number).chunks(8)) {
            let frame = block / spec.page + number * each + i;
            match all.get(&frame) {
                Some(run) => check_head(words, *run, lent.get(&frame), frame, &when),
                None => {
                    assert!(words.iter().all(|w| *w == 0), "{when}: frame {frame:#x} is no head: {words:x?}");
                }
            }
        }
    }
    all
}

/// What the head of a run says: kind, order, and what it is lent for; nothing behind the words that are in use.
fn check_head(
    words: &[u64],
    (kind, order): (PageKind, u32),
    lent: Option<&Option<u64>>,
    frame: u64,
    when: &str,
) {
    let [first, _, private, rest @ ..] = words else { panic!("a struct page has eight words") };
    let (is, says) = (first & 0xff, u32::try_from(first >> 8 & 0xff).expect("a byte"));
    assert_eq!((is, says), (kind as u64, order), "{when}: frame {frame:#x}: kind and order");
    assert!(rest.iter().all(|w| *w == 0), "{when}: frame {frame:#x}: {words:x?}");
    if kind == PageKind::Free {
        assert_eq!((first >> 32, *private), (0, 0), "{when}: frame {frame:#x} is free: {words:x?}");
    }
    if let Some(number) = lent {
        assert_eq!(*private, number.map_or(0, |n| n + 1), "{when}: what frame {frame:#x} is lent for");
    }
}

/// Shared entries of all blocks lead to the same two frames, those of a block without own pages through the same table.
fn share(memmap: &RawMemmap, image: &mut RawImage, when: &str) {
    for (number, frame) in &memmap.shared {
        let place = if *number == 0 { &mut image.head } else { &mut image.zero };
        assert_eq!(*place.get_or_insert(*frame), *frame, "{when}: memmap page {number} is not the image's");
    }
    if let (true, Some(table)) = (memmap.own.is_empty(), memmap.table) {
        assert_eq!(*image.table.get_or_insert(table), table, "{when}: the table is not the image's");
    }
    let frames = [image.head, image.zero, image.table];
    let known: BTreeSet<_> = frames.iter().flatten().collect();
    assert_eq!(known.len(), frames.iter().flatten().count(), "{when}: {image:x?}");
    let mine = memmap.own.values().chain(memmap.table.as_ref().filter(|_| !memmap.own.is_empty()));
    let written = mine.filter(|frame| known.contains(frame)).count();
    assert_eq!(written, 0, "{when}: the image is written to");
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotmap_emulator::arch::spec::{SPEC_4K, SPEC_64K};

    const BLOCK: u64 = 0x1_0000_0000;

    // By hand: frames from 0x10_0000 on, 64 of them in a memmap page.
    #[test]
    fn what_is_left_is_free_in_the_largest_aligned_runs() {
        let used = Runs::from([(0x10_0000 + 5, (PageKind::Kernel, 0))]);
        let all = all_runs(&SPEC_4K, BLOCK, &used);
        let orders: Vec<_> = all.iter().map(|(start, run)| (start - 0x10_0000, run.1)).collect();
        assert_eq!(orders[..6], [(0, 2), (4, 0), (5, 0), (6, 1), (8, 3), (16, 4)]);
        assert_eq!(orders.len(), 16);
        let pages = begun(&SPEC_4K, BLOCK, &all).into_iter().collect::<Vec<_>>();
        assert_eq!(pages, [0, 1, 2, 4, 8, 16, 32, 64, 128, 256]);
    }

    #[test]
    fn no_run_of_a_free_block_needs_a_frame() {
        let all = all_runs(&SPEC_64K, 0x1_0000_0000, &Runs::new());
        assert_eq!(all, Runs::from([(0x1_0000, (PageKind::Free, 13))]));
        assert!(begun(&SPEC_64K, 0x1_0000_0000, &all).is_empty());
    }
}
