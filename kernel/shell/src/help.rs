//! What `help` prints, folded at 80 columns.

use hotmap_kernel::{kprint, kprintln};
use hotmap_mm::debug::bugs::Bug;

use super::command::{Command, Group};

/// No line is longer.
const COLUMNS: usize = 80;

/// Every command, with what it does.
pub(super) fn list(groups: &[Group]) {
    for group in groups {
        kprintln!("{}:", group.name);
        for command in group.commands {
            kprintln!("  {:<9} {}", command.name(), command.summary);
        }
    }
    kprintln!("help COMMAND shows its words and an example.");
}

/// How a command is called, what it does, and an example.
pub(super) fn one(command: &Command) {
    fold("usage:", 7, command.usage);
    fold("", 0, command.summary);
    if !command.more.is_empty() {
        fold("", 0, command.more);
    }
    let example = if command.example.is_empty() { command.name() } else { command.example };
    fold("example:", 9, example);
    if !command.needs.is_empty() {
        kprintln!("needs: scripts/qemu {}", command.needs);
    }
}

/// The boot arguments.
pub(super) fn arguments() {
    for (argument, meaning) in ARGUMENTS {
        fold(argument, 21, meaning);
    }
}

/// The values of `bug=`.
pub(super) fn bugs() {
    for bug in Bug::ALL {
        kprintln!("bug={:<16} {bug}", bug.name());
    }
}

/// Prints `text` from column `indent` on, in as many lines as it needs. `head` stands before it, or above it if it is too
/// long.
pub(super) fn fold(head: &str, indent: usize, text: &str) {
    kprint!("{head}");
    let mut column = head.len();
    if column >= indent && column != 0 {
        kprintln!();
        column = 0;
    }
    for word in text.split(' ') {
        if column > indent && column + 1 + word.len() > COLUMNS {
            kprintln!();
            column = 0;
        }
        // The blanks before the text, or the one between two words.
        let blanks = if column > indent { 1 } else { indent - column };
        kprint!("{:blanks$}{word}", "");
        column += blanks + word.len();
    }
    kprintln!();
}

const ARGUMENTS: &[(&str, &str)] = &[
    ("granule=4k|16k|64k", "the translation granule (4k)"),
    (
        "memmap=self|self-range|ram|demand",
        "where the memmap of added memory goes (self): self is each block's own first pages, self-range the first \
         pages of the whole range, demand pages of a block as it is used",
    ),
    ("boot_memmap=self|ram|demand", "where the memmap of boot memory goes (ram)"),
    ("online=auto|manual", "whether added memory goes online at once (auto)"),
    ("hotadd=auto|manual", "whether hotpluggable regions of the device tree are added at boot (manual)"),
    ("virtio_mem=auto|off", "whether virtio memory devices are driven (auto)"),
    (
        "pmem=off|dev|mem",
        "persistent memory: unused, or a device with its memmap on it or in RAM (off); map=dev is dev",
    ),
    ("hugepages=SIZE:N,...", "huge pages to set aside at boot, of up to four sizes (none)"),
    ("hvo=on|off", "whether huge pages share their memmap when they are set aside (on)"),
    ("run=\"cmd; cmd\"", "run these, then power off: status 0 if all succeeded, else 1"),
    ("term=dumb|ansi", "the console's terminal (dumb; scripts/qemu says ansi on a terminal)"),
    ("script=on|off", "frame replies for a program: ready, begin N, end N STATUS; no prompt, no echo (off)"),
    ("heap=SIZE", "the kernel heap, 64K to 1G (4M: 12000 memory blocks at once)"),
    ("maxcpus=N", "how many CPUs run, the boot CPU included (all, up to 8)"),
    ("bench=on|off", "log nothing, print what each operation costs (off)"),
    ("strict=on|off", "end the boot with status 2 over an unknown argument or a wrong value (off)"),
    ("bug=NAME", "break an invariant on purpose (help bugs)"),
];
