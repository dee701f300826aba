//! Struct pages (docs/reference/memory-map.md, "Struct pages: a run, and its head"), read through the tables.

use std::cell::{Cell, RefCell};

use hotmap_client::state::Vmemmap;

use crate::budget::{self, Budget};
use crate::error::{Fault, FaultKind};
use crate::layout;
use crate::spec::LAST;
use crate::translation::{Tables, Translation};

/// Bytes of a struct page.
pub(crate) const BYTES: usize = 64;
/// Bytes of the struct pages that are read at once when one follows the other: not more than a page of any granule.
const CHUNK: u64 = 4096;

/// What a struct page says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct StructPage {
    pub bytes: [u8; BYTES],
}

impl StructPage {
    pub(crate) const fn kind(&self) -> u8 {
        self.bytes[0]
    }
    pub(crate) const fn order(&self) -> u32 {
        self.bytes[1] as u32
    }
    pub(crate) fn refs(&self) -> u64 {
        self.word(4, 4)
    }
    /// The word that belongs to the use of the page.
    pub(crate) fn private(&self) -> u64 {
        self.word(16, 8)
    }
    /// The little-endian number of `len` bytes at `offset`.
    pub(crate) fn word(&self, offset: usize, len: usize) -> u64 {
        self.bytes[offset..offset + len].iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte))
    }
    /// Whether it says nothing by itself: not a head, and of no compound page.
    pub(crate) const fn is_zero_tail(&self) -> bool {
        self.kind() == 0 && self.order() == 0
    }
}

/// The struct pages of a machine.
pub(crate) struct StructPages<'t, 'm> {
    tables: &'t Tables<'m>,
    vmemmap: Vmemmap,
    /// The translation that was used last.
    last: Cell<Option<Translation>>,
    /// The struct pages that were read last: where they begin, and their bytes.
    chunk: RefCell<(u64, Vec<u8>)>,
    budget: Budget,
}

impl<'t, 'm> StructPages<'t, 'm> {
    pub(crate) fn new(tables: &'t Tables<'m>, vmemmap: Vmemmap) -> Self {
        let budget = Budget::new(budget::STRUCT_PAGES);
        Self { tables, vmemmap, last: Cell::default(), chunk: RefCell::default(), budget }
    }

    /// Whether no further struct page is read.
    pub(crate) fn is_spent(&self) -> bool {
        self.budget.is_spent()
    }

    /// Where pfn's struct page is, if vmemmap reaches it.
    pub(crate) fn address(&self, pfn: u64) -> Option<u64> {
        let offset = pfn.checked_sub(self.vmemmap.first_pfn)?.checked_mul(BYTES as u64)?;
        let va = self.vmemmap.start.checked_add(offset)?;
        layout::vmemmap(self.vmemmap.start).contains(&va).then_some(va)
    }

    /// The translation of an address in vmemmap.
    pub(crate) fn translate(&self, va: u64) -> Result<Translation, Fault> {
        match self.last.get() {
            Some(last) if (last.va..last.va + last.size).contains(&va) => Ok(last),
            _ => {
                let found = self.tables.walk(va, |_| {})?;
                self.last.set(Some(found));
                Ok(found)
            }
        }
    }

    /// pfn's struct page.
    pub(crate) fn get(&self, pfn: u64) -> Result<StructPage, Fault> {
        let out_of_reach = Fault::new(LAST, FaultKind::Translation, "vmemmap does not reach the page");
        let va = self.address(pfn).ok_or(out_of_reach)?;
        let mut chunk = self.chunk.borrow_mut();
        let offset = va.wrapping_sub(chunk.0);
        let len = chunk.1.len() as u64;
        if offset >= len {
            // What follows the last one is read with its neighbours.
            let wanted = if offset == len { CHUNK - va % CHUNK } else { BYTES as u64 };
            if !self.budget.take(wanted / BYTES as u64) {
                return Err(Fault::new(LAST, FaultKind::NoMemory, "too many struct pages were read"));
            }
            let found = self.translate(va)?;
            let mut bytes = std::mem::take(&mut chunk.1);
            bytes.clear();
            bytes.resize(usize::try_from(wanted).unwrap_or(BYTES), 0);
            let pa = found.leaf.pa + (va - found.va);
            let read = self.tables.memory().read(pa, &mut bytes);
            read.map_err(|_| {
                Fault::new(LAST, FaultKind::NoMemory, "there is no memory where the struct page is to be")
            })?;
            *chunk = (va, bytes);
        }
        let at = usize::try_from(va - chunk.0).unwrap_or(0);
        let bytes = chunk.1.get(at..at + BYTES).and_then(|bytes| bytes.try_into().ok());
        Ok(StructPage { bytes: bytes.unwrap_or([0; BYTES]) })
    }
}
