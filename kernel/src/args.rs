//! Boot arguments: `key=value` words, a value with blanks in double quotes. What is unknown or wrong is reported, not
//! ignored, and never stops the boot, except a granule: nothing can be built on a wrong one.

use core::fmt::Write;

use heapless::{String, Vec};
use hotmap_mm::boot::BootMemmap;
use hotmap_mm::bugs::Bug;
use hotmap_mm::granule::{GranuleKind, MAX_HUGE_SIZES};
use hotmap_mm::hotplug::steps::MemmapHome;

use crate::number;

/// The longest `run=` value in bytes.
pub const RUN_CAPACITY: usize = 2048;

/// What becomes of persistent memory at boot (ndctl's `--map`).
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
    /// `memmap=self|self-range|ram`.
    pub memmap: MemmapHome,
    /// `boot_memmap=self|ram`.
    pub boot_memmap: BootMemmap,
    /// `online=auto|manual`.
    pub online_auto: bool,
    /// `hotadd=auto|manual`.
    pub hotadd_auto: bool,
    /// `pmem=map=dev|map=mem|off`.
    pub pmem: PmemUse,
    /// `run="cmd; cmd"`.
    pub run: Option<String<RUN_CAPACITY>>,
    /// `term=dumb|ansi`; dumb unless somebody says that a terminal is there.
    pub dumb: bool,
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
    /// What was wrong, one line each, as much as fits.
    pub complaints: String<512>,
    /// Whether something was wrong without which the boot makes no sense: commands that were to run, and cannot be read.
    pub refused: bool,
}

impl BootArgs {
    /// The defaults.
    pub const fn new() -> Self {
        Self {
            granule: GranuleKind::K4,
            bad_granule: None,
            memmap: MemmapHome::SelfHosted,
            boot_memmap: BootMemmap::Ram,
            online_auto: true,
            hotadd_auto: false,
            pmem: PmemUse::Off,
            run: None,
            dumb: true,
            heap: 4 << 20,
            bench: false,
            hugepages: Vec::new(),
            hvo: true,
            max_cpus: u32::MAX,
            bug: None,
            complaints: String::new(),
            refused: false,
        }
    }

    /// Take in a line of arguments; later ones win.
    pub fn read(&mut self, line: &str) {
        let mut rest = line.trim_ascii_start();
        while let Some((word, after)) =
            rest.split_at_checked(word_end(rest)).filter(|(word, _)| !word.is_empty())
        {
            self.word(word);
            rest = after.trim_ascii_start();
        }
    }

    fn word(&mut self, word: &str) {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let value = value.strip_prefix('"').map_or(value, |v| v.strip_suffix('"').unwrap_or(v));
        let ok = match key {
            "granule" => self.set_granule(value),
            "memmap" => choose(&mut self.memmap, value, &MEMMAP_HOMES),
            "boot_memmap" => choose(
                &mut self.boot_memmap,
                value,
                &[("self", BootMemmap::SelfHosted), ("ram", BootMemmap::Ram)],
            ),
            "online" => choose(&mut self.online_auto, value, &[("auto", true), ("manual", false)]),
            "hotadd" => choose(&mut self.hotadd_auto, value, &[("auto", true), ("manual", false)]),
            "pmem" => self.set_pmem(value),
            "term" => choose(&mut self.dumb, value, &[("dumb", true), ("ansi", false)]),
            "bench" => choose(&mut self.bench, value, &[("on", true), ("off", false)]),
            "run" => self.set_run(value),
            "heap" => self.set_heap(value),
            "hugepages" => self.set_hugepages(value),
            "hvo" => choose(&mut self.hvo, value, &[("on", true), ("off", false)]),
            "maxcpus" => self.set_max_cpus(value),
            "bug" => self.set_bug(value),
            _ => return self.complain(format_args!("unknown boot argument: {word}")),
        };
        if !ok {
            self.complain(format_args!(
                "boot argument {key}: '{value}' is not one of its values (see help args)"
            ));
        }
    }

    /// `map=` is ndctl's word for the same choice, and may be left out.
    fn set_pmem(&mut self, value: &str) -> bool {
        let uses = [("dev", PmemUse::MapDevice), ("mem", PmemUse::MapMemory), ("off", PmemUse::Off)];
        choose(&mut self.pmem, value.strip_prefix("map=").unwrap_or(value), &uses)
    }

    fn set_granule(&mut self, value: &str) -> bool {
        match GranuleKind::from_name(value) {
            Some(granule) => (self.granule, self.bad_granule) = (granule, None),
            // Boot ends over this one, with its own message.
            None => self.bad_granule = Some(value.chars().take(15).collect()),
        }
        true
    }

    fn set_run(&mut self, value: &str) -> bool {
        self.run = String::try_from(value).ok();
        if self.run.is_none() {
            self.refuse(format_args!("run= has {} bytes, and there is room for {RUN_CAPACITY}", value.len()));
        }
        true
    }

    fn set_heap(&mut self, value: &str) -> bool {
        let size = number::parse(value).filter(|size| (64 << 10..=1 << 30).contains(size));
        size.map(|size| self.heap = size).is_some()
    }

    /// All of the value, or nothing of it; whether the granule has such a size is for the pool to say.
    fn set_hugepages(&mut self, value: &str) -> bool {
        let mut pools = Vec::new();
        for pool in value.split(',') {
            let Some((size, count)) = pool.split_once(':') else { return false };
            let (Some(size), Some(count)) = (number::parse(size), number::parse(count)) else { return false };
            if pools.push((size, count)).is_err() {
                return false;
            }
        }
        self.hugepages = pools;
        true
    }

    fn set_max_cpus(&mut self, value: &str) -> bool {
        let count =
            number::parse(value).and_then(|count| u32::try_from(count).ok()).filter(|count| *count > 0);
        count.map(|count| self.max_cpus = count).is_some()
    }

    fn set_bug(&mut self, value: &str) -> bool {
        self.bug = Bug::from_name(value);
        self.bug.is_some() || value == "none"
    }

    fn complain(&mut self, what: core::fmt::Arguments<'_>) {
        // A line that does not fit is cut: there is nobody else to tell, and the first lines matter most.
        let _ = writeln!(self.complaints, "{what}");
    }

    /// Complain, and let the boot end over it.
    pub(crate) fn refuse(&mut self, what: core::fmt::Arguments<'_>) {
        self.refused = true;
        self.complain(what);
    }
}

impl Default for BootArgs {
    fn default() -> Self {
        Self::new()
    }
}

/// Where the word that `text` begins with ends: at a blank that is not in double quotes.
fn word_end(text: &str) -> usize {
    let mut quoted = false;
    for (i, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_ascii_whitespace() && !quoted => return i,
            _ => {}
        }
    }
    text.len()
}

const MEMMAP_HOMES: [(&str, MemmapHome); 3] =
    [("self", MemmapHome::SelfHosted), ("self-range", MemmapHome::SelfRange), ("ram", MemmapHome::Ram)];

fn choose<T: Copy>(field: &mut T, value: &str, choices: &[(&str, T)]) -> bool {
    let found = choices.iter().find(|(name, _)| *name == value);
    found.map(|(_, choice)| *field = *choice).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_value_keeps_its_blanks_and_semicolons() {
        let mut args = BootArgs::new();
        args.read(r#"granule=64K  run="selftest; audit" online=manual"#);
        assert_eq!(args.granule, GranuleKind::K64);
        assert_eq!(args.run.as_deref(), Some("selftest; audit"));
        assert!(!args.online_auto && args.complaints.is_empty());
    }

    #[test]
    fn what_is_unknown_or_wrong_is_reported() {
        let mut args = BootArgs::new();
        args.read("quiet memmap=no heap=1 granule=8k");
        assert_eq!(args.complaints.lines().count(), 3);
        assert!(args.complaints.starts_with("unknown boot argument: quiet\n"));
        assert_eq!(args.bad_granule.as_deref(), Some("8k"));
        assert_eq!(args.memmap, MemmapHome::SelfHosted);
    }

    #[test]
    fn persistent_memory_is_mapped_as_ndctl_says_it_or_shorter() {
        let pmem = |line: &str| {
            let mut args = BootArgs::new();
            args.read(line);
            args.complaints.is_empty().then_some(args.pmem)
        };
        assert_eq!(pmem(""), Some(PmemUse::Off));
        for (word, meaning) in [("dev", PmemUse::MapDevice), ("mem", PmemUse::MapMemory)] {
            let mut line = String::<64>::new();
            for form in ["pmem=", "pmem=map="] {
                line.clear();
                write!(line, "pmem=off {form}{word}").expect("fits");
                assert_eq!(pmem(&line), Some(meaning), "{line}");
            }
        }
        assert_eq!(pmem("pmem=dev pmem=off"), Some(PmemUse::Off));
        assert_eq!(pmem("pmem=dev pmem=map=off"), Some(PmemUse::Off));
        for wrong in ["pmem", "pmem=", "pmem=map=", "pmem=map=map=dev", "pmem=on"] {
            assert_eq!(pmem(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn regions_of_the_device_tree_wait_unless_told_otherwise() {
        let mut args = BootArgs::new();
        assert!(!args.hotadd_auto);
        args.read("hotadd=auto");
        assert!(args.hotadd_auto && args.complaints.is_empty());
        args.read("hotadd=manual hotadd=always");
        assert!(!args.hotadd_auto);
        assert_eq!(
            args.complaints.as_str(),
            "boot argument hotadd: 'always' is not one of its values (see help args)\n"
        );
    }

    #[test]
    fn pools_of_huge_pages_are_pairs_of_a_size_and_a_count() {
        let mut args = BootArgs::new();
        assert!(args.hvo && args.hugepages.is_empty());
        args.read("hugepages=2M:16,1G:1 hvo=off");
        assert_eq!(args.hugepages, [(2 << 20, 16), (1 << 30, 1)]);
        assert!(!args.hvo && args.complaints.is_empty());
        for wrong in ["", "2M", "2M:", ":3", "2M:3,", "2M:3:4", "1:1,2:2,3:3,4:4,5:5"] {
            let mut line = String::<64>::new();
            write!(line, "hugepages={wrong}").expect("fits");
            let mut args = BootArgs::new();
            args.read(&line);
            assert!(args.hugepages.is_empty() && args.complaints.contains("hugepages"), "{wrong}");
        }
    }

    #[test]
    fn there_is_at_least_the_boot_cpu() {
        let mut args = BootArgs::new();
        assert_eq!(args.max_cpus, u32::MAX, "all that there are");
        args.read("maxcpus=3");
        assert_eq!((args.max_cpus, args.complaints.as_str()), (3, ""));
        args.read("maxcpus=0 maxcpus=many maxcpus=4294967296");
        assert_eq!((args.max_cpus, args.complaints.lines().count()), (3, 3));
    }

    #[test]
    fn later_arguments_win() {
        let mut args = BootArgs::new();
        args.read("granule=16k granule=4k memmap=ram heap=2M");
        assert_eq!((args.granule, args.memmap, args.heap), (GranuleKind::K4, MemmapHome::Ram, 2 << 20));
    }
}
