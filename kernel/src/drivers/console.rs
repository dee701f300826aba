//! The console: what every line goes through, from the first moment after [`init`].
//!
//! Two kinds of text. Command output ([`kprint!`](crate::kprint), [`kprintln!`](crate::kprintln)) is always printed. Log
//! lines ([`klog!`](crate::klog)) report events; [`set_quiet`] drops them while instructions are counted.
//!
//! The last log lines are kept, to be read again ([`logged`]).
//!
//! A line that is being typed stays readable: [`interject`] runs code that may print. If it prints, the open line is ended
//! first, and the caller draws it again.
//!
//! What is typed while a command runs waits in the UART. [`interrupted`] takes it into a buffer, to see whether Ctrl-C is
//! there; [`try_read_byte`] gives it out before anything that came later.
//!
//! LF stays LF. One lock guards the device, taken once for each print, so that lines of several CPUs do not mix, and a
//! handler may print ([`Lock`]); a panic takes it by force ([`seize`]).
#![expect(
    unsafe_code,
    reason = "handing the UART's address to its driver, and taking the lock in a panic; rule M4"
)]

mod log;

use core::fmt::{self, Write};
use core::sync::atomic::{AtomicBool, Ordering};

use heapless::Deque;
use lock_api::MutexGuard;

use crate::arch::word;
use crate::drivers::uart::{Model, Uart};
use crate::drivers::windows;
use crate::lock::{self, Lock, RawLock};
pub use log::Logged;

/// Prints command output.
#[macro_export]
macro_rules! kprint {
    ($($arg:tt)*) => { $crate::console::print(::core::format_args!($($arg)*)) };
}

/// Prints a line of command output.
#[macro_export]
macro_rules! kprintln {
    () => { $crate::console::print(::core::format_args!("\n")) };
    ($($arg:tt)*) => { $crate::console::print_line(::core::format_args!($($arg)*)) };
}

/// Prints a log line, unless logging is off ([`set_quiet`]).
#[macro_export]
macro_rules! klog {
    ($($arg:tt)*) => {
        if !$crate::console::is_quiet() {
            $crate::console::log_line(::core::format_args!($($arg)*));
        }
    };
}

/// Ctrl-C (ETX).
const INTERRUPT: u8 = 0x03;
/// How many typed bytes are kept while a command runs: no further ones are looked at then.
const KEPT: usize = 1024;

struct Console {
    uart: Uart,
    /// What was typed and is not read yet.
    typed: Deque<u8, KEPT>,
    /// Whether what was printed last left its line open. (False at first, so that all of the console is in .bss.)
    mid_line: bool,
    /// What to send before the next byte, because a line is open on the screen.
    line_break: Option<&'static str>,
}

static CONSOLE: Lock<Console> =
    Lock::new(Console { uart: Uart::Absent, typed: Deque::new(), mid_line: false, line_break: None });
static QUIET: AtomicBool = AtomicBool::new(false);

impl Console {
    fn try_read_byte(&mut self) -> Option<u8> {
        self.typed.pop_front().or_else(|| self.uart.try_read_byte())
    }

    fn interrupted(&mut self) -> bool {
        while !self.typed.is_full() {
            match self.uart.try_read_byte() {
                None => return false,
                Some(INTERRUPT) => return true,
                // There is room.
                Some(byte) => drop(self.typed.push_back(byte)),
            }
        }
        false
    }

    fn write_bytes(&mut self, bytes: &[u8]) {
        let Some(&last) = bytes.last() else { return };
        if let Some(line_break) = self.line_break.take() {
            self.uart.write_bytes(line_break.as_bytes());
        }
        self.uart.write_bytes(bytes);
        self.mid_line = last != b'\n';
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write_bytes(text.as_bytes());
        Ok(())
    }
}

/// The console, and the log lines that are kept.
struct Log<'a>(MutexGuard<'a, RawLock, Console>);

impl Write for Log<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write_bytes(text.as_bytes());
        log::with(|ring| ring.push(text.as_bytes()));
        Ok(())
    }
}

/// Starts printing through the UART at `base`, or, when there is a console already, moves it to `base` without
/// disturbing the device (the same UART seen through another mapping).
///
/// # Safety
/// M4: such a UART's registers are at `base`: its physical address with the MMU off, or a Device mapping of it.
pub unsafe fn init(model: Model, base: usize) {
    let mut console = CONSOLE.lock();
    // SAFETY: M4, which the caller promises; the console holds the only driver of this UART.
    let mut uart = unsafe { Uart::new(model, base) };
    if !console.uart.is_present() {
        uart.enable();
    }
    console.uart = uart;
}

/// If nothing has told yet where the console is, starts printing through QEMU virt's first UART: boot ends here, and says why
/// to that one or to none.
///
/// # Safety
/// M4: the MMU is off, unless [`init`] was called.
pub unsafe fn init_last_resort() {
    if !CONSOLE.lock().uart.is_present() {
        // SAFETY: M4, which the caller promises.
        unsafe { init(Model::Pl011, word(windows::EARLY_UART)) };
    }
}

/// Whether log lines are dropped.
pub fn is_quiet() -> bool {
    QUIET.load(Ordering::Relaxed)
}

/// Drops log lines from now on, or prints them again; whether they were dropped before. Command output is not affected.
pub fn set_quiet(quiet: bool) -> bool {
    QUIET.swap(quiet, Ordering::Relaxed)
}

/// Prints formatted text: what [`kprint!`](crate::kprint) calls.
pub fn print(text: fmt::Arguments<'_>) {
    // The UART takes every byte; only a formatter's own error can come back, and there is nowhere to report it.
    let _ = CONSOLE.lock().write_fmt(text);
}

/// Prints formatted text and a line feed: what [`kprintln!`](crate::kprintln) calls.
pub fn print_line(text: fmt::Arguments<'_>) {
    let mut console = CONSOLE.lock();
    // As in `print`.
    let _ = console.write_fmt(text);
    console.write_bytes(b"\n");
}

/// Prints a log line: what [`klog!`](crate::klog) calls.
pub fn log_line(text: fmt::Arguments<'_>) {
    #[cfg(not(target_os = "none"))]
    let _log = crate::drivers::uart::hosted::Log::begin();
    let mut log = Log(CONSOLE.lock());
    // As in `print`.
    let _ = log.write_fmt(text);
    let _ = log.write_str("\n");
}

/// Copies a log line into `line`: the one at position `from` (0: the oldest), or the oldest that is kept whole if that one is
/// not. `None` if none is left.
pub fn logged(from: usize, line: &mut [u8]) -> Option<Logged> {
    log::with(|ring| ring.read(from, line))
}

/// Sends bytes as they are.
pub fn write_bytes(bytes: &[u8]) {
    CONSOLE.lock().write_bytes(bytes);
}

/// The next byte that was typed, if there is one.
pub fn try_read_byte() -> Option<u8> {
    CONSOLE.lock().try_read_byte()
}

/// Whether Ctrl-C was typed since it was last asked. What was typed beside it stays to be read.
pub fn interrupted() -> bool {
    CONSOLE.lock().interrupted()
}

/// Lets the UART raise its interrupt for received bytes (SPI 1 on QEMU's virt), so that WFI wakes.
pub fn enable_receive_interrupt() {
    CONSOLE.lock().uart.enable_receive_interrupt();
}

/// Clears the UART's receive interrupts. Call it before reading the bytes: a byte that arrives between the two would raise no
/// interrupt otherwise.
pub fn clear_receive_interrupt() {
    CONSOLE.lock().uart.clear_receive_interrupt();
}

/// Runs `body` while a line is open on the screen. The first thing that it prints is preceded by `line_break`, and its
/// last line is completed. The second value is whether it printed, so that the line has to be drawn again.
pub fn interject<R>(line_break: &'static str, body: impl FnOnce() -> R) -> (R, bool) {
    CONSOLE.lock().line_break = Some(line_break);
    let result = body();
    let mut console = CONSOLE.lock();
    let printed = console.line_break.take().is_none();
    if printed && console.mid_line {
        console.write_bytes(b"\n");
    }
    (result, printed)
}

/// Ends the line that the last print left open, if it did.
pub fn complete_line() {
    let mut console = CONSOLE.lock();
    if console.mid_line {
        console.write_bytes(b"\n");
    }
}

/// Whether another CPU is printing.
pub fn is_held_elsewhere() -> bool {
    lock::is_held_elsewhere(&CONSOLE)
}

/// Frees the console's lock, even if a CPU holds it, so that a panic or an exception inside a print can report itself.
///
/// # Safety
/// Only for code that never returns to what held the lock.
pub unsafe fn seize() {
    // SAFETY: M7: by `# Safety` the holder does not run again.
    unsafe { lock::seize(&CONSOLE) };
}

/// The console as a [`core::fmt::Write`], for code that is generic over where it prints.
#[derive(Clone, Copy, Default, Debug)]
pub struct ConsoleWriter;

impl Write for ConsoleWriter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_bytes(text.as_bytes());
        Ok(())
    }
}
