//! The bits of a descriptor by the names of the Arm ARM (D8.3): every bit is in one field, the highest first.

use serde::Serialize;

use crate::address::Address;
use crate::descriptor::{ADDRESS, Entry};
use crate::spec::{LAST, Spec};

/// Some bits of a descriptor.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Field {
    /// `high:low`, or one number.
    pub bits: String,
    /// The Arm ARM's name, or what software keeps there.
    pub name: &'static str,
    /// The bits, shifted down; of an address, the address itself.
    pub value: Address,
    /// What they say, in words.
    pub meaning: String,
}

/// Takes fields off the top.
struct Bits {
    raw: u64,
    /// The fields so far begin at this bit.
    down_to: u32,
    fields: Vec<Field>,
}

impl Bits {
    /// The bits from the last field down to `low`.
    fn take(&mut self, low: u32, name: &'static str, meaning: impl FnOnce(u64) -> String) {
        let (high, width) = (self.down_to - 1, self.down_to - low);
        let value = self.raw >> low & (u64::MAX >> (64 - width));
        self.push(low, high, name, value, meaning(value));
    }
    fn say(&mut self, low: u32, name: &'static str, meaning: &'static str) {
        self.take(low, name, |_| meaning.to_owned());
    }
    /// One bit.
    fn flag(&mut self, name: &'static str, set: &'static str, clear: &'static str) {
        self.take(self.down_to - 1, name, |value| if value == 1 { set } else { clear }.to_owned());
    }
    /// An address, of which these are the bits above `low`.
    fn address(&mut self, low: u32, name: &'static str) {
        let value = self.raw & ADDRESS & (u64::MAX << low);
        self.push(low, self.down_to - 1, name, value, format!("{value:#x}"));
    }
    fn push(&mut self, low: u32, high: u32, name: &'static str, value: u64, meaning: String) {
        let bits = if high == low { low.to_string() } else { format!("{high}:{low}") };
        self.fields.push(Field { bits, name, value: Address(value), meaning });
        self.down_to = low;
    }
}

/// The fields of the entry `raw` of a table of `level`.
pub(crate) fn of(spec: &Spec, level: usize, raw: u64) -> Vec<Field> {
    let mut bits = Bits { raw, down_to: 64, fields: Vec::new() };
    match Entry::decode(spec, level, raw) {
        Entry::Table { .. } => table(&mut bits, spec),
        Entry::Leaf(_) => leaf(&mut bits, spec, level),
        Entry::Invalid => invalid(&mut bits, spec),
        Entry::Reserved(why) => bits.say(1, "reserved", why),
    }
    if bits.down_to == 2 {
        let is = if level == LAST { "page" } else { "table" };
        bits.take(1, "type", |value| if value == 1 { is } else { "block" }.to_owned());
    }
    bits.flag("valid", "a walk uses the entry", "a walk that comes here faults");
    bits.fields
}

fn table(bits: &mut Bits, spec: &Spec) {
    bits.flag("NSTable", "the next tables are in non-secure memory", "no effect");
    bits.take(61, "APTable", |value| {
        ["no effect", "EL0 has no access below", "no writes below", "no writes below, and no access for EL0"]
            [usize::try_from(value).unwrap_or(0)]
        .to_owned()
    });
    bits.flag("UXNTable", "EL0 does not execute below", "no effect");
    bits.flag("PXNTable", "EL1 does not execute below", "no effect");
    software(bits);
    bits.say(51, "ignored", "by the MMU, in an entry that leads to a table");
    bits.say(48, "RES0", "more address bits with LPA2");
    bits.address(spec.page_shift, "next-level table address");
    bits.say(2, "ignored", "by the MMU, in an entry that leads to a table");
}

fn leaf(bits: &mut Bits, spec: &Spec, level: usize) {
    bits.say(59, "PBHA", "page-based hardware attributes: not used");
    software(bits);
    bits.flag("UXN", "EL0 does not execute", "EL0 may execute");
    bits.flag("PXN", "EL1 does not execute", "EL1 may execute");
    bits.flag("Contiguous", "one of a group of entries that a TLB may hold as one", "stands alone");
    bits.flag("DBM", "hardware clears AP[2] on a write", "hardware manages no dirty state");
    bits.flag("GP", "branch targets are guarded", "branch targets are not guarded");
    bits.say(48, "RES0", "more address bits with LPA2");
    bits.address(spec.level(level).low, "output address");
    if level < LAST {
        bits.say(17, "RES0", "below a block's output address");
        bits.flag("nT", "a TLB does not hold the entry while it changes size", "no effect");
    }
    if bits.down_to > 12 {
        bits.say(12, "RES0", "below the output address");
    }
    bits.flag("nG", "the translation is of one address space", "the translation is global");
    bits.flag("AF", "accessed: the first access does not fault", "the first access faults");
    bits.take(8, "SH", |value| {
        ["non-shareable", "reserved", "outer shareable", "inner shareable"]
            [usize::try_from(value).unwrap_or(1)]
        .to_owned()
    });
    bits.take(6, "AP", |value| {
        let el1 = if value & 2 == 0 { "EL1 reads and writes" } else { "EL1 reads" };
        let el0 = if value & 1 == 0 { "EL0 has no access" } else { "EL0 as EL1" };
        format!("{el1}; {el0}")
    });
    bits.flag("NS", "non-secure (in secure state)", "no effect in non-secure state");
    bits.take(2, "AttrIndx", |value| match value {
        0 => "MAIR_EL1 byte 0: Device-nGnRE".to_owned(),
        1 => "MAIR_EL1 byte 1: Normal, write-back".to_owned(),
        _ => format!("MAIR_EL1 byte {value}: hotmap does not set it"),
    });
}

/// Bits 58:55, which the MMU ignores: what hotmap keeps there (kernel/mm/src/entry/descriptor.rs).
fn software(bits: &mut Bits) {
    if bits.down_to > 59 {
        bits.say(59, "ignored", "by the MMU, in an entry that leads to a table");
    }
    bits.flag("software: 58", "set: hotmap does not use it", "not used");
    bits.flag("software: whole", "broken with the table that it led to", "not broken with a table");
    bits.flag("software: shared", "other entries lead to the same frame", "alone in leading there");
    bits.flag("software: dying", "broken: waits for the TLB maintenance", "not broken");
}

/// The MMU ignores all bits but 0; hotmap keeps the address of a broken entry until TLB maintenance is done.
fn invalid(bits: &mut Bits, spec: &Spec) {
    if bits.raw >> 55 & 1 == 0 {
        return bits.say(1, "ignored", "by the MMU, in an invalid entry");
    }
    bits.say(59, "ignored", "by the MMU, in an invalid entry");
    software(bits);
    bits.say(48, "ignored", "attributes of what the entry was");
    bits.address(spec.page_shift, "address before it was broken");
    bits.say(1, "ignored", "attributes of what the entry was");
}

#[cfg(test)]
mod tests {
    use super::*;
    use hotmap_client::geometry::{GRANULES, Granule};

    fn named(fields: &[Field], name: &str) -> (String, u64) {
        let field = fields.iter().find(|f| f.name == name).unwrap_or_else(|| panic!("no {name}"));
        (field.bits.clone(), field.value.0)
    }

    /// Put together from the fields' bits and values, the descriptor is what it was.
    #[test]
    fn every_bit_is_in_one_field() {
        let raws = [
            0,
            0x0060_0000_8000_0705,
            0x0170_0000_8000_0f87,
            0x8000_0003,
            u64::MAX,
            !1,
            0xa5a5_a5a5_a5a5_a5a5,
        ];
        for (granule, raw) in GRANULES.iter().flat_map(|g| raws.map(|raw| (*g, raw))) {
            let spec = Spec::of(granule);
            for level in spec.first..=LAST {
                let (mut down_to, mut whole) = (64, 0);
                for field in of(spec, level, raw) {
                    let (high, low) = field.bits.split_once(':').unwrap_or((&field.bits, &field.bits));
                    let (high, low): (u32, u32) = (high.parse().expect("a bit"), low.parse().expect("a bit"));
                    assert_eq!(high + 1, down_to, "{granule} level {level} {raw:#x}: {}", field.name);
                    down_to = low;
                    whole |=
                        if field.name.contains("address") { field.value.0 } else { field.value.0 << low };
                }
                assert_eq!((down_to, whole), (0, raw), "{granule} level {level}");
            }
        }
    }

    // Arm ARM D8.3.2, "Block descriptor and Page descriptor attribute fields".
    #[test]
    fn fields_have_the_bits_of_the_manual() {
        let block = of(Spec::of(Granule::K4), 2, 0x0160_0000_8020_0705);
        let at = |name| named(&block, name);
        assert_eq!(at("output address"), ("47:21".to_owned(), 0x8020_0000));
        assert_eq!(at("nT"), ("16".to_owned(), 0));
        assert_eq!(at("AttrIndx"), ("4:2".to_owned(), 1));
        assert_eq!(at("AP"), ("7:6".to_owned(), 0));
        assert_eq!(at("SH"), ("9:8".to_owned(), 3));
        assert_eq!(at("AF"), ("10".to_owned(), 1));
        assert_eq!(at("PXN"), ("53".to_owned(), 1));
        assert_eq!(at("software: shared"), ("56".to_owned(), 1));
        let page = of(Spec::of(Granule::K64), 3, 0x0070_0000_8001_0787);
        assert_eq!(named(&page, "output address"), ("47:16".to_owned(), 0x8001_0000));
        assert_eq!(named(&page, "Contiguous"), ("52".to_owned(), 1));
        assert_eq!(named(&page, "AP"), ("7:6".to_owned(), 2));
        let table = of(Spec::of(Granule::K16), 1, 0x1234_4003);
        assert_eq!(named(&table, "next-level table address"), ("47:14".to_owned(), 0x1234_4000));
        assert_eq!(named(&table, "APTable"), ("62:61".to_owned(), 0));
    }
}
