//! {4K, 16K, 64K} x {Image boot, firmware boot} x CPUs: the self-tests and the audit on each.

use super::test::Test;
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, failed, unknown};
use hotmap_client::geometry::{GIB, GRANULES, Granule};
use hotmap_client::guest::{Finished, run_to_end};
use hotmap_client::ktap::Verdict;
use hotmap_client::ktap::judge;
use hotmap_client::machine::{BOOTS, Boot, Machine};
use hotmap_client::qemu::Exit;
use hotmap_client::run::Run;
use hotmap_client::state::BootWay;
use hotmap_client::{ensure, ensure_eq};

/// A CPU model and whether it has the 16K granule (QEMU `target/arm/cpu64.c`: ID_AA64MMFR0_EL1.TGran16).
const CPUS: [(&str, bool); 3] = [("cortex-a72", false), ("neoverse-n1", true), ("max", true)];

/// Where the memmap of boot memory and of DIMMs lies: the default, self-hosted, and on demand.
const HOMES: [(&str, &str); 6] = [
    ("with-dimm", ""),
    ("boot-memmap-self", "boot_memmap=self"),
    ("memmap-self-range", "memmap=self-range"),
    ("memmap-demand", "memmap=demand"),
    ("boot-memmap-demand", "boot_memmap=demand"),
    ("all-on-demand", "boot_memmap=demand memmap=demand"),
];

/// What every such boot runs: self-tests, audit, state.
pub(super) const COMMANDS: &str = "run=\"selftest; audit; state\"";

pub(super) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for granule in GRANULES {
        for boot in BOOTS {
            for (cpu, has_16k) in CPUS {
                let name = format!("matrix/{granule}/{}/{cpu}", boot.name());
                let body = move |run: &Run| {
                    let machine = Machine::by(boot).granule(granule).cpu(cpu).append(COMMANDS);
                    if granule == Granule::K16 && !has_16k {
                        lacks_granule(run, &machine)
                    } else {
                        checks_itself(run, &machine, boot, granule)
                    }
                };
                tests.push(Test::new(name, body));
            }
        }
    }
    for granule in GRANULES {
        for (name, arguments) in HOMES {
            for cpu in ["neoverse-n1", "max"] {
                let body = move |run: &Run| none_is_skipped(run, granule, cpu, arguments);
                tests.push(Test::new(format!("matrix/{granule}/{name}/{cpu}"), body));
            }
        }
    }
    tests
}

/// With a DIMM of several blocks, enough boot memory and another CPU, no self-test is skipped but those of [`excused`].
fn none_is_skipped(run: &Run, granule: Granule, cpu: &str, arguments: &str) -> Checked<String> {
    let cold = Dimm::new("c0", GIB).cold();
    let machine = Machine::firmware().granule(granule).cpu(cpu).memory("2G").append(arguments);
    let machine = Machine { smp: Some(2), ..machine.append(COMMANDS) };
    let finished = run_to_end(run, &machine.extra(cold.iter().map(String::as_str)))?;
    let remark = self_tests_pass(&finished)?;
    let skipped: Vec<&str> = finished.text.lines().filter_map(skipped_test).collect();
    ensure_eq!(skipped, excused(granule, arguments), "skipped self-tests with a DIMM");
    ensure_eq!(finished.state()?.warnings, 0, "warnings");
    Ok(remark)
}

/// The self-tests of HVO.
const SHARING: [&str; 5] = [
    "optimised, all tails of a page are one page, for loads only",
    "restored, each page of memmap is its own again",
    "readers find heads while memmap is split, shared, restored and joined",
    "without frames a page stays optimised",
    "a page that is demoted is pages of the smaller size",
];

/// The self-tests that this machine cannot run.
fn excused(granule: Granule, arguments: &str) -> Vec<&'static str> {
    let mut excused = Vec::new();
    if granule != Granule::K4 {
        excused.push("memmap in system RAM is one block although that is in pieces");
    }
    if arguments != "boot_memmap=self" {
        excused.push("boot memory that hosts itself goes and comes back");
    } else if granule == Granule::K64 {
        // There the smallest huge page with a memmap to share is a whole block, and each block is self-hosted.
        excused.extend(SHARING);
    }
    if arguments.contains("memmap=demand") && granule == Granule::K64 {
        // A whole block on demand has no memmap to share.
        excused.extend(SHARING);
    }
    excused
}

/// The name of the test that a result line reports as skipped.
fn skipped_test(line: &str) -> Option<&str> {
    let (result, _why) = line.split_once(" # SKIP ")?;
    result.split_once(" - ").map(|(_number, name)| name)
}

/// Boots, and passes if plan, results, status and state agree.
pub(super) fn checks_itself(run: &Run, machine: &Machine, boot: Boot, granule: Granule) -> Checked<String> {
    let finished = run_to_end(run, machine)?;
    let remark = self_tests_pass(&finished)?;
    let state = finished.state()?;
    ensure_eq!(state.granule(), Some(granule), "granule");
    let way = match boot {
        Boot::Image => BootWay::Image,
        Boot::Firmware => BootWay::Firmware,
    };
    ensure_eq!(state.boot, way, "boot way");
    ensure_eq!(state.warnings, 0, "warnings");
    Ok(remark)
}

/// One KTAP plan, all of it passed, and status 0.
pub(super) fn self_tests_pass(finished: &Finished) -> Checked<String> {
    plan_is_kept(&finished.text, finished.exit)
}

/// The same for a reply of the shell; `exit` says whether it had errors.
pub(super) fn plan_is_kept(text: &str, exit: Exit) -> Checked<String> {
    let judgement = judge(text, 1, exit);
    let tally = judgement.tally;
    match judgement.verdict {
        Verdict::Passed => Ok(format!("{} self-tests, {} skipped", tally.passed, tally.skipped)),
        Verdict::Failed => failed(judgement.why),
        Verdict::Unknown => unknown(judgement.why),
    }
}

/// On a CPU without the granule the boot ends with one line and status 3.
fn lacks_granule(run: &Run, machine: &Machine) -> Checked<String> {
    let finished = run_to_end(run, machine)?;
    ensure_eq!(finished.exit, Exit::CPU_LACKS, "a CPU without 16K pages");
    let naming = finished.text.lines().filter(|line| line.to_lowercase().contains("16k"));
    let naming: Vec<&str> = naming.collect();
    let [line] = naming.as_slice() else {
        return failed(format!("one line should name the granule, not {}: {naming:?}", naming.len()));
    };
    ensure!(line.starts_with("error: "), "the line should be an error: {line}");
    Ok((*line).to_owned())
}
