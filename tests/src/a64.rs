//! Which A64 instructions may do what, by their encodings (Arm ARM, "A64 Instruction Set Encoding", Loads and Stores).
//!
//! [`log`] and [`caches`] read what QEMU executed.

pub mod caches;
pub mod log;
pub mod store;

/// Bits `high` to `low` of an instruction.
const fn bits(word: u32, high: u32, low: u32) -> u32 {
    word << (31 - high) >> (31 - high + low)
}

/// Whether a hypervisor can emulate this access to a device from the syndrome alone: a load or store of one general-purpose
/// register, without write-back, and not exclusive (Arm ARM, "ISS encoding for an exception from a Data Abort", ISV).
pub const fn has_syndrome(word: u32) -> bool {
    let general = bits(word, 29, 27) == 0b111 && bits(word, 26, 26) == 0;
    let unsigned_offset = bits(word, 25, 24) == 0b01;
    let (register, mode) = (bits(word, 21, 21) == 1, bits(word, 11, 10));
    let unscaled = bits(word, 25, 24) == 0b00 && !register && mode == 0b00;
    let register_offset = bits(word, 25, 24) == 0b00 && register && mode == 0b10;
    general && (unsigned_offset || unscaled || register_offset) || is_ordered(word)
}

/// LDAR, STLR and their relatives: the exclusives' class without the exclusive ones.
const fn is_ordered(word: u32) -> bool {
    bits(word, 29, 24) == 0b00_1000 && bits(word, 23, 23) == 1 && bits(word, 21, 21) == 0
}

/// Why an instruction wants Normal memory, so that it may fault or never succeed with the MMU off, when all memory is Device
/// memory; `None` if it does not.
pub const fn needs_normal_memory(word: u32) -> Option<&'static str> {
    if bits(word, 29, 24) == 0b00_1000 && !is_ordered(word) {
        // "Load-Exclusive and Store-Exclusive instruction usage restrictions"; CAS and CASP as the atomics below.
        return Some("an exclusive or a compare and swap");
    }
    if bits(word, 29, 27) == 0b111
        && bits(word, 26, 24) == 0
        && bits(word, 21, 21) == 1
        && bits(word, 11, 10) == 0
    {
        // LDAPR is in this class, and reads only: o3 and opc are 1100.
        return if bits(word, 15, 12) == 0b1100 { None } else { Some("an atomic read and write") };
    }
    if word & 0xffff_ff00 == 0xd50b_7400 && matches!(bits(word, 7, 5), 1 | 3 | 4) {
        return Some("DC ZVA, GVA or GZVA");
    }
    if bits(word, 31, 27) == 0b00011
        && bits(word, 25, 24) == 0b01
        && bits(word, 21, 21) == 0
        && bits(word, 11, 10) == 0b01
    {
        return Some("a memory copy or set instruction");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{has_syndrome, needs_normal_memory};

    /// Assembled by `llvm-mc -triple=aarch64 -mattr=+v8.8a,+mte`.
    const PLAIN: [(&str, u32); 10] = [
        ("ldr w0, [x1]", 0xb940_0020),
        ("ldr x0, [x1, #8]", 0xf940_0420),
        ("str wzr, [x1]", 0xb900_003f),
        ("strb w0, [x1, #3]", 0x3900_0c20),
        ("ldrh w0, [x1]", 0x7940_0020),
        ("ldrsw x0, [x1, #4]", 0xb980_0420),
        ("ldur w0, [x1, #-4]", 0xb85f_c020),
        ("str w0, [x1, x2]", 0xb822_6820),
        ("ldar w0, [x1]", 0x88df_fc20),
        ("stlr x0, [x1]", 0xc89f_fc20),
    ];
    const OTHER_ACCESSES: [(&str, u32); 10] = [
        ("str w0, [x1], #4", 0xb800_4420),
        ("str w0, [x1, #4]!", 0xb800_4c20),
        ("ldrb w0, [x1], #1", 0x3840_1420),
        ("ldr x0, [x1, #-8]!", 0xf85f_8c20),
        ("ldp w0, w1, [x2]", 0x2940_0440),
        ("stp x0, x1, [x2, #16]", 0xa901_0440),
        ("ldp x0, x1, [x2], #16", 0xa8c1_0440),
        ("ldr q0, [x1]", 0x3dc0_0020),
        ("str s0, [x1]", 0xbd00_0020),
        ("ld1 {v0.2d, v1.2d, v2.2d, v3.2d}, [x0], #64", 0x4cdf_2c00),
    ];
    const WANT_NORMAL_MEMORY: [(&str, u32); 18] = [
        ("ldxr w0, [x1]", 0x885f_7c20),
        ("ldaxr x0, [x1]", 0xc85f_fc20),
        ("stxr w2, w0, [x1]", 0x8802_7c20),
        ("stlxr w2, x0, [x1]", 0xc802_fc20),
        ("ldaxrb w0, [x1]", 0x085f_fc20),
        ("ldxp x0, x1, [x2]", 0xc87f_0440),
        ("stxp w3, x0, x1, [x2]", 0xc823_0440),
        ("cas w0, w1, [x2]", 0x88a0_7c41),
        ("casp x0, x1, x2, x3, [x4]", 0x4820_7c82),
        ("casal x0, x1, [x2]", 0xc8e0_fc41),
        ("ldadd w0, w1, [x2]", 0xb820_0041),
        ("swpal x0, x1, [x2]", 0xf8e0_8041),
        ("ldset x0, x1, [x2]", 0xf820_3041),
        ("dc zva, x0", 0xd50b_7420),
        ("dc gva, x0", 0xd50b_7460),
        ("setp [x0]!, x1!, x2", 0x19c2_0420),
        ("cpyp [x0]!, [x1]!, x2!", 0x1d01_0440),
        ("cpyfp [x0]!, [x1]!, x2!", 0x1901_0440),
    ];
    const NO_ACCESSES: [(&str, u32); 6] = [
        ("dc civac, x0", 0xd50b_7e20),
        ("dc cvac, x0", 0xd50b_7a20),
        ("clrex", 0xd503_3f5f),
        ("add x0, x1, x2", 0x8b02_0020),
        ("nop", 0xd503_201f),
        ("mrs x0, mpidr_el1", 0xd538_00a0),
    ];

    #[test]
    fn one_register_without_write_back_has_a_syndrome() {
        for (text, word) in PLAIN {
            assert!(has_syndrome(word), "{text}");
        }
        for (text, word) in OTHER_ACCESSES.iter().chain(&WANT_NORMAL_MEMORY).chain(&NO_ACCESSES) {
            assert!(!has_syndrome(*word), "{text}");
        }
    }

    #[test]
    fn what_device_memory_may_refuse_is_named() {
        for (text, word) in WANT_NORMAL_MEMORY {
            assert!(needs_normal_memory(word).is_some(), "{text}");
        }
        let ldapr = ("ldapr w0, [x1]", 0xb8bf_c020);
        for (text, word) in PLAIN.iter().chain(&OTHER_ACCESSES).chain(&NO_ACCESSES).chain([&ldapr]) {
            assert_eq!(needs_normal_memory(*word), None, "{text}");
        }
    }
}
