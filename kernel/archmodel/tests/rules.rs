//! Host models: what holds for every architecture behind the one populate, against an oracle that knows no table.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use hotmap_archmodel::error::Error;
use hotmap_archmodel::host::Host;
use hotmap_archmodel::ia64::Ia64;
use hotmap_archmodel::log::{Event, Source, Use};
use hotmap_archmodel::powerpc::Powerpc;
use hotmap_archmodel::s390::{Machine, S390};
use hotmap_archmodel::sparc::{Sparc, Tte};
use hotmap_archmodel::x86::{Cpu, X86};
use hotmap_archmodel::{Architecture, free, populate};
use hotmap_mm::pfn::{Pfn, PfnRange};
use support::*;

/// Pages of test RAM.
const RAM_PAGES: u64 = 0x3000;

/// An architecture, what one plug is made of, and what stays in use of RAM after everything has been freed.
struct Subject<A> {
    make: fn(&mut Host) -> A,
    /// Sections plugged at once.
    sections: u64,
    altmap: u64,
    stays: u64,
}

/// A machine with 8 plugs' worth of addresses: 0 to 3 without an altmap, 4 and 5 a device, 6 and 7 another.
struct World<A> {
    arch: A,
    host: Host,
    plug: u64,
}

impl<A: Architecture> World<A> {
    fn new(subject: &Subject<A>) -> Self {
        let mut host = Host::new(A::GEOMETRY, pages(RAM, RAM_PAGES));
        let arch = (subject.make)(&mut host);
        let plug = subject.sections * A::GEOMETRY.section_pages();
        let mut world = Self { arch, host, plug };
        for device in world.devices() {
            world.host.plug(pages(device, 2 * plug), 0, subject.altmap).expect("a device");
        }
        world
    }
    fn range(&self, plug: u64) -> PfnRange {
        pages((64 + plug) * self.plug, self.plug)
    }
    fn devices(&self) -> [u64; 2] {
        [4, 6].map(|plug| self.range(plug).start.get())
    }
    fn snapshot(&self) -> Snapshot {
        snapshot(&self.arch, &self.host, pages(RAM, RAM_PAGES), &self.devices())
    }
    fn populate(&mut self, plug: u64) -> Result<(), Error> {
        let range = self.range(plug);
        populate(&mut self.arch, &mut self.host, range)
    }
    fn free(&mut self, plug: u64) -> Result<(), Error> {
        let range = self.range(plug);
        free(&mut self.arch, &mut self.host, range)
    }
}

/// The frames in use, by what the log said, not by the models' own books.
#[derive(Default)]
struct Books(BTreeMap<u64, (Use, Source)>);

impl Books {
    fn keep(&mut self, log: &[Event]) {
        for event in log {
            match *event {
                Event::Taken(f) => {
                    for pfn in f.first.get()..f.first.get() + f.pages {
                        assert_eq!(self.0.insert(pfn, (f.what, f.from)), None, "pfn {pfn:#x} is taken twice");
                    }
                }
                Event::Given(f) => {
                    for pfn in f.first.get()..f.first.get() + f.pages {
                        let was = self.0.remove(&pfn);
                        assert_eq!(
                            was,
                            Some((f.what, f.from)),
                            "pfn {pfn:#x} goes back to where it came from"
                        );
                    }
                }
                Event::Wrote { .. } => {}
            }
        }
    }
    fn of(&self, what: Use) -> BTreeSet<u64> {
        self.0.iter().filter(|(_, (use_, _))| *use_ == what).map(|(pfn, _)| *pfn).collect()
    }
}

fn xorshift(mut seed: u64) -> u64 {
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^ seed << 17
}

/// vmemmap maps the struct pages of what is present, by memory that was taken for it, and nothing else.
fn check<A: Architecture>(world: &World<A>, present: &BTreeSet<u64>, books: &Books) {
    let leaves = world.arch.leaves(&world.host);
    let memmaps: Vec<_> = present.iter().map(|&plug| A::GEOMETRY.memmap(world.range(plug))).collect();
    for memmap in &memmaps {
        let mut at = memmap.start;
        for leaf in leaves.iter().filter(|l| l.va + l.bytes > memmap.start && l.va < memmap.end) {
            assert!(leaf.va <= at, "{at} is not mapped");
            at = leaf.va + leaf.bytes;
        }
        assert!(at >= memmap.end, "{at} is not mapped");
    }
    let mut mapped = BTreeSet::new();
    for leaf in &leaves {
        let needed = memmaps.iter().any(|m| leaf.va < m.end && m.start < leaf.va + leaf.bytes);
        assert!(needed, "{} is mapped for no section", leaf.va);
        let first = A::GEOMETRY.pfn(leaf.pa).get();
        for pfn in first..first + (leaf.bytes >> A::GEOMETRY.page_shift) {
            assert!(mapped.insert(pfn), "pfn {pfn:#x} is mapped twice");
        }
    }
    assert_eq!(mapped, books.of(Use::Memmap));
    for device in world.devices() {
        let from = Source::Altmap(Pfn::new(device));
        let in_use = books.0.values().filter(|(_, source)| *source == from).count() as u64;
        assert_eq!(account(&world.host, device).0, in_use, "I2: alloc is the frames in use");
    }
}

fn random_comings_and_goings_leave_exactly_what_is_needed<A: Architecture>(subject: &Subject<A>) {
    let mut world = World::new(subject);
    let start = world.host.ram().free_pages();
    let (mut present, mut books, mut refused) = (BTreeSet::new(), Books::default(), 0);
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..200 {
        seed = xorshift(seed);
        let plug = seed >> 32 & 7;
        let before = world.snapshot();
        let done = if present.contains(&plug) { world.free(plug) } else { world.populate(plug) };
        match done {
            Ok(()) if !present.remove(&plug) => drop(present.insert(plug)),
            Ok(()) => {}
            Err(error) => {
                refused += 1;
                assert!(matches!(error, Error::Out(_)), "{error}");
                assert_eq!(world.snapshot(), before);
                continue;
            }
        }
        books.keep(world.host.log());
        check(&world, &present, &books);
    }
    assert!(refused < 100, "{refused} of 200 were refused");
    for plug in present {
        world.free(plug).expect("present");
    }
    assert_eq!(world.devices().map(|device| account(&world.host, device)), [(0, 0); 2]);
    assert_eq!(start - world.host.ram().free_pages(), subject.stays);
}

fn every_allocation_failed_in_turn_is_undone<A: Architecture>(subject: &Subject<A>) {
    for plug in [0, 4] {
        let mut world = World::new(subject);
        // Not the first in its tables, nor on its list.
        for other in [7, 3] {
            world.populate(other).expect("room");
        }
        let before = world.snapshot();
        let mut sites = 0;
        loop {
            world.host.fail_after(sites);
            let done = world.populate(plug);
            if !world.host.has_failed() {
                done.expect("nothing failed");
                break;
            }
            match done {
                Err(error) => {
                    assert!(matches!(error, Error::Out(_)), "{error}");
                    assert_eq!(world.snapshot(), before, "site {sites} of plug {plug}");
                }
                // x86 without an altmap has base pages to fall back to.
                Ok(()) => {
                    assert_eq!((A::NAME, plug), ("host model: x86", 0));
                    world.free(plug).expect("present");
                    assert_eq!(world.snapshot(), before);
                }
            }
            sites += 1;
        }
        assert!(sites > 0, "there was something to fail");
    }
}

fn the_altmap_is_resolved_once_for_a_populate_of_several_sections<A: Architecture>(subject: &Subject<A>) {
    let mut world = World::new(subject);
    let both = pages(world.devices()[0], 2 * world.plug);
    populate(&mut world.arch, &mut world.host, both).expect("room");
    assert_eq!(world.host.lookups(), 1);
}

fn a_range_that_cannot_be_is_refused_by_name<A: Architecture>(subject: &Subject<A>) {
    let mut world = World::new(subject);
    world.populate(1).expect("room");
    let before = world.snapshot();
    let section = A::GEOMETRY.section_pages();
    let (one, zero, four) = (world.range(1), world.range(0), world.range(4));
    let (odd, empty) = (pages(one.start.get() + 1, section), pages(0, 0));
    let beyond = pages(1 << (A::GEOMETRY.physical_bits - A::GEOMETRY.page_shift), section);
    let over_the_edge = PfnRange { start: world.range(3).start, end: four.end };
    let device = pages(four.start.get(), 2 * world.plug);
    let World { arch, host, .. } = &mut world;
    for (range, why) in [
        (odd, Error::NotSections { range: odd, section }),
        (empty, Error::NotSections { range: empty, section }),
        (beyond, Error::BeyondVmemmap(beyond)),
        (one, Error::Exists(one.start)),
        (PfnRange { start: zero.start, end: one.end }, Error::Exists(one.start)),
        (over_the_edge, Error::Straddles { range: over_the_edge, device }),
    ] {
        assert_eq!(populate(arch, host, range), Err(why));
    }
    assert_eq!(free(arch, host, zero), Err(Error::NotPresent(zero.start)));
    assert_eq!(free(arch, host, odd), Err(Error::NotSections { range: odd, section }));
    assert_eq!(host.plug(device, 0, 1), Err(Error::Straddles { range: device, device }));
    let free_pages = section + 1;
    let elsewhere = pages(128 * section, section);
    assert_eq!(
        host.plug(elsewhere, 0, free_pages),
        Err(Error::BadAltmap { device: elsewhere, offset: free_pages })
    );
    assert_eq!(host.unplug(zero.start), Err(Error::NoDevice(zero.start)));
    assert_eq!(world.snapshot(), before);
}

macro_rules! for_each_architecture {
    ($($rule:ident),+ $(,)?) => {
        for_each_architecture!(@ x86, X86, $($rule)+,
            Subject { make: |h| X86::new(h, Cpu::WithPse).expect("RAM"), sections: 1, altmap: 2048, stays: 1 });
        for_each_architecture!(@ x86_without_altmap_room, X86, random_comings_and_goings_leave_exactly_what_is_needed,
            Subject { make: |h| X86::new(h, Cpu::WithPse).expect("RAM"), sections: 1, altmap: 1023, stays: 1 });
        for_each_architecture!(@ s390_with_edat1, S390, $($rule)+,
            Subject { make: |h| S390::new(h, Machine::WithEdat1).expect("RAM"), sections: 1, altmap: 4096, stays: 0 });
        for_each_architecture!(@ s390_without_edat1, S390, $($rule)+,
            Subject { make: |h| S390::new(h, Machine::WithoutEdat1).expect("RAM"), sections: 1, altmap: 4096, stays: 0 });
        // Half a block at once, so that neighbours share it.
        for_each_architecture!(@ powerpc, Powerpc, $($rule)+,
            Subject { make: |_| Powerpc::new(), sections: 512, altmap: 1024, stays: 1 });
        for_each_architecture!(@ sparc_sun4u, Sparc, $($rule)+,
            Subject { make: |h| Sparc::new(h, Tte::Sun4u).expect("RAM"), sections: 1, altmap: 4096, stays: 0 });
        for_each_architecture!(@ sparc_sun4v, Sparc, $($rule)+,
            Subject { make: |h| Sparc::new(h, Tte::Sun4v).expect("RAM"), sections: 1, altmap: 4096, stays: 0 });
        for_each_architecture!(@ ia64, Ia64, $($rule)+,
            Subject { make: |h| Ia64::new(h).expect("RAM"), sections: 1, altmap: 1024, stays: 0 });
    };
    (@ $name:ident, $arch:ty, $($rule:ident)+, $subject:expr) => {
        mod $name {
            use super::*;
            $(#[test] fn $rule() { super::$rule::<$arch>(&$subject) })+
        }
    };
}

for_each_architecture!(
    random_comings_and_goings_leave_exactly_what_is_needed,
    every_allocation_failed_in_turn_is_undone,
    the_altmap_is_resolved_once_for_a_populate_of_several_sections,
    a_range_that_cannot_be_is_refused_by_name,
);
