//! From PSCI's CPU_ON to the kernel on a secondary CPU: `secondary.S`, which runs the boot CPU's code (entry.S: down to EL1,
//! MMU on) with the boot CPU's register values.
//!
//! ```text
//!  CPU_ON: EL1 or EL2, MMU off --> its number --> EL1 --> SP, tables --> MMU on --> secondary_main(number)
//!                                                                           |            ^
//!                                   the load address is not mapped: a fault +-> VBAR ----+
//! ```
//! There is no identity map: the boot CPU's is gone with its memory, and walks of the lower half are disabled
//! (TCR_EL1.EPD0 is set from the start). The instruction after the one that sets SCTLR_EL1.M is fetched from the load
//! address or faults; after the ISB it faults for certain ("Synchronization requirements for AArch64 System registers").
//! In both cases `hotmap_mmu_is_on` comes next: VBAR_EL1 has the high address of vectors that branch there.
#![expect(unsafe_code, reason = "the first instructions of a CPU, and what they read; rules B1, B3, M1")]

use core::arch::global_asm;
use core::cell::UnsafeCell;
use core::mem::offset_of;

use aarch64_cpu::registers::{MAIR_EL1, Readable, SCTLR_EL1, TCR_EL1, TTBR1_EL1};
use hotmap_kernel::arch::{caches, image};
use hotmap_kernel::boot_info::BootInfo;
use hotmap_kernel::cpus::plan;
use hotmap_kernel::per_cpu::CPUS;
use hotmap_kernel::secondary;
use hotmap_mm::layout::IMAGE_START;

/// What a secondary CPU loads before it can reach anything else.
#[repr(C)]
struct Parameters {
    ttbr1: u64,
    tcr: u64,
    mair: u64,
    sctlr: u64,
    /// The address of `secondary_main`, a high one.
    entry: u64,
    /// The high address of `hotmap_secondary_vectors`.
    vbar: u64,
    /// The end of the stack that CPU 0 would have.
    stacks: u64,
    /// From one CPU's stack to the next one's.
    stride: u64,
    /// The same two at the load address, where the stacks lie without gaps.
    low_stacks: u64,
    low_stride: u64,
    /// The affinity of each CPU, by its number; all ones where there is none.
    affinities: [u64; CPUS],
}

/// Written by the boot CPU before any other one starts, and only read after that: B3.
struct Shared(UnsafeCell<Parameters>);

// SAFETY: B3.
unsafe impl Sync for Shared {}

static PARAMETERS: Shared = Shared(UnsafeCell::new(Parameters {
    ttbr1: 0,
    tcr: 0,
    mair: 0,
    sctlr: 0,
    entry: 0,
    vbar: 0,
    stacks: 0,
    stride: 0,
    low_stacks: 0,
    low_stride: 0,
    affinities: [u64::MAX; CPUS],
}));

global_asm!(
    include_str!("secondary.S"),
    parameters = sym PARAMETERS,
    ttbr1 = const offset_of!(Parameters, ttbr1),
    mair = const offset_of!(Parameters, mair),
    entry = const offset_of!(Parameters, entry),
    stacks = const offset_of!(Parameters, stacks),
    low_stacks = const offset_of!(Parameters, low_stacks),
    affinities = const offset_of!(Parameters, affinities),
    room = const CPUS,
);

// What the assembly loads in pairs.
const _: () = {
    assert!(offset_of!(Parameters, tcr) == offset_of!(Parameters, ttbr1) + 8);
    assert!(offset_of!(Parameters, sctlr) == offset_of!(Parameters, mair) + 8);
    assert!(offset_of!(Parameters, vbar) == offset_of!(Parameters, entry) + 8);
    assert!(offset_of!(Parameters, stride) == offset_of!(Parameters, stacks) + 8);
    assert!(offset_of!(Parameters, low_stride) == offset_of!(Parameters, low_stacks) + 8);
};

/// The bytes of its stack that a CPU uses with its MMU off, at most: for `hotmap_to_el1`.
const STACK_AT_ENTRY: u64 = 4096;

unsafe extern "C" {
    static hotmap_secondary: u8;
    static hotmap_secondary_vectors: u8;
}

/// Writes what the other CPUs load. Runs on the boot CPU at the high addresses, after its last change of TCR_EL1.
pub(crate) fn prepare(info: &mut BootInfo) {
    let affinities = plan::affinities(&info.machine, info.boot_affinity, info.args.max_cpus);
    let parameters = Parameters {
        ttbr1: TTBR1_EL1.get(),
        tcr: TCR_EL1.get(),
        mair: MAIR_EL1.get(),
        sctlr: SCTLR_EL1.get(),
        entry: secondary::secondary_main as extern "C" fn(u64) -> ! as usize as u64,
        vbar: &raw const hotmap_secondary_vectors as u64,
        stacks: image::end().get(),
        stride: image::STACK_STRIDE,
        low_stacks: info.stacks.start.get(),
        low_stride: image::STACK_BYTES,
        affinities: affinities.map(|affinity| affinity.unwrap_or(u64::MAX)),
    };
    let words = PARAMETERS.0.get();
    // SAFETY: B3: no other CPU runs yet.
    unsafe { words.write(parameters) };
    // They read it with their caches off, and use their stacks so before their MMU goes on.
    caches::clean_invalidate(words as u64, size_of::<Parameters>() as u64);
    for number in 1..=info.stacks.len() / image::STACK_BYTES {
        let end = image::secondary_stack(image::end(), number).end.get();
        caches::clean_invalidate(end - STACK_AT_ENTRY, STACK_AT_ENTRY);
    }
    info.secondary_entry = info.image.start + (&raw const hotmap_secondary as u64 - IMAGE_START.get());
}
