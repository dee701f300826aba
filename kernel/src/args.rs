//! Boot arguments: `key=value` words, a value with blanks in double quotes.
//!
//! An unknown key or a wrong value is reported with what is legal and what is used, and counted in `state`. The boot ends
//! over it only with `strict=on`, or where going on makes no sense: no such granule, commands that cannot be read.

pub mod effect;

use core::fmt::{self, Write};

use heapless::{String, Vec};
use hotmap_mm::addr::Bytes;
use hotmap_mm::debug::bugs::Bug;
use hotmap_mm::granule::{GranuleKind, MAX_HUGE_SIZES};
use hotmap_mm::hotplug::home::MemmapHome;

use crate::number;

/// The longest `run=` value in bytes.
pub const RUN_CAPACITY: usize = 2048;

/// Bytes for complaints: about ten of them.
const COMPLAINT_CAPACITY: usize = 1024;

/// The longest part of a word that a complaint quotes, in characters.
const QUOTED: usize = 60;

/// How persistent memory is used at boot (ndctl's `--map`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PmemUse {
    /// It is left for the shell.
    #[default]
    Off,
    /// Device memory, its memmap in an altmap on itself.
    MapDevice,
    /// Device memory, its memmap in system RAM.
    MapMemory,
}

/// The boot arguments.
#[derive(Clone, Debug)]
pub struct BootArgs {
    /// `granule=4k|16k|64k`.
    pub granule: GranuleKind,
    /// A granule value that names none.
    pub bad_granule: Option<String<16>>,
    /// `memmap=self|self-range|ram|demand`.
    pub memmap: MemmapHome,
    /// `boot_memmap=self|ram|demand`.
    pub boot_memmap: MemmapHome,
    /// `online=auto|manual`.
    pub online_auto: bool,
    /// `hotadd=auto|manual`.
    pub hotadd_auto: bool,
    /// `virtio_mem=auto|off`: whether virtio memory devices are driven.
    pub virtio_mem: bool,
    /// `pmem=map=dev|map=mem|off`.
    pub pmem: PmemUse,
    /// `run="cmd; cmd"`.
    pub run: Option<String<RUN_CAPACITY>>,
    /// `term=dumb|ansi`; dumb unless an argument says that there is a terminal.
    pub dumb: bool,
    /// `script=on`: replies are framed for a program, without prompt and echo.
    pub script: bool,
    /// `heap=SIZE`.
    pub heap: u64,
    /// `bench=on`: count instructions, log nothing but the figures.
    pub bench: bool,
    /// `hugepages=SIZE:COUNT,...`: the sizes in bytes and the counts.
    pub hugepages: Vec<(u64, u64), MAX_HUGE_SIZES>,
    /// `hvo=on|off`: whether huge pages share their memmap.
    pub hvo: bool,
    /// `maxcpus=N`: how many CPUs run, the boot CPU included.
    pub max_cpus: u32,
    /// `bug=NAME`.
    pub bug: Option<Bug>,
    /// `strict=on|off`: whether a wrong argument ends the boot.
    pub strict: bool,
    /// What is wrong, one line each, cut where the buffer is full.
    pub complaints: String<COMPLAINT_CAPACITY>,
    /// How many arguments are unknown or have a wrong value.
    pub wrong: u32,
    /// The boot must end: the commands to run cannot be read.
    pub refused: bool,
}

impl BootArgs {
    /// The defaults.
    pub const fn new() -> Self {
        Self {
            granule: GranuleKind::K4,
            bad_granule: None,
            memmap: MemmapHome::SelfHosted,
            boot_memmap: MemmapHome::Ram,
            online_auto: true,
            hotadd_auto: false,
            virtio_mem: true,
            pmem: PmemUse::Off,
            run: None,
            dumb: true,
            script: false,
            heap: 4 << 20,
            bench: false,
            hugepages: Vec::new(),
            hvo: true,
            max_cpus: u32::MAX,
            bug: None,
            strict: false,
            complaints: String::new(),
            wrong: 0,
            refused: false,
        }
    }

    /// Whether the boot ends over the arguments: [`BootArgs::complaints`] says why.
    pub const fn end_the_boot(&self) -> bool {
        self.refused || self.strict && self.wrong > 0
    }

    /// Takes in a line of arguments; later ones win.
    pub fn read(&mut self, line: &str) {
        let mut rest = line.trim_ascii_start();
        while !rest.is_empty() {
            let Some((word, after)) = split_word(rest) else {
                let key = key_and_value(rest).0;
                return self.refuse(format_args!(
                    "boot argument {key}: the closing quote is missing: {rest:.QUOTED$}"
                ));
            };
            self.word(word);
            rest = after.trim_ascii_start();
        }
    }

    fn word(&mut self, word: &str) {
        let (key, value) = key_and_value(word);
        let outcome = match key {
            "granule" => self.set_granule(value),
            "memmap" => choose(&mut self.memmap, value, &MEMMAP_HOMES),
            "boot_memmap" => choose(&mut self.boot_memmap, value, &BOOT_MEMMAPS),
            "online" => choose(&mut self.online_auto, value, &AUTO),
            "hotadd" => choose(&mut self.hotadd_auto, value, &AUTO),
            "virtio_mem" => choose(&mut self.virtio_mem, value, &VIRTIO_MEM),
            "pmem" => choose(&mut self.pmem, value, &PMEM_USES),
            "term" => choose(&mut self.dumb, value, &TERMS),
            "script" => choose(&mut self.script, value, &SWITCH),
            "bench" => choose(&mut self.bench, value, &SWITCH),
            "run" => return self.set_run(value),
            "heap" => self.set_heap(value),
            "hugepages" => self.set_hugepages(value),
            "hvo" => choose(&mut self.hvo, value, &SWITCH),
            "maxcpus" => self.set_max_cpus(value),
            "bug" => self.set_bug(value),
            "strict" => choose(&mut self.strict, value, &SWITCH),
            _ => return self.complain(format_args!("unknown boot argument: {word:.QUOTED$}")),
        };
        if let Err(Wrong { legal, used }) = outcome {
            self.complain(format_args!(
                "boot argument {key}: '{value:.QUOTED$}' is not {legal}; used: {used}"
            ));
        }
    }

    fn set_granule(&mut self, value: &str) -> Outcome {
        match GranuleKind::from_name(value) {
            Some(granule) => (self.granule, self.bad_granule) = (granule, None),
            // The boot ends over this one, with a message of its own.
            None => self.bad_granule = Some(value.chars().take(15).collect()),
        }
        Ok(())
    }

    fn set_run(&mut self, value: &str) {
        self.run = String::try_from(value).ok();
        if self.run.is_none() {
            self.refuse(format_args!("run= has {} bytes, and there is room for {RUN_CAPACITY}", value.len()));
        }
    }

    fn set_heap(&mut self, value: &str) -> Outcome {
        let size = number::parse(value).filter(|size| (SMALLEST_HEAP..=LARGEST_HEAP).contains(size));
        self.heap = size.ok_or_else(|| {
            let legal = format_args!("a size from {} to {}", Bytes(SMALLEST_HEAP), Bytes(LARGEST_HEAP));
            Wrong::new(legal, Bytes(self.heap))
        })?;
        Ok(())
    }

    /// Takes all pools of the value or none. Whether the granule has such a size, the pool says.
    fn set_hugepages(&mut self, value: &str) -> Outcome {
        self.hugepages = read_pools(value).ok_or_else(|| {
            let used = if self.hugepages.is_empty() { "none" } else { "the list before it" };
            Wrong::new(format_args!("a list of up to {MAX_HUGE_SIZES} SIZE:COUNT"), used)
        })?;
        Ok(())
    }

    fn set_max_cpus(&mut self, value: &str) -> Outcome {
        let count = number::parse(value).and_then(|count| u32::try_from(count).ok());
        self.max_cpus = count.filter(|count| *count > 0).ok_or_else(|| {
            let legal = format_args!("a number from 1 to {}", u32::MAX);
            if self.max_cpus == u32::MAX {
                Wrong::new(legal, "all")
            } else {
                Wrong::new(legal, self.max_cpus)
            }
        })?;
        Ok(())
    }

    fn set_bug(&mut self, value: &str) -> Outcome {
        let bug = Bug::from_name(value);
        if bug.is_none() && value != "none" {
            let used = self.bug.map_or("none", Bug::name);
            return Err(Wrong::new(format_args!("a name that help bugs lists, or none"), used));
        }
        self.bug = bug;
        Ok(())
    }

    fn complain(&mut self, what: fmt::Arguments<'_>) {
        self.wrong = self.wrong.saturating_add(1);
        // Cut where the buffer is full: the count is right, and the first lines matter most.
        let _ = writeln!(self.complaints, "{what}");
    }

    /// Reports what is wrong and lets the boot end over it.
    pub(crate) fn refuse(&mut self, what: fmt::Arguments<'_>) {
        self.refused = true;
        self.complain(what);
    }
}

impl Default for BootArgs {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a value is not taken.
struct Wrong {
    /// What it may be.
    legal: String<64>,
    /// What is used instead: the value before it, or the default.
    used: String<24>,
}

type Outcome = Result<(), Wrong>;

impl Wrong {
    fn new(legal: fmt::Arguments<'_>, used: impl fmt::Display) -> Self {
        let mut wrong = Self { legal: String::new(), used: String::new() };
        // The longest of each fits: the tests show every one.
        let _ = wrong.legal.write_fmt(legal);
        let _ = write!(wrong.used, "{used}");
        wrong
    }
}

/// The word that `text` begins with, and what follows it. A blank in double quotes ends no word. `None` when a quote is not
/// closed.
fn split_word(text: &str) -> Option<(&str, &str)> {
    let mut quoted = false;
    let is_end = |c: char| {
        quoted ^= c == '"';
        c.is_ascii_whitespace() && !quoted
    };
    let end = text.find(is_end).unwrap_or(text.len());
    if quoted { None } else { text.split_at_checked(end) }
}

/// `key=value` or `key="value"` taken apart.
fn key_and_value(word: &str) -> (&str, &str) {
    let (key, value) = word.split_once('=').unwrap_or((word, ""));
    (key, value.strip_prefix('"').map_or(value, |v| v.strip_suffix('"').unwrap_or(v)))
}

const AUTO: [(&str, bool); 2] = [("auto", true), ("manual", false)];
const SWITCH: [(&str, bool); 2] = [("on", true), ("off", false)];
const VIRTIO_MEM: [(&str, bool); 2] = [("auto", true), ("off", false)];
const TERMS: [(&str, bool); 2] = [("dumb", true), ("ansi", false)];
const MEMMAP_HOMES: [(&str, MemmapHome); 4] = [
    ("self", MemmapHome::SelfHosted),
    ("self-range", MemmapHome::SelfRange { reserve: 0 }),
    ("ram", MemmapHome::Ram),
    ("demand", MemmapHome::Demand),
];
const BOOT_MEMMAPS: [(&str, MemmapHome); 3] =
    [("self", MemmapHome::SelfHosted), ("ram", MemmapHome::Ram), ("demand", MemmapHome::Demand)];
/// `map=` is ndctl's word for the same choice, and may be left out.
const PMEM_USES: [(&str, PmemUse); 6] = [
    ("off", PmemUse::Off),
    ("dev", PmemUse::MapDevice),
    ("mem", PmemUse::MapMemory),
    ("map=off", PmemUse::Off),
    ("map=dev", PmemUse::MapDevice),
    ("map=mem", PmemUse::MapMemory),
];
const SMALLEST_HEAP: u64 = 64 << 10;
const LARGEST_HEAP: u64 = 1 << 30;

/// Sets `field` to the choice that `value` names.
fn choose<T: Copy + PartialEq>(field: &mut T, value: &str, choices: &[(&str, T)]) -> Outcome {
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == value) {
        *field = *choice;
        return Ok(());
    }
    let used = choices.iter().find(|(_, choice)| choice == field).map_or("", |(name, _)| name);
    let mut wrong = Wrong::new(format_args!("one of "), used);
    for (i, (name, _)) in choices.iter().enumerate() {
        let _ = write!(wrong.legal, "{}{name}", if i == 0 { "" } else { ", " });
    }
    Err(wrong)
}

/// `SIZE:COUNT,...`.
fn read_pools(value: &str) -> Option<Vec<(u64, u64), MAX_HUGE_SIZES>> {
    let mut pools = Vec::new();
    for pool in value.split(',') {
        let (size, count) = pool.split_once(':')?;
        pools.push((number::parse(size)?, number::parse(count)?)).ok()?;
    }
    Some(pools)
}

#[cfg(test)]
mod tests;
