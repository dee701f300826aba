// Clearing, filling and copying by blocks of 64 bytes (`block`). Included by bulk.rs, which names the constants in braces.
//
//   hotmap_zero_*   x0 start, x1 end
//   hotmap_fill_*   x0 start, x1 end, x2 the word to write
//   hotmap_copy_*   x0 destination, x1 source, x2 end of the source
//
// All addresses are multiples of 64, with at least one block between start and end. As a function call may, these change
// x0 to x17 and v0 to v3 at most.

    .pushsection .text.hotmap_bulk, "ax"
    .arch_extension simd
    .arch_extension mops

    .balign 64
    .global hotmap_zero_stp
hotmap_zero_stp:
    stp     xzr, xzr, [x0]
    stp     xzr, xzr, [x0, #16]
    stp     xzr, xzr, [x0, #32]
    stp     xzr, xzr, [x0, #48]
    add     x0, x0, #64
    cmp     x0, x1
    b.lo    hotmap_zero_stp
    ret

    .balign 64
    .global hotmap_fill_stp
hotmap_fill_stp:
    stp     x2, x2, [x0]
    stp     x2, x2, [x0, #16]
    stp     x2, x2, [x0, #32]
    stp     x2, x2, [x0, #48]
    add     x0, x0, #64
    cmp     x0, x1
    b.lo    hotmap_fill_stp
    ret

// `stride` bytes unrolled, one step for each block. The first pass enters where the rest is a whole number of passes:
// x2 = bytes that it skips, x3 = where it enters. `setup` runs before x2 is overwritten. `step_shift` is log2 of a step's
// bytes of code.
    .macro  hotmap_unrolled name, setup, step, step_shift
    .global \name
    .balign 64
\name:
    \setup
    sub     x2, x0, x1
    and     x2, x2, #{stride} - 1
    adr     x3, \name\()_pass
    add     x3, x3, x2, lsr #({block_shift} - \step_shift)
    br      x3
\name\()_pass:
    .rept   {stride} / {block}
    \step
    .endr
    cmp     x0, x1
    b.lo    \name\()_pass
    ret
    .endm

    .macro  hotmap_step_zva
    dc      zva, x0
    add     x0, x0, #{block}
    .endm
    .macro  hotmap_setup_st1
    movi    v0.2d, #0
    movi    v1.2d, #0
    movi    v2.2d, #0
    movi    v3.2d, #0
    .endm
    .macro  hotmap_setup_fill
    dup     v0.2d, x2
    mov     v1.16b, v0.16b
    mov     v2.16b, v0.16b
    mov     v3.16b, v0.16b
    .endm
    .macro  hotmap_step_st1
    st1     {{v0.2d, v1.2d, v2.2d, v3.2d}}, [x0], #64
    .endm

    hotmap_unrolled hotmap_zero_zva, nop, hotmap_step_zva, 3
    hotmap_unrolled hotmap_zero_st1, hotmap_setup_st1, hotmap_step_st1, 2
    hotmap_unrolled hotmap_fill_st1, hotmap_setup_fill, hotmap_step_st1, 2

// x2 = bytes left, which SETP, SETM and SETE count down.
    .global hotmap_zero_mops
hotmap_zero_mops:
    sub     x2, x1, x0
    setp    [x0]!, x2!, xzr
    setm    [x0]!, x2!, xzr
    sete    [x0]!, x2!, xzr
    ret

// x3 to x10 = the block.
    .balign 64
    .global hotmap_copy_stp
hotmap_copy_stp:
    ldp     x3, x4, [x1]
    ldp     x5, x6, [x1, #16]
    ldp     x7, x8, [x1, #32]
    ldp     x9, x10, [x1, #48]
    stp     x3, x4, [x0]
    stp     x5, x6, [x0, #16]
    stp     x7, x8, [x0, #32]
    stp     x9, x10, [x0, #48]
    add     x0, x0, #64
    add     x1, x1, #64
    cmp     x1, x2
    b.lo    hotmap_copy_stp
    ret

    .balign 64
    .global hotmap_copy_ld1
hotmap_copy_ld1:
    .rept   {copy_stride} / {block}
    ld1     {{v0.2d, v1.2d, v2.2d, v3.2d}}, [x1], #64
    st1     {{v0.2d, v1.2d, v2.2d, v3.2d}}, [x0], #64
    .endr
    cmp     x1, x2
    b.lo    hotmap_copy_ld1
    ret

// x2 = bytes left. The F forms copy forwards only, which is enough for places that do not overlap.
    .global hotmap_copy_mops
hotmap_copy_mops:
    sub     x2, x2, x1
    cpyfp   [x0]!, [x1]!, x2!
    cpyfm   [x0]!, [x1]!, x2!
    cpyfe   [x0]!, [x1]!, x2!
    ret

    .purgem hotmap_unrolled
    .purgem hotmap_step_zva
    .purgem hotmap_setup_st1
    .purgem hotmap_setup_fill
    .purgem hotmap_step_st1
    .arch_extension nomops
    .arch_extension nosimd
    .popsection
