//! DIMMs as QEMU plugs them: a memory backend and a `pc-dimm` or `nvdimm` that uses it.

use crate::qmp::{Qmp, Refusal};
use qapi::qmp::{
    MemoryBackendFileProperties, MemoryBackendProperties, MemoryDeviceInfo, ObjectOptions, PCDIMMDeviceInfo,
    device_add, device_del, object_add, object_del, query_memory_devices,
};
use std::path::{Path, PathBuf};

/// What kind of DIMM it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RAM.
    PcDimm,
    /// Persistent memory without labels. QEMU refuses to unplug it. Needs `-machine nvdimm=on`.
    Nvdimm,
}

impl Kind {
    /// QEMU's name of the device.
    pub const fn driver(self) -> &'static str {
        match self {
            Self::PcDimm => "pc-dimm",
            Self::Nvdimm => "nvdimm",
        }
    }
}

/// A DIMM, plugged or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dimm {
    /// QEMU's id of the device; the backend's is `mem-` and this.
    pub id: String,
    /// RAM or persistent memory.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Physical address; QEMU chooses when `None`.
    pub address: Option<u64>,
    /// Slot number; QEMU chooses when `None`.
    pub slot: Option<u32>,
    /// NUMA node, which the machine must have; QEMU says 0 when `None`.
    pub node: Option<u32>,
    /// The file that backs it (shared), so that its contents can be read from the host; `None` is anonymous memory.
    pub file: Option<PathBuf>,
    /// Whether the host reserves memory for it: false for DIMMs larger than the host's memory.
    pub reserve: bool,
}

impl Dimm {
    /// A DIMM of `size` bytes of anonymous memory, placed by QEMU.
    pub fn new(id: &str, size: u64) -> Self {
        let (id, kind) = (id.to_owned(), Kind::PcDimm);
        Self { id, kind, size, address: None, slot: None, node: None, file: None, reserve: true }
    }

    /// An NVDIMM of `size` bytes of anonymous memory, placed by QEMU.
    pub fn nvdimm(id: &str, size: u64) -> Self {
        Self { kind: Kind::Nvdimm, ..Self::new(id, size) }
    }

    /// Placed at a physical address.
    #[must_use]
    pub fn at(mut self, address: u64) -> Self {
        self.address = Some(address);
        self
    }

    /// In this slot.
    #[must_use]
    pub fn in_slot(mut self, slot: u32) -> Self {
        self.slot = Some(slot);
        self
    }

    /// On this NUMA node.
    #[must_use]
    pub fn on_node(mut self, node: u32) -> Self {
        self.node = Some(node);
        self
    }

    /// Backed by a file of the right length.
    #[must_use]
    pub fn on_file(mut self, file: PathBuf) -> Self {
        self.file = Some(file);
        self
    }

    /// Without reserving memory of the host.
    #[must_use]
    pub fn unreserved(mut self) -> Self {
        self.reserve = false;
        self
    }

    fn backend(&self) -> String {
        format!("mem-{}", self.id)
    }

    fn object(&self) -> ObjectOptions {
        let base = MemoryBackendProperties {
            dump: None,
            host_nodes: None,
            merge: None,
            policy: None,
            prealloc: None,
            prealloc_context: None,
            prealloc_threads: None,
            reserve: (!self.reserve).then_some(false),
            share: self.file.is_some().then_some(true),
            x_use_canonical_path_for_ramblock_id: None,
            size: self.size,
        };
        let id = self.backend();
        match &self.file {
            None => ObjectOptions::memory_backend_ram { id, memory_backend_ram: base },
            Some(path) => ObjectOptions::memory_backend_file { id, memory_backend_file: on_file(base, path) },
        }
    }

    fn device(&self) -> device_add {
        let mut properties = vec![("memdev".to_owned(), self.backend().into())];
        properties.extend(self.address.map(|address| ("addr".to_owned(), address.into())));
        properties.extend(self.slot.map(|slot| ("slot".to_owned(), slot.into())));
        properties.extend(self.node.map(|node| ("node".to_owned(), node.into())));
        device_add::new(self.kind.driver(), Some(self.id.clone()), None, properties)
    }

    /// The arguments that make QEMU start with this DIMM plugged (cold-plugged): an object and a device.
    pub fn cold(&self) -> [String; 4] {
        let mut device = format!("{},id={},memdev={}", self.kind.driver(), self.id, self.backend());
        if let Some(address) = self.address {
            device.push_str(&format!(",addr={address:#x}"));
        }
        if let Some(slot) = self.slot {
            device.push_str(&format!(",slot={slot}"));
        }
        if let Some(node) = self.node {
            device.push_str(&format!(",node={node}"));
        }
        let reserve = if self.reserve { "" } else { ",reserve=off" };
        let backend = format!("memory-backend-ram,id={},size={}{reserve}", self.backend(), self.size);
        ["-object".into(), backend, "-device".into(), device]
    }

    /// Plugs the DIMM, which interrupts the guest. Returns where QEMU put it.
    ///
    /// # Errors
    /// [`Refusal`]; the backend of a refused device is deleted again.
    pub fn plug(&self, qmp: &mut Qmp) -> Result<PCDIMMDeviceInfo, Refusal> {
        qmp.execute(&object_add(self.object()))?;
        if let Err(refusal) = qmp.execute(&self.device()) {
            // Nothing uses the backend, and a later DIMM may have its name.
            drop(qmp.execute(&object_del { id: self.backend() }));
            return Err(refusal);
        }
        self.find(qmp)?
            .ok_or_else(|| Refusal::NoAnswer(format!("QEMU does not list DIMM {} after adding it", self.id)))
    }

    /// Requests the DIMM's removal. QEMU answers before the guest has decided.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn ask_back(&self, qmp: &mut Qmp) -> Result<(), Refusal> {
        qmp.execute(&device_del { id: self.id.clone() }).map(drop)
    }

    /// Deletes the backend of a DIMM that is unplugged.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn forget(&self, qmp: &mut Qmp) -> Result<(), Refusal> {
        qmp.execute(&object_del { id: self.backend() }).map(drop)
    }

    /// The DIMM as `query-memory-devices` lists it.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn find(&self, qmp: &mut Qmp) -> Result<Option<PCDIMMDeviceInfo>, Refusal> {
        let devices = qmp.execute(&query_memory_devices {})?;
        Ok(devices.into_iter().find_map(|device| match device {
            MemoryDeviceInfo::dimm(dimm) | MemoryDeviceInfo::nvdimm(dimm)
                if dimm.data.id.as_deref() == Some(&self.id) =>
            {
                Some(dimm.data)
            }
            _ => None,
        }))
    }
}

fn on_file(base: MemoryBackendProperties, path: &Path) -> MemoryBackendFileProperties {
    MemoryBackendFileProperties {
        base,
        align: None,
        discard_data: None,
        offset: None,
        pmem: None,
        readonly: None,
        rom: None,
        mem_path: path.to_string_lossy().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::Dimm;
    use crate::geometry::MIB;
    use qapi::Execute;
    use qapi::qmp::object_add;
    use serde_json::json;

    #[test]
    fn a_plain_dimm_has_only_the_arguments_that_it_needs() {
        let dimm = Dimm::new("d0", 128 * MIB);
        let device = serde_json::to_value(Execute::<_>::from(dimm.device())).expect("JSON");
        let arguments = json!({"driver": "pc-dimm", "id": "d0", "memdev": "mem-d0"});
        assert_eq!(device, json!({"execute": "device_add", "arguments": arguments}));
        let object = serde_json::to_value(object_add(dimm.object())).expect("JSON");
        assert_eq!(object, json!({"qom-type": "memory-backend-ram", "id": "mem-d0", "size": 128 * MIB}));
    }

    #[test]
    fn place_slot_file_and_reserve_reach_qemu() {
        let dimm =
            Dimm::new("d1", 64 * MIB).at(0x8020_0000).in_slot(3).on_file("/tmp/fill".into()).unreserved();
        let device = serde_json::to_value(dimm.device()).expect("JSON");
        assert_eq!(device["addr"], 0x8020_0000_u64);
        assert_eq!(device["slot"], 3);
        let object = serde_json::to_value(object_add(dimm.object())).expect("JSON");
        assert_eq!(object["qom-type"], "memory-backend-file");
        assert_eq!(object["mem-path"], "/tmp/fill");
        assert_eq!(object["share"], true);
        assert_eq!(object["reserve"], false);
    }

    #[test]
    fn a_cold_dimm_is_two_arguments() {
        let cold = Dimm::new("c", MIB).at(0x9000_0000).in_slot(1).on_node(2).cold();
        assert_eq!(cold[1], "memory-backend-ram,id=mem-c,size=1048576");
        assert_eq!(cold[3], "pc-dimm,id=c,memdev=mem-c,addr=0x90000000,slot=1,node=2");
        assert_eq!(Dimm::nvdimm("n", MIB).cold()[3], "nvdimm,id=n,memdev=mem-n");
    }
}
