//! The devices that only QEMU's ACPI tables announce: found where they are announced, and not looked for elsewhere.

use super::test::Test;
use hotmap_client::error::{Checked, Error};
use hotmap_client::guest::run_to_end;
use hotmap_client::machine::{BOOTS, Boot, Machine};
use hotmap_client::qemu::Exit;
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};

/// What `dimms` says of a machine without slots.
const NO_SLOTS: &str = "this machine has no DIMM slots";

pub(super) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for boot in BOOTS {
        for (acpi, word) in [(true, "acpi"), (false, "acpi-off")] {
            for nvdimm in ["off", "on"] {
                let machine = Machine { acpi, ..Machine::by(boot) };
                let machine = machine.extra(["-machine", &format!("nvdimm={nvdimm}")]);
                let expected = if acpi && boot == Boot::Firmware { "0 of 8 slots in use" } else { NO_SLOTS };
                let name = format!("acpi/touched/{}/{word}/nvdimm-{nvdimm}", boot.name());
                tests.push(Test::new(name, move |run: &Run| nothing_aborts(run, &machine, expected)));
            }
        }
    }
    // More slots make more and longer tables, and put the NVDIMM's register far behind the slots'.
    for (slots, nvdimm) in [(1, "off"), (8, "on"), (256, "off"), (256, "on")] {
        let memory = format!("1G,slots={slots},maxmem=64G");
        let machine = Machine::firmware().extra(["-m", &memory, "-machine", &format!("nvdimm={nvdimm}")]);
        let expected = format!("0 of {slots} slots in use");
        let name = format!("acpi/slots/{slots}/nvdimm-{nvdimm}");
        tests.push(Test::new(name, move |run: &Run| nothing_aborts(run, &machine, &expected)));
    }
    let none = Machine::firmware().extra(["-m", "1G,slots=0,maxmem=1G"]);
    tests.push(Test::new("acpi/slots/0", move |run: &Run| nothing_aborts(run, &none, NO_SLOTS)));
    tests
}

/// No access to a device aborts (QEMU's own log of exceptions), nothing is refused, and `dimms` says what there is.
fn nothing_aborts(run: &Run, machine: &Machine, expected: &str) -> Checked<String> {
    let log = run.path("exceptions.log");
    let logged = log.to_str().ok_or_else(|| Error::Unknown("a path that is not UTF-8".into()))?;
    let machine = machine.clone().extra(["-d", "int", "-D", logged]).append("run=\"dimms\"");
    let finished = run_to_end(run, &machine)?;
    ensure_eq!(finished.exit, Exit::FINE, "the machine runs");
    let exceptions = std::fs::read_to_string(&log).map_err(|error| Error::Unknown(error.to_string()))?;
    ensure!(exceptions.contains("Taking exception"), "QEMU logs no exception, not even the last one");
    let aborts = exceptions.lines().filter(|line| line.contains("Abort]")).count();
    ensure_eq!(aborts, 0, "accesses to nothing");
    for refusal in ["acpi: ", "not used", "polled"] {
        ensure!(!finished.text.contains(refusal), "something is refused: {}", finished.text);
    }
    finished.line("of the slots", |line| line.contains(expected)).map(str::to_owned)
}
