//! Ctrl-C ends whatever runs long, and the machine is as it was; what takes more than two seconds says how far it is. (What
//! ends an offline is in `interrupt`.)

use super::devices::{self, PMEM};
use super::test::{Test, slotted};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During};
use hotmap_client::geometry::{GIB, Granule, MIB};
use hotmap_client::guest::Guest;
use hotmap_client::machine::{Boot, Machine};
use hotmap_client::patience::Deadline;
use hotmap_client::run::Run;
use hotmap_client::state::State;
use hotmap_client::{ensure, ensure_eq};
use std::time::Duration;

/// A command, and how long it runs before Ctrl-C is typed, in milliseconds. At 0 both are typed at once: Ctrl-C is there
/// when the command looks for the first time.
struct Long(&'static str, &'static str, u64);

/// Each lasts for minutes, or is ended at once.
const COMMANDS: [Long; 13] = [
    Long("stress", "stress 1000 7", 700),
    Long("stress-at-once", "stress 1000 7", 0),
    Long("bench", "bench 100000000", 300),
    Long("bench-offline", "bench offline 60000", 0),
    Long("bench-fill", "bench fill 0 100000", 0),
    Long("bench-churn", "bench churn 1000000000", 300),
    Long("ptdump", "ptdump", 0),
    Long("audit", "audit", 0),
    Long("tenant-new", "tenant new 200000", 0),
    Long("tenant-check", "tenant check", 0),
    Long("selftest", "selftest", 200),
    Long("selftest-at-once", "selftest", 0),
    Long("offline", "offline 0x98000000", 0),
];

pub(super) fn tests() -> Vec<Test> {
    let ended = |Long(name, command, delay): Long| {
        Test::new(format!("ended/{name}"), move |run: &Run| ctrl_c_ends(run, command, delay))
    };
    let mut tests: Vec<Test> = COMMANDS.into_iter().map(ended).collect();
    tests.push(Test::new("ended/kmem", a_device_does_not_take_its_memory_back));
    tests.push(Test::new("ended/compact", a_run_is_not_made));
    tests.push(Test::new("ended/hugetlb", a_pool_keeps_what_it_got));
    tests.push(Test::new("ended/progress", what_takes_long_says_how_far_it_is));
    tests
}

/// A DIMM in which a tenant has pages, beside free memory.
fn boot(run: &Run, icount: bool) -> Checked<Guest> {
    let mut guest = Guest::boot(run, &Machine { icount, ..slotted(Granule::K4).memory("1G") })?;
    guest.plug_well(&Dimm::new("d0", 512 * MIB))?;
    guest.tell("tenant new 20000")?;
    Ok(guest)
}

fn interrupt(guest: &mut Guest, command: &str, delay: u64) -> Checked<String> {
    if delay == 0 {
        guest.type_raw(&format!("{command}\n\u{3}"))?;
    } else {
        guest.type_command(command)?;
        guest.wait_for("the command's echo", Deadline::for_step(), |text| {
            text.contains(&format!("{command}\n")).then_some(())
        })?;
        std::thread::sleep(Duration::from_millis(delay));
        guest.type_raw("\u{3}")?;
    }
    let reply = guest.await_reply(command, Deadline::for_step())?;
    let sentence = reply.error().unwrap_or_default().to_owned();
    ensure!(sentence.contains("interrupted") && sentence.ends_with(" (EINTR)"), "'{command}': {sentence}");
    Ok(sentence)
}

fn ctrl_c_ends(run: &Run, command: &str, delay: u64) -> Checked<String> {
    let mut guest = boot(run, command.starts_with("bench"))?;
    let before = guest.state()?;
    let sentence = interrupt(&mut guest, command, delay)?;
    let after = guest.state()?;
    ensure_eq!(after.pages, before.pages, "pages after the interruption");
    let blocks = |state: &State| -> Vec<_> {
        state.blocks.iter().map(|block| (block.start, block.state, block.zone)).collect()
    };
    ensure_eq!(blocks(&after), blocks(&before), "blocks after the interruption");
    ensure_eq!(after.tenant_pages(), before.tenant_pages(), "tenants' pages after the interruption");
    guest.tell("audit; tenant check").during("after the interruption")?;
    // It is the command that ends, not the shell: the same again does not end at once.
    guest.tell("stress 0")?;
    guest.finish()?;
    Ok(sentence)
}

fn a_pool_keeps_what_it_got(run: &Run) -> Checked<String> {
    let mut guest = boot(run, false)?;
    let sentence = interrupt(&mut guest, "hugetlb 64K 5000", 0)?;
    ensure_eq!(sentence, "hugetlb: 1 huge pages of 64 KiB, not 5000: interrupted (EINTR)", "the first look");
    guest.tell("audit")?;
    guest.tell("hugetlb 64K 50")?;
    let sentence = interrupt(&mut guest, "hugetlb 64K 0", 0)?;
    ensure_eq!(sentence, "hugetlb: 49 huge pages of 64 KiB, not 0: interrupted (EINTR)", "shrinking");
    guest.tell("hugetlb 64K 0")?;
    guest.finish()?;
    Ok(String::new())
}

/// Three pages are in the way of a whole block, at the first of which it ends.
fn a_run_is_not_made(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K4).memory("256M"))?;
    guest.tell("tenant new 3")?;
    let before = guest.state()?;
    let sentence = interrupt(&mut guest, "compact 128M", 0)?;
    ensure_eq!(guest.state()?.pages, before.pages, "pages after the interruption");
    guest.tell("audit; tenant check")?;
    let made = guest.tell("compact 128M")?;
    ensure!(made.ends_with("pages moved: 3"), "the same again: {made}");
    guest.tell("audit; tenant check")?;
    guest.finish()?;
    Ok(sentence)
}

fn a_device_does_not_take_its_memory_back(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &devices::machine(Boot::Firmware, Granule::K4))?;
    guest.tell(&format!("dax create {PMEM:#x} --map dev; dax kmem {PMEM:#x}; tenant new 1000"))?;
    let before = guest.state()?;
    ensure!(before.blocks_in(PMEM, GIB).iter().any(|block| block.tenant_pages > 0), "nothing to migrate");
    let sentence = interrupt(&mut guest, &format!("dax kmem {PMEM:#x} back"), 0)?;
    ensure_eq!(guest.state()?.pages, before.pages, "pages after the interruption");
    guest.tell("audit; tenant check")?;
    guest.tell(&format!("dax kmem {PMEM:#x} back; dax destroy {PMEM:#x}; tenant check"))?;
    guest.finish()?;
    Ok(sentence)
}

/// On a machine on which an instruction takes a microsecond. Each command that takes more than two seconds there prints at
/// least a line, which begins with its name.
fn what_takes_long_says_how_far_it_is(run: &Run) -> Checked<String> {
    let machine = slotted(Granule::K4).extra(["-icount", "shift=10,sleep=off"]);
    let mut guest = Guest::boot(run, &machine)?;
    guest.plug_well(&Dimm::new("d0", GIB / 4))?;
    let mut lines = 0;
    for (command, begin, end) in [
        ("tenant new 5000", "tenant new: ", " of 5000 pages are filled"),
        ("tenant check", "tenant check: ", " pages of tenant 1 are right"),
        ("bench offline 3000", "bench: ", " of 3000 pages are filled"),
        ("bench churn 20000", "bench: ", " of 20000 times"),
        ("bench 100", "bench: ", " of 100 cycles"),
        ("hugetlb 64K 12000", "hugetlb: ", " huge pages of 12000"),
        ("stress 5", "stress: ", " s"),
        ("audit", "audit: ", " heads and leaves were looked at"),
    ] {
        let reply = guest.tell(command)?;
        let said = |line: &&str| line.starts_with(begin) && line.ends_with(end);
        let count = reply.lines().filter(said).count();
        ensure!(count > 0, "'{command}' says nothing while it runs: {reply}");
        lines += count;
    }
    guest.tell("hugetlb 64K 0")?;
    guest.finish()?;
    Ok(format!("{lines} lines"))
}
