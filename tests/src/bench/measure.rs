//! Measures a DIMM's life on a machine that counts instructions: `-icount`, one CPU, logging off (`bench=on`).
//!
//! Each measurement boots its own guest: tables and free lists are as boot leaves them.

use super::figures::{Figure, clears_by, last};
use hotmap_client::dimm::Dimm;
use hotmap_client::ensure;
use hotmap_client::error::{Checked, Error, failed};
use hotmap_client::geometry::{GIB, Granule};
use hotmap_client::guest::Guest;
use hotmap_client::machine::Machine;
use hotmap_client::qemu::{IMAGE_VARIABLE, root};
use hotmap_client::run::Run;
use hotmap_client::state::Memmap;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The granule.
    pub granule: Granule,
    /// The CPU model.
    pub cpu: &'static str,
    /// Where the memmap goes.
    pub memmap: Memmap,
    /// The DIMM's bytes.
    pub size: u64,
}

/// What it cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    /// What was measured.
    pub subject: Subject,
    /// Reset to prompt.
    pub boot: Figure,
    /// Steps 1 to 6.
    pub add: Figure,
    /// Step 7.
    pub online: Figure,
    /// Step 7 backwards, nothing in use.
    pub offline: Figure,
    /// Steps 6 to 1 backwards.
    pub remove: Figure,
    /// How the kernel clears memory on this CPU.
    pub clears_by: String,
    /// QEMU's version, major and minor.
    pub qemu: (i64, i64),
}

impl Life {
    /// The four operations together, in guest instructions.
    pub const fn total(&self) -> u64 {
        self.add.instructions
            + self.online.instructions
            + self.offline.instructions
            + self.remove.instructions
    }

    /// Table pages that the DIMM costs while it is present.
    pub const fn tables(&self) -> i64 {
        self.add.tables + self.online.tables
    }

    /// Bytes of system RAM that the DIMM costs while it is present: tables, and memmap outside itself.
    pub fn system_ram(&self) -> u64 {
        let pages = self.tables() + self.add.ram + self.online.ram;
        u64::try_from(pages).unwrap_or_default() * self.subject.granule.bytes()
    }

    /// Whether the kernel uses FEAT_MOPS: it clears memory with a few instructions, so these figures have rows of
    /// their own.
    pub fn uses_mops(&self) -> bool {
        self.clears_by.to_lowercase().contains("mops")
    }
}

/// Measures one subject.
///
/// # Errors
/// Failed when a figure is missing or zero, or the page counts are not those of the start; else as [`Guest`].
pub fn measure(run: &Run, subject: Subject) -> Checked<Life> {
    measure_on(run, subject, &machine(subject))
}

/// Measures one subject on a machine that is [`machine`]'s, with more options.
///
/// # Errors
/// As [`measure`].
pub fn measure_on(run: &Run, subject: Subject, machine: &Machine) -> Checked<Life> {
    let mut guest = Guest::boot(run, machine)?;
    let before = guest.state()?.pages;
    let dimm = Dimm::new("bench", subject.size).unreserved();
    guest.plug_well(&dimm)?;
    guest.unplug_well(&dimm)?;
    let after = guest.state()?.pages;
    ensure!(before == after, "the DIMM left something behind: {before:?} became {after:?}");
    let text = guest.text();
    let find = |operation| find(&text, operation, subject.size);
    let life = Life {
        subject,
        boot: find_boot(&text)?,
        add: find("add")?,
        online: find("online")?,
        offline: find("offline")?,
        remove: find("remove")?,
        clears_by: way_of_clearing(&mut guest, &dimm)?,
        qemu: guest.qmp.version(),
    };
    guest.power_off()?;
    Ok(life)
}

/// The machine of a subject.
pub fn machine(subject: Subject) -> Machine {
    let word = format!("memmap={}", subject.memmap.word());
    let machine = Machine { icount: true, ..Machine::firmware() };
    machine.granule(subject.granule).cpu(subject.cpu).append("bench=on").append(&word)
}

fn find(text: &str, operation: &str, bytes: u64) -> Checked<Figure> {
    match last(text, operation, bytes) {
        // Without -icount the counter reads 0, and 0 would meet every goal.
        Some(figure) if figure.instructions > 0 => Ok(figure),
        Some(_) => failed(format!("bench: {operation} counted no instructions")),
        None => failed(format!("no 'bench: {operation} {bytes} ...' line")),
    }
}

fn find_boot(text: &str) -> Checked<Figure> {
    let boot = text.lines().filter_map(super::figures::read).find(|figure| figure.operation == "boot");
    match boot {
        Some(figure) if figure.instructions > 0 => Ok(figure),
        _ => failed("no 'bench: boot' line with a count"),
    }
}

/// Asks the kernel's `bench` command, which needs a DIMM.
fn way_of_clearing(guest: &mut Guest, dimm: &Dimm) -> Checked<String> {
    guest.plug_well(dimm)?;
    let reply = guest.tell("bench")?;
    match clears_by(&reply) {
        Some(word) => Ok(word.to_owned()),
        None => failed(format!("`bench` does not say how memory is cleared: {reply}")),
    }
}

/// The size of the image that is measured, in bytes.
///
/// # Errors
/// Unknown when there is none.
pub fn image_bytes() -> Checked<u64> {
    let path =
        std::env::var_os(IMAGE_VARIABLE).map_or_else(|| root().join("target/hotmap.Image"), Into::into);
    let metadata = std::fs::metadata(&path);
    metadata.map(|file| file.len()).map_err(|error| Error::Unknown(format!("{}: {error}", path.display())))
}

/// The subject that Linux was measured with: 1 GiB, self-hosted.
pub const fn standard(granule: Granule, cpu: &'static str) -> Subject {
    Subject { granule, cpu, memmap: Memmap::SelfHosted, size: GIB }
}

#[cfg(test)]
mod tests {
    use super::{Figure, Life, find, machine, standard};
    use hotmap_client::geometry::Granule;

    fn figure(operation: &str, instructions: u64, tables: i64, ram: i64) -> Figure {
        Figure { operation: operation.into(), bytes: 1 << 30, instructions, tables, ram, ..Figure::default() }
    }

    #[test]
    fn the_total_and_the_system_ram_of_a_life() {
        let life = Life {
            subject: standard(Granule::K16, "neoverse-n1"),
            boot: figure("boot", 5, 0, 0),
            add: figure("add", 100, 1, 32),
            online: figure("online", 20, 0, 0),
            offline: figure("offline", 3, 0, 0),
            remove: figure("remove", 4, -1, -32),
            clears_by: "St1".into(),
            qemu: (7, 2),
        };
        assert_eq!(life.total(), 127);
        assert_eq!(life.system_ram(), 33 * 16384);
        assert!(!life.uses_mops());
    }

    #[test]
    fn a_count_of_zero_is_an_error() {
        assert!(find("bench: add 64 0 0 0", "add", 64).is_err());
        assert!(find("bench: add 64 9 0 0", "add", 128).is_err());
        assert!(find("bench: add 64 9 0 0", "add", 64).is_ok());
    }

    #[test]
    fn the_machine_counts_and_is_quiet() {
        let arguments = machine(standard(Granule::K4, "max")).arguments();
        assert!(arguments.contains(&"--icount".into()));
        assert!(arguments.contains(&"bench=on memmap=self".into()));
    }
}
