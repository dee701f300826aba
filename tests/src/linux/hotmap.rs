//! hotmap's figures for the same table, from the bench, with the counter beside them.

use super::dimm::STEPS;
use super::guest::CPU;
use super::plan::{CYCLES, SIZES};
use super::record::{Column, HOTMAP, Home, Operation, Part, Row, Value};
use crate::bench::costs::{self, Costs, Seen};
use crate::bench::dedup::{self, What};
use crate::bench::figures::{self, Figure};
use crate::bench::measure::{Life, Subject, image_bytes, machine, measure_on, standard};
use crate::bench::{migrate, resize};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, Error, failed};
use hotmap_client::geometry::{GIB, Granule};
use hotmap_client::guest::Guest;
use hotmap_client::machine::Machine;
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
            column.add(Row::guest(Operation::Boot), Value::Costs(costs_of(&life.boot, &seen)?));
        }
        write(&mut column, Part::Life, home, &life, &seen)?;
        for size in SIZES.into_iter().filter(|_| home == Home::SelfHosted) {
            let (life, seen) = counted(run, Subject { size, ..subject }, plugin)?;
            write(&mut column, Part::Growth, Home::Any, &life, &seen)?;
        }
    }
    cycles(run, granule, &mut column)?;
    in_use(run, granule, &mut column)?;
    Ok(column)
}

fn counted(run: &Run, subject: Subject, plugin: &Path) -> Checked<(Life, Seen)> {
    let out = run.path("counts");
    let machine = Machine { extra: costs::arguments(plugin, &out), ..machine(subject) };
    let life = measure_on(run, subject, &machine)?;
    let text = std::fs::read_to_string(&out);
    let text = text.map_err(|error| Error::Unknown(format!("{}: {error}", out.display())))?;
    Ok((life, Seen::read(&text)?))
}

/// What the counter saw of an operation, with the kernel's count of instructions: the counter's has those of the meter too.
fn costs_of(figure: &Figure, seen: &Seen) -> Checked<Costs> {
    let costs = figure.marks.map_or(Ok(figure.costs), |marks| seen.between(marks))?;
    Ok(Costs { instructions: figure.instructions, ..costs })
}

fn write(column: &mut Column, part: Part, home: Home, life: &Life, seen: &Seen) -> Checked {
    let row = |operation| Row::new(part, home, life.subject.size, operation);
    let mut all = Vec::new();
    for (step, figure) in STEPS.into_iter().zip([&life.add, &life.online, &life.offline, &life.remove]) {
        let costs = costs_of(figure, seen)?;
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

/// Memory in use, virtio memory, huge pages.
fn in_use(run: &Run, granule: Granule, column: &mut Column) -> Checked {
    let instructions = |instructions| Costs { instructions, ..Costs::default() };
    let moved = migrate::measure(run, granule, Memmap::SelfHosted, GIB)?;
    let costs = Costs { instructions: moved.instructions, ..moved.costs };
    for operation in [Operation::Migration, Operation::UsedPage] {
        let row = Row::new(Part::Load, Home::Any, GIB, operation);
        column.add(row, Value::Each(costs, moved.pages));
    }
    let resized = resize::measure(run, granule, Memmap::Ram)?;
    for (operation, count) in [(Operation::Up, resized.up), (Operation::Down, resized.down)] {
        column.add(Row::new(Part::Resize, Home::Ram, GIB, operation), Value::Costs(instructions(count)));
    }
    for row in dedup::rows().into_iter().filter(|(is, cpu, _)| *is == granule && *cpu == CPU) {
        let What::HugePage { bytes, .. } = row.2 else { continue };
        let figure = dedup::measure(row, run)?.make;
        let costs = Costs { instructions: figure.instructions, ..figure.costs };
        column.add(Row::new(Part::HugePage, Home::Any, bytes, Operation::Optimise), Value::Costs(costs));
    }
    Ok(())
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
