//! **Host models** of other architectures' vmemmap: x86, s390, powerpc, sparc and ia64, behind one generic populate.
//!
//! Nothing here runs in the kernel. arm64 is the architecture that runs, and its hook is hotmap-mm's own populate
//! (kernel/mm/src/vmemmap/populate.rs): it works on the sections of the whole memory model, so there is no second one here.
//! What the models follow is Linux's RFC "mm, arch: unify vmemmap_populate altmap handling" (2/5 of the series that puts
//! the memmap into the added range): a generic function resolves the altmap, then calls one hook of the architecture. Where
//! the RFC left something open, the file of that architecture says what the model does instead.
//!
//! ```text
//!  populate(arch, host, range)
//!    1  the range: whole sections, none present, all of it in one device or in none
//!    2  resolve the altmap, once
//!    3  Architecture::populate      x86 . s390 . powerpc . sparc . ia64
//!    4  the sections are valid; or, after an error, the log is undone backwards
//!  free(arch, host, range)
//!    1  the sections are not valid any more
//!    2  Architecture::free          what no valid section needs goes back to where it came from
//! ```
//! Linux leaves what was mapped when a populate fails half way; here an error has changed nothing.
//!
//! The tables are raw 64-bit entries in the testkit's emulated memory; the altmap is hotmap-mm's; a struct page is 64 bytes.

pub mod error;
pub mod geometry;
pub mod host;
pub mod ia64;
pub mod log;
pub mod pool;
pub mod powerpc;
pub mod s390;
pub mod sparc;
pub mod tables;
pub mod x86;

use hotmap_mm::addr::{PhysAddr, VirtAddr, VirtRange};
use hotmap_mm::frame::altmap::Altmap;
use hotmap_mm::pfn::PfnRange;

use error::Result;
use geometry::Geometry;
use host::Host;

/// What an architecture decides about vmemmap. The generic undo restores a clone of it.
pub trait Architecture: Clone {
    /// Its name, which says that it is a host model.
    const NAME: &'static str;
    /// Its page, its section and where its vmemmap is.
    const GEOMETRY: Geometry;

    /// Map `memmap`, the struct pages of whole sections. `altmap` is where the memory comes from, if there is one: the
    /// caller has looked it up, so the hook does not.
    ///
    /// # Errors
    /// `Out`, `NoPse`. The caller undoes what was done until then.
    fn populate(&mut self, host: &mut Host, memmap: VirtRange, altmap: Option<&mut Altmap>) -> Result<()>;

    /// Unmap what no valid section needs any more of `memmap`, and give it back to where it came from.
    fn free(&mut self, host: &mut Host, memmap: VirtRange);

    /// What of vmemmap is mapped, by address.
    fn leaves(&self, host: &Host) -> Vec<Leaf>;
}

/// A piece of vmemmap that one entry maps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaf {
    /// Its virtual address.
    pub va: VirtAddr,
    /// The memory behind it.
    pub pa: PhysAddr,
    /// How many bytes.
    pub bytes: u64,
}

/// Maps the memmap of `range` and makes its sections valid, or undoes everything after an error.
///
/// # Errors
/// `NotSections`, `Exists`, `BeyondVmemmap` and `Straddles` for a range that cannot be; then what the architecture says.
pub fn populate<A: Architecture>(arch: &mut A, host: &mut Host, range: PfnRange) -> Result<()> {
    host.check_absent(range)?;
    let before = arch.clone();
    let mut resolved = host.resolve(range)?;
    host.begin();
    match arch.populate(host, A::GEOMETRY.memmap(range), resolved.altmap()) {
        Ok(()) => {
            host.commit(resolved, range);
            Ok(())
        }
        Err(error) => {
            // The hook worked on a copy of the altmap's account, so dropping `resolved` is its undo.
            host.roll_back();
            *arch = before;
            Err(error)
        }
    }
}

/// The counterpart: makes `range` invalid and frees the memmap that no valid section needs.
///
/// # Errors
/// `NotSections`, `NotPresent`; nothing has changed then.
pub fn free<A: Architecture>(arch: &mut A, host: &mut Host, range: PfnRange) -> Result<()> {
    host.check_present(range)?;
    host.begin();
    host.forget(range);
    arch.free(host, A::GEOMETRY.memmap(range));
    Ok(())
}
