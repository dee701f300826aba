// hotmap_clean_invalidate(x0 = start, x1 = end): DC CIVAC for each line of the smallest size (CTR_EL0.DminLine). Returns
// the line's bytes in x0. Changes x0 to x4 and the flags, and uses no stack: the entry code calls it before there is
// one. Included by caches.rs.
    .pushsection .text.hotmap_caches, "ax"
    .global hotmap_clean_invalidate
hotmap_clean_invalidate:
    mrs     x2, ctr_el0
    ubfx    x2, x2, #16, #4                 // DminLine: log2 of the line's words
    mov     x3, #4
    lsl     x2, x3, x2
    sub     x3, x2, #1
    bic     x0, x0, x3
    sub     x4, x1, x2, lsl #3
    cmp     x0, x4
    b.hi    hotmap_clean_last
hotmap_clean_eight:
    .rept   8
    dc      civac, x0
    add     x0, x0, x2
    .endr
    cmp     x0, x4
    b.ls    hotmap_clean_eight
hotmap_clean_last:
    cmp     x0, x1
    b.hs    hotmap_is_clean
    dc      civac, x0
    add     x0, x0, x2
    b       hotmap_clean_last
hotmap_is_clean:
    dsb     sy
    mov     x0, x2
    ret
    .popsection
