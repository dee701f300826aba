//! Huge pages of whole blocks on demand. They need no memmap but that of their head, one frame of system RAM: all other
//! memmap pages lead to the page of tails that huge pages of their zone and order share, through one shared table where a
//! table serves one section (4K).
//!
//! ```text
//!                 block 0                   block 1                   block 7
//!   free          |head|zero|zero| ...      |head|zero|zero| ...      |head|zero|zero| ...       the image
//!   a huge page   |own |tail|tail| ...      |tail|tail|tail| ...      |tail|tail|tail| ...       one frame of its own
//! ```
//! Nothing of the blocks is in use, so that no reader looks at their struct pages as they change; the entries go through
//! invalid ones all the same, in a window for each block.

use super::HugeTlb;
use super::tails::TailOf;
use crate::addr::{PhysAddr, VirtRange};
use crate::entry::descriptor::{Attributes, Descriptor};
use crate::error::Result;
use crate::frame::page::{PAGE_BYTES, PageKind};
use crate::frame::tables::TableFrames;
use crate::frame::zone::ZoneKind;
use crate::frame::{Frames, Mobility};
use crate::granule::{Granule, LAST_LEVEL};
use crate::machine::{self, Machine};
use crate::pfn::{Pfn, PfnRange};
use crate::space::table::KernelSpace;
use crate::vmemmap::sharing::pages_of_tails;

/// What a huge page of blocks on demand is made of.
#[derive(Clone, Copy)]
struct Parts {
    /// The frame of its first memmap page.
    head: Pfn,
    /// The table of its first block's entries (4K).
    table: Option<PhysAddr>,
    /// The frame of its other memmap pages.
    tail: PhysAddr,
    /// The table whose every entry leads to that (4K).
    tails: Option<PhysAddr>,
}

impl Parts {
    fn head_leaf(&self, g: Granule) -> Descriptor {
        Descriptor::leaf(self.head.address(g), Attributes::DATA, LAST_LEVEL, false)
    }
    fn tail_leaf(&self) -> Descriptor {
        Descriptor::leaf(self.tail, Attributes::RODATA, LAST_LEVEL, false).shared()
    }
    /// The first entry of the memmap of a block, and each other; of the `first` block or another one.
    fn entries(&self, g: Granule, first: bool) -> [Descriptor; 2] {
        match (self.tails, self.table) {
            (Some(_), Some(table)) if first => [Descriptor::table(table); 2],
            (Some(tails), _) => [Descriptor::table(tails).shared(); 2],
            (None, _) => [if first { self.head_leaf(g) } else { self.tail_leaf() }, self.tail_leaf()],
        }
    }
}

/// Whether the huge page at `head` is blocks on demand, and as a whole.
pub(super) fn is_of_images<M: Machine>(frames: &Frames<M>, head: Pfn, order: u32) -> bool {
    order >= frames.granule().section_order && frames.is_on_demand(head)
}

/// The memmap of each block of `run`, and whether it is the first.
fn memmaps<M: Machine>(
    space: &KernelSpace<M>,
    run: PfnRange,
) -> impl Iterator<Item = (VirtRange, bool)> + use<M> {
    let (g, layout) = (space.granule(), space.layout());
    run.blocks(g).map(move |start| (layout.memmap(PfnRange::new(start, g.section_pages)), start == run.start))
}

impl HugeTlb {
    /// The blocks of `run`, all free and on demand, become a huge page of `1 << order`; it is in no pool yet.
    ///
    /// # Errors
    /// `Out` of the frame of its head, or of what huge pages share; nothing has changed then.
    pub(super) fn take_images<M: Machine>(
        &mut self,
        space: &mut KernelSpace<M>,
        frames: &mut Frames<M>,
        run: PfnRange,
        order: u32,
    ) -> Result<Pfn> {
        let g = frames.granule();
        let zone = frames.zone_of(run.start).unwrap_or(ZoneKind::Normal);
        let of = TailOf { zone, size: self.size_of(order)? };
        frames.take_images(run)?;
        let parts = match self.make_parts(frames, of, run, order) {
            Ok(parts) => parts,
            Err(error) => {
                frames.put_images(run);
                return Err(error);
            }
        };
        for (memmap, first) in memmaps(space, run) {
            space.replace_image(memmap, parts.entries(g, first))?;
        }
        frames.charge(PageKind::HugeTlb, run.len());
        self.tails.count(frames, of, pages_of_tails(order, PAGE_BYTES, g.page_size), 0);
        self.set_optimised(frames, run, true);
        Ok(run.start)
    }

    /// The inverse of [`Self::take_images`]: all of it is free, and maps the image.
    pub(super) fn put_images<M: Machine>(
        &mut self,
        space: &mut KernelSpace<M>,
        frames: &mut Frames<M>,
        head: Pfn,
        order: u32,
    ) -> Result<()> {
        let (g, run) = (frames.granule(), PfnRange::new(head, 1 << order));
        let Some(image) = frames.demand().image() else { return Ok(()) };
        let zone = frames.zone_of(head).unwrap_or(ZoneKind::Normal);
        let of = TailOf { zone, size: self.size_of(order)? };
        self.set_optimised(frames, run, false);
        let (own, table) = own_parts(space, run.start);
        for (memmap, _) in memmaps(space, run) {
            space.replace_image(memmap, image.pattern(g).entries)?;
        }
        frames.uncharge(PageKind::HugeTlb, run.len());
        frames.put_images(run);
        for frame in own.into_iter().chain(table.filter(|_| g.shares_tables())) {
            frames.free(frame);
        }
        self.tails.put_table(frames, of, shared_entries(run, g));
        self.tails.count(frames, of, 0, pages_of_tails(order, PAGE_BYTES, g.page_size));
        Ok(())
    }

    /// Everything that can run out.
    fn make_parts<M: Machine>(
        &mut self,
        frames: &mut Frames<M>,
        of: TailOf,
        run: PfnRange,
        order: u32,
    ) -> Result<Parts> {
        let g = frames.granule();
        let tail = self.tails.frame(frames, of, order)?.address(g);
        let made = self.make_own(frames, of, run, tail);
        match made {
            Ok(parts) => {
                fill_head(frames, parts, order);
                Ok(parts)
            }
            Err(error) => {
                self.tails.count(frames, of, 0, 0);
                Err(error)
            }
        }
    }

    fn make_own<M: Machine>(
        &mut self,
        frames: &mut Frames<M>,
        of: TailOf,
        run: PfnRange,
        tail: PhysAddr,
    ) -> Result<Parts> {
        let g = frames.granule();
        let head = frames.alloc(0, PageKind::MemmapRam, Mobility::Unmovable)?;
        if !g.shares_tables() {
            return Ok(Parts { head, table: None, tail, tails: None });
        }
        let table = frames.alloc_table().inspect_err(|_| frames.free(head));
        let table = table?;
        match self.tails.get_table(frames, of, shared_entries(run, g)) {
            Ok(tails) => Ok(Parts { head, table: Some(table), tail, tails: Some(tails) }),
            Err(error) => {
                frames.free_table(table);
                frames.free(head);
                Err(error)
            }
        }
    }
}

/// How many entries of `run` lead to the shared table: those of all blocks but the first.
fn shared_entries(run: PfnRange, g: Granule) -> u32 {
    u32::try_from(run.len() >> g.section_order).unwrap_or(0).saturating_sub(1)
}

/// The frame of the head's memmap page, and the table that leads to it.
fn own_parts<M: Machine>(space: &KernelSpace<M>, head: Pfn) -> (Option<Pfn>, Option<Pfn>) {
    let g = space.granule();
    let path = space.path(space.layout().page_address(head));
    let leaf = path.leaf();
    let pfn = |address| Pfn::containing(g, address);
    (leaf.map(|leaf| pfn(leaf.descriptor.address(g))), leaf.map(|leaf| pfn(leaf.slot.table)))
}

/// Writes the first memmap page of a huge page, and the table of its first block's entries, before any walk reaches them.
fn fill_head<M: Machine>(frames: &Frames<M>, parts: Parts, order: u32) {
    let (g, machine) = (frames.granule(), frames.machine());
    let frame = parts.head.address(g);
    frames.pages().fill_tail_page(frame, order);
    machine::page_in(machine, frame, 0).set_head(PageKind::HugeTlb, order);
    if let Some(table) = parts.table {
        let entries = g.entries(LAST_LEVEL);
        machine::fill_table(machine, table, 0..entries, parts.tail_leaf().bits());
        machine::fill_table(machine, table, 0..1, parts.head_leaf(g).bits());
    }
}
