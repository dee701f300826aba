//! Translation tables: ours and the CPU's reading of them agree, and nothing is mapped that should not be.

use hotmap_mm::addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use hotmap_mm::error::{Error, Result};
use hotmap_mm::granule::{Granule, LAST_LEVEL};
use hotmap_mm::hotplug::block::{MemoryBlock, Source};
use hotmap_mm::layout::{DEVICES, IMAGE_START, LINEAR_START, TENANTS};
use hotmap_mm::paging::descriptor::{Attributes, Descriptor};
use hotmap_mm::paging::table::{Gone, MapRequest, TableFrames};
use hotmap_mm::paging::walk::Slot;

use super::check::{Outcome, check, fail, is_refused, same, same_at, skip};
use super::expected::{Numbers, numbers};
use super::{Test, test};
use crate::arch::translate::{self, Translation};
use crate::arch::{image, probe, word};
use crate::kernel::Kernel;

pub(super) const fn tests<G: Granule>() -> &'static [Test<G>] {
    const {
        &[
            test("the CPU's own walk agrees at every leaf", agrees_at_every_leaf),
            test("the CPU's own walk agrees at addresses taken at random", agrees_at_random),
            test("only the image's code is executable, and none of it is writable", only_code_is_executable),
            test("code and constants cannot be written, by neither of their addresses", constants_are_constant),
            test("below the stack is a guard page", the_stack_has_a_guard),
            test("the linear map's leaves are as large as a block may be", leaves_are_large),
            test("the entries under one Contiguous bit continue each other", contiguous_entries_agree),
            test("what is mapped is not mapped over, and the attempt is undone", mapping_over_is_refused),
            test("a part of a block is not taken down", splitting_is_refused),
        ]
    }
}
