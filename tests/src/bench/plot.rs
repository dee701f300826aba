//! Pictures of the bench (`make bench PLOT=1`): how the life of a DIMM grows with its size, and what memmap costs as memory is
//! used. hotmap is measured now, Linux is of the record.

use super::linux::record;
use super::measure::Life;
use crate::linux::record::{Column, Home, Operation, Part, Row};
use hotmap_client::dimm::Dimm;
use hotmap_client::ensure;
use hotmap_client::error::{Checked, Error};
use hotmap_client::geometry::{GIB, GRANULES, Granule};
use hotmap_client::guest::Guest;
use hotmap_client::machine::Machine;
use hotmap_client::run::Run;
use hotmap_client::state::Memmap;
use plotters::prelude::*;
use std::path::Path;

/// A line of a picture.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    name: String,
    is_linux: bool,
    points: Vec<(f64, f64)>,
}

/// How many measurements there are of a DIMM in use, besides that of one that is not.
const PARTS: u64 = 8;
/// Width and height, in pixels.
const SIZE: (u32, u32) = (760, 420);

/// hotmap's lives by size, and those of each Linux in the record: millions of instructions by GiB.
pub fn growth(lives: &[Life]) -> Vec<Line> {
    let gib = |bytes: u64| bytes as f64 / GIB as f64;
    let ours = GRANULES.map(|granule| {
        let own = lives.iter().filter(|life| life.subject.granule == granule);
        let points = own.map(|life| (gib(life.subject.size), life.total() as f64 / 1e6)).collect();
        Line { name: format!("hotmap, {granule} pages"), is_linux: false, points }
    });
    let linux = record().columns.iter().filter(|column| !column.is_hotmap()).map(linux_growth);
    ours.into_iter().chain(linux).filter(|line| line.points.len() > 1).collect()
}

/// The lives of a Linux, with the memmap in the DIMM if such a DIMM can be removed.
fn linux_growth(column: &Column) -> Line {
    let life = |home| column.number(Row::new(Part::Life, home, GIB, Operation::Sum));
    let larger = |gib| column.number(Row::new(Part::Growth, Home::Any, gib * GIB, Operation::Sum));
    let one = life(Home::SelfHosted).or_else(|| life(Home::Ram));
    let sums = [(1, one), (2, larger(2)), (4, larger(4)), (8, larger(8))];
    let points =
        sums.into_iter().filter_map(|(gib, sum): (u32, _)| Some((f64::from(gib), sum? as f64 / 1e6)));
    Line { name: format!("Linux {}", column.name), is_linux: true, points: points.collect() }
}

/// MiB of memmap by how much of 1 GiB is used, in percent: with `memmap=demand` at each granule, with `memmap=self` at 4K, and
/// what a Linux of the record takes.
///
/// # Errors
/// As [`Guest`]; failed when tenants cannot take what is free.
pub fn memmap_by_use(run: &Run) -> Checked<Vec<Line>> {
    let mut lines = Vec::new();
    for (granule, memmap) in GRANULES
        .map(|granule| (granule, Memmap::Demand))
        .into_iter()
        .chain([(Granule::K4, Memmap::SelfHosted)])
    {
        eprintln!("bench: memmap of 1 GiB in use, {granule}, memmap={}", memmap.word());
        let points = memmap_of(run, granule, memmap)?;
        lines.push(Line {
            name: format!("hotmap, {granule}, memmap={}", memmap.word()),
            is_linux: false,
            points,
        });
    }
    let row = Row::new(Part::Life, Home::Ram, GIB, Operation::SystemRam);
    let linux = record().linux(Granule::K4).filter_map(|column| Some((column, column.number(row)?)));
    lines.extend(linux.map(|(column, bytes)| {
        let mib = bytes as f64 / f64::from(1 << 20);
        Line {
            name: format!("Linux {}", column.name),
            is_linux: true,
            points: vec![(0.0, mib), (100.0, mib)],
        }
    }));
    Ok(lines)
}

/// A DIMM of 1 GiB whose pages tenants take, part by part.
fn memmap_of(run: &Run, granule: Granule, memmap: Memmap) -> Checked<Vec<(f64, f64)>> {
    let machine = Machine::firmware().granule(granule).append(&format!("memmap={}", memmap.word()));
    let mut guest = Guest::boot(run, &machine)?;
    let idle = guest.state()?.pages;
    guest.plug_well(&Dimm::new("used", GIB).unreserved())?;
    let free = guest.state()?.pages.free - idle.free;
    let mut points = Vec::new();
    for part in 0..=PARTS {
        if part > 0 {
            guest.tell(&format!("tenant new {}", free / PARTS))?;
        }
        let now = guest.state()?.pages;
        // On demand, what all free blocks share is in system RAM.
        let pages = now.memmap_self + now.memmap_ram - idle.memmap_self - idle.memmap_ram;
        points.push((
            100.0 * part as f64 / PARTS as f64,
            (pages * granule.bytes()) as f64 / f64::from(1 << 20),
        ));
    }
    ensure!(points.iter().any(|(_, mib)| *mib > 0.0), "1 GiB in use has no memmap: {points:?}");
    guest.power_off()?;
    Ok(points)
}

/// Writes both pictures into `folder`: growth.svg and memmap.svg.
///
/// # Errors
/// Unknown when a file cannot be written, or nothing is to be drawn.
pub fn write(folder: &Path, growth: &[Line], memmap: &[Line]) -> Checked {
    let pictures = [("growth.svg", draw_growth(growth)), ("memmap.svg", draw_memmap(memmap))];
    for (name, picture) in pictures {
        let path = folder.join(name);
        let text = picture.map_err(|error| Error::Unknown(format!("{name}: {error}")))?;
        std::fs::write(&path, text)
            .map_err(|error| Error::Unknown(format!("{}: {error}", path.display())))?;
        eprintln!("bench: {}", path.display());
    }
    Ok(())
}

type Drawn = Result<String, Box<dyn std::error::Error>>;

/// Colours that are told apart without seeing red or green (Okabe and Ito, "Color Universal Design").
const OURS: [RGBColor; 4] =
    [RGBColor(0, 114, 178), RGBColor(86, 180, 233), RGBColor(0, 158, 115), RGBColor(90, 90, 90)];
const LINUXS: [RGBColor; 3] = [RGBColor(213, 94, 0), RGBColor(230, 159, 0), RGBColor(204, 121, 167)];

/// A colour for each line.
fn coloured(lines: &[Line]) -> Vec<(&Line, RGBColor)> {
    let (mut ours, mut linuxs) = (OURS.iter().cycle(), LINUXS.iter().cycle());
    let mut colour = |line: &Line| if line.is_linux { linuxs.next() } else { ours.next() };
    lines.iter().map(|line| (line, colour(line).copied().unwrap_or(BLACK))).collect()
}

/// Draws the series and the legend of a chart.
macro_rules! draw_lines {
    ($chart:expr, $lines:expr) => {{
        for (line, colour) in coloured($lines) {
            let series = LineSeries::new(line.points.iter().copied(), colour.stroke_width(2)).point_size(3);
            $chart
                .draw_series(series)?
                .label(&line.name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        }
        $chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .label_font(("sans-serif", 12))
            .background_style(WHITE.mix(0.85))
            .draw()?;
    }};
}

fn draw_growth(lines: &[Line]) -> Drawn {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let most = highest(lines) * 8.0;
        let mut chart = ChartBuilder::on(&root)
            .caption("A DIMM's life: add, online, offline, remove", ("sans-serif", 17))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(70)
            .build_cartesian_2d((0.95..8.5_f64).log_scale().base(2.0), (0.01..most).log_scale())?;
        let mut mesh = chart.configure_mesh();
        mesh.x_desc("GiB").y_desc("millions of guest instructions").label_style(("sans-serif", 12));
        mesh.y_label_formatter(&|y| format!("{y}")).x_label_formatter(&|x| format!("{x:.0}")).draw()?;
        draw_lines!(chart, lines);
        root.present()?;
    }
    Ok(text)
}

fn draw_memmap(lines: &[Line]) -> Drawn {
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption("Memmap of 1 GiB, by how much of it is used", ("sans-serif", 17))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..100.0_f64, 0.0..highest(lines) * 1.6)?;
        let mut mesh = chart.configure_mesh();
        mesh.light_line_style(TRANSPARENT)
            .x_label_formatter(&|x| format!("{x:.0}"))
            .y_label_formatter(&|y| format!("{y:.0}"));
        mesh.x_desc("percent in use").y_desc("MiB").label_style(("sans-serif", 12)).draw()?;
        draw_lines!(chart, lines);
        root.present()?;
    }
    Ok(text)
}

/// The highest value of all lines.
fn highest(lines: &[Line]) -> f64 {
    lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y).fold(1.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, is_linux: bool, ys: [f64; 4]) -> Line {
        Line { name: name.into(), is_linux, points: [1.0, 2.0, 4.0, 8.0].into_iter().zip(ys).collect() }
    }

    /// A picture has each line, named, with as many points as there are; a larger value is higher.
    #[test]
    fn a_picture_has_each_line_and_its_points() {
        let lines =
            [line("ours", false, [0.3, 0.6, 1.2, 2.4]), line("theirs", true, [57.0, 113.0, 232.0, 493.0])];
        for text in [draw_growth(&lines), draw_memmap(&lines)] {
            let text = text.expect("a picture");
            assert!(text.contains("ours") && text.contains("theirs"), "{text}");
            assert_eq!(text.matches("<circle").count(), 8);
            let heights: Vec<f64> = text
                .split("<circle")
                .skip(1)
                .filter_map(|part| part.split("cy=\"").nth(1)?.split('"').next()?.parse().ok())
                .collect();
            assert!(
                heights[4..].iter().zip(&heights[..4]).all(|(theirs, ours)| theirs < ours),
                "{heights:?}"
            );
        }
    }

    #[test]
    fn the_record_has_a_line_for_each_linux_that_takes_dimms() {
        let lines = growth(&[]);
        assert!(
            !lines.is_empty() && lines.iter().all(|line| line.is_linux && line.points.len() == 4),
            "{lines:?}"
        );
    }
}
