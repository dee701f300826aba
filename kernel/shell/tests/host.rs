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
