//! Where a store writes.

use super::bits;

/// The general-purpose registers; the last one is SP.
pub type Registers = [u64; 32];

/// The first byte and the number of bytes that a store of general-purpose registers writes; `None` for other instructions.
pub fn target(word: u32, registers: &Registers) -> Option<(u64, u64)> {
    let register = |high, low| registers[bits(word, high, low) as usize];
    let base = register(9, 5);
    let at = |offset: i64, bytes: u64| Some((base.wrapping_add_signed(offset), bytes));
    let size = bits(word, 31, 30);
    match bits(word, 29, 24) {
        // STR (unsigned offset).
        0b11_1001 if bits(word, 23, 22) == 0 => at(i64::from(bits(word, 21, 10) << size), 1 << size),
        0b11_1000 if bits(word, 23, 21) == 0 => {
            let after = bits(word, 11, 10) == 0b01;
            at(if after { 0 } else { signed(bits(word, 20, 12), 9) }, 1 << size)
        }
        0b11_1000 if bits(word, 23, 21) == 1 && bits(word, 11, 10) == 0b10 => {
            at(extended(word, register(20, 16)) << (size * bits(word, 12, 12)), 1 << size)
        }
        // STP and STNP.
        0b10_1000 | 0b10_1001 if bits(word, 22, 22) == 0 => {
            let scale = 2 + bits(word, 31, 31);
            let after = bits(word, 24, 23) == 0b01;
            at(if after { 0 } else { signed(bits(word, 21, 15), 7) << scale }, 2 << scale)
        }
        // STLR, STXR.
        0b00_1000 if bits(word, 22, 21) == 0 => at(0, 1 << size),
        _ => None,
    }
}

/// The offset register of a store, extended: UXTW, LSL, SXTW or SXTX.
fn extended(word: u32, offset: u64) -> i64 {
    match bits(word, 15, 13) {
        0b010 => (offset & 0xffff_ffff).cast_signed(),
        0b110 => signed(u32::try_from(offset & 0xffff_ffff).unwrap_or_default(), 32),
        _ => offset.cast_signed(),
    }
}

/// A number of `width` bits with a sign.
fn signed(value: u32, width: u32) -> i64 {
    i64::from(value) << (64 - width) >> (64 - width)
}

#[cfg(test)]
mod tests {
    use super::target;

    /// Assembled by `llvm-mc -triple=aarch64`; x1 is 0x1000, x2 is 0x20, SP is 0x8000.
    #[test]
    fn each_form_writes_where_it_says() {
        let mut registers = [0; 32];
        (registers[1], registers[2], registers[31]) = (0x1000, 0x20, 0x8000);
        let stores = [
            ("str wzr, [x1]", 0xb900_003f, 0x1000, 4),
            ("strb w0, [x1, #3]", 0x3900_0c20, 0x1003, 1),
            ("str w0, [x1, x2]", 0xb822_6820, 0x1020, 4),
            ("str x0, [x1, x2, lsl #3]", 0xf822_7820, 0x1100, 8),
            ("stlr x0, [x1]", 0xc89f_fc20, 0x1000, 8),
            ("str w0, [x1], #4", 0xb800_4420, 0x1000, 4),
            ("str w0, [x1, #4]!", 0xb800_4c20, 0x1004, 4),
            ("stur x0, [x1, #-8]", 0xf81f_8020, 0xff8, 8),
            ("stp x0, x1, [x2, #16]", 0xa901_0440, 0x30, 16),
            ("stp x29, x30, [sp, #-16]!", 0xa9bf_7bfd, 0x7ff0, 16),
            ("stp w0, w1, [x2], #8", 0x2881_0440, 0x20, 8),
        ];
        for (text, word, start, bytes) in stores {
            assert_eq!(target(word, &registers), Some((start, bytes)), "{text}");
        }
        let others = [
            ("ldr w0, [x1]", 0xb940_0020),
            ("ldp x0, x1, [x2], #16", 0xa8c1_0440),
            ("ldar w0, [x1]", 0x88df_fc20),
            ("add x0, x1, x2", 0x8b02_0020),
            ("dc civac, x0", 0xd50b_7e20),
        ];
        for (text, word) in others {
            assert_eq!(target(word, &registers), None, "{text}");
        }
    }
}
