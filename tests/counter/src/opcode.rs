//! A64 instructions by what they cost (Arm ARM, C4 "A64 Instruction Set Encoding").

/// What is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(usize)]
pub(crate) enum Class {
    /// TLBI to the other CPUs too (IS or OS), of an address or of everything.
    Tlbi,
    /// TLBI by range to the other CPUs too (FEAT_TLBIRANGE).
    TlbiRange,
    /// TLBI on this CPU alone.
    TlbiLocal,
    /// DSB, with or without nXS.
    Dsb,
    /// ISB.
    Isb,
    /// Load-exclusive and store-exclusive.
    Exclusive,
    /// An atomic of FEAT_LSE: compare and swap, swap, fetch and add, ...
    Atomic,
    /// DC ZVA: a block of memory is cleared.
    Zva,
    /// Other cache maintenance, DC and IC.
    Cache,
    /// ERET: the end of an exception, and each entry of a lower level.
    Eret,
}

/// Their keys, in the order of the variants.
pub(crate) const KEYS: [&str; 10] =
    ["tlbi", "tlbi_range", "tlbi_local", "dsb", "isb", "exclusive", "atomic", "zva", "cache", "eret"];

/// Whether `word` has the bits of `is` where `mask` is set.
const fn matches(word: u32, mask: u32, is: u32) -> bool {
    word & mask == is
}

impl Class {
    /// The class of an instruction; `None` if it is not counted.
    pub(crate) fn of(word: u32) -> Option<Self> {
        // SYS: op1, CRn, CRm, op2.
        if matches(word, 0xfff8_0000, 0xd508_0000) {
            return Self::of_system(word);
        }
        // Barriers: CRm, op2; DSB nXS has an op2 of its own.
        if matches(word, 0xffff_f0ff, 0xd503_309f) || matches(word, 0xffff_f3ff, 0xd503_323f) {
            return Some(Self::Dsb);
        }
        if matches(word, 0xffff_f0ff, 0xd503_30df) {
            return Some(Self::Isb);
        }
        // ERET, ERETAA, ERETAB.
        if word == 0xd69f_03e0 || matches(word, 0xffff_fbff, 0xd69f_0bff) {
            return Some(Self::Eret);
        }
        // Load and store exclusive, of one register (o2 = o1 = 0) or of a pair (o2 = 0, o1 = 1, 32 bits or more).
        if matches(word, 0x3fa0_0000, 0x0800_0000) || matches(word, 0xbfa0_0000, 0x8820_0000) {
            return Some(Self::Exclusive);
        }
        // CAS; CASP; and the atomics that load, change and store, with SWP.
        let cas = matches(word, 0x3fa0_7c00, 0x08a0_7c00) || matches(word, 0xbfa0_7c00, 0x0820_7c00);
        if cas || (matches(word, 0x3f20_0c00, 0x3820_0000) && !is_ldapr(word)) {
            return Some(Self::Atomic);
        }
        None
    }

    /// The class of DC, IC, AT or TLBI.
    fn of_system(word: u32) -> Option<Self> {
        let (op1, crn, crm, op2) = (word >> 16 & 7, word >> 12 & 15, word >> 8 & 15, word >> 5 & 7);
        match (crn, crm) {
            // DC ZVA; with memory tags also GVA, GZVA.
            (7, 4) if op1 == 3 && matches!(op2, 1 | 3 | 4) => Some(Self::Zva),
            // AT.
            (7, 8 | 9) => None,
            (7, _) => Some(Self::Cache),
            // To the Inner or Outer Shareable domain: by range, then by address or all. Stage 2 (op1 4, CRm 0 and 4) is
            // not told apart: no guest here has one. CRn 9: with nXS.
            (8 | 9, 2 | 5) => Some(Self::TlbiRange),
            (8 | 9, 0 | 1 | 3) => Some(Self::Tlbi),
            (8 | 9, _) => Some(Self::TlbiLocal),
            _ => None,
        }
    }

    /// BL or BLR: the next instruction is where it returns to.
    pub(crate) fn is_call(word: u32) -> bool {
        matches(word, 0xfc00_0000, 0x9400_0000) || matches(word, 0xffff_fc1f, 0xd63f_0000)
    }
}

/// LDAPR lies among the atomics (A = 1, R = 0, Rs = 31, o3 = 1, opc = 100), and is a load.
const fn is_ldapr(word: u32) -> bool {
    matches(word, 0x3fff_fc00, 0x38bf_c000)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Words as an assembler (LLVM's) encodes these instructions.
    #[test]
    fn instructions_are_counted_as_what_they_are() {
        let words = [
            (0xd508_83a0, Some(Class::Tlbi)),      // tlbi vale1is, x0
            (0xd508_831f, Some(Class::Tlbi)),      // tlbi vmalle1is
            (0xd508_82a1, Some(Class::TlbiRange)), // tlbi rvale1is, x1
            (0xd508_87a2, Some(Class::TlbiLocal)), // tlbi vale1, x2
            (0xd508_871f, Some(Class::TlbiLocal)), // tlbi vmalle1
            (0xd508_86a3, Some(Class::TlbiLocal)), // tlbi rvale1, x3
            (0xd503_3b9f, Some(Class::Dsb)),       // dsb ish
            (0xd503_3a9f, Some(Class::Dsb)),       // dsb ishst
            (0xd503_3e3f, Some(Class::Dsb)),       // dsb synxs
            (0xd503_3bbf, None),                   // dmb ish
            (0xd503_3fdf, Some(Class::Isb)),       // isb
            (0xd69f_03e0, Some(Class::Eret)),      // eret
            (0xd69f_0bff, Some(Class::Eret)),      // eretaa
            (0xc85f_fc20, Some(Class::Exclusive)), // ldaxr x0, [x1]
            (0x8802_7c20, Some(Class::Exclusive)), // stxr w2, w0, [x1]
            (0x887f_0440, Some(Class::Exclusive)), // ldxp w0, w1, [x2]
            (0xc8df_fc20, None),                   // ldar x0, [x1]
            (0xc89f_fc20, None),                   // stlr x0, [x1]
            (0xc8e0_fc41, Some(Class::Atomic)),    // casal x0, x1, [x2]
            (0x4860_7c82, Some(Class::Atomic)),    // caspa x0, x1, x2, x3, [x4]
            (0xf8e0_0041, Some(Class::Atomic)),    // ldaddal x0, x1, [x2]
            (0xb8a0_8041, Some(Class::Atomic)),    // swpa w0, w1, [x2]
            (0xf8bf_c041, None),                   // ldapr x1, [x2]
            (0xd50b_7420, Some(Class::Zva)),       // dc zva, x0
            (0xd50b_7a20, Some(Class::Cache)),     // dc cvac, x0
            (0xd508_751f, Some(Class::Cache)),     // ic iallu
            (0xd508_7800, None),                   // at s1e1r, x0
            (0xf862_6820, None),                   // ldr x0, [x1, x2]
            (0xf940_0020, None),                   // ldr x0, [x1]
            (0xd503_2e1f, None),                   // hint #112
        ];
        for (word, class) in words {
            assert_eq!(Class::of(word), class, "{word:#x}");
        }
    }

    #[test]
    fn calls_are_bl_and_blr() {
        assert!(Class::is_call(0x9400_0010) && Class::is_call(0x97ff_fff0) && Class::is_call(0xd63f_0020));
        assert!(!Class::is_call(0x1400_0010) && !Class::is_call(0xd65f_03c0) && !Class::is_call(0xd61f_0020));
    }

    #[test]
    fn each_class_has_a_key() {
        assert_eq!(KEYS[Class::Eret as usize], "eret");
        assert_eq!(KEYS[Class::Zva as usize], "zva");
        assert_eq!(KEYS.len(), Class::Eret as usize + 1);
    }
}
