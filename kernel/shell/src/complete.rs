//! What Tab offers: the names of commands, and behind one what its usage has at that place.

use core::fmt::{Display, Write};

use heapless::String;
use hotmap_mm::frame::block::BlockState;

#[cfg(target_os = "none")]
use super::selftest;
use super::table;
use crate::units::Units;
use hotmap_kernel::kernel::Kernel;

/// Calls `offer` for each word that may stand where the last word of `text` is, which may be empty: `text` is a command up to
/// the cursor.
pub(crate) fn complete(kernel: &Kernel, text: &str, offer: &mut dyn FnMut(&str)) {
    let (whole, word) = text.rsplit_once(' ').unwrap_or(("", text));
    let mut words = whole.split_ascii_whitespace();
    let Some(name) = words.next() else { return names(offer) };
    let Some(command) = table::find(name) else { return };
    let first = words.next();
    let place = usize::from(first.is_some()) + words.count();
    if name == "dax" && place == 1 {
        return devices(kernel, offer);
    }
    let rest = command.usage.strip_prefix(name).unwrap_or_default().trim_ascii_start();
    for form in split(inside(rest), '|') {
        let leads = split(form, ' ').next().is_some_and(|lead| {
            first.is_none_or(|first| split(inside(lead), '|').any(|one| is_placeholder(one) || one == first))
        });
        if leads && let Some(part) = split(form, ' ').nth(place) {
            split(inside(part), '|').for_each(|one| offer_one(kernel, name, one, word, offer));
        }
    }
}

/// What brackets around all of `usage` enclose, or `usage`.
fn inside(usage: &str) -> &str {
    let inner = usage.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.filter(|inner| !inner.contains("] ")).unwrap_or(usage)
}

/// The parts of a usage between `mark`s that no brackets enclose.
fn split(usage: &str, mark: char) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    usage.split(move |c| {
        match c {
            '[' => depth += 1,
            ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == mark && depth == 0
    })
}

/// What stands for something: `ADDR`, `N`.
fn is_placeholder(part: &str) -> bool {
    part.starts_with(|c: char| c.is_ascii_uppercase())
}

/// Offers what one word of a usage means.
fn offer_one(kernel: &Kernel, name: &str, part: &str, word: &str, offer: &mut dyn FnMut(&str)) {
    if part.starts_with("ADDR") {
        return addresses(kernel, name, "", offer);
    }
    match part {
        "COMMAND" => names(offer),
        #[cfg(target_os = "none")]
        "NAME" => selftest::names(offer),
        "addr:A" if word.starts_with("addr:") => addresses(kernel, name, "addr:", offer),
        "addr:A" => offer("addr:"),
        "pfn:N" => offer("pfn:"),
        _ if !is_placeholder(part) && part != "..." => offer(part),
        _ => {}
    }
}

fn names(offer: &mut dyn FnMut(&str)) {
    table::GROUPS.iter().flat_map(|group| group.commands).for_each(|command| offer(command.name()));
}

fn devices(kernel: &Kernel, offer: &mut dyn FnMut(&str)) {
    let given = kernel.mm.devices().kmem().iter().map(|kmem| kmem.device().start);
    let starts = kernel.mm.devices().iter().map(|device| device.start()).chain(given);
    starts.for_each(|start| offer_address("", kernel.address(start), offer));
}

/// The addresses that `name` can use: memory blocks in the right state, or the regions of the device tree.
fn addresses(kernel: &Kernel, name: &str, prefix: &str, offer: &mut dyn FnMut(&str)) {
    if name == "add" {
        let starts = kernel.regions.all().iter().map(|region| region.range.start);
        return starts.for_each(|start| offer_address(prefix, start, offer));
    }
    for block in kernel.mm.frames().blocks() {
        let offline = block.state == BlockState::Offline;
        if (name == "online" && !offline) || (name == "offline" && offline) {
            continue;
        }
        offer_address(prefix, kernel.address(block.start), offer);
    }
}

fn offer_address(prefix: &str, address: impl Display, offer: &mut dyn FnMut(&str)) {
    let mut text = String::<32>::new();
    // An address has at most 18 characters.
    let _ = write!(text, "{prefix}{address}");
    offer(&text);
}
