//! The boot arguments in effect, each by its name and in the words of the command line: what `state` has of them.

use hotmap_mm::debug::bugs::Bug;

use super::{AUTO, BOOT_MEMMAPS, BootArgs, MEMMAP_HOMES, PMEM_USES, SWITCH, TERMS, VIRTIO_MEM};

/// A boot argument's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InEffect<'a> {
    /// One of the words that it may be.
    Word(&'static str),
    /// A number, or a size in bytes.
    Number(u64),
    /// Text of the command line.
    Text(&'a str),
    /// Sizes in bytes, with how many there are to be of each.
    Pools(&'a [(u64, u64)]),
    /// It was not given, and has no default.
    Unset,
}

impl BootArgs {
    /// Every argument that there is, by its name.
    pub fn in_effect(&self) -> [(&'static str, InEffect<'_>); 17] {
        use InEffect::{Number, Pools, Text, Unset, Word};
        let switch = |on| Word(word(&SWITCH, on));
        [
            ("granule", Word(self.granule.name())),
            ("memmap", Word(word(&MEMMAP_HOMES, self.memmap))),
            ("boot_memmap", Word(word(&BOOT_MEMMAPS, self.boot_memmap))),
            ("online", Word(word(&AUTO, self.online_auto))),
            ("hotadd", Word(word(&AUTO, self.hotadd_auto))),
            ("virtio_mem", Word(word(&VIRTIO_MEM, self.virtio_mem))),
            ("pmem", Word(word(&PMEM_USES, self.pmem))),
            ("hugepages", Pools(&self.hugepages)),
            ("hvo", switch(self.hvo)),
            ("run", self.run.as_deref().map_or(Unset, Text)),
            ("term", Word(word(&TERMS, self.dumb))),
            ("script", switch(self.script)),
            ("heap", Number(self.heap)),
            ("maxcpus", if self.max_cpus == u32::MAX { Unset } else { Number(self.max_cpus.into()) }),
            ("bench", switch(self.bench)),
            ("strict", switch(self.strict)),
            ("bug", self.bug.map_or(Unset, |bug| Word(Bug::name(bug)))),
        ]
    }
}

/// The word for a choice.
fn word<T: PartialEq>(choices: &[(&'static str, T)], value: T) -> &'static str {
    choices.iter().find(|(_, choice)| *choice == value).map_or("", |(name, _)| name)
}
