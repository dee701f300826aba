//! What memmap on demand costs at most: never more pages than a memmap that is there from the start, and never a large run.

use hotmap_emulator::rig::{Rig, Shape};
use hotmap_mm::frame::Mobility;
use hotmap_mm::frame::page::PageKind;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::pfn::Pfn;
use hotmap_testkit::reference::demand::{Runs, all_runs};

use crate::life::{DIMM, Life};
use crate::lives::times;

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

/// The runs of each block of the DIMM with its memmap at its start, by what was handed out.
fn self_hosted(life: &Life, blocks: u64) -> Vec<Runs> {
    let (spec, g) = (life.rig.machine.spec(), life.g);
    let starts = (0..blocks).map(|i| DIMM + i * g.section_size);
    let runs = starts.map(|block| {
        let first = block / g.page_size;
        let inside = life.runs.range(first..first + g.section_pages);
        let mut used: Runs = inside.map(|(frame, order)| (*frame, (PageKind::Kernel, *order))).collect();
        used.insert(first, (PageKind::MemmapSelf, life.set_aside().ilog2()));
        all_runs(spec, block, &used)
    });
    runs.collect()
}

/// How many runs of `1 << order` pages the free runs are good for.
fn good_for(runs: &Runs, order: u32) -> u64 {
    let free = runs.values().filter(|run| run.0 == PageKind::Free && run.1 >= order);
    free.map(|run| 1 << (run.1 - order)).sum()
}

/// Of each order and each block.
fn compare(own: &mut Life, demand: &mut Life, blocks: u64, when: &str) {
    demand.check(when);
    let g = own.g;
    let described = (g.page_size / 64).trailing_zeros();
    for (own, (start, demand)) in self_hosted(own, blocks).iter().zip(&demand.blocks) {
        for order in 0..g.section_order {
            // At 4K the table of a block of which each memmap page is populated.
            let table = u64::from(order <= described && g.page_size == 0x1000);
            let (expected, found) = (good_for(own, order), good_for(demand, order) + table);
            assert!(
                found >= expected,
                "{} {when}: {start:#x}: order {order}: {found} for {expected}",
                g.kind
            );
        }
    }
}

/// Takes a run from both; when one does not come out of the DIMM, both go back. Whatever is taken with the memmap inside is
/// taken on demand too, but for what takes the page of the table at 4K.
fn take_both(own: &mut Life, demand: &mut Life, order: u32, taken: &mut Vec<[u64; 2]>) -> bool {
    let table = own.g.page_size == 0x1000 && order <= (own.g.page_size / 64).trailing_zeros();
    let mut runs = [own, demand].map(|life| {
        let run = life.rig.mm.frames_mut().alloc(order, PageKind::Kernel, Mobility::Movable).ok()?;
        (run.get() * life.g.page_size >= DIMM).then(|| life.runs.insert(run.get(), order));
        Some((life, run))
    });
    if let [Some((own, a)), Some((demand, b))] = &mut runs
        && own.runs.contains_key(&a.get())
    {
        let there = demand.runs.contains_key(&b.get());
        assert!(there || table, "order {order}: with the memmap inside there is one");
        if there {
            taken.push([a.get(), b.get()]);
            return true;
        }
    }
    for (life, run) in runs.into_iter().flatten() {
        life.runs.remove(&run.get());
        life.rig.mm.frames_mut().free(run);
    }
    false
}

/// After each phase of the same random history there are, in each block, as many free runs of each order as with the memmap at
/// the start of the block.
fn a_history(g: Granule, seed: u64) {
    const BLOCKS: u64 = 2;
    let [mut own, mut demand] =
        [MemmapHome::SelfHosted, MemmapHome::Demand].map(|home| boot(g, home, BLOCKS));
    let (mut state, mut taken) = (0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed), Vec::<[u64; 2]>::new());
    for phase in 0..12 {
        let below = |state: &mut u64, limit: u64| random(state) % limit;
        let (most, count) = (below(&mut state, 6), 1 << (6 + below(&mut state, 9)));
        for _ in 0..count {
            let large = below(&mut state, 200) == 0;
            let limit = if large { g.section_order } else { u32::try_from(most).expect("small") + 1 };
            let order = u32::try_from(below(&mut state, limit.into())).expect("small");
            if !take_both(&mut own, &mut demand, order, &mut taken) && !large {
                break;
            }
        }
        compare(&mut own, &mut demand, BLOCKS, &format!("seed {seed}, phase {phase}: taken"));
        let (kept, width) = (below(&mut state, 30), (below(&mut state, 300) + 1) << most);
        taken.sort_unstable();
        let mut keep = |run: &[u64; 2]| {
            let mut place = (run[0] / width + seed).wrapping_mul(0x2545_f491_4f6c_dd1d) | 1;
            random(&mut place) % 40 < kept
        };
        let gone: Vec<[u64; 2]> = taken.iter().filter(|run| !keep(run)).copied().collect();
        taken.retain(&mut keep);
        for [a, b] in gone {
            own.free(a);
            demand.free(b);
        }
        compare(&mut own, &mut demand, BLOCKS, &format!("seed {seed}, phase {phase}: thinned"));
    }
    demand.empty();
}

fn random_histories_leave_as_many_free_runs(g: Granule) {
    (1..=3 * times()).for_each(|seed| a_history(g, seed));
}

hotmap_testkit::at_each_granule!(
    random_histories_leave_as_many_free_runs,
    a_block_full_of_single_pages_lends_its_whole_memmap,
    a_page_kept_of_every_64_keeps_no_more_than_a_whole_memmap,
    as_many_runs_of_each_order_as_self_hosted,
    a_run_that_was_split_is_whole_again,
    as_many_large_runs_are_left_between_what_is_kept,
);
