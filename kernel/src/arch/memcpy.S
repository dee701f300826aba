// memcpy(x0 = destination, x1 = source, x2 = bytes): x0 comes back. Included by memcpy.rs.
//
//   x4      the next byte to write
//   x2      bytes left, less 32 in the loop of 32, less 8 in the loop of 8
//   x3      the bits in which the two addresses differ
//   x5-x8   what is copied

    .pushsection .text.hotmap_memcpy, "ax"
    .balign 64
    .global memcpy
memcpy:
    mov     x4, x0
    eor     x3, x0, x1
    tst     x3, #7
    b.ne    hotmap_memcpy_bytes             // never multiples of 8 at the same time
hotmap_memcpy_head:
    tst     x4, #7
    b.eq    hotmap_memcpy_words
    cbz     x2, hotmap_memcpy_done
    ldrb    w5, [x1], #1
    strb    w5, [x4], #1
    sub     x2, x2, #1
    b       hotmap_memcpy_head
hotmap_memcpy_words:
    subs    x2, x2, #32
    b.lo    hotmap_memcpy_tail
hotmap_memcpy_32:
    ldp     x5, x6, [x1], #16
    ldp     x7, x8, [x1], #16
    stp     x5, x6, [x4], #16
    stp     x7, x8, [x4], #16
    subs    x2, x2, #32
    b.hs    hotmap_memcpy_32
hotmap_memcpy_tail:
    adds    x2, x2, #24
    b.mi    hotmap_memcpy_rest
hotmap_memcpy_8:
    ldr     x5, [x1], #8
    str     x5, [x4], #8
    subs    x2, x2, #8
    b.pl    hotmap_memcpy_8
hotmap_memcpy_rest:
    add     x2, x2, #8
hotmap_memcpy_bytes:
    cbz     x2, hotmap_memcpy_done
hotmap_memcpy_1:
    ldrb    w5, [x1], #1
    strb    w5, [x4], #1
    subs    x2, x2, #1
    b.ne    hotmap_memcpy_1
hotmap_memcpy_done:
    ret
    .popsection
