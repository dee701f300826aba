//! The shell: one table of commands, each a function that succeeds or says in one line why not; and the self-tests, which are
//! one of them. It is a package above the kernel, which knows of it only the function that runs a command line.
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
    /// It was not called as it wants to be.
    Usage(&'static str),
    /// A word that should have been a number, a pfn or an address; what was expected.
    BadWord(&'static str),
    /// The model refused.
    Model(Error),
    /// A pool of huge pages stopped short of the size that it was asked to have, and keeps the pages that it has.
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
    /// Something was found to be wrong, and has been printed.
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
    /// Unless this is its first word.
    Unless(&'static str),
    /// If one of these is.
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
    command("dimms", 0, "the DIMMs and what became of them", show::dimms),
    command("nvdimms", 0, "the NVDIMMs and what became of them", show::nvdimms),
    command("tables", 0, "pages of translation tables per region", show::tables),
    command("cpus", 0, "the CPUs and what they do", show::cpus),
    command("layout", 0, "the virtual address space", show::layout),
    command(
        "walk pfn:N|addr:A",
        1,
        "a page's struct page, level by level, to the frame that holds it",
        walk::walk,
    ),
    command("page PFN|addr:A", 1, "what a page is used for", walk::page),
    command("ptdump [linear|image|devices|tenants|vmemmap]", 1, "what is mapped", walk::ptdump),
    command("tenant new N|check [ID]|drop [ID]", 2, "users of movable pages", act::tenant)
        .operation(Operation::Unless("check")),
    command("pin PFN|addr:A", 1, "hold a page, so that its block cannot leave", act::pin),
    command("unpin PFN|addr:A", 1, "let go of it", act::unpin),
    command(
        "add ADDR[,SIZE]",
        1,
        "bring in a hotpluggable region of the device tree or a part of it, or a boot block that went",
        act::add,
    )
    .operation(Operation::Yes),
    command(dax::DAX, 12, "devices' memory: list it, make, unmake, give to the system (dax help)", dax::dax)
        .operation(Operation::If(&["create", "destroy", "kmem"])),
    command(
        hugetlb::HUGETLB,
        3,
        "the pools of huge pages: list them, set one's size, use a page",
        hugetlb::hugetlb,
    )
    .operation(Operation::WithWords),
    command(
        "remove ADDR",
        1,
        "take away what `add` brought in at ADDR, or a block of boot memory",
        act::remove,
    )
    .operation(Operation::Yes),
    command("poison PFN|addr:A", 1, "take a page out of use, moving away what is in it", harm::poison)
        .operation(Operation::Yes),
    command("unpoison PFN|addr:A", 1, "give it back", harm::unpoison),
    command("scribble PFN|addr:A", 1, "write to a struct page; a shared tail's ends the run", harm::scribble),
    command("crash [CPU]", 1, "end the run by a CPU that reads a struct page that is not there", harm::crash),
    command(
        "compact [ORDER|SIZE]",
        1,
        "make a free run in zone Normal, moving tenants' pages",
        harm::compact,
    )
    .operation(Operation::Yes),
    command("online ADDR [movable|normal]", 2, "bring a memory block online", act::online)
        .operation(Operation::Yes),
    command("offline ADDR", 1, "take a memory block offline, moving away what is in use", act::offline)
        .operation(Operation::Yes),
    command(
        harm::INJECT,
        2,
        "fail an allocation of the next operation, or veto what goes online or offline",
        harm::inject,
    ),
    command(
        dedup::DEDUP,
        1,
        "what struct pages cost, mapped against backed; or how those of one page are mapped",
        dedup::dedup,
    ),
    command(
        stress::STRESS,
        2,
        "all that comes and goes, in a random order, while the other CPUs read struct pages",
        stress::stress,
    ),
    command("audit", 0, "prove the invariants I1 to I8 by walking everything", act::audit),
    command("selftest [NAME|list]", 1, "run the self-tests (KTAP)", act::selftest),
    command(
        bench::BENCH,
        2,
        "take the last slot's DIMM, or a huge page, through its life and count instructions",
        bench::bench,
    )
    .operation(Operation::Yes),
    command("poweroff", 0, "end, with exit status 0", act::poweroff),
];

/// Run one command line; returns whether it succeeded. A failure prints one line that starts with `error: `.
pub fn run(kernel: &mut Kernel, line: &str) -> bool {
    let mut words = Words::new(line);
    let name = words.next().unwrap_or("");
    let found = TABLE.iter().find(|c| c.usage.split(' ').next() == Some(name));
    let outcome = match found {
        // Before it runs: what was refused must not have been done.
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
memmap=self|self-range|ram
                     where the memmap of added memory goes (self): self is each block's own first pages,
                     self-range the first pages of all that comes at once
boot_memmap=self|ram where the memmap of boot memory goes (ram)
online=auto|manual   whether added memory goes online by itself (auto)
hotadd=auto|manual   whether hotpluggable regions of the device tree are added at boot (manual)
pmem=off|dev|mem     persistent memory: left alone, or used, its memmap on it or in RAM (off); map=dev is dev
hugepages=SIZE:N,... huge pages to set aside at boot, of up to four sizes (none)
hvo=on|off           whether huge pages share their memmap when they are set aside (on)
run=\"cmd; cmd\"       run these, then power off: status 0 if all succeeded, else 1
term=dumb|ansi       the console's terminal (dumb; scripts/qemu says ansi on a terminal)
heap=SIZE            the kernel heap, 64K to 1G (4M: 12000 memory blocks at once)
maxcpus=N            how many CPUs run, the boot CPU included (all, up to 8)
bench=on|off         log nothing, print what each operation costs (off)
strict=on|off        end the boot with status 2 over an unknown argument or a wrong value (off)
bug=NAME             break an invariant on purpose (help bugs)";
