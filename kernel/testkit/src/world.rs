//! A model and the reference model in lockstep: every operation is predicted, done, compared and audited.

mod devices;
mod pages;
mod parts;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use hotmap_mm::addr::PhysAddr;
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::{BlockError, Error, Result};
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::counts::Warnings;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::home::MemmapHome;
use hotmap_mm::hotplug::notify::{Direction, Event, Notifier, Veto};
use hotmap_mm::hotplug::range::HotRange;

use crate::reference::predict::{Answer, is_shortage, kind};
use crate::reference::seen::Seen;
use crate::reference::{Home, Reference};
use crate::snapshot::{Detail, Snapshot};
use hotmap_emulator::rig::{Rig, Shape, range};

thread_local! {
    /// What the notifier says no to.
    static VETO: Cell<Option<Direction>> = const { Cell::new(None) };
}

/// Says no when a step asks for it.
const NOTIFIER: Notifier = Notifier {
    name: "the test",
    hear: |event, _| {
        let no = matches!(event, Event::Going(direction) if VETO.get() == Some(direction));
        if no { Err(Veto) } else { Ok(()) }
    },
};

/// Both models.
pub struct World {
    /// The model under test.
    pub rig: Rig,
    /// What should be true of it.
    pub reference: Reference,
    /// What the walker saw after the last operation.
    pub seen: Seen,
    /// Which allocation of the next operation fails first.
    pub fault: Option<u64>,
    /// What the notifier says no to, in the next operation.
    pub veto: Option<Direction>,
    /// Warnings that there should be.
    pub warnings: Warnings,
    /// Blocks of boot memory that were removed, by their first byte: their RAM is still there.
    pub left: BTreeSet<u64>,
    /// Blocks that the operation being done takes down, and may have to make again.
    again: Option<std::ops::Range<u64>>,
    /// How often each operation had each answer; `fault` counts operations that were undone and done again.
    pub answers: BTreeMap<(&'static str, &'static str), u64>,
}

impl World {
    /// The granule of both.
    pub fn granule(&self) -> Granule {
        self.rig.granule()
    }

    /// Boots both.
    pub fn boot(g: Granule, shape: &Shape) -> Self {
        let mut rig = Rig::boot(g, shape);
        rig.mm.notifiers.register(NOTIFIER).expect("the only one");
        let mut reference = Reference::boot(rig.machine.spec(), shape, &Seen::of(&rig.machine));
        let seen = reference.check(&rig, "after boot");
        rig.assert_clean("after boot");
        let (answers, left) = (BTreeMap::new(), BTreeSet::new());
        Self {
            rig,
            reference,
            seen,
            fault: None,
            veto: None,
            warnings: Warnings::default(),
            left,
            again: None,
            answers,
        }
    }

    /// Does `act`, vetoed when that is asked for; with a fault armed, once more when the fault has made it fail and
    /// everything was undone.
    fn act<T>(&mut self, detail: Detail, what: &str, act: impl Fn(&mut Rig) -> Result<T>) -> Result<T> {
        let (fault, veto) = (self.fault.take(), self.veto.take());
        if fault.is_none() && veto.is_none() {
            return act(&mut self.rig);
        }
        // What is undone may leave other pages lent than before.
        let lends = self.reference.on_demand().next().is_some();
        let detail = if detail == Detail::Exact && lends { Detail::WherePagesMayHaveMoved } else { detail };
        let before = Snapshot::of(&self.rig, detail);
        VETO.set(veto);
        self.rig.mm.frames_mut().faults.arm(fault.map_or(Plan::Off, Plan::Nth));
        let mut result = act(&mut self.rig);
        let fired = self.rig.mm.frames().faults.fired();
        self.rig.mm.frames_mut().faults.arm(Plan::Off);
        if fired && result.as_ref().is_err_and(is_shortage) {
            let when = format!("{what}, allocation {fault:?} failed");
            before.assert_same(&Snapshot::of(&self.rig, detail), &when);
            self.settle(&when);
            *self.answers.entry(("any", "fault")).or_default() += 1;
            result = act(&mut self.rig);
        }
        VETO.set(None);
        if matches!(result, Err(Error::Block(BlockError::Vetoed { .. }))) {
            before.assert_same(&Snapshot::of(&self.rig, detail), &format!("{what}, vetoed"));
        }
        result
    }

    /// The answer is the predicted one; remember that it was given.
    fn answered<T>(&mut self, operation: &'static str, answer: Answer, result: &Result<T>, what: &str) {
        answer.assert(result, what);
        let name = result.as_ref().err().map_or("Done", |error| kind(error).0);
        *self.answers.entry((operation, name)).or_default() += 1;
    }

    /// Compares and audits.
    fn settle(&mut self, when: &str) {
        self.came_again();
        self.seen = self.reference.check(&self.rig, when);
        self.rig.assert_clean(when);
        assert_eq!(self.rig.mm.frames().warnings, self.warnings, "{when}: warnings");
    }

    /// Plugs RAM and adds it, or with `plug` also brings it online; if that is refused, the RAM is taken away again.
    pub fn add(&mut self, start: u64, len: u64, home: MemmapHome, plug: Option<ZoneKind>) -> bool {
        let what = format!("add {start:#x} + {len:#x} {home:?} {plug:?}");
        let mut answer = self.reference.add(&self.rig.machine, &self.seen, start, len, home);
        let backed = !matches!(answer, Answer::Refused(name, _) if name != "Out" && !name.contains("Altmap"));
        let there = self.left.contains(&start);
        let tables_before = self.reference.tables(&self.seen).len();
        if plug.is_some() {
            answer = self.online_veto(answer);
        }
        if backed && !there {
            self.rig.machine.plug(start, len);
        }
        let tables = backed.then(|| {
            self.reference.tables_to_add(&self.rig.machine, start..start + len)
                + self.reference.image_tables(home)
        });
        // Making a block for the memmap out of pieces moves tenants' pages; they stay where they are.
        let moves = home == MemmapHome::Ram && self.reference.spec.page == 0x1000;
        let detail = if moves { Detail::WherePagesMayHaveMoved } else { Detail::Exact };
        let result = self.act(detail, &what, |rig| {
            let hot = HotRange::new(&rig.mm, PhysAddr::new(start), len, Source::Dimm(1))?;
            match plug {
                Some(zone) => rig.mm.plug(&hot, home, zone, |_, _| {}),
                None => rig.mm.add_memory(&hot, home, |_, _| {}),
            }
        });
        self.answered("add", answer, &result, &what);
        self.warnings.altmap += u64::from(answer == Answer::Refused("AltmapPadding", None));
        if result.is_ok() {
            self.reference.added(start, len, home);
            for block in self.reference.starts(start..start + len) {
                plug.into_iter().for_each(|zone| self.reference.onlined(block, zone));
            }
        } else if backed && !there {
            self.rig.machine.unplug(start);
        }
        self.settle(&what);
        let new = self.reference.tables(&self.seen).len() - tables_before;
        let exact = home != MemmapHome::Ram || self.reference.spec.page != 0x1000;
        if let (true, true, Some(tables)) = (result.is_ok(), exact, tables) {
            assert_eq!(new, tables, "{what}: new tables");
        }
        result.is_ok()
    }

    /// Brings a block online.
    pub fn online(&mut self, start: u64, zone: ZoneKind) {
        let g = self.granule();
        let what = format!("online {start:#x} {zone}");
        let answer = self.reference.online(start);
        let answer = self.online_veto(answer);
        let result = self.act(Detail::Exact, &what, |rig| rig.mm.online_block(Rig::pfn(g, start), zone));
        self.answered("online", answer, &result, &what);
        if result.is_ok() {
            self.reference.onlined(start, zone);
            let poisoned = self.reference.is_poisoned(self.block(start));
            *self.answers.entry(("online", "poisoned")).or_default() += u64::from(poisoned);
        }
        self.settle(&what);
    }

    /// Takes a block offline.
    pub fn offline(&mut self, start: u64) {
        let g = self.granule();
        let what = format!("offline {start:#x}");
        // A fault half-way leaves pages where they have moved to, which changes what the next try has to move.
        let moving = self.reference.tenants_in(&self.seen, start);
        let mut answer = self.whichever_is_left(self.reference.offline(&self.seen, start));
        if self.veto == Some(Direction::Offline) {
            answer = self.reference.vetoed_offline(self.block(start), answer);
        }
        let faulty = self.fault.is_some();
        let result =
            self.act(Detail::WherePagesMayHaveMoved, &what, |rig| rig.mm.offline_block(Rig::pfn(g, start)));
        self.answered("offline", answer, &result, &what);
        if let Ok(offlined) = &result {
            *self.answers.entry(("offline", "migrated")).or_default() += u64::from(offlined.migrated != 0);
            assert!(faulty || offlined.migrated == moving, "{what}: {offlined:?} of {moving}");
            self.reference.offlined(start);
            let poisoned = self.reference.is_poisoned(self.block(start));
            *self.answers.entry(("offline", "poisoned")).or_default() += u64::from(poisoned);
        }
        self.settle(&what);
    }

    /// Which page finds no room is open when an allocation for an earlier one is made to fail.
    fn whichever_is_left(&self, answer: Answer) -> Answer {
        match answer {
            Answer::Refused("Stays", _) if self.fault.is_some() => Answer::Refused("Stays", None),
            other => other,
        }
    }

    /// Unplugs a DIMM: offline and remove.
    pub fn unplug(&mut self, start: u64, len: u64) {
        let what = format!("unplug {start:#x} + {len:#x}");
        let parted = self.reference.refuse_parted(start..start + len);
        let answer = parted.unwrap_or_else(|| self.reference.offline_all(&self.seen, start..start + len));
        let mut answer = self.whichever_is_left(answer);
        if self.veto == Some(Direction::Offline) {
            answer = self.reference.vetoed_offline(start..start + len, answer);
        }
        self.warned(answer);
        let result = self.act(Detail::WherePagesMayHaveMoved, &what, |rig| rig.mm.unplug(range(start, len)));
        self.answered("unplug", answer, &result, &what);
        self.gone(start, len, result.is_ok());
        self.settle(&what);
    }

    /// Removes a DIMM whose blocks are offline.
    pub fn remove(&mut self, start: u64, len: u64) {
        let what = format!("remove {start:#x} + {len:#x}");
        let answer = self.reference.remove(start, len);
        self.warned(answer);
        let result = self.act(Detail::Exact, &what, |rig| rig.mm.remove_memory(range(start, len)));
        self.answered("remove", answer, &result, &what);
        self.gone(start, len, result.is_ok());
        self.settle(&what);
    }

    fn gone(&mut self, start: u64, len: u64, gone: bool) {
        if !gone {
            return;
        }
        let boot = self.reference.blocks.get(&start).is_some_and(|block| block.home == Home::Boot);
        let poisoned = self.reference.is_poisoned(start..start + len);
        *self.answers.entry(("unplug", "poisoned")).or_default() += u64::from(poisoned);
        self.reference.removed(start, len);
        if boot {
            self.left.insert(start);
            *self.answers.entry(("unplug", "a boot block")).or_default() += 1;
        } else if !self.left.contains(&start) {
            self.rig.machine.unplug(start);
        }
    }

    /// The bytes of a block.
    fn block(&self, start: u64) -> std::ops::Range<u64> {
        start..start + self.reference.block_bytes()
    }

    /// Removing what is not there is a warning.
    fn warned(&mut self, answer: Answer) {
        self.warnings.bad_remove += u64::from(answer == Answer::Refused("NoBlock", None));
    }
}
