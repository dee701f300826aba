//! The commands, in the groups and the order of `help` and docs/reference/shell.md.

use super::args::Words;
use super::command::{Command, Group, Operation, command};
use super::{Outcome, ShellError};
use super::{act, bench, dax, dedup, harm, help, hugetlb, ptdump, show, state, stress, vmems, walk};
use hotmap_kernel::kernel::Kernel;

const HELP: &str = "help [COMMAND|args|bugs]";

pub(super) const GROUPS: &[Group] = &[
    Group { name: "To look", commands: LOOK },
    Group { name: "To use memory", commands: USE },
    Group { name: "To add memory and to remove it", commands: ADD },
    Group { name: "To do harm", commands: HARM },
    Group { name: "To check", commands: CHECK },
];

/// The command with this name.
pub(super) fn find(name: &str) -> Option<&'static Command> {
    GROUPS.iter().flat_map(|group| group.commands).find(|command| command.name() == name)
}

fn names() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|group| group.commands).map(Command::name)
}

/// The error for a word that is no command. QEMU's monitor shares the terminal, so its words are typed here by mistake.
pub(super) fn unknown(name: &str) -> ShellError {
    match name {
        "object_add" | "object_del" | "device_add" | "device_del" | "qom-set" | "info" => {
            ShellError::Failed("a command of QEMU's monitor: press Ctrl-A C first")
        }
        _ => ShellError::Unknown(nearest(name, names())),
    }
}

/// The word that has the most first bytes in common with `name`, three at least; the first of several.
fn nearest(name: &str, words: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let common = |word: &str| name.bytes().zip(word.bytes()).take_while(|(one, other)| one == other).count();
    let best =
        words.map(|word| (common(word), word)).reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.filter(|(bytes, _)| *bytes >= 3).map(|(_, word)| word)
}

fn no_command(name: &str) -> ShellError {
    let near = match name {
        "boot" => Some("args"),
        _ => nearest(name, names().chain(["args", "bugs"])),
    };
    ShellError::NoCommand { name: name.chars().take(32).collect(), near }
}

fn help(_: &mut Kernel, words: &mut Words<'_>) -> Outcome {
    match words.next() {
        None => help::list(GROUPS),
        Some("args") => help::arguments(),
        Some("bugs") => help::bugs(),
        Some(name) => help::one(find(name).ok_or_else(|| no_command(name))?),
    }
    Ok(())
}

const LOOK: &[Command] = &[
    command(HELP, 1, "this list, a command, the boot arguments, or the bug= switches", help)
        .example("help offline"),
    command("state", 0, "everything as one line of JSON, for programs", state::state),
    command("mem", 0, "the pages of system RAM by use", show::mem),
    command("zones", 0, "the zones and their free runs by order", show::zones),
    command("blocks", 0, "the memory blocks", show::blocks)
        .more("State, zone, source, where the memmap lies, free pages, tenants' pages."),
    command("dimms", 0, "the DIMMs and their states", show::dimms),
    command("nvdimms", 0, "the NVDIMMs and their states", show::nvdimms),
    command(vmems::VMEMS, 2, "the virtio memory devices, and what of them stays", vmems::vmems)
        .more("rebind forgets device N, whose memory stays plugged, and finds it anew, as after a reboot.")
        .example("vmems rebind 0")
        .needs("--virtio-mem 1G")
        .operation(Operation::WithWords),
    command("tables", 0, "the pages of translation tables of each region", show::tables),
    command("cpus", 0, "the CPUs, their jobs and their interrupts", show::cpus),
    command("layout", 0, "the virtual address space, boot RAM, and regions set aside", show::layout),
    command("log", 0, "the last lines that the kernel logged", show::log)
        .more("It keeps 8 KiB, whole lines."),
    command("walk pfn:N|addr:A", 1, "the table entries that lead to a page's struct page", walk::walk)
        .more("Level by level, to the frame behind it. A virtual address is walked itself.")
        .example("walk addr:0x40000000"),
    command(walk::PAGE, 2, "what a page is used for", walk::page)
        .more("--raw shows the bytes of its struct page, and the name of each field.")
        .example("page --raw addr:0x40000000"),
    command("ptdump [linear|image|devices|tenants|vmemmap]", 1, "what is mapped", ptdump::ptdump)
        .more("Leaves that are alike are one line, and so are compound pages that share memmap.")
        .example("ptdump vmemmap"),
    command(dedup::DEDUP, 1, "struct pages, mapped against backed by frames", dedup::dedup)
        .more("With a page: how the struct pages of its compound page are mapped.")
        .example("dedup addr:0x40000000"),
];

const USE: &[Command] = &[
    command("tenant new N|check [ID]|drop [ID]", 2, "users of movable pages", act::tenant)
        .more("new fills N pages with a pattern, check reads it, drop frees the pages.")
        .example("tenant new 16; tenant check; tenant drop")
        .operation(Operation::Unless("check")),
    command("pin PFN|addr:A", 1, "hold a page, so that it cannot move", act::pin)
        .more("Its block cannot go offline then.")
        .example("pin addr:0x78000000"),
    command("unpin PFN|addr:A", 1, "release a page that was pinned", act::unpin)
        .example("pin addr:0x78000000; unpin addr:0x78000000"),
    command("compact [ORDER|SIZE]", 1, "make a free run in zone Normal", harm::compact)
        .more("It migrates tenants' pages.")
        .example("compact 2M")
        .operation(Operation::Yes),
    command(hugetlb::HUGETLB, 3, "the pools of huge pages", hugetlb::hugetlb)
        .more(
            "SIZE N sets a pool's size; take and put use a page of it; demote splits one; optimise shares its \
             memmap (HVO), and restore gives it frames of its own again.",
        )
        .example("hugetlb 2M 4; hugetlb")
        .operation(Operation::WithWords),
];

const ADD: &[Command] = &[
    command("add ADDR[,SIZE]", 1, "add a region of the device tree, or a removed boot block", act::add)
        .more("A hotpluggable region or a part of it, with the policy of memmap= and online=.")
        .example("add 0x80000000,256M")
        .needs("--hotpluggable 1G")
        .operation(Operation::Yes),
    command("remove ADDR", 1, "remove what one `add` added at ADDR, or a boot block", act::remove)
        .more("What is online goes offline first, and pages in use migrate.")
        .example("remove 0x78000000; add 0x78000000")
        .operation(Operation::Yes),
    command("online ADDR [movable|normal]", 2, "bring a memory block online", act::online)
        .more("Boot memory to zone Normal and other memory to zone Movable, unless told otherwise.")
        .example("offline 0x78000000; online 0x78000000")
        .operation(Operation::Yes),
    command("offline ADDR", 1, "take a memory block offline", act::offline)
        .more("The pages in use migrate. Ctrl-C ends it, and the block stays online.")
        .example("offline 0x78000000; online 0x78000000")
        .operation(Operation::Yes),
    command(dax::DAX, 12, "device memory: list, create, destroy, give to the system", dax::dax)
        .more("dax help has the words and options of each.")
        .example("dax create 0x80000000,256M; dax; dax destroy 0x80000000")
        .needs("--pmem 1G")
        .operation(Operation::If(&["create", "destroy", "kmem"])),
];

const HARM: &[Command] = &[
    command("poison PFN|addr:A", 1, "take a page out of use, and migrate its contents", harm::poison)
        .example("poison addr:0x78000000; unpoison addr:0x78000000")
        .operation(Operation::Yes),
    command("unpoison PFN|addr:A", 1, "return a poisoned page to use", harm::unpoison)
        .example("poison addr:0x78000000; unpoison addr:0x78000000"),
    command(harm::INJECT, 2, "make an allocation fail, or veto an online or offline", harm::inject)
        .more("The Nth allocation of the next operation; N+ is that one and all later ones.")
        .example("inject alloc 2; inject; inject off"),
    command("scribble PFN|addr:A", 1, "write to a struct page", harm::scribble)
        .more("On a shared tail this ends the run.")
        .example("scribble addr:0x78000000"),
    command("crash [CPU]", 1, "end the run: a CPU reads a struct page that is not mapped", harm::crash),
];

const CHECK: &[Command] = &[
    command("audit", 0, "check the invariants I1 to I8 by walking everything", act::audit),
    command("selftest [NAME|list]", 1, "run the self-tests (KTAP)", act::selftest).example("selftest buddy"),
    command(stress::STRESS, 2, "all operations in random order, while other CPUs read", stress::stress)
        .more("The other CPUs read struct pages. What it changes is put back, and audited.")
        .example("stress 2 7"),
    command(bench::BENCH, 4, "count the instructions of operations", bench::bench)
        .more(
            "CYCLES: the last DIMM's life; hugetlb: a huge page's memmap, shared and restored; offline: the last \
             DIMM goes with PAGES in use; fill and churn: allocations.",
        )
        .example("bench churn 1000")
        .needs("--icount")
        .operation(Operation::Yes),
    command("poweroff", 0, "end the run", act::poweroff)
        .more("The status is 0, in run= that of the commands so far."),
];
