//! The names of the steps, for the log, the tests and the documents.

use crate::machine::{Checkpoint, Machine};

/// A step of [`add_memory`](crate::mm::Mm::add_memory) (1 to 5) or [`online_pages`](crate::mm::Mm::online_pages) (6 and 7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// 1: the sections and memory blocks exist.
    ClaimSections,
    /// 2: the linear map reaches the memory.
    MapLinear,
    /// 3: an altmap in the memory, or system RAM.
    ChooseBacking,
    /// 4: vmemmap is mapped.
    PopulateVmemmap,
    /// 5: struct pages are cleared, and those of the memmap itself are marked; from here on they can be read.
    InitialisePages,
    /// 6: the blocks are in a zone.
    JoinZone,
    /// 7: what is not memmap is free to allocate.
    GoOnline,
}

impl Step {
    /// All steps, in order.
    pub const ALL: [Self; 7] = [
        Self::ClaimSections,
        Self::MapLinear,
        Self::ChooseBacking,
        Self::PopulateVmemmap,
        Self::InitialisePages,
        Self::JoinZone,
        Self::GoOnline,
    ];
    /// How many of them make a range present and leave it offline.
    pub const ADDING: usize = 5;

    /// It is done: what the emulated machine records is cut here.
    pub(crate) fn done(self, machine: &impl Machine) {
        machine.checkpoint(Checkpoint::Done(self.name()));
    }
    /// It is taken back.
    pub(crate) fn undone(self, machine: &impl Machine) {
        machine.checkpoint(Checkpoint::Undone(self.name()));
    }

    /// Its inverse is done, in a removal.
    pub(crate) fn reversed(self, machine: &impl Machine) {
        machine.checkpoint(Checkpoint::Done(self.inverse()));
    }

    /// The step's number, from 1.
    pub const fn number(self) -> usize {
        self as usize + 1
    }
    /// The name that logs, tests and documents use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClaimSections => "claim sections",
            Self::MapLinear => "map linearly",
            Self::ChooseBacking => "choose backing",
            Self::PopulateVmemmap => "populate vmemmap",
            Self::InitialisePages => "initialise pages",
            Self::JoinZone => "join zone",
            Self::GoOnline => "go online",
        }
    }
    /// The name of its inverse in a removal.
    pub const fn inverse(self) -> &'static str {
        match self {
            Self::ClaimSections => "drop sections",
            Self::MapLinear => "unmap linear",
            Self::ChooseBacking => "drop backing",
            Self::PopulateVmemmap => "depopulate vmemmap",
            Self::InitialisePages => "forget pages",
            Self::JoinZone => "leave zone",
            Self::GoOnline => "withdraw from buddy",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_the_numbers_and_names_of_the_tour() {
        let names = [
            "claim sections",
            "map linearly",
            "choose backing",
            "populate vmemmap",
            "initialise pages",
            "join zone",
            "go online",
        ];
        assert_eq!(Step::ALL.map(Step::name), names);
        assert_eq!(Step::ALL.map(Step::number), [1, 2, 3, 4, 5, 6, 7]);
        let inverses = [
            "drop sections",
            "unmap linear",
            "drop backing",
            "depopulate vmemmap",
            "forget pages",
            "leave zone",
            "withdraw from buddy",
        ];
        assert_eq!(Step::ALL.map(Step::inverse), inverses);
    }
}
