//! The kernel's sources of memory and the shell over the emulated machine: the code that the kernel runs, without QEMU.
#![cfg(not(target_os = "none"))]

use hotmap_emulator::machine::Emulated;
use hotmap_emulator::rig::{GIB, Rig, Shape};
use hotmap_kernel::arch::machine;
use hotmap_kernel::boot_info::BootInfo;
use hotmap_kernel::drivers::ged::{Flags, Slot};
use hotmap_kernel::drivers::platform::Platform;
use hotmap_kernel::drivers::uart::take_printed;
use hotmap_kernel::kernel::Kernel;
use hotmap_mm::granule::GranuleKind;
use std::collections::BTreeSet;

const GRANULES: [GranuleKind; 3] = [GranuleKind::K4, GranuleKind::K16, GranuleKind::K64];
const DIMM: u64 = 8 * GIB;

/// A kernel on a machine with 1 GiB.
fn boot(kind: GranuleKind) -> (Kernel, Emulated) {
    let rig = Rig::boot(kind.granule(), &Shape::one("1 GiB", 0x4000_0000, GIB));
    let info: &'static mut BootInfo = Box::leak(Box::new(BootInfo::new()));
    info.granule = kind;
    machine::adopt(&rig.machine);
    let kernel = Kernel::new(info, rig.mm, Platform::default());
    take_printed();
    (kernel, rig.machine)
}

/// What a command prints; it must succeed.
fn tell(kernel: &mut Kernel, line: &str) -> String {
    let succeeded = (hotmap_shell::SHELL.run)(kernel, line);
    let printed = take_printed();
    assert!(succeeded, "{line}: {printed}");
    printed
}

/// The reason why a command is refused.
fn tell_in_vain(kernel: &mut Kernel, line: &str) -> String {
    let succeeded = (hotmap_shell::SHELL.run)(kernel, line);
    let printed = take_printed();
    assert!(!succeeded, "{line} succeeds: {printed}");
    printed
}

/// The number behind `"key":` in a line of JSON, at its first place.
fn number(json: &str, key: &str) -> u64 {
    let digits = json.split_once(&format!("\"{key}\":")).unwrap_or_else(|| panic!("no {key}: {json}")).1;
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or_else(|_| panic!("{key} is no number: {json}"))
}

/// Slot 0 has a DIMM of 1 GiB.
fn plug(kernel: &mut Kernel, machine: &Emulated) {
    machine.plug(DIMM, GIB);
    let slot = Slot { number: 0, address: DIMM, size: GIB, node: 0, flags: Flags(1) };
    let policy = kernel.policy();
    kernel.dimms.insert(&mut kernel.mm, &slot, policy).unwrap_or_else(|error| panic!("{error}"));
    take_printed();
}

/// The host's own arithmetic: pages of memory, and 64 bytes of struct page for each, rounded to pages.
#[test]
fn a_dimm_comes_is_used_and_goes_without_a_trace() {
    for kind in GRANULES {
        let (mut kernel, machine) = boot(kind);
        let page = kind.granule().page_size;
        let before = tell(&mut kernel, "state");
        plug(&mut kernel, &machine);
        let with = tell(&mut kernel, "state");
        assert_eq!(number(&with, "present"), 2 * GIB / page);
        assert_eq!(number(&with, "memmap_self"), GIB / page * 64 / page);
        assert_eq!(number(&with, "free"), number(&before, "free") + GIB / page - GIB / page * 64 / page);
        let blocks = GIB / kind.granule().section_size;
        let online = |line: &&str| line.contains("online") && line.contains("dimm0");
        assert_eq!(tell(&mut kernel, "blocks").lines().filter(online).count() as u64, blocks);
        tell(&mut kernel, "tenant new 500");
        let held = DIMM + kind.granule().section_size - page;
        tell(&mut kernel, &format!("pin addr:{held:#x}"));
        assert!(tell_in_vain(&mut kernel, &format!("offline {DIMM:#x}")).contains("EBUSY"));
        tell(&mut kernel, "audit");
        tell(&mut kernel, &format!("unpin addr:{held:#x}"));
        kernel.dimms.remove(&mut kernel.mm, 0).unwrap_or_else(|error| panic!("{error}"));
        take_printed();
        machine.unplug(DIMM);
        tell(&mut kernel, "tenant check");
        tell(&mut kernel, "tenant drop");
        let after = tell(&mut kernel, "state");
        for key in ["present", "free", "allocated", "memmap_self", "memmap_ram", "reserved"] {
            assert_eq!(number(&after, key), number(&before, key), "{kind}: {key}");
        }
        tell(&mut kernel, "audit");
    }
}

/// Where the specification's walker finds the struct page is where `walk` ends.
#[test]
fn walk_ends_where_the_specifications_walker_does() {
    for kind in GRANULES {
        let (mut kernel, machine) = boot(kind);
        plug(&mut kernel, &machine);
        let pfn = (DIMM + GIB / 2) / kind.granule().page_size;
        let printed = tell(&mut kernel, &format!("walk pfn:{pfn:#x}"));
        let at = printed.split("its struct page is at ").nth(1).and_then(|rest| rest.lines().next());
        let va = u64::from_str_radix(at.expect(&printed).trim_start_matches("0x"), 16).expect(&printed);
        let pa = machine.walk(va).expect("the struct page is mapped");
        assert!(printed.contains(&format!("{va:#x} -> {pa:#x}")), "{kind}: {pa:#x}: {printed}");
        assert!((DIMM..DIMM + GIB).contains(&pa), "the DIMM holds its own memmap: {pa:#x}");
    }
}

/// All operations in random order, and what they leave behind.
#[test]
fn stress_leaves_a_clean_model() {
    for kind in GRANULES {
        let (mut kernel, machine) = boot(kind);
        plug(&mut kernel, &machine);
        for seed in 1..=3 {
            assert!(tell(&mut kernel, &format!("stress 1 {seed}")).contains("clean: "));
        }
    }
}

/// A command that does not know a word has done nothing; what needs a CPU of its own says so.
#[test]
fn a_wrong_line_is_refused_in_one_line() {
    let (mut kernel, _) = boot(GranuleKind::K4);
    let before = tell(&mut kernel, "state");
    for line in ["", "nothing", "pin", "pin x", "tenant new", "mem all", "selftest", "bench"] {
        let printed = tell_in_vain(&mut kernel, line);
        assert!(printed.starts_with("error: ") && printed.lines().count() == 1, "{line}: {printed}");
    }
    assert_eq!(tell(&mut kernel, "state"), before);
}

/// The pages in lines of `ptdump`, and how many of them lead to a shared frame.
fn pages_of_dump(printed: &str, page: u64) -> (u64, u64) {
    let (mut pages, mut shared, mut each) = (0, 0, Vec::new());
    for line in printed.lines().filter(|line| line.starts_with("  ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (start, end) = words[0].split_once("..").unwrap_or_else(|| panic!("no range: {line}"));
        let address = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).expect(line);
        let here = (address(end) - address(start)) / page;
        let count = |at: usize| words[at].parse::<usize>().expect(line);
        let here_shared = if line.contains("lines above") {
            let (lines, times) = (count(2), count(5));
            times as u64 * each.iter().rev().take(lines).sum::<u64>()
        } else if line.contains("all to one frame") || line.contains("the table above") {
            here
        } else {
            0
        };
        each.push(here_shared);
        pages += here;
        shared += here_shared;
    }
    (pages, shared)
}

/// By hand: eight pages of struct pages for a compound page whose memmap is worth sharing, seven of which lead to one frame.
#[test]
fn a_dump_folds_compound_pages_and_counts_all_of_them() {
    for (kind, align) in GRANULES.into_iter().zip([2, 32, 512]) {
        for (tail, device) in [("page", 8 * GIB), ("device", 8 * GIB)] {
            let (mut kernel, _) = boot(kind);
            let (page, compounds) = (kind.granule().page_size, device / (align << 20));
            let options = format!("--type private --align {align}M --tail {tail}");
            tell(&mut kernel, &format!("dax create {DIMM:#x},{device:#x} {options}"));
            let printed = tell(&mut kernel, "ptdump vmemmap");
            let (pages, shared) = pages_of_dump(&printed, page);
            assert_eq!(pages, (GIB + device) / page * 64 / page, "{kind} {tail}: {printed}");
            assert_eq!(shared, 7 * compounds, "{kind} {tail}: {printed}");
            assert_eq!(shared, number(&tell(&mut kernel, "state"), "mappings"), "{kind} {tail}");
            assert!(
                printed.lines().filter(|line| line.starts_with("  ")).count() < 12,
                "{kind} {tail}: {printed}"
            );
        }
    }
}

/// Memory on demand repeats the image of a free block; 1 GiB pages share tables.
#[test]
fn a_dump_of_what_repeats_is_short() {
    let (mut kernel, _) = boot(GranuleKind::K4);
    tell(&mut kernel, &format!("dax create {DIMM:#x},{:#x} --type private --align 1G", 32 * GIB));
    let printed = tell(&mut kernel, "ptdump vmemmap");
    let (pages, shared) = pages_of_dump(&printed, 4096);
    assert_eq!((pages, shared), ((GIB + 32 * GIB) / 4096 * 64 / 4096, 32 * 4095), "{printed}");
    assert!(printed.lines().filter(|line| line.starts_with("  ")).count() < 12, "{printed}");
}

/// The first pages that `hugetlb` lists behind `name`: `FIRST to LAST` is each 2 MiB of it, up or down.
fn listed_heads(printed: &str, name: &str) -> Vec<u64> {
    let line = printed.lines().find_map(|line| line.trim().strip_prefix(name));
    let line = line.unwrap_or_else(|| panic!("no {name}: {printed}"));
    let pfn = |text: &str| u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).ok();
    let mut heads = Vec::new();
    for run in line.split(',') {
        let (first, last) = run.split_once(" to ").unwrap_or((run, run));
        let Some((first, last)) = pfn(first).zip(pfn(last)) else { continue };
        heads.extend((first.min(last)..=first.max(last)).step_by(512));
    }
    heads
}

/// Those that `state` has, and the one in use where `take` said.
#[test]
fn huge_pages_are_listed_by_their_first_pages() {
    let (mut kernel, _) = boot(GranuleKind::K4);
    tell(&mut kernel, "hugetlb 2M 12");
    let taken = tell(&mut kernel, "hugetlb take 2M");
    let printed = tell(&mut kernel, "hugetlb");
    let (free, used) = (listed_heads(&printed, "free:"), listed_heads(&printed, "in use:"));
    assert_eq!((free.len(), used.len()), (11, 1), "{printed}");
    assert!(taken.contains(&format!("{:#x} ", used[0])), "{taken}{printed}");
    let state = tell(&mut kernel, "state");
    let lists = state.split("\"heads\":[").skip(1).filter_map(|rest| rest.split(']').next());
    let heads: BTreeSet<u64> =
        lists.flat_map(|list| list.split(',')).filter_map(|n| n.parse().ok()).collect();
    assert_eq!(free.into_iter().chain(used).collect::<BTreeSet<_>>(), heads, "{printed}");
}

/// A pool in pieces does not fill the screen: the line names eight of them, and says how many pages the others are.
#[test]
fn a_pool_in_many_pieces_is_listed_in_one_line() {
    let (mut kernel, _) = boot(GranuleKind::K4);
    tell(&mut kernel, "hugetlb 2M 60");
    for _ in 0..60 {
        tell(&mut kernel, "hugetlb take 2M");
    }
    let mut used = listed_heads(&tell(&mut kernel, "hugetlb"), "in use:");
    used.sort_unstable();
    let (put, kept): (Vec<u64>, Vec<u64>) = used.iter().partition(|head| (*head / 512).is_multiple_of(2));
    for head in &put {
        tell(&mut kernel, &format!("hugetlb put {head:#x}"));
    }
    let printed = tell(&mut kernel, "hugetlb");
    for (name, heads) in [("free:", &put), ("in use:", &kept)] {
        let line = printed.lines().find(|line| line.contains(name)).expect(&printed);
        let more = line.trim_end_matches(" more").rsplit(' ').next().and_then(|n| n.parse::<usize>().ok());
        assert_eq!(listed_heads(&printed, name).len() + more.expect(line), heads.len(), "{line}");
        assert_eq!(line.split(',').count(), 8 + 1, "{line}");
    }
}

/// By hand: a huge page of 2 MiB has order 9 in its second byte, its tails the order alone, and a struct page has 64 bytes.
#[test]
fn a_raw_page_shows_its_bytes_by_field() {
    let (mut kernel, _) = boot(GranuleKind::K4);
    tell(&mut kernel, "hugetlb 2M 1");
    let taken = tell(&mut kernel, "hugetlb take 2M");
    let head = taken.split("0x").nth(1).and_then(|rest| rest.split_whitespace().next()).expect(&taken);
    let head = u64::from_str_radix(head, 16).expect(&taken);
    for (pfn, kind, order) in [(head, "huge page", "09"), (head + 511, "tail", "09")] {
        let printed = tell(&mut kernel, &format!("page --raw {pfn:#x}"));
        let field = |name: &str| {
            printed.lines().find(|line| line.split_whitespace().nth(1) == Some(name)).expect(&printed)
        };
        assert!(field("kind").ends_with(kind), "{printed}");
        assert_eq!(field("order").split_whitespace().nth(2), Some(order), "{printed}");
        let fields = printed.lines().filter(|line| line.starts_with("  +"));
        let is_byte = |word: &&str| word.len() == 2 && u8::from_str_radix(word, 16).is_ok();
        let bytes = fields.flat_map(|line| line.split_whitespace().skip(2).filter(is_byte)).count();
        assert_eq!(bytes, 64, "{printed}");
    }
    assert!(tell_in_vain(&mut kernel, "page --raw").contains("usage: page [--raw]"));
    assert!(tell_in_vain(&mut kernel, "page 0x40000 --raw").contains("usage: page [--raw]"));
}
