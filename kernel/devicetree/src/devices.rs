//! Devices, known by `compatible`: the interrupt controller, PSCI, fw_cfg, PCI and virtio, flash, persistent memory; and
//! the CPUs, known by where they are. Where a machine has two of a kind, the first one in the blob counts.
use heapless::Vec;

use crate::bus::Buses;
use crate::description::{
    Cpu, EnableMethod, FLASH_CAPACITY, Gic, MachineDescription, Psci, PsciConduit, PsciVersion,
    REDISTRIBUTOR_CAPACITY,
};
use crate::error::{DtError, List};
use crate::facts::Facts;
use crate::memory;
use crate::name::name;
use crate::property::Property;
use crate::region::Region;
use crate::value::strings;
use crate::virtio::{self, Wiring};

/// The devices that this crate reads. The strings are the bindings' in Linux's
/// Documentation/devicetree/bindings: arm,gic.yaml, arm,gic-v3.yaml, psci.yaml, qemu,fw-cfg-mmio.yaml,
/// host-generic-pci.yaml, virtio/mmio.yaml, mtd-physmap.yaml, pmem-region.txt, timer/arm,arch_timer.yaml.
#[derive(Clone, Copy)]
enum Kind {
    GicV2,
    GicV3,
    Psci,
    FwCfg,
    Pci,
    VirtioMmio,
    Flash,
    Pmem,
    Timer,
}

fn kind(compatible: &[u8]) -> Option<Kind> {
    Some(match compatible {
        b"arm,cortex-a15-gic" | b"arm,gic-400" => Kind::GicV2,
        b"arm,gic-v3" => Kind::GicV3,
        b"arm,psci-1.0" | b"arm,psci-0.2" | b"arm,psci" => Kind::Psci,
        b"qemu,fw-cfg-mmio" => Kind::FwCfg,
        b"pci-host-ecam-generic" => Kind::Pci,
        b"virtio,mmio" => Kind::VirtioMmio,
        b"cfi-flash" => Kind::Flash,
        b"pmem-region" => Kind::Pmem,
        b"arm,armv8-timer" => Kind::Timer,
        _ => return None,
    })
}

/// Takes a node if it is one of these.
pub(crate) fn read<'a>(
    buses: &Buses<'a>,
    depth: usize,
    facts: &Facts<'a>,
    out: &mut MachineDescription,
    wiring: &mut Wiring<'a>,
) -> Result<(), DtError> {
    let Some(kind) = facts.compatible.and_then(|list| strings(list).find_map(kind)) else { return Ok(()) };
    match kind {
        Kind::GicV2 | Kind::GicV3 if out.gic != Gic::Absent => {}
        Kind::GicV2 => gic_v2(buses, depth, facts, &mut out.gic)?,
        Kind::GicV3 => gic_v3(buses, depth, facts, &mut out.gic)?,
        Kind::Psci if out.psci.conduit == PsciConduit::Absent => out.psci = psci(facts)?,
        Kind::Psci => {}
        Kind::FwCfg => first_region(buses, depth, facts, &mut out.fw_cfg)?,
        Kind::Pci => virtio::read_pci(buses, depth, facts, out, wiring),
        Kind::VirtioMmio => virtio::read_mmio(buses, depth, facts, out, wiring),
        Kind::Flash => flash(buses, depth, facts, out)?,
        Kind::Pmem => memory::read_pmem(buses, depth, facts, out)?,
        Kind::Timer => virtio::read_timer(buses, depth, facts, out, wiring),
    }
    Ok(())
}

/// A device of which the first region is wanted.
fn first_region(
    buses: &Buses<'_>,
    depth: usize,
    facts: &Facts<'_>,
    device: &mut Option<Region>,
) -> Result<(), DtError> {
    if device.is_none() {
        *device = buses.regions(depth, facts)?.map(|[region]| region);
    }
    Ok(())
}

/// Flash: each region of `reg` is a bank. The kernel does not drive it; nothing else may lie there.
fn flash(
    buses: &Buses<'_>,
    depth: usize,
    facts: &Facts<'_>,
    out: &mut MachineDescription,
) -> Result<(), DtError> {
    buses.each_region(depth, facts, usize::MAX, |region| {
        let too_many = DtError::TooMany { list: List::Flash, capacity: FLASH_CAPACITY };
        out.flash.push(region).map_err(|_| too_many)
    })?;
    Ok(())
}

/// GICv2: `reg` is the distributor, the CPU interface, and what the virtualization extensions add.
fn gic_v2(buses: &Buses<'_>, depth: usize, facts: &Facts<'_>, gic: &mut Gic) -> Result<(), DtError> {
    if let Some([distributor, cpu_interface]) = buses.regions(depth, facts)? {
        *gic = Gic::V2 { distributor, cpu_interface };
    }
    Ok(())
}

/// GICv3: `reg` is the distributor, `#redistributor-regions` redistributor regions (one, if it does not say), and
/// then memory-mapped interfaces for GICv2 software.
fn gic_v3(buses: &Buses<'_>, depth: usize, facts: &Facts<'_>, gic: &mut Gic) -> Result<(), DtError> {
    let need = facts.redistributor_regions.unwrap_or(1) as usize;
    if need > REDISTRIBUTOR_CAPACITY {
        return Err(DtError::TooMany { list: List::Redistributors, capacity: REDISTRIBUTOR_CAPACITY });
    }
    let mut distributor = None;
    let mut redistributors = Vec::new();
    let have = buses.each_region(depth, facts, need + 1, |region| {
        if distributor.is_none() {
            distributor = Some(region);
        } else {
            // `need` of them fit, see above, and no more than that come.
            let _ = redistributors.push(region);
        }
        Ok(())
    })?;
    let redistributor_stride = facts.redistributor_stride.unwrap_or(0);
    match (have, distributor) {
        (None, _) => {}
        (Some(have), Some(distributor)) if have > need => {
            *gic = Gic::V3 { distributor, redistributors, redistributor_stride };
        }
        (Some(have), _) => return Err(DtError::RegEntries { node: facts.text(), have, need: need + 1 }),
    }
    Ok(())
}

fn psci(facts: &Facts<'_>) -> Result<Psci, DtError> {
    let conduit = match facts.method {
        Some(b"hvc") => PsciConduit::Hvc,
        Some(b"smc") => PsciConduit::Smc,
        Some(other) => return Err(DtError::PsciMethod { method: name(other) }),
        None => return Err(facts.missing(Property::Method)),
    };
    let version = if facts.is_compatible(b"arm,psci-1.0") {
        PsciVersion::V1_0
    } else if facts.is_compatible(b"arm,psci-0.2") {
        PsciVersion::V0_2
    } else {
        PsciVersion::V0_1
    };
    // Later ones have it for kernels that know 0.1 alone.
    let cpu_on = facts.cpu_on.filter(|_| version == PsciVersion::V0_1);
    Ok(Psci { conduit, version, cpu_on })
}

/// Takes a child of /cpus with `device_type = "cpu"`: each number in its `reg` is a CPU, a node with several is a
/// core with several threads (Devicetree Specification 3.8.1; on arm64 the number is MPIDR_EL1's affinity fields).
pub(crate) fn read_cpu(
    buses: &Buses<'_>,
    depth: usize,
    facts: &Facts<'_>,
    out: &mut MachineDescription,
) -> Result<(), DtError> {
    let enable_method = match facts.enable_method {
        None => EnableMethod::Absent,
        Some(list) if strings(list).any(|method| method == b"psci") => EnableMethod::Psci,
        Some(_) => EnableMethod::Other,
    };
    for mpidr in buses.identifiers(depth, facts)? {
        // More than fit are counted only.
        let _ = out.cpus.push(Cpu { mpidr, enable_method });
        out.cpu_count = out.cpu_count.saturating_add(1);
    }
    Ok(())
}
