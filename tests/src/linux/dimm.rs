//! The life of a DIMM under Linux: add, online, offline, remove; with nothing in use, and in use.
//!
//! ```text
//!   QEMU: device_add       acpi_device_hotplug     add
//!   echo online_movable    memory_subsys_online    online, block by block
//!   echo offline           memory_subsys_offline   offline, block by block
//!   QEMU: device_del       acpi_device_hotplug     remove
//! ```

use super::guest::{Linux, POLL};
use super::record::{Column, Home, Operation, Part, Row, Value};
use super::symbols::{ACPI, OFFLINE, ONLINE};
use crate::bench::costs::Costs;
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During, Error, unknown};
use hotmap_client::geometry::GIB;
use hotmap_client::patience::Deadline;
use hotmap_client::qmp::is_deleted;
use qapi::qmp::Event;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The four operations on a DIMM, each with its figure or with why there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Life {
    /// In the order in which they happened; the first that failed is the last.
    pub steps: Vec<(Operation, Result<Costs, String>)>,
    /// Bytes of system RAM that the memory cost before it was online.
    pub ram: Option<u64>,
}

impl Life {
    /// The sum, if every step succeeded.
    pub fn sum(&self) -> Option<Costs> {
        let costs: Option<Vec<Costs>> =
            self.steps.iter().map(|(_, costs)| costs.as_ref().ok().copied()).collect();
        costs.filter(|costs| costs.len() == STEPS.len()).map(Costs::sum)
    }

    /// Why not every step succeeded.
    pub fn why(&self) -> Option<String> {
        let failed = self.steps.iter().find_map(|(step, costs)| Some((step, costs.as_ref().err()?)));
        failed.map(|(step, why)| format!("{}: {why}", word(*step)))
    }

    /// The cost of a step, if it succeeded.
    pub fn cost(&self, step: Operation) -> Option<Costs> {
        self.steps.iter().find(|(is, _)| *is == step)?.1.as_ref().ok().copied()
    }

    /// The rows of a DIMM that was not used.
    pub fn write(&self, column: &mut Column, part: Part, memmap: Home, bytes: u64) {
        let row = |operation| Row::new(part, memmap, bytes, operation);
        for (step, costs) in &self.steps {
            let value =
                costs.as_ref().map_or_else(|why| Value::Cannot(why.clone()), |costs| Value::Costs(*costs));
            column.add(row(*step), value);
        }
        if let Some(sum) = self.sum() {
            column.add(row(Operation::Sum), Value::Costs(sum));
        }
        if let Some(ram) = self.ram {
            column.add(row(Operation::SystemRam), Value::Size(ram));
        }
    }
}

/// The four operations.
pub const STEPS: [Operation; 4] = [Operation::Add, Operation::Online, Operation::Offline, Operation::Remove];

const fn word(step: Operation) -> &'static str {
    match step {
        Operation::Add => "add",
        Operation::Online => "online",
        Operation::Offline => "offline",
        _ => "remove",
    }
}

/// Plugs a DIMM of `size` bytes, takes it online and offline, and unplugs it, as far as the kernel goes.
///
/// # Errors
/// Unknown when nothing is known: the guest or QEMU does not answer.
pub fn live(linux: &mut Linux, id: &str, size: u64) -> Checked<Life> {
    live_with(linux, id, size, |_| Ok(()))
}

/// The same, with `work` while the memory is online.
///
/// # Errors
/// As [`live`], and those of `work`.
pub fn live_with(
    linux: &mut Linux,
    id: &str,
    size: u64,
    work: impl FnOnce(&mut Linux) -> Checked,
) -> Checked<Life> {
    let dimm = Dimm::new(id, size).unreserved();
    let mut life = Life::default();
    let (before, free) = (blocks(linux)?, linux.free()?);
    let added = plug(linux, &dimm)?;
    let new: Vec<u64> = blocks(linux)?.difference(&before).copied().collect();
    if new.is_empty() {
        let why = "device_add has no effect: no memory block appears";
        life.steps.push((Operation::Add, Err(why.into())));
        return Ok(life);
    }
    life.steps.push((Operation::Add, Ok(added)));
    life.ram = Some(free.saturating_sub(linux.free()?));
    if step(linux, &mut life, Operation::Online, &new)? {
        work(linux)?;
        if step(linux, &mut life, Operation::Offline, &new)? {
            life.steps.push((Operation::Remove, Ok(unplug(linux, &dimm)?)));
        }
    }
    Ok(life)
}

/// Plugs a DIMM for which system RAM is too small, and returns why the kernel does not take it.
///
/// # Errors
/// Failed when it does; else as [`live`].
pub fn plug_too_large(linux: &mut Linux, size: u64) -> Checked<String> {
    Dimm::new("large", size).unreserved().plug(&mut linux.qmp).map_err(Error::from).during("device_add")?;
    // It ends processes before it gives up: nothing is asked of it meanwhile.
    let deadline = Deadline::for_steps(3);
    loop {
        match (linux.panic(), deadline.left()) {
            (Some(why), _) => return Ok(why),
            (None, None) => return unknown("the kernel did not panic".to_owned()),
            (None, Some(_)) => std::thread::sleep(POLL),
        }
    }
}

fn plug(linux: &mut Linux, dimm: &Dimm) -> Checked<Costs> {
    let plug =
        |linux: &mut Linux| dimm.plug(&mut linux.qmp).map(drop).map_err(Error::from).during("device_add");
    notified(linux, plug)
}

fn unplug(linux: &mut Linux, dimm: &Dimm) -> Checked<Costs> {
    let costs = notified(linux, |linux| {
        dimm.ask_back(&mut linux.qmp).map_err(Error::from).during("device_del")?;
        let deleted = |event: &Event| is_deleted(event, &dimm.id).then_some(());
        linux.qmp.wait_event("DEVICE_DELETED", Deadline::for_steps(2), deleted)
    })?;
    dimm.forget(&mut linux.qmp)?;
    Ok(costs)
}

/// What the kernel's work costs that `ask` causes. ACPI may notify it more than once: of a device, and of its status.
fn notified(linux: &mut Linux, ask: impl FnOnce(&mut Linux) -> Checked) -> Checked<Costs> {
    let ((), costs) = linux.counted(ACPI, |linux| {
        let before = linux.calls(ACPI)?.len();
        ask(linux)?;
        linux.await_call(ACPI, before)?;
        linux.settle(2)
    })?;
    Ok(costs)
}

/// Takes blocks online or offline. False if the kernel refuses.
fn step(linux: &mut Linux, life: &mut Life, operation: Operation, blocks: &[u64]) -> Checked<bool> {
    let (window, state) = match operation {
        Operation::Online => (ONLINE, "online_movable"),
        _ => (OFFLINE, "offline"),
    };
    let (reply, costs) = linux.counted(window, |linux| linux.ask(&set_states(blocks, state)))?;
    let result = match reply.failed {
        true => Err(reason(&reply.text, &linux.tell("dmesg | tail -n 1")?)),
        false => Ok(costs),
    };
    life.steps.push((operation, result));
    Ok(!reply.failed)
}

/// The shell command that writes to the `state` of each block, until one refuses.
fn set_states(blocks: &[u64], state: &str) -> String {
    let numbers = blocks.iter().fold(String::new(), |mut text, block| {
        let _ = write!(text, " {block}");
        text
    });
    format!(
        "fine=0; for b in{numbers}; do echo {state} > {MEMORY}$b/state || {{ fine=1; break; }}; done; [ $fine = 0 ]"
    )
}

const MEMORY: &str = "/sys/devices/system/memory/memory";

/// What the shell said, and what the kernel logged with it.
fn reason(said: &str, logged: &str) -> String {
    let said = said.trim().rsplit(": ").next().unwrap_or_default();
    let logged = logged.trim().split_once("] ").map_or(logged.trim(), |(_, message)| message);
    format!("{said} ({logged})")
}

/// The numbers of the memory blocks that there are.
fn blocks(linux: &mut Linux) -> Checked<BTreeSet<u64>> {
    let text = linux.tell(&format!("ls -1d {MEMORY}*"))?;
    Ok(text.lines().filter_map(|line| line.trim().strip_prefix(MEMORY)?.parse().ok()).collect())
}

/// How many bytes of a DIMM are in use when it goes offline.
pub const IN_USE: u64 = GIB / 2;

/// A process whose memory is in use: `dd` has filled a buffer, and waits for a reader of a pipe. Its pages are not huge.
const USE: &str = "echo never > /sys/kernel/mm/transparent_hugepage/enabled; mkfifo /pipe; exec 3<>/pipe; \
                   dd if=/dev/zero of=/pipe bs=512M count=1 & pid=$!";
/// The process ends.
const RELEASE: &str = "kill $pid; wait $pid; exec 3>&-; rm /pipe";

/// Takes a DIMM of 1 GiB offline of which a process uses 512 MiB. `empty` is what offline costs with nothing in use.
///
/// # Errors
/// As [`live`].
pub fn load(linux: &mut Linux, column: &mut Column, empty: Costs) -> Checked {
    let mut before = 0;
    let life = live_with(linux, "load", GIB, |linux| {
        linux.tell(USE)?;
        linux.settle(20)?;
        before = migrated(linux)?;
        Ok(())
    })?;
    let moved = migrated(linux)?.saturating_sub(before);
    linux.ask(RELEASE)?;
    let row = |operation| Row::new(Part::Load, Home::Any, GIB, operation);
    let (migration, page) = match (life.cost(Operation::Offline), life.why()) {
        (Some(costs), _) if moved > 0 => {
            let costs = costs - empty;
            (Value::Each(costs, moved), Value::Each(costs, IN_USE / column.granule.max(1)))
        }
        (_, why) => {
            let why = why.unwrap_or_else(|| "no page of it was in use".into());
            (Value::Cannot(why.clone()), Value::Cannot(why))
        }
    };
    column.add(row(Operation::Migration), migration);
    column.add(row(Operation::UsedPage), page);
    Ok(())
}

fn migrated(linux: &mut Linux) -> Checked<u64> {
    let text = linux.tell("cat /proc/vmstat")?;
    let count = text.lines().find_map(|line| line.strip_prefix("pgmigrate_success ")?.trim().parse().ok());
    count.ok_or_else(|| Error::Failed("/proc/vmstat: no pgmigrate_success".into()))
}

#[cfg(test)]
mod tests {
    use super::{Life, reason, set_states};
    use crate::bench::costs::Costs;
    use crate::linux::record::{Column, Home, Operation, Part, Row, Value};

    #[test]
    fn each_blocks_state_is_written_until_one_refuses() {
        assert_eq!(
            set_states(&[16, 17], "offline"),
            "fine=0; for b in 16 17; do echo offline > /sys/devices/system/memory/memory$b/state || \
             { fine=1; break; }; done; [ $fine = 0 ]"
        );
    }

    #[test]
    fn a_refusal_is_what_the_shell_and_the_kernel_said() {
        let said = "sh: write error: Operation not permitted\n";
        let logged = "[   99.5] arm64/mm: [80200000 88000000] splits a leaf entry in vmemmap\n";
        let should = "Operation not permitted (arm64/mm: [80200000 88000000] splits a leaf entry in vmemmap)";
        assert_eq!(reason(said, logged), should);
    }

    #[test]
    fn a_life_that_ends_early_has_no_sum_and_says_why() {
        let costs = Costs { instructions: 5, ..Costs::default() };
        let steps = vec![(Operation::Add, Ok(costs)), (Operation::Online, Err("no".into()))];
        let life = Life { steps, ram: Some(4096) };
        assert_eq!((life.sum(), life.why()), (None, Some("online: no".into())));
        let mut column = Column::default();
        life.write(&mut column, Part::Life, Home::Ram, 1);
        let get = |operation| column.get(Row::new(Part::Life, Home::Ram, 1, operation));
        assert_eq!(get(Operation::Add), Some(&Value::Costs(costs)));
        assert_eq!(get(Operation::Online), Some(&Value::Cannot("no".into())));
        assert_eq!((get(Operation::Remove), get(Operation::Sum)), (None, None));
    }
}
