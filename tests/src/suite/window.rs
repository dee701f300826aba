//! Windows: readers that fault in one wait and read again, and with FEAT_BBM level 2 there are none. And a store to a
//! shared tail faults.

use super::matrix::self_tests_pass;
use super::test::{Test, slotted};
use hotmap_client::error::{Checked, Error, failed, unknown};
use hotmap_client::geometry::{GRANULES, Granule, MIB, size_text};
use hotmap_client::guest::{Finished, Guest, run_to_end};
use hotmap_client::machine::Machine;
use hotmap_client::qemu::Exit;
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};

pub(super) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for count in [2, 4] {
        let split = move |run: &Run| readers_wait_for_a_split(run, count);
        tests.push(Test::new(format!("window/split/{count}"), split));
        let level_2 = move |run: &Run| level_2_needs_no_window(run, count);
        tests.push(Test::new(format!("window/level-2/{count}"), level_2));
        tests.push(Test::new(format!("window/stress/{count}"), move |run: &Run| {
            stress_has_windows(run, count)
        }));
    }
    for granule in GRANULES {
        let body = move |run: &Run| a_store_to_a_shared_tail_faults(run, granule);
        tests.push(Test::new(format!("window/tail/{granule}"), body));
    }
    tests
}

fn machine(cpu: &str, count: u32) -> Machine {
    Machine { smp: Some(count), ..slotted(Granule::K4).cpu(cpu) }
}

/// The self-tests optimise and restore a huge page whose memmap is a block leaf, while the other CPUs read it, and hold
/// the window of the split open until one of them is in it.
fn split(run: &Run, cpu: &str, count: u32) -> Checked<Finished> {
    let finished = run_to_end(run, &machine(cpu, count).append("run=\"selftest hugetlb; cpus; audit\""))?;
    self_tests_pass(&finished)?;
    ensure!(!finished.text.contains("# SKIP"), "a self-test was skipped with {count} CPUs");
    Ok(finished)
}

/// The column `retries` of `cpus`, for each CPU.
fn retries(finished: &Finished) -> Checked<Vec<u64>> {
    let rows = finished.text.lines().skip_while(|line| !line.starts_with("cpu  mpidr")).skip(1);
    let rows = rows.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let retries =
        rows.take_while(|words| words.last() == Some(&"online")).map(|words| words.get(5)?.parse().ok());
    let retries: Option<Vec<u64>> = retries.collect();
    retries.ok_or_else(|| Error::Failed("`cpus` has no column of retries".into()))
}

fn readers_wait_for_a_split(run: &Run, count: u32) -> Checked<String> {
    let retries = retries(&split(run, "neoverse-n1", count)?)?;
    ensure_eq!(retries.len(), count as usize, "CPUs");
    ensure_eq!(retries[0], 0, "retries of the CPU that changes the tables");
    // The self-test has seen a reader in it, so the counts cannot all be 0.
    ensure!(retries.iter().sum::<u64>() > 0, "a reader entered the window, and `cpus` counts no retry");
    Ok(format!("retries: {retries:?}"))
}

fn level_2_needs_no_window(run: &Run, count: u32) -> Checked<String> {
    let retries = retries(&split(run, "max", count)?)?;
    ensure_eq!(retries.iter().sum::<u64>(), 0, "retries of readers with FEAT_BBM level 2");
    Ok(String::new())
}

/// What `stress` reports: how many windows there were, and how often readers waited in one.
fn windows(text: &str) -> Option<(u64, u64)> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("stress: ").filter(|rest| rest.contains(" windows")))?;
    let (windows, rest) = line.split_once(" windows")?;
    let waited = rest.split_once("waited in one ")?.1.split(' ').next()?;
    Some((windows.parse().ok()?, waited.parse().ok()?))
}

/// The operations of `stress` have windows that readers enter by chance; with level 2 there are none.
fn stress_has_windows(run: &Run, count: u32) -> Checked<String> {
    let ended = |cpu| -> Checked<(u64, u64)> {
        let finished = run_to_end(run, &machine(cpu, count).append("run=\"hugetlb 2M 6; stress 4 7\""))?;
        ensure_eq!(finished.exit, Exit::FINE, "stress with {count} CPUs, {cpu}");
        windows(&finished.text).map_or_else(|| failed("stress does not speak of windows"), Ok)
    };
    ensure_eq!(ended("max")?, (0, 0), "windows with FEAT_BBM level 2");
    match ended("neoverse-n1")? {
        (windows @ 1.., waited @ 1..) => Ok(format!("{windows} windows, readers waited {waited} times")),
        (windows, _) => unknown(format!("no reader was in any of {windows} windows")),
    }
}

/// A store to a shared tail is a permission fault: status 2, with the page's pfn. A restored page can be written.
fn a_store_to_a_shared_tail_faults(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(granule))?;
    let size = granule.huge_page_worth_sharing();
    guest.tell(&format!("hugetlb {} 1", size_text(size)))?;
    let state = guest.state()?;
    let Some(head) = state.huge_pool(size).and_then(|pool| pool.heads.first().copied()) else {
        return failed("the pool has no page");
    };
    let last = head + granule.pages(size) - 1;
    guest.tell(&format!("scribble {head:#x}"))?;
    guest.tell(&format!("hugetlb restore {head:#x}"))?;
    guest.tell(&format!("scribble {last:#x}"))?;
    guest.tell(&format!("hugetlb optimise {head:#x}"))?;
    guest.type_command(&format!("scribble {last:#x}"))?;
    ensure_eq!(guest.wait_exit()?, Exit::PANIC, "a write to a shared tail");
    let text = guest.text();
    let line = format!("struct page of pfn {last:#x}: a shared tail is read-only");
    ensure!(text.lines().any(|said| said.trim() == line), "the report does not say '{line}'");
    let fault = text.lines().find(|line| line.starts_with("exception: ")).unwrap_or_default();
    ensure!(
        text.to_lowercase().contains("permission fault"),
        "the report names no permission fault: {fault}"
    );
    Ok(format!("{} MiB huge page: {line}", size / MIB))
}

#[cfg(test)]
mod tests {
    use super::windows;

    #[test]
    fn windows_and_waits_are_read() {
        let line =
            "stress: 8 windows, the longest 9 ticks; readers waited in one 3 times, came just after 1 times";
        assert_eq!(windows(&format!("stress: seed 1\n{line}\n")), Some((8, 3)));
        assert_eq!(windows("stress: seed 1\n"), None);
    }
}
