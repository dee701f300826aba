//! The shell: one table of commands, and the self-tests, which are one of them. A command succeeds, or prints the reason in
//! one line. The package is above the kernel, which knows only the function that runs a command line.
#![no_std]
#![cfg(target_os = "none")]

extern crate alloc;

mod act;
mod args;
mod bench;
mod dax;
mod dedup;
mod harm;
mod hugetlb;
mod json;
mod selftest;
mod show;
mod state;
mod stress;
mod units;
mod vmems;
mod walk;

use core::fmt;

use hotmap_mm::addr::Bytes;
use hotmap_mm::debug::bugs::Bug;
use hotmap_mm::error::Error;

use args::Words;
use hotmap_kernel::kernel::Kernel;
use hotmap_kernel::kprintln;
use hotmap_kernel::regions::Refusal;

/// Why a command failed.
#[derive(Debug)]
pub enum ShellError {
    /// Wrong words; the usage.
    Usage(&'static str),
    /// A word that should have been a number, a pfn or an address; what was expected.
    BadWord(&'static str),
    /// The model refused.
    Model(Error),
    /// A pool of huge pages did not reach the size that was asked for, and keeps the pages that it has.
    Pool {
        /// The size of a huge page.
        bytes: u64,
        /// How many the pool has now.
        total: u64,
        /// How many were asked for.
        asked: u64,
        /// What stopped it.
        why: Error,
    },
    /// A region of the device tree cannot be used so.
    Region(Refusal),
    /// A check failed; the details are printed.
    Failed(&'static str),
    /// There is no such command.
    Unknown,
}

impl From<Error> for ShellError {
    fn from(error: Error) -> Self {
        Self::Model(error)
    }
}

impl From<Refusal> for ShellError {
    fn from(refusal: Refusal) -> Self {
        Self::Region(refusal)
    }
}

impl fmt::Display for ShellError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(usage) => write!(f, "usage: {usage}"),
            Self::BadWord(expected) => write!(f, "expected {expected}"),
            Self::Region(refusal) => write!(f, "{refusal} ({})", refusal.errno()),
            Self::Model(error) => write!(f, "{error} ({})", error.errno()),
            Self::Pool { bytes, total, asked, why } => {
                write!(f, "{total} huge pages of {}, not {asked}: {why} ({})", Bytes(*bytes), why.errno())
            }
            Self::Failed(what) => f.write_str(what),
            Self::Unknown => f.write_str("no such command (help lists them)"),
        }
    }
}

type Outcome = Result<(), ShellError>;

/// Whether a command is a whole operation, in which `inject` may make an allocation fail.
#[derive(Clone, Copy)]
enum Operation {
    No,
    Yes,
    /// If any word follows its name.
    WithWords,
    /// Unless its first word is this.
    Unless(&'static str),
    /// If its first word is one of these.
    If(&'static [&'static str]),
}

impl Operation {
    fn is_one(self, words: &Words<'_>) -> bool {
        match self {
            Self::No => false,
            Self::Yes => true,
            Self::WithWords => words.left() != 0,
            Self::Unless(word) => words.peek() != Some(word),
            Self::If(changes) => words.peek().is_some_and(|word| changes.contains(&word)),
        }
    }
}

/// A command.
struct Command {
    /// How it is called; the first word is its name.
    usage: &'static str,
    /// The most words that may follow the name.
    most: usize,
    /// What it does.
    help: &'static str,
    operation: Operation,
    run: fn(&mut Kernel, &mut Words<'_>) -> Outcome,
}

const fn command(
    usage: &'static str,
    most: usize,
    help: &'static str,
    run: fn(&mut Kernel, &mut Words<'_>) -> Outcome,
) -> Command {
    Command { usage, most, help, operation: Operation::No, run }
}

impl Command {
    const fn operation(self, operation: Operation) -> Self {
        Self { operation, ..self }
    }
}

const TABLE: &[Command] = &[
    command("help [args|bugs]", 1, "this list, the boot arguments, or the bug= switches", help),
    command("state", 0, "everything as one line of JSON, for scripts", state::state),
    command("mem", 0, "pages by use", show::mem),
    command("zones", 0, "the zones and their free runs", show::zones),
    command("blocks", 0, "the memory blocks", show::blocks),
    command("dimms", 0, "the DIMMs and their states", show::dimms),
    command("nvdimms", 0, "the NVDIMMs and their states", show::nvdimms),
    command(
        vmems::VMEMS,
        2,
        "the virtio memory devices and what stays; rebind finds one anew, as after a reboot",
        vmems::vmems,
    )
    .operation(Operation::WithWords),
    command("tables", 0, "pages of translation tables per region", show::tables),
    command("cpus", 0, "the CPUs, their jobs and their interrupts", show::cpus),
    command("layout", 0, "the virtual address space", show::layout),
    command(
        "walk pfn:N|addr:A",
        1,
        "where a page's struct page lies: the table entries, level by level, and the frame",
        walk::walk,
    ),
    command("page PFN|addr:A", 1, "what a page is used for", walk::page),
    command("ptdump [linear|image|devices|tenants|vmemmap]", 1, "what is mapped", walk::ptdump),
    command("tenant new N|check [ID]|drop [ID]", 2, "users of movable pages", act::tenant)
        .operation(Operation::Unless("check")),
    command(
        "pin PFN|addr:A",
        1,
        "hold a page, so that it cannot move and its block cannot go offline",
        act::pin,
    ),
    command("unpin PFN|addr:A", 1, "release a page that was pinned", act::unpin),
    command(
        "add ADDR[,SIZE]",
        1,
        "add a hotpluggable region of the device tree or a part of it, or a boot block that was removed",
        act::add,
    )
    .operation(Operation::Yes),
    command(
        dax::DAX,
        12,
        "device memory: list devices, create, destroy, give to the system (dax help)",
        dax::dax,
    )
    .operation(Operation::If(&["create", "destroy", "kmem"])),
    command(
        hugetlb::HUGETLB,
        3,
        "the pools of huge pages: list them, set a pool's size, take and put pages",
        hugetlb::hugetlb,
    )
    .operation(Operation::WithWords),
    command("remove ADDR", 1, "remove what one `add` added at ADDR, or a block of boot memory", act::remove)
        .operation(Operation::Yes),
    command("poison PFN|addr:A", 1, "take a page out of use, and migrate its contents", harm::poison)
        .operation(Operation::Yes),
    command("unpoison PFN|addr:A", 1, "return a poisoned page to use", harm::unpoison),
    command(
        "scribble PFN|addr:A",
        1,
        "write to a struct page; on a shared tail this ends the run",
        harm::scribble,
    ),
    command("crash [CPU]", 1, "end the run: a CPU reads a struct page that is not mapped", harm::crash),
    command(
        "compact [ORDER|SIZE]",
        1,
        "make a free run in zone Normal by migrating tenants' pages",
        harm::compact,
    )
    .operation(Operation::Yes),
    command("online ADDR [movable|normal]", 2, "bring a memory block online", act::online)
        .operation(Operation::Yes),
    command("offline ADDR", 1, "take a memory block offline, migrating the pages in use", act::offline)
        .operation(Operation::Yes),
    command(
        harm::INJECT,
        2,
        "make an allocation of the next operation fail, or veto going online or offline",
        harm::inject,
    ),
    command(
        dedup::DEDUP,
        1,
        "struct pages, mapped against backed by frames; or how those of one page are mapped",
        dedup::dedup,
    ),
    command(
        stress::STRESS,
        2,
        "all operations in random order, while the other CPUs read struct pages",
        stress::stress,
    ),
    command("audit", 0, "check the invariants I1 to I8 by walking everything", act::audit),
    command("selftest [NAME|list]", 1, "run the self-tests (KTAP)", act::selftest),
    command(
        bench::BENCH,
        4,
        "count the instructions of the last DIMM's life, of a huge page, or of an offline with PAGES in use",
        bench::bench,
    )
    .operation(Operation::Yes),
    command("poweroff", 0, "end the run: exit status 0, in run= that of the commands so far", act::poweroff),
];

/// Runs one command line; returns whether it succeeded. A failure prints one line that starts with `error: `.
pub fn run(kernel: &mut Kernel, line: &str) -> bool {
    let mut words = Words::new(line);
    let name = words.next().unwrap_or("");
    let found = TABLE.iter().find(|c| c.usage.split(' ').next() == Some(name));
    let outcome = match found {
        // Before it runs: a command that is refused has done nothing.
        Some(command) if words.left() > command.most => Err(ShellError::Usage(command.usage)),
        Some(command) if command.operation.is_one(&words) => {
            kernel.injection.begin(&mut kernel.mm.frames_mut().faults);
            let outcome = (command.run)(kernel, &mut words);
            kernel.injection.end(&mut kernel.mm.frames_mut().faults);
            outcome
        }
        Some(command) => (command.run)(kernel, &mut words),
        None => Err(ShellError::Unknown),
    };
    match outcome {
        Ok(()) => true,
        Err(error) => {
            kprintln!("error: {name}: {error}");
            false
        }
    }
}

fn help(_: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    match words.next() {
        None => {
            for command in TABLE {
                kprintln!("{:<48} {}", command.usage, command.help);
            }
        }
        Some("args") => kprintln!("{ARGUMENTS}"),
        Some("bugs") => {
            for bug in Bug::ALL {
                kprintln!("bug={:<16} {bug}", bug.name());
            }
        }
        Some(_) => return Err(ShellError::Usage("help [args|bugs]")),
    }
    Ok(())
}

const ARGUMENTS: &str = "\
granule=4k|16k|64k   the translation granule (4k)
memmap=self|self-range|ram|demand
                     where the memmap of added memory goes (self): self is each block's own first pages,
                     self-range the first pages of the whole range, demand pages of a block as it is used
boot_memmap=self|ram|demand
                     where the memmap of boot memory goes (ram)
online=auto|manual   whether added memory goes online at once (auto)
hotadd=auto|manual   whether hotpluggable regions of the device tree are added at boot (manual)
virtio_mem=auto|off  whether virtio memory devices are driven (auto)
pmem=off|dev|mem     persistent memory: unused, or a device with its memmap on it or in RAM (off); map=dev is dev
hugepages=SIZE:N,... huge pages to set aside at boot, of up to four sizes (none)
hvo=on|off           whether huge pages share their memmap when they are set aside (on)
run=\"cmd; cmd\"       run these, then power off: status 0 if all succeeded, else 1
term=dumb|ansi       the console's terminal (dumb; scripts/qemu says ansi on a terminal)
script=on|off        frame replies for a program: ready, begin N, end N STATUS; no prompt, no echo (off)
heap=SIZE            the kernel heap, 64K to 1G (4M: 12000 memory blocks at once)
maxcpus=N            how many CPUs run, the boot CPU included (all, up to 8)
bench=on|off         log nothing, print what each operation costs (off)
strict=on|off        end the boot with status 2 over an unknown argument or a wrong value (off)
bug=NAME             break an invariant on purpose (help bugs)";
