//! The machine around the CPU: where its devices are, by the device tree and by ACPI, and bringing them up.
//!
//! Devices are mapped one to one from `layout::DEVICES` on by boot, so a driver's address follows from theirs.
#![expect(unsafe_code, reason = "hands register addresses to drivers; rule M4")]

use alloc::vec::Vec;

use hotmap_acpi::Interrupt;
use hotmap_devicetree::{Gic as GicNode, InterruptKind, Uart};
use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::layout;
use virtio_drivers::transport::DeviceType;
use virtio_mem::Fault;

use crate::arch::counter;
use crate::arch::probe::probe_read32;
use crate::arch::word;
use crate::args::BootArgs;
use crate::boot_info::BootInfo;
use crate::cpus::plan;
use crate::drivers::acpi::Slots;
use crate::drivers::affinity;
use crate::drivers::fw_cfg::{File, FwCfg, MmioPort};
use crate::drivers::ged::Ged;
use crate::drivers::gic::{FIRST_SPI, Gic, GicAddresses, Trigger};
use crate::drivers::nvdimm::Nvdimm;
use crate::drivers::nvdimm::port::MmioPort as NvdimmPort;
use crate::drivers::virtio::find::{self, VirtioDevice};
use crate::drivers::virtio::found::Name;
use crate::drivers::virtio::memory;
pub use crate::drivers::virtio::memory::MemoryDevice;
use crate::drivers::windows::Loaded;

/// The file of fw_cfg with the ACPI tables (QEMU, include/hw/acpi/aml-build.h, ACPI_BUILD_TABLE_FILE).
const ACPI_TABLES: &str = "etc/acpi/tables";
/// The file of fw_cfg with more boot arguments.
const ARGUMENTS: &str = "opt/hotmap/args";
/// How many interrupts have an ID of their own (IHI 0069, 2.2, without LPIs).
const MOST_PENDING: u32 = 1020;

/// Finds the redistributor of each CPU that runs, by its affinity. Runs with the MMU off, with exceptions installed: where
/// the device tree says that there are redistributors, there may be nothing.
pub fn find_redistributors(info: &mut BootInfo) {
    let machine = &info.machine;
    let GicNode::V3 { redistributors, redistributor_stride, .. } = &machine.gic else { return };
    let affinities = plan::affinities(machine, info.boot_affinity, info.args.max_cpus);
    for (place, affinity) in info.redistributors.iter_mut().zip(affinities) {
        let found =
            affinity.and_then(|a| affinity::find(redistributors, *redistributor_stride, a, gicr_typer));
        *place = found.unwrap_or(0);
    }
}

/// GICR_TYPER at physical address `at`, whose two halves may be read one by one (IHI 0069, "GICR_TYPER").
fn gicr_typer(at: u64) -> Option<u64> {
    // SAFETY: B1, M4: the MMU is off; GICR_TYPER is read-only, and reading whatever else the device tree may point to, RAM
    // or the third and fourth word of a device, has no effect on the devices that the kernel uses.
    let half = |at| unsafe { probe_read32(word(at)) }.map(u64::from);
    Some(half(at)? | half(at + 4)? << 32)
}

/// Reads from QEMU's fw_cfg more boot arguments (`-fw_cfg name=opt/hotmap/args,string=...`), and what its ACPI tables announce.
/// Runs with the MMU off.
pub fn read_fw_cfg(info: &mut BootInfo, loaded: &Loaded) {
    let BootInfo { machine, args, virtio, acpi, .. } = info;
    let Some(region) = machine.fw_cfg else { return };
    // SAFETY: M4: the MMU is off, so the registers are at their physical address.
    let port = unsafe { MmioPort::new(word(region.start)) };
    let found = FwCfg::new(port).and_then(|mut device| Ok((device.find([ARGUMENTS, ACPI_TABLES])?, device)));
    let ([arguments, tables], mut device) = match found {
        Ok(found) => found,
        Err(error) => return args.refuse(format_args!("{ARGUMENTS}: {error}")),
    };
    if let Some(file) = arguments {
        read_arguments(&mut device, file, args);
    }
    if let Some(file) = tables {
        acpi.take(&device.read_acpi(file), machine, loaded, virtio);
    }
}

fn read_arguments(device: &mut FwCfg<MmioPort>, file: File, args: &mut BootArgs) {
    let mut buffer = [0; crate::args::RUN_CAPACITY];
    match device.read(file, &mut buffer).map(core::str::from_utf8) {
        Ok(Ok(text)) => args.read(text.trim_end_matches('\0')),
        Ok(Err(error)) => args.refuse(format_args!("{ARGUMENTS} is not UTF-8: {error}")),
        Err(error) => args.refuse(format_args!("{ARGUMENTS}: {error}")),
    }
}

/// Where a device's registers are mapped.
pub fn mapped(start: u64) -> Option<usize> {
    layout::device_address(PhysAddr::new(start)).map(|va| word(va.get()))
}

/// The devices in use.
pub struct Platform {
    gic: Option<Gic>,
    uart_intid: Option<u32>,
    /// The memory-hotplug registers, where the machine has them.
    pub ged: Option<Ged>,
    /// What tells of NVDIMMs, where the machine has it.
    pub nvdimm: Option<Nvdimm<NvdimmPort>>,
    /// The virtio devices of type memory, until their driver takes them.
    pub virtio: Vec<VirtioDevice>,
    /// SPIs of virtio devices: level-triggered, and enabled again by [`Platform::rearm_virtio`] once they are taken.
    virtio_spis: Vec<u32>,
    /// One of these was taken, and is off.
    virtio_pending: bool,
    /// The timer's interrupt can end a sleep.
    has_timer: bool,
    /// A device has no interrupt: nothing may sleep.
    polled: bool,
}

impl Platform {
    /// Sets the devices up. A device that is missing or does not work is logged and left out.
    pub fn bring_up(info: &BootInfo) -> Self {
        let (virtio, virtio_spis) = (find::open(&info.virtio, DeviceType::Memory), Vec::new());
        let mut platform = Self {
            gic: gic(info),
            uart_intid: None,
            ged: None,
            nvdimm: info.acpi.nvdimm.and_then(nvdimm),
            virtio,
            virtio_spis,
            virtio_pending: false,
            has_timer: false,
            polled: false,
        };
        platform.tell_of_buses(info);
        platform.enable_virtio();
        platform.has_timer = info.machine.timer.is_some_and(|timer| platform.enable_timer(timer.get()));
        if let Some(uart) = info.machine.console.uart() {
            platform.enable_console(uart);
        }
        if let Some(slots) = &info.acpi.slots {
            platform.use_slots(slots);
        }
        platform
    }

    /// Takes the memory slots, and lets their events wake the CPU.
    fn use_slots(&mut self, slots: &Slots) {
        self.ged = ged(slots);
        if self.ged.is_none() {
            return;
        }
        let enabled = slots
            .interrupt
            .is_some_and(|Interrupt { gsi, edge }| self.enable(gsi - FIRST_SPI, trigger(edge)));
        if !enabled {
            crate::klog!("dimms: the slots' events are polled: they have no interrupt");
            self.polled = true;
        }
    }

    /// Lets the console's interrupt wake the CPU; a console without one is polled.
    fn enable_console(&mut self, uart: Uart) {
        let Some(interrupt) = uart.interrupt else { return };
        if interrupt.kind == InterruptKind::Ppi {
            let number = interrupt.number;
            crate::klog!(
                "console: PPI {number} belongs to one CPU and cannot be the UART's; the console is polled"
            );
        } else if self.enable(interrupt.number, trigger(interrupt.is_edge())) {
            self.uart_intid = Some(interrupt.intid());
            crate::console::enable_receive_interrupt();
        }
    }

    /// Logs what the device tree and the buses have that is not used.
    fn tell_of_buses(&self, info: &BootInfo) {
        for complaint in &info.machine.complaints {
            crate::klog!("{complaint}; not used");
        }
        for refusal in &info.acpi.refusals {
            crate::klog!("{refusal}");
        }
        for (name, refusal) in &info.virtio.refusals {
            crate::klog!("{name}: {refusal}; not used");
        }
    }

    /// Hands out the virtio memory devices, with what is wrong with one. Those that are dropped are reset, and interrupt no
    /// more.
    pub fn take_memory_devices(
        &mut self,
    ) -> impl Iterator<Item = (Name, Result<MemoryDevice, Fault>)> + use<> {
        let found = core::mem::take(&mut self.virtio);
        found.into_iter().map(|device| (device.name, memory::drive(device.transport)))
    }

    /// Enables the interrupts of the virtio devices; several may share one.
    fn enable_virtio(&mut self) {
        for at in 0..self.virtio.len() {
            let spi = self.virtio[at].interrupt;
            let known = spi.is_some_and(|spi| self.virtio_spis.contains(&spi));
            let enabled = known
                || spi.is_some_and(|spi| {
                    self.virtio_spis.try_reserve(1).is_ok() && self.enable(spi, Trigger::Level)
                });
            match spi {
                Some(spi) if enabled && !known => self.virtio_spis.push(spi),
                Some(_) if enabled => {}
                _ => {
                    self.virtio[at].interrupt = None;
                    self.polled = true;
                }
            }
            let VirtioDevice { name, device_type, interrupt, .. } = &self.virtio[at];
            match interrupt {
                Some(spi) => crate::klog!("{name}: virtio {device_type:?}, SPI {spi}"),
                None => crate::klog!("{name}: virtio {device_type:?}, polled: it has no SPI"),
            }
        }
    }

    /// Lets the virtio devices interrupt again, once each was asked for its events: an interrupt of theirs stays pending until
    /// then, and [`Platform::wait`] turns it off when it takes it.
    pub fn rearm_virtio(&mut self) {
        let Some(gic) = self.gic.as_mut().filter(|_| self.virtio_pending) else { return };
        self.virtio_pending = false;
        for spi in &self.virtio_spis {
            gic.set_enabled(*spi, true);
        }
    }

    /// Enables an SPI; returns whether the controller has it.
    fn enable(&mut self, spi: u32, trigger: Trigger) -> bool {
        let Some(gic) = &mut self.gic else { return false };
        gic.enable_spi(spi, trigger).inspect_err(|error| crate::klog!("gic: {error}")).is_ok()
    }

    fn enable_timer(&mut self, id: u32) -> bool {
        let Some(gic) = &mut self.gic else { return false };
        gic.enable_ppi(id).inspect_err(|error| crate::klog!("timer: {error}; retries are polled")).is_ok()
    }

    /// Sleeps until a device raises an interrupt or the counter reaches `until`, in ticks, and takes the interrupt. The caller
    /// then looks at every device, and reads the console until it is empty: its interrupt is cleared. What cannot wake the CPU
    /// is polled instead.
    pub fn wait(&mut self, until: Option<u64>) {
        let can_wake = self.gic.is_some() && self.uart_intid.is_some() && !self.polled;
        if can_wake && (until.is_none() || self.has_timer) {
            if until.is_some() {
                counter::set_timer(until);
            }
            crate::arch::cpu::wait_for_interrupt();
            if until.is_some() {
                counter::set_timer(None);
            }
        }
        self.drain();
    }

    /// Takes every interrupt that is pending, at most as many as there are IDs: registers that are no interrupt controller's
    /// may always read as one that is pending.
    pub fn drain(&mut self) {
        let Some(gic) = &mut self.gic else { return };
        for _ in 0..MOST_PENDING {
            let Some(id) = gic.next_pending() else { return };
            if Some(id) == self.uart_intid {
                crate::console::clear_receive_interrupt();
            }
            if let Some(spi) = id.checked_sub(FIRST_SPI).filter(|spi| self.virtio_spis.contains(spi)) {
                gic.set_enabled(spi, false);
                self.virtio_pending = true;
            }
            gic.end(id);
        }
    }
}

const fn trigger(edge: bool) -> Trigger {
    if edge { Trigger::Edge } else { Trigger::Level }
}

fn gic(info: &BootInfo) -> Option<Gic> {
    let addresses = match &info.machine.gic {
        GicNode::Absent => {
            crate::klog!("gic: the device tree has none; idling by polling");
            return None;
        }
        GicNode::V2 { distributor, cpu_interface } => GicAddresses::V2 {
            distributor: mapped(distributor.start)?,
            cpu_interface: mapped(cpu_interface.start)?,
        },
        GicNode::V3 { distributor, .. } => GicAddresses::V3 {
            distributor: mapped(distributor.start)?,
            redistributors: info.redistributors.map(|start| if start == 0 { None } else { mapped(start) }),
        },
    };
    // SAFETY: M4: boot mapped the windows of the device tree's GIC, and this is its only driver.
    unsafe { Gic::new(addresses) }.inspect_err(|error| crate::klog!("gic: {error}; idling by polling")).ok()
}

/// The memory slots that ACPI announces, if that is what answers there.
fn ged(found: &Slots) -> Option<Ged> {
    let (events, slots) = (mapped(found.events.start.get())?, mapped(found.slots.start.get())?);
    // SAFETY: M4: ACPI announces the registers, boot mapped them, and this is their only driver.
    let ged = unsafe { Ged::new(events, slots) };
    ged.inspect_err(|error| crate::klog!("{error}; not used")).ok()
}

/// What tells of NVDIMMs, at the register that ACPI announces.
fn nvdimm(register: PhysRange) -> Option<Nvdimm<NvdimmPort>> {
    let register = mapped(register.start.get())?;
    // SAFETY: M4: ACPI announces the register, boot mapped it, and this is its only driver. M6: the machine is brought up
    // once.
    let port = unsafe { NvdimmPort::new(register) };
    port.inspect_err(|error| crate::klog!("nvdimm: {error}")).ok().map(Nvdimm::new)
}
