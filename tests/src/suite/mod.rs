//! The boot tests: one file per subject, each a list of named functions that boot a machine and check a rule.

mod acpi;
mod arguments;
mod arithmetic;
mod blocks;
mod bugs;
mod buses;
mod clients;
mod consoles;
mod costs;
mod cycles;
mod dax;
mod dax_compound;
mod debugger;
mod dedup;
mod demand;
mod device_tree;
mod devices;
mod ended;
mod entry;
mod exits;
mod figures;
mod fuzz;
mod harness;
mod help;
mod homes;
mod hugetlb;
mod inject;
mod instructions;
mod interrupt;
mod keys;
mod kmem;
mod lab;
mod life;
mod looking;
mod matrix;
mod nvdimm;
mod pinned;
mod poison;
mod prefilled;
mod refused;
mod regions;
mod schema;
mod script;
mod several;
mod shapes;
mod smp;
mod stress;
mod tab;
mod tenants;
mod test;
mod virtio_mem;
mod virtio_mem_random;
mod watch;
mod window;
mod words;

pub use test::{Body, SELF_TESTS, Test};

/// All tests, in the order in which they run.
pub fn all() -> Vec<Test> {
    let subjects: &[fn() -> Vec<Test>] = &[
        harness::tests,
        debugger::tests,
        clients::tests,
        matrix::tests,
        shapes::tests,
        smp::tests,
        entry::tests,
        exits::tests,
        buses::tests,
        instructions::tests,
        acpi::tests,
        arguments::tests,
        keys::tests,
        lab::tests,
        words::tests,
        fuzz::tests,
        script::tests,
        schema::tests,
        help::tests,
        tab::tests,
        device_tree::tests,
        consoles::tests,
        regions::tests,
        life::tests,
        prefilled::tests,
        tenants::tests,
        demand::tests,
        interrupt::tests,
        ended::tests,
        pinned::tests,
        refused::tests,
        inject::tests,
        poison::tests,
        several::tests,
        nvdimm::tests,
        virtio_mem::tests,
        virtio_mem_random::tests,
        devices::tests,
        dax::tests,
        dax_compound::tests,
        kmem::tests,
        dedup::tests,
        homes::tests,
        hugetlb::tests,
        blocks::tests,
        bugs::tests,
        cycles::tests,
        window::tests,
        watch::tests,
        stress::tests,
        figures::tests,
        costs::tests,
    ];
    subjects.iter().flat_map(|subject| subject()).collect()
}

#[cfg(test)]
mod tests {
    use super::all;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_can_be_file_names() {
        let tests = all();
        let names: BTreeSet<&str> = tests.iter().map(|test| test.name.as_str()).collect();
        assert_eq!(names.len(), tests.len());
        let plain = |c: char| c.is_ascii_alphanumeric() || "/-.+".contains(c);
        assert!(names.iter().all(|name| name.chars().all(plain)), "{names:?}");
    }

    #[test]
    fn every_granule_has_its_share() {
        let count = |granule: &str| all().iter().filter(|test| test.name.contains(granule)).count();
        assert!(count("/4k") >= 15 && count("/16k") >= 15 && count("/64k") >= 15);
    }
}
