//! `state` against state.schema.json, on machines that have something of everything.

use super::test::{Test, per_granule, slotted};
use crate::schema::faults;
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, failed};
use hotmap_client::geometry::Granule;
use hotmap_client::guest::Guest;
use hotmap_client::machine::Machine;
use hotmap_client::qemu::root;
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};
use serde_json::Value;

pub(super) fn tests() -> Vec<Test> {
    per_granule("schema", every_key_is_in_the_schema)
}

fn every_key_is_in_the_schema(run: &Run, granule: Granule) -> Checked<String> {
    let block = granule.block();
    let pools = format!("hugepages={}:1", granule.huge_page_worth_sharing());
    let machine = Machine {
        hotpluggable: Some("1G".into()),
        pmem: Some("1G".into()),
        ..slotted(granule).memory("2G").virtio_mem("4G,requested=1G").extra(["-machine", "nvdimm=on"])
    };
    let mut guest = Guest::boot(run, &machine.append("memmap=demand pmem=dev").append(&pools))?;
    guest.plug_well(&Dimm::new("d0", block))?;
    guest.plug(&Dimm::new("odd", block / 2))?;
    let nvdimm = Dimm::nvdimm("n0", block);
    guest.plug_without_waiting(&nvdimm)?;
    guest.tell("dimms; tenant new 10; add 0xc0000000,512M; dax")?;
    let line = guest.tell("state")?;
    check(&line)?;
    let state = guest.state()?;
    let kinds = (state.dimms.len(), state.nvdimms.len(), state.virtio_mem.len(), state.regions.len());
    ensure_eq!(kinds, (2, 1, 1, 2), "DIMMs, NVDIMMs, virtio memory devices, regions");
    ensure!(!state.extents.is_empty() && !state.devices.is_empty(), "no extents or no devices: {line}");
    let added = state.regions.iter().any(|region| !region.added.is_empty());
    ensure!(added, "no part of a region was added: {line}");
    Ok(format!("{} bytes", line.len()))
}

fn check(line: &str) -> Checked {
    let read = |text: &str| -> Checked<Value> {
        serde_json::from_str(text).or_else(|error| failed(format!("{error}")))
    };
    let file = std::fs::read_to_string(root().join("state.schema.json"))
        .or_else(|error| failed(format!("{error}")))?;
    let found = faults(&read(&file)?, &read(line)?);
    ensure!(found.is_empty(), "{}", found.join("; "));
    Ok(())
}
