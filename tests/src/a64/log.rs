//! QEMU's log of a run, one instruction at a time: which instructions ran with the MMU off, and which reached a device.
//!
//! ```text
//!  0x0000000040403ec8:  b9003909  str  w9, [x8, #0x38]                    in_asm: an instruction, when it is first met
//!  Trace 0: 0x7f.. [../0000000040403ec8/00000121/ff000201]                exec: CPU 0 is about to execute it
//!  memory_region_ops_write cpu 0 mr 0x.. addr 0x9000038 .. name 'pl011'   its access reaches a device
//! ```

use super::{has_syndrome, needs_normal_memory};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{BufRead, Result};

/// QEMU's options for such a log, besides `-D FILE` and one instruction for each block.
pub const OPTIONS: [&str; 2] =
    ["-d", "in_asm,exec,nochain,trace:memory_region_ops_read,trace:memory_region_ops_write"];

/// The kernel's virtual addresses have the upper bits set. The MMU is off below them, but for the last instructions of the
/// switch.
const UPPER_HALF: u64 = 1 << 63;

/// What a run executed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Executed {
    /// Instructions with the MMU off that need Normal memory: address, word and why.
    pub needing_normal_memory: BTreeSet<String>,
    /// Accesses to a device that a hypervisor could not emulate: address, word and the device.
    pub without_syndrome: BTreeSet<String>,
    /// Instructions that were executed with the MMU off.
    pub with_mmu_off: usize,
    /// Exclusives and the like that were executed with the MMU on.
    pub exclusives_with_mmu_on: usize,
    /// Accesses by device, as QEMU names it.
    pub devices: BTreeMap<String, usize>,
}

/// Reads a log.
///
/// # Errors
/// Those of the reader.
pub fn read(log: impl BufRead) -> Result<Executed> {
    let mut reader = Reader::default();
    for line in log.lines() {
        reader.line(&line?);
    }
    Ok(reader.executed)
}

#[derive(Default)]
struct Reader {
    /// The instruction at each address.
    code: HashMap<u64, u32>,
    /// Where each CPU is.
    at: HashMap<String, u64>,
    executed: Executed,
}

impl Reader {
    fn line(&mut self, line: &str) {
        if let Some(rest) = line.strip_prefix("Trace ") {
            self.execute(rest);
        } else if line.starts_with("memory_region_ops_") {
            self.access(line);
        } else if let Some((address, word)) = instruction(line) {
            self.code.insert(address, word);
        }
    }

    /// `0: 0x7f.. [cs_base/pc/flags/cflags]`.
    fn execute(&mut self, line: &str) {
        let pc = line.split_once('[').and_then(|(_, block)| block.split('/').nth(1));
        let (Some((cpu, _)), Some(pc)) = (line.split_once(':'), pc.and_then(hex)) else { return };
        self.at.insert(cpu.to_owned(), pc);
        // A word that the log does not have is told by the counts.
        let word = self.code.get(&pc).copied().unwrap_or_default();
        let reason = needs_normal_memory(word);
        if pc >= UPPER_HALF {
            self.executed.exclusives_with_mmu_on += usize::from(reason.is_some());
            return;
        }
        self.executed.with_mmu_off += usize::from(word != 0);
        if let Some(reason) = reason {
            self.executed.needing_normal_memory.insert(format!("{pc:#x}: {word:08x}, {reason}"));
        }
    }

    /// `memory_region_ops_read cpu 0 mr 0x.. addr 0x.. value 0x.. size 4 name 'pl011'`.
    fn access(&mut self, line: &str) {
        let cpu = line.split(' ').nth(2).unwrap_or_default();
        // QEMU itself, by QMP: "cpu -1".
        let Some(pc) = self.at.get(cpu) else { return };
        let device = line.rsplit('\'').nth(1).unwrap_or("a device without a name");
        *self.executed.devices.entry(device.to_owned()).or_default() += 1;
        let word = self.code.get(pc).copied().unwrap_or_default();
        if !has_syndrome(word) {
            self.executed.without_syndrome.insert(format!("{pc:#x}: {word:08x}, {device}"));
        }
    }
}

/// `0xADDRESS:  WORD  mnemonic`.
pub(super) fn instruction(line: &str) -> Option<(u64, u32)> {
    let (address, rest) = line.strip_prefix("0x")?.split_once(':')?;
    let word = rest.split_whitespace().next().filter(|word| word.len() == 8)?;
    Some((hex(address)?, u32::from_str_radix(word, 16).ok()?))
}

pub(super) fn hex(digits: &str) -> Option<u64> {
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::{Executed, read};

    /// A store with write-back to the UART and an exclusive with the MMU off, a plain store and another exclusive with the MMU
    /// on; the second CPU is at another instruction.
    const LOG: &str = "\
----------------
IN: 
0x0000000040403ec8:  b8004420  str      w0, [x1], #4
0x0000000040403ecc:  c85ffc20  ldaxr    x0, [x1]

Trace 0: 0x7f0d28018cc0 [0000000000104004/0000000040403ec8/00000121/ff000201] 
Trace 1: 0x7f0d28018cc0 [00104004/ffff800080000000/00000121/ff000201] 
memory_region_ops_write cpu 0 mr 0x55af4a4afc30 addr 0x9000038 value 0x0 size 4 name 'pl011'
Trace 0: 0x7f0d28018e00 [0000000000104004/0000000040403ecc/00000121/ff000201] hotmap_x
0xffff800080000000:  c85ffc20  ldaxr    x0, [x1]
0xffff800080000004:  b9400020  ldr      w0, [x1]
Trace 1: 0x7f0d28018cc0 [00104004/ffff800080000000/00000121/ff000201] 
Trace 1: 0x7f0d28018cc0 [00104004/ffff800080000004/00000121/ff000201] 
memory_region_ops_read cpu 1 mr 0x55af4a4afc30 addr 0x9000038 value 0x0 size 4 name 'pl011'
memory_region_ops_read cpu -1 mr 0x55af4a4afc30 addr 0x9000038 value 0x0 size 4 name 'pl011'
";

    #[test]
    fn each_offence_is_found_with_its_address() {
        let expected = Executed {
            needing_normal_memory: ["0x40403ecc: c85ffc20, an exclusive or a compare and swap".to_owned()]
                .into(),
            without_syndrome: ["0x40403ec8: b8004420, pl011".to_owned()].into(),
            with_mmu_off: 2,
            exclusives_with_mmu_on: 1,
            devices: [("pl011".to_owned(), 2)].into(),
        };
        assert_eq!(read(LOG.as_bytes()).expect("a log"), expected);
    }

    #[test]
    fn a_word_that_the_log_lacks_is_an_access_without_a_syndrome() {
        let log: String =
            LOG.lines().filter(|line| !line.starts_with("0x")).map(|line| format!("{line}\n")).collect();
        let executed = read(log.as_bytes()).expect("a log");
        assert_eq!((executed.with_mmu_off, executed.without_syndrome.len()), (0, 2));
    }
}
