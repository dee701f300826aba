//! Translation tables: ours and the CPU's reading of them agree, and nothing is mapped that should not be. (What may change
//! in a mapping is [`super::live`]'s.)

use aarch64_cpu::registers::{Readable, SCTLR_EL1};
use hotmap_mm::addr::{PhysAddr, PhysRange, VirtAddr, VirtRange};
use hotmap_mm::entry::descriptor::Descriptor;
use hotmap_mm::entry::slot::Slot;
use hotmap_mm::frame::block::{MemoryBlock, Source};
use hotmap_mm::layout::{DEVICES, IMAGE_START, LINEAR_START, TENANTS};

use super::check::{Outcome, check, same, same_at};
use super::entries::EVERYTHING;
use super::expected::Expected;
use super::subject::{Test, test};
use hotmap_kernel::arch::translate::{self, Translation};
use hotmap_kernel::arch::{image, mmu, peek};
use hotmap_kernel::kernel::Kernel;

pub(super) const TESTS: &[Test] = &[
    test("the CPU's own walk agrees at every leaf", agrees_at_every_leaf),
    test("the CPU's own walk agrees at addresses taken at random", agrees_at_random),
    test("only code is executable, and nothing executable is writable", only_code_is_executable),
    test("code and constants are read-only at both of their addresses", constants_are_constant),
    test("the stack has a guard page", the_stack_has_a_guard),
    test("the linear map's leaves are as large as possible", leaves_are_large),
    test("entries under one Contiguous bit are consecutive", contiguous_entries_agree),
];

/// PXN, bit 53 of a leaf: EL1 may not execute (Arm ARM D8.3, like the bits below).
const PXN: u64 = 1 << 53;
/// UXN, bit 54: EL0 may not execute.
const UXN: u64 = 1 << 54;
/// AP\[2\], bit 7: read-only.
const READ_ONLY: u64 = 1 << 7;
/// Contiguous, bit 52.
const CONTIGUOUS: u64 = 1 << 52;
/// The limits that a table descriptor can put on everything below it: NSTable, APTable, UXNTable, PXNTable.
const TABLE_LIMITS: u64 = 0b1_1111 << 59;
/// What the attribute index of a leaf stands for: MAIR_EL1's bytes 0 (Device-nGnRE) and 1 (Normal, write-back).
const MEMORY_TYPES: [u8; 2] = [0x04, 0xff];

/// Hands every entry of the upper half that is not empty to `look`, until one fails.
pub(super) fn each_entry(kernel: &Kernel, look: &mut dyn FnMut(&Slot, Descriptor) -> Outcome) -> Outcome {
    let mut outcome = Ok(());
    kernel.mm.space().scan(EVERYTHING, |slot, d| {
        if outcome.is_ok() {
            outcome = look(slot, d);
        }
    })?;
    outcome
}

/// What our walk says of an address.
struct Claim {
    va: VirtAddr,
    /// The level at which the walk ends.
    level: u8,
    /// Where the address leads, and the leaf's bits.
    leaf: Option<(PhysAddr, u64)>,
}

fn agrees(kernel: &Kernel, va: VirtAddr) -> Outcome {
    let path = kernel.mm.space().path(va);
    let level = path.steps().last().map_or(0, |step| step.slot.level);
    let bits = path.leaf().map(|step| step.descriptor.bits());
    cpu_agrees(&Claim { va, level, leaf: kernel.mm.space().translate(va).zip(bits) })
}

fn cpu_agrees(claim: &Claim) -> Outcome {
    let Claim { va, level, leaf } = *claim;
    let (load, store) = match leaf {
        None => (Translation::unmapped(level), Translation::unmapped(level)),
        Some((pa, bits)) => {
            let index = usize::from(bits >> 2 & 0b111 != 0);
            let mapped = Translation::Mapped { pa, attributes: MEMORY_TYPES[index] };
            (mapped, if bits & READ_ONLY != 0 { Translation::forbidden(level) } else { mapped })
        }
    };
    for (what, found, expected) in
        [("load", translate::load(va), load), ("store", translate::store(va), store)]
    {
        check!(found == expected, "{va}: to the CPU a {what} is {found}, to our walk {expected}");
    }
    Ok(())
}

fn agrees_at_every_leaf(kernel: &mut Kernel) -> Outcome {
    let tenant = kernel.mm.tenant_new(3)?;
    let mut leaves = 0;
    let outcome = each_entry(kernel, &mut |slot, d| {
        if !d.is_leaf(slot.level) {
            return Ok(());
        }
        leaves += 1;
        let last = VirtAddr::new(slot.span.end.get() - 8);
        agrees(kernel, slot.span.start)?;
        agrees(kernel, last)?;
        agrees(kernel, slot.span.end)
    });
    kernel.mm.tenant_drop(tenant)?;
    check!(leaves > 0, "there is no leaf at all");
    outcome
}

/// How many addresses are tried around the start of each region.
const SAMPLES: usize = 128;

fn agrees_at_random(kernel: &mut Kernel) -> Outcome {
    let vmemmap = kernel.mm.space().layout().vmemmap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for base in [LINEAR_START, IMAGE_START, DEVICES.start, TENANTS.start, vmemmap.start, vmemmap.end] {
        for _ in 0..SAMPLES {
            agrees(kernel, random.near(base))?;
        }
    }
    Ok(())
}

/// xorshift64 (Marsaglia, "Xorshift RNGs", 2003): the same numbers at every run.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    /// An address of the upper half after `base`: as often within 16 KiB as within 256 GiB, and all in between.
    fn near(&mut self, base: VirtAddr) -> VirtAddr {
        let bits = 14 + self.next() % 25;
        let offset = self.next() & ((1 << bits) - 1);
        VirtAddr::new(base.get().wrapping_add(offset) | LINEAR_START.get())
    }
}

fn only_code_is_executable(kernel: &mut Kernel) -> Outcome {
    check!(SCTLR_EL1.get() & mmu::SCTLR_WXN != 0, "SCTLR_EL1.WXN is clear: {:#x}", SCTLR_EL1.get());
    let mut executable = 0;
    each_entry(kernel, &mut |slot, d| {
        executable += u64::from(d.is_leaf(slot.level) && d.bits() & PXN == 0) * slot.span.len();
        entry_is_safe(slot, d)
    })?;
    same("executable bytes", executable, image::text().len())
}

fn entry_is_safe(slot: &Slot, d: Descriptor) -> Outcome {
    let (va, bits) = (slot.span.start, d.bits());
    if d.is_table(slot.level) {
        return same_at("a table entry limits what is below it", va, bits & TABLE_LIMITS, 0);
    }
    check!(bits & UXN != 0, "{va} is executable at EL0: {bits:#x}");
    if bits & PXN == 0 {
        check!(bits & READ_ONLY != 0, "{va} is executable and writable: {bits:#x}");
        check!(image::text().covers(&slot.span), "{} is executable and no code: {bits:#x}", slot.span);
    }
    Ok(())
}

fn constants_are_constant(kernel: &mut Kernel) -> Outcome {
    let alias = kernel.mm.space().layout().linear(kernel.info.image.start);
    for (part, writable) in
        [(image::text(), false), (image::constants(), false), (image::data(), true), (image::stack(), true)]
    {
        part_is(part, writable, alias, kernel.page_size())?;
    }
    Ok(())
}

/// Every page of `part` can be loaded, and stored exactly if `writable`, at its own address and in the linear map.
fn part_is(part: VirtRange, writable: bool, alias: VirtAddr, page: u64) -> Outcome {
    check!(!part.is_empty(), "a part of the image is empty: {part}");
    let mut own = part.start;
    while own < part.end {
        for va in [own, alias + (own - IMAGE_START)] {
            let (load, store) = (translate::load(va), translate::store(va));
            check!(load.address().is_some(), "{va} (image {part}) cannot be loaded: {load}");
            let right = if writable { store == load } else { store.is_forbidden() };
            check!(right, "{va} (image {part}): a store is {store}");
        }
        own = own + page;
    }
    Ok(())
}

fn the_stack_has_a_guard(kernel: &mut Kernel) -> Outcome {
    let (guard, stack) = (image::guard(), image::stack());
    check!(
        guard.len() >= kernel.page_size() && guard.end == stack.start,
        "the guard is {guard}, the stack {stack}"
    );
    let here = &raw const guard as u64;
    check!(stack.contains(VirtAddr::new(here)), "this stack is at {here:#x}, not in {stack}");
    let mut va = guard.start;
    while va < guard.end {
        let load = translate::load(va);
        check!(load.is_unmapped() && peek::load_aborts(va), "the guard at {va} can be loaded: {load}");
        va = va + kernel.page_size();
    }
    check!(!peek::load_aborts(stack.start), "the stack's end at {} cannot be loaded", stack.start);
    Ok(())
}

fn leaves_are_large(kernel: &mut Kernel) -> Outcome {
    for block in kernel.mm.frames().blocks() {
        let memory = kernel.addresses(kernel.section(block.start));
        let Some(together) = mapped_together(kernel, &block, memory) else { continue };
        // Around the image leaves are smaller, so look at more of them.
        let mixed = memory.overlaps(&together.constant);
        let step = if mixed { kernel.numbers().contiguous_pages } else { kernel.numbers().section };
        let starts = (0..kernel.numbers().section / step).map(|i| memory.start + i * step);
        for pa in starts.chain([PhysAddr::new(memory.end.get() - kernel.page_size())]) {
            leaf_is_large(kernel, pa, &together)?;
        }
    }
    Ok(())
}

/// Memory that was mapped by one request, except for a part in it that was mapped by another.
struct Together {
    memory: PhysRange,
    constant: PhysRange,
}

/// What was mapped together with `block`: all of its DIMM, or the block alone of boot memory, of which the image's code and
/// constants are mapped apart. `None` for blocks with holes.
fn mapped_together(kernel: &Kernel, block: &MemoryBlock, memory: PhysRange) -> Option<Together> {
    let start = kernel.info.image.start;
    let constant = PhysRange { start, end: start + (image::data().start - IMAGE_START) };
    let memory = match block.source {
        Source::Boot if block.present == kernel.section_pages() => memory,
        // Blocks that were added together can go alone.
        Source::VirtioMem(_) => memory,
        Source::Dimm(slot) => kernel.dimms.all().iter().find(|dimm| dimm.slot == slot)?.range,
        Source::Boot | Source::DeviceTree | Source::Kmem => return None,
    };
    Some(Together { memory, constant })
}

/// The leaf that maps `pa` is as large as a leaf can be that maps nothing else than what was mapped together.
fn leaf_is_large(kernel: &Kernel, pa: PhysAddr, together: &Together) -> Outcome {
    let fits = |size| {
        let start = pa.align_down(size);
        let around = PhysRange { start, end: start + size };
        together.memory.covers(&around) && !together.constant.overlaps(&around)
    };
    let numbers = kernel.numbers();
    let hint = |size| if fits(size) { CONTIGUOUS } else { 0 };
    let expected = match numbers.large_block {
        Some(large) if fits(large) => (large, 0),
        _ if fits(numbers.block) => (numbers.block, hint(numbers.contiguous_blocks)),
        _ => (numbers.page, hint(numbers.contiguous_pages)),
    };
    if together.constant.contains(pa) {
        return Ok(());
    }
    let va = kernel.mm.space().layout().linear(pa);
    let path = kernel.mm.space().path(va);
    let leaf = path.leaf().map_or((0, 0), |step| (step.slot.span.len(), step.descriptor.bits() & CONTIGUOUS));
    same_at("the size of the leaf", va, leaf.0, expected.0)?;
    same_at("the Contiguous bit", va, leaf.1, expected.1)
}

fn contiguous_entries_agree(kernel: &mut Kernel) -> Outcome {
    let numbers = kernel.numbers();
    each_entry(kernel, &mut |slot, d| {
        let (va, size, bits) = (slot.span.start, slot.span.len(), d.bits());
        if !d.is_leaf(slot.level) || bits & CONTIGUOUS == 0 {
            return Ok(());
        }
        let run = if size == numbers.page { numbers.contiguous_pages } else { numbers.contiguous_blocks };
        check!(
            size == numbers.page || size == numbers.block,
            "{va}: no Contiguous bit for leaves of {size:#x}"
        );
        let offset = kernel.output(d).get() & (run - 1);
        same_at("the offset in a contiguous run", va, offset, va.get() & (run - 1))?;
        // Each has its neighbours in the run, so the run is complete.
        let at =
            |va: u64| kernel.mm.space().path(VirtAddr::new(va)).leaf().map_or(0, |s| s.descriptor.bits());
        if !va.is_aligned(run) {
            same_at("the entry before", va, at(va.get() - size), bits - size)?;
        }
        if !slot.span.end.is_aligned(run) {
            same_at("the entry after", va, at(va.get() + size), bits + size)?;
        }
        Ok(())
    })
}
