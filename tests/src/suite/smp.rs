//! More than one CPU: all of them start, whichever way the machine is entered; they answer, park and read; what does not start
//! is named and done without; and one that fails ends the run.

use super::device_tree;
use super::matrix::self_tests_pass;
use super::test::{Test, per_granule, slotted};
use crate::geometry::{GRANULES, Granule};
use crate::guest::{Finished, run_to_end};
use crate::machine::{BOOTS, Boot, Entry, Machine};
use crate::qemu::Exit;
use crate::run::Run;
use crate::trouble::{Checked, During, Trouble, failed};
use crate::{ensure, ensure_eq};

/// What every such boot runs.
const COMMANDS: &str = "run=\"selftest cpus; cpus; audit; state\"";
/// How QEMU's virtual CPUs run: taking turns on one host thread, or each on its own.
const THREADS: [&str; 2] = ["single", "multi"];

pub(super) fn tests() -> Vec<Test> {
    let mut tests = every_way_in();
    for threads in THREADS {
        for granule in GRANULES {
            let body = move |run: &Run| {
                let accel = format!("tcg,thread={threads}");
                all_run(run, &slotted(granule).extra(["-accel", &accel]), 4)
            };
            tests.push(Test::new(format!("smp/threads-{threads}/{granule}"), body));
        }
    }
    tests.extend(per_granule("smp/one", one_is_as_ever));
    tests.extend([
        Test::new("smp/icount", |run: &Run| {
            all_run(run, &Machine { icount: true, ..Machine::firmware() }, 4)
        }),
        Test::new("smp/ten", more_than_there_is_room_for),
        Test::new("smp/refused", what_does_not_start_is_done_without),
        Test::new("smp/crash", a_failure_on_any_cpu_ends_the_run),
    ]);
    tests
}

/// {Image, firmware} x {GICv2, GICv3} x {EL1, EL2} x {2, 4, 8} CPUs, the granules taking turns.
fn every_way_in() -> Vec<Test> {
    let mut tests = Vec::new();
    for boot in BOOTS {
        for gic in [2, 3] {
            for (entry, level) in [(Entry::El1, "el1"), (Entry::El2, "el2")] {
                for count in [2, 4, 8] {
                    // One later in each way than in the one before: each number of CPUs has them all.
                    let turn = tests.len() / GRANULES.len() + tests.len();
                    let granule = GRANULES[turn % GRANULES.len()];
                    let name = format!("smp/{}/gic{gic}/{level}/{count}/{granule}", boot.name());
                    let machine = Machine { gic: Some(gic), entry, ..Machine::by(boot) }.granule(granule);
                    tests.push(Test::new(name, move |run: &Run| all_run(run, &machine, count)));
                }
            }
        }
    }
    tests
}

fn with_cpus(machine: &Machine, count: u32) -> Machine {
    Machine { smp: Some(count), ..machine.clone() }
}

/// All of them are there by `state` and `cpus`, no self-test is skipped, and each has done what the self-tests wanted of it.
fn all_run(run: &Run, machine: &Machine, count: u32) -> Checked<String> {
    let finished = run_to_end(run, &with_cpus(machine, count).append(COMMANDS))?;
    let remark = self_tests_pass(&finished)?;
    ensure!(!finished.text.contains("# SKIP"), "a self-test was skipped with {count} CPUs");
    ensure!(!finished.text.contains("warning:"), "a warning with {count} CPUs");
    has_cpus(&finished, count)?;
    for cpu in listed(&finished) {
        let [number, mpidr, role, jobs, interrupts, ..] = cpu.as_slice() else {
            return failed(format!("a row of `cpus` with {} words: {cpu:?}", cpu.len()));
        };
        let boot = *number == "0";
        ensure_eq!(*mpidr, format!("0x{number}"), "the affinity of CPU {number}");
        ensure_eq!(*role, if boot { "boot" } else { "idle" }, "the role of CPU {number}");
        let idle = *jobs == "0" || *interrupts == "0";
        ensure_eq!(idle, boot, "CPU {number} has done {jobs} jobs and taken {interrupts} interrupts: none");
    }
    Ok(remark)
}

/// The rows of `cpus` for CPUs that run, in words.
fn listed(finished: &Finished) -> Vec<Vec<&str>> {
    let rows = finished.text.lines().skip_while(|line| !line.starts_with("cpu  mpidr")).skip(1);
    let rows = rows.map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|words| words.last() == Some(&"online")).collect()
}

fn has_cpus(finished: &Finished, count: u32) -> Checked {
    ensure_eq!(finished.state()?.cpus, u64::from(count), "state.cpus");
    ensure_eq!(listed(finished).len(), count as usize, "CPUs that `cpus` calls online");
    Ok(())
}

/// One CPU, and four of which one may run, come to the same pages: nothing is spent on CPUs that do not run.
fn one_is_as_ever(run: &Run, granule: Granule) -> Checked<String> {
    let one = run_to_end(run, &slotted(granule).append(COMMANDS))?;
    has_cpus(&one, 1)?;
    ensure!(!one.text.contains("cpus: "), "one CPU says something about CPUs");
    let four = run_to_end(run, &with_cpus(&slotted(granule), 4).append("maxcpus=1").append(COMMANDS))?;
    has_cpus(&four, 1)?;
    ensure_eq!(four.state()?.pages.free, one.state()?.pages.free, "free pages with three CPUs left out");
    let two = run_to_end(run, &with_cpus(&slotted(granule), 4).append("maxcpus=2").append(COMMANDS))?;
    has_cpus(&two, 2)?;
    let left_out = two.text.lines().filter(|line| line.ends_with("left out: maxcpus= wants fewer")).count();
    ensure_eq!(left_out, 2, "CPUs that maxcpus=2 leaves out of four");
    Ok(String::new())
}

fn more_than_there_is_room_for(run: &Run) -> Checked<String> {
    let finished = run_to_end(run, &with_cpus(&Machine::firmware(), 10).append(COMMANDS))?;
    self_tests_pass(&finished)?;
    has_cpus(&finished, 8)?;
    for cpu in ["0x8", "0x9"] {
        let start = format!("warning: CPU {cpu} left out: there is room for");
        finished.line("that names a CPU beyond the room", |line| line.starts_with(&start))?;
    }
    Ok(String::new())
}

/// The device tree of four CPUs on a machine that has two: PSCI refuses, both are named, and two go on.
fn what_does_not_start_is_done_without(run: &Run) -> Checked<String> {
    let machine = Machine::firmware();
    let tree = device_tree::blob_of(run, &with_cpus(&machine, 4)).during("the tree of four CPUs")?;
    let file = run.path("four.dtb");
    std::fs::write(&file, tree)
        .map_err(|error| Trouble::Unknown(format!("cannot write the tree: {error}")))?;
    let machine = with_cpus(&machine, 2).append("run=\"cpus; state\"");
    let finished = run_to_end(run, &machine.extra(["-dtb", &file.to_string_lossy()]))?;
    ensure_eq!(finished.exit, Exit::FINE, "two of four CPUs");
    has_cpus(&finished, 2)?;
    for cpu in ["0x2", "0x3"] {
        let warning = format!("warning: CPU {cpu} failed: PSCI error -2");
        finished.line("that names a CPU that PSCI refuses", |line| line == warning)?;
    }
    Ok(String::new())
}

/// An exception on a secondary CPU is reported with the CPU's number, and ends the run with status 2; so on the boot CPU.
fn a_failure_on_any_cpu_ends_the_run(run: &Run) -> Checked<String> {
    for boot in [Boot::Image, Boot::Firmware] {
        for cpu in [0, 3] {
            let machine = with_cpus(&Machine::by(boot), 4).append(&format!("run=\"crash {cpu}; state\""));
            let finished = run_to_end(run, &machine)?;
            ensure_eq!(finished.exit, Exit::PANIC, "a crash of CPU {cpu}");
            let end = format!("from this EL on CPU {cpu}");
            finished.line("of its report", |line| {
                line.starts_with("exception: unexpected synchronous exception") && line.ends_with(&end)
            })?;
            ensure!(finished.state().is_err(), "the run went on after CPU {cpu} crashed");
        }
    }
    Ok(String::new())
}
