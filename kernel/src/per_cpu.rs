//! One value for each CPU.

/// How many CPUs there is room for (stacks, mailboxes, emergency stacks): the boot CPU is number 0, the others are numbered
/// from 1 on as they are started, in the order of the device tree.
pub use hotmap_sync::cpu::CPUS;

/// A value for each CPU, by the CPU's number, which is below [`CPUS`]: no index fails.
pub(crate) struct PerCpu<T>(pub(crate) [T; CPUS]);

impl<T> core::ops::Index<usize> for PerCpu<T> {
    type Output = T;
    #[inline]
    fn index(&self, number: usize) -> &T {
        &self.0[number % CPUS]
    }
}
