//! Fixed lines: the keys of the contract, and what must be refused.

use super::{BlockState, BootWay, Memmap, State, ZoneName};

const LINE: &str = r#"{"version":1,"granule":4096,"va_bits":48,"boot":"firmware","cpus":1,"linear":{"start":"0xffff000000000000","phys_base":"0x40000000"},"vmemmap":{"start":"0xfffffdffc0000000","first_pfn":262144,"page_bytes":64},"pages":{"present":294912,"free":289000,"allocated":100,"memmap_self":512,"memmap_ram":4096,"tables":20,"reserved":1184},"zones":[{"name":"Normal","start_pfn":262144,"end_pfn":524288,"present":262144,"free":256744},{"name":"Movable","start_pfn":524288,"end_pfn":557056,"present":32256,"free":32256}],"blocks":[{"start":"0x40000000","size":134217728,"state":"online","zone":"Normal","source":"boot","memmap":"boot","usable_start":"0x40000000","tenant_pages":0},{"start":"0x80000000","size":134217728,"state":"online","zone":"Movable","source":"dimm0","memmap":"self","usable_start":"0x80200000","tenant_pages":7}],"dimms":[{"slot":0,"start":"0x80000000","size":134217728,"state":"online"}],"regions":[],"warnings":0,"wrong_arguments":0,"novelty":[1]}"#;

fn state() -> State {
    State::parse(LINE).expect("the contract's line")
}

#[test]
fn every_key_of_the_contract_is_read() {
    let state = state();
    assert_eq!(state.boot, BootWay::Firmware);
    assert_eq!(state.vmemmap.first_pfn, 0x4_0000);
    let block = &state.blocks[1];
    assert_eq!(
        (block.state, block.zone, block.memmap),
        (BlockState::Online, ZoneName::Movable, Memmap::SelfHosted)
    );
    assert_eq!(block.usable_start, 0x8020_0000);
    assert_eq!(state.dimm(0).map(|dimm| dimm.state.as_str()), Some("online"));
    assert_eq!(state.tenant_pages(), 7);
    assert_eq!(state.blocks_in(0x8000_0000, 1 << 30).len(), 1);
    assert_eq!(state.heap, None);
}

/// The key may be absent (older kernels); if it is there, it is complete.
#[test]
fn the_nvdimms_may_be_absent_but_not_misshapen() {
    assert_eq!(state().nvdimms, []);
    let with =
        |nvdimms: &str| State::parse(&LINE.replacen("\"regions\"", &format!("{nvdimms},\"regions\""), 1));
    let range = r#""number":2,"start":"0x80000000","size":1073741824,"node":null"#;
    let state = with(&format!(r#""nvdimms":[{{{range},"state":"waiting"}}]"#)).expect("an NVDIMM");
    assert_eq!(state.nvdimm(2).map(|found| (found.start, found.node)), Some((0x8000_0000, None)));
    assert_eq!(state.nvdimm(0), None);
    assert!(with(&format!(r#""nvdimms":[{{{range}}}]"#)).expect_err("no state").contains("state"));
}

const DEVICE: &str = r#"{"start":"0x90000000","size":67108864,"type":"fs-dax","state":"live","altmap":{"base_pfn":589824,"reserve":2,"free":256,"align":0,"alloc":256},"usable_start":"0x90102000","holds":1,"align":4096,"dedup":false,"ranges":[{"start":"0x90000000","size":67108864}]}"#;

fn with_device(device: &str) -> Result<State, String> {
    State::parse(&LINE.replacen("\"regions\"", &format!("\"devices\":[{device}],\"regions\""), 1))
}

/// The key may be absent (older kernels); if it is there, it is complete, with `null` for no altmap.
#[test]
fn the_devices_may_be_absent_but_not_misshapen() {
    assert_eq!(state().devices, []);
    let state = with_device(DEVICE).expect("a device");
    let device = state.device(0x9000_0000).expect("by its start");
    assert_eq!((device.kind.as_str(), device.state.as_str(), device.holds), ("fs-dax", "live", 1));
    assert_eq!(device.altmap.map(|altmap| (altmap.reserve, altmap.free, altmap.alloc)), Some((2, 256, 256)));
    assert_eq!(state.contradictions(), Vec::<String>::new());
    let (before, after) = DEVICE.split_once("\"altmap\":").expect("a key");
    let after = after.split_once("},").expect("its end").1;
    let plain = with_device(&format!("{before}\"altmap\":null,{after}")).expect("no altmap");
    assert_eq!(plain.devices[0].altmap, None);
    let keys = "start size type state altmap base_pfn reserve free align alloc usable_start holds ranges";
    for key in keys.split_whitespace() {
        let without = DEVICE.replacen(&format!("\"{key}\":"), "\"other\":", 1);
        assert!(with_device(&without).expect_err(key).contains(key), "{key}");
    }
}

#[test]
fn impossible_devices_are_named() {
    for (wrong, word) in [
        (DEVICE.replace("0x90102000", "0x90100000"), "impossible"),
        (DEVICE.replace("589824", "589825"), "impossible"),
        (DEVICE.replacen("67108864", "2097152", 1), "impossible"),
        (DEVICE.replace("67108864", "67108863"), "impossible"),
        (DEVICE.replace("\"align\":0", "\"align\":1"), "more of its altmap"),
        (DEVICE.replace("0x9", "0x8").replace("589824", "524288"), "overlaps a memory block"),
    ] {
        let found = with_device(&wrong).expect("well-formed").contradictions();
        assert!(found.len() == 1 && found[0].contains(word), "{wrong}: {found:?}");
    }
}

/// The removal of any key, at any depth, is an error that names it.
#[test]
fn a_missing_key_is_an_error_that_names_it() {
    let keys = "version granule va_bits boot cpus linear start phys_base vmemmap first_pfn page_bytes pages present free \
                allocated memmap_self memmap_ram tables reserved zones name start_pfn end_pfn blocks size state zone \
                source memmap usable_start tenant_pages dimms slot regions warnings wrong_arguments";
    for key in keys.split_whitespace() {
        let without = LINE.replacen(&format!("\"{key}\":"), "\"other\":", 1);
        let message = State::parse(&without).expect_err(key);
        assert!(message.contains(key) || message.contains("missing field"), "{key}: {message}");
    }
}

#[test]
fn an_address_that_is_a_number_is_refused() {
    let line = LINE.replacen("\"0x40000000\"", "1073741824", 1);
    assert!(State::parse(&line).is_err());
    let line = LINE.replacen("\"0x40000000\"", "\"40000000\"", 1);
    assert!(State::parse(&line).expect_err("no 0x").contains("an address is a string"));
}

#[test]
fn anything_but_one_line_is_refused() {
    assert!(State::parse("").is_err());
    assert!(State::parse(&format!("{LINE}\n{LINE}")).is_err());
}

#[test]
fn a_struct_page_and_a_linear_address_by_the_contracts_formulas() {
    let state = state();
    assert_eq!(state.struct_page(262_145), 0xffff_fdff_c000_0040);
    assert_eq!(state.linear_address(0x8000_0000), 0xffff_0000_4000_0000);
}

#[test]
fn a_sound_line_contradicts_nothing() {
    assert_eq!(state().contradictions(), Vec::<String>::new());
}

#[test]
fn a_lost_page_contradicts_i6() {
    let mut state = state();
    state.pages.tables -= 1;
    assert_eq!(state.contradictions(), ["I6: present is 294912, but the parts make 294911"]);
}

/// `memmap=self-range` fills whole blocks with the memmap of a large range.
#[test]
fn a_block_may_hold_nothing_but_memmap() {
    let mut state = state();
    state.blocks[1].usable_start = 0x8800_0000;
    assert_eq!(state.contradictions(), Vec::<String>::new());
}

#[test]
fn impossible_blocks_and_zones_are_named() {
    let mut state = state();
    state.blocks[1].usable_start = 0x8800_1000;
    state.blocks[0].zone = ZoneName::None;
    state.zones[0].free += 1;
    let found = state.contradictions();
    assert_eq!(found.len(), 3, "{found:?}");
    state.blocks[0].start = 0x8000_0000;
    assert!(state.contradictions().iter().any(|sentence| sentence.contains("overlap")));
}

/// The keys that came with `schema`: absent from an older line, and complete where they are.
#[test]
fn the_keys_of_schema_1_are_read() {
    let older = state();
    assert_eq!((older.schema, older.slots, older.args.as_ref()), (None, 0, None));
    assert_eq!(older.dimms[0].reason, None);
    let args = r#""args":{"granule":"4k","memmap":"self","boot_memmap":"ram","online":"manual","hotadd":"manual","virtio_mem":"auto","pmem":"off","hugepages":[{"size":2097152,"count":4}],"hvo":"on","run":"echo \"a\\b\"","term":"dumb","script":"off","heap":4194304,"maxcpus":null,"bench":"off","strict":"off","bug":null}"#;
    let line = LINE
        .replacen("\"version\"", "\"schema\":1,\"version\"", 1)
        .replacen(
            "\"regions\"",
            &format!("\"slots\":8,\"tenants\":[{{\"id\":3,\"pages\":7}}],{args},\"regions\""),
            1,
        )
        .replacen("\"state\":\"online\"}]", "\"node\":1,\"state\":\"refused\",\"reason\":\"too small\"}]", 1)
        .replacen(
            "\"free\":256744}",
            "\"free\":256744,\"nodes\":[{\"node\":0,\"present\":262144,\"free\":256744}]}",
            1,
        );
    let state = State::parse(&line).expect("a line of schema 1");
    assert_eq!((state.schema, state.slots, state.tenants[0].id), (Some(1), 8, 3));
    assert_eq!((state.dimms[0].node, state.dimms[0].reason.as_deref()), (1, Some("too small")));
    let args = state.args.as_ref().expect("arguments");
    assert_eq!(args.run.as_deref(), Some(r#"echo "a\b""#));
    assert_eq!((args.hugepages[0].count, args.maxcpus, args.bug.as_deref()), (4, None, None));
    assert_eq!(state.contradictions(), older.contradictions());
    for (right, wrong, word) in [
        ("\"id\":3,\"pages\":7", "\"id\":3,\"pages\":8", "tenants have 8 pages"),
        ("\"node\":0,\"present\":262144", "\"node\":0,\"present\":262143", "other pages than its nodes"),
    ] {
        let state = State::parse(&line.replacen(right, wrong, 1)).expect("well-formed");
        assert!(state.contradictions().iter().any(|sentence| sentence.contains(word)), "{word}");
    }
    for key in ["granule", "run", "maxcpus", "bug", "hugepages"] {
        let (before, after) = line.split_once("\"args\"").expect("arguments");
        let without = format!("{before}\"args\"{}", after.replacen(&format!("\"{key}\":"), "\"other\":", 1));
        assert!(State::parse(&without).expect_err(key).contains(key), "{key}");
    }
}

/// The release has the file.
#[test]
fn the_file_is_that_of_the_types() {
    let file =
        std::fs::read_to_string(crate::qemu::root().join("state.schema.json")).expect("state.schema.json");
    let written: serde_json::Value = serde_json::from_str(&file).expect("JSON");
    let hint = "cargo run -q -p hotmap-client --example state-schema >state.schema.json";
    assert_eq!(written, super::schema(), "run: {hint}");
}
