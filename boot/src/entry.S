// The first instructions. Included by entry.rs, which names the constants in braces.
//
//  Image boot      x0 = DTB, in RAM already  ----------------+
//  firmware boot   x0 = 0, in flash at 0 -> copy to RAM -----+-> EL2 -> EL1 -> .bss, stack, relocate -> boot_main
//                                                             (EL3 stays at EL3: boot_main says that it cannot go on)
//
// Registers, from hotmap_start to boot_main:
//   x19      the device tree's address: x0 at entry, or where QEMU puts it when the image is firmware
//   x20      the address of the image's first byte: in flash before the copy, in RAM after it
//   x21      the exception level at entry, 1 to 3
//   x22      1 if the image was copied out of flash, else 0
//   x0-x18   scratch
// hotmap_go_high and hotmap_mmu_on have tables of their own.
//
// TPIDR_EL1 is this CPU's number from here on, 0 for the boot CPU.

    // The address of a symbol, wherever the image runs.
    .macro  hotmap_address register, symbol
    adrp    \register, \symbol
    add     \register, \register, :lo12:\symbol
    .endm

    // Adds x0 to the words that hold addresses: relocate(difference, list, its end, _head). Changes x0 to x18 and x30.
    .macro  hotmap_relocate
    hotmap_address x1, _relr_start
    hotmap_address x2, _relr_end
    adr     x3, _head
    bl      {relocate}
    .endm

    // --- The header of an arm64 Image (Linux Documentation/arch/arm64/booting.rst), 64 bytes ---
    .pushsection .head, "ax"
    .global _head
_head:
    b       hotmap_start
    .long   0
    .quad   0                               // text_offset
    .quad   _image_size
    .quad   0xa                             // flags: little endian, 4K hint, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

    // --- Entry: one CPU, except at EL3 without PSCI, where all come and those with an affinity wait for good ---
hotmap_start:
    msr     daifset, #0xf
    msr     spsel, #1
    mrs     x21, CurrentEL
    lsr     x21, x21, #2
    cmp     x21, #3
    b.ne    hotmap_is_boot_cpu
    mrs     x1, mpidr_el1
    tst     x1, #0xffffff
    b.eq    hotmap_is_boot_cpu
hotmap_spare_cpu:
    wfe
    b       hotmap_spare_cpu
hotmap_is_boot_cpu:
    msr     tpidr_el1, xzr

    // Count instructions (event 0x08, at every level of Non-secure state) where there is a counter: ID_AA64DFR0_EL1.PMUVer
    // is neither 0 nor 0xf, and PMCR_EL0.N is not 0. counter::adopt reads it later.
    mrs     x1, id_aa64dfr0_el1
    ubfx    x1, x1, #8, #4
    sub     x1, x1, #1
    cmp     x1, #13
    b.hi    hotmap_counter_done
    mrs     x1, pmcr_el0
    tst     x1, #(0x1f << 11)
    b.eq    hotmap_counter_done
    movz    x1, #0x0800, lsl #16            // NSH: EL2 counts too
    movk    x1, #0x08
    msr     pmevtyper0_el0, x1
    mov     x1, #1
    msr     pmcntenset_el0, x1
    mov     x1, #3
    msr     pmcr_el0, x1
    isb
hotmap_counter_done:
    mov     x19, x0
    adr     x20, _head
    mov     x22, #0
    mov     w1, #{ram}
    cmp     x20, x1
    b.hs    hotmap_in_ram

    // --- In flash: copy _image_start.._load_end to RAM ---
    // x3 = where to, x5 = the end of what is copied, x6 = from, x7 = to.
    // QEMU puts the DTB at the start of RAM then. Keep clear of it: it is padded, and can exceed 2 MiB.
    mov     x22, #1
    cbnz    x19, hotmap_dtb_known
    mov     w19, #{ram}
hotmap_dtb_known:
    ldr     w1, [x19]
    rev     w1, w1
    movz    w2, #{magic} & 0xffff
    movk    w2, #{magic} >> 16, lsl #16
    mov     x3, #0
    cmp     w1, w2
    b.ne    hotmap_no_blob
    ldr     w3, [x19, #4]                   // totalsize
    rev     w3, w3
hotmap_no_blob:
    add     x3, x3, x19
    mov     w4, #{safe}
    cmp     x3, x4
    csel    x3, x3, x4, hi
    mov     w4, #0x1fffff
    add     x3, x3, x4
    bic     x3, x3, x4                      // a multiple of 2 MiB
    hotmap_address x0, hotmap_copy_vectors  // there may be no RAM: a fault in the copy says so
    bl      hotmap_set_vectors
    hotmap_address x1, _image_end
    sub     x1, x1, x20
    add     x1, x1, x3
    mov     x5, x3
    mov     x0, x3
    bl      hotmap_clean_invalidate         // lines of before; all that is written is cleaned again before the MMU goes on
    mov     x3, x5
    hotmap_address x5, _load_end
    mov     x6, x20
    mov     x7, x3
hotmap_copy:
    ldp     x8, x9, [x6], #64
    ldp     x10, x11, [x6, #-48]
    ldp     x12, x13, [x6, #-32]
    ldp     x14, x15, [x6, #-16]
    stp     x8, x9, [x7], #64
    stp     x10, x11, [x7, #-48]
    stp     x12, x13, [x7, #-32]
    stp     x14, x15, [x7, #-16]
    cmp     x6, x5
    b.lo    hotmap_copy
    adr     x4, hotmap_in_ram
    sub     x4, x4, x20
    mov     x20, x3
    dsb     sy
    ic      iallu
    dsb     sy
    isb
    add     x4, x4, x20
    br      x4

    // --- In RAM: a stack, EL1, .bss, relocation, Rust ---
hotmap_in_ram:
    hotmap_address x0, hotmap_early_vectors
    hotmap_address x1, hotmap_wait_vectors  // EL3 goes no further than a message: what comes after it is the end
    cmp     x21, #3
    csel    x0, x1, x0, eq
    bl      hotmap_set_vectors
    cbnz    x22, hotmap_has_clean_memory
    hotmap_address x0, _load_end            // the loader has cleaned the file (booting.rst), not what comes behind it
    hotmap_address x1, _image_end
    bl      hotmap_clean_invalidate
hotmap_has_clean_memory:
    hotmap_address x0, _stack_end
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    bl      hotmap_to_el1
    hotmap_address x0, _data_load
    hotmap_address x1, _data_start
    hotmap_address x2, _data_end
hotmap_copy_data:
    cmp     x1, x2
    b.hs    hotmap_has_data
    ldp     x3, x4, [x0], #16
    stp     x3, x4, [x1], #16
    b       hotmap_copy_data
hotmap_has_data:
    hotmap_address x0, _bss_start
    hotmap_address x1, _bss_end
hotmap_clear_bss:
    stp     xzr, xzr, [x0], #64
    stp     xzr, xzr, [x0, #-48]
    stp     xzr, xzr, [x0, #-32]
    stp     xzr, xzr, [x0, #-16]
    cmp     x0, x1
    b.lo    hotmap_clear_bss
    // The words that hold link-time addresses now hold load addresses.
    movz    x0, #{image} >> 48, lsl #48
    movk    x0, #({image} >> 32) & 0xffff, lsl #32
    movk    x0, #({image} >> 16) & 0xffff, lsl #16
    sub     x0, x20, x0
    hotmap_relocate
    mov     x0, x19
    mov     x1, x20
    mov     x2, x21
    mov     x3, x22
    mov     x29, xzr
    mov     x30, xzr
    b       {main}

// hotmap_set_vectors: VBAR of the exception level in x21 = x0. Changes the flags alone.
hotmap_set_vectors:
    cmp     x21, #2
    b.hi    hotmap_vectors_el3
    b.eq    hotmap_vectors_el2
    msr     vbar_el1, x0
    isb
    ret
hotmap_vectors_el2:
    msr     vbar_el2, x0
    isb
    ret
hotmap_vectors_el3:
    msr     vbar_el3, x0
    isb
    ret

// hotmap_to_el1: from EL2 down to EL1, with EL1's MMU off. At EL1 it sets SCTLR_EL1 alone; at EL3 it does nothing. SP, a
// stack of any kind, is the same before and after. Changes x0 to x18. Every CPU calls it once.
    .global hotmap_to_el1
hotmap_to_el1:
    mrs     x0, CurrentEL
    cmp     x0, #(2 << 2)
    b.lo    hotmap_at_el1
    b.hi    hotmap_at_el3
    stp     x29, x30, [sp, #-16]!
    bl      {leave_el2}                     // el2::apply
    ldp     x29, x30, [sp], #16
    hotmap_address x0, hotmap_wait_vectors  // EL2 is not used again: an HVC that should be an SMC ends there
    msr     vbar_el2, x0
    mov     x0, sp
    msr     sp_el1, x0
    mov     x0, #0x3c5                      // SPSR: EL1h, all masked
    msr     spsr_el2, x0
    adr     x0, hotmap_at_el1
    msr     elr_el2, x0
    eret
hotmap_at_el1:
    movz    x0, #{sctlr} & 0xffff
    movk    x0, #{sctlr} >> 16, lsl #16
    msr     sctlr_el1, x0
    hotmap_address x0, hotmap_early_vectors
    msr     vbar_el1, x0
    isb
hotmap_at_el3:
    ret

// hotmap_go_high(difference, ttbr0, ttbr1, tcr, mair, sctlr, argument, entry): the boot CPU's last step at the load address.
// x0 is virtual minus physical; x1 to x5 are register values; x6 and x7 are load addresses. x19 keeps x0.
    .global hotmap_go_high
hotmap_go_high:
    mov     x19, x0
    mov     x20, x1
    mov     x21, x2
    mov     x22, x3
    mov     x23, x4
    mov     x24, x5
    add     x25, x6, x0
    add     x26, x7, x0
    hotmap_relocate
    // All of the image, with the stack: what was written to it is read through the caches from here on. The tables are clean
    // (early_map.rs).
    adr     x0, _head
    hotmap_address x1, _image_end
    bl      hotmap_clean_invalidate
    hotmap_address x0, _stack_end
    add     x0, x0, x19

// hotmap_mmu_on: every CPU's last step at the load address. The MMU goes on in the identity map, which the jump leaves.
//   x0   SP, a virtual address       x23  MAIR_EL1
//   x20  TTBR0_EL1                   x24  SCTLR_EL1
//   x21  TTBR1_EL1                   x25  what x0 is after the jump
//   x22  TCR_EL1                     x26  where to jump, a virtual address
    .global hotmap_mmu_on
hotmap_mmu_on:
    msr     mair_el1, x23
    msr     tcr_el1, x22
    msr     ttbr0_el1, x20
    msr     ttbr1_el1, x21
    isb
    tlbi    vmalle1
    dsb     nsh
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el1, x24
    isb
    .global hotmap_mmu_is_on
hotmap_mmu_is_on:
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x25
    br      x26
    .popsection

// --- Exceptions before the kernel's vectors: a line, byte by byte, an exit by semihosting, and if there is none the end ---
//
// Three tables of two entries each, a synchronous exception and an SError from this level on its own stack. What is printed
// depends on the table. Without semihosting the HLT is undefined: by then VBAR has the third table, which prints nothing.
    .pushsection .text.hotmap_early, "ax"
    .macro hotmap_early_table name, target
    .balign 2048
\name:
    .org    \name + 0x200
    b       \target
    .org    \name + 0x380
    b       \target
    .endm

    hotmap_early_table hotmap_copy_vectors, hotmap_no_ram
    hotmap_early_table hotmap_early_vectors, hotmap_early_exception
    hotmap_early_table hotmap_wait_vectors, hotmap_wait
    .purgem hotmap_early_table

hotmap_no_ram:
    adr     x3, hotmap_no_ram_line
    b       hotmap_say
hotmap_early_exception:
    adr     x3, hotmap_early_exception_line
    // x3 = the line, x21 = the exception level at entry, x1 = the UART's data register.
hotmap_say:
    mrs     x21, CurrentEL
    lsr     x21, x21, #2
    hotmap_address x0, hotmap_wait_vectors
    bl      hotmap_set_vectors
    mov     w1, #{uart}
hotmap_say_byte:
    ldrb    w2, [x3], #1
    cbz     w2, hotmap_said
    str     w2, [x1]
    b       hotmap_say_byte
hotmap_said:
    mov     x0, #0x20                       // SYS_EXIT_EXTENDED
    adr     x1, hotmap_exit_block
    hlt     #0xf000
hotmap_wait:
    wfe
    b       hotmap_wait

hotmap_exit_block:
    .quad   0x20026, {exit_status}          // ADP_Stopped_ApplicationExit
hotmap_no_ram_line:
    .asciz  "error: there is no RAM where boot copies the image to (behind the device tree, 0x40400000 and up)\nhotmap: exit {exit_status}: boot cannot go on\n"
hotmap_early_exception_line:
    .asciz  "error: an exception in the entry code, before the kernel can report it\nhotmap: exit {exit_status}: boot cannot go on\n"
    .balign 8
    .popsection
    .purgem hotmap_relocate
    .purgem hotmap_address
