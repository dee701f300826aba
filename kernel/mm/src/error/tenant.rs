//! What is wrong with a tenant.

use core::fmt;

use crate::addr::VirtAddr;

/// What is wrong with a tenant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TenantError {
    /// A tenant number that is not in use.
    Absent(u32),
    /// A tenant's page that does not hold what the tenant wrote.
    Corrupt {
        /// The tenant.
        tenant: u32,
        /// The virtual address of the first wrong word.
        at: VirtAddr,
        /// What it holds.
        found: u64,
        /// What was written.
        expected: u64,
    },
}

impl fmt::Display for TenantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Absent(id) => write!(f, "there is no tenant {id}"),
            Self::Corrupt { tenant, at, found, expected } => {
                write!(f, "tenant {tenant}: {at} holds {found:#018x} instead of {expected:#018x}")
            }
        }
    }
}
