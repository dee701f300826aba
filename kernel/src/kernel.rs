//! The kernel after boot: one value that owns everything, and how it handles the events of devices.

use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::granule::Granule;
use hotmap_mm::pfn::PfnRange;
use hotmap_mm::{frame::counts::Counts, frame::zone::ZoneKind, mm::Mm};

use crate::arch::machine::Arm;
use crate::arch::vmemmap;
use crate::boot_info::BootInfo;
use crate::dimms::Dimms;
use crate::drivers::ged::{Ged, OstEvent, OstStatus};
use crate::drivers::platform::{MemoryDevice, Platform};
use crate::exit::{Status, exit};
use crate::inject::Injection;
use crate::nvdimms::Nvdimms;
use crate::plug::Policy;
use crate::regions::Regions;
use crate::vmems::Vmems;
use crate::{cpus, klog, kprintln, readers, script};

/// Everything that the kernel owns.
pub struct Kernel {
    /// What boot found.
    pub info: &'static BootInfo,
    /// The memory.
    pub mm: Mm<Arm>,
    /// The devices.
    pub platform: Platform,
    /// The DIMMs.
    pub dimms: Dimms,
    /// The NVDIMMs.
    pub nvdimms: Nvdimms,
    /// The virtio memory devices.
    pub vmems: Vmems<MemoryDevice>,
    /// The regions that the device tree sets aside.
    pub regions: Regions,
    /// What fails in the next operation.
    pub injection: Injection,
    /// The exit status so far: what `run=` ends with.
    pub status: Status,
}

/// The shell, a package above this one.
#[derive(Clone, Copy)]
pub struct Shell {
    /// Runs one command and prints its output; returns whether it succeeded.
    pub run: fn(&mut Kernel, &str) -> bool,
    /// Calls its last argument for each word that can complete a command, up to the cursor ([`Offer`](crate::line::Offer)).
    pub complete: Complete,
}

type Complete = fn(&Kernel, &str, &mut dyn FnMut(&str));

/// Prints the result of boot.
fn greet(info: &BootInfo, counts: &Counts) {
    klog!(
        "hotmap {}: {} pages, {} boot at EL{}",
        env!("CARGO_PKG_VERSION"),
        info.granule,
        info.way.name(),
        info.entry_level
    );
    for ram in info.memblock.ram() {
        klog!("ram: {ram} ({})", hotmap_mm::addr::Bytes(ram.len()));
    }
    klog!(
        "pages: {} present, {} free, {} hold memmap, {} tables",
        counts.present,
        counts.free,
        counts.memmap_ram,
        counts.tables
    );
    if let Some(bug) = info.args.bug {
        klog!("bug={}: {bug} on purpose", bug.name());
    }
    for complaint in info.args.complaints.lines() {
        kprintln!("warning: {complaint}");
    }
}

impl Kernel {
    /// The kernel over `mm` and the devices of `platform`: brings up everything that `info` asks for.
    pub fn new(info: &'static BootInfo, mm: Mm<Arm>, platform: Platform) -> Self {
        let layout = mm.space().layout();
        vmemmap::set(layout.vmemmap(), layout.first_pfn().get());
        let mut kernel = Self {
            info,
            mm,
            platform,
            dimms: Dimms::new(),
            nvdimms: Nvdimms::new(),
            vmems: Vmems::new(),
            regions: Regions::new(),
            injection: Injection::new(),
            status: Status::Fine,
        };
        kernel.mm.set_bug(info.args.bug);
        kernel.set_nodes();
        greet(info, &kernel.mm.frames().counts());
        kernel.set_huge_pages_aside();
        cpus::start::start(info);
        kernel.find_regions();
        kernel.find_dimms();
        kernel.find_nvdimms();
        kernel.find_vmems();
        kernel.use_pmem();
        kernel
    }

    /// The granule.
    pub const fn granule(&self) -> Granule {
        self.mm.granule()
    }

    /// Boot memory's nodes, as the device tree has them.
    fn set_nodes(&mut self) {
        let g = self.granule();
        for memory in &self.info.machine.memory {
            let (start, end) = (PhysAddr::new(memory.region.start), PhysAddr::new(memory.region.end()));
            let pages = PfnRange::inside(g, PhysRange { start, end });
            self.mm.set_node(pages, memory.numa_node.unwrap_or(0));
        }
    }

    /// How memory is added.
    pub const fn policy(&self) -> Policy {
        Policy { home: self.info.args.memmap, online: self.info.args.online_auto }
    }

    /// Lists the regions of the device tree, and with `hotadd=auto` adds the hotpluggable ones.
    fn find_regions(&mut self) {
        if let Err(error) = self.regions.read(&self.info.machine, self.info.dtb) {
            kprintln!("regions: {error}");
        }
        if self.info.args.hotadd_auto {
            let policy = self.policy();
            self.regions.add_all(&mut self.mm, policy);
        }
    }

    /// Adds the DIMMs that were plugged before boot.
    fn find_dimms(&mut self) {
        let policy = self.policy();
        let Some(ged) = &mut self.platform.ged else {
            klog!(
                "dimms: this machine has no slots (a firmware boot with ACPI and -m SIZE,slots=N,maxmem=SIZE has)"
            );
            return;
        };
        if let Err(error) = self.dimms.reserve(ged.slot_count()) {
            kprintln!("dimms: {error}");
        }
        for number in 0..ged.slot_count() {
            if let Ok(Some(slot)) = ged.slot(number) {
                insert(ged, &mut self.mm, &mut self.dimms, &mut self.injection, &slot, policy);
            }
        }
    }

    /// Drives the virtio memory devices that were found.
    fn find_vmems(&mut self) {
        // Those that are not driven are reset, and interrupt no more.
        let found = self.platform.take_memory_devices();
        if !self.info.args.virtio_mem {
            return;
        }
        let zone = self.info.args.online_auto.then_some(ZoneKind::Movable);
        let policy = hotmap_resize::Policy { home: self.info.args.memmap, zone };
        for (name, device) in found {
            match device {
                Ok(device) => self.vmems.find(&mut self.mm, device, policy, &name),
                Err(fault) => kprintln!("virtio-mem ({name}): refused: {fault}"),
            }
        }
    }

    /// Lists the NVDIMMs that are not listed yet, at boot and later; returns whether there were any.
    fn find_nvdimms(&mut self) -> bool {
        self.platform.nvdimm.as_mut().is_some_and(|device| !self.nvdimms.look(device).is_empty())
    }

    /// Handles the events of all devices.
    pub fn service(&mut self) {
        let new_nvdimm = self.service_slots();
        self.service_vmems();
        // An event that found the heap full is looked at again.
        if (new_nvdimm || self.nvdimms.is_pending()) && self.find_nvdimms() {
            self.injection.begin(&mut self.mm.frames_mut().faults);
            self.use_pmem();
            self.injection.end(&mut self.mm.frames_mut().faults);
        }
        // Behind all virtio devices: each has been asked for its events.
        self.platform.rearm_virtio();
    }

    /// Handles what the virtio memory devices say.
    fn service_vmems(&mut self) {
        let Self { vmems, mm, injection, .. } = self;
        if vmems.needs_service() {
            // Readers may be reading struct pages of huge pages in it, which are dissolved.
            injection.around(mm, |mm| vmems.service(mm, readers::hide_pages));
        }
    }

    /// Handles the events of the slots; returns whether one announced an NVDIMM.
    fn service_slots(&mut self) -> bool {
        let policy = self.policy();
        let Self { mm, dimms, injection, .. } = self;
        let Some(ged) = &mut self.platform.ged else { return false };
        let events = ged.take_events();
        if events.power_down() {
            let why = "the power button was pressed";
            script::cut_off(why);
            exit(self.status, why);
        }
        if events.0 == 0 {
            return false;
        }
        for number in 0..ged.slot_count() {
            let Ok(Some(slot)) = ged.slot(number) else { continue };
            if slot.flags.removing() {
                remove(ged, mm, dimms, injection, number);
            } else if slot.flags.inserting() {
                insert(ged, mm, dimms, injection, &slot, policy);
            }
        }
        events.nvdimm()
    }
}

fn insert(
    ged: &mut Ged,
    mm: &mut Mm<Arm>,
    dimms: &mut Dimms,
    injection: &mut Injection,
    slot: &crate::drivers::ged::Slot,
    policy: Policy,
) {
    let hot = slot.flags.inserting();
    if hot {
        // The slot number came from the device.
        let _ = ged.ack_insert(slot.number);
    }
    let status = match injection.around(mm, |mm| dimms.insert(mm, slot, policy)) {
        Ok(()) => OstStatus::Success,
        Err(_) => OstStatus::Failure,
    };
    if hot {
        let _ = ged.report(slot.number, OstEvent::DeviceCheck, status);
    }
}

fn remove(ged: &mut Ged, mm: &mut Mm<Arm>, dimms: &mut Dimms, injection: &mut Injection, slot: u32) {
    let g = mm.granule();
    // The slot number came from the device, so none of these can name one that it does not have.
    let _ = ged.ack_remove(slot);
    let _ = ged.report(slot, OstEvent::EjectRequest, OstStatus::EjectPending);
    // Readers may be reading struct pages of huge pages in it, which are dissolved.
    if let Some(dimm) = dimms.in_slot(slot) {
        readers::hide_pages(PfnRange::inside(g, dimm.range));
    }
    let _ = match injection.around(mm, |mm| dimms.remove(mm, slot)) {
        // A second request that arrived since `ack_remove` was for this DIMM: QEMU keeps its flag in the empty slot.
        Ok(()) => ged.eject(slot).and_then(|()| ged.ack_remove(slot)),
        Err(_) => ged.report(slot, OstEvent::EjectRequest, OstStatus::Busy),
    };
}
