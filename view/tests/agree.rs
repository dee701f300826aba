//! The views of a machine agree with what its kernel counts, and with the specification's walker.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use hotmap_client::state::Memmap;
use hotmap_view::views::{Backing, BlockView, Outcome, Run};
use hotmap_view::{State, Target, Use};
use support::{DIMM, each, look};

/// Pages of the runs with a use, and a kind if one is given.
fn pages(runs: &[Run], used_for: Use, kind: Option<&str>) -> u64 {
    let right = |run: &&Run| run.used_for == used_for && (kind.is_none() || run.kind == kind);
    runs.iter().filter(right).map(|run| run.pages).sum()
}

/// The runs follow each other without a gap, from the first page to the last.
fn check_runs(runs: &[Run], totals: &BTreeMap<Use, u64>, first_pfn: u64, all: u64, case: &str) {
    let mut at = first_pfn;
    for run in runs {
        assert_eq!(run.first_pfn, at, "{case}");
        assert!(run.pages > 0, "{case}: {run:?}");
        let whole = run.order.is_none_or(|order| run.pages <= run.count << order);
        assert!(whole && run.used_for != Use::Damaged && run.used_for != Use::Unreadable, "{case}: {run:?}");
        at += run.pages;
    }
    assert_eq!(at - first_pfn, all, "{case}");
    assert_eq!(totals.values().sum::<u64>(), all, "{case}");
}

fn sum(blocks: &[BlockView], used_for: Use, kind: Option<&str>) -> u64 {
    blocks.iter().map(|block| pages(&block.runs, used_for, kind)).sum()
}

#[test]
fn the_runs_of_each_block_are_what_state_counts() {
    each(|guest, case| {
        look(guest, |machine, state| {
            let view = machine.memory();
            assert_eq!(view.blocks.len(), state.blocks.len(), "{case}");
            for (seen, block) in view.blocks.iter().zip(&state.blocks) {
                let case = format!("{case}: block {:#x}", block.start);
                assert!(seen.exact && seen.start.0 == block.start, "{case}");
                check_runs(
                    &seen.runs,
                    &seen.totals,
                    block.start / state.granule,
                    block.size / state.granule,
                    &case,
                );
                let total = |used_for| seen.totals.get(&used_for).copied().unwrap_or(0);
                assert_eq!(total(Use::Free), block.free, "{case}");
                assert_eq!(total(Use::Tenant), block.tenant_pages, "{case}");
                let unplugged = (block.size - block.plugged.unwrap_or(block.size)) / state.granule;
                assert_eq!(total(Use::Unplugged) + total(Use::Hole), unplugged, "{case}");
                let aside = (block.usable_start - block.start) / state.granule + block.lent;
                assert_eq!(pages(&seen.runs, Use::Memmap, Some("MemmapSelf")), aside, "{case}");
            }
        });
    });
}

#[test]
fn all_blocks_together_are_what_state_counts() {
    each(|guest, case| {
        look(guest, |machine, state| {
            let (blocks, counts) = (machine.memory().blocks, &state.pages);
            assert_eq!(sum(&blocks, Use::Memmap, Some("MemmapRam")), counts.memmap_ram, "{case}");
            assert_eq!(sum(&blocks, Use::Memmap, Some("MemmapSelf")), counts.memmap_self, "{case}");
            assert_eq!(sum(&blocks, Use::Table, None), counts.tables, "{case}");
            let used = [Use::Kernel, Use::Tenant, Use::Pinned, Use::Huge];
            assert_eq!(
                used.map(|used_for| sum(&blocks, used_for, None)).iter().sum::<u64>(),
                counts.allocated,
                "{case}"
            );
            let huge =
                state.dedup.hugetlb.iter().map(|pool| pool.total * (pool.size / state.granule)).sum::<u64>();
            assert_eq!(sum(&blocks, Use::Huge, None), huge, "{case}");
        });
    });
}

#[test]
fn devices_are_set_aside_and_the_rest() {
    each(|guest, case| {
        look(guest, |machine, state| {
            let devices = machine.memory().devices;
            assert_eq!(devices.len(), state.devices.len(), "{case}");
            for (seen, device) in devices.iter().zip(&state.devices) {
                let case = format!("{case}: device {:#x}", device.start);
                let range = &seen.ranges[0];
                check_runs(
                    &range.runs,
                    &range.totals,
                    device.start / state.granule,
                    device.size / state.granule,
                    &case,
                );
                let aside = (device.usable_start - device.start) / state.granule;
                assert_eq!(range.totals.get(&Use::Memmap).copied().unwrap_or(0), aside, "{case}");
                assert_eq!(seen.memmap, if device.altmap.is_some() { "altmap" } else { "ram" }, "{case}");
            }
        });
    });
}

#[test]
fn vmemmap_is_mapped_and_shared_as_state_counts() {
    each(|guest, case| {
        look(guest, |machine, state| {
            let view = machine.vmemmap();
            assert!(view.complete, "{case}");
            assert_eq!(
                (view.shared_frames, view.saved),
                (state.dedup.shared_pages, state.dedup.saved_pages),
                "{case}"
            );
            let ranges: u64 = view.ranges.iter().map(|range| range.pages).sum();
            assert_eq!(ranges, view.pages_mapped, "{case}");
            assert_eq!(view.pages_mapped, view.frames + view.saved, "{case}");
            // 64 bytes for each page of a block; a device's may share pages of vmemmap with what is beside it.
            if state.devices.is_empty() {
                let described: u64 = state.blocks.iter().map(|block| block.size / state.granule).sum();
                assert_eq!(view.pages_mapped * state.granule, described * 64, "{case}");
            }
            let mut last = 0;
            for range in &view.ranges {
                assert!(range.va.0 >= last && range.pages > 0, "{case}: {range:?}");
                assert_eq!(range.va.0, state.struct_page(range.struct_of), "{case}");
                last = range.va.0 + range.pages * state.granule;
            }
        });
    });
}

/// Each page of vmemmap that is in a range leads where the specification's walker says.
#[test]
fn ranges_lead_where_the_specifications_walker_does() {
    each(|guest, case| {
        let walker = guest.machine.clone();
        look(guest, |machine, state| {
            let view = machine.vmemmap();
            for range in &view.ranges {
                let bytes = range.pages * state.granule;
                for offset in [0, bytes / 3 / state.granule * state.granule, bytes - state.granule] {
                    let va = range.va.0 + offset;
                    let expected = match (range.frame, range.same_as) {
                        (Some(frame), _) => Some(frame.0 + if range.stride == 0 { 0 } else { offset }),
                        (None, Some(same)) => {
                            walker.walk(same.0 + offset % range.each.expect("with same_as"))
                        }
                        (None, None) => panic!("{case}: {range:?}"),
                    };
                    assert_eq!(walker.walk(va), expected, "{case}: {va:#x} in {range:?}");
                }
            }
        });
    });
}

/// What holds struct pages, by the place of the frame and by what `state` and the kernel's counts say of it.
#[test]
fn what_holds_struct_pages_is_named() {
    each(|guest, case| {
        look(guest, |machine, state| {
            let view = machine.vmemmap();
            let pages = |backing: Backing| {
                view.ranges
                    .iter()
                    .filter(|range| range.backing == backing)
                    .map(|range| range.frames)
                    .sum::<u64>()
            };
            let hosted: u64 =
                state.blocks.iter().map(|block| (block.usable_start - block.start) / state.granule).sum();
            assert_eq!(pages(Backing::SelfHosted), hosted, "{case}");
            assert_eq!(pages(Backing::Lent), state.memmap_demand.private, "{case}");
            let altmaps: u64 =
                state.devices.iter().filter_map(|device| device.altmap).map(|altmap| altmap.alloc).sum();
            assert_eq!(pages(Backing::Altmap), altmaps, "{case}");
            for range in &view.ranges {
                let shared = matches!(range.backing, Backing::Image | Backing::SharedTail);
                assert_eq!(range.shared, shared, "{case}: {range:?}");
                let on_demand = state.memmap_demand.image_blocks + state.memmap_demand.private > 0;
                assert!(range.backing != Backing::Image || on_demand, "{case}: {range:?}");
                assert!(range.backing != Backing::SharedTail || tails_are_shared(state), "{case}: {range:?}");
                assert!(!shared || range.readonly, "{case}: {range:?}");
            }
            if tails_are_shared(state) {
                assert!(pages(Backing::SharedTail) > 0, "{case}");
            }
        });
    });
}

/// Whether a huge page or a device shares its tails, so far as `state` says it.
fn tails_are_shared(state: &State) -> bool {
    let optimised: u64 = state.dedup.hugetlb.iter().map(|pool| pool.optimised).sum();
    optimised > 0 || state.devices.iter().any(|device| device.dedup)
}

#[test]
fn walks_end_where_the_specifications_walker_does() {
    each(|guest, case| {
        let walker = guest.machine.clone();
        look(guest, |machine, state| {
            let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
            let mut random = move || {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed
            };
            for turn in 0..600 {
                let near = [0x4000_0000, DIMM, support::DEVICE][turn % 3] + random() % (2 << 30);
                let va = match turn % 4 {
                    0 => state.linear_address(near),
                    1 => state.struct_page(near / state.granule) + random() % 64,
                    2 => 0xffff_9000_0000_0000 + random() % (64 << 20),
                    _ => 0xffff_0000_0000_0000 | random() >> 16,
                };
                let walk = machine.walk(Target::Address(va)).expect("a virtual address");
                let pa = match walk.outcome {
                    Outcome::Mapped { pa, .. } => Some(pa.0),
                    Outcome::Faults { .. } => None,
                };
                assert_eq!(pa, walker.walk(va), "{case}: {va:#x}");
            }
        });
    });
}

/// What was asked for is in the answer, with what was found beside it.
#[test]
fn a_walk_keeps_its_keys_as_json() {
    let mut guest = support::Guest::boot(support::GRANULES[0]);
    look(&mut guest, |machine, _| {
        for (of, kind) in
            [("addr:0x40000000", "physical"), ("pfn:0x40000", "pfn"), ("addr:0xffff000000000000", "virtual")]
        {
            let json = machine.view("walk", Some(of)).expect("a view");
            assert_eq!(json["kind"], kind);
            assert!(
                json["pa"].is_string() && json["page_kind"].is_string() && json["steps"].is_array(),
                "{json}"
            );
        }
        let json = machine.view("walk", Some("addr:0xffff900000000000")).expect("a view");
        assert_eq!((&json["kind"], &json["fault"]["kind"]), (&"virtual".into(), &"translation".into()));
    });
}

/// The tables are those that `state` counts and that the specification's walker comes to.
#[test]
fn the_tree_has_the_tables_that_state_counts() {
    each(|guest, case| {
        let walker = guest.machine.clone();
        look(guest, |machine, state| {
            let tree = machine.table_tree();
            assert!(tree.complete && tree.unreadable.is_empty(), "{case}");
            // The image's table stays while its blocks are in a huge page, so that they can come back.
            let mut in_huge_pages = state.blocks.iter().filter(|block| block.memmap == Memmap::Demand);
            let idle = in_huge_pages.any(|_| state.memmap_demand.image_blocks == 0 && state.granule == 4096);
            let tables = state.pages.tables + state.memmap_demand.tables - u64::from(idle);
            assert_eq!(tree.nodes.len() as u64, tables, "{case}");
            let seen: BTreeSet<_> = tree.nodes.iter().map(|node| (node.level, node.pa.0)).collect();
            let found: BTreeSet<_> =
                walker.everything().tables.iter().map(|table| (table.level, table.pa)).collect();
            assert_eq!(seen, found, "{case}");
            let (entries, times): (u64, u64) =
                tree.nodes.iter().fold((0, 0), |sum, node| (sum.0 + node.entries.table, sum.1 + node.times));
            assert_eq!(entries, times, "{case}");
            for node in &tree.nodes {
                let page = machine.page(Target::Address(node.pa.0)).expect("in reach");
                let kind = page.run.map(|run| run.kind);
                assert!(matches!(kind, Some("Table" | "MemmapSelf")), "{case}: {:#x} is {kind:?}", node.pa.0);
            }
        });
    });
}

/// The struct page's bytes are those at the frame that the specification's walker finds.
#[test]
fn a_page_is_the_64_bytes_at_its_frame() {
    each(|guest, case| {
        let walker = guest.machine.clone();
        look(guest, |machine, state| {
            for pa in [0x4000_0000, 0x4020_0000, 0x7fff_0000, DIMM, DIMM + 0x40_0000, DIMM + 0x3fff_0000] {
                if state.blocks.iter().all(|block| pa < block.start || block.start + block.size <= pa) {
                    continue;
                }
                let page = machine.page(Target::Address(pa)).expect("in reach");
                let frame = walker.walk(state.struct_page(page.pfn)).expect("mapped");
                assert_eq!(page.frame.map(|frame| frame.0), Some(frame), "{case}: {pa:#x}");
                let mut bytes = [0; 64];
                assert!(walker.memory().copy_out(frame, &mut bytes), "{case}");
                let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                assert_eq!(page.bytes, Some(digits), "{case}: {pa:#x}");
                let length: usize = page.fields.iter().map(|field| field.bytes).sum();
                assert_eq!(length, 64, "{case}");
            }
        });
    });
}
