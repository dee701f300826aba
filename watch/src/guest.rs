//! Guests to watch: one that is started for it, or one that runs.

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use hotmap_client::error::{Checked, Error};
use hotmap_client::guest::{Guest, Phase};
use hotmap_client::patience::Deadline;
use hotmap_client::qemu::{Qemu, root};
use hotmap_client::qmp::Qmp;
use hotmap_client::run::Run;

/// Starts a guest by `scripts/qemu`, with these options of it.
///
/// # Errors
/// As [`Guest::boot`].
pub fn start(run: &Run, options: &[String]) -> Checked<Guest> {
    let socket = run.path("qmp");
    let mut command = Command::new(root().join("scripts/qemu"));
    command.arg("--exec").arg("--qmp").arg(&socket).args(["--append", "script=on"]).args(options);
    let mut qemu = Qemu::spawn(&mut command)?;
    match Qmp::connect(&socket, Deadline::for_step(), || qemu.ended().is_some()) {
        Ok(qmp) => Guest::over(qemu, qmp, Phase::Booting, "watch", &run.journal),
        Err(error) => {
            qemu.kill();
            let said = qemu.complaints.text();
            Err(error.during(&format!("QEMU did not start: {}", said.trim())))
        }
    }
}

/// Attaches to a guest that waits for a command, with `script=on`. Dropping it leaves it alone.
///
/// # Errors
/// Unknown when a socket does not answer.
pub fn attach(run: &Run, serial: &Path, qmp: &Path) -> Checked<Guest> {
    let torn = |error: std::io::Error| Error::Unknown(format!("{}: {error}", serial.display()));
    let line = UnixStream::connect(serial).map_err(torn)?;
    let qemu = Qemu::attach(line.try_clone().map_err(torn)?, line);
    let qmp = Qmp::connect(qmp, Deadline::for_step(), || false)?;
    Guest::over(qemu, qmp, Phase::Waiting, "watch", &run.journal)
}
