//! Several CPUs: all of them start at each entry level and boot way; they answer, park and read; a CPU that does not
//! start is named and left out; and one that fails ends the run.

use super::device_tree;
use super::matrix::self_tests_pass;
use super::test::{Test, per_granule, slotted};
use crate::fdt::Node;
use hotmap_client::error::{Checked, During, Error, failed};
use hotmap_client::geometry::{GRANULES, Granule};
use hotmap_client::guest::{Finished, run_to_end};
use hotmap_client::machine::{BOOTS, Boot, Entry, Machine};
use hotmap_client::qemu::Exit;
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};

/// What every such boot runs.
const COMMANDS: &str = "run=\"selftest cpus; cpus; audit; state\"";
/// How QEMU's virtual CPUs run: by turns on one host thread, or each on its own.
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
    tests.extend(per_granule("smp/one", one_cpu_has_the_same_counts));
    tests.extend([
        Test::new("smp/icount", |run: &Run| {
            all_run(run, &Machine { icount: true, ..Machine::firmware() }, 4)
        }),
        Test::new("smp/gicv4/firmware", |run: &Run| all_run(run, &gicv4(Boot::Firmware), 4)),
        Test::new("smp/gicv4/image", |run: &Run| all_run(run, &gicv4(Boot::Image), 8)),
        Test::new("smp/numbers", numbers_are_the_device_trees),
        Test::new("smp/redistributor-regions", a_cpu_in_the_second_region_runs),
        Test::new("smp/ten", more_than_there_is_room_for),
        Test::new("smp/refused", a_cpu_that_does_not_start_is_left_out),
        Test::new("smp/crash", a_failure_on_any_cpu_ends_the_run),
    ]);
    tests
}

/// {Image, firmware} x {GICv2, GICv3} x {EL1, EL2} x {2, 4, 8} CPUs, the granules by turns.
fn every_way_in() -> Vec<Test> {
    let mut tests = Vec::new();
    for boot in BOOTS {
        for gic in [2, 3] {
            for (entry, level) in [(Entry::El1, "el1"), (Entry::El2, "el2")] {
                for count in [2, 4, 8] {
                    // The granules start one later each time, so that each number of CPUs has all of them.
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

/// QEMU has a GICv4 only with EL2. Its redistributors have four frames each.
fn gicv4(boot: Boot) -> Machine {
    let machine = Machine { entry: Entry::El2, ..Machine::by(boot) };
    machine.extra(["-machine", "gic-version=4"])
}

/// `state` and `cpus` list all of them, no self-test is skipped, and each CPU took part in the self-tests.
pub(super) fn all_run(run: &Run, machine: &Machine, count: u32) -> Checked<String> {
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

/// The rows of `cpus` for CPUs that run, split into words.
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

/// One CPU, and four with maxcpus=1, have the same page counts: a CPU that does not run costs nothing.
fn one_cpu_has_the_same_counts(run: &Run, granule: Granule) -> Checked<String> {
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

/// The device tree of QEMU's virt, as far as CPUs go: those of `cpus`, in this order, and the redistributors of
/// `regions`, each an address and a size (hw/arm/virt.c, VIRT_GIC_DIST and VIRT_GIC_REDIST).
fn tree_of(run: &Run, cpus: &[u32], regions: &[(u32, u32)]) -> Checked<Machine> {
    let mut list = Node::new("cpus").cells("#address-cells", &[1]).cells("#size-cells", &[0]);
    for mpidr in cpus {
        let cpu = Node::new(&format!("cpu@{mpidr:x}")).text("device_type", "cpu").cells("reg", &[*mpidr]);
        list = list.child(cpu.text("enable-method", "psci"));
    }
    let mut reg = vec![0, 0x0800_0000, 0, 0x1_0000];
    reg.extend(regions.iter().flat_map(|(start, size)| [0, *start, 0, *size]));
    let gic = Node::new("intc@8000000").text("compatible", "arm,gic-v3").cells("reg", &reg);
    let gic = gic.cells("#redistributor-regions", &[u32::try_from(regions.len()).unwrap_or(u32::MAX)]);
    let psci = Node::new("psci").text("compatible", "arm,psci-1.0").text("method", "hvc");
    device_tree::boot_with(run, &device_tree::machine_of(&[list, gic, psci]))
}

/// The boot CPU is number 0, the others are numbered in the order of the device tree, whatever their affinity.
fn numbers_are_the_device_trees(run: &Run) -> Checked<String> {
    let machine = with_cpus(&tree_of(run, &[9, 0, 8, 3], &[(0x080a_0000, 0x00f6_0000)])?, 10);
    let finished = run_to_end(run, &machine.append(COMMANDS))?;
    self_tests_pass(&finished)?;
    has_cpus(&finished, 4)?;
    let mut numbers: Vec<[&str; 2]> =
        listed(&finished).iter().filter_map(|row| Some([*row.first()?, *row.get(1)?])).collect();
    numbers.sort_unstable();
    ensure_eq!(numbers, [["0", "0x0"], ["1", "0x9"], ["2", "0x8"], ["3", "0x3"]], "numbers and affinities");
    Ok(String::new())
}

/// The device tree splits the redistributors: one CPU's in the first region, the others' in the second.
fn a_cpu_in_the_second_region_runs(run: &Run) -> Checked<String> {
    let regions = [(0x080a_0000, 0x2_0000), (0x080c_0000, 0x00f4_0000)];
    all_run(run, &tree_of(run, &[0, 1, 2, 3], &regions)?, 4)
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

/// The device tree lists four CPUs, and the machine has two: PSCI refuses, both are named, and two run.
fn a_cpu_that_does_not_start_is_left_out(run: &Run) -> Checked<String> {
    let machine = Machine::firmware();
    let tree = device_tree::blob_of(run, &with_cpus(&machine, 4)).during("the tree of four CPUs")?;
    let file = run.path("four.dtb");
    std::fs::write(&file, tree).map_err(|error| Error::Unknown(format!("cannot write the tree: {error}")))?;
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

/// An exception on any CPU is reported with the CPU's number, and ends the run with status 2.
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
