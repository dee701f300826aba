//! The cases that every client passes: clients/cases.json, done with the crate hotmap-client.

use hotmap_client::dimm::{Dimm, Kind};
use hotmap_client::error::{Checked, During, Error, failed, unknown};
use hotmap_client::guest::{Guest, Phase};
use hotmap_client::patience::Deadline;
use hotmap_client::qemu::{Exit, IMAGE_VARIABLE, Qemu, root};
use hotmap_client::qmp::Qmp;
use hotmap_client::run::Run;
use hotmap_client::shell::Reply;
use hotmap_client::{ensure, ensure_eq};
use qapi::qmp::{cont, quit, stop, system_reset};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The file.
#[derive(Clone, Debug, Deserialize)]
pub struct Table {
    /// QEMU's command line for each machine, with places to be filled in.
    pub machines: BTreeMap<String, Vec<String>>,
    /// The cases.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The name of its machine.
    pub machine: String,
    /// What is done, in order.
    #[serde(default)]
    pub steps: Vec<Value>,
    /// The guest ends before it is ready, and the error has this part.
    pub never_ready: Option<String>,
}

/// One step: what is done, and what is expected. The file explains each word.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
#[expect(missing_docs, reason = "the names are those of the file, which explains them")]
pub struct Step {
    pub ask: Option<String>,
    pub repeat: Option<usize>,
    pub within: Option<f64>,
    pub error: Option<String>,
    pub reply: bool,
    pub ready: bool,
    pub failed: Option<bool>,
    pub text: Option<String>,
    pub contains: Option<String>,
    pub r#type: Option<String>,
    pub printed: Option<String>,
    pub state: Option<String>,
    pub is: Option<Value>,
    pub above: Option<u64>,
    pub soon: bool,
    pub plug: Option<String>,
    pub size: Option<String>,
    pub addr: Option<u64>,
    pub node: Option<u32>,
    pub driver: Option<String>,
    pub unplug: Option<String>,
    pub refused: Option<Value>,
    pub resize: Option<String>,
    pub plugged: Option<u64>,
    pub becomes: Option<String>,
    pub qmp: Option<String>,
    pub ends: Option<i32>,
    pub again: bool,
    pub finish: bool,
}

impl Step {
    fn read(words: &Value) -> Result<Self, String> {
        Self::deserialize(words).map_err(|error| format!("{words}: {error}"))
    }
}

/// Reads clients/cases.json.
///
/// # Errors
/// A sentence that says what is wrong with it.
pub fn table() -> Result<Table, String> {
    let path = root().join("clients/cases.json");
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Runs a case on the machine with this command line.
///
/// # Errors
/// As a boot test, with the step in front.
pub fn run(run: &Run, case: &Case, machine: &[String]) -> Checked<String> {
    if let Some(part) = &case.never_ready {
        let started = Session::start(run, machine).map(drop);
        return check_error("ended", Some(part), started).map(|()| "it was never ready".into());
    }
    let mut session = Session::start(run, machine)?;
    for words in &case.steps {
        let step = Step::read(words).or_else(failed)?;
        session.step(run, &step).during(&words.to_string())?;
    }
    Ok(format!("{} steps", case.steps.len()))
}

/// A guest, and the process behind it if another program has started it.
struct Session {
    /// `None` when it has finished.
    guest: Option<Guest>,
    dimms: BTreeMap<String, Dimm>,
    console: Option<UnixStream>,
    /// Dropped last: it is killed then.
    _other: Option<Qemu>,
}

impl Session {
    fn start(run: &Run, machine: &[String]) -> Checked<Self> {
        let program = std::env::var("QEMU").unwrap_or_else(|_| "qemu-system-aarch64".into());
        let image = std::env::var(IMAGE_VARIABLE)
            .unwrap_or_else(|_| root().join("target/hotmap.Image").display().to_string());
        let (qmp, console) = (run.path("qmp"), run.path("console"));
        let fill = |word: &String| {
            word.replace("{qemu}", &program)
                .replace("{image}", &image)
                .replace("{qmp}", &qmp.display().to_string())
                .replace("{console}", &console.display().to_string())
        };
        let words: Vec<String> = machine.iter().map(fill).collect();
        let Some((program, arguments)) = words.split_first() else { return unknown("no such machine") };
        let qemu = Qemu::spawn(Command::new(program).args(arguments))?;
        let mut session = Self { guest: None, dimms: BTreeMap::new(), console: None, _other: None };
        if machine.iter().any(|word| word.contains("{console}")) {
            session._other = Some(qemu);
            session.attach(run, Phase::Booting)?;
        } else {
            let monitor = Qmp::connect(&qmp, Deadline::for_step(), || false)?;
            session.guest = Some(Guest::over(qemu, monitor, Phase::Booting, &words.join(" "), &run.journal)?);
        }
        Ok(session)
    }

    /// Attaches to the console of the other program's QEMU.
    fn attach(&mut self, run: &Run, phase: Phase) -> Checked {
        if let Some(console) = self.console.take() {
            self.guest = None;
            console.shutdown(Shutdown::Both).or_else(|error| unknown(format!("the console: {error}")))?;
        }
        let console = connect(&run.path("console"))?;
        let copies = [console.try_clone(), console.try_clone()];
        let [Ok(output), Ok(input)] = copies else { return unknown("the console's socket cannot be copied") };
        self.console = Some(console);
        let monitor = Qmp::connect(&run.path("qmp"), Deadline::for_step(), || false)?;
        self.guest =
            Some(Guest::over(Qemu::attach(output, input), monitor, phase, "attached", &run.journal)?);
        Ok(())
    }

    fn guest(&mut self) -> Checked<&mut Guest> {
        self.guest.as_mut().ok_or_else(|| Error::Unknown("the guest has finished".into()))
    }

    fn step(&mut self, run: &Run, step: &Step) -> Checked {
        if let Some(line) = &step.ask {
            return self.ask(&line.repeat(step.repeat.unwrap_or(1)), step);
        }
        if let Some(text) = &step.r#type {
            return self.guest()?.type_raw(text);
        }
        if step.reply {
            let reply = self.guest()?.await_reply("a typed line", Deadline::for_step())?;
            return check_reply(&reply, step);
        }
        if let Some(text) = &step.printed {
            return self
                .guest()?
                .wait_for(text, Deadline::for_step(), |printed| printed.contains(text).then_some(()));
        }
        if let Some(path) = &step.state {
            return self.state(path, step);
        }
        if let Some(id) = &step.plug {
            return self.plug(id, step);
        }
        if let Some(id) = &step.unplug {
            return self.unplug(id, step);
        }
        if let Some(id) = &step.resize {
            return self.resize(id, step);
        }
        if let Some(command) = &step.qmp {
            return self.execute(command);
        }
        if let Some(status) = step.ends {
            ensure_eq!(self.guest()?.wait_end()?, Exit::Code(status), "how it ends");
            return Ok(());
        }
        if step.ready {
            return self.guest()?.await_ready();
        }
        if step.again {
            return self.attach(run, Phase::Waiting);
        }
        ensure!(step.finish, "a step without a word that says what to do");
        let finished = self.guest.take().map_or(Ok(()), Guest::finish);
        match &step.error {
            None => finished,
            Some(error) => check_error(error, step.contains.as_deref(), finished),
        }
    }

    fn ask(&mut self, line: &str, step: &Step) -> Checked {
        let deadline =
            step.within.map(Duration::from_secs_f64).map_or_else(Deadline::for_step, Deadline::after);
        let answer = self.guest()?.ask_within(line, deadline);
        match &step.error {
            None => check_reply(&answer?, step),
            Some(error) => check_error(error, step.contains.as_deref(), answer),
        }
    }

    fn state(&mut self, path: &str, step: &Step) -> Checked {
        let deadline = Deadline::for_step();
        loop {
            let line = self.guest()?.tell("state")?;
            let state: Value =
                serde_json::from_str(&line).or_else(|error| failed(format!("state: {error}")))?;
            let found = state.pointer(&format!("/{path}"));
            let right = step.is.as_ref().is_none_or(|is| found == Some(is));
            if right || !step.soon || deadline.left().is_none() {
                ensure!(right, "{path} is {found:?}, should be {:?}", step.is);
                return check_above(found.and_then(Value::as_u64), step);
            }
        }
    }

    fn plug(&mut self, id: &str, step: &Step) -> Checked {
        let size = step.size.as_deref().and_then(bytes).ok_or(Error::Unknown("no size".into()))?;
        let kind = if step.driver.as_deref() == Some("nvdimm") { Kind::Nvdimm } else { Kind::PcDimm };
        let dimm = Dimm { kind, address: step.addr, node: step.node, ..Dimm::new(id, size) };
        self.dimms.insert(id.to_owned(), dimm.clone());
        let guest = self.guest()?;
        let plugged = match kind {
            Kind::PcDimm => guest.plug_well(&dimm),
            Kind::Nvdimm => guest.plug_without_waiting(&dimm),
        };
        match (&step.refused, plugged) {
            (None, plugged) => plugged.map(drop),
            (Some(Value::String(_)), Err(Error::Unknown(why))) if why.contains("QEMU refused") => Ok(()),
            (Some(status), plugged) => check_refusal(status, step, plugged.map(drop)),
        }
    }

    fn unplug(&mut self, id: &str, step: &Step) -> Checked {
        let Some(dimm) = self.dimms.get(id).cloned() else { return unknown(format!("no DIMM {id}")) };
        let unplugged = self.guest()?.unplug_well(&dimm);
        match &step.refused {
            None => unplugged,
            Some(status) => check_refusal(status, step, unplugged),
        }
    }

    fn resize(&mut self, id: &str, step: &Step) -> Checked {
        let number = id.strip_prefix("vm").and_then(|number| number.parse().ok());
        let (Some(number), Some(size)) = (number, step.size.as_deref().and_then(bytes)) else {
            return unknown("no number or no size");
        };
        let guest = self.guest()?;
        guest.request(number, size)?;
        let state = guest.await_resize(number)?;
        let device = &state.virtio_mem[number];
        ensure_eq!(Some(&device.state), step.becomes.as_ref(), "the device's state");
        if let Some(plugged) = step.plugged {
            ensure_eq!(device.plugged_size, plugged, "what is plugged");
        }
        check_above(Some(device.plugged_size), step)
    }

    fn execute(&mut self, command: &str) -> Checked {
        let qmp = &mut self.guest()?.qmp;
        match command {
            "system_reset" => qmp.execute(&system_reset {}).map(drop)?,
            "stop" => qmp.execute(&stop {}).map(drop)?,
            "cont" => qmp.execute(&cont {}).map(drop)?,
            "quit" => qmp.execute(&quit {}).map(drop)?,
            _ => return unknown(format!("no QMP command {command} in this test")),
        }
        Ok(())
    }
}

fn connect(path: &Path) -> Checked<UnixStream> {
    let deadline = Deadline::for_step();
    loop {
        match UnixStream::connect(path) {
            Ok(stream) => return Ok(stream),
            Err(error) if deadline.left().is_none() => return unknown(format!("no console: {error}")),
            Err(_) => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

fn check_reply(reply: &Reply, step: &Step) -> Checked {
    ensure!(step.failed.is_none_or(|failed| failed == reply.failed), "it says {reply:?}");
    ensure!(step.text.as_ref().is_none_or(|text| *text == reply.text), "it says {reply:?}");
    ensure!(step.contains.as_ref().is_none_or(|part| reply.text.contains(part)), "it says {reply:?}");
    Ok(())
}

/// The call has failed in this way, and the message has this part.
fn check_error<T: Debug>(error: &str, part: Option<&str>, result: Checked<T>) -> Checked {
    let right = match (error, &result) {
        ("ended" | "failed", Err(Error::Failed(why))) => part.is_none_or(|part| why.contains(part)),
        ("hang", Err(Error::Unknown(why))) => why.contains("hang"),
        _ => false,
    };
    ensure!(right, "{result:?} where {error} is expected, with {part:?}");
    Ok(())
}

/// The guest has refused with this status of _OST, and the message has the step's part.
fn check_refusal(status: &Value, step: &Step, result: Checked) -> Checked {
    check_error("failed", Some(&format!("OST status {status}")), result.clone())?;
    check_error("failed", step.contains.as_deref(), result)
}

fn check_above(value: Option<u64>, step: &Step) -> Checked {
    ensure!(
        step.above.is_none_or(|least| value.is_some_and(|value| value > least)),
        "{value:?} is too little"
    );
    Ok(())
}

/// A size as QEMU writes it, in bytes.
fn bytes(text: &str) -> Option<u64> {
    let (number, shift) = match text.split_at_checked(text.len().checked_sub(1)?)? {
        (number, "M") => (number, 20),
        (number, "G") => (number, 30),
        _ => (text, 0),
    };
    Some(number.parse::<u64>().ok()? << shift)
}

#[cfg(test)]
mod tests {
    use super::{Step, table};

    #[test]
    fn every_case_has_its_machine_and_ends_its_guest() {
        let table = table().expect("the file is read");
        for case in &table.cases {
            assert!(table.machines.contains_key(&case.machine), "{}", case.name);
            let steps: Vec<Step> = case.steps.iter().map(|step| Step::read(step).expect("a step")).collect();
            let Some(last) = steps.last() else {
                assert!(case.never_ready.is_some(), "{} has no steps", case.name);
                continue;
            };
            assert!(last.finish || last.ends.is_some(), "{}", case.name);
        }
    }
}
