//! A session, asked as the page asks it. The oracle is arithmetic: pages of memory, and 64 bytes of struct page for each.

mod page;

use hotmap_playground::Session;
use page::{Page, boot};
use serde_json::json;

const GRANULES: [(&str, u64, u64); 3] =
    [("4k", 0x1000, 128 << 20), ("16k", 0x4000, 128 << 20), ("64k", 0x1_0000, 512 << 20)];
const GIB: u64 = 1 << 30;

#[test]
fn a_dimm_comes_is_used_and_goes_without_a_trace() {
    for (granule, page_size, section) in GRANULES {
        let mut page = Page::boot(boot(granule, "memmap=self"));
        let before = page.state();
        let free = page.pages("free");
        let told = page.tell("monitor", "plug 1G");
        assert_eq!(
            told, "slot 0: 1 GiB at 0x80000000\nACPI_DEVICE_OST slot 0: insertion: success\n",
            "{granule}"
        );
        let memmap = GIB / page_size * 64 / page_size;
        let state = page.state();
        assert_eq!(state["pages"]["present"], 2 * GIB / page_size);
        assert_eq!(state["pages"]["memmap_self"], memmap);
        assert_eq!(state["pages"]["free"], free + GIB / page_size - memmap);
        assert_eq!(state["dimms"][0]["start"], "0x80000000");
        assert_eq!(state["blocks"].as_array().map(Vec::len), usize::try_from(2 * GIB / section).ok());
        page.tell("line", "tenant new 100; tenant check; tenant drop; audit");
        let gone = page.tell("monitor", "unplug 0");
        assert_eq!(gone, "ACPI_DEVICE_OST slot 0: ejection: pending\nDEVICE_DELETED slot 0\n");
        let mut after = page.state();
        // Tables that the first tenant needed stay, as on any kernel.
        let tables = after["pages"]["tables"].as_u64().zip(before["pages"]["tables"].as_u64());
        let kept = tables.map_or(0, |(after, before)| after - before);
        assert!(kept <= 3, "{granule}: {kept} tables");
        for (key, gained) in [("free", 0), ("allocated", kept), ("tables", kept)] {
            let now = after["pages"][key].as_u64().expect("a number");
            let was = before["pages"][key].as_u64().expect("a number");
            match key {
                "free" => assert_eq!(now + kept, was),
                "tables" => assert_eq!(now, was + gained),
                _ => {}
            }
            after["pages"][key] = before["pages"][key].clone();
        }
        after["blocks"] = before["blocks"].clone();
        after["zones"] = before["zones"].clone();
        assert_eq!(after, before, "{granule}");
    }
}

#[test]
fn the_log_is_apart_from_what_a_command_prints() {
    let mut page = Page::boot(boot("4k", ""));
    let answer = page.must(&json!({ "do": "monitor", "text": "plug 1G" }));
    let log = answer["log"].as_str().expect("a log");
    for (number, step) in (1..).zip(["claim sections", "map linearly", "choose backing", "populate vmemmap"])
    {
        assert!(log.contains(&format!("dimm0: {number} {step}")), "{log}");
    }
    let answer = page.must(&json!({ "do": "line", "text": "tenant new 5" }));
    assert_eq!(
        (answer["text"].as_str(), answer["log"].as_str()),
        (Some("tenant 1 holds 5 pages\n"), Some(""))
    );
}

#[test]
fn what_is_held_makes_an_unplug_fail_until_it_is_released() {
    let mut page = Page::boot(boot("4k", ""));
    page.tell("monitor", "plug 1G");
    page.tell("line", "pin addr:0x88300000");
    let state = page.state();
    let told = page.refused("monitor", "unplug 0");
    assert!(told.ends_with("ejection: busy: the device is in use\n"), "{told}");
    assert_eq!(page.state(), state);
    page.tell("line", "unpin addr:0x88300000");
    assert!(page.tell("monitor", "unplug 0").contains("DEVICE_DELETED slot 0"));
    assert_eq!(page.state()["dimms"], json!([]));
}

#[test]
fn slots_and_nodes_are_the_requests() {
    let mut page = Page::boot(json!({ "do": "boot", "nodes": ["512M", "1G"], "slots": 2, "args": "" }));
    assert_eq!((page.pages("present"), page.state()["slots"].as_u64()), (1536 * 256, Some(2)));
    // Device memory begins at the next GiB.
    assert!(page.tell("monitor", "plug 256M node=1 slot=1").starts_with("slot 1: 256 MiB at 0xc0000000\n"));
    assert!(page.tell("monitor", "plug 512M at=0x140000000").starts_with("slot 0: 512 MiB at 0x140000000\n"));
    let nodes: Vec<u64> =
        page.state()["dimms"].as_array().expect("a list").iter().filter_map(|d| d["node"].as_u64()).collect();
    assert_eq!(nodes, [0, 1]);
    assert_eq!(page.refused("monitor", "plug 128M"), "all memory slots are in use");
    assert_eq!(page.refused("monitor", "unplug 7"), "the machine has no memory slot 7");
    page.tell("monitor", "unplug 0");
    assert_eq!(page.refused("monitor", "unplug 0"), "slot 0 is empty");
    for wrong in ["plug 3M", "plug x", "plug 128M at=0xc0000000", "plug 128M at=0x40000000", "nothing", ""] {
        let state = page.state();
        page.refused("monitor", wrong);
        assert_eq!(page.state(), state, "{wrong}");
    }
}

/// A DIMM of half a block is inserted, and the kernel cannot use it; it can be ejected.
#[test]
fn a_dimm_that_the_kernel_refuses_waits_in_its_slot() {
    let mut page = Page::boot(boot("4k", ""));
    let told = page.refused("monitor", "plug 64M");
    assert!(told.contains("ACPI_DEVICE_OST slot 0: insertion: failure\n"), "{told}");
    assert_eq!(page.state()["dimms"][0]["state"], "refused");
    page.tell("monitor", "unplug 0");
    assert_eq!(page.state()["dimms"], json!([]));
}

#[test]
fn virtio_memory_follows_the_size_that_is_requested() {
    for (granule, _, section) in GRANULES {
        let mut page = Page::boot(
            json!({ "do": "boot", "granule": granule, "memory": "1G", "virtio_mem": ["4G"], "args": "memmap=ram" }),
        );
        let present = page.pages("present");
        for size in [section, 2 * section + 64 * (2 << 20), 4 * section, section, 0] {
            let text = format!("virtio-mem 0 {size}");
            assert!(page.tell("monitor", &text).contains("plugged of"), "{granule}: {text}");
            let state = page.state();
            assert_eq!(
                state["virtio_mem"][0]["plugged_size"], size,
                "{granule}: {text}: {}",
                state["virtio_mem"]
            );
            let plugged: u64 = state["blocks"]
                .as_array()
                .expect("a list")
                .iter()
                .filter(|block| block["source"] == "virtio-mem0")
                .filter_map(|block| block["plugged"].as_u64())
                .sum();
            assert_eq!(plugged, size, "{granule}: {text}");
            page.tell("line", "audit");
        }
        assert_eq!(page.pages("present"), present);
        assert_eq!(page.refused("monitor", "virtio-mem 1 2M"), "there is no virtio-mem1");
        page.refused("monitor", "virtio-mem 0 5G");
        assert_eq!(page.refused("monitor", "plug 1G node=1"), "node=1: the machine has nodes 0 to 0");
        assert!(page.refused("monitor", "plug 64T").contains("no room of this size is left"));
    }
}

#[test]
fn boot_arguments_are_the_kernels() {
    let mut page =
        Page::boot(boot("16k", "memmap=demand hugepages=32M:2 granule=64k bug=skip-tlbi nonsense"));
    let args = page.state()["args"].clone();
    assert_eq!((args["granule"].as_str(), args["memmap"].as_str()), (Some("64k"), Some("demand")));
    assert_eq!((&args["bug"], &page.state()["wrong_arguments"]), (&json!("skip-tlbi"), &json!(1)));
    let mut none = Page(Session::new());
    for (args, why) in [
        ("strict=on nonsense", "unknown boot argument: nonsense"),
        ("granule=8k", "there are 4k, 16k and 64k"),
    ] {
        let answer = none.ask(&json!({ "do": "boot", "args": args }));
        assert_eq!(answer["ok"], false);
        assert!(answer["error"].as_str().expect("an error").contains(why), "{answer}");
    }
    for granule in ["8k", "4k bug=skip-tlbi", ""] {
        let answer = none.ask(&json!({ "do": "boot", "granule": granule }));
        assert!(
            answer["error"].as_str().is_some_and(|why| why.contains("there are 4k, 16k and 64k")),
            "{answer}"
        );
    }
    for memory in ["1", "x", "0", "2T", "1G1"] {
        assert_eq!(none.ask(&json!({ "do": "boot", "memory": memory }))["ok"], false, "{memory}");
    }
}

/// Without the TLB invalidation, what migrates is reached by what it was: the machine notices, and goes on.
#[test]
fn a_rule_that_a_bug_breaks_is_told() {
    let mut page = Page::boot(boot("4k", "bug=skip-tlbi"));
    page.tell("line", "tenant new 20");
    let answer = page.must(&json!({ "do": "line", "text": "offline 0x78000000; tenant check" }));
    let violations = answer["violations"].as_array().expect("some");
    assert!(
        violations.iter().any(|v| v.as_str().is_some_and(|v| v.starts_with("StaleTranslation"))),
        "{answer}"
    );
    assert_eq!(page.must(&json!({ "do": "line", "text": "help zones" })).get("violations"), None);
}

/// What is looked at finds stale entries too, and is not the next command's fault.
#[test]
fn a_violation_is_told_once_and_with_its_command() {
    let mut page = Page::boot(boot("4k", "bug=skip-tlbi memmap=ram"));
    page.tell("line", "hugetlb 2M 2");
    page.must(&json!({ "do": "view", "name": "audit" }));
    page.must(&json!({ "do": "state" }));
    assert_eq!(page.must(&json!({ "do": "line", "text": "help" })).get("violations"), None);
    let answer = page.must(&json!({ "do": "line", "text": "audit; audit" }));
    let violations = answer["violations"].as_array().expect("some");
    let texts: std::collections::BTreeSet<_> = violations.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), violations.len(), "each is told once");
}

#[test]
fn a_wrong_request_is_an_error_and_changes_nothing() {
    let mut page = Page(Session::new());
    for early in [json!({ "do": "state" }), json!({ "do": "line", "text": "audit" })] {
        assert_eq!(page.ask(&early)["error"], "there is no machine: boot first");
    }
    page.must(&boot("4k", ""));
    let state = page.state();
    for wrong in [json!({}), json!({ "do": "dance" }), json!({ "do": "line" }), json!(7)] {
        assert_eq!(page.ask(&wrong)["ok"], false, "{wrong}");
    }
    assert_eq!(page.0.call("{").find("\"ok\":false"), Some(1));
    assert!(page.refused("line", "frobnicate").starts_with("error: frobnicate: "));
    assert_eq!(page.state(), state);
}

/// `poweroff` ends the machine, as a panic does.
#[test]
fn a_machine_that_ends_is_booted_again() {
    let mut page = Page::boot(boot("4k", ""));
    let answer = page.ask(&json!({ "do": "line", "text": "poweroff" }));
    assert_eq!(answer["ok"], false);
    assert!(answer["error"].as_str().expect("an error").ends_with("boot again"), "{answer}");
    assert_eq!(page.ask(&json!({ "do": "state" }))["error"], "there is no machine: boot first");
    page.must(&boot("16k", ""));
    page.tell("line", "audit");
}

/// 64 bytes of struct page for each page, in an altmap at the device's start.
#[test]
fn a_device_is_made_of_persistent_memory() {
    for (granule, page_size, _) in GRANULES {
        let request =
            json!({ "do": "boot", "granule": granule, "memory": "1G", "pmem": ["2G", "1G"], "args": "" });
        let mut page = Page::boot(request);
        let regions = page.state()["regions"].clone();
        let starts: Vec<&str> =
            regions.as_array().expect("a list").iter().filter_map(|r| r["start"].as_str()).collect();
        assert_eq!(starts, ["0x4000000000", "0x40c0000000"], "{granule}");
        let ram = page.pages("memmap_ram");
        page.tell("line", "dax create 0x4000000000 --map dev");
        let device = page.state()["devices"][0].clone();
        let altmap = 2 * GIB / page_size * 64 / page_size;
        assert_eq!(device["altmap"]["alloc"], altmap, "{granule}: {device}");
        assert_eq!(page.pages("memmap_ram"), ram, "{granule}: none of it is in RAM");
        let steps = page.must(&json!({ "do": "trace" }))["steps"].clone();
        assert!(steps.to_string().contains("populate vmemmap"), "{granule}: {steps}");
        page.tell("line", "audit; dax destroy 0x4000000000; audit");
        assert_eq!(page.state()["devices"], json!([]));
        // DIMMs go where they went.
        assert!(page.tell("monitor", "plug 1G").starts_with("slot 0: 1 GiB at 0x80000000"));
    }
}

#[test]
fn words_complete_a_command() {
    let mut page = Page::boot(boot("4k", ""));
    let mut words = |text: &str| page.must(&json!({ "do": "complete", "text": text }))["words"].clone();
    let all = words("");
    assert!(all.as_array().is_some_and(|all| all.len() > 20 && all.contains(&json!("tenant"))), "{all}");
    assert_eq!(words("tenant "), json!(["new", "check", "drop"]));
}

#[test]
fn the_monitor_says_what_it_knows_and_what_a_refused_dimm_does() {
    let mut page = Page::boot(boot("64k", ""));
    let help = page.tell("monitor", "help");
    assert!(
        ["plug SIZE", "unplug SLOT", "virtio-mem NUMBER"].iter().all(|word| help.contains(word)),
        "{help}"
    );
    for (line, ours) in
        [("device_del dimm0", "unplug SLOT"), ("info memory-devices", "state"), ("object_add x", "plug SIZE")]
    {
        let said = page.refused("monitor", line);
        assert!(said.contains(ours), "{line}: {said}");
    }
    // A block has 512 MiB.
    let refused = page.refused("monitor", "plug 128M slot=0");
    assert!(refused.contains("\"unplug 0\" takes it out"), "{refused}");
    page.refused("monitor", "plug 1G slot=0");
    page.tell("monitor", "unplug 0");
    page.tell("monitor", "plug 1G slot=0");
}
