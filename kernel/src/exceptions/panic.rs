//! The panic handler: one line, a backtrace, exit status 2.
#![expect(unsafe_code, reason = "reads the frame pointer; rule M1")]

use core::arch::asm;
use core::panic::PanicInfo;

use super::report;
use crate::arch::cpu;
use crate::exit::{Status, exit};
use crate::kprintln;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    report::begin_report();
    match info.location() {
        Some(at) => kprintln!("\npanic: {} at {}:{}", info.message(), at.file(), at.line()),
        None => kprintln!("\npanic: {}", info.message()),
    }
    match cpu::number() {
        0 => {}
        number => kprintln!("  on CPU {number}"),
    }
    let frame_pointer: u64;
    // SAFETY: M1; reads one register.
    unsafe { asm!("mov {}, x29", out(reg) frame_pointer, options(nomem, nostack)) };
    report::print_backtrace(&[], frame_pointer);
    exit(Status::Crashed, "panic")
}
