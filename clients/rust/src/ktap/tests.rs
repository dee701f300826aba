//! Transcripts that pass, that fail, and that must be unknown.

use super::{Tally, Verdict, judge, parse};
use crate::qemu::Exit;

fn verdict(text: &str, exit: Exit) -> Verdict {
    judge(text, 1, exit).verdict
}

fn why(text: &str) -> String {
    judge(text, 1, Exit::FINE).why
}

const GOOD: &str = "KTAP version 1\n1..2\nok 1 a\nok 2 b\n";
const NESTED: &str =
    "KTAP version 1\n1..2\n  KTAP version 1\n  1..2\n  ok 1 x\n  ok 2 y\nok 1 first\nok 2 second\n";

#[test]
fn agreement_of_plan_results_and_status_passes() {
    assert_eq!(verdict(GOOD, Exit::FINE), Verdict::Passed);
    assert_eq!(judge(NESTED, 1, Exit::FINE).tally, Tally { passed: 3, ..Tally::default() });
}

#[test]
fn prose_around_and_between_the_lines_changes_nothing() {
    let text = "hotmap 0.1.0: okay so far\nKTAP version 1\n# Subtest: mm\n1..1\nzone Normal: 12 pages\n\
                ok 1 a\nhotmap> audit\nclean: 8 sections\n";
    assert_eq!(verdict(text, Exit::FINE), Verdict::Passed);
}

#[test]
fn a_failed_result_with_a_failing_status_fails_and_is_named() {
    let text = "KTAP version 1\n1..2\nok 1 a\nnot ok 2 b\n";
    let judgement = judge(text, 1, Exit::COMMAND_FAILED);
    assert_eq!((judgement.verdict, judgement.why.as_str()), (Verdict::Failed, "not ok: b"));
}

#[test]
fn a_failed_subtest_is_named_with_its_parent() {
    let text =
        "KTAP version 1\n1..1\n    KTAP version 1\n    1..2\n    ok 1 x\n    not ok 2 y\nnot ok 1 first\n";
    assert_eq!(judge(text, 1, Exit::COMMAND_FAILED).why, "not ok: first: y");
}

#[test]
fn silence_is_unknown() {
    assert_eq!(verdict("", Exit::FINE), Verdict::Unknown);
    assert_eq!(verdict("hotmap> \n", Exit::FINE), Verdict::Unknown);
}

#[test]
fn a_missing_plan_is_unknown() {
    assert_eq!(verdict("KTAP version 1\nok 1 a\n", Exit::FINE), Verdict::Unknown);
    assert_eq!(verdict("KTAP version 1\n", Exit::FINE), Verdict::Unknown);
    assert_eq!(verdict("KTAP version 1\n1..0\n", Exit::FINE), Verdict::Unknown);
}

#[test]
fn a_plan_after_the_results_or_a_second_one_is_unknown() {
    assert_eq!(verdict("KTAP version 1\nok 1 a\n1..1\n", Exit::FINE), Verdict::Unknown);
    assert_eq!(verdict("KTAP version 1\n1..1\n1..1\nok 1 a\n", Exit::FINE), Verdict::Unknown);
}

#[test]
fn a_short_run_is_unknown_even_with_status_0() {
    assert_eq!(
        why("KTAP version 1\n1..3\nok 1 a\nok 2 b\n"),
        "KTAP does not add up: ended after 2 of 3 results; status 0 (fine)"
    );
}

#[test]
fn a_panic_in_the_middle_is_unknown() {
    let text = "KTAP version 1\n1..3\nok 1 a\npanic: lost a page\n";
    assert_eq!(verdict(text, Exit::PANIC), Verdict::Unknown);
}

#[test]
fn results_beyond_the_plan_are_unknown() {
    assert_eq!(verdict(&format!("{GOOD}ok 3 c\n"), Exit::FINE), Verdict::Unknown);
}

#[test]
fn a_number_twice_or_out_of_order_is_unknown() {
    assert_eq!(verdict("KTAP version 1\n1..2\nok 1 a\nok 1 a\n", Exit::FINE), Verdict::Unknown);
    assert_eq!(verdict("KTAP version 1\n1..2\nok 2 b\nok 1 a\n", Exit::FINE), Verdict::Unknown);
}

#[test]
fn results_without_a_version_line_are_unknown() {
    assert_eq!(verdict("1..1\nok 1 a\n", Exit::FINE), Verdict::Unknown);
    assert_eq!(verdict("KTAP version 1\n1..1\n  ok 1 x\nok 1 a\n", Exit::FINE), Verdict::Unknown);
}

#[test]
fn a_malformed_result_or_a_bail_out_is_unknown() {
    assert_eq!(verdict("KTAP version 1\n1..1\nok a\nok 1 a\n", Exit::FINE), Verdict::Unknown);
    assert_eq!(verdict(&format!("{GOOD}Bail out! odd\n"), Exit::FINE), Verdict::Unknown);
}

#[test]
fn a_status_that_disagrees_is_unknown_both_ways() {
    for exit in [Exit::COMMAND_FAILED, Exit::PANIC, Exit::CPU_LACKS, Exit::Signal(11)] {
        assert_eq!(verdict(GOOD, exit), Verdict::Unknown, "{exit}");
    }
    assert_eq!(verdict("KTAP version 1\n1..1\nnot ok 1 a\n", Exit::FINE), Verdict::Unknown);
}

#[test]
fn a_parent_that_disagrees_with_its_subtests_is_unknown() {
    let good_parent = NESTED.replace("  ok 2 y", "  not ok 2 y");
    assert_eq!(verdict(&good_parent, Exit::FINE), Verdict::Unknown);
    let bad_parent = NESTED.replace("ok 1 first", "not ok 1 first");
    assert_eq!(verdict(&bad_parent, Exit::COMMAND_FAILED), Verdict::Unknown);
}

#[test]
fn a_fault_in_a_subtest_is_a_fault_of_the_run() {
    assert!(why(&NESTED.replace("  1..2", "  1..3")).contains("first: ended after 2 of 3 results"));
    assert!(why(&NESTED.replace("ok 1 first\nok 2 second\n", "")).contains("subtests without a result line"));
}

#[test]
fn skips_are_counted_apart_and_do_not_make_a_run() {
    let text = "KTAP version 1\n1..2\nok 1 a\nok 2 b # SKIP no slots\n";
    let judgement = judge(text, 1, Exit::FINE);
    assert_eq!(judgement.verdict, Verdict::Passed);
    assert_eq!(judgement.tally, Tally { passed: 1, failed: 0, skipped: 1 });
    assert_eq!(verdict("KTAP version 1\n1..1\nok 1 a # SKIP\n", Exit::FINE), Verdict::Unknown);
}

#[test]
fn every_document_counts_and_their_number_is_checked() {
    let twice = format!("{GOOD}hotmap> selftest\n{GOOD}");
    assert_eq!(parse(&twice).len(), 2);
    assert_eq!(judge(&twice, 2, Exit::FINE).verdict, Verdict::Passed);
    assert_eq!(judge(&twice, 1, Exit::FINE).verdict, Verdict::Unknown);
    assert_eq!(judge(GOOD, 2, Exit::FINE).verdict, Verdict::Unknown);
}

/// A test that waited in vain makes the run unknown, at any depth; a failure beside it makes it failed.
#[test]
fn a_test_that_waited_in_vain_makes_the_run_unknown() {
    let skip = "no reader entered a window: nothing is known";
    let text = format!("KTAP version 1\n1..2\nok 1 a\nok 2 b # SKIP {skip}\n");
    assert_eq!(verdict(&text, Exit::FINE), Verdict::Unknown);
    assert_eq!(judge(&text, 1, Exit::FINE).why, "nothing is known of: b");
    let below =
        format!("KTAP version 1\n1..1\n  KTAP version 1\n  1..2\n  ok 1 a\n  ok 2 b # SKIP {skip}\nok 1 c\n");
    assert_eq!(verdict(&below, Exit::FINE), Verdict::Unknown);
    let failed = text.replace("ok 1 a", "not ok 1 a");
    assert_eq!(verdict(&failed, Exit::COMMAND_FAILED), Verdict::Failed);
}
