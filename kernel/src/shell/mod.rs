//! The shell.
use crate::kernel::Kernel;
use crate::kprintln;
use hotmap_mm::granule::Granule;

/// Run one command line; whether it succeeded.
pub fn run<G: Granule>(kernel: &mut Kernel<G>, line: &str) -> bool {
    match line {
        "poweroff" => crate::arch::semihosting::exit(0),
        _ => {
            kprintln!("error: {line}: {:?}", kernel.mm.counts());
            false
        }
    }
}
