//! A CPU as an index below [`CPUS`]. The boot CPU is 0 and is the writer.

/// The most CPUs that the protocols have room for.
pub const CPUS: usize = 8;

/// A CPU's index. Holding one proves that it is below [`CPUS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cpu(u8);

impl Cpu {
    /// The boot CPU: the writer.
    pub const BOOT: Self = Self(0);

    /// Returns CPU `index`, or `None` if there is no room for it.
    pub fn new(index: usize) -> Option<Self> {
        u8::try_from(index).ok().filter(|_| index < CPUS).map(Self)
    }

    /// Its index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// All CPUs that are not the writer, present or not.
    pub fn secondaries() -> impl Iterator<Item = Self> {
        (1..CPUS).filter_map(Self::new)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_below_eight() {
        assert_eq!(Cpu::new(7).map(Cpu::index), Some(7));
        assert_eq!(Cpu::new(8), None);
        assert_eq!(Cpu::new(256), None, "no wrap to the boot CPU");
    }

    #[test]
    fn the_secondaries_are_all_but_the_boot_cpu() {
        let all: std::vec::Vec<usize> = Cpu::secondaries().map(Cpu::index).collect();
        assert_eq!(all, [1, 2, 3, 4, 5, 6, 7]);
    }
}
