//! Booting: every granule with every shape of RAM, checked against the reference model.
#![cfg(not(miri))]

use hotmap_emulator::layout;
use hotmap_emulator::rig::{GIB, MIB, Rig, Shape, spec_of};
use hotmap_mm::error::{Error, Resource};
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_testkit::world::World;

/// Counts, blocks, free lists, the linear map, vmemmap and tables are what the shape says, and the audit is clean.
fn every_shape_boots(g: Granule) {
    for shape in Shape::all() {
        let world = World::boot(g, &shape);
        let whole_pages: u64 = shape
            .ram
            .iter()
            .map(|(start, len)| ((start + len) / g.page_size).saturating_sub(start.div_ceil(g.page_size)))
            .sum();
        let counts = world.rig.mm.frames().counts();
        assert_eq!(counts.present, whole_pages, "{}", shape.name);
        assert_eq!(counts.allocated + counts.memmap_self, 0, "{}", shape.name);
        let summary = world.rig.mm.audit(&mut |_| {});
        assert!(summary.is_clean() && summary.heads > 0 && summary.leaves > 0, "{summary}");
        assert_eq!(summary.tables, counts.tables);
        assert_eq!(summary.sections, world.reference.blocks.len() as u64);
    }
}

/// The image's code and constants are mapped a second time by the linear map: read-only there too, and so is nothing else.
fn constants_are_read_only_in_the_linear_map(g: Granule) {
    let shape = Shape::one("256 MiB", 0x4000_0000, 256 * MIB);
    let rig = Rig::boot(g, &shape);
    let all = rig.machine.everything();
    let read_only: Vec<_> = all.leaves.iter().filter(|l| !l.leaf.writable).collect();
    let bytes: u64 = read_only.iter().map(|l| l.size).sum();
    assert_eq!((read_only[0].leaf.pa, bytes), (0x4020_0000, shape.constant));
    assert!(all.leaves.iter().all(|l| !(l.leaf.writable && l.leaf.executable)));
}

/// vmemmap of boot RAM: one 2 MiB block a section at 4K, base pages at 16K and 64K.
fn boot_memmap_is_in_the_leaves_that_the_granule_has(g: Granule) {
    let rig = Rig::boot(g, &Shape::one("1 GiB", 0x4000_0000, GIB));
    let vmemmap = layout::vmemmap(spec_of(g));
    let leaves: Vec<_> =
        rig.machine.everything().leaves.into_iter().filter(|l| vmemmap.contains(&l.va)).collect();
    let expected = match g.page_size {
        0x1000 => (8, 2 * MIB),
        0x4000 => (256, 0x4000),
        _ => (16, 0x1_0000),
    };
    assert_eq!((leaves.len(), leaves[0].size), expected);
    assert!(leaves.iter().all(|l| l.size == expected.1 && !l.leaf.contiguous), "they come and go one by one");
}

/// A DIMM's linear map: the largest blocks, and the Contiguous bit where a whole run is there.
fn a_dimm_is_mapped_in_the_largest_leaves(g: Granule) {
    let mut rig = Rig::boot(g, &Shape::tiny());
    let at = 16 * GIB;
    rig.plug(at, GIB, MemmapHome::SelfHosted);
    let leaves: Vec<_> = rig
        .machine
        .everything()
        .leaves
        .into_iter()
        .filter(|l| layout::LINEAR.contains(&l.va) && l.leaf.pa >= at)
        .map(|l| (l.size, l.leaf.contiguous))
        .collect();
    let expected = match g.page_size {
        0x1000 => vec![(GIB, false)],
        0x4000 => vec![(32 * MIB, true); 32],
        _ => vec![(512 * MIB, false); 2],
    };
    assert_eq!(leaves, expected);
}

/// Too little memory is an error that says so, however little it is.
fn too_little_memory_to_boot_is_an_error(g: Granule) {
    let mut refused = 0;
    for pages in 0..80 {
        let ram = (0x4000_0000, pages * 0x1_0000);
        let shape = Shape {
            name: "next to nothing",
            ram: vec![ram],
            reserved: vec![],
            constant: 0,
            memmap: MemmapHome::Ram,
        };
        match Rig::try_boot(g, &shape) {
            Ok(rig) => rig.assert_clean("with next to nothing"),
            Err(error) => {
                assert!(matches!(error, Error::Out(Resource::Memblock { .. })), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 8 && refused < 80, "{refused} of 80");
}

hotmap_testkit::at_each_granule!(
    every_shape_boots,
    constants_are_read_only_in_the_linear_map,
    boot_memmap_is_in_the_leaves_that_the_granule_has,
    a_dimm_is_mapped_in_the_largest_leaves,
    too_little_memory_to_boot_is_an_error,
);
