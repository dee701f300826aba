//! Where commands come from: the prompt, a program (`script=on`), or the boot argument `run=`. Device events are handled
//! between them.

use crate::arch::counter;
use crate::boot_info::BootInfo;
use crate::console::{self, ConsoleWriter};
use crate::exit::{Status, exit};
use crate::kernel::{Kernel, Shell};
use crate::line::{self, Event, Line, LineReader, Mode, ScriptReader, Terminal};
use crate::{kprintln, script, takeover};

/// The first function after boot: takes commands until the run ends.
pub fn kernel_main(info: &'static mut BootInfo, shell: Shell) -> ! {
    let kernel = &mut takeover::take_over(info);
    let args = &kernel.info.args;
    if args.script {
        script::turn_on();
    }
    match &args.run {
        Some(commands) => run_and_exit(kernel, commands, shell),
        None if args.script => serve(kernel, shell),
        None => interact(kernel, args.dumb, shell),
    }
}

/// The commands of `run=`, each in a frame of its own.
fn run_and_exit(kernel: &mut Kernel, commands: &str, shell: Shell) -> ! {
    let (mut all, mut failed) = (0, 0);
    for command in line::commands(commands) {
        kernel.service();
        all += 1;
        script::begin();
        if !(shell.run)(kernel, command) {
            failed += 1;
            kernel.status = Status::Failed;
            script::fail();
        }
        script::end();
    }
    match failed {
        0 => exit(kernel.status, format_args!("{all} of {all} commands of run= succeeded")),
        _ => exit(kernel.status, format_args!("{failed} of {all} commands of run= failed")),
    }
}

/// A program's lines, each in a frame.
fn serve(kernel: &mut Kernel, shell: Shell) -> ! {
    let mut reader = ScriptReader::new();
    loop {
        kernel.service();
        match console::try_read_byte().map(|byte| reader.push(byte)) {
            None => idle(kernel),
            Some(None) => {}
            Some(Some(line)) => {
                script::begin();
                run_line(kernel, &line, shell);
                script::end();
            }
        }
    }
}

fn run_line(kernel: &mut Kernel, line: &Line, shell: Shell) {
    match line {
        Line::Text(text) => {
            for command in line::commands(text) {
                if !(shell.run)(kernel, command) {
                    script::fail();
                }
            }
        }
        fault => {
            kprintln!("error: {fault}");
            script::fail();
        }
    }
}

/// Waits for the next event, or until a virtio memory device is to be tried again.
fn idle(kernel: &mut Kernel) {
    kernel.platform.wait(kernel.vmems.next_retry());
}

/// Whether a line is being typed.
#[derive(Default)]
struct Typing {
    /// When the last byte of the open line came, as [`counter::ticks`].
    last: Option<u64>,
}

impl Typing {
    /// The time without a byte after which a line counts as abandoned: one second divided by this.
    const PATIENCE: u64 = 4;

    fn note(&mut self, byte: Option<u8>) {
        match byte {
            Some(b'\r' | b'\n') => self.last = None,
            Some(_) => self.last = Some(counter::ticks()),
            None => {}
        }
    }

    fn goes_on(&self) -> bool {
        let patience = counter::ticks_per_second() / Self::PATIENCE;
        self.last.is_some_and(|last| counter::ticks().wrapping_sub(last) < patience)
    }
}

/// A person's lines, or those of a script that reads what a person sees.
fn interact(kernel: &mut Kernel, dumb: bool, shell: Shell) -> ! {
    let terminal = Terminal::new(ConsoleWriter);
    let mode = if dumb { Mode::Dumb } else { Mode::Ansi };
    let mut reader = LineReader::new(mode, &terminal);
    reader.prompt();
    let mut typing = Typing::default();
    loop {
        // A script sends a line in one piece: events wait for its end, so that nothing is printed between a command and its
        // reply.
        if dumb && typing.goes_on() {
            core::hint::spin_loop();
        } else {
            let ((), printed) = console::interject(reader.line_break(), || kernel.service());
            if printed {
                reader.redraw();
            }
        }
        let byte = console::try_read_byte();
        typing.note(byte);
        match byte.map(|byte| reader.push(byte)) {
            None if dumb && typing.goes_on() => {}
            None => idle(kernel),
            Some(None) => {}
            Some(Some(Event::Complete)) => {
                reader.complete(&|text, offer| (shell.complete)(kernel, text, offer));
            }
            Some(Some(Event::Line(line))) => {
                run_line(kernel, &line, shell);
                reader.prompt();
            }
        }
    }
}
