// The first instructions of a secondary CPU. Included by secondary.rs, which names the offsets in braces.
//
//   at entry           EL1 or EL2 with the MMU off
//   x1                 PARAMETERS, at its load address
//   x25                this CPU's number, which is secondary_main's argument
//   x20-x24, x26, x0   what hotmap_mmu_on takes (entry.S)
//   x2-x5              scratch
//
// The number is the place of this CPU's affinity in a table: x0 would be CPU_ON's context, which PSCI 0.1 does not have.
    .pushsection .text.hotmap_secondary, "ax"
    .balign 2048
    .global hotmap_secondary_vectors
hotmap_secondary_vectors:
    .global hotmap_secondary
hotmap_secondary:
    msr     daifset, #0xf
    msr     spsel, #1
    adrp    x1, {parameters}
    add     x1, x1, :lo12:{parameters}
    mrs     x2, mpidr_el1
    mov     x3, #0xffffff                   // Aff2 to Aff0
    orr     x3, x3, #0xff00000000           // Aff3
    and     x2, x2, x3
    add     x3, x1, #{affinities}
    mov     x25, #0
hotmap_find_number:
    ldr     x4, [x3], #8
    cmp     x4, x2
    b.eq    hotmap_has_number
    add     x25, x25, #1
    cmp     x25, #{room}
    b.lo    hotmap_find_number
hotmap_not_ours:                            // a CPU that was not asked for
    wfe
    b       hotmap_not_ours
hotmap_has_number:
    msr     tpidr_el1, x25
    ldp     x0, x2, [x1, #{low_stacks}]
    madd    x0, x25, x2, x0
    mov     sp, x0                          // for hotmap_to_el1 alone
    bl      hotmap_to_el1
    adrp    x1, {parameters}
    add     x1, x1, :lo12:{parameters}
    mov     x20, xzr                        // TTBR0: TCR_EL1.EPD0 is set, nothing walks it
    ldp     x21, x22, [x1, #{ttbr1}]
    ldp     x23, x24, [x1, #{mair}]
    ldp     x26, x2, [x1, #{entry}]
    msr     vbar_el1, x2
    ldp     x0, x2, [x1, #{stacks}]
    madd    x0, x25, x2, x0
    b       hotmap_mmu_on
    .org    hotmap_secondary_vectors + 0x200 // a synchronous exception from this level on its own stack
    b       hotmap_mmu_is_on
    .popsection
