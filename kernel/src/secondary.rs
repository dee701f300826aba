//! Where a secondary CPU enters the kernel, on its own stack at the high addresses, with everything masked.

use super::{exceptions, image, word};
use crate::cpus::work;

/// The first Rust function of CPU `number`; boot's assembly calls it.
pub extern "C" fn secondary_main(number: u64) -> ! {
    exceptions::install();
    let stack = image::secondary_stack(image::end(), number);
    exceptions::set_kernel_stack(
        stack.start.get()..stack.end.get(),
        image::STACK_STRIDE - image::STACK_BYTES,
    );
    work::serve(word(number))
}
