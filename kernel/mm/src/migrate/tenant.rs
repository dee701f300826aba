//! Tenants: users of movable pages. Each maps its pages at consecutive addresses of a vmalloc-like area, fills them with a
//! pattern of its own, and can say at any time whether every word is still there: so migration is tested.

use alloc::vec::Vec;

use crate::addr::VirtRange;
use crate::error::{Error, Resource, Result, TenantError};
use crate::layout::TENANTS;

/// A tenant.
#[derive(Clone, Copy, Debug)]
pub struct Tenant {
    /// Its number.
    pub id: u32,
    /// Where it maps its pages.
    pub range: VirtRange,
}

/// All tenants, by address.
#[derive(Clone, Debug, Default)]
pub struct Tenants {
    pub(super) all: Vec<Tenant>,
    pub(super) next_id: u32,
}

impl Tenants {
    /// None.
    pub const fn new() -> Self {
        Self { all: Vec::new(), next_id: 1 }
    }
    /// All of them.
    pub fn all(&self) -> &[Tenant] {
        &self.all
    }
    pub(super) fn position(&self, id: u32) -> Result<usize> {
        self.all.iter().position(|t| t.id == id).ok_or(TenantError::Absent(id).into())
    }
    /// The lowest gap of `len` bytes, and where in the list it is.
    pub(super) fn gap(&self, len: u64) -> Result<(usize, VirtRange)> {
        let full = Error::Out(Resource::TenantAddresses { bytes: len });
        let mut start = TENANTS.start;
        for (at, tenant) in self.all.iter().enumerate() {
            if tenant.range.start - start >= len {
                return VirtRange::checked_new(start, len).map(|r| (at, r)).ok_or(full);
            }
            start = tenant.range.end;
        }
        let range = VirtRange::checked_new(start, len).filter(|r| TENANTS.covers(r)).ok_or(full)?;
        Ok((self.all.len(), range))
    }
}
