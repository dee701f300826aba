//! Boots hotmap, plugs a DIMM, uses it, and unplugs it: `cargo run -p hotmap-client --example first`.

use hotmap_client::dimm::Dimm;
use hotmap_client::error::Checked;
use hotmap_client::geometry::{GIB, MIB};
use hotmap_client::guest::{Guest, Unplug};
use hotmap_client::machine::Machine;
use hotmap_client::run::Run;

fn main() -> Checked {
    let run = Run::new("first")?;
    let mut guest = Guest::boot(&run, &Machine::firmware().framed())?;

    let dimm = Dimm::new("d0", GIB);
    let plugged = guest.plug_well(&dimm)?;
    println!("{} MiB at {:#x}, in slot {}", plugged.size >> 20, plugged.address, plugged.slot);

    // A page in use, in memory that can be unplugged: the guest moves it away.
    println!("{}", guest.tell("tenant new 1000")?);
    assert_eq!(guest.unplug(&dimm)?, Unplug::Gone);
    println!("{}", guest.tell("tenant check")?);

    // A page that cannot move: the guest refuses, and QEMU reports its OST status.
    let plugged = guest.plug_well(&dimm)?;
    let pinned = plugged.address + 64 * MIB;
    guest.tell(&format!("pin addr:{pinned:#x}"))?;
    println!("refused: {:?}", guest.unplug(&dimm)?);
    guest.tell(&format!("unpin addr:{pinned:#x}"))?;

    // Audits, and powers off: an error if anything is wrong.
    guest.finish()
}
