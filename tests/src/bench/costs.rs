//! What costs a real CPU more than other instructions do: as the kernel counts it, and as the plugin in QEMU does (tests/counter).
//!
//! ```text
//!   kernel      bench: add ... tlbi=3 dsb=2 marks=7-12
//!   plugin      mark 7 instructions=... tlbi=10 dsb=40 ...      the counts since the start
//!               mark 12 instructions=... tlbi=13 dsb=42 ...
//! ```

use std::collections::BTreeMap;
use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::ops::{Add, Sub};
use std::path::{Path, PathBuf};
use std::process::Command;

use hotmap_client::error::{Checked, Error, failed};
use hotmap_client::machine::Machine;
use hotmap_client::qemu::root;
use hotmap_client::run::Run;
use serde::{Deserialize, Serialize};

macro_rules! costs {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Counts, by what is counted. Each of them is 0 where a witness does not see it.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(default)]
        pub struct Costs {
            $($(#[$doc])* #[serde(skip_serializing_if = "is_zero")] pub $name: u64,)+
        }

        impl Costs {
            /// The count of this name.
            pub fn named(&mut self, name: &str) -> Option<&mut u64> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)+
                    _ => None,
                }
            }
            fn each(self, other: Self, combine: impl Fn(u64, u64) -> u64) -> Self {
                Self { $($name: combine(self.$name, other.$name),)+ }
            }
            /// All of them by name.
            pub fn all(self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)+]
            }
        }
    };
}

costs! {
    /// Guest instructions; the kernel has them elsewhere.
    instructions,
    /// TLBI that other CPUs take part in.
    tlbi,
    /// The same by range.
    tlbi_range,
    /// TLBI on one CPU.
    tlbi_local,
    /// DSB.
    dsb,
    /// ISB.
    isb,
    /// Load-exclusive and store-exclusive; only the plugin sees them.
    exclusive,
    /// Atomics of FEAT_LSE; only the plugin sees them.
    atomic,
    /// DC ZVA; only the plugin sees it.
    zva,
    /// Other cache maintenance.
    cache,
    /// Returns from exceptions; only the plugin sees them.
    eret,
    /// Exceptions taken; only the kernel sees them.
    exceptions,
    /// Bytes cleared or filled; only the kernel sees them.
    cleared,
    /// Bytes copied; only the kernel sees them.
    copied,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Sub for Costs {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        self.each(other, u64::saturating_sub)
    }
}

impl Add for Costs {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        self.each(other, |one, two| one + two)
    }
}

impl Costs {
    /// Those that both the kernel and the plugin count.
    pub const fn seen_by_both(self) -> [u64; 6] {
        [self.tlbi, self.tlbi_range, self.tlbi_local, self.dsb, self.isb, self.cache]
    }

    /// Exclusive accesses and atomics.
    pub const fn atomics(self) -> u64 {
        self.exclusive + self.atomic
    }

    /// TLBI that other CPUs take part in, of any kind.
    pub const fn broadcasts(self) -> u64 {
        self.tlbi + self.tlbi_range
    }

    /// The counts of several together.
    pub fn sum(costs: impl IntoIterator<Item = Self>) -> Self {
        costs.into_iter().fold(Self::default(), Add::add)
    }

    fn read(words: &str) -> Option<Self> {
        let mut costs = Self::default();
        for word in words.split_whitespace() {
            let (name, count) = word.split_once('=')?;
            *costs.named(name)? = count.parse().ok()?;
        }
        Some(costs)
    }
}

/// What the plugin wrote down.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The counts at each mark.
    pub marks: BTreeMap<u64, Costs>,
    /// The counts in each window, in order.
    pub windows: Vec<(String, Costs)>,
}

impl Seen {
    /// Reads what the plugin wrote.
    ///
    /// # Errors
    /// Unknown when a line is not in its format.
    pub fn read(text: &str) -> Checked<Self> {
        let mut seen = Self::default();
        for line in text.lines() {
            seen.take(line).ok_or_else(|| Error::Unknown(format!("the counter wrote: {line}")))?;
        }
        Ok(seen)
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let (kind, rest) = line.split_once(' ')?;
        let (name, words) = rest.split_once(' ')?;
        let costs = Costs::read(words)?;
        match kind {
            "mark" => drop(self.marks.insert(name.parse().ok()?, costs)),
            "window" => self.windows.push((name.to_owned(), costs)),
            _ => return None,
        }
        Some(())
    }

    /// What was executed between two marks.
    ///
    /// # Errors
    /// Failed when one is missing.
    pub fn between(&self, (first, last): (u64, u64)) -> Checked<Costs> {
        match (self.marks.get(&first), self.marks.get(&last)) {
            (Some(first), Some(last)) => Ok(*last - *first),
            _ => failed(format!("the counter saw {} marks, not {first} and {last}", self.marks.len())),
        }
    }
}

/// Whether QEMU was built with support for plugins: its help lists the option then.
///
/// # Errors
/// Unknown when QEMU does not start.
pub fn loads_plugins() -> Checked<bool> {
    let qemu = std::env::var("QEMU").unwrap_or_else(|_| "qemu-system-aarch64".into());
    let help = Command::new(&qemu).arg("--help").output();
    let help = help.map_err(|error| Error::Unknown(format!("{qemu}: {error}")))?;
    Ok(String::from_utf8_lossy(&help.stdout).contains("\n-plugin "))
}

/// The plugin, built if it is not up to date.
///
/// # Errors
/// Unknown when it cannot be built.
pub fn plugin() -> Checked<PathBuf> {
    let status =
        Command::new("cargo").args(["build", "--quiet", "-p", "hotmap-counter"]).current_dir(root()).status();
    if !status.as_ref().is_ok_and(std::process::ExitStatus::success) {
        return Err(Error::Unknown(format!("cargo build -p hotmap-counter: {status:?}")));
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    Ok(target.join("debug").join(format!("{DLL_PREFIX}hotmap_counter{DLL_SUFFIX}")))
}

/// QEMU's arguments that load `plugin` and have it write to `out`.
pub fn arguments(plugin: &Path, out: &Path) -> Vec<String> {
    // A comma separates options; a comma of a value is doubled.
    let [plugin, out] = [plugin, out].map(|path| path.display().to_string().replace(',', ",,"));
    vec!["-plugin".into(), format!("{plugin},out={out}")]
}

/// The plugin beside one guest, or none.
#[derive(Debug)]
pub struct Counter {
    arguments: Vec<String>,
    out: Option<PathBuf>,
}

impl Counter {
    /// `plugin` beside the next guest of `run`.
    pub fn new(run: &Run, plugin: Option<&Path>) -> Self {
        let out = plugin.map(|_| run.path("counts"));
        let arguments = plugin.zip(out.as_deref()).map(|(plugin, out)| arguments(plugin, out));
        Self { arguments: arguments.unwrap_or_default(), out }
    }

    /// The machine with the plugin.
    pub fn beside(&self, machine: Machine) -> Machine {
        machine.extra(self.arguments.iter().map(String::as_str))
    }

    /// What the plugin wrote, if there is one. The guest has ended.
    ///
    /// # Errors
    /// Unknown when its file cannot be read.
    pub fn seen(&self) -> Checked<Option<Seen>> {
        let Some(out) = &self.out else { return Ok(None) };
        let text = std::fs::read_to_string(out);
        let text = text.map_err(|error| Error::Unknown(format!("{}: {error}", out.display())))?;
        Seen::read(&text).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_plugin_wrote_is_read() {
        let text = "mark 1 instructions=10 tlbi=1 eret=0\nmark 2 instructions=25 tlbi=4 eret=1\n\
                    window acpi instructions=7 dsb=2\n";
        let seen = Seen::read(text).expect("lines of the format");
        let between = seen.between((1, 2)).expect("both marks");
        assert_eq!((between.instructions, between.tlbi, between.eret), (15, 3, 1));
        assert!(seen.between((2, 3)).is_err());
        assert_eq!(
            seen.windows,
            [("acpi".to_owned(), Costs { instructions: 7, dsb: 2, ..Costs::default() })]
        );
        for line in ["mark", "mark x instructions=1", "mark 1 tlbs=1", "marks 1 tlbi=1"] {
            assert!(Seen::read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn names_are_those_of_the_lines() {
        let mut costs = Costs::default();
        for (name, _) in costs.all() {
            assert!(costs.named(name).is_some(), "{name}");
        }
        assert_eq!(costs.named("tlbs"), None);
    }
}
