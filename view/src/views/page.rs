//! The view `page`: one struct page, field by field.

use serde::Serialize;

use crate::address::Address;
use crate::error::{Fault, ViewError};
use crate::machine::{Machine, Target};
use crate::owner::{Kind, Use, head_of, use_without_head};
use crate::struct_pages::StructPage;

/// A struct page.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PageView {
    /// The page.
    pub pfn: u64,
    /// Its first byte.
    pub pa: Address,
    /// The virtual address of its struct page.
    pub va: Address,
    /// The physical address of its struct page; `null` when it is not mapped.
    pub frame: Option<Address>,
    /// Whether stores to its struct page fault.
    pub readonly: bool,
    /// Whether other pages' struct pages are in the same memory.
    pub shared: bool,
    /// Why its struct page cannot be read.
    pub fault: Option<Fault>,
    /// The 64 bytes, in 128 digits.
    pub bytes: Option<String>,
    /// The same by name.
    pub fields: Vec<PageField>,
    /// The run that it is in; `null` where no head says so, as in an offline block.
    pub run: Option<RunOf>,
    /// What it is used for.
    #[serde(rename = "use")]
    pub used_for: Use,
    /// Where its memory comes from: a block's `source`, or `device 0x...`.
    pub source: Option<String>,
}

/// The run that a page is in.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct RunOf {
    /// Its first page.
    pub head: u64,
    /// Its pages.
    pub pages: u64,
    /// log2 of them.
    pub order: u32,
    /// The kind that its head says.
    pub kind: &'static str,
    /// The references that its head holds.
    pub refs: u64,
}

/// A field of a struct page.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct PageField {
    /// Its name.
    pub name: &'static str,
    /// Its first byte.
    pub offset: usize,
    /// How many bytes it has.
    pub bytes: usize,
    /// The little-endian number in them; `null` for the spare bytes.
    pub value: Option<Address>,
    /// What it says, in words.
    pub meaning: String,
}

impl Machine<'_> {
    /// The struct page of a page.
    ///
    /// # Errors
    /// `ViewError::OutOfReach` when vmemmap has no place for the page.
    pub fn page(&self, target: Target) -> Result<PageView, ViewError> {
        let tables = self.tables();
        let pages = self.pages(&tables);
        let pfn = match target {
            Target::Pfn(pfn) => pfn,
            Target::Address(pa) => self.spec.pages(pa),
        };
        let va = pages.address(pfn).ok_or(ViewError::OutOfReach(pfn))?;
        let pa = pfn.checked_mul(self.spec.page()).ok_or(ViewError::OutOfReach(pfn))?;
        let (leaf, page) = (pages.translate(va), pages.get(pfn));
        let head = head_of(&pages, pfn);
        let phase = self.phase_at(pa, self.is_offline(pa));
        let used_for = match (&page, &head) {
            (Err(_), _) => Use::Unreadable,
            (_, Some(head)) => phase.in_run(head.kind.used_for),
            (Ok(page), None) => use_without_head(&pages, pfn, page, phase),
        };
        Ok(PageView {
            pfn,
            pa: Address(pa),
            va: Address(va),
            frame: leaf.ok().map(|found| Address(found.leaf.pa + (va - found.va))),
            readonly: leaf.is_ok_and(|found| found.leaf.read_only),
            shared: leaf.is_ok_and(|found| found.leaf.shared),
            fault: page.as_ref().err().copied(),
            bytes: page
                .as_ref()
                .ok()
                .map(|page| page.bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
            fields: page.as_ref().map(|page| fields(page, pfn)).unwrap_or_default(),
            run: head.map(|head| RunOf {
                head: head.pfn,
                pages: 1 << head.order,
                order: head.order,
                kind: head.kind.name,
                refs: head.refs,
            }),
            used_for,
            source: self.source_of(pa),
        })
    }

    fn is_offline(&self, pa: u64) -> bool {
        use hotmap_client::state::BlockState::Offline;
        let extent = self.state.extents.iter().find(|e| e.start <= pa && pa - e.start < e.size);
        let state = self.block_at(pa).map(|block| block.state).or(extent.map(|extent| extent.state));
        state == Some(Offline)
    }
}

/// The fields of docs/reference/memory-map.md.
fn fields(page: &StructPage, pfn: u64) -> Vec<PageField> {
    let field = |name, offset, bytes, meaning| {
        let value = Some(Address(page.word(offset, bytes)));
        PageField { name, offset, bytes, value, meaning }
    };
    let spare = page.bytes[24..].iter().all(|byte| *byte == 0);
    vec![
        field("kind", 0, 1, kind_meaning(page)),
        field("order", 1, 1, order_meaning(page, pfn)),
        field("flags", 2, 2, "not used".to_owned()),
        field("references", 4, 4, references_meaning(page)),
        field("next", 8, 4, link_meaning(page, page.word(8, 4), "next")),
        field("previous", 12, 4, link_meaning(page, page.word(12, 4), "previous")),
        field("owner's word", 16, 8, private_meaning(page)),
        PageField {
            name: "spare",
            offset: 24,
            bytes: 40,
            value: None,
            meaning: if spare { "zero" } else { "not zero: no rule writes here" }.to_owned(),
        },
    ]
}

fn kind_of(page: &StructPage) -> &'static str {
    Kind::of(page).map_or("", |kind| kind.name)
}

fn kind_meaning(page: &StructPage) -> String {
    match (kind_of(page), page.order()) {
        ("", _) => "no kind: only a bug writes it".to_owned(),
        ("Tail", 0) => "a tail: the head of its run says what it is".to_owned(),
        ("Tail", _) => "a tail of a compound page".to_owned(),
        (name, _) => format!("the head of a run: {name}"),
    }
}

fn order_meaning(page: &StructPage, pfn: u64) -> String {
    match (page.kind(), page.order()) {
        (0, 0) => "says nothing".to_owned(),
        (_, order @ 64..) => format!("{order}: no run is as large"),
        (0, order) => format!("1 << {order} pages; the head is pfn {:#x}", pfn >> order << order),
        (_, order) => format!("1 << {order} pages"),
    }
}

fn references_meaning(page: &StructPage) -> String {
    match (kind_of(page), page.refs()) {
        ("Table", refs) => format!("{refs} entries lead to the table"),
        ("HugeTlb", 0) => "free in its pool".to_owned(),
        ("HugeTlb", _) => "in use".to_owned(),
        (_, refs) => format!("{refs} held"),
    }
}

fn link_meaning(page: &StructPage, link: u64, which: &str) -> String {
    match (kind_of(page), link.checked_sub(1)) {
        ("Free", None) => format!("no {which} head on the free list"),
        ("Free", Some(offset)) => format!("the {which} head on the free list is page {offset} of the block"),
        (_, None) => "on no list".to_owned(),
        (_, Some(_)) => "left over: the page is on no free list".to_owned(),
    }
}

fn private_meaning(page: &StructPage) -> String {
    let word = page.private();
    match kind_of(page) {
        "Tenant" => format!("mapped at {word:#x}"),
        "HugeTlb" if word == 0 => "its memmap is its own".to_owned(),
        "HugeTlb" => "its memmap is shared (HVO)".to_owned(),
        "MemmapSelf" => match word.checked_sub(1) {
            None => "not lent for one page of memmap".to_owned(),
            Some(number) => format!("lent: memmap page {number} of its block"),
        },
        _ if word == 0 => "not used".to_owned(),
        _ => format!("{word:#x}"),
    }
}
