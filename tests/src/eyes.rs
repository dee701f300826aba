//! What QEMU itself sees: an oracle that is independent of what the guest prints.
//!
//! `gva2gpa` walks the guest's own translation tables with QEMU's walker, from the registers of the CPU; `xp` reads
//! physical memory. Both exist only as commands of the human monitor (QEMU `hmp-commands.hx`).

use hotmap_client::error::{Checked, Error, unknown};
use hotmap_client::qmp::Qmp;

/// Translates virtual address `address` by the guest's current tables; `None` if it is not mapped.
///
/// # Errors
/// Unknown when QEMU's answer cannot be read.
pub fn translate(qmp: &mut Qmp, address: u64) -> Checked<Option<u64>> {
    let answer = qmp.monitor(&format!("gva2gpa {address:#x}"))?;
    parse_gva2gpa(&answer).ok_or_else(|| Error::Unknown(format!("gva2gpa answered {answer:?}")))
}

/// `count` 8-byte words of physical memory at `address`.
///
/// # Errors
/// Unknown when QEMU's answer cannot be read or has fewer words (no memory there).
pub fn words(qmp: &mut Qmp, address: u64, count: usize) -> Checked<Vec<u64>> {
    let answer = qmp.monitor(&format!("xp /{count}gx {address:#x}"))?;
    match parse_words(&answer) {
        Some(words) if words.len() == count => Ok(words),
        _ => unknown(format!("xp answered {answer:?}")),
    }
}

/// The memory region names that `info mtree -f` shows at a physical address range's start.
///
/// # Errors
/// Unknown when the monitor does not answer.
pub fn region_at(qmp: &mut Qmp, address: u64) -> Checked<Option<String>> {
    Ok(parse_mtree(&qmp.monitor("info mtree -f")?, address))
}

/// `Some(None)`: QEMU says that the address is unmapped. `None`: the answer cannot be read.
pub fn parse_gva2gpa(answer: &str) -> Option<Option<u64>> {
    match answer.trim() {
        "Unmapped" => Some(None),
        line => hex(line.strip_prefix("gpa: ")?).map(Some),
    }
}

/// `0000000080000000: 0x0000000000000001 0x...`, any number of lines.
pub fn parse_words(answer: &str) -> Option<Vec<u64>> {
    let mut words = Vec::new();
    for line in answer.lines().filter(|line| !line.trim().is_empty()) {
        let (_, values) = line.split_once(": ")?;
        for value in values.split_whitespace() {
            words.push(hex(value)?);
        }
    }
    Some(words)
}

/// `  0000000080000000-00000000bfffffff (prio 0, ram): mem0`: the region of system memory that holds `address`.
fn parse_mtree(answer: &str, address: u64) -> Option<String> {
    let memory = answer.split("FlatView #").find(|view| view.contains("AS \"memory\""))?;
    memory.lines().find_map(|line| {
        let (range, rest) = line.trim().split_once(' ')?;
        let (start, end) = range.split_once('-')?;
        let start = u64::from_str_radix(start, 16).ok()?;
        let end = u64::from_str_radix(end, 16).ok()?;
        let (_, name) = rest.split_once("): ")?;
        (start..=end).contains(&address).then(|| name.trim().to_owned())
    })
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text.trim().strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::{parse_gva2gpa, parse_mtree, parse_words};

    #[test]
    fn a_translation_is_an_address_or_unmapped_and_nothing_else() {
        assert_eq!(parse_gva2gpa("gpa: 0x80200000\n"), Some(Some(0x8020_0000)));
        assert_eq!(parse_gva2gpa("Unmapped\n"), Some(None));
        assert_eq!(parse_gva2gpa("No CPU available\n"), None);
        assert_eq!(parse_gva2gpa(""), None);
    }

    #[test]
    fn words_come_two_to_a_line() {
        let answer =
            "0000000080000000: 0x0000000000000001 0xa5a5a5a5a5a5a5a5\n0000000080000010: 0x0000000000000003\n";
        assert_eq!(parse_words(answer), Some(vec![1, 0xa5a5_a5a5_a5a5_a5a5, 3]));
        assert_eq!(parse_words("0000000080000000: Cannot access memory\n"), None);
    }

    #[test]
    fn the_region_that_holds_an_address_in_the_memory_view() {
        let answer = "FlatView #0\n AS \"I/O\", root: io\n Root memory region: io\n  0000000000000000-000000000000ffff (prio 0, i/o): io\n\n\
                      FlatView #1\n AS \"memory\", root: system\n AS \"cpu-memory-0\", root: system\n Root memory region: system\n  \
                      0000000040000000-000000007fffffff (prio 0, ram): mach-virt.ram\n  0000000080000000-00000000bfffffff (prio 0, ram): m0\n";
        assert_eq!(parse_mtree(answer, 0x4000_0000).as_deref(), Some("mach-virt.ram"));
        assert_eq!(parse_mtree(answer, 0xbfff_ffff).as_deref(), Some("m0"));
        assert_eq!(parse_mtree(answer, 0xc000_0000), None);
    }
}
