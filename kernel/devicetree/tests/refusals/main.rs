//! Every rule that a blob can break, broken once, with the message that says so.
mod blob;
#[path = "../support/mod.rs"]
mod support;
mod tree;

use support::{Writer, read};

/// A tree with RAM and nothing else, the root left open.
fn machine() -> Writer {
    let mut writer = Writer::root();
    writer.memory(&[(0x4000_0000, 0x4000_0000)]).end();
    writer
}

/// The message for a blob, without what they all begin with.
fn refusal(blob: &[u8]) -> String {
    let error = read(blob).expect_err("refused");
    let message = error.to_string();
    message.strip_prefix("device tree: ").expect("every message says where it comes from").to_string()
}

/// The message for the tree of `machine` with something added to its root.
fn refusal_with(add: impl FnOnce(&mut Writer)) -> String {
    let mut writer = machine();
    add(&mut writer);
    refusal(&writer.blob())
}

#[test]
fn the_tree_that_the_others_are_made_from_is_fine() {
    let blob = machine().blob();
    assert_eq!(read(&blob).map(|machine| machine.memory.len()), Ok(1));
    assert_eq!(blob.len(), 0xd3, "the messages below name offsets in it");
}
