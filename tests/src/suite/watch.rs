//! `make watch`: what its server says of a live guest is what QEMU and the kernel say.

use super::test::{Test, per_granule, slotted};
use crate::eyes;
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, Error, failed, unknown};
use hotmap_client::geometry::Granule;
use hotmap_client::guest::{Guest, Phase};
use hotmap_client::machine::Machine;
use hotmap_client::patience::{self, Deadline};
use hotmap_client::qemu::{Exit, Qemu};
use hotmap_client::qmp::Qmp;
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};
use hotmap_watch::guest::attach;
use hotmap_watch::server::Server;
use hotmap_watch::watcher::{Ask, Door, Watcher};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Instant;

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("watch/plugged", a_dimm_that_is_plugged_at_the_monitor_arrives_on_the_page);
    tests.extend(per_granule("watch/equal", views_are_what_qemu_and_the_kernel_say));
    tests.push(Test::new("watch/attached", a_guest_that_runs_is_watched));
    tests
}

/// A guest that is watched, and its server.
struct Watched {
    door: Door,
    port: u16,
    thread: JoinHandle<Checked<Guest>>,
}

impl Watched {
    fn start(run: &Run, guest: Guest) -> Checked<Self> {
        let watcher = Watcher::new(guest)?;
        let (door, asks) = Watcher::door();
        let server = Server::new(0, run.path("no-page"))?;
        let port = server.port();
        server.serve(door.clone());
        let thread = std::thread::spawn(move || watcher.serve(&asks));
        Ok(Self { door, port, thread })
    }

    /// The answer to a line at QEMU's monitor.
    fn monitor(&self, line: &str) -> Checked<String> {
        self.ask(|sender| Ask::Monitor(line.to_owned(), sender))
    }

    /// What a command of the shell prints.
    fn shell(&self, line: &str) -> Checked<String> {
        self.ask(|sender| Ask::Shell(line.to_owned(), sender))
    }

    fn ask(&self, ask: impl FnOnce(std::sync::mpsc::Sender<String>) -> Ask) -> Checked<String> {
        let (sender, receiver) = channel();
        let lost = || Error::Unknown("the watcher has ended".into());
        self.door.send(ask(sender)).map_err(|_| lost())?;
        receiver.recv().map_err(|_| lost())
    }

    /// The guest, which is not watched any more.
    fn stop(self) -> Checked<Guest> {
        drop(self.door.send(Ask::Stop));
        self.thread.join().unwrap_or_else(|_| unknown("the watcher has panicked"))
    }

    fn connect(&self, request: &str) -> Checked<BufReader<TcpStream>> {
        let torn = |error: std::io::Error| Error::Unknown(format!("the server: {error}"));
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(torn)?;
        stream.set_read_timeout(Some(patience::step())).map_err(torn)?;
        write!(stream, "{request}").map_err(torn)?;
        Ok(BufReader::new(stream))
    }

    fn http(&self, request: &str) -> Checked<(String, String)> {
        let mut text = String::new();
        let read = self.connect(request)?.read_to_string(&mut text);
        read.map_err(|error| Error::Unknown(format!("the server: {error}")))?;
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        Ok((head.to_owned(), body.to_owned()))
    }

    /// The answer to a request of the page.
    fn call(&self, body: &str) -> Checked<Value> {
        let length = body.len();
        let (head, body) = self.http(&format!(
            "POST /call HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n\r\n{body}"
        ))?;
        ensure!(head.starts_with("HTTP/1.1 200 "), "the server answers {head}");
        serde_json::from_str(&body).or_else(|error| failed(format!("{error}: {body}")))
    }

    fn view(&self, name: &str, of: &str) -> Checked<Value> {
        let mut answer = self.call(&format!(r#"{{"do":"view","name":"{name}","of":"{of}"}}"#))?;
        ensure_eq!(answer["ok"], Value::Bool(true), "view {name} of {of}: {answer}");
        Ok(answer["view"].take())
    }
}

fn address(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// An event of a change, with a word in its log.
fn await_event(events: &mut impl BufRead, word: &str) -> Checked<Value> {
    loop {
        let mut line = String::new();
        let count = events.read_line(&mut line);
        ensure!(count.is_ok_and(|count| count > 0), "the events end before '{word}'");
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let event: Value = serde_json::from_str(data).or_else(|error| failed(format!("{error}: {data}")))?;
        if event["log"].as_str().is_some_and(|log| log.contains(word)) {
            return Ok(event);
        }
    }
}

fn a_dimm_that_is_plugged_at_the_monitor_arrives_on_the_page(run: &Run, granule: Granule) -> Checked<String> {
    let watched = Watched::start(run, Guest::boot(run, &slotted(granule).framed())?)?;
    let mut events = watched.connect("GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut hello = String::new();
    while hello.trim() != ": watching" {
        hello.clear();
        ensure!(events.read_line(&mut hello).is_ok_and(|count| count > 0), "there are no events");
    }
    let before = watched.view("memory", "")?;
    let count = |view: &Value| view["blocks"].as_array().map_or(0, Vec::len) as u64;
    let size = granule.block() * 2;
    watched.monitor(&format!("object_add memory-backend-ram,id=m0,size={size}"))?;
    watched.monitor("device_add pc-dimm,id=d0,memdev=m0")?;
    let plugged = Instant::now();
    await_event(&mut events, "is here")?;
    let told = plugged.elapsed();
    let after = watched.view("memory", "")?;
    ensure_eq!(count(&after), count(&before) + 2, "blocks after a DIMM of two");
    let block = &after["blocks"][usize::try_from(count(&before)).unwrap_or_default()];
    ensure_eq!(
        (&block["source"], &block["memmap"]),
        (&"dimm0".into(), &"self".into()),
        "the new block: {block}"
    );
    let free = granule.pages(granule.block()) - granule.pages(granule.memmap_per_block());
    ensure_eq!(block["totals"]["free"], Value::from(free), "free pages of the new block");

    // It is only looked at.
    for acting in
        [r#"{"do":"line","text":"poweroff"}"#, r#"{"do":"monitor","text":"unplug 0"}"#, r#"{"do":"boot"}"#]
    {
        ensure_eq!(watched.call(acting)?["ok"], Value::Bool(false), "{acting}");
    }
    let (head, _) = watched.http("GET /state HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n")?;
    ensure!(head.starts_with("HTTP/1.1 403 "), "a page of another host is answered {head}");

    watched.monitor("device_del d0")?;
    await_event(&mut events, "is gone")?;
    ensure_eq!(watched.view("memory", "")?, before, "memory after the DIMM has gone");
    watched.stop()?.finish()?;
    Ok(format!("the page is told after {} ms", told.as_millis()))
}

fn views_are_what_qemu_and_the_kernel_say(run: &Run, granule: Granule) -> Checked<String> {
    let machine = slotted(granule).memory("2G").append("memmap=demand").framed();
    let mut guest = Guest::boot(run, &machine)?;
    guest.plug_well(&Dimm::new("d0", granule.block() * 2))?;
    guest.tell(&format!("tenant new 300; hugetlb {} 1", granule.huge_page_worth_sharing()))?;
    let state = guest.state()?;
    let watched = Watched::start(run, guest)?;
    let mut compared = 0;
    let ranges = watched.view("vmemmap", "")?["ranges"].take();
    for range in ranges.as_array().into_iter().flatten() {
        let Some(va) = address(&range["va"]) else {
            return failed(format!("a range without an address: {range}"));
        };
        let seen = eyes::parse_gva2gpa(&watched.monitor(&format!("gva2gpa {va:#x}"))?);
        let frame = match address(&range["frame"]) {
            Some(frame) => Some(frame),
            None => address(&range["same_as"]).and_then(|same| translation(&ranges, same, granule)),
        };
        ensure_eq!(frame, seen.flatten(), "the frame of {range}");
        compared += 1;
    }
    for line in watched.shell("ptdump vmemmap")?.lines() {
        let Some((va, frame)) = mapping(line) else { continue };
        ensure_eq!(translation(&ranges, va, granule), Some(frame), "the kernel says '{line}'");
        compared += 1;
    }
    for block in &state.blocks {
        compared += compare_walk(&watched, block.start + block.size / 2)?;
        compared += compare_page(&watched, block.start + block.size / 2)?;
    }
    watched.stop()?.finish()?;
    Ok(format!("{compared} comparisons"))
}

fn a_guest_that_runs_is_watched(run: &Run) -> Checked<String> {
    let (serial, qmp) = (run.path("serial"), run.path("qmp"));
    let chardev = format!("unix:{},server=on,wait=off", serial.display());
    let machine = Machine { serial: Some(chardev), ..Machine::firmware() }.framed();
    let mut qemu = Qemu::start(&machine, Some(&qmp))?;
    let first = Qmp::connect(&qmp, Deadline::for_step(), || qemu.ended().is_some())?;
    let torn = |error: std::io::Error| Error::Unknown(format!("the serial line: {error}"));
    let line = UnixStream::connect(&serial).map_err(torn)?;
    let (reader, writer) = (line.try_clone().map_err(torn)?, line.try_clone().map_err(torn)?);
    let ours = Qemu::attach(reader, writer);
    let mut guest = Guest::over(ours, first, Phase::Booting, "before the watch", &run.journal)?;
    guest.tell("tenant new 7")?;
    drop(guest);
    // QEMU serves one client, and the thread that reads has the socket too.
    line.shutdown(Shutdown::Both).map_err(torn)?;
    let watched = Watched::start(run, attach(run, &serial, &qmp)?)?;
    let answer = watched.call(r#"{"do":"state"}"#)?;
    ensure_eq!(answer["state"]["tenants"][0]["pages"], Value::from(7), "the tenant's pages: {answer}");
    ensure_eq!(watched.view("walk", "addr:0x40000000")?["kind"], Value::from("physical"), "a walk");
    let mut guest = watched.stop()?;
    ensure_eq!(guest.ended(), None, "the guest at the end of the watch");
    guest.type_command("poweroff")?;
    ensure_eq!(qemu.wait_exit(Deadline::for_step())?, Exit::FINE, "poweroff");
    Ok("by its sockets".into())
}

/// The address and the frame of a line of `ptdump`: `0x...0..0x...1 -> 0x...  4 KiB leaves  rw- normal`.
fn mapping(line: &str) -> Option<(u64, u64)> {
    let (range, rest) = line.trim().split_once(" -> ")?;
    let number = |text: &str| u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok();
    let leaf = rest.contains(" leaves ");
    Some((number(range.split("..").next()?)?, number(rest.split(' ').next()?)?)).filter(|_| leaf)
}

/// Where the ranges of a view lead from `va`.
fn translation(ranges: &Value, va: u64, granule: Granule) -> Option<u64> {
    let range =
        ranges.as_array()?.iter().rfind(|range| address(&range["va"]).is_some_and(|start| start <= va))?;
    let offset = va - address(&range["va"])?;
    let within = offset < range["pages"].as_u64()? * granule.bytes();
    let ahead = if range["stride"].as_u64()? == 0 { offset % granule.bytes() } else { offset };
    address(&range["frame"]).filter(|_| within).map(|frame| frame + ahead)
}

/// Each step of the walk to a page's struct page has the descriptor that the kernel prints and that QEMU reads.
fn compare_walk(watched: &Watched, pa: u64) -> Checked<usize> {
    let walk = watched.view("walk", &format!("addr:{pa:#x}"))?;
    let printed = watched.shell(&format!("walk addr:{pa:#x}"))?;
    let steps = walk["steps"].as_array().map_or(&[][..], Vec::as_slice);
    for step in steps {
        let (Some(descriptor), Some(entry)) = (step["descriptor"].as_str(), address(&step["entry_pa"]))
        else {
            return failed(format!("a step without a descriptor: {step}"));
        };
        let line = printed.lines().find(|line| line.starts_with(&format!("level {} ", step["level"])));
        ensure!(line.is_some_and(|line| line.contains(descriptor)), "{descriptor} is not in {line:?}");
        let words = eyes::parse_words(&watched.monitor(&format!("xp /1gx {entry:#x}"))?).unwrap_or_default();
        ensure_eq!(
            words.iter().map(|word| format!("{word:#018x}")).collect::<Vec<_>>(),
            [descriptor],
            "QEMU at {entry:#x}"
        );
    }
    let (Some(va), Some(end)) = (address(&walk["va"]), address(&walk["pa"])) else {
        return failed(format!("a walk that ends nowhere: {walk}"));
    };
    ensure!(printed.contains(&format!("{va:#x} -> {end:#x}")), "{va:#x} -> {end:#x} is not in {printed}");
    let seen = eyes::parse_gva2gpa(&watched.monitor(&format!("gva2gpa {va:#x}"))?).flatten();
    ensure_eq!(seen, Some(end), "QEMU at {va:#x}");
    Ok(steps.len() + 1)
}

/// A page's struct page has the 64 bytes that QEMU reads, and the use that the kernel prints.
fn compare_page(watched: &Watched, pa: u64) -> Checked<usize> {
    let page = watched.view("page", &format!("addr:{pa:#x}"))?;
    let Some(frame) = address(&page["frame"]) else { return failed(format!("no frame: {page}")) };
    let words = eyes::parse_words(&watched.monitor(&format!("xp /8gx {frame:#x}"))?).unwrap_or_default();
    let bytes: String =
        words.iter().flat_map(|word| word.to_le_bytes()).map(|byte| format!("{byte:02x}")).collect();
    ensure_eq!(page["bytes"], Value::from(bytes), "the struct page at {frame:#x}");
    let printed = watched.shell(&format!("page addr:{pa:#x}"))?;
    let run = format!(
        "in the run of {} pages at pfn {:#x}",
        page["run"]["pages"],
        page["run"]["head"].as_u64().unwrap_or(0)
    );
    ensure!(printed.contains(&run), "'{run}' is not in {printed}");
    Ok(2)
}
