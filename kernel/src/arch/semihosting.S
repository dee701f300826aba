// hotmap_semihosting_call(x0 = operation, x1 = its block): x0 = the answer. Included by semihosting.rs. Without semihosting
// the HLT is undefined; the exception handler knows its address, and goes on at hotmap_semihosting_absent.

    .pushsection .text.hotmap_semihosting, "ax"
    .global hotmap_semihosting_call
hotmap_semihosting_call:
    .global hotmap_semihosting_hlt
hotmap_semihosting_hlt:
    hlt     #0xf000
    .global hotmap_semihosting_absent
hotmap_semihosting_absent:
    ret
    .popsection
