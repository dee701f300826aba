// memset(x0 = start, w1 = byte, x2 = bytes): x0 comes back. Included by memcpy.rs.
//
//   x4      the next byte to write
//   x2      bytes left, less 32 in the loop of 32, less 8 in the loop of 8
//   x1      the byte, in each byte of the word

    .pushsection .text.hotmap_memset, "ax"
    .balign 64
    .global memset
memset:
    mov     x4, x0
    and     x1, x1, #0xff
    orr     x1, x1, x1, lsl #8
    orr     x1, x1, x1, lsl #16
    orr     x1, x1, x1, lsl #32
hotmap_memset_head:
    tst     x4, #7
    b.eq    hotmap_memset_words
    cbz     x2, hotmap_memset_done
    strb    w1, [x4], #1
    sub     x2, x2, #1
    b       hotmap_memset_head
hotmap_memset_words:
    subs    x2, x2, #32
    b.lo    hotmap_memset_tail
hotmap_memset_32:
    stp     x1, x1, [x4], #32
    stp     x1, x1, [x4, #-16]
    subs    x2, x2, #32
    b.hs    hotmap_memset_32
hotmap_memset_tail:
    adds    x2, x2, #24
    b.mi    hotmap_memset_rest
hotmap_memset_8:
    str     x1, [x4], #8
    subs    x2, x2, #8
    b.pl    hotmap_memset_8
hotmap_memset_rest:
    adds    x2, x2, #8
    b.eq    hotmap_memset_done
hotmap_memset_1:
    strb    w1, [x4], #1
    subs    x2, x2, #1
    b.ne    hotmap_memset_1
hotmap_memset_done:
    ret
    .popsection
