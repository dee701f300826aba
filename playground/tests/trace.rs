//! The steps of an operation, as the page asks for them.

mod page;

use std::collections::BTreeMap;

use page::{Page, boot};
use serde_json::{Value, json};

const STEPS: [&str; 7] = [
    "claim sections",
    "map linearly",
    "choose backing",
    "populate vmemmap",
    "initialise pages",
    "join zone",
    "go online",
];

fn names(trace: &Value) -> Vec<&str> {
    let steps = trace["steps"].as_array().expect("steps");
    steps.iter().map(|step| step["step"].as_str().expect("a name")).collect()
}

/// The stale entries of the view `tlb` after a step.
fn stale(page: &mut Page, at: usize) -> usize {
    let view = page.must(&json!({ "do": "view", "name": "tlb", "at": at }))["view"].clone();
    let entries = view["entries"].as_array().expect("entries").clone();
    entries.iter().filter(|entry| entry["stale"] == true).count()
}

#[test]
fn a_plug_has_the_seven_steps_at_every_granule_and_home() {
    for granule in ["4k", "16k", "64k"] {
        for home in ["self", "ram", "demand"] {
            let mut page = Page::boot(boot(granule, &format!("memmap={home}")));
            assert_eq!(page.must(&json!({ "do": "trace" }))["steps"], json!([]), "boot has none");
            page.tell("monitor", "plug 1G");
            let trace = page.must(&json!({ "do": "trace" }));
            let own: Vec<&str> = names(&trace).into_iter().filter(|name| STEPS.contains(name)).collect();
            assert_eq!(own, STEPS, "{granule} {home}");
            assert_eq!(trace["undone"], false);
        }
    }
}

/// A failed allocation: what was done is taken back, in reverse.
#[test]
fn a_failed_operation_is_seen_to_be_taken_back() {
    let mut page = Page::boot(boot("4k", "memmap=self"));
    let state = page.state();
    // Behind the sections, the blocks and the altmaps: the altmap has no frame, and system RAM does not stand in.
    page.tell("line", "inject alloc 6");
    page.refused("monitor", "plug 1G");
    let trace = page.must(&json!({ "do": "trace" }));
    let names = names(&trace);
    let taken_back: Vec<&&str> = names.iter().filter(|name| name.starts_with("undo: ")).collect();
    assert!(!taken_back.is_empty(), "{names:?}");
    assert!(taken_back.last().is_some_and(|name| name.starts_with("undo: claim sections")), "{names:?}");
    assert_eq!(trace["undone"], true);
    let events = trace["steps"].as_array().expect("steps").iter().flat_map(|step| {
        let events = step["events"].as_array().expect("events");
        events.iter().filter(|event| event["kind"] == "ask" && event["failed"] == true)
    });
    assert_eq!(events.count(), 1);
    page.tell("monitor", "unplug 0");
    assert_eq!(page.state()["pages"], state["pages"]);
}

/// Pages by use in the view `memory` after a step.
fn uses(page: &mut Page, at: usize) -> BTreeMap<String, u64> {
    let view = page.must(&json!({ "do": "view", "name": "memory", "at": at }))["view"].clone();
    let mut sum = BTreeMap::new();
    let devices = view["devices"].as_array().expect("devices").iter();
    let ranges = devices.flat_map(|device| device["ranges"].as_array().expect("ranges"));
    for block in view["blocks"].as_array().expect("blocks").iter().chain(ranges) {
        for (used_for, pages) in block["totals"].as_object().expect("totals") {
            *sum.entry(used_for.clone()).or_default() += pages.as_u64().expect("a count");
        }
    }
    sum
}

/// A machine without a bug has no damaged struct page between two steps: until they are initialised their bytes mean nothing. The
/// second plug finds what the first left there.
#[test]
fn no_struct_page_is_damaged_between_the_steps_of_an_operation() {
    let operations = [
        ("monitor", "plug 1G"),
        ("monitor", "unplug 0"),
        ("line", "inject alloc 6"),
        ("monitor", "plug 1G"),
        ("monitor", "unplug 0"),
        ("monitor", "plug 1G"),
        ("line", "offline 0x80000000"),
        ("line", "online 0x80000000"),
        ("monitor", "virtio-mem 0 1G"),
        ("monitor", "virtio-mem 0 0"),
        ("monitor", "virtio-mem 0 1G"),
    ];
    for granule in ["4k", "16k", "64k"] {
        for home in ["self", "ram", "demand", "self-range"] {
            let mut request = boot(granule, &format!("memmap={home}"));
            request["virtio_mem"] = json!(["4G"]);
            let mut page = Page::boot(request);
            let mut uninitialised = 0;
            for (what, text) in operations {
                page.ask(&json!({ "do": what, "text": text }));
                let trace = page.must(&json!({ "do": "trace" }));
                for (at, step) in names(&trace).iter().enumerate() {
                    let uses = uses(&mut page, at);
                    assert_eq!(uses.get("damaged"), None, "{granule} {home} {text}: {at} {step}: {uses:?}");
                    uninitialised += u64::from(uses.contains_key("uninitialised"));
                    assert!(
                        !uses.contains_key("uninitialised") || at + 1 < names(&trace).len(),
                        "{text}: at the end"
                    );
                }
            }
            assert!(uninitialised > 0, "{granule} {home}: populated memmap is not initialised at once");
        }
    }
}

/// The same where a run spans blocks whose pages come and go one after the other, and for the memory of devices. The view of a
/// page says what the view of all says.
#[test]
fn no_page_of_a_device_or_of_a_huge_page_is_damaged_between_the_steps() {
    let huge = ["(qemu) plug 1G", "hugetlb 1G 1", "(qemu) unplug 0", "hugetlb 1G 0", "(qemu) unplug 0"];
    let (create, destroy) = ("dax create 0x4000000000,512M", "dax destroy 0x4000000000");
    let device = [
        create,
        destroy,
        create,
        "dax kmem 0x4000000000",
        "tenant new 300000",
        "tenant drop",
        "dax kmem 0x4000000000 back",
        destroy,
    ];
    for home in ["self", "ram", "demand", "self-range"] {
        for operations in [&huge[..], &device[..]] {
            let mut request = boot("4k", &format!("memmap={home}"));
            request["pmem"] = json!(["1G"]);
            let mut page = Page::boot(request);
            for text in operations {
                let monitor = text.strip_prefix("(qemu) ");
                let what = if monitor.is_some() { "monitor" } else { "line" };
                // A DIMM that holds its own memmap has no huge page of 1 GiB.
                page.must(&json!({ "do": what, "text": monitor.unwrap_or(text) }));
                let trace = page.must(&json!({ "do": "trace" }));
                // A tenant has as many steps as pages; those of an operation are few.
                for (at, step) in names(&trace).iter().enumerate().take(64) {
                    let uses = uses(&mut page, at);
                    assert_eq!(uses.get("damaged"), None, "{home} {text}: {at} {step}: {uses:?}");
                    for of in ["addr:0x88300000", "addr:0x4008300000"] {
                        let used = view(&mut page, "page", Some(of), Some(at as i64))["use"].clone();
                        assert_ne!(used, "damaged", "{home} {text}: {at} {step}: {of}");
                    }
                }
            }
        }
    }
}

/// A plug that fails in its sixth step takes back with the steps of a removal; a removal that was asked for does not.
#[test]
fn an_operation_that_fails_late_is_taken_back_by_a_removal() {
    let mut page = Page::boot(boot("4k", "memmap=demand"));
    page.tell("line", "inject online");
    page.refused("monitor", "plug 1G");
    let trace = page.must(&json!({ "do": "trace" }));
    assert!(names(&trace).contains(&"forget pages"), "{trace}");
    assert_eq!(trace["undone"], true);
    page.tell("line", "inject off");
    page.tell("monitor", "unplug 0");
    page.tell("monitor", "plug 1G");
    page.tell("monitor", "unplug 0");
    assert_eq!(page.must(&json!({ "do": "trace" }))["undone"], false);
}

/// HVO's two changes are legal one by one, and each has stale entries until it is invalidated.
#[test]
fn each_change_of_live_entries_is_legal_and_is_invalidated() {
    let mut page = Page::boot(boot("4k", ""));
    page.tell("line", "hugetlb 2M 1");
    let trace = page.must(&json!({ "do": "trace" }));
    let steps = trace["steps"].as_array().expect("steps").clone();
    let rules = [
        ("make the tails read-only: change 7 entries", "permissions alone change live"),
        (
            "share the page of tails: change 7 entries",
            "the output address changes live: read-only, to the same contents",
        ),
    ];
    for (name, rule) in rules {
        let at =
            steps.iter().position(|step| step["step"] == name).unwrap_or_else(|| panic!("{name}: {trace}"));
        let events = steps[at]["events"].as_array().expect("events");
        let writes: Vec<&Value> = events.iter().filter(|event| event["kind"] == "write").collect();
        assert_eq!(writes.len(), 7, "{name}: all but the first page of 8");
        assert!(
            writes.iter().all(|write| write["rule"] == rule && write["legal"] == true),
            "{name}: {writes:?}"
        );
        assert_eq!((stale(&mut page, at), stale(&mut page, at + 1)), (7, 0), "{name}");
        assert_eq!(steps[at + 1]["events"][0]["kind"], "tlbi", "{name}");
    }
}

#[test]
fn a_moment_that_there_is_not_is_an_error() {
    let mut page = Page::boot(boot("4k", ""));
    page.tell("monitor", "plug 1G");
    let count = names(&page.must(&json!({ "do": "trace" }))).len();
    for at in [-1, 0, count as i64 - 1] {
        page.must(&json!({ "do": "view", "name": "tlb", "at": at }));
    }
    for at in [-2, count as i64, i64::MAX] {
        assert_eq!(page.ask(&json!({ "do": "view", "name": "tlb", "at": at }))["ok"], false, "{at}");
    }
    assert_eq!(page.ask(&json!({ "do": "view", "name": "nothing" }))["ok"], false);
}

#[test]
fn the_audit_names_what_a_bug_has_broken() {
    let mut page = Page::boot(boot("4k", "bug=lost-page"));
    page.tell("monitor", "plug 1G");
    page.tell("line", "tenant new 5; tenant drop");
    let audit = page.must(&json!({ "do": "view", "name": "audit" }))["view"].clone();
    let printed = page.refused("line", "audit");
    let findings = audit["findings"].as_array().expect("findings");
    assert!(!findings.is_empty());
    assert!(findings.iter().all(|finding| printed.contains(finding.as_str().expect("text"))), "{printed}");
    assert!(printed.contains(audit["summary"].as_str().expect("a summary")));
}

fn view(page: &mut Page, name: &str, of: Option<&str>, at: Option<i64>) -> Value {
    let mut request = json!({ "do": "view", "name": name });
    if let Some(of) = of {
        request["of"] = json!(of);
    }
    if let Some(at) = at {
        request["at"] = json!(at);
    }
    page.must(&request)["view"].clone()
}

/// The DIMM's struct pages are reached from the step on that populates vmemmap, and until the one that takes it down.
#[test]
fn a_view_at_a_step_shows_the_machine_of_that_step() {
    for (granule, page_size) in [("4k", 0x1000u64), ("16k", 0x4000), ("64k", 0x1_0000)] {
        for home in ["self", "ram"] {
            let mut page = Page::boot(boot(granule, &format!("memmap={home}")));
            let of = format!("pfn:{}", (0x8000_0000 + (256 << 20)) / page_size);
            let tree = view(&mut page, "tables", None, None);
            page.tell("monitor", "plug 1G");
            let last = names(&page.must(&json!({ "do": "trace" }))).len() as i64 - 1;
            let populate = STEPS.iter().position(|step| *step == "populate vmemmap").expect("a step") as i64;
            for at in -1..=last {
                let walk = view(&mut page, "walk", Some(&of), Some(at));
                assert_eq!(
                    walk["pa"].is_string(),
                    at >= populate,
                    "{granule} {home} after step {at}: {walk}"
                );
            }
            assert_eq!(view(&mut page, "tables", None, Some(-1)), tree, "{granule} {home}");
            for name in ["memory", "vmemmap", "tables"] {
                let (then, now) =
                    (view(&mut page, name, None, Some(last)), view(&mut page, name, None, None));
                assert_eq!(then, now, "{granule} {home}: {name}");
            }
            let here = view(&mut page, "memory", None, None);
            page.tell("monitor", "unplug 0");
            assert_eq!(view(&mut page, "memory", None, Some(-1)), here, "{granule} {home}");
            let trace = page.must(&json!({ "do": "trace" }));
            let gone =
                names(&trace).iter().position(|name| name.starts_with("depopulate")).expect("a step") as i64;
            let reached = |page: &mut Page, at| view(page, "walk", Some(&of), Some(at))["pa"].is_string();
            assert!(reached(&mut page, gone - 1) && !reached(&mut page, gone), "{granule} {home}");
        }
    }
}

/// The memory view has each page once, and what `state` counts.
#[test]
fn the_pages_of_the_memory_view_are_what_state_counts() {
    for granule in ["4k", "16k", "64k"] {
        let mut page = Page::boot(boot(granule, "memmap=self"));
        page.tell("monitor", "plug 1G");
        page.tell("line", "tenant new 100");
        let memory = view(&mut page, "memory", None, None);
        let state = page.state();
        let sum = |key: &str| -> u64 {
            let blocks = memory["blocks"].as_array().expect("blocks").iter();
            blocks.filter_map(|block| block["totals"][key].as_u64()).sum()
        };
        assert_eq!(sum("tenant"), 100, "{granule}");
        assert_eq!(state["pages"]["free"], sum("free"), "{granule}");
        assert_eq!(state["pages"]["tables"], sum("table"), "{granule}");
        let memmap = state["pages"]["memmap_self"].as_u64().zip(state["pages"]["memmap_ram"].as_u64());
        assert_eq!(memmap.map(|(own, ram)| own + ram), Some(sum("memmap")), "{granule}");
    }
}
