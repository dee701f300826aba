//! Numbers as people write them: `4096`, `0x8000_0000`, `128M`, `1GiB`.

/// The number that `text` says: decimal or 0x hexadecimal, `_` among them skipped, then K, M, G or T (with B or iB) for
/// powers of 1024. `None` when it says none, or one that does not fit.
pub fn parse(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => (hex, 16),
        None => (text, 10),
    };
    let end = digits.find(|c: char| !c.is_digit(radix) && c != '_').unwrap_or(digits.len());
    let (digits, suffix) = digits.split_at_checked(end)?;
    let mut value: u64 = 0;
    let mut any = false;
    for digit in digits.chars().filter_map(|c| c.to_digit(radix)) {
        value = value.checked_mul(u64::from(radix))?.checked_add(u64::from(digit))?;
        any = true;
    }
    let shift = shift_of(suffix)?;
    let fits = any && value.leading_zeros() >= shift;
    fits.then(|| value << shift)
}

/// Whether `text` is digits and a suffix: a number, which may be too large for [`parse`].
pub fn looks_like_one(text: &str) -> bool {
    let hex = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let (digits, radix) = hex.map_or((text, 10), |hex| (hex, 16));
    let end = digits.find(|c: char| !c.is_digit(radix) && c != '_').unwrap_or(digits.len());
    let (digits, suffix) = digits.split_at(end);
    digits.contains(|c: char| c.is_digit(radix)) && shift_of(suffix).is_some()
}

fn shift_of(suffix: &str) -> Option<u32> {
    let mut letters = suffix.chars();
    let shift = match letters.next().map(|c| c.to_ascii_uppercase()) {
        None => return Some(0),
        Some('K') => 10,
        Some('M') => 20,
        Some('G') => 30,
        Some('T') => 40,
        Some(_) => return None,
    };
    matches!(letters.as_str(), "" | "B" | "b" | "iB" | "ib").then_some(shift)
}

#[cfg(test)]
mod tests {
    use super::{looks_like_one, parse};

    #[test]
    fn numbers_are_read_as_people_write_them() {
        for (text, value) in [
            ("0", 0),
            ("4096", 4096),
            ("0x80000000", 0x8000_0000),
            ("0x8000_0000", 0x8000_0000),
            ("128M", 128 << 20),
            ("1GiB", 1 << 30),
            ("64k", 64 << 10),
            ("2TB", 2 << 40),
        ] {
            assert_eq!(parse(text), Some(value), "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "0x", "12x", "M", "-1", "1.5G", "99999999999999999999", "16777216T", "1MM", "0x1gg"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_number_that_is_too_large_is_one() {
        for text in
            ["99999999999999999999", "16777216T", "0x1_0000_0000_0000_0000", "4096", "0xfffffffffffffffffK"]
        {
            assert!(looks_like_one(text), "{text}");
        }
        for text in ["", "0x", "12x", "M", "-1", "1.5G", "_", "0xg"] {
            assert!(!looks_like_one(text), "{text}");
        }
    }
}
