//! What Linux's allocator takes to give out runs of pages and to get them back. No command asks it for pages, so they are taken for
//! a file (order 0) and for the memory of a process (order 9: huge pages of that size), and the calls of the allocator are counted.

use super::guest::Linux;
use super::record::{Column, Home, Operation, Part, Row, Value};
use super::symbols::{FREE, TAKE};
use crate::bench::alloc::ORDERS;
use crate::bench::costs::Costs;
use hotmap_client::ensure;
use hotmap_client::error::{Checked, Error};

/// A folder for each size that huge pages may have.
const HUGE: &str = "/sys/kernel/mm/transparent_hugepage/hugepages-";

/// How many huge pages: more than hotmap takes, so that what else the process takes and frees is little beside them.
const LARGE_RUNS: u64 = 56;

/// Measures both orders.
///
/// # Errors
/// Failed when the kernel has no huge pages of order 9; else as [`Linux::tell`].
pub fn measure(linux: &mut Linux, column: &mut Column) -> Checked {
    let [(page, count), (large, _)] = ORDERS;
    let size = column.granule;
    let figures = [(size << page, pages(linux, size, count)?), (size << large, huge(linux, size << large)?)];
    for (bytes, [taken, freed]) in figures {
        // Where its memmap is plays no part: the same figures stand beside both of hotmap's.
        for home in [Home::SelfHosted, Home::Demand] {
            column.add(Row::new(Part::Alloc, home, bytes, Operation::Take), taken.clone());
            column.add(Row::new(Part::Alloc, home, bytes, Operation::Free), freed.clone());
        }
    }
    Ok(())
}

/// Single pages: those of a file in memory.
fn pages(linux: &mut Linux, size: u64, count: u64) -> Checked<[Value; 2]> {
    linux.tell("mount -t tmpfs none /mnt")?;
    linux.settle(5)?;
    let taken = calls(linux, TAKE, &format!("dd if=/dev/zero of=/mnt/file bs={size} count={count}"))?;
    linux.settle(5)?;
    let freed = calls(linux, FREE, "rm /mnt/file")?;
    // With those for the file's index, and for dd.
    let times = taken.len() as u64;
    ensure!(times >= count && times < count * 2, "{times} runs were taken for {count} pages");
    Ok([Value::Each(Costs::sum(taken), times), Value::Each(Costs::sum(freed), count)])
}

/// Runs of `bytes`: huge pages of a process. What a process without them frees at its end is subtracted.
fn huge(linux: &mut Linux, bytes: u64) -> Checked<[Value; 2]> {
    let kib = bytes >> 10;
    let folder = format!("{HUGE}{kib}kB");
    linux.tell(&format!(
        "for file in {HUGE}*/enabled; do echo never > $file; done; echo always > {folder}/enabled"
    ))?;
    linux.tell("mkfifo /pipe; exec 3<>/pipe")?;
    let mut measured = [(), ()].map(|()| (Vec::new(), Costs::default(), 0));
    for (bytes, (taken, freed, runs)) in [1 << 16, bytes * (LARGE_RUNS + 1)].into_iter().zip(&mut measured) {
        let count = format!("cat {folder}/stats/anon_fault_alloc");
        let before = number(&linux.tell(&count)?)?;
        let start = format!("dd if=/dev/zero of=/pipe bs={bytes} count=1 & pid=$!; sleep 30");
        *taken = calls(linux, TAKE, &start)?;
        *runs = number(&linux.tell(&count)?)? - before;
        *freed = Costs::sum(calls(linux, FREE, "kill $pid; wait $pid; sleep 5")?);
    }
    linux.tell("exec 3>&-; rm /pipe")?;
    let [(_, freed_without, _), (mut taken, freed, runs)] = measured;
    ensure!(runs >= LARGE_RUNS, "{runs} huge pages of {kib} kB were taken");
    // A huge page is dearer than any page that the process takes beside it, such as those of its tables.
    taken.sort_by_key(|costs| std::cmp::Reverse(costs.instructions));
    let taken = Costs::sum(taken.into_iter().take(usize::try_from(runs).unwrap_or(0)));
    Ok([Value::Each(taken, runs), Value::Each(freed - freed_without, runs)])
}

/// What each call in a window costs while a line is executed.
fn calls(linux: &mut Linux, window: &str, line: &str) -> Checked<Vec<Costs>> {
    let before = linux.calls(window)?.len();
    linux.tell(line)?;
    Ok(linux.calls(window)?.split_off(before))
}

fn number(text: &str) -> Checked<u64> {
    text.trim().parse().map_err(|_| Error::Failed(format!("not a number: {}", text.trim())))
}
