//! Plugs and unplugs DIMMs, and waits for what the guest reports to QEMU.
//!
//! The guest sends `_OST` when the operation, or its rollback, is complete, so nothing here polls or sleeps:
//!
//! ```text
//!   device_add --> interrupt --> the seven steps  --> OST (1, 0)         plugged
//!                            \-> refused, undone  --> OST (1, 1)         refused
//!   device_del --> interrupt --> [OST (3, 0x84)] --> eject              --> DEVICE_DELETED    gone
//!                            \-> undone, online  --> OST (3, 0x82)      --> still there
//! ```

use super::session::Guest;
use crate::dimm::Dimm;
use crate::error::{Checked, During, failed, unknown};
use crate::patience::Deadline;
use crate::qmp::{is_deleted, is_unplug_error, ost_of};

/// `_OST` source event of a device check, what an insertion is (ACPI 6.5, 6.3.5 "_OST", source event codes).
const SOURCE_INSERT: i64 = 1;
/// `_OST` source event of an ejection request (the same table).
const SOURCE_EJECT: i64 = 3;
/// Ejection in progress (ACPI 6.5, 6.3.5 "_OST", ejection processing).
const EJECTION_IN_PROGRESS: i64 = 0x84;

/// A plugged DIMM: where QEMU put it, and the status that the guest reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plugged {
    /// Physical address.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// Slot.
    pub slot: u64,
    /// The guest's `_OST` status: 0 is success.
    pub status: i64,
}

/// The outcome of a request to unplug a DIMM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unplug {
    /// QEMU says `DEVICE_DELETED`.
    Gone,
    /// The guest refused with this `_OST` status.
    Refused(i64),
}

impl Guest {
    /// Plugs a DIMM and waits for the guest's report, whatever it is.
    ///
    /// # Errors
    /// Unknown when QEMU refuses it or the guest reports nothing.
    pub fn plug(&mut self, dimm: &Dimm) -> Checked<Plugged> {
        let plugged = self.plug_without_waiting(dimm)?;
        self.await_insertion(dimm, plugged)
    }

    /// Plugs a DIMM that the guest must accept.
    ///
    /// # Errors
    /// Failed when the guest refuses it, with the reason; else as [`Guest::plug`].
    pub fn plug_well(&mut self, dimm: &Dimm) -> Checked<Plugged> {
        let since = self.position();
        let plugged = self.plug(dimm)?;
        if plugged.status == 0 {
            return Ok(plugged);
        }
        let why = self.await_reason(plugged.slot, since)?;
        failed(format!("the guest refused {}: {why} (OST status {})", dimm.id, plugged.status))
    }

    /// Plugs a DIMM and does not wait for the guest's report.
    ///
    /// # Errors
    /// Unknown when QEMU refuses it.
    pub fn plug_without_waiting(&mut self, dimm: &Dimm) -> Checked<Plugged> {
        let driver = dimm.kind.driver();
        self.note(&format!("QEMU monitor: device_add {driver},id={},size={:#x}", dimm.id, dimm.size));
        let info = dimm.plug(&mut self.qmp)?;
        let (Ok(address), Ok(size), Ok(slot)) =
            (u64::try_from(info.addr), u64::try_from(info.size), u64::try_from(info.slot))
        else {
            return failed(format!("QEMU lists an impossible DIMM: {info:?}"));
        };
        Ok(Plugged { address, size, slot, status: 0 })
    }

    /// Waits for the guest's report on a DIMM that was plugged without waiting.
    ///
    /// # Errors
    /// Unknown when it reports nothing.
    pub fn await_insertion(&mut self, dimm: &Dimm, plugged: Plugged) -> Checked<Plugged> {
        let what = format!("the guest's OST on the insertion of {}", dimm.id);
        let wanted = |event: &_| {
            ost_of(event, &dimm.id).filter(|ost| ost.source == SOURCE_INSERT).map(|ost| ost.status)
        };
        let status = self.qmp.wait_event(&what, Deadline::for_step(), wanted);
        let status = status.map_err(|error| self.died(error))?;
        self.note(&format!("QEMU event: ACPI_DEVICE_OST {} (1, {status})", dimm.id));
        Ok(Plugged { status, ..plugged })
    }

    /// Requests a DIMM's removal and waits until it is unplugged or the guest refuses.
    ///
    /// # Errors
    /// Unknown when neither happens.
    pub fn unplug(&mut self, dimm: &Dimm) -> Checked<Unplug> {
        self.ask_back(dimm)?;
        self.await_removal(dimm)
    }

    /// Unplugs a DIMM that the guest must release.
    ///
    /// # Errors
    /// Failed when it refuses, with the reason; else as [`Guest::unplug`].
    pub fn unplug_well(&mut self, dimm: &Dimm) -> Checked {
        let since = self.position();
        let Unplug::Refused(status) = self.unplug(dimm)? else { return Ok(()) };
        let Some(slot) = dimm.find(&mut self.qmp)?.and_then(|info| u64::try_from(info.slot).ok()) else {
            return failed(format!("the guest refused to release {}, which QEMU does not list", dimm.id));
        };
        let why = self.await_reason(slot, since)?;
        failed(format!("the guest refused to release {}: {why} (OST status {status})", dimm.id))
    }

    /// The reason of a refusal: a line of the guest's log since a position, which may come later than its report.
    fn await_reason(&mut self, slot: u64, since: usize) -> Checked<String> {
        let start = format!("dimm{slot}: refused: ");
        let reason = |text: &str| {
            let mut whole = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            whole.find_map(|line| line.strip_prefix(&start).map(str::to_owned))
        };
        self.wait_since(since, "the reason of the refusal", Deadline::for_step(), reason)
    }

    /// Requests a DIMM's removal and does not wait.
    ///
    /// # Errors
    /// Unknown when QEMU refuses the request.
    pub fn ask_back(&mut self, dimm: &Dimm) -> Checked {
        self.note(&format!("QEMU monitor: device_del {}", dimm.id));
        Ok(dimm.ask_back(&mut self.qmp)?)
    }

    /// Waits until the guest reports that the ejection of a DIMM has begun.
    ///
    /// # Errors
    /// Unknown when it reports nothing.
    pub fn await_ejection_begun(&mut self, dimm: &Dimm) -> Checked {
        let what = format!("the guest's OST that the ejection of {} has begun", dimm.id);
        let begun = |event: &_| {
            let ost = ost_of(event, &dimm.id)?;
            (ost.source == SOURCE_EJECT && ost.status == EJECTION_IN_PROGRESS).then_some(())
        };
        let waited = self.qmp.wait_event(&what, Deadline::for_step(), begun);
        waited.map_err(|error| self.died(error))
    }

    /// Waits until a DIMM whose removal was requested is unplugged or refused.
    ///
    /// # Errors
    /// Unknown when neither happens.
    pub fn await_removal(&mut self, dimm: &Dimm) -> Checked<Unplug> {
        let what = format!("DEVICE_DELETED or a refusal of {}", dimm.id);
        let end = self.qmp.wait_event(&what, Deadline::for_steps(2), |event| {
            if is_deleted(event, &dimm.id) {
                return Some(Ok(Unplug::Gone));
            }
            if is_unplug_error(event, &dimm.id) {
                return Some(unknown(format!("QEMU cannot unplug {}", dimm.id)));
            }
            let ost = ost_of(event, &dimm.id)?;
            (ost.source == SOURCE_EJECT && ost.status != EJECTION_IN_PROGRESS)
                .then_some(Ok(Unplug::Refused(ost.status)))
        });
        let end = end.map_err(|error| self.died(error))??;
        self.note(&format!("QEMU event: {} {end:x?}", dimm.id));
        if end == Unplug::Gone {
            dimm.forget(&mut self.qmp).map_err(Into::into).during("taking the backend away")?;
        }
        Ok(end)
    }
}
