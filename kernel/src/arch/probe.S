// hotmap_probe32(x0 = address): x0 = the word there with bit 32 set, or 0 if the load aborts. Included by probe.rs; the
// exception handler knows the address of the load, and goes on at hotmap_probe32_absent.

    .pushsection .text.hotmap_probe, "ax"
    .global hotmap_probe32
hotmap_probe32:
    .global hotmap_probe32_load
hotmap_probe32_load:
    ldr     w0, [x0]
    orr     x0, x0, #{present}
    ret
    .global hotmap_probe32_absent
hotmap_probe32_absent:
    mov     x0, #0
    ret
    .popsection
