//! Random and mutated command lines: every line has its frame, nothing crashes or hangs, and the audit is clean at the end.
//!
//! A line is a valid one of some command, with random numbers and addresses in it, many at the limits. Half of the lines are
//! then mutated: words are swapped, left out, doubled, or taken from another command, characters are changed, junk is put in.
//! The same seed gives the same lines.

use super::test::Test;
use hotmap_client::error::{Checked, During, failed};
use hotmap_client::frame::find_frame;
use hotmap_client::geometry::{GRANULES, Granule};
use hotmap_client::machine::Machine;
use hotmap_client::patience::Deadline;
use hotmap_client::qemu::{Exit, Qemu};
use hotmap_client::run::{Journal, Run};
use hotmap_client::shell::ERROR;
use hotmap_client::state::State;
use hotmap_client::{ensure, ensure_eq};
use std::collections::BTreeSet;

/// Lines for each granule: more than 10,000 in all, and 100,000 with `--long`.
const LINES: usize = 3_400;
const MANY_LINES: usize = 33_400;
/// Lines that are typed at once.
const BATCH: usize = 64;
/// How many steps' time a batch may take.
const STEPS: u32 = 4;

/// Each command, with `N` for a number, `S` for a size, `A` for an address, `P` for a page and `W` for a word of an option.
const GRAMMAR: [&str; 79] = [
    "help",
    "help args",
    "help bugs",
    "help W",
    "state",
    "mem",
    "zones",
    "blocks",
    "dimms",
    "nvdimms",
    "vmems",
    "vmems rebind 0",
    "vmems rebind N",
    "tables",
    "cpus",
    "layout",
    "walk pfn:N",
    "walk addr:A",
    "walk P",
    "page P",
    "page P",
    "page --raw P",
    "ptdump W",
    "dedup",
    "dedup P",
    "tenant new 3",
    "tenant new N",
    "tenant new N",
    "tenant check",
    "tenant check N",
    "tenant drop",
    "tenant drop N",
    "tenant drop 1",
    "pin P",
    "pin P",
    "unpin P",
    "unpin P",
    "add A",
    "add A,S",
    "remove A",
    "remove A",
    "poison P",
    "poison P",
    "unpoison P",
    "compact",
    "compact N",
    "compact S",
    "online A",
    "online A W",
    "offline A",
    "offline A",
    "inject",
    "inject alloc N",
    "inject alloc N+",
    "inject online",
    "inject offline",
    "inject off",
    "inject off",
    "hugetlb",
    "hugetlb S N",
    "hugetlb 2M 3",
    "hugetlb take S",
    "hugetlb put P",
    "hugetlb demote P S",
    "hugetlb optimise P",
    "hugetlb restore P",
    "dax",
    "dax create A,S",
    "dax create A,S --map W --align S",
    "dax create A,S A,S --type W --reserve N --tail W",
    "dax destroy A",
    "dax kmem A",
    "dax kmem A back",
    "dax read A",
    "dax write A N",
    "stress 0 N",
    "selftest list",
    "bench W N",
    "audit",
];

const WORDS: [&str; 20] = [
    "linear",
    "image",
    "devices",
    "tenants",
    "vmemmap",
    "movable",
    "normal",
    "dev",
    "mem",
    "fs-dax",
    "generic",
    "coherent",
    "private",
    "page",
    "device",
    "hugetlb",
    "offline",
    "fill",
    "churn",
    "--map=dev",
];

/// Numbers at which something changes: 0, a page, a block, the bits of an address, what fits into a word.
const LIMITS: [&str; 24] = [
    "0",
    "1",
    "2",
    "3",
    "8",
    "9",
    "511",
    "512",
    "4095",
    "4096",
    "32768",
    "0x7fffffff",
    "0x80000000",
    "0xffffffff",
    "0x100000000",
    "0xffffffffffff",
    "0x1000000000000",
    "0x7fffffffffffffff",
    "0x8000000000000000",
    "0xfffffffffffff000",
    "0xffffffffffffffff",
    "0x10000000000000000",
    "99999999999999999999",
    "-1",
];

const SIZES: [&str; 14] =
    ["0", "1", "4K", "64K", "1M", "2M", "4M", "16M", "32M", "128M", "512M", "1G", "16777215T", "16777216T"];

pub(super) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for (granule, seed) in GRANULES.into_iter().zip(1..) {
        let (name, long) = (format!("fuzz/lines/{granule}"), format!("fuzz/many-lines/{granule}"));
        tests.push(Test::new(name, move |run: &Run| random_lines(run, granule, seed, LINES)));
        let body = move |run: &Run| random_lines(run, granule, seed + 1000, MANY_LINES);
        tests.push(Test::new(long, body).long());
    }
    tests
}

/// xorshift64 (Marsaglia, "Xorshift RNGs").
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 11) % bound.max(1) as u64).unwrap_or(0)
    }
    fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }
}

/// What makes lines for a machine.
struct Lines {
    random: Random,
    granule: Granule,
    /// Where there is memory, of every kind.
    memory: Vec<(u64, u64)>,
}

impl Lines {
    fn next(&mut self) -> String {
        let mut line = self.valid();
        match self.random.below(16) {
            0..6 => line = self.mutated(&line),
            6 => line = format!("{line}; {}", self.valid()),
            7 => {
                let other = self.valid();
                line = self.mutated(&format!("{line};{other}"));
            }
            _ => {}
        }
        tame(&line)
    }

    fn valid(&mut self) -> String {
        let shape = self.random.pick(&GRAMMAR);
        let mut line = String::new();
        for c in shape.chars() {
            match c {
                'N' => line += &self.number(),
                'S' => line += self.random.pick(&SIZES),
                'A' => line += &format!("{:#x}", self.address()),
                'P' => {
                    let address = self.address();
                    line += &match self.random.below(3) {
                        0 => format!("addr:{address:#x}"),
                        1 => format!("pfn:{:#x}", self.granule.pages(address)),
                        _ => format!("{:#x}", self.granule.pages(address)),
                    };
                }
                'W' => line += self.random.pick(&WORDS),
                _ => line.push(c),
            }
        }
        line
    }

    fn number(&mut self) -> String {
        if self.random.below(2) == 0 {
            self.random.below(600).to_string()
        } else {
            self.random.pick(&LIMITS).to_owned()
        }
    }

    /// Mostly in memory, and often at the start of a block, a subsection or a page.
    fn address(&mut self) -> u64 {
        if self.random.below(12) == 0 {
            return u64::MAX >> self.random.below(64);
        }
        let (start, size) = self.memory[self.random.below(self.memory.len())];
        let step = [self.granule.block(), 2 << 20, self.granule.bytes(), 8, 1][self.random.below(5)];
        let steps = usize::try_from(size / step).unwrap_or(usize::MAX);
        start + self.random.below(steps) as u64 * step
    }

    fn mutated(&mut self, line: &str) -> String {
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let (at, other) = (self.random.below(words.len()), self.random.below(words.len()));
        match self.random.below(9) {
            0 => words.swap(at, other),
            1 => drop(words.remove(at)),
            2 => words.insert(at, words[other].clone()),
            3 => words[at] = self.number(),
            4 => words[at] = self.valid().split(' ').next_back().unwrap_or_default().to_owned(),
            5 => {
                words[at].insert_str(0, self.random.pick(&["-", "+", "0x", "addr:", "pfn:", ",", "--", "="]))
            }
            6 => words[at].push_str(self.random.pick(&["K", "T", ",", "_", "+", "iB", ",,1", "=", ";"])),
            7 => words.push("x".repeat(self.random.below(1200))),
            _ => {
                let junk = self
                    .random
                    .pick(&["\u{0}", "\u{3}", "\u{1b}[A", "\t", "\u{7f}", "\u{e9}", "\u{fffd}", "\"", "\\"]);
                words[at] += junk;
            }
        }
        words.join(" ")
    }
}

/// Leaves out what ends the run or takes long: `crash`, `poweroff`, a `scribble` (on a shared tail it ends the run), seconds of
/// `stress`, self-tests, tenants of gigabytes.
fn tame(line: &str) -> String {
    let tamed = |command: &str| {
        let words: Vec<&str> = command.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["crash" | "poweroff" | "scribble", ..] => "mem".to_owned(),
            ["stress", seconds, ..] if *seconds != "0" => "stress 0".to_owned(),
            ["selftest", ..] => "selftest list".to_owned(),
            ["tenant", "new", pages, ..] if is_many(pages) => "tenant new 99".to_owned(),
            _ => command.to_owned(),
        }
    };
    // What is no text for the shell must not hide a command from this: it is left out before it looks.
    let heard: String = line.chars().filter(|c| *c != '\u{3}').collect();
    if heard.split(';').any(|command| tamed(command) != command) {
        return heard.split(';').map(tamed).collect::<Vec<_>>().join(";");
    }
    line.to_owned()
}

/// More pages than a run has time for, and not so many that the shell refuses them at once.
fn is_many(pages: &str) -> bool {
    pages.ends_with('K') || pages.parse().is_ok_and(|pages| (1_000..2_000_000).contains(&pages))
}

/// A guest that is told lines, and what of its console was read.
struct Session {
    qemu: Qemu,
    journal: Journal,
    heading: String,
    read: usize,
    told: u64,
}

/// What became of lines.
#[derive(Default)]
struct Tally {
    failed: usize,
    /// The commands that have succeeded.
    done: BTreeSet<String>,
}

impl Session {
    fn boot(run: &Run, machine: &Machine) -> Checked<Self> {
        let (qemu, journal) = (Qemu::start(machine, None)?, run.journal.clone());
        let mut session = Self { qemu, journal, heading: machine.command(), read: 0, told: 0 };
        let ready = |text: &str| text.contains("\nready 1\n").then_some(());
        session.qemu.console.wait(0, "the line 'ready 1'", Deadline::for_step(), ready)?;
        session.read = session.qemu.console.position();
        Ok(session)
    }

    /// Types lines and reads their frames.
    fn tell(&mut self, lines: &[String], tally: &mut Tally) -> Checked<String> {
        let (first, last) = (self.told + 1, self.told + lines.len() as u64);
        self.qemu.type_in(format!("{}\n", lines.join("\n")).as_bytes())?;
        let end = |text: &str| find_frame(text, last).map(drop);
        let waited = self.qemu.console.wait(self.read, "the last frame", Deadline::for_steps(STEPS), end);
        let text = self.qemu.console.text_since(self.read);
        if let Err(error) = waited {
            let at = (first..=last).find(|number| find_frame(&text, *number).is_none()).unwrap_or(first);
            let line = &lines[usize::try_from(at - first).unwrap_or(0)];
            return failed(format!("{error}; no end of frame {at}: {line:?}"));
        }
        let mut reply = String::new();
        for (number, line) in (first..).zip(lines) {
            let Some(frame) = find_frame(&text, number) else {
                return failed(format!("no frame {number}: {line:?}"));
            };
            let error = frame.text.lines().any(|said| said.starts_with(ERROR));
            ensure_eq!(frame.failed, error, "the status of {line:?}, which printed {:?}", frame.text);
            tally.failed += usize::from(frame.failed);
            if !frame.failed {
                tally.done.extend(line.split(' ').next().map(str::to_owned));
            }
            reply = frame.text;
        }
        (self.read, self.told) = (self.qemu.console.position(), last);
        Ok(reply)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.qemu.kill();
        self.journal.add(&format!("{}\n{}", self.heading, self.qemu.console.text()));
    }
}

/// A DIMM, virtio memory of which a part is plugged, persistent memory of which a part is a device, and a hotpluggable region.
fn machine(granule: Granule) -> Machine {
    let dimm =
        ["-object", "memory-backend-ram,id=m0,size=512M,reserve=off", "-device", "pc-dimm,id=d0,memdev=m0"];
    let virtual_memory = "512M,requested=256M";
    let regions = ("512M".to_owned(), "512M".to_owned());
    let machine = Machine { hotpluggable: Some(regions.0), pmem: Some(regions.1), ..Machine::firmware() };
    machine.granule(granule).memory("512M").virtio_mem(virtual_memory).extra(dimm).append("script=on")
}

fn random_lines(run: &Run, granule: Granule, seed: u64, count: usize) -> Checked<String> {
    lines_of(run, granule, seed, count).during(&format!("seed {seed}"))
}

fn lines_of(run: &Run, granule: Granule, seed: u64, count: usize) -> Checked<String> {
    let mut session = Session::boot(run, &machine(granule))?;
    let mut tally = Tally::default();
    let state = State::parse(&session.tell(&["state".into()], &mut tally)?)
        .map_err(hotmap_client::error::Error::Failed)?;
    let blocks = state.blocks.iter().map(|block| (block.start, block.size));
    let regions = state.regions.iter().map(|region| (region.start, region.size));
    let memory: Vec<(u64, u64)> = blocks.chain(regions).collect();
    ensure!(
        state.dimms.len() == 1 && state.virtio_mem.len() == 1 && state.regions.len() == 2,
        "another machine"
    );
    let pmem = state.regions.iter().find(|region| region.kind == "pmem").map_or(0, |region| region.start);
    session.tell(&[format!("dax create {pmem:#x},64M --map dev")], &mut tally)?;
    let random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut lines = Lines { random, granule, memory };
    for _ in 0..count.div_ceil(BATCH) {
        let batch: Vec<String> = (0..BATCH).map(|_| lines.next()).collect();
        session.tell(&batch, &mut tally)?;
    }
    // A tenant's page may be pinned, which keeps the tenant.
    session.tell(&["inject off".into(), "tenant drop".into()], &mut tally)?;
    let before = tally.failed;
    let said = session.tell(&["audit".into()], &mut tally)?;
    ensure_eq!(tally.failed, before, "whether the audit fails at the end: {said}");
    let state = State::parse(&session.tell(&["state".into()], &mut tally)?)
        .map_err(hotmap_client::error::Error::Failed)?;
    ensure_eq!(state.contradictions(), Vec::<String>::new(), "state at the end");
    ensure!(tally.done.len() > 20, "these alone have succeeded: {:?}", tally.done);
    session.qemu.type_in(b"poweroff\n")?;
    ensure_eq!(session.qemu.wait_exit(Deadline::for_step())?, Exit::FINE, "poweroff");
    Ok(format!(
        "seed {seed}: {} lines, {} refused, {} commands",
        session.told,
        tally.failed,
        tally.done.len()
    ))
}
