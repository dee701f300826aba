//! Commands that change something, and those that check.

use hotmap_mm::addr::PhysAddr;
use hotmap_mm::audit::Finding;
use hotmap_mm::error::{Error, RangeError, TenantError};
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::pfn::{Pfn, PfnRange};

use super::args::Words;
use super::{Outcome, ShellError};
#[cfg(target_os = "none")]
use crate::selftest;
use crate::units::Units;
use hotmap_kernel::attention::{self, Attention};
use hotmap_kernel::exit::exit;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::kprintln;
use hotmap_kernel::meter::{self, Meter};

const TENANT: &str = "tenant new N|check [ID]|drop [ID]";

pub(super) fn tenant(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    match words.next() {
        Some("new") => {
            let count = words.number(TENANT)?;
            if count == 0 {
                return Err(ShellError::BadWord("at least one page"));
            }
            let free = kernel.mm.frames().counts().free;
            if count > free {
                return Err(ShellError::Pages { wanted: count, free });
            }
            let mut attention = Attention::new(&"tenant new");
            let mut stop = |done: u64| attention.stop(format_args!("{done} of {count} pages are filled"));
            let id = kernel.mm.tenant_new_unless(count, &mut stop)?;
            kprintln!("tenant {id} holds {count} pages");
            Ok(())
        }
        Some("check") => check_tenants(kernel, words),
        Some("drop") => drop_tenants(kernel, words),
        _ => Err(ShellError::Usage(TENANT)),
    }
}

/// A tenant's number, if there is one more word.
fn tenant_id(words: &mut Words<'_>) -> Result<Option<u32>, ShellError> {
    if words.left() == 0 {
        return Ok(None);
    }
    let id = words.number(TENANT)?;
    u32::try_from(id).map(Some).map_err(|_| ShellError::BadWord("a tenant's number"))
}

fn check_tenants(kernel: &Kernel, words: &mut Words<'_>) -> Outcome {
    let wanted = tenant_id(words)?;
    let (mut checked, mut attention) = (0, Attention::new(&"tenant check"));
    for tenant in kernel.mm.tenants().iter().filter(|t| wanted.is_none_or(|id| id == t.id)) {
        let mut stop =
            |done: u64| attention.stop(format_args!("{done} pages of tenant {} are right", tenant.id));
        let pages = kernel.mm.tenant_check_unless(tenant.id, &mut stop)?;
        kprintln!("tenant {}: {pages} pages hold what was written", tenant.id);
        checked += 1;
    }
    match wanted {
        Some(id) if checked == 0 => return Err(Error::Tenant(TenantError::Absent(id)).into()),
        _ => kprintln!("tenants checked: {checked}"),
    }
    Ok(())
}

fn drop_tenants(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    if let Some(id) = tenant_id(words)? {
        return drop_tenant(kernel, id);
    }
    let mut dropped = 0;
    while let Some(tenant) = kernel.mm.tenants().last() {
        drop_tenant(kernel, tenant.id)?;
        dropped += 1;
    }
    kprintln!("tenants dropped: {dropped}");
    Ok(())
}

fn drop_tenant(kernel: &mut Kernel, id: u32) -> Outcome {
    let tenant = kernel.mm.tenants().iter().find(|tenant| tenant.id == id);
    let pages = tenant.map_or(0, |tenant| tenant.range.len() / kernel.page_size());
    kernel.mm.tenant_drop(id)?;
    kprintln!("tenant {id} is gone, and its {pages} pages are free");
    Ok(())
}

pub(super) fn pin(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let pfn = words.page(kernel, "pin PFN|addr:A")?;
    kernel.mm.pin(pfn)?;
    if let Some((_, refs)) = use_of(kernel, pfn) {
        kprintln!("{pfn} is held, references: {refs}");
    }
    Ok(())
}

/// What a page is used for, and its references; `None` if it has no struct page any more.
fn use_of(kernel: &Kernel, pfn: Pfn) -> Option<(PageKind, u32)> {
    let (kind, head) = kernel.mm.frames().use_of(pfn).ok()?;
    Some((kind, kernel.mm.frames().pages().get(head).refs()))
}

pub(super) fn unpin(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let pfn = words.page(kernel, "unpin PFN|addr:A")?;
    kernel.mm.unpin(pfn)?;
    match use_of(kernel, pfn) {
        None => kprintln!("{pfn} is released, and its device is gone"),
        Some((PageKind::Free, _)) => kprintln!("{pfn} is released, and free"),
        Some((_, refs)) => kprintln!("{pfn} is released, references: {refs}"),
    }
    // What it held back may go now.
    kernel.vmems.try_again(&mut kernel.mm);
    Ok(())
}

/// The block that starts at `address`.
fn block_at(kernel: &Kernel, address: PhysAddr) -> Result<Pfn, ShellError> {
    if address.is_aligned(kernel.block_size()) {
        Ok(kernel.pfn(address))
    } else {
        Err(Error::Range(RangeError::NotBlockStart { at: address, block: kernel.block_size() }).into())
    }
}

const ONLINE: &str = "online ADDR [movable|normal]";

pub(super) fn online(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let start = block_at(kernel, words.address(ONLINE)?)?;
    let boot =
        kernel.mm.frames().block_of(start).is_some_and(|b| b.source == hotmap_mm::frame::block::Source::Boot);
    let zone = match words.next() {
        // Boot memory goes back to where it was; what was added stays removable.
        None => {
            if boot {
                ZoneKind::Normal
            } else {
                ZoneKind::Movable
            }
        }
        Some(name) => {
            let named = ZoneKind::ALL.into_iter().find(|zone| zone.name().eq_ignore_ascii_case(name));
            named.ok_or(ShellError::Usage(ONLINE))?
        }
    };
    kernel.mm.online_block(start, zone)?;
    let free = kernel.mm.frames().block_of(start).map_or(0, |block| kernel.free_pages(&block));
    kprintln!("online in zone {zone}; {free} pages are free");
    Ok(())
}

pub(super) fn offline(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let start = block_at(kernel, words.address("offline ADDR")?)?;
    let pages = PfnRange::new(start, kernel.granule().section_pages);
    let mut stop = attention::of_offline(&"offline", &kernel.mm, pages);
    let offlined = kernel.mm.offline_block_unless(start, &mut stop)?;
    kprintln!("offline; {} pages migrated", offlined.migrated);
    Ok(())
}

/// With the policy of a DIMM: `memmap=` and `online=`.
pub(super) fn add(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let (start, len) = words.range("add ADDR[,SIZE]")?;
    Ok(kernel.add_region(start, len)?)
}

pub(super) fn remove(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let start = words.address("remove ADDR")?;
    Ok(kernel.remove_region(start)?)
}

/// The most findings that are printed: what is broken once is often broken everywhere.
const FINDINGS_SHOWN: usize = 16;

pub(super) fn audit(kernel: &mut Kernel, _: &mut Words<'_>) -> Outcome {
    let mut found = 0;
    let meter = Meter::start(&kernel.mm.frames().counts());
    let mut report = |finding: &Finding| {
        if found < FINDINGS_SHOWN {
            kprintln!("{finding}");
        }
        found += 1;
    };
    let mut attention = Attention::new(&"audit");
    let mut stop = |seen: u64| attention.stop(format_args!("{seen} heads and leaves were looked at"));
    let summary = kernel.mm.audit_unless(&mut report, &mut stop).ok_or(Error::Interrupted)?;
    let cost = meter.stop(|| kernel.mm.frames().counts());
    kprintln!("{summary}");
    if meter::is_on() {
        let present = kernel.mm.frames().counts().present * kernel.page_size();
        kprintln!("bench: audit {present} {cost}");
    }
    if found == 0 { Ok(()) } else { Err(ShellError::Failed("the invariants named above do not hold")) }
}

#[cfg(target_os = "none")]
pub(super) fn selftest(kernel: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    let name = words.next();
    if name == Some("list") {
        selftest::list();
        return Ok(());
    }
    match selftest::run(kernel, name) {
        selftest::Verdict::Passed => Ok(()),
        selftest::Verdict::Failed => Err(ShellError::Failed("the tests named above are not ok")),
        selftest::Verdict::Interrupted => Err(Error::Interrupted.into()),
        selftest::Verdict::NoSubject => Err(ShellError::BadWord("a subject (selftest list names them)")),
    }
}

/// In `run=` the commands before it have their say in the status.
pub(super) fn poweroff(kernel: &mut Kernel, _: &mut Words<'_>) -> Outcome {
    exit(kernel.status, "poweroff")
}

/// The self-tests look at the CPU beside the model: an emulated machine has none.
#[cfg(not(target_os = "none"))]
pub(super) fn selftest(_: &mut Kernel, _: &mut Words<'_>) -> Outcome {
    Err(ShellError::Failed("the self-tests need the bare machine"))
}
