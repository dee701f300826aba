//! `make watch`: a live guest, in the page of the playground.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::mpsc::channel;

use hotmap_client::error::{Checked, Error};
use hotmap_client::qemu::root;
use hotmap_client::run::Run;
use hotmap_watch::guest::{attach, start};
use hotmap_watch::server::Server;
use hotmap_watch::watcher::{Ask, Door, ENDED, Watcher};

const HELP: &str = "\
usage: watch [--port N] [--page FILE] [-- OPTIONS OF scripts/qemu]
       watch [--port N] [--page FILE] --serial SOCKET --qmp SOCKET

Shows a live guest in the page of the playground, at http://127.0.0.1:PORT/. Plug a DIMM at QEMU's monitor, and it arrives on
the page. The page only looks: it reads `state` and physical memory.

The first form starts a guest by scripts/qemu. Lines that are typed here go to QEMU's monitor, and those that begin with `>` to
the guest's shell:
  object_add memory-backend-ram,id=m0,size=1G
  device_add pc-dimm,id=d0,memdev=m0
  > tenant new 500

The second form attaches to a guest that runs: with `script=on`, its serial line and its QMP at Unix sockets that no other
program is connected to.

  --port N         the port (default 8001; 0: any that is free)
  --page FILE      the page (default target/playground/index.html, which `make page` makes)
  --serial SOCKET  the serial line of a guest that runs
  --qmp SOCKET     its QMP
  --help           this text

A signal ends the watch, and the guest that was started for it.

exit status: 0 the guest or the watch has ended; 1 it cannot be watched; 2 wrong usage";

/// Prints a line; that the terminal is gone ends nothing.
macro_rules! say {
    ($($words:tt)*) => {
        drop(writeln!(std::io::stdout(), $($words)*))
    };
}

/// What the command line says.
struct Options {
    port: u16,
    page: PathBuf,
    serial: Option<PathBuf>,
    qmp: Option<PathBuf>,
    /// For scripts/qemu.
    guest: Vec<String>,
}

impl Options {
    /// `None`: help is wanted.
    fn read(mut words: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let page = root().join("target/playground/index.html");
        let mut options = Self { port: 8001, page, serial: None, qmp: None, guest: Vec::new() };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--help" | "-h" => return Ok(None),
                "--port" => {
                    options.port = value()?.parse().map_err(|_| "--port wants a number up to 65535")?
                }
                "--page" => options.page = value()?.into(),
                "--serial" => options.serial = Some(value()?.into()),
                "--qmp" => options.qmp = Some(value()?.into()),
                "--" => options.guest = words.by_ref().collect(),
                _ => return Err(format!("unexpected word {word}; --help lists the options")),
            }
        }
        match (&options.serial, &options.qmp, options.guest.is_empty()) {
            (None, None, _) | (Some(_), Some(_), true) => Ok(Some(options)),
            (Some(_), Some(_), false) => Err("a guest that runs takes no options of scripts/qemu".into()),
            _ => Err("--serial and --qmp belong together".into()),
        }
    }
}

fn main() -> ExitCode {
    let options = match Options::read(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            say!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(sentence) => {
            eprintln!("error: {sentence}");
            return ExitCode::from(2);
        }
    };
    match watch(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn watch(options: Options) -> Checked {
    let run = Run::new("watch")?;
    let server = Server::new(options.port, options.page)?;
    let (door, asks) = Watcher::door();
    // Before there is a guest: one that boots would outlive the watch.
    stop_on_signals(door.clone())?;
    let guest = match (options.serial, options.qmp) {
        (Some(serial), Some(qmp)) => attach(&run, &serial, &qmp)?,
        _ => start(&run, &options.guest)?,
    };
    let watcher = Watcher::new(guest)?;
    say!("watch: http://127.0.0.1:{}/?watch shows this guest", server.port());
    say!(
        "watch: a line typed here goes to QEMU's monitor, `> tenant new 500` to the guest's shell; `quit` ends both"
    );
    server.serve(door.clone());
    read_terminal(door);
    match watcher.serve(&asks) {
        Err(error) if is_end(&error) => {
            say!("watch: the guest has ended");
            Ok(())
        }
        served => served.map(drop),
    }
}

/// Whether an error says that QEMU is gone.
fn is_end(error: &Error) -> bool {
    [ENDED, "closed its monitor", "cannot type", "console ended"]
        .iter()
        .any(|sign| error.why().contains(sign))
}

/// Ends the watch at SIGINT, SIGTERM or SIGHUP, and with it a guest that was started for it.
fn stop_on_signals(door: Door) -> Checked {
    let stop = move || drop(door.send(Ask::Stop));
    ctrlc::set_handler(stop).map_err(|error| Error::Unknown(format!("no signal handler: {error}")))
}

/// Reads lines of the terminal to their end.
fn read_terminal(door: Door) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            let (sender, receiver) = channel();
            let ask = match line.trim().strip_prefix('>') {
                Some(command) => Ask::Shell(command.trim().to_owned(), sender),
                None if line.trim().is_empty() => continue,
                None => Ask::Monitor(line, sender),
            };
            if door.send(ask).is_err() {
                return;
            }
            match receiver.recv() {
                Ok(text) if text.trim().is_empty() => {}
                Ok(text) => say!("{}", text.trim_end()),
                Err(_) => return,
            }
        }
    });
}
