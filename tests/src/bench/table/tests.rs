//! Canned figures: the table says what they are and which goals they miss.

use super::Results;
use crate::bench::audit::{Audit, GOAL_PER_GIB};
use crate::bench::figures::Figure;
use crate::bench::measure::{Life, standard};
use hotmap_client::geometry::Granule;

fn life(granule: Granule, add: u64) -> Life {
    let figure = |operation: &str, instructions| Figure {
        operation: operation.into(),
        bytes: 1 << 30,
        instructions,
        tables: 0,
        ram: 0,
        ..Figure::default()
    };
    Life {
        subject: standard(granule, "neoverse-n1"),
        boot: figure("boot", 1_356_118),
        add: figure("add", add),
        online: figure("online", 4_000),
        offline: figure("offline", 8_000),
        remove: figure("remove", 22_000),
        clears_by: "St1".into(),
        qemu: (7, 2),
    }
}

fn results(add: u64, image: u64) -> Results {
    let reference = vec![life(Granule::K4, add), life(Granule::K16, 100_000), life(Granule::K64, 50_000)];
    Results { reference, image, ..Results::default() }
}

#[test]
fn goals_that_are_met_are_not_missed() {
    let results = results(300_000, 400 << 10);
    assert_eq!(results.missed(), Vec::<String>::new());
    assert!(results.text().contains("Every goal is met."));
}

#[test]
fn every_missed_goal_is_named_with_both_numbers() {
    let mut results = results(900_000, (1 << 20) + 1);
    results.reference[0].boot.instructions = 5_000_001;
    results.reference[1].add.ram = 32;
    results.reference[2].add.tables = 3;
    let instructions = 16 * (GOAL_PER_GIB + 1);
    results.audits = vec![Audit { granule: Granule::K4, size: 16 << 30, instructions }];
    let missed = results.missed();
    assert_eq!(missed.len(), 6, "{missed:?}");
    assert!(missed[0].ends_with("at 4k: 934000, goal 800000"), "{missed:?}");
    assert_eq!(results.text().matches("MISSED").count(), 6);
}

#[test]
fn linuxs_row_is_below_ours_with_the_ratio() {
    let text = results(300_000, 1).text();
    let line =
        |start: &str| text.lines().find(|line| line.trim_start().starts_with(start)).map(str::to_owned);
    assert!(line("4k hotmap").expect("ours").contains(" 0.300 "));
    let linux = &crate::bench::linux::rows(Granule::K4)[0];
    let millions = format!(" {:.1} ", linux.life());
    assert!(line(&format!("Linux {}", linux.build)).expect("Linux").contains(&millions), "{text}");
    let ratio = format!(" {:.0}x ", linux.life() / 0.334);
    assert!(line("fewer by").expect("ratio").contains(&ratio), "{text}");
    assert!(text.contains("Linux: docs/evidence/linux.md, recorded on "), "{text}");
}

#[test]
fn json_has_the_exact_counts() {
    let json = results(300_001, 7).json();
    assert_eq!(json["reference"][0]["add"], 300_001);
    assert_eq!(json["reference"][0]["sum"], 334_001);
    assert_eq!(json["linux"]["cpu"], "neoverse-n1");
    assert_eq!(json["image_bytes"], 7);
}
