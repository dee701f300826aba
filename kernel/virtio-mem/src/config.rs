//! The device's configuration (virtio 1.3, 5.15.4 "Device configuration layout"), and the rules that it has to keep.

use core::ops::Range;

use crate::fault::Fault;
use crate::rule::ConfigRule;

/// `struct virtio_mem_config`. Sizes are in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// The size and alignment of a device block: a power of two.
    pub block_size: u64,
    /// The NUMA node, if the device names one.
    pub node: Option<u16>,
    /// The physical address of the region: a multiple of the block size.
    pub addr: u64,
    /// The size of the region: a multiple of the block size.
    pub region_size: u64,
    /// How much of the region, from its start on, may be plugged now.
    pub usable_region_size: u64,
    /// How much is plugged.
    pub plugged_size: u64,
    /// How much is to be plugged.
    pub requested_size: u64,
}

impl Config {
    /// The region.
    pub const fn region(&self) -> Range<u64> {
        self.addr..self.addr + self.region_size
    }
    /// What of it may be plugged now: whole device blocks.
    pub const fn usable(&self) -> Range<u64> {
        self.addr..self.addr + self.usable_region_size / self.block_size * self.block_size
    }

    /// Checks every rule.
    ///
    /// # Errors
    /// [`Fault::Config`] with the first rule that is broken.
    pub fn check(&self) -> Result<(), Fault> {
        let &Self { block_size, addr, region_size, .. } = self;
        if !block_size.is_power_of_two() {
            return Err(Fault::Config(ConfigRule::BlockSize(block_size)));
        }
        if region_size == 0 || addr.checked_add(region_size).is_none() {
            return Err(Fault::Config(ConfigRule::Region { addr, size: region_size }));
        }
        let sizes = [("plugged_size", self.plugged_size), ("requested_size", self.requested_size)];
        for (field, value) in [("addr", addr), ("region_size", region_size)].into_iter().chain(sizes) {
            if !value.is_multiple_of(block_size) {
                return Err(Fault::Config(ConfigRule::Unaligned { field, value, block_size }));
            }
        }
        for (field, value) in [("usable_region_size", self.usable_region_size)].into_iter().chain(sizes) {
            if value > region_size {
                return Err(Fault::Config(ConfigRule::TooLarge { field, value, region_size }));
            }
        }
        Ok(())
    }

    /// Checks that what a device may not change is as it was in `before`.
    ///
    /// # Errors
    /// [`Fault::Changed`] with the field and both values.
    pub(crate) fn check_same(&self, before: &Self) -> Result<(), Fault> {
        let fields = [
            ("block_size", before.block_size, self.block_size),
            ("addr", before.addr, self.addr),
            ("region_size", before.region_size, self.region_size),
        ];
        match fields.into_iter().find(|(_, was, is)| was != is) {
            Some((field, was, is)) => Err(Fault::Changed { field, was, is }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn config() -> Config {
        Config {
            block_size: 2 * MIB,
            node: None,
            addr: 0x8420_0000,
            region_size: 4096 * MIB,
            usable_region_size: 1025 * MIB,
            plugged_size: 0,
            requested_size: 2 * MIB,
        }
    }

    fn rule(change: impl FnOnce(&mut Config)) -> std::string::String {
        let mut config = config();
        change(&mut config);
        config.check().err().map_or_else(std::string::String::new, |fault| fault.to_string())
    }

    #[test]
    fn a_valid_configuration_passes_and_its_usable_part_is_of_whole_blocks() {
        assert_eq!(config().check(), Ok(()));
        assert_eq!(config().usable(), 0x8420_0000..0x8420_0000 + 1024 * MIB);
        assert_eq!(config().region().end, 0x8420_0000 + 4096 * MIB);
    }

    #[test]
    fn each_rule_is_named_with_the_value_that_breaks_it() {
        assert!(rule(|c| c.block_size = 0).contains("block_size is 0x0"));
        assert!(rule(|c| c.block_size = 3 * MIB).contains("block_size is 0x300000"));
        assert!(rule(|c| c.region_size = 0).contains("region_size is 0x0"));
        assert!(rule(|c| c.addr = u64::MAX - 2 * MIB + 1).contains("addr 0xffffffffffe00000"));
        assert!(rule(|c| c.addr += MIB).contains("addr is 0x84300000"));
        assert!(rule(|c| c.region_size += 1).contains("region_size is 0x100000001"));
        assert!(rule(|c| c.plugged_size = MIB).contains("plugged_size is 0x100000"));
        assert!(rule(|c| c.requested_size = 5000 * MIB).contains("at most region_size, 0x100000000"));
        assert!(rule(|c| c.usable_region_size = 1 << 40).contains("usable_region_size is 0x10000000000"));
    }

    #[test]
    fn a_region_that_moves_is_named() {
        let moved = Config { addr: 0x9000_0000, ..config() };
        let fault = moved.check_same(&config()).err().map(|fault| fault.to_string());
        assert_eq!(fault.as_deref(), Some("addr was 0x84200000 and is now 0x90000000: it may not change"));
        assert_eq!(Config { requested_size: 0, ..config() }.check_same(&config()), Ok(()));
    }
}
