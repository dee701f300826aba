//! `script=on`: each reply stands in a frame of its own, whatever the line was and however its commands end.

use super::test::{Test, slotted};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, failed, unknown};
use hotmap_client::geometry::Granule;
use hotmap_client::machine::Machine;
use hotmap_client::patience::Deadline;
use hotmap_client::qemu::{Exit, Qemu};
use hotmap_client::qmp::Qmp;
use hotmap_client::run::{Journal, Run};
use hotmap_client::{ensure, ensure_eq};

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("script/frames", every_line_has_one_frame),
        Test::new("script/events", what_arrives_by_itself_is_outside_of_the_frames),
        Test::new("script/log", the_log_repeats_what_stood_outside_of_the_frames),
        Test::new("script/run", run_is_framed_command_by_command),
        Test::new("script/poweroff", poweroff_ends_its_frame_before_the_last_line),
        Test::new("script/button", a_command_that_the_power_button_ends_has_failed),
        Test::new("script/crash", a_run_that_crashes_leaves_its_frame_open),
        Test::new("script/interrupt", ctrl_c_ends_a_command_and_its_frame_says_so),
        Test::new("script/off", without_the_argument_there_is_no_frame),
    ]
}

/// A reply: the lines between `begin N` and `end N STATUS`.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    number: u32,
    lines: Vec<String>,
    /// `None` while it is open.
    status: Option<u32>,
}

impl Frame {
    fn error(&self) -> Option<&str> {
        self.lines.iter().find_map(|line| line.strip_prefix("error: "))
    }
}

/// The frames after `ready 1`, and what stands outside of them.
///
/// # Errors
/// Failed for a frame inside a frame, an end without a beginning, or other bytes than text and LF.
fn frames(raw: &[u8]) -> Checked<(Vec<Frame>, Vec<String>)> {
    let text = String::from_utf8_lossy(raw);
    let Some((_, rest)) = text.split_once("\nready 1\n") else { return failed("no line 'ready 1'") };
    ensure!(!rest.contains(['\r', '\x1b', '\x08']), "not plain lines: {rest:?}");
    ensure!(!rest.contains("hotmap> "), "a prompt: {rest:?}");
    let (mut all, mut outside, mut open): (Vec<Frame>, _, _) = (Vec::new(), Vec::new(), None::<Frame>);
    for line in rest.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')) {
        let words: Vec<&str> = line.split(' ').collect();
        match (words.as_slice(), &mut open) {
            (["begin", number], None) => {
                let number = number.parse().map_err(|_| format!("no number: {line}")).or_else(failed)?;
                ensure_eq!(number, u32::try_from(all.len() + 1).unwrap_or(0), "the number of a frame");
                open = Some(Frame { number, lines: Vec::new(), status: None });
            }
            (["end", number, status @ ("0" | "1")], Some(frame)) if *number == frame.number.to_string() => {
                frame.status = Some(u32::from(*status == "1"));
                all.extend(open.take());
            }
            (["begin" | "end", ..], _) => return failed(format!("out of place: '{line}'")),
            (_, Some(frame)) => frame.lines.push(line.to_owned()),
            (_, None) => outside.push(line.to_owned()),
        }
    }
    all.extend(open);
    Ok((all, outside))
}

/// A machine that takes lines from a program.
struct Session {
    qemu: Qemu,
    qmp: Qmp,
    journal: Journal,
}

impl Session {
    /// One to a test: the socket has one name.
    fn boot(run: &Run, machine: &Machine) -> Checked<Self> {
        let socket = run.path("qmp");
        let mut qemu = Qemu::start(&machine.clone().append("script=on"), Some(&socket))?;
        let qmp = Qmp::connect(&socket, Deadline::for_step(), || qemu.ended().is_some())?;
        let session = Self { qemu, qmp, journal: run.journal.clone() };
        session.wait("the line 'ready 1'", |text| text.ends_with("ready 1\n").then_some(()))?;
        Ok(session)
    }

    /// A run that ends by itself: as [`Session::end`].
    fn batch(run: &Run, machine: &Machine) -> Checked<(Exit, Vec<Frame>, String)> {
        let finished = hotmap_client::guest::run_to_end(run, &machine.clone().append("script=on"))?;
        let (frames, outside) = frames(finished.text.as_bytes())?;
        Ok((finished.exit, frames, outside.last().cloned().unwrap_or_default()))
    }

    fn wait<T>(&self, what: &str, found: impl FnMut(&str) -> Option<T>) -> Checked<T> {
        Ok(self.qemu.console.wait(0, what, Deadline::for_step(), found)?.0)
    }

    fn frames(&self) -> Checked<Vec<Frame>> {
        Ok(frames(&self.qemu.console.raw())?.0)
    }

    /// Types `bytes` and waits for the end of frame `number`.
    fn ask(&mut self, bytes: &[u8], number: usize) -> Checked<Frame> {
        self.qemu.type_in(bytes)?;
        let end = format!("\nend {number} ");
        self.wait(&format!("the end of frame {number}"), |text| text.contains(&end).then_some(()))?;
        // Its last line may not be complete yet.
        self.wait("a whole line", |text| text.ends_with('\n').then_some(()))?;
        match self.frames()?.into_iter().nth(number - 1) {
            Some(frame) => Ok(frame),
            None => failed(format!("no frame {number}")),
        }
    }

    /// Waits for the end of the run: its status, all frames, and the last line.
    fn end(mut self) -> Checked<(Exit, Vec<Frame>, String)> {
        let exit = self.qemu.wait_exit(Deadline::for_step())?;
        let (frames, outside) = frames(&self.qemu.console.raw())?;
        Ok((exit, frames, outside.last().cloned().unwrap_or_default()))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.qemu.kill();
        self.journal.add(&self.qemu.console.text());
    }
}

/// A line that succeeds, one that fails, several commands, blank lines, each line end, and lines that cannot be taken: all typed
/// at once.
fn every_line_has_one_frame(run: &Run) -> Checked<String> {
    let too_long = [b'x'; 1025];
    let lines: [(&[u8], &[u8], u32, &str); 12] = [
        (b"tenant new 1", b"\n", 0, ""),
        (b"offline 0x1000", b"\n", 1, "offline: 0x1000 is not the start of a 128 MiB memory block (EINVAL)"),
        (b"mem; nonsense ;zones", b"\n", 1, "nonsense: no such command (help lists them)"),
        (b"", b"\n", 0, ""),
        (b" \t ", b"\r\n", 0, ""),
        (b" ; ;", b"\r", 0, ""),
        (&too_long, b"\n", 1, "the line is longer than 1024 bytes"),
        (b"tenant \xc3\xa9", b"\n", 1, "byte 8 of the line is 0xc3, which is not printable ASCII"),
        (b"\x1b[A", b"\n", 1, "byte 1 of the line is 0x1b, which is not printable ASCII"),
        (b"\x03tenant check", b"\r\n", 0, ""),
        (b"state", b"\n", 0, ""),
        (b"poweroff", b"\n", 0, ""),
    ];
    let mut session = Session::boot(run, &slotted(Granule::K4))?;
    for (line, end, ..) in lines {
        session.qemu.type_in(&[line, end].concat())?;
    }
    let (exit, frames, last) = session.end()?;
    ensure_eq!(exit, Exit::FINE, "poweroff");
    ensure_eq!(last, "hotmap: exit 0: poweroff", "the last line");
    ensure_eq!(frames.len(), lines.len(), "frames");
    for (frame, (line, _, status, error)) in frames.iter().zip(lines) {
        let line = String::from_utf8_lossy(line);
        ensure_eq!(frame.status, Some(status), "the status of '{line}'");
        ensure_eq!(frame.error().unwrap_or_default(), error, "what '{line}' says");
    }
    ensure_eq!(frames[0].lines, ["tenant 1 holds 1 pages"], "the first reply");
    ensure!(frames[3..6].iter().all(|frame| frame.lines.is_empty()), "a blank line prints: {frames:?}");
    ensure!(frames[2].lines.iter().any(|line| line.starts_with("Movable")), "the command behind the failure");
    ensure!(frames[10].lines[0].starts_with("{\""), "state: {:?}", frames[10]);
    Ok(format!("{} frames", frames.len()))
}

/// A DIMM is plugged between two commands, while a line is half typed: its lines are whole, and in no frame.
fn what_arrives_by_itself_is_outside_of_the_frames(run: &Run) -> Checked<String> {
    let mut session = Session::boot(run, &slotted(Granule::K4))?;
    session.ask(b"mem\n", 1)?;
    session.qemu.type_in(b"dim")?;
    Dimm::new("d0", Granule::K4.block()).plug(&mut session.qmp)?;
    session.wait("the DIMM", |text| text.contains(" is here\n").then_some(()))?;
    let dimms = session.ask(b"ms\n", 2)?;
    ensure!(dimms.lines.iter().any(|line| line.contains("online")), "the command: {dimms:?}");
    let (frames, outside) = frames(&session.qemu.console.raw())?;
    ensure_eq!(frames.len(), 2, "frames");
    ensure!(outside.iter().all(|line| line.starts_with("dimm0: ")), "outside: {outside:?}");
    ensure!(outside.len() > 7, "outside: {outside:?}");
    Ok(format!("{} lines outside", outside.len()))
}

/// All that is printed before `ready 1` is logged, and so are the lines of a DIMM. What commands print is not.
fn the_log_repeats_what_stood_outside_of_the_frames(run: &Run) -> Checked<String> {
    let mut session = Session::boot(run, &slotted(Granule::K4))?;
    session.ask(b"mem\n", 1)?;
    Dimm::new("d0", Granule::K4.block()).plug(&mut session.qmp)?;
    session.wait("the DIMM", |text| text.contains(" is here\n").then_some(()))?;
    let log = session.ask(b"log\n", 2)?;
    let raw = session.qemu.console.raw();
    let (frames, outside) = frames(&raw)?;
    ensure_eq!(frames.len(), 2, "frames");
    let text = String::from_utf8_lossy(&raw);
    let boot = text.split_once("ready 1\n").map_or("", |(boot, _)| boot);
    let expected: Vec<String> =
        boot.lines().map(str::to_owned).chain(outside).map(|line| format!("  {line}")).collect();
    ensure!(expected.len() > 10, "logged: {expected:?}");
    ensure_eq!(log.lines, expected, "the log");
    Ok(format!("{} lines", expected.len()))
}

fn run_is_framed_command_by_command(run: &Run) -> Checked<String> {
    let machine = slotted(Granule::K4).append("run=\"tenant new 2; nonsense; tenant check\"");
    let (exit, frames, last) = Session::batch(run, &machine)?;
    ensure_eq!(exit, Exit::COMMAND_FAILED, "a command of run= failed");
    ensure_eq!(last, "hotmap: exit 1: 1 of 3 commands of run= failed", "the last line");
    let statuses: Vec<_> = frames.iter().map(|frame| frame.status).collect();
    ensure_eq!(statuses, [Some(0), Some(1), Some(0)], "the statuses");
    ensure_eq!(frames[1].lines, ["error: nonsense: no such command (help lists them)"], "the failure");
    Ok(String::new())
}

fn poweroff_ends_its_frame_before_the_last_line(run: &Run) -> Checked<String> {
    let mut session = Session::boot(run, &slotted(Granule::K4))?;
    session.qemu.type_in(b"nonsense; poweroff; mem\n")?;
    let (exit, frames, last) = session.end()?;
    ensure_eq!((exit, last.as_str()), (Exit::FINE, "hotmap: exit 0: poweroff"), "poweroff in a line");
    ensure_eq!(frames.len(), 1, "frames");
    ensure_eq!(frames[0].status, Some(1), "a command before it failed");
    let machine = slotted(Granule::K4).append("run=\"nonsense; poweroff; mem\"");
    let (exit, frames, last) = Session::batch(run, &machine)?;
    ensure_eq!((exit, last.as_str()), (Exit::COMMAND_FAILED, "hotmap: exit 1: poweroff"), "in run=");
    let statuses: Vec<_> = frames.iter().map(|frame| frame.status).collect();
    ensure_eq!(statuses, [Some(1), Some(0)], "the statuses");
    Ok(String::new())
}

/// `stress` handles events between its operations.
fn a_command_that_the_power_button_ends_has_failed(run: &Run) -> Checked<String> {
    let mut session = Session::boot(run, &slotted(Granule::K4))?;
    session.qemu.type_in(b"stress 1000\n")?;
    session.wait("the command", |text| text.contains("\nstress: seed ").then_some(()))?;
    session.qmp.monitor("system_powerdown")?;
    let (exit, frames, last) = session.end()?;
    ensure_eq!(exit, Exit::FINE, "the power button");
    ensure_eq!(last, "hotmap: exit 0: the power button was pressed", "the last line");
    ensure_eq!(frames.len(), 1, "frames");
    ensure_eq!(frames[0].status, Some(1), "a command that did not end");
    ensure_eq!(frames[0].error(), Some("the power button was pressed"), "why");
    Ok(String::new())
}

fn a_run_that_crashes_leaves_its_frame_open(run: &Run) -> Checked<String> {
    let mut session = Session::boot(run, &slotted(Granule::K4))?;
    session.qemu.type_in(b"crash\n")?;
    let (exit, frames, _) = session.end()?;
    ensure_eq!(exit, Exit::PANIC, "crash");
    ensure_eq!(frames.len(), 1, "frames");
    ensure_eq!(frames[0].status, None, "the frame of a command that crashed");
    let last = frames[0].lines.last().map_or("", String::as_str);
    ensure!(last.starts_with("hotmap: exit 2: "), "the last line: {last}");
    Ok(String::new())
}

/// How often a test tries: Ctrl-C may come when all pages have migrated.
const TRIES: usize = 8;

fn ctrl_c_ends_a_command_and_its_frame_says_so(run: &Run) -> Checked<String> {
    let mut session = Session::boot(run, &slotted(Granule::K4).memory("2G"))?;
    let info = Dimm::new("d0", Granule::K4.block()).plug(&mut session.qmp)?;
    session.wait("the DIMM", |text| text.contains(" is here\n").then_some(()))?;
    let pages = Granule::K4.usable_pages_per_block();
    for attempt in 0..TRIES {
        session.ask(format!("tenant new {pages}\n").as_bytes(), 3 * attempt + 1)?;
        let offline = format!("offline {:#x}\n\u{3}", info.addr);
        let frame = session.ask(offline.as_bytes(), 3 * attempt + 2)?;
        if frame.status == Some(1) {
            let error = frame.error().unwrap_or_default();
            ensure!(error.starts_with("offline: interrupted: ") && error.ends_with(" (EINTR)"), "{error}");
            let audit = session.ask(b"tenant check; audit\n", 3 * attempt + 3)?;
            ensure_eq!(audit.status, Some(0), "after the interruption");
            return Ok(format!("at attempt {}", attempt + 1));
        }
        let online = format!("online {:#x}; tenant drop\n", info.addr);
        session.ask(online.as_bytes(), 3 * attempt + 3)?;
    }
    unknown(format!("{TRIES} offlines were over before Ctrl-C was read"))
}

fn without_the_argument_there_is_no_frame(run: &Run) -> Checked<String> {
    let machine = slotted(Granule::K4).append("script=off run=\"mem; poweroff\"");
    let text = hotmap_client::guest::run_to_end(run, &machine)?.text;
    let framed = |line: &str| ["ready ", "begin ", "end "].iter().any(|word| line.starts_with(word));
    ensure!(!text.lines().any(framed), "{text}");
    Ok(String::new())
}
