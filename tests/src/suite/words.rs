//! What commands say: each that changes something says what, and each refusal names what was wrong and what would be right.

use super::devices::{HOT, PMEM, machine};
use super::test::{Test, slotted};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During};
use hotmap_client::geometry::{GIB, Granule, MIB};
use hotmap_client::guest::{Guest, run_to_end};
use hotmap_client::machine::{Boot, Machine};
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("words/changes", what_changes_something_says_what),
        Test::new("words/refusals", a_refusal_names_what_was_wrong),
        Test::new("words/dax", a_wrong_option_of_dax_create_is_named),
        Test::new("words/bench", bench_refuses_figures_that_mean_nothing),
        Test::new("words/stress", stress_says_what_it_compares),
    ]
}

/// Each command and the line that it prints, in an order in which each changes something.
fn changes() -> Vec<(String, String)> {
    let tail = PMEM + 32 * MIB;
    let said = |command: &str, line: &str| (command.to_owned(), line.to_owned());
    vec![
        said("tenant new 3", "tenant 1 holds 3 pages"),
        said("tenant new 2", "tenant 2 holds 2 pages"),
        said("tenant drop 1", "tenant 1 is gone, and its 3 pages are free"),
        said("tenant drop", "tenants dropped: 1"),
        said("tenant drop", "tenants dropped: 0"),
        said("pin addr:0x68000000", "pfn 0x68000 is held, references: 1"),
        said("pin addr:0x68000000", "pfn 0x68000 is held, references: 2"),
        said("unpin 0x68000", "pfn 0x68000 is released, references: 1"),
        said("unpin 0x68000", "pfn 0x68000 is released, and free"),
        said("poison 0x68000", "pfn 0x68000 is out of use"),
        said("unpoison 0x68000", "pfn 0x68000 is free again"),
        said("offline 0x78000000", "offline; 0 pages migrated"),
        said("online 0x78000000", "online in zone Normal; 32768 pages are free"),
        said("scribble 0x68000", "pfn 0x68000: its struct page was written, with what it held"),
        said("inject alloc 3+", "inject: allocation 3 of the next operation and all later ones will fail"),
        said("inject offline", "notifier: inject offline"),
        said("inject off", "inject: nothing is armed"),
        said("hugetlb 2M 2", "2 MiB: 2 huge pages"),
        said("hugetlb 2M 0", "2 MiB: 0 huge pages"),
        (
            format!("dax create {PMEM:#x},16M"),
            format!(
                "dax@{PMEM:x}: 16 MiB fs-dax is here, 0 pages of it its own memmap, usable from {PMEM:#x}"
            ),
        ),
        (format!("dax write {PMEM:#x} 7"), format!("{PMEM:#x}: 0x0000000000000007 is written")),
        (format!("pin addr:{PMEM:#x}"), format!("pfn {:#x} is held, references: 1", PMEM >> 12)),
        (format!("unpin addr:{PMEM:#x}"), format!("pfn {:#x} is released, references: 0", PMEM >> 12)),
        (format!("dax destroy {PMEM:#x}"), format!("dax@{PMEM:x}: gone, 16 MiB")),
        (
            format!("dax create {tail:#x},2M; pin addr:{tail:#x}"),
            format!("pfn {:#x} is held, references: 1", tail >> 12),
        ),
        (
            format!("add {HOT:#x},128M"),
            format!("dt@{HOT:x}: {HOT:#x}..{:#x} (128 MiB) is here", HOT + 128 * MIB),
        ),
        (format!("remove {HOT:#x}"), format!("dt@{HOT:x}: {HOT:#x}..{:#x} is gone", HOT + 128 * MIB)),
    ]
}

fn what_changes_something_says_what(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(Boot::Firmware, Granule::K4))?;
    let before = guest.state()?.pages;
    for (command, line) in changes() {
        let reply = guest.tell(&command)?;
        ensure!(reply.lines().any(|said| said == line), "'{command}' does not say '{line}': {reply}");
    }
    // The device goes with its last hold.
    let tail = PMEM + 32 * MIB;
    guest.tell_in_vain(&format!("dax destroy {tail:#x}"))?;
    let reply = guest.tell(&format!("unpin addr:{tail:#x}"))?;
    ensure_eq!(reply, format!("pfn {:#x} is released, and its device is gone", tail >> 12), "the last hold");
    huge_pages_say_what_they_are(&mut guest)?;
    ensure_eq!(guest.state()?.pages, before, "pages at the end");
    guest.tell("audit")?;
    guest.finish()?;
    Ok(format!("{} changes", changes().len() + 5))
}

/// Both spellings: the English of Britain is that of the documentation, and the other one is that of Linux.
fn huge_pages_say_what_they_are(guest: &mut Guest) -> Checked {
    guest.tell("hugetlb 2M 1")?;
    let taken = guest.tell("hugetlb take 2M")?;
    let Some(pfn) = taken.strip_suffix(" taken") else {
        return hotmap_client::error::failed(format!("no page was taken: {taken}"));
    };
    let number = pfn.trim_start_matches("pfn ");
    for (command, line) in [
        ("restore", "is restored: its memmap has frames of its own"),
        ("optimise", "is optimised: its memmap is shared"),
        ("restore", "is restored: its memmap has frames of its own"),
        ("optimize", "is optimised: its memmap is shared"),
        ("put", "is in its pool again"),
    ] {
        let reply = guest.tell(&format!("hugetlb {command} {number}"))?;
        ensure_eq!(reply, format!("{pfn} {line}"), "hugetlb {command}");
    }
    let reply = guest.tell(&format!("hugetlb demote {number} 64K"))?;
    ensure_eq!(reply, format!("{pfn} is 32 huge pages of 64 KiB now"), "hugetlb demote");
    guest.tell("hugetlb 64K 0").map(drop)
}

fn a_refusal_names_what_was_wrong(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K4))?;
    let free = guest.state()?.pages.free;
    let too_large = "the number is too large: 0xffffffffffffffff is the largest";
    let cases = [
        ("tenant new 99999999", format!("tenant: 99999999 pages wanted, and {free} are free (ENOMEM)")),
        ("walk addr:0xfffffffffffffffff", format!("walk: {too_large}, not 'addr:0xfffffffffffffffff'")),
        ("walk pfn:99999999999999999999", format!("walk: {too_large}, not 'pfn:99999999999999999999'")),
        ("page addr:16777216T", format!("page: {too_large}, not 'addr:16777216T'")),
        (
            "add 0x80000000,0x1ffffffffffffffff",
            format!("add: {too_large}, not '0x80000000,0x1ffffffffffffffff'"),
        ),
        ("walk addr:oxfff", "walk: expected an address after addr:, not 'addr:oxfff'".into()),
        ("stress x", "stress: expected a number (4096, 0x1000, 4K), not 'x'".into()),
        ("ptdump --raw", "ptdump: expected one of linear, image, devices, tenants, vmemmap, not '--raw'".into()),
        ("dimms now", "dimms: 'now' is not understood; usage: dimms".into()),
        ("walk", "walk: usage: walk pfn:N|addr:A".into()),
        ("dax list 0123456789012345678901234567890123456789",
            "dax: '01234567890123456789012345678901' is not understood; usage: dax list".into()),
        (
            "hugetlb frobnicate 5",
            "hugetlb: 'frobnicate' is not understood; usage: hugetlb [SIZE N|take SIZE|put PFN|demote PFN SIZE|optimise PFN|restore PFN]"
                .into(),
        ),
    ];
    for (command, sentence) in &cases {
        ensure_eq!(&guest.tell_in_vain(command)?, sentence, "'{command}'");
    }
    guest.tell("poison 0x68000")?;
    let again = guest.tell_in_vain("poison 0x68000")?;
    let wanted =
        "poison: pfn 0x68000 is poisoned already: it stays out of use until it is unpoisoned (EHWPOISON)";
    ensure_eq!(again, wanted, "a second poison");
    guest.tell("unpoison 0x68000")?;
    guest.tell("pin 0x68000")?;
    let part = guest.tell("dedup 0x68000")?;
    ensure_eq!(
        part,
        "pinned at pfn 0x68000: 1 pages, 4 KiB\n64 bytes of memmap, in the page for pfn 0x68000 to pfn 0x6803f: no page of its own to share",
        "dedup of a page without a memmap page of its own"
    );
    guest.tell("unpin 0x68000")?;
    guest.finish()?;
    Ok(format!("{} refusals", cases.len() + 1))
}

fn a_wrong_option_of_dax_create_is_named(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &machine(Boot::Image, Granule::K4))?;
    let before = guest.state()?;
    let pages = 16 * MIB / 4096;
    let beyond = format!(
        "reserve and memmap are {} pages, and {PMEM:#x}..{:#x} has {pages} (EINVAL)",
        pages + pages / 64,
        PMEM + 16 * MIB
    );
    let cases = [
        ("--map foo", "expected dev or mem after --map, not 'foo'"),
        ("--map=foo", "expected dev or mem after --map, not '--map=foo'"),
        ("--map", "expected dev or mem after --map"),
        ("--type=tape", "expected fs-dax, generic, coherent or private after --type, not '--type=tape'"),
        ("--align=x", "expected a size after --align (2M), not '--align=x'"),
        ("--align", "expected a size after --align (2M)"),
        ("--tail 3", "expected page or device after --tail, not '3'"),
        ("--frob=3", "expected one of --align, --map, --type, --reserve, --tail, not '--frob=3'"),
        ("--reserve 5", "expected --map dev with --reserve: nothing else is set aside on the device"),
        ("--map dev --reserve 4096", &beyond),
    ];
    for (options, sentence) in cases {
        let said = guest.tell_in_vain(&format!("dax create {PMEM:#x},16M {options}"))?;
        ensure_eq!(said, format!("dax: {sentence}"), "'{options}'");
    }
    let same = |state: &hotmap_client::state::State| (state.pages, state.devices.clone());
    ensure_eq!(same(&guest.state()?), same(&before), "after what was refused");
    guest.tell(&format!(
        "dax create {PMEM:#x},16M --align=2M --map=dev --type=generic --tail=device --reserve=2"
    ))?;
    let device = guest.state()?.device(PMEM).cloned();
    let found = device.map(|d| (d.align, d.kind, d.altmap.map(|altmap| altmap.reserve)));
    ensure_eq!(found, Some((2 * MIB, "generic".to_owned(), Some(2))), "a device by options with =");
    guest.tell(&format!("dax destroy {PMEM:#x}"))?;
    guest.finish()?;
    Ok(format!("{} refusals", cases.len()))
}

/// Without `--icount` there is no count of instructions, and with it there is.
fn bench_refuses_figures_that_mean_nothing(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K4))?;
    guest.plug_well(&Dimm::new("d0", 128 * MIB))?;
    let mut sentence = String::new();
    for command in
        ["bench", "bench 2", "bench hugetlb 2M", "bench fill 0 5", "bench churn 5", "bench offline 5"]
    {
        sentence = guest.tell_in_vain(command)?;
        ensure!(sentence.contains("start with --icount"), "'{command}': {sentence}");
    }
    guest.finish()?;
    let counting = Machine { icount: true, ..slotted(Granule::K4) };
    let finished = run_to_end(run, &counting.append("run=\"bench fill 0 5\""))?;
    finished
        .line("with a figure", |line| line.starts_with("bench: fill-0 20480 "))
        .during("with --icount")?;
    Ok(sentence)
}

fn stress_says_what_it_compares(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K4))?;
    guest.plug_well(&Dimm::new("d0", GIB / 4))?;
    let plain = guest.tell("stress 1")?;
    ensure!(plain.contains("\nstress: the pages by use are as before\n"), "an ordinary run: {plain}");
    guest.tell("hugetlb 2M 2")?;
    let reply = guest.tell("stress 1")?;
    let wanted = "\nstress: the pages by use are not compared with those before: \
                  other huge pages share their memmap now than before\n";
    ensure!(reply.contains(wanted), "a run with huge pages: {reply}");
    guest.finish()?;
    Ok(String::new())
}
