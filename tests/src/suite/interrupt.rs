//! Ctrl-C ends an offline between two batches, and what else is typed meanwhile is read after it.

use super::test::{Test, per_granule, slotted};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, During, failed, unknown};
use hotmap_client::geometry::Granule;
use hotmap_client::guest::{Guest, Unplug};
use hotmap_client::patience::Deadline;
use hotmap_client::run::Run;
use hotmap_client::shell::find_reply;
use hotmap_client::state::BlockState;
use hotmap_client::{ensure, ensure_eq};

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("interrupt/offline", ctrl_c_ends_an_offline);
    tests.extend(per_granule("interrupt/unplug", ctrl_c_ends_an_unplug));
    tests.extend(per_granule("interrupt/typed-ahead", what_is_typed_meanwhile_is_read_afterwards));
    tests.push(Test::new("interrupt/progress", an_offline_that_takes_long_says_how_far_it_is));
    tests
}

/// How often a test tries: Ctrl-C may come when all pages have migrated.
const TRIES: u32 = 8;

/// A DIMM of three blocks (one at 64K) that a tenant fills: `(address, pages)`.
fn filled(guest: &mut Guest, dimm: &Dimm, granule: Granule) -> Checked<(u64, u64)> {
    let plugged = guest.plug_well(dimm)?;
    let pages = dimm.size / granule.block() * granule.usable_pages_per_block();
    guest.tell(&format!("tenant new {pages}"))?;
    Ok((plugged.address, pages))
}

fn dimm(granule: Granule) -> Dimm {
    let blocks = if granule == Granule::K64 { 1 } else { 3 };
    Dimm::new("d0", blocks * granule.block())
}

fn boot(run: &Run, granule: Granule) -> Checked<Guest> {
    Guest::boot(run, &slotted(granule).memory("2G"))
}

/// Types an offline of the block at `address`, and `then` at once. Whether it was interrupted.
fn offline(guest: &mut Guest, address: u64, then: &str) -> Checked<bool> {
    let command = format!("offline {address:#x}");
    guest.type_raw(&format!("{command}\n{then}"))?;
    let reply = guest.await_reply(&command, Deadline::for_step())?;
    match reply.result() {
        Ok(_) => Ok(false),
        Err(sentence) if sentence.starts_with("offline: interrupted: ") => {
            ensure!(sentence.ends_with(" (EINTR)"), "{sentence}");
            Ok(true)
        }
        Err(other) => failed(format!("'{command}' failed: {other}")),
    }
}

/// All is as before: the tenant's pages are right wherever they are, the blocks are online, and the audit finds nothing.
fn nothing_is_lost(guest: &mut Guest, address: u64, pages: u64) -> Checked {
    let state = guest.state()?;
    ensure_eq!(state.tenant_pages(), pages, "tenant pages after the interruption");
    let block = state.blocks.iter().find(|block| block.start == address);
    ensure!(
        block.is_some_and(|block| block.state == BlockState::Online),
        "the block is not online: {block:?}"
    );
    guest.tell("tenant check").during("after the interruption")?;
    guest.tell("audit").during("after the interruption")?;
    Ok(())
}

fn ctrl_c_ends_an_offline(run: &Run, granule: Granule) -> Checked<String> {
    let (mut guest, dimm) = (boot(run, granule)?, dimm(granule));
    let (first, pages) = filled(&mut guest, &dimm, granule)?;
    let address = first + dimm.size - granule.block();
    for attempt in 1..=TRIES {
        if offline(&mut guest, address, "\u{3}")? {
            nothing_is_lost(&mut guest, address, pages)?;
            // What is left moves when nothing stops it.
            guest.unplug_well(&dimm)?;
            guest.tell("tenant check")?;
            guest.finish()?;
            return Ok(format!("at attempt {attempt}"));
        }
        guest.tell(&format!("online {address:#x}"))?;
        guest.tell("tenant drop")?;
        guest.tell(&format!("tenant new {pages}"))?;
    }
    unknown(format!("{TRIES} offlines were over before Ctrl-C was read"))
}

fn ctrl_c_ends_an_unplug(run: &Run, granule: Granule) -> Checked<String> {
    let (mut guest, dimm) = (boot(run, granule)?, dimm(granule));
    for attempt in 1..=TRIES {
        let (address, pages) = filled(&mut guest, &dimm, granule)?;
        guest.ask_back(&dimm)?;
        guest.await_ejection_begun(&dimm)?;
        guest.type_raw("\u{3}")?;
        if let Unplug::Refused(_) = guest.await_removal(&dimm)? {
            guest.wait_for("the refusal", Deadline::for_step(), |text| {
                text.contains("dimm0: refused: interrupted: ").then_some(())
            })?;
            nothing_is_lost(&mut guest, address, pages)?;
            guest.unplug_well(&dimm)?;
            guest.tell("tenant check")?;
            guest.finish()?;
            return Ok(format!("at attempt {attempt}"));
        }
        guest.tell("tenant drop")?;
    }
    unknown(format!("{TRIES} unplugs were over before Ctrl-C was read"))
}

/// Whole commands, and a word around the Ctrl-C.
fn what_is_typed_meanwhile_is_read_afterwards(run: &Run, granule: Granule) -> Checked<String> {
    let (mut guest, dimm) = (boot(run, granule)?, dimm(granule));
    let (first, pages) = filled(&mut guest, &dimm, granule)?;
    let address = first + dimm.size - granule.block();
    let position = guest.position();
    ensure!(!offline(&mut guest, address, "tenant check 1\nzones\n")?, "interrupted without Ctrl-C");
    is_read(&mut guest, position, "tenant check 1")?;
    is_read(&mut guest, position, "zones")?;
    for attempt in 1..=TRIES {
        guest.tell(&format!("online {address:#x}"))?;
        guest.tell("tenant drop")?;
        guest.tell(&format!("tenant new {pages}"))?;
        let position = guest.position();
        if offline(&mut guest, address, "tenant ch\u{3}eck\n")? {
            is_read(&mut guest, position, "tenant check")?;
            nothing_is_lost(&mut guest, address, pages)?;
            guest.finish()?;
            return Ok(format!("at attempt {attempt}"));
        }
        // Ctrl-C came to the prompt, which forgets what stands before it.
    }
    unknown(format!("{TRIES} offlines were over before Ctrl-C was read"))
}

/// On a machine on which an instruction takes a microsecond: a line every two seconds, between none and all pages.
fn an_offline_that_takes_long_says_how_far_it_is(run: &Run) -> Checked<String> {
    let machine = slotted(Granule::K4).extra(["-icount", "shift=10,sleep=off"]);
    let mut guest = Guest::boot(run, &machine)?;
    let dimm = Dimm::new("d0", Granule::K4.block());
    let (address, pages) = filled(&mut guest, &dimm, Granule::K4)?;
    let reply = guest.tell(&format!("offline {address:#x}"))?;
    let after = format!(" of {pages} pages have migrated");
    let said: Vec<u64> = reply
        .lines()
        .filter_map(|line| line.strip_prefix("offline: ")?.strip_suffix(&after)?.parse().ok())
        .collect();
    ensure!(said.len() > 1 && said.is_sorted(), "no progress: {reply}");
    ensure!(said.iter().all(|migrated| (1..pages).contains(migrated)), "{said:?} of {pages}");
    guest.finish()?;
    Ok(format!("{} lines", said.len()))
}

/// A command that was typed since `position` was read, and succeeded.
fn is_read(guest: &mut Guest, position: usize, command: &str) -> Checked {
    // It is read after all of that.
    guest.tell("mem")?;
    match find_reply(&guest.text_since(position), command) {
        Some(reply) => {
            reply.result().map(drop).or_else(|why| failed(format!("'{command}', typed ahead: {why}")))
        }
        None => failed(format!("'{command}' was typed ahead and not read")),
    }
}
