//! Cache maintenance of what is written with the MMU off, by a log of the registers before each instruction.
//!
//! A store with the MMU off goes past the caches. A dirty line of before would overwrite it when it is evicted, and a clean
//! line would be read in its place once the caches are on. So each line is cleaned and invalidated before its first such
//! store, unless the boot protocol promises it, and again after its last one (Arm ARM, "The data cache maintenance
//! instruction").

use super::log::{hex, instruction};
use super::store::{Registers, target};
use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, Result};

/// QEMU's options for such a log, besides `-D FILE` and one instruction for each block.
pub const OPTIONS: [&str; 4] = ["-d", "in_asm,exec,cpu,nochain", "-dfilter", "0x0..0x7fffffff"];
/// Bytes of a line, as QEMU's CPUs have them.
const LINE: u64 = 64;
/// Boot RAM, of 1 GiB: devices and flash are elsewhere.
const RAM: core::ops::Range<u64> = 0x4000_0000..0x8000_0000;

/// The lines that are not treated as they should be when the MMU of the boot CPU goes on, by their addresses.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Stored to, without having been cleaned before.
    pub not_before: BTreeSet<u64>,
    /// Not invalidated since they were stored to.
    pub not_after: BTreeSet<u64>,
    /// All that were stored to.
    pub stored: BTreeSet<u64>,
    /// The MMU went on.
    pub switched: bool,
}

/// Reads a log up to the switch, and the rest to its end.
///
/// # Errors
/// Those of the reader.
pub fn read(mut log: impl BufRead) -> Result<Lines> {
    let mut reader = Reader::default();
    let mut line = String::new();
    while log.read_line(&mut line)? > 0 {
        reader.line(&line);
        line.clear();
    }
    Ok(reader.lines)
}

#[derive(Default)]
struct Reader {
    code: HashMap<u64, u32>,
    /// The registers before an instruction, as QEMU writes them. A log has millions of them, and few are looked at.
    state: String,
    cleaned: BTreeSet<u64>,
    lines: Lines,
}

impl Reader {
    fn line(&mut self, line: &str) {
        if self.lines.switched {
            return;
        }
        if line.starts_with("PSTATE=") {
            self.execute();
        } else if line.starts_with("0x") {
            self.code.extend(instruction(line));
        } else {
            if line.starts_with(" PC=") {
                self.state.clear();
            }
            self.state.push_str(line);
        }
    }

    /// A register by its name in the log: `PC`, `SP`, `X00`. One that it does not have is 0.
    fn register(&self, name: &str) -> u64 {
        let value = self.state.split_once(name).and_then(|(_, rest)| rest.strip_prefix('=')?.get(..16));
        value.and_then(hex).unwrap_or_default()
    }

    /// `X00` to `X30`; of register 31 it is the zero register.
    fn operand(&self, word: u32) -> u64 {
        self.register(&format!("X{:02}", word & 31))
    }

    fn execute(&mut self) {
        let word = self.code.get(&self.register("PC")).copied().unwrap_or_default();
        match word & !31 {
            // DC CIVAC, DC IVAC.
            0xd50b_7e20 | 0xd508_7620 => {
                let line = self.operand(word) & !(LINE - 1);
                self.cleaned.insert(line);
                self.lines.not_after.remove(&line);
            }
            // MSR SCTLR_EL1, which has M in bit 0.
            0xd518_1000 => self.lines.switched = self.operand(word) & 1 == 1,
            _ if target(word, &[0; 32]).is_some() => self.store(word),
            _ => {}
        }
    }

    fn registers(&self) -> Registers {
        std::array::from_fn(|number| match number {
            31 => self.register("SP"),
            _ => self.register(&format!("X{number:02}")),
        })
    }

    fn store(&mut self, word: u32) {
        let Some((start, bytes)) = target(word, &self.registers()).filter(|(start, _)| RAM.contains(start))
        else {
            return;
        };
        let (mut line, end) = (start & !(LINE - 1), start + bytes);
        while line < end {
            if !self.cleaned.contains(&line) {
                self.lines.not_before.insert(line);
            }
            self.lines.not_after.insert(line);
            self.lines.stored.insert(line);
            line += LINE;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    /// Line 0x40001000 is cleaned before and after, 0x40002000 before only, 0x40003000 after only.
    #[test]
    fn lines_are_told_apart() {
        let (store, clean, switch) = ("b9000020", "d50b7e21", "d5181001");
        let steps = [
            (clean, 0x4000_1000),
            (clean, 0x4000_2038),
            (store, 0x4000_1004_u64),
            (store, 0x4000_2004),
            (store, 0x4000_3004),
            (store, 0x0900_0000),
            (clean, 0x4000_1000),
            (clean, 0x4000_3000),
            (switch, 1),
            (store, 0x4000_5000),
        ];
        let (zero, mut log) = ("0".repeat(16), String::new());
        for (at, (word, x1)) in steps.into_iter().enumerate() {
            log += &format!(
                "0x{at:08x}:  {word}  x\n\nTrace 0: 0x7f [0/{at:x}/0/0]\n PC={at:016x} X00={zero} X01={x1:016x}\n SP={zero}\nPSTATE=0\n"
            );
        }
        let lines = read(log.as_bytes()).expect("a log");
        assert_eq!(lines.not_before, [0x4000_3000].into());
        assert_eq!(lines.not_after, [0x4000_2000].into());
        assert_eq!((lines.stored.len(), lines.switched), (3, true));
    }
}
