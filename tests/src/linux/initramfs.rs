//! The files that each kernel boots with: busybox, a shell that takes lines from the console, and a first program that marks
//! the end of the boot.

use super::kernels::{Kernel, Kernels};
use cpio::newc::{Builder, trailer};
use hotmap_client::error::{Checked, Error};
use std::io;
use std::path::Path;

/// What runs after the mark. Replies are framed as hotmap frames them with `script=on` (hotmap_client::frame).
const SHELL: &str = r#"#!/bin/sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
stty -echo -icrnl
for file in /*.ko.xz; do [ ! -e $file ] || unxz $file; done
# The kernel's messages would stand in the middle of a reply.
echo 4 > /proc/sys/kernel/printk
echo
echo "ready 1"
n=0
while read -r line; do
    n=$((n + 1))
    echo "begin $n"
    eval "$line" 2>&1
    echo "end $n $?"
done
poweroff -f
"#;

/// Where the first program is loaded.
const BASE: u64 = 0x40_0000;
/// ELF64 header and one program header.
const HEADERS: u64 = 64 + 56;
/// Its instructions.
const CODE: u64 = 8 * 4;

/// A static arm64 program: it executes the counter's mark (`hint #112`), then becomes `/bin/sh /shell`.
pub fn init() -> Vec<u8> {
    let (code, strings) = (BASE + HEADERS, BASE + HEADERS + CODE);
    let arguments = strings + 16;
    let adr = |register: u32, at: u64, to: u64| {
        let words = u32::try_from((to - at) / 4).unwrap_or(0);
        0x1000_0000 | words << 5 | register
    };
    let words = [
        0xd503_2e1f,                 // hint #112
        adr(0, code + 4, strings),   // x0: the program
        adr(1, code + 8, arguments), // x1: its arguments
        0xd280_0002,                 // mov x2, #0: no environment
        0xd280_0000 | 221 << 5 | 8,  // mov x8, #221: execve (asm-generic/unistd.h)
        0xd400_0001,                 // svc #0
        0xd420_0000,                 // brk #0: there is no shell
        0xd503_201f,                 // nop
    ];
    let mut program = headers(code, arguments + 24 - BASE);
    program.extend(words.iter().flat_map(|word: &u32| word.to_le_bytes()));
    program.extend(b"/bin/sh\0/shell\0\0");
    program.extend([strings, strings + 8, 0].iter().flat_map(|word| word.to_le_bytes()));
    program
}

fn headers(entry: u64, size: u64) -> Vec<u8> {
    let mut headers = Vec::new();
    headers.extend(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0");
    let half = |value: u16| value.to_le_bytes();
    headers.extend([half(2), half(183)].concat()); // ET_EXEC, EM_AARCH64
    headers.extend(1_u32.to_le_bytes());
    headers.extend([entry, 64, 0].iter().flat_map(|word: &u64| word.to_le_bytes()));
    headers.extend(0_u32.to_le_bytes());
    headers.extend([half(64), half(56), half(1), half(64), half(0), half(0)].concat());
    headers.extend([1_u32, 5].iter().flat_map(|word| word.to_le_bytes())); // PT_LOAD, readable and executable
    headers.extend([0, BASE, BASE, size, size, 0x1_0000].iter().flat_map(|word: &u64| word.to_le_bytes()));
    headers
}

/// Writes the archive for a kernel to `path`, with those of `drivers` that it has.
///
/// # Errors
/// Unknown when a file cannot be read or written.
pub fn write(kernels: &Kernels, kernel: &Kernel, drivers: &[&str], path: &Path) -> Checked {
    pack(kernels, kernel, drivers, path)
        .map_err(|error| Error::Unknown(format!("{}: {error}", path.display())))
}

fn pack(kernels: &Kernels, kernel: &Kernel, drivers: &[&str], path: &Path) -> io::Result<()> {
    let mut archive = std::fs::File::create(path)?;
    let mut number = 0;
    let mut add = |name: &str, mode: u32, content: &[u8]| {
        number += 1;
        let size = u32::try_from(content.len()).map_err(io::Error::other)?;
        let entry = Builder::new(name).ino(number).mode(mode);
        // The console: a character device, 5:1.
        let entry = if name == "dev/console" { entry.rdev_major(5).rdev_minor(1) } else { entry };
        let mut writer = entry.write(&mut archive, size);
        io::Write::write_all(&mut writer, content)?;
        writer.finish().map(drop)
    };
    for folder in ["bin", "proc", "sys", "dev", "mnt"] {
        add(folder, 0o040_755, &[])?;
    }
    add("dev/console", 0o020_600, &[])?;
    add("init", 0o100_755, &init())?;
    add("shell", 0o100_755, SHELL.as_bytes())?;
    add("bin/busybox", 0o100_755, &std::fs::read(&kernels.busybox)?)?;
    add("bin/sh", 0o120_777, b"busybox")?;
    for (name, file) in drivers.iter().filter_map(|name| Some((name, kernel.driver(name)?))) {
        add(&format!("{name}.ko.xz"), 0o100_644, &std::fs::read(file)?)?;
    }
    trailer(archive).map(drop)
}

#[cfg(test)]
mod tests {
    use super::{BASE, init};

    #[test]
    fn the_first_program_marks_and_then_executes_the_shell() {
        let program = init();
        let word = |at: usize| u32::from_le_bytes(program[at..at + 4].try_into().expect("four bytes"));
        assert_eq!(word(120), 0xd503_2e1f, "the entry is the mark");
        // adr x0 at 124, adr x1 at 128: the immediate's upper bits are words.
        assert_eq!(124 + 4 * (word(124) >> 5 & 0x7_ffff), 152);
        assert_eq!(128 + 4 * (word(128) >> 5 & 0x7_ffff), 168);
        assert_eq!(&program[152..168], b"/bin/sh\0/shell\0\0");
        let argument = u64::from_le_bytes(program[176..184].try_into().expect("eight bytes"));
        assert_eq!(&program[usize::try_from(argument - BASE).expect("small")..][..6], b"/shell");
        assert_eq!(program.len(), 192);
    }
}
