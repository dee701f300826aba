//! A Linux that takes shell commands on its serial console, with QEMU's control socket and the counter's file.

use super::initramfs;
use super::kernels::{Kernel, Kernels};
use super::symbols::Symbols;
use crate::bench::costs::{self, Costs, Seen};
use hotmap_client::error::{Checked, Error, unknown};
use hotmap_client::frame;
use hotmap_client::patience::Deadline;
use hotmap_client::qemu::Qemu;
use hotmap_client::qmp::Qmp;
use hotmap_client::run::Run;
use hotmap_client::shell::Reply;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The CPU of both kernels: without FEAT_MOPS, which clears much memory in one instruction.
pub const CPU: &str = "neoverse-n1";
/// The machine of both kernels, as scripts/qemu has it, with room for DIMMs of 1 + 2 + 4 + 8 GiB and a virtio memory device.
const MACHINE: &str = "-M virt,gic-version=3 -accel tcg -smp 1 -m 1G,slots=8,maxmem=64G -nodefaults -nic none -display none \
                       -no-reboot -serial stdio -object memory-backend-ram,id=vmem0,size=4G,reserve=off \
                       -device virtio-mem-pci,id=vm0,memdev=vmem0,block-size=2M";
/// The kernel's command line. 7.2 takes added memory online by itself unless told otherwise.
const ARGUMENTS: &str = "console=ttyAMA0 nokaslr panic=-1 memhp_default_state=offline";
/// How long anything may take before it counts as a hang, in steps of a minute.
const PATIENCE: u32 = 10;
/// How many lines of a guest that did not boot are shown.
const LAST_LINES: usize = 3;
/// The pause between two looks while something is awaited.
pub const POLL: Duration = Duration::from_millis(50);

/// How a kernel is booted.
#[derive(Clone, Debug)]
pub struct Setup<'a> {
    /// What there is.
    pub kernels: &'a Kernels,
    /// Which of them.
    pub kernel: &'a Kernel,
    /// `memmap_on_memory`: the memmap of a DIMM is in the DIMM.
    pub self_hosted: bool,
    /// The counter and its windows; without them nothing is counted.
    pub counter: Option<(&'a Path, Vec<String>)>,
    /// The drivers that the guest has.
    pub drivers: &'static [&'static str],
    /// More parameters of the kernel.
    pub parameters: &'static str,
    /// More of QEMU's arguments.
    pub more: Vec<String>,
}

/// A Linux that has booted.
#[derive(Debug)]
pub struct Linux {
    qemu: Qemu,
    /// QEMU's control socket.
    pub qmp: Qmp,
    lines: u64,
    counts: PathBuf,
}

impl Linux {
    /// Boots until the shell takes lines.
    ///
    /// # Errors
    /// Unknown when it does not get there; the console's last line is in the sentence.
    pub fn boot(run: &Run, setup: &Setup<'_>) -> Checked<Self> {
        let (socket, counts, archive) = (run.path("qmp"), run.path("counts"), run.path("initramfs"));
        drop(std::fs::remove_file(&socket));
        initramfs::write(setup.kernels, setup.kernel, setup.drivers, &archive)?;
        let mut qemu = Qemu::spawn(&mut command(setup, &socket, &counts, &archive))?;
        let connected = Qmp::connect(&socket, Deadline::for_step(), || qemu.ended().is_some());
        let qmp = connected.map_err(|error| {
            qemu.kill();
            error.during(&format!("QEMU said {:?}", qemu.complaints.text().trim()))
        })?;
        let booted = qemu.console.wait(0, "the shell", Deadline::for_steps(PATIENCE), booted);
        let booted = booted.and_then(|(booted, _)| booted.map_err(Error::Failed));
        if let Err(error) = booted {
            qemu.kill();
            return unknown(format!("{error}; its last lines: {}", last_words(&qemu)));
        }
        Ok(Self { qemu, qmp, lines: 0, counts })
    }

    /// What the shell answers to a line.
    ///
    /// # Errors
    /// Unknown when it does not answer.
    pub fn ask(&mut self, line: &str) -> Checked<Reply> {
        self.lines += 1;
        let (number, from) = (self.lines, self.qemu.console.position());
        self.qemu.type_in(format!("{line}\n").as_bytes())?;
        let answer = self
            .qemu
            .console
            .wait(from, line, Deadline::for_steps(PATIENCE), |text| frame::find_frame(text, number));
        Ok(answer?.0)
    }

    /// What the shell prints for a line that has to succeed.
    ///
    /// # Errors
    /// Failed when it does not; its words are in the sentence.
    pub fn tell(&mut self, line: &str) -> Checked<String> {
        let reply = self.ask(line)?;
        if reply.failed {
            Err(Error::Failed(format!("{line}: {}", reply.text.trim())))
        } else {
            Ok(reply.text)
        }
    }

    /// Lets the kernel's background work end: seconds of the guest, which pass at once while it is idle.
    ///
    /// # Errors
    /// As [`Linux::tell`].
    pub fn settle(&mut self, seconds: u32) -> Checked {
        self.tell(&format!("sleep {seconds}")).map(drop)
    }

    /// Bytes of memory that are free, those in the lists of the CPU included.
    ///
    /// # Errors
    /// Failed when /proc/zoneinfo does not say.
    pub fn free(&mut self) -> Checked<u64> {
        let text = self.tell("cat /proc/zoneinfo; grep KernelPageSize /proc/self/smaps | head -n 1")?;
        free_bytes(&text).ok_or_else(|| Error::Failed("/proc/zoneinfo does not say what is free".into()))
    }

    /// What the counter has written down so far.
    ///
    /// # Errors
    /// Unknown when its file cannot be read.
    pub fn seen(&self) -> Checked<Seen> {
        let text = std::fs::read_to_string(&self.counts)
            .map_err(|error| Error::Unknown(format!("{}: {error}", self.counts.display())))?;
        // The last line may not be complete.
        let end = text.rfind('\n').map_or(0, |at| at + 1);
        Seen::read(&text[..end])
    }

    /// What each call in a window has cost so far.
    ///
    /// # Errors
    /// As [`Linux::seen`].
    pub fn calls(&self, window: &str) -> Checked<Vec<Costs>> {
        let windows = self.seen()?.windows;
        Ok(windows.into_iter().filter(|(name, _)| name == window).map(|(_, costs)| costs).collect())
    }

    /// Waits until a call has ended, beyond the `before` that had.
    ///
    /// # Errors
    /// Unknown when none ends.
    pub fn await_call(&self, window: &str, before: usize) -> Checked<Costs> {
        let deadline = Deadline::for_steps(2);
        loop {
            if let Some(costs) = self.calls(window)?.get(before) {
                return Ok(*costs);
            }
            if deadline.left().is_none() {
                return unknown(format!("hang: no call of window {window} has ended"));
            }
            std::thread::sleep(POLL);
        }
    }

    /// What the calls in a window cost that `work` makes, and what `work` returns.
    ///
    /// # Errors
    /// Those of `work`.
    pub fn counted<T>(
        &mut self,
        window: &str,
        work: impl FnOnce(&mut Self) -> Checked<T>,
    ) -> Checked<(T, Costs)> {
        let before = self.calls(window)?.len();
        let result = work(self)?;
        Ok((result, Costs::sum(self.calls(window)?.into_iter().skip(before))))
    }

    /// Why the kernel has panicked, if it has.
    pub fn panic(&self) -> Option<String> {
        panic_reason(&self.qemu.console.text())
    }
}

/// Whether the shell takes lines, or why it never will.
fn booted(text: &str) -> Option<Result<(), String>> {
    let refused = || Err("UEFI does not start it: is it an arm64 kernel with CONFIG_EFI_STUB?".to_owned());
    frame::is_ready(text).then_some(Ok(())).or_else(|| text.contains("UEFI Interactive Shell").then(refused))
}

/// The end of what the guest and QEMU printed.
fn last_words(qemu: &Qemu) -> String {
    let text = format!("{}\n{}", qemu.console.text(), qemu.complaints.text());
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join(" | ")
}

/// The functions that are counted; `nokaslr` keeps their addresses for the next boot.
///
/// # Errors
/// As [`Linux::ask`].
pub fn symbols(linux: &mut Linux) -> Checked<Symbols> {
    linux.ask(LOAD_MODULE)?;
    Ok(Symbols::read(&linux.ask(&Symbols::command())?.text))
}

/// From a line such as `[    8.6] Kernel panic - not syncing: System is deadlocked on memory`.
fn panic_reason(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.contains(PANIC))?;
    Some(format!("with 1 GiB of boot RAM: {}", line.split("] ").last().unwrap_or(line).trim()))
}

const PANIC: &str = "Kernel panic - not syncing";

/// The driver of virtio memory.
pub const VIRTIO_MEM_DRIVER: &[&str] = &["virtio_mem"];
/// The shell command that loads it.
pub const LOAD_MODULE: &str = "insmod /virtio_mem.ko";

fn command(setup: &Setup<'_>, socket: &Path, counts: &Path, archive: &Path) -> Command {
    let mut command = Command::new(qemu());
    command.args(MACHINE.split_whitespace()).args(["-cpu", CPU]);
    command.arg("-bios").arg(&setup.kernels.firmware).arg("-kernel").arg(&setup.kernel.image);
    command.arg("-initrd").arg(archive);
    let memmap = if setup.self_hosted { "Y" } else { "N" };
    let parameters = setup.parameters;
    command.args(["-append", &format!("{ARGUMENTS} memory_hotplug.memmap_on_memory={memmap} {parameters}")]);
    command.args(&setup.more);
    command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", socket.display()));
    if let Some((plugin, windows)) = &setup.counter {
        let mut words = costs::arguments(plugin, counts);
        if let Some(last) = words.last_mut() {
            windows.iter().for_each(|window| last.extend([",", window]));
        }
        command.args(["-icount", "shift=0,sleep=off"]).args(words);
    }
    command
}

/// QEMU's binary: `$QEMU`, or the one on the path.
pub fn qemu() -> String {
    std::env::var("QEMU").unwrap_or_else(|_| "qemu-system-aarch64".into())
}

/// From lines such as `nr_free_pages 242941`, `count:    63` and `KernelPageSize:        4 kB`.
fn free_bytes(text: &str) -> Option<u64> {
    let mut pages = None;
    let mut page = None;
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let number = |word: Option<&str>| word.and_then(|word| word.parse::<u64>().ok());
        match words.next() {
            Some("nr_free_pages" | "count:") => pages = Some(pages.unwrap_or(0) + number(words.next())?),
            Some("KernelPageSize:") => page = Some(number(words.next())? << 10),
            _ => {}
        }
    }
    Some(pages? * page?)
}

#[cfg(test)]
mod tests {
    use super::{Setup, booted, command, free_bytes, panic_reason};
    use crate::linux::kernels::{Kernel, Kernels};
    use std::path::Path;

    #[test]
    fn pages_in_the_lists_of_the_cpu_are_free_too() {
        let text = "Node 0, zone      DMA\n  nr_free_pages 1000\n  pagesets\n    cpu: 0\n              count:    63\n\
                    Node 0, zone   Normal\n  nr_free_pages 0\nKernelPageSize:       16 kB\n";
        assert_eq!(free_bytes(text), Some(1063 << 14));
        assert_eq!(free_bytes("nr_free_pages 1\n"), None);
    }

    #[test]
    fn a_panic_is_a_reason() {
        let text = "[    8.1] cpu 0\n[    8.6] Kernel panic - not syncing: System is deadlocked on memory\n[    8.7] CPU: 0\n";
        let should = "with 1 GiB of boot RAM: Kernel panic - not syncing: System is deadlocked on memory";
        assert_eq!(panic_reason(text).as_deref(), Some(should));
        assert_eq!(panic_reason("ready 1\n"), None);
    }

    #[test]
    fn a_kernel_that_uefi_refuses_is_not_waited_for() {
        assert_eq!(booted("EFI stub: Booting Linux\n"), None);
        assert_eq!(booted("[ 1.0] Run /init\nready 1\n"), Some(Ok(())));
        assert!(booted("UEFI Interactive Shell v2.2\n").is_some_and(|booted| booted.is_err()));
    }

    #[test]
    fn windows_stand_behind_the_counters_file() {
        let (kernels, kernel) = (Kernels::default(), Kernel::default());
        let counter = Some((Path::new("c.so"), vec!["window=a:1:2:3".to_owned()]));
        let setup = Setup {
            kernels: &kernels,
            kernel: &kernel,
            self_hosted: true,
            counter,
            drivers: &[],
            parameters: "quiet",
            more: Vec::new(),
        };
        let command = command(&setup, Path::new("s"), Path::new("o"), Path::new("r"));
        let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
        assert!(words.contains(&"c.so,out=o,window=a:1:2:3".to_owned()), "{words:?}");
        assert!(words.iter().any(|word| word.ends_with("memmap_on_memory=Y quiet")), "{words:?}");
    }
}
