//! Holding a machine's devices and vmemmap against what should be true of them.

use hotmap_mm::device::pagemap::{DeviceState, Pagemap};
use hotmap_mm::error::{Error, PageError};
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::pfn::Pfn;

use super::Reference;
use super::devices::{Device, SUBSECTION};
use super::frames::Frames;
use super::seen::Seen;
use hotmap_emulator::layout;
use hotmap_emulator::rig::Rig;

impl Reference {
    /// The devices are those that should be there, with these accounts, and so are those whose memory the system has.
    pub(super) fn check_devices(&self, rig: &Rig, when: &str) {
        let g = rig.granule();
        let names: Vec<_> = rig.mm.devices().iter().map(|d| d.start().get() * self.spec.page).collect();
        assert_eq!(names, self.devices.keys().copied().collect::<Vec<_>>(), "{when}: devices");
        let given: Vec<_> =
            rig.mm.devices().kmem().iter().map(|k| k.device().start.get() * self.spec.page).collect();
        assert_eq!(given, self.given.keys().copied().collect::<Vec<_>>(), "{when}: memory of devices");
        for (device, found) in self.devices.values().zip(rig.mm.devices().iter()) {
            let bytes: Vec<_> = found.addresses(g).map(|r| r.start.get()..r.end.get()).collect();
            assert_eq!(bytes, device.ranges, "{when}: ranges");
            assert_eq!(found.kind(), device.kind, "{when}");
            let state = if device.dying { DeviceState::Dying } else { DeviceState::Live };
            assert_eq!(found.state(), state, "{when}: {:#x}", device.start());
            let holds: u64 = device.holds.values().map(|n| u64::from(*n)).sum();
            assert_eq!(found.holds(), holds, "{when}: holds");
            self.check_altmap(rig, device, found, when);
            self.check_pages(rig, device, when);
        }
    }

    fn check_altmap(&self, rig: &Rig, device: &Device, found: &Pagemap, when: &str) {
        let first = device.start() / self.spec.page;
        let hosted = self.hosted_by(device);
        let expected = device
            .aside
            .map(|aside| (first, aside.reserve, aside.free, hosted.padding, hosted.frames.len() as u64));
        let account = rig
            .mm
            .frames()
            .altmap(found.start())
            .map(|a| (a.base_pfn().get(), a.reserve(), a.free(), a.align(), a.alloc()));
        assert_eq!(account, expected, "{when}: the altmap of {:#x}", device.start());
        let aside = device.aside.map_or(0, |a| a.reserve + a.free);
        assert_eq!(found.usable_start().get(), first + aside, "{when}: usable from");
    }

    /// What the struct pages at a device's edges say, and that nothing absent beside it is valid (I1).
    fn check_pages(&self, rig: &Rig, device: &Device, when: &str) {
        let g = rig.granule();
        let page = self.spec.page;
        let usable = device.start() + device.aside.map_or(0, |a| a.reserve + a.free) * page;
        let inside = |at: u64| device.contains(at).then_some(at);
        let edges = device.ranges.iter().flat_map(|r| [r.start, r.end - page]);
        let around = [usable.checked_sub(page), Some(usable)].into_iter().flatten();
        for at in edges.chain(around).filter_map(inside) {
            let aside = (device.start()..usable).contains(&at);
            let kind = if aside { PageKind::DeviceMemmap } else { PageKind::Device };
            let found = rig.mm.frames().use_of(Rig::pfn(g, at)).map(|u| u.0);
            assert_eq!(found, Ok(kind), "{when}: {at:#x}");
        }
        for beside in device.ranges.iter().flat_map(|r| [r.start.checked_sub(SUBSECTION), Some(r.end)]) {
            let Some(at) = beside else { continue };
            let section = at / self.block_bytes() * self.block_bytes();
            if self.device_at(at).is_none() && !self.blocks.contains_key(&section) {
                let pfn = Rig::pfn(g, at);
                assert_eq!(
                    rig.mm.frames().use_of(pfn).map(drop),
                    Err(Error::Page(PageError::NotPresent(pfn))),
                    "{when}: {at:#x}"
                );
            }
        }
        for (frame, holds) in &device.holds {
            assert_eq!(rig.mm.frames().pages().get(Pfn::new(*frame)).refs(), *holds, "{when}: {frame:#x}");
        }
    }

    /// I7: the pages of memmap that a subsection needs are mapped, and no others; those that are not in system RAM, where
    /// they should be.
    pub(super) fn check_memmap(&self, seen: &Seen, when: &str) {
        let (page, vmemmap) = (self.spec.page, layout::vmemmap(self.spec));
        let needed = self.memmap_mapped().runs();
        let expected = Frames::of(needed.into_iter().map(|r| self.memmap_va(r.start)..self.memmap_va(r.end)));
        let leaves = || seen.all.leaves.iter().filter(|l| vmemmap.contains(&l.va));
        let mapped = Frames::of(leaves().map(|l| l.va..l.va + l.size));
        assert_eq!(mapped, expected, "{when}: vmemmap");
        let homes = self.memmap_homes();
        let mut found = 0;
        for leaf in leaves() {
            let first = (leaf.va - self.memmap_va(self.first_page())) / page + self.first_page();
            for i in 0..leaf.size / page {
                let Some(frame) = homes.get(&(first + i)) else { continue };
                let is = leaf.leaf.pa / page + i;
                assert_eq!(is, *frame, "{when}: the frame of memmap page {:#x}", first + i);
                found += 1;
            }
        }
        assert_eq!(found, homes.len(), "{when}: pages of memmap that are not in system RAM");
    }

    /// The number of the first page of memmap that vmemmap has room for.
    fn first_page(&self) -> u64 {
        layout::base(self.spec, self.ram_start) / self.span()
    }

    /// How many frames of system RAM hold memmap: of blocks and devices that do not host it, and of the image of a free block.
    pub(super) fn memmap_in_ram(&self) -> u64 {
        let image = if self.on_demand().next().is_some() { 2 } else { 0 };
        self.memmap_mapped().len() - self.memmap_homes().len() as u64 - self.memmap_on_demand() + image
    }
}
