//! A secondary CPU in the kernel: it sleeps until its mailbox has a job, and does it, both with IRQs unmasked.

use hotmap_sync::mailbox::Mailbox;

use crate::arch::{cpu, image, interrupts, word};
use crate::cpus::start::{MAILBOXES, NO_INTERRUPTS};
use crate::cpus::work::{self, Task};
use crate::drivers::gic::own;
use crate::{exceptions, readers};

/// The first Rust function of CPU `number`, on its own stack at the high addresses, with everything masked. Boot's assembly
/// calls it.
pub extern "C" fn secondary_main(number: u64) -> ! {
    exceptions::install();
    let stack = image::secondary_stack(image::end(), number);
    exceptions::set_kernel_stack(
        stack.start.get()..stack.end.get(),
        image::STACK_STRIDE - image::STACK_BYTES,
    );
    serve(word(number))
}

fn serve(number: usize) -> ! {
    let mailbox = &MAILBOXES[number];
    if !own::set_up_here() {
        mailbox.report_failure(NO_INTERRUPTS);
        cpu::halt();
    }
    // False: the boot CPU has given up, and does not wait for this CPU.
    if !mailbox.report() {
        cpu::halt();
    }
    loop {
        match mailbox.take() {
            Some(job) => {
                let task = Task::of(job);
                let result = interrupts::unmasked(|| task.map_or(0, |task| run(task, number, mailbox)));
                mailbox.finish(result);
            }
            // A signal that comes between the look and the WFI ends the WFI: it is pending, though masked.
            None => {
                cpu::wait_for_interrupt();
                interrupts::unmasked(|| ());
            }
        }
    }
}

fn run(task: Task, number: usize, mailbox: &Mailbox) -> u64 {
    match task {
        Task::Answer => cpu::affinity(),
        Task::Count => work::count(number, mailbox),
        Task::Read => {
            readers::read(number, || mailbox.stop_requested());
            0
        }
        Task::Crash => readers::crash(number),
    }
}
