//! **Host models.** What each architecture does to populate the memmap of one section (powerpc: one block) of a device with
//! an altmap, and to free it again.

use hotmap_archmodel::error::Result;
use hotmap_archmodel::host::Host;
use hotmap_archmodel::ia64::Ia64;
use hotmap_archmodel::powerpc::Powerpc;
use hotmap_archmodel::s390::{Machine, S390};
use hotmap_archmodel::sparc::{Sparc, Tte};
use hotmap_archmodel::x86::{Cpu, X86};
use hotmap_archmodel::{Architecture, free, populate};
use hotmap_mm::pfn::{Pfn, PfnRange};

/// Lines of each log that are shown.
const SHOWN: usize = 6;

fn show<A: Architecture>(what: &str, sections: u64, make: impl FnOnce(&mut Host) -> Result<A>) {
    println!("{}, {what}", A::NAME);
    if let Err(error) = run(sections, make) {
        println!("  {error}");
    }
}

fn run<A: Architecture>(sections: u64, make: impl FnOnce(&mut Host) -> Result<A>) -> Result<()> {
    let mut host = Host::new(A::GEOMETRY, PfnRange::new(Pfn::new(0x1000), 0x1000));
    let mut arch = make(&mut host)?;
    let pages = sections * A::GEOMETRY.section_pages();
    let device = PfnRange::new(Pfn::new(64 * pages), pages);
    host.plug(device, 0, 2048)?;
    populate(&mut arch, &mut host, device)?;
    print_log(&host, "populate");
    let altmap = host.altmap(device.start).map_or((0, 0), |altmap| (altmap.alloc(), altmap.align()));
    println!("  altmap: alloc {}, align {}", altmap.0, altmap.1);
    free(&mut arch, &mut host, device)?;
    print_log(&host, "free");
    host.warnings().iter().for_each(|warning| println!("  warning: {warning}"));
    Ok(())
}

fn print_log(host: &Host, what: &str) {
    for event in host.log().iter().take(SHOWN) {
        println!("  {what}: {event}");
    }
    match host.log().len().saturating_sub(SHOWN) {
        0 => {}
        more => println!("  {what}: and {more} more"),
    }
}

fn main() {
    show("with PSE", 1, |host| X86::new(host, Cpu::WithPse));
    show("without PSE", 1, |host| X86::new(host, Cpu::WithoutPse));
    show("with EDAT1", 1, |host| S390::new(host, Machine::WithEdat1));
    show("without EDAT1", 1, |host| S390::new(host, Machine::WithoutEdat1));
    show("16 MiB blocks", 1024, |_| Ok(Powerpc::new()));
    show("sun4v", 1, |host| Sparc::new(host, Tte::Sun4v));
    show("16 KiB pages", 1, Ia64::new);
}
