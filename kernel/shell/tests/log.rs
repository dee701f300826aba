//! `log`, in a process of its own: what another test does while logging is off would be missing.
#![cfg(not(target_os = "none"))]

use hotmap_emulator::rig::{GIB, Rig, Shape};
use hotmap_kernel::arch::machine;
use hotmap_kernel::boot_info::BootInfo;
use hotmap_kernel::drivers::ged::{Flags, Slot};
use hotmap_kernel::drivers::platform::Platform;
use hotmap_kernel::drivers::uart::hosted::take_printed_apart;
use hotmap_kernel::kernel::Kernel;
use hotmap_mm::granule::GranuleKind;

const DIMM: u64 = 8 * GIB;

/// What a command prints, log lines not counted; it must succeed.
fn tell(kernel: &mut Kernel, line: &str) -> String {
    let succeeded = (hotmap_shell::SHELL.run)(kernel, line);
    let (printed, _) = take_printed_apart();
    assert!(succeeded, "{line}: {printed}");
    printed
}

/// The lines of `log`, without the blanks before them.
fn logged(kernel: &mut Kernel) -> Vec<String> {
    let printed = tell(kernel, "log");
    printed.lines().filter_map(|line| line.strip_prefix("  ")).map(str::to_owned).collect()
}

/// What the console printed as log lines, in the same order, and nothing that a command printed.
#[test]
fn the_log_repeats_the_last_lines_that_were_logged() {
    let rig = Rig::boot(GranuleKind::K4.granule(), &Shape::one("1 GiB", 0x4000_0000, GIB));
    let info: &'static mut BootInfo = Box::leak(Box::new(BootInfo::new()));
    info.granule = GranuleKind::K4;
    machine::adopt(&rig.machine);
    let mut kernel = Kernel::new(info, rig.mm, Platform::default());
    rig.machine.plug(DIMM, GIB);
    let (slot, policy) =
        (Slot { number: 0, address: DIMM, size: GIB, node: 0, flags: Flags(1) }, kernel.policy());
    kernel.dimms.insert(&mut kernel.mm, &slot, policy).unwrap_or_else(|error| panic!("{error}"));
    let (_, printed) = take_printed_apart();
    tell(&mut kernel, "mem");
    let mut all: Vec<String> = printed.lines().map(str::to_owned).collect();
    assert!(all.iter().any(|line| line.contains("dimm0")), "{all:?}");
    assert_eq!(logged(&mut kernel), all);
    assert_eq!(logged(&mut kernel), all, "the log logs itself");
    for number in 0..200 {
        let line = format!("line {number} of a log that is longer than what is kept");
        hotmap_kernel::klog!("{line}");
        all.push(line);
    }
    take_printed_apart();
    let printed = tell(&mut kernel, "log");
    let kept: Vec<&str> = printed.lines().filter_map(|line| line.strip_prefix("  ")).collect();
    let (gone, last) = all.split_at(all.len() - kept.len());
    assert_eq!(kept, last);
    let dropped: usize = gone.iter().map(|line| line.len() + 1).sum();
    assert!(printed.starts_with(&format!("log: {dropped} bytes of older lines are dropped\n")), "{printed}");
}
