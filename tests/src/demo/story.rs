//! The whole life of a DIMM, chapter by chapter. Every number in it is measured now, and every claim is checked.

use super::narrator::{BOLD, Narrator, must};
use super::record::{Event, Figure, Record};
use crate::bench::linux::rows as rows_of_linux;
use crate::bench::measure::{Life, measure, standard};
use crate::eyes;
use crate::report::Paint;
use crate::say;
use hotmap_client::dimm::Dimm;
use hotmap_client::error::Checked;
use hotmap_client::geometry::{GIB, Granule};
use hotmap_client::guest::{Guest, Plugged, Unplug};
use hotmap_client::machine::Machine;
use hotmap_client::run::Run;
use hotmap_client::state::{Pages, State};

/// The reference CPU for the figures.
const REFERENCE: &str = "neoverse-n1";

/// What a picture of the memory is drawn from.
const MEMORY: &str = "state; ptdump vmemmap";

/// Tells it all at one granule. Returns what was told.
///
/// # Errors
/// Failed when anything is not as told.
pub fn tell(run: &Run, granule: Granule, paint: Paint) -> Checked<Record> {
    let machine = Machine::firmware().granule(granule);
    say!("{}", paint.colour(BOLD, "hotmap: the life of a hot-plugged DIMM"));
    say!("Lines that start with 'QEMU monitor:' are QEMU's, indented lines are the guest's own.");
    let mut narrator = Narrator::new(Guest::boot(run, &machine)?, paint);
    let start = boot(&mut narrator, &machine)?;
    let dimm = Dimm::new("dimm1g", GIB);
    let (plugged, state) = plug(&mut narrator, &dimm, &start, granule)?;
    look(&mut narrator, &state, plugged, granule)?;
    let count = use_it(&mut narrator, plugged, granule)?;
    refuse(&mut narrator, &dimm, plugged, granule)?;
    leave(&mut narrator, &dimm, plugged, &state, count)?;
    nothing_is_left(&mut narrator, &start)?;
    narrator.chapter("Power off");
    let mut record = narrator.finish()?;
    say!("exit status 0");
    record.add(Event::Say { text: "exit status 0".into() });
    let life = measure(run, standard(granule, REFERENCE))?;
    record.add(figures(&life, paint));
    Ok(record)
}

fn boot(narrator: &mut Narrator, machine: &Machine) -> Checked<State> {
    narrator.chapter("Boot");
    narrator.say(&format!("$ {}", machine.command()));
    narrator.boot_log();
    narrator.command("mem")?;
    let state = narrator.guest().state()?;
    must(state.dimms.is_empty(), || "there is a DIMM already".into())?;
    narrator.picture("Before: the memory that was there at boot", MEMORY)?;
    Ok(state)
}

fn plug(narrator: &mut Narrator, dimm: &Dimm, start: &State, granule: Granule) -> Checked<(Plugged, State)> {
    narrator.chapter("A DIMM of 1 GiB is plugged and added in seven steps");
    let (plugged, state) = narrator.plug(dimm)?;
    let memmap = GIB / granule.block() * granule.memmap_per_block();
    narrator.say(&format!(
        "Its memmap, {} KiB of struct pages, is in the DIMM itself: {} KiB at the start of each {} MiB memory block.",
        memmap >> 10,
        granule.memmap_per_block() >> 10,
        granule.block() >> 20
    ));
    let tables = state.pages.tables - start.pages.tables;
    let from_ram = state.pages.memmap_ram - start.pages.memmap_ram;
    must(from_ram == 0, || format!("{from_ram} pages of memmap are in system RAM"))?;
    let usable = granule.pages(GIB - memmap);
    let gained = state.pages.free - start.pages.free;
    must(gained + tables == usable, || format!("{gained} pages were gained, should be {usable} - {tables}"))?;
    narrator.checked(&format!(
        "it cost {tables} page(s) of system RAM for tables, none for memmap; {gained} pages are free to use"
    ));
    narrator.command_lines("blocks", |line| line.contains("dimm"))?;
    narrator.picture("The DIMM is here, and its memmap is in the DIMM itself", MEMORY)?;
    Ok((plugged, state))
}

fn look(narrator: &mut Narrator, state: &State, plugged: Plugged, granule: Granule) -> Checked {
    narrator.chapter("One page of it, from its struct page down to the frame that holds it");
    let pfn = granule.pages(plugged.address + plugged.size / 2) + 3;
    narrator.command(&format!("walk pfn:{pfn:#x}"))?;
    let address = state.struct_page(pfn);
    let frame = eyes::translate(&mut narrator.guest().qmp, address)?;
    narrator.monitor(&format!("gva2gpa {address:#x} -> {}", seen(frame)));
    let inside =
        frame.is_some_and(|frame| (plugged.address..plugged.address + plugged.size).contains(&frame));
    must(inside, || format!("the struct page is at {}, not in the DIMM", seen(frame)))?;
    narrator.checked("QEMU walks the same tables and finds the struct page inside the DIMM");
    Ok(())
}

fn use_it(narrator: &mut Narrator, plugged: Plugged, granule: Granule) -> Checked<u64> {
    narrator.chapter("The DIMM is used");
    narrator.say("A tenant holds movable pages and fills them with a pattern that it can verify.");
    let count = granule.usable_pages_per_block() / 2;
    narrator.command(&format!("tenant new {count}"))?;
    narrator.command("tenant check")?;
    narrator.command_lines("blocks", |line| line.contains("dimm"))?;
    let state = narrator.guest().state()?;
    let inside: u64 =
        state.blocks_in(plugged.address, plugged.size).iter().map(|block| block.tenant_pages).sum();
    must(inside == count, || format!("{inside} of {count} tenant pages are in the DIMM"))?;
    narrator.checked(&format!("all {count} tenant pages are in the DIMM"));
    narrator.picture("The tenant's pages are in the DIMM", MEMORY)?;
    Ok(count)
}

fn refuse(narrator: &mut Narrator, dimm: &Dimm, plugged: Plugged, granule: Granule) -> Checked {
    narrator.chapter("A pinned page keeps the DIMM");
    let pfn = granule.pages(plugged.address + plugged.size / 2 + granule.block() / 2);
    narrator.command(&format!("pin {pfn:#x}"))?;
    let before = narrator.guest().state()?;
    let (end, after) = narrator.unplug(dimm)?;
    must(end != Unplug::Gone, || "the DIMM was unplugged with a pinned page".into())?;
    must(before.pages == after.pages, || format!("{:?} became {:?}", before.pages, after.pages))?;
    must(before.blocks == after.blocks, || "the blocks are not as before".into())?;
    narrator.checked("everything is online again exactly as before");
    narrator.command(&format!("unpin {pfn:#x}"))?;
    Ok(())
}

fn leave(narrator: &mut Narrator, dimm: &Dimm, plugged: Plugged, online: &State, count: u64) -> Checked {
    narrator.chapter("The DIMM is unplugged while it is in use");
    let (end, state) = narrator.unplug(dimm)?;
    must(end == Unplug::Gone, || "the DIMM is still there".into())?;
    narrator.command("tenant check")?;
    must(state.tenant_pages() == count, || "tenant pages were lost".into())?;
    narrator.checked(&format!("{count} pages were migrated to boot RAM with their contents"));
    let address = online.struct_page(plugged.address / online.granule);
    for (what, address) in [("memmap", address), ("memory", online.linear_address(plugged.address))] {
        let frame = eyes::translate(&mut narrator.guest().qmp, address)?;
        narrator.monitor(&format!("gva2gpa {address:#x} ({what}) -> {}", seen(frame)));
        must(frame.is_none(), || format!("the DIMM's {what} is still mapped"))?;
    }
    narrator.checked("QEMU finds neither the DIMM's memmap nor its memory mapped any more");
    narrator.picture("The DIMM is gone, and the tenant's pages are in boot RAM", MEMORY)?;
    Ok(())
}

fn nothing_is_left(narrator: &mut Narrator, start: &State) -> Checked {
    narrator.chapter("The counts are those of the start");
    narrator.command("tenant drop")?;
    narrator.command("audit")?;
    narrator.command("mem")?;
    let end = narrator.guest().state()?;
    must(end.pages == start.pages, || differing(&start.pages, &end.pages))?;
    must(end.heap == start.heap, || format!("the heap was {:?} and is {:?}", start.heap, end.heap))?;
    narrator.checked("free, table, memmap and reserved pages and the heap are exactly those of the start");
    Ok(())
}

fn figures(life: &Life, paint: Paint) -> Event {
    let granule = life.subject.granule;
    let (machine, version) = (life.subject.cpu, life.qemu);
    let machine = format!("QEMU {}.{}, {machine}, {granule} pages", version.0, version.1);
    let mut rows = Vec::new();
    say!("\n{}", paint.colour(BOLD, "The figures"));
    say!("The same life on a counting machine ({machine}), in guest instructions:");
    for figure in [&life.add, &life.online, &life.offline, &life.remove] {
        say!("    {:<8} {:>9}", figure.operation, figure.instructions);
        let instructions = figure.instructions as f64;
        rows.push(Figure { name: figure.operation.to_string(), instructions, ram: None });
    }
    let (sum, ram) = (life.total(), format!("{} kB", life.system_ram() >> 10));
    say!("    {:<8} {sum:>9}   and {ram} of system RAM", "sum");
    rows.push(Figure { name: "sum".into(), instructions: sum as f64, ram: Some(ram) });
    for linux in rows_of_linux(granule) {
        let (name, millions) = (format!("Linux {}", linux.build), linux.life());
        let times = millions * 1e6 / sum as f64;
        let ram = format!("{} kB", linux.ram >> 10);
        say!("    {name}: {millions:.1} million, {times:.0} times as many, and {ram} of system RAM");
        rows.push(Figure { name, instructions: millions * 1e6, ram: Some(ram) });
    }
    say!("`make bench` has them all.");
    Event::Figures { machine, rows }
}

fn seen(frame: Option<u64>) -> String {
    frame.map_or_else(|| "unmapped".into(), |frame| format!("{frame:#x}"))
}

fn differing(start: &Pages, end: &Pages) -> String {
    format!("pages were {start:?} and are {end:?}")
}
