// The exception vectors. Included by vectors.rs, which draws the frame and the stacks, and names the constants in braces.
//
// In an entry, until the frame is made:
//   x0, x1   kept in TPIDR_EL0 and TPIDRRO_EL0 (nothing runs at EL0, so these are free)
//   x0       this CPU's number, then SP as it was
//   x1       where the frame goes
//   x2       the vector's index, once x2 is in the frame
// In hotmap_exception:
//   sp       the frame
//   x2       the vector's index
//   x3-x6    ELR, SPSR, ESR, FAR
// On the way back: x0 is the frame, x1 and x2 are scratch until they are restored.
//
// The flags are in SPSR_EL1 already, so an entry may change them.

    .macro  hotmap_vector index
    .balign 0x80
    msr     tpidr_el0, x0
    msr     tpidrro_el0, x1
    mrs     x0, tpidr_el1
    and     x0, x0, #{max_cpus} - 1
    adrp    x1, {stacks}
    add     x1, x1, :lo12:{stacks}
    add     x1, x1, x0, lsl #{stack_shift}
    mov     x0, sp
    sub     x0, x0, x1                      // SP's offset in this CPU's emergency stack
    cmp     x0, #2, lsl #12
    add     x1, x1, #2, lsl #12             // the stack's top
    mov     x0, sp
    csel    x1, x0, x1, lo                  // on it already: go on below
    and     x1, x1, #~15
    sub     x1, x1, #{frame_bytes}
    stp     x2, x3, [x1, #16]
    str     x0, [x1, #{sp}]
    mov     x2, #\index
    b       hotmap_exception
    .endm

    .pushsection .text.hotmap_vectors, "ax"
    .balign 0x800
    .global hotmap_vectors
hotmap_vectors:
    .irp    index, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    hotmap_vector \index
    .endr
    .balign 0x80
    .purgem hotmap_vector

hotmap_exception:
    mov     sp, x1
    mrs     x0, tpidr_el0
    mrs     x1, tpidrro_el0
    stp     x0, x1, [sp]
    stp     x4, x5, [sp, #32]
    stp     x6, x7, [sp, #48]
    stp     x8, x9, [sp, #64]
    stp     x10, x11, [sp, #80]
    stp     x12, x13, [sp, #96]
    stp     x14, x15, [sp, #112]
    stp     x16, x17, [sp, #128]
    stp     x18, x19, [sp, #144]
    stp     x20, x21, [sp, #160]
    stp     x22, x23, [sp, #176]
    stp     x24, x25, [sp, #192]
    stp     x26, x27, [sp, #208]
    stp     x28, x29, [sp, #224]
    str     x30, [sp, #240]
    mrs     x3, elr_el1
    mrs     x4, spsr_el1
    mrs     x5, esr_el1
    mrs     x6, far_el1
    stp     x3, x4, [sp, #{elr}]
    stp     x5, x6, [sp, #{esr}]
    str     x2, [sp, #{vector}]
    mov     x29, #0                         // the handler's own frames end here
    mov     x30, #0
    mov     x0, sp
    bl      {handler}

    // The handler returned: the exception was expected, and ELR in the frame says where to go on.
    mov     x0, sp
    ldp     x1, x2, [x0, #{elr}]
    msr     elr_el1, x1
    msr     spsr_el1, x2
    ldr     x1, [x0, #{sp}]
    mov     sp, x1
    ldp     x2, x3, [x0, #16]
    ldp     x4, x5, [x0, #32]
    ldp     x6, x7, [x0, #48]
    ldp     x8, x9, [x0, #64]
    ldp     x10, x11, [x0, #80]
    ldp     x12, x13, [x0, #96]
    ldp     x14, x15, [x0, #112]
    ldp     x16, x17, [x0, #128]
    ldp     x18, x19, [x0, #144]
    ldp     x20, x21, [x0, #160]
    ldp     x22, x23, [x0, #176]
    ldp     x24, x25, [x0, #192]
    ldp     x26, x27, [x0, #208]
    ldp     x28, x29, [x0, #224]
    ldr     x30, [x0, #240]
    ldp     x0, x1, [x0]
    eret
    .popsection
