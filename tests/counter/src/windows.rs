//! When counts are written down: at hotmap's marks, and for calls of a function of Linux's.
//!
//! QEMU before 9 tells a plugin no register, so a return cannot be recognised by its address alone. A window therefore names
//! the code that makes the call. There, each BL and BLR notes where it returns to:
//!
//! ```text
//!  FROM   process_one_work:  ...
//!                            blr  x1   ->  ENTRY  acpi_hotplug_work_fn: ...     the window is open from here
//!                            next      <-         ret                           to here
//!  TO                        ...
//! ```
//! Several threads may be in FROM..TO at once; a return is that of the last call that was noted with its address.

use std::fs::File;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use crate::counts::{COUNTS, Snapshot};
use crate::opcode::Class;

/// `hint #112`: a NOP on every CPU (Arm ARM, "HINT": unallocated), which hotmap's meter executes.
const MARK: u32 = 0xd503_2e1f;

/// What the command line asks for.
pub(crate) struct Windows {
    functions: Vec<Function>,
    state: Mutex<State>,
}

/// A function whose calls are counted: `NAME:ENTRY:FROM:TO`.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Function {
    name: String,
    entry: u64,
    from: u64,
    to: u64,
}

/// What changes while the guest runs.
struct State {
    out: File,
    marks: u64,
    calls: Vec<Calls>,
}

/// The calls that one [`Function`]'s caller has made and that have not returned.
#[derive(Default)]
struct Calls {
    returns: Vec<u64>,
    /// How many of them there were when the function was entered, and the counts then.
    open: Option<(usize, Snapshot)>,
}

/// What happens at an instruction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Mark,
    Return,
    Enter,
    Call,
}

/// A place in a block where something happens, in the size of a pointer: QEMU hands it back at each execution.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Site {
    pub(crate) kind: Kind,
    /// Which function's.
    pub(crate) function: usize,
    /// How many instructions of the block follow, this one included; QEMU's blocks have at most 512 (TCG_MAX_INSNS).
    pub(crate) rest: usize,
    /// The instruction's address, less that of the function's caller, in instructions.
    pub(crate) place: usize,
}

impl Site {
    /// Kind in bits 1:0, function in 7:2, rest in 19:8, place above.
    pub(crate) fn encode(self) -> usize {
        self.kind as usize | self.function << 2 | self.rest << 8 | self.place << 20
    }

    pub(crate) fn decode(value: usize) -> Self {
        let kind = [Kind::Mark, Kind::Return, Kind::Enter, Kind::Call][value & 3];
        Self { kind, function: value >> 2 & 0x3f, rest: value >> 8 & 0xfff, place: value >> 20 }
    }
}

/// The most functions that [`Site`] has room for.
const MOST_FUNCTIONS: usize = 64;
/// The most bytes of a caller that it has room for.
const MOST_BYTES: u64 = 1 << 24;

impl Windows {
    /// What `arguments` ask for: `out=FILE`, `window=NAME:ENTRY:FROM:TO` with addresses in hexadecimal.
    pub(crate) fn read(arguments: &[String]) -> Result<Self, String> {
        let (mut out, mut functions) = (None, Vec::new());
        for argument in arguments {
            match argument.split_once('=') {
                Some(("out", path)) => {
                    out = Some(File::create(path).map_err(|error| format!("out={path}: {error}"))?);
                }
                Some(("window", text)) => functions.push(Function::read(text)?),
                _ => return Err(format!("{argument}: expected out=FILE or window=NAME:ENTRY:FROM:TO")),
            }
        }
        if functions.len() > MOST_FUNCTIONS {
            return Err(format!(
                "window=: {} of them, and at most {MOST_FUNCTIONS} are possible",
                functions.len()
            ));
        }
        let out = out.ok_or("out=FILE is missing")?;
        let calls = functions.iter().map(|_| Calls::default()).collect();
        Ok(Self { functions, state: Mutex::new(State { out, marks: 0, calls }) })
    }

    /// What happens at the instruction `word` at `address`, in this order, with `rest` instructions of its block to go.
    pub(crate) fn sites(&self, address: u64, word: u32, before: Option<u32>, rest: usize) -> Vec<Site> {
        let mut sites = Vec::new();
        for (function, it) in self.functions.iter().enumerate() {
            let inside = it.from <= address && address < it.to;
            let place = if inside { usize::try_from((address - it.from) / 4).unwrap_or(0) } else { 0 };
            let mut push = |kind| sites.push(Site { kind, function, rest, place });
            // The first instruction of a block may follow a call: whether it does is seen when it is reached.
            if inside && before.is_none_or(Class::is_call) {
                push(Kind::Return);
            }
            if address == it.entry {
                push(Kind::Enter);
            }
            if inside && Class::is_call(word) {
                push(Kind::Call);
            }
        }
        if word == MARK {
            sites.push(Site { kind: Kind::Mark, function: 0, rest, place: 0 });
        }
        sites
    }

    /// The guest has come to `site`.
    pub(crate) fn reach(&self, site: Site) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = COUNTS.now(site.rest as u64);
        let Some(line) = state.reach(site, &now, &self.functions) else { return };
        // The reader of the file notices a line that is missing.
        let _ = writeln!(state.out, "{line}");
    }
}

impl State {
    /// The line to write down, if there is one.
    fn reach(&mut self, site: Site, now: &Snapshot, functions: &[Function]) -> Option<String> {
        if site.kind == Kind::Mark {
            self.marks += 1;
            return Some(format!("mark {} {now}", self.marks));
        }
        let function = functions.get(site.function)?;
        let address = function.from + 4 * site.place as u64;
        let took = self.calls.get_mut(site.function)?.reach(site.kind, address, now)?;
        Some(format!("window {} {took}", function.name))
    }
}

impl Calls {
    /// What the call cost that ends here.
    fn reach(&mut self, kind: Kind, address: u64, now: &Snapshot) -> Option<Snapshot> {
        match kind {
            Kind::Call => self.returns.push(address + 4),
            Kind::Enter if self.open.is_none() && !self.returns.is_empty() => {
                self.open = Some((self.returns.len(), *now));
            }
            Kind::Return => {
                let at = self.returns.iter().rposition(|to| *to == address)?;
                self.returns.remove(at);
                match &mut self.open {
                    Some((depth, start)) if at + 1 == *depth => {
                        let took = now.since(start);
                        self.open = None;
                        return Some(took);
                    }
                    // An older call of another thread: those above move down.
                    Some((depth, _)) if at + 1 < *depth => *depth -= 1,
                    _ => {}
                }
            }
            _ => {}
        }
        None
    }
}

impl Function {
    fn read(text: &str) -> Result<Self, String> {
        let why = || format!("window={text}: expected NAME:ENTRY:FROM:TO, with addresses in hexadecimal");
        let [name, addresses @ ..] = &text.split(':').collect::<Vec<_>>()[..] else { return Err(why()) };
        let addresses: Vec<u64> = addresses
            .iter()
            .map(|text| u64::from_str_radix(text.trim_start_matches("0x"), 16))
            .collect::<Result<_, _>>()
            .map_err(|_| why())?;
        let [entry, from, to] = addresses[..] else { return Err(why()) };
        if from >= to || to - from > MOST_BYTES {
            return Err(format!(
                "window={text}: the caller has {MOST_BYTES} bytes at most, and at least one"
            ));
        }
        Ok(Self { name: (*name).to_owned(), entry, from, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(instructions: u64) -> Snapshot {
        Snapshot { instructions, ..Snapshot::default() }
    }

    #[test]
    fn a_window_lasts_from_the_entry_to_the_return_of_its_call() {
        let mut calls = Calls::default();
        assert_eq!(calls.reach(Kind::Enter, 0, &at(1)), None, "a call from elsewhere is not counted");
        assert_eq!(calls.reach(Kind::Return, 0x104, &at(2)), None);
        calls.reach(Kind::Call, 0x100, &at(10));
        calls.reach(Kind::Enter, 0, &at(20));
        // Another thread calls from the same place, and from another one, while the first one sleeps.
        calls.reach(Kind::Call, 0x200, &at(30));
        assert_eq!(calls.reach(Kind::Return, 0x204, &at(40)), None);
        assert_eq!(calls.reach(Kind::Return, 0x300, &at(50)), None, "nothing was called there");
        assert_eq!(calls.reach(Kind::Return, 0x104, &at(65)), Some(at(45)));
        assert_eq!(calls.reach(Kind::Return, 0x104, &at(70)), None);
    }

    #[test]
    fn an_older_call_of_another_thread_may_return_first() {
        let mut calls = Calls::default();
        calls.reach(Kind::Call, 0x200, &at(5));
        calls.reach(Kind::Call, 0x100, &at(10));
        calls.reach(Kind::Enter, 0, &at(20));
        assert_eq!(calls.reach(Kind::Return, 0x204, &at(30)), None);
        assert_eq!(calls.reach(Kind::Return, 0x104, &at(65)), Some(at(45)));
    }

    #[test]
    fn a_site_survives_the_size_of_a_pointer() {
        for kind in [Kind::Mark, Kind::Return, Kind::Enter, Kind::Call] {
            let site = Site { kind, function: 63, rest: 512, place: (1 << 22) - 1 };
            assert_eq!(Site::decode(site.encode()), site);
        }
    }

    #[test]
    fn arguments_that_cannot_be_meant_are_refused() {
        let read = |text: &str| Windows::read(&[text.to_owned()]).err().unwrap_or_default();
        assert!(read("outt=x").contains("outt=x: expected out=FILE"));
        assert!(read("window=a:1:2").contains("NAME:ENTRY:FROM:TO"));
        assert!(read("window=a:1:zz:3").contains("hexadecimal"));
        assert!(read("window=a:1:8:8").contains("at least one"));
        assert!(read("window=a:1:8:ffff8000").contains("at most"));
        assert_eq!(Windows::read(&[]).err().unwrap_or_default(), "out=FILE is missing");
        let name = |text: &str| Function::read(text).map(|it| (it.name, it.entry, it.from, it.to));
        assert_eq!(name("f:0xffff800080000000:10:20"), Ok(("f".into(), 0xffff_8000_8000_0000, 0x10, 0x20)));
    }
}
