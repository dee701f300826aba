//! hotmap's figures for the same table, from the bench, with the counter beside them.

use super::dimm::STEPS;
use super::guest::CPU;
use super::plan::{CYCLES, SIZES};
use super::record::{Column, HOTMAP, Home, Operation, Part, Row, Value};
use crate::bench::costs::{Costs, Counter, Seen};
use crate::bench::dedup::{self, What};
use crate::bench::demand::{self, TIB};
use crate::bench::figures::{self, Figure};
use crate::bench::measure::{Life, Subject, image_bytes, machine, measure_on, standard};
use crate::bench::paid::huge_page;
use crate::bench::resize::{self, Resize};
use crate::bench::{alloc, migrate};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, failed};
use hotmap_client::geometry::{GIB, Granule};
use hotmap_client::guest::Guest;
use hotmap_client::run::Run;
use hotmap_client::state::Memmap;
use std::path::Path;

/// Measures everything at a granule.
///
/// # Errors
/// As the bench's.
pub fn measure(run: &Run, granule: Granule, plugin: &Path) -> Checked<Column> {
    eprintln!("bench-linux: hotmap, {granule}");
    let mut column = Column { name: HOTMAP.into(), granule: granule.bytes(), ..Column::default() };
    column.add(Row::guest(Operation::Image), Value::Size(image_bytes()?));
    for (home, memmap) in [(Home::SelfHosted, Memmap::SelfHosted), (Home::Ram, Memmap::Ram)] {
        let subject = Subject { memmap, ..standard(granule, CPU) };
        let (life, seen) = counted(run, subject, plugin)?;
        if home == Home::SelfHosted {
            column.add(Row::guest(Operation::Boot), Value::Costs(life.boot.counted(seen.as_ref())?));
        }
        write(&mut column, Part::Life, home, &life, seen.as_ref())?;
        for size in SIZES.into_iter().filter(|_| home == Home::SelfHosted) {
            let (life, seen) = counted(run, Subject { size, ..subject }, plugin)?;
            write(&mut column, Part::Growth, Home::Any, &life, seen.as_ref())?;
        }
    }
    cycles(run, granule, &mut column)?;
    large(run, granule, &mut column)?;
    in_use(run, granule, &mut column, plugin)?;
    runs(run, granule, &mut column, plugin)?;
    shared(run, granule, &mut column, plugin)?;
    Ok(column)
}

fn counted(run: &Run, subject: Subject, plugin: &Path) -> Checked<(Life, Option<Seen>)> {
    let counter = Counter::new(run, Some(plugin));
    let life = measure_on(run, subject, &counter.beside(machine(subject)))?;
    Ok((life, counter.seen()?))
}

fn write(column: &mut Column, part: Part, home: Home, life: &Life, seen: Option<&Seen>) -> Checked {
    let row = |operation| Row::new(part, home, life.subject.size, operation);
    let mut all = Vec::new();
    for (step, figure) in STEPS.into_iter().zip([&life.add, &life.online, &life.offline, &life.remove]) {
        let costs = figure.counted(seen)?;
        column.add(row(step), Value::Costs(costs));
        all.push(costs);
    }
    column.add(row(Operation::Sum), Value::Costs(Costs::sum(all)));
    column.add(row(Operation::SystemRam), Value::Size(life.system_ram()));
    Ok(())
}

/// A DIMM again and again, and what of boot RAM is not free at the prompt.
fn cycles(run: &Run, granule: Granule, column: &mut Column) -> Checked {
    let mut guest = Guest::boot(run, &machine(standard(granule, CPU)))?;
    let pages = guest.state()?.pages;
    column.add(Row::guest(Operation::Used), Value::Size((pages.present - pages.free) * granule.bytes()));
    for cycle in 0..CYCLES {
        let dimm = Dimm::new(&format!("c{cycle}"), GIB).unreserved();
        guest.plug_well(&dimm)?;
        guest.unplug_well(&dimm)?;
    }
    let sums = sums(&guest.text());
    guest.power_off()?;
    let (Some(first), Some(last)) = (sums.first(), sums.get(CYCLES - 1)) else {
        return failed(format!("{} of {CYCLES} cycles were counted", sums.len()));
    };
    for (operation, instructions) in [(Operation::First, *first), (Operation::Last, *last)] {
        let row = Row::new(Part::Cycles, Home::Any, GIB, operation);
        column.add(row, Value::Costs(Costs { instructions, ..Costs::default() }));
    }
    Ok(())
}

/// The instructions of each life in a transcript.
fn sums(text: &str) -> Vec<u64> {
    let is_step =
        |figure: &Figure| ["add", "online", "offline", "remove"].contains(&figure.operation.as_str());
    let steps: Vec<Figure> = text.lines().filter_map(figures::read).filter(is_step).collect();
    steps.chunks_exact(4).map(|life| life.iter().map(|figure| figure.instructions).sum()).collect()
}

/// A DIMM of 1 TiB.
fn large(run: &Run, granule: Granule, column: &mut Column) -> Checked {
    let cost = demand::measure(run, granule)?.cost;
    for (operation, instructions) in [(Operation::Plug, cost.plug), (Operation::Unplug, cost.unplug)] {
        let row = Row::new(Part::Tebibyte, Home::Any, TIB, operation);
        column.add(row, Value::Costs(Costs { instructions, ..Costs::default() }));
    }
    Ok(())
}

/// Memory in use, and virtio memory.
fn in_use(run: &Run, granule: Granule, column: &mut Column, plugin: &Path) -> Checked {
    let moved = migrate::measure(run, granule, Memmap::SelfHosted, GIB, Some(plugin))?;
    for operation in [Operation::Migration, Operation::UsedPage] {
        let row = Row::new(Part::Load, Home::Any, GIB, operation);
        let costs = Costs { instructions: moved.instructions, ..moved.costs };
        column.add(row, Value::Each(costs, moved.pages));
    }
    let Resize { up, down, .. } = resize::measure(run, granule, Memmap::Ram, Some(plugin))?;
    // It clears memory when it hands it out, in either case.
    let downs = [(Operation::Down, down), (Operation::DownUncleared, down)];
    for (operation, costs) in [(Operation::Up, up)].into_iter().chain(downs) {
        column.add(Row::new(Part::Resize, Home::Ram, GIB, operation), Value::Costs(costs));
    }
    Ok(())
}

/// Runs of pages that are taken and freed.
fn runs(run: &Run, granule: Granule, column: &mut Column, plugin: &Path) -> Checked {
    for (home, memmap) in [(Home::SelfHosted, Memmap::SelfHosted), (Home::Demand, Memmap::Demand)] {
        for runs in alloc::runs(run, granule, memmap, plugin)? {
            let bytes = granule.bytes() << runs.order;
            for (operation, costs) in [(Operation::Take, runs.taken), (Operation::Free, runs.freed)] {
                column.add(Row::new(Part::Alloc, home, bytes, operation), Value::Each(costs, runs.count));
            }
        }
    }
    Ok(())
}

/// Huge pages and devices that share their memmap.
fn shared(run: &Run, granule: Granule, column: &mut Column, plugin: &Path) -> Checked {
    let huge = dedup::rows().into_iter().filter(|(is, cpu, _)| *is == granule && *cpu == CPU);
    let huge = huge.filter_map(|(_, _, what)| match what {
        What::HugePage { bytes, .. } => Some((Part::HugePage, Home::Any, bytes, what)),
        What::Device { .. } => None,
    });
    let devices = [GIB, TIB].map(|bytes| {
        let what = What::Device { bytes, align: dax_align(granule, bytes), map: "dev", tail: "page" };
        (Part::Dax, Home::SelfHosted, bytes, what)
    });
    for (part, home, bytes, what) in huge.chain(devices) {
        let figure = dedup::measure((granule, CPU, what), run, Some(plugin))?.make;
        let operation = if part == Part::Dax { Operation::Create } else { Operation::Optimise };
        let costs = Costs { instructions: figure.instructions, ..figure.costs };
        column.add(Row::new(part, home, bytes, operation), Value::Costs(costs));
    }
    Ok(())
}

/// The size of a device's huge pages: the smallest that share their memmap, but at 4K 1 GiB in a device of 1 TiB.
const fn dax_align(granule: Granule, bytes: u64) -> &'static str {
    if bytes == TIB && matches!(granule, Granule::K4) { "1G" } else { huge_page(granule) }
}

#[cfg(test)]
mod tests {
    use super::sums;

    #[test]
    fn each_life_is_four_figures() {
        let text = "bench: boot 1 99 0 0\nbench: add 1 1 0 0\nbench: online 1 2 0 0\nbench: offline 1 3 0 0\n\
                    bench: remove 1 4 0 0\nbench: add 1 5 0 0\n";
        assert_eq!(sums(text), [10]);
    }
}
