//! Devices: their sections know them (I1), their altmaps' accounts are what is mapped from them (I2), and their struct pages
//! say which are set aside and which are held (I6).

use super::{Auditor, Offender};
use crate::device::pagemap::{DeviceState, Pagemap};
use crate::frame::altmap::Altmap;
use crate::frame::page::PageKind;
use crate::frame::section::Subsections;
use crate::machine::Machine;
use crate::pfn::{Pfn, PfnRange};

impl<M: Machine> Auditor<'_, M> {
    /// Every device.
    pub(super) fn devices(&mut self) {
        let mm = self.mm;
        let mut described = 0;
        for device in mm.devices.iter() {
            let (at, what) = (Offender::Pfn(device.start()), "a device is still being made or undone");
            self.find_unless(device.state() != DeviceState::Changing, 6, what, at);
            for range in device.ranges() {
                described += self.device_sections(*range);
                self.device_heads(device, *range);
            }
            self.device_holds(device);
            self.device_tails(device);
            if let (Some(altmap), [range]) = (mm.frames.altmap(device.start()), device.ranges()) {
                self.altmap(*range, altmap);
                self.set_aside(device, altmap);
            }
        }
        let found =
            mm.frames.sections.as_slice().iter().map(|section| u64::from(section.device_subsections)).sum();
        let what = "subsections that are marked as a device's differ from what the devices have";
        self.find_unless(found == described, 1, what, Offender::Count { found, expected: described });
    }

    /// What is set aside is in use, or kept back, or left over; each page of it once (I3).
    fn set_aside(&mut self, device: &Pagemap, altmap: &Altmap) {
        let aside = device.set_aside();
        self.ledger.marked.add(PageKind::DeviceMemmap, aside.start, aside.len());
        let rest = PfnRange { start: altmap.frames().end, end: aside.end };
        for idle in altmap.idle().into_iter().chain([rest]) {
            self.ledger.used.add(PageKind::DeviceMemmap, idle.start, idle.len());
        }
        self.ledger.padded |= altmap.align() != 0;
    }

    /// All of `range` is present; returns its subsections.
    fn device_sections(&mut self, range: PfnRange) -> u64 {
        let g = self.mm.granule();
        for part in range.sections(g) {
            let section = self.described.section(part.start);
            let known = section.is_some_and(|section| {
                let mut present = section.present;
                present.add(Subsections::touched(g, section.start, part));
                present == section.present
            });
            let what = "a device's memory is not present";
            self.find_unless(known, 1, what, Offender::Memory(part.addresses(g)));
        }
        range.len() / g.subsection_pages
    }

    /// Every head of a range of `device`: what is set aside, then what is its user's.
    fn device_heads(&mut self, device: &Pagemap, range: PfnRange) {
        let g = self.mm.granule();
        let mut at = range.start;
        while at < range.end {
            let Some(page) = self.page(at) else { return };
            let most = device.compound().order();
            let (kind, order) = (page.kind(), page.order().min(g.section_order.max(most)));
            let aside = device.set_aside().contains(at);
            let right = kind == if aside { PageKind::DeviceMemmap } else { PageKind::Device };
            let grouped = aside || most == 0 || order == most;
            let fits = grouped && at.is_aligned(order) && at + (1 << order) <= range.end;
            self.find_unless(right && fits, 6, "a run of a device", Offender::Page { pfn: at, kind });
            if !(right && fits) {
                return;
            }
            self.ledger.summary.heads += 1;
            at = at + (1 << order);
        }
    }

    /// The holds on a device are those on its pages. Where it counts none, its pages are not looked at one by one.
    fn device_holds(&mut self, device: &Pagemap) {
        if device.holds() == 0 {
            return;
        }
        let holds = |pfn: Pfn| self.page(pfn).map_or(0, |page| u64::from(page.refs()));
        let (found, expected) = (device.heads().map(holds).sum(), device.holds());
        self.find_unless(
            found == expected,
            6,
            "holds on a device's pages",
            Offender::Count { found, expected },
        );
    }
}
