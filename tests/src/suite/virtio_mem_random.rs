//! Virtio memory at many random sizes, under tenants.

use super::test::Test;
use super::virtio_mem::{STEP, machine};
use hotmap_client::ensure_eq;
use hotmap_client::error::{Checked, During};
use hotmap_client::geometry::{GIB, GRANULES, Granule, MIB};
use hotmap_client::guest::Guest;
use hotmap_client::run::Run;
use hotmap_client::state::Memmap;

/// How many sizes a guest is asked for in a row, under tenants, with each home of the memmap.
const SIZES: [(Memmap, u64); 3] = [(Memmap::SelfHosted, 1000), (Memmap::Ram, 250), (Memmap::Demand, 250)];

pub(super) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for granule in GRANULES {
        for (memmap, sizes) in SIZES {
            let body = move |run: &Run| many_sizes(run, granule, memmap, sizes);
            tests.push(Test::new(format!("virtio-mem/many-sizes/{granule}/memmap-{}", memmap.word()), body));
        }
    }
    tests
}

/// Numbers that are the same in each run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}

/// Many sizes, each followed before the next, with tenants that come and go: the end is the start.
fn many_sizes(run: &Run, granule: Granule, memmap: Memmap, sizes: u64) -> Checked<String> {
    let machine = machine(granule, "2G").memory("512M").append(&format!("memmap={}", memmap.word()));
    let mut guest = Guest::boot(run, &machine)?;
    let start = guest.state()?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut steady = 0;
    for n in 0..sizes {
        let size = random.below(GIB / STEP + 1) * STEP;
        guest.request(0, size)?;
        if random.below(8) == 0 {
            let pages = 1 + random.below(64 * MIB / granule.bytes());
            // It may be more than is free.
            guest.ask(&format!("tenant new {pages}"))?;
        }
        if random.below(8) == 0 {
            guest.tell("tenant check")?;
            guest.tell("tenant drop")?;
        }
        let state = guest.await_resize(0).during(&format!("size {n}"))?;
        steady += u64::from(state.virtio_mem[0].state == "steady");
    }
    guest.tell("tenant drop")?;
    guest.resize(0, 0)?;
    let end = guest.state()?;
    ensure_eq!(end.pages, start.pages, "pages after {sizes} sizes");
    ensure_eq!(end.zones, start.zones, "zones after {sizes} sizes");
    ensure_eq!(end.blocks, start.blocks, "blocks after {sizes} sizes");
    guest.finish()?;
    Ok(format!("{steady} of {sizes} sizes were reached"))
}
