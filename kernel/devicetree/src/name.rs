//! Names of nodes and properties, as messages show them.
use heapless::String;

/// The longest node name that is kept, in bytes: 31 for the name (Devicetree Specification 2.2.1), '@' and
/// 15 of the unit address. What is longer is cut: names are for messages only.
pub const NAME_CAPACITY: usize = 47;

/// Text for a message; see [`NAME_CAPACITY`].
pub(crate) type Name = String<NAME_CAPACITY, u8>;

/// As much of `text` as fits into a message; what is not UTF-8 ends it.
#[cold]
pub(crate) fn name(text: &[u8]) -> Name {
    let mut name = Name::new();
    append(&mut name, text);
    name
}

/// Adds as much of `text` as fits, with control characters replaced: a name may end up on a terminal.
#[cold]
pub(crate) fn append(name: &mut Name, text: &[u8]) {
    let Some(chunk) = text.utf8_chunks().next() else { return };
    for letter in chunk.valid().chars() {
        if name.push(if letter.is_control() { '?' } else { letter }).is_err() {
            return;
        }
    }
}
