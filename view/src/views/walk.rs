//! The view `walk`: one translation, descriptor by descriptor.

use serde::Serialize;

use crate::address::Address;
use crate::descriptor::{Entry, EntryType};
use crate::error::{Fault, ViewError};
use crate::fields::{self, Field};
use crate::machine::{Machine, Target};
use crate::owner::{Use, head_of};
use crate::spec::UPPER_HALF;
use crate::translation::{Step, Translation};

/// A walk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WalkView {
    /// What was asked for: an address, or a page's first byte.
    pub address: Address,
    /// What kind of address that is.
    pub kind: AddressKind,
    /// The page, unless a virtual address was asked for.
    pub pfn: Option<u64>,
    /// The virtual address that is walked: that of the page's struct page, unless a virtual address was asked for.
    pub va: Address,
    /// The entries that the walk reads, from the root on.
    pub steps: Vec<WalkStep>,
    /// Where the walk ends.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What a walk was asked for by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
pub enum AddressKind {
    /// It is walked itself.
    Virtual,
    /// The struct page of its page is.
    Physical,
    /// The page's struct page is.
    Pfn,
}

/// An entry of a walk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct WalkStep {
    /// The level of its table.
    pub level: usize,
    /// The table.
    pub table: Address,
    /// The entry's number, ...
    pub index: u64,
    /// ... which are these bits of the address, `high:low`.
    pub index_bits: String,
    /// The entry's physical address.
    pub entry_pa: Address,
    /// Its 64 bits, in 16 digits.
    pub descriptor: String,
    /// Its type.
    #[serde(rename = "type")]
    pub entry_type: EntryType,
    /// Bytes that it covers.
    pub covers: u64,
    /// Its bits by name, the highest first.
    pub fields: Vec<Field>,
}

/// The end of a walk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", untagged)]
pub enum Outcome {
    /// The address translates.
    Mapped {
        /// To this physical address.
        pa: Address,
        /// Bytes of the leaf.
        leaf: u64,
        /// Whether EL1 may write there.
        writable: bool,
        /// Whether EL1 may execute from there.
        executable: bool,
        /// `normal`, `device`, or another byte of MAIR_EL1.
        memory: &'static str,
        /// What the page at `pa` is used for; `null` when it is not memory that the kernel describes.
        lands_in: Option<Use>,
        /// The kind that the head of its run says.
        page_kind: Option<&'static str>,
        /// Where that memory comes from: a block's `source`, or `device 0x...`.
        source: Option<String>,
    },
    /// It does not.
    Faults {
        /// Why.
        fault: Fault,
    },
}

impl Machine<'_> {
    /// A walk of a virtual address, or of the address of a page's struct page.
    ///
    /// # Errors
    /// `ViewError::OutOfReach` when vmemmap has no place for the page.
    pub fn walk(&self, target: Target) -> Result<WalkView, ViewError> {
        let tables = self.tables();
        let pages = self.pages(&tables);
        let (address, kind, pfn) = match target {
            Target::Address(va) if va >= UPPER_HALF => (va, AddressKind::Virtual, None),
            Target::Address(pa) => (pa, AddressKind::Physical, Some(self.spec.pages(pa))),
            Target::Pfn(pfn) => {
                let pa = pfn.checked_mul(self.spec.page()).ok_or(ViewError::OutOfReach(pfn))?;
                (pa, AddressKind::Pfn, Some(pfn))
            }
        };
        let va = match pfn {
            None => address,
            Some(pfn) => pages.address(pfn).ok_or(ViewError::OutOfReach(pfn))?,
        };
        let mut steps = Vec::new();
        let outcome = match tables.walk(va, |step| steps.push(self.step(step))) {
            Ok(found) => self.mapped(&found, va, &pages),
            Err(fault) => Outcome::Faults { fault },
        };
        Ok(WalkView { address: Address(address), kind, pfn, va: Address(va), steps, outcome })
    }

    fn step(&self, Step { level, table, index, raw }: Step) -> WalkStep {
        let shape = self.spec.level(level);
        WalkStep {
            level,
            table: Address(table),
            index,
            index_bits: match shape.bits {
                1 => shape.low.to_string(),
                bits => format!("{}:{}", shape.low + bits - 1, shape.low),
            },
            entry_pa: Address(table + index * 8),
            descriptor: format!("{raw:#018x}"),
            entry_type: Entry::decode(self.spec, level, raw).entry_type(level),
            covers: shape.size(),
            fields: fields::of(self.spec, level, raw),
        }
    }

    fn mapped(
        &self,
        found: &Translation,
        va: u64,
        pages: &crate::struct_pages::StructPages<'_, '_>,
    ) -> Outcome {
        let pa = found.leaf.pa + (va - found.va);
        let source = self.source_of(pa);
        let head = source.as_ref().and_then(|_| head_of(pages, self.spec.pages(pa)));
        Outcome::Mapped {
            pa: Address(pa),
            leaf: found.size,
            writable: !found.leaf.read_only,
            executable: found.leaf.executable,
            memory: match found.leaf.memory {
                0 => "device",
                1 => "normal",
                _ => "other",
            },
            lands_in: head.map(|head| head.kind.used_for),
            page_kind: head.map(|head| head.kind.name),
            source,
        }
    }
}
