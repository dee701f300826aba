//! Notifiers are asked and told in order, of each run of blocks that goes; a veto undoes everything and those who had
//! agreed hear of it, last first.
#![cfg(not(miri))]

use std::cell::{Cell, RefCell};

use hotmap_emulator::rig::{MIB, Rig, Shape, range};
use hotmap_mm::addr::{PhysAddr, PhysRange};
use hotmap_mm::debug::faults::Plan;
use hotmap_mm::error::{BlockError, Error, PageError, Resource, Result};
use hotmap_mm::frame::block::Source;
use hotmap_mm::frame::zone::ZoneKind;
use hotmap_mm::granule::Granule;
use hotmap_mm::hotplug::notify::{Chain, Direction, Event, MAX_NOTIFIERS, Notifier, Veto};
use hotmap_mm::hotplug::offline::Offlined;
use hotmap_mm::hotplug::range::HotRange;
use hotmap_mm::hotplug::{home::MemmapHome, step::Step};
use hotmap_mm::pfn::PfnRange;
use hotmap_testkit::snapshot::Snapshot;

const AT: u64 = 0x8000_0000;

type Heard = (char, Event, PhysRange);

thread_local! {
    static HEARD: RefCell<Vec<Heard>> = const { RefCell::new(Vec::new()) };
    /// Which notifier says no to which question.
    static VETO: Cell<Option<(char, Direction)>> = const { Cell::new(None) };
    /// The only range that it says no to.
    static VETO_AT: Cell<Option<PhysRange>> = const { Cell::new(None) };
}

fn hear(name: char, event: Event, range: PhysRange) -> core::result::Result<(), Veto> {
    HEARD.with_borrow_mut(|heard| heard.push((name, event, range)));
    let vetoed = VETO.get().is_some_and(|(who, what)| who == name && event == Event::Going(what))
        && VETO_AT.get().is_none_or(|at| at == range);
    if vetoed { Err(Veto) } else { Ok(()) }
}

const A: Notifier = Notifier { name: "a", hear: |event, range| hear('a', event, range) };
const B: Notifier = Notifier { name: "b", hear: |event, range| hear('b', event, range) };
const C: Notifier = Notifier { name: "c", hear: |event, range| hear('c', event, range) };

fn take_heard() -> Vec<Heard> {
    HEARD.take()
}

/// `abc` hear of one event each, in this order.
fn each(names: &str, event: Event, range: PhysRange) -> Vec<Heard> {
    names.chars().map(|name| (name, event, range)).collect()
}

fn boot(g: Granule) -> Rig {
    let mut rig = Rig::boot(g, &Shape::one("256 MiB", 0x4000_0000, 256 * MIB));
    for notifier in [A, B, C] {
        rig.mm.notifiers.register(notifier).expect("room");
    }
    drop(take_heard());
    rig
}

/// The ways on which memory goes online, and those on which it goes offline.
type Act = fn(&mut Rig) -> Result<()>;

fn hot(rig: &Rig) -> Result<HotRange> {
    let g = rig.granule();
    HotRange::new(&rig.mm, PhysAddr::new(AT), Rig::blocks(g, 2), Source::Dimm(0))
}

fn all_pages(g: Granule) -> PfnRange {
    PfnRange::inside(g, range(AT, Rig::blocks(g, 2)))
}

fn going_online() -> [(Act, u64); 3] {
    [
        (
            |rig| {
                let g = rig.granule();
                rig.mm.online_block(Rig::pfn(g, AT), ZoneKind::Movable)
            },
            1,
        ),
        (
            |rig| {
                let g = rig.granule();
                rig.mm.online_pages(all_pages(g), ZoneKind::Movable, |_, _| {})
            },
            2,
        ),
        (
            |rig| {
                let hot = hot(rig)?;
                rig.mm.plug(&hot, MemmapHome::SelfHosted, ZoneKind::Movable, |_, _| {})
            },
            2,
        ),
    ]
}

fn going_offline() -> [(Act, u64); 3] {
    [
        (
            |rig| {
                let g = rig.granule();
                rig.mm.offline_block(Rig::pfn(g, AT)).map(drop)
            },
            1,
        ),
        (
            |rig| {
                let g = rig.granule();
                rig.mm.offline_pages(all_pages(g)).map(drop)
            },
            2,
        ),
        (
            |rig| {
                let g = rig.granule();
                rig.mm.unplug(range(AT, Rig::blocks(g, 2))).map(drop)
            },
            2,
        ),
    ]
}

/// Each way, from the state that it needs: `(rig, act, the whole range that goes)`.
fn each_way(g: Granule, direction: Direction, mut f: impl FnMut(&mut Rig, Act, PhysRange)) {
    let ways = if direction == Direction::Online { going_online() } else { going_offline() };
    for (i, (act, blocks)) in ways.into_iter().enumerate() {
        let mut rig = boot(g);
        let len = Rig::blocks(g, 2);
        rig.machine.plug(AT, len);
        // Everything but `plug` wants memory that is present.
        if direction == Direction::Offline || i < 2 {
            rig.add(AT, len, MemmapHome::SelfHosted).expect("room");
        }
        if direction == Direction::Offline {
            rig.online(AT, len, ZoneKind::Movable);
        }
        drop(take_heard());
        f(&mut rig, act, range(AT, Rig::blocks(g, blocks)));
    }
}

fn all_are_asked_and_then_told(g: Granule) {
    for direction in [Direction::Online, Direction::Offline] {
        each_way(g, direction, |rig, act, whole| {
            act(rig).expect("no notifier vetoes");
            let mut expected = each("abc", Event::Going(direction), whole);
            expected.extend(each("abc", Event::Done(direction), whole));
            assert_eq!(take_heard(), expected);
            rig.assert_clean("told");
        });
    }
}

fn a_veto_is_named_and_undoes_everything(g: Granule) {
    for direction in [Direction::Online, Direction::Offline] {
        for (who, by, agreed) in [('a', "a", ""), ('b', "b", "a"), ('c', "c", "ba")] {
            each_way(g, direction, |rig, act, whole| {
                let before = Snapshot::exact(rig);
                VETO.set(Some((who, direction)));
                let result = act(rig);
                VETO.set(None);
                assert_eq!(result, Err(Error::Block(BlockError::Vetoed { range: whole, by })));
                before.assert_same(&Snapshot::exact(rig), "after a veto");
                rig.assert_clean("after a veto");
                let asked = &"abc"[..=agreed.len()];
                let mut expected = each(asked, Event::Going(direction), whole);
                expected.extend(each(agreed, Event::Cancelled(direction), whole));
                assert_eq!(take_heard(), expected);
                act(rig).expect("with the veto gone");
                rig.assert_clean("with the veto gone");
            });
        }
    }
}

/// A veto to something that is no question, or to the other direction, is not heard.
fn only_the_question_can_be_vetoed(g: Granule) {
    each_way(g, Direction::Online, |rig, act, _| {
        VETO.set(Some(('b', Direction::Offline)));
        let result = act(rig);
        VETO.set(None);
        assert_eq!(result, Ok(()));
    });
}

fn what_fails_after_all_have_agreed_is_cancelled_last_first(g: Granule) {
    each_way(g, Direction::Online, |rig, act, whole| {
        let before = Snapshot::exact(rig);
        // The last allocation is the zone's list, after the question.
        rig.mm.frames_mut().faults.arm(Plan::Off);
        let sites = {
            let mut twin = boot(g);
            twin.machine.plug(AT, Rig::blocks(g, 2));
            if !rig.mm.frames().blocks().all(|b| b.source == Source::Boot) {
                twin.add(AT, Rig::blocks(g, 2), MemmapHome::SelfHosted).expect("room");
            }
            twin.mm.frames_mut().faults.arm(Plan::Off);
            act(&mut twin).expect("nothing fails");
            drop(take_heard());
            twin.mm.frames().faults.sites()
        };
        rig.mm.frames_mut().faults.arm(Plan::Nth(sites));
        let result = act(rig);
        rig.mm.frames_mut().faults.arm(Plan::Off);
        assert!(matches!(result, Err(Error::Out(Resource::Heap { .. }))), "{result:?}");
        let mut expected = each("abc", Event::Going(Direction::Online), whole);
        expected.extend(each("cba", Event::Cancelled(Direction::Online), whole));
        assert_eq!(take_heard(), expected);
        before.assert_same(&Snapshot::exact(rig), "cancelled");
    });
    each_way(g, Direction::Offline, |rig, act, whole| {
        let last = hotmap_mm::pfn::Pfn::new(Rig::pfn(g, whole.end.get()).get() - 1);
        rig.mm.pin(last).expect("free");
        let before = Snapshot::exact(rig);
        assert_eq!(act(rig), Err(Error::Page(PageError::Pinned { pfn: last, refs: 1 })));
        let mut expected = each("abc", Event::Going(Direction::Offline), whole);
        expected.extend(each("cba", Event::Cancelled(Direction::Offline), whole));
        assert_eq!(take_heard(), expected);
        before.assert_same(&Snapshot::exact(rig), "cancelled");
    });
}

/// Of a range that is partly offline, the part that goes is asked for; of one that is all offline, nothing.
fn what_is_offline_does_not_go(g: Granule) {
    let mut rig = boot(g);
    let block = Rig::blocks(g, 1);
    rig.plug(AT, 3 * block, MemmapHome::SelfHosted);
    rig.online(AT + block, 2 * block, ZoneKind::Movable);
    drop(take_heard());
    let pages = PfnRange::inside(g, range(AT, 3 * block));
    assert_eq!(rig.mm.offline_pages(pages), Ok(Offlined::default()));
    let part = range(AT + block, 2 * block);
    let mut expected = each("abc", Event::Going(Direction::Offline), part);
    expected.extend(each("abc", Event::Done(Direction::Offline), part));
    assert_eq!(take_heard(), expected);
    assert_eq!(rig.mm.offline_pages(pages), Ok(Offlined::default()));
    assert_eq!(take_heard(), []);
}

/// Five blocks of which the second and the fourth are offline: each run that goes is asked for and told by itself.
fn each_run_that_goes_is_heard_of_by_itself(g: Granule) {
    let mut rig = boot(g);
    let block = Rig::blocks(g, 1);
    rig.plug(AT, 6 * block, MemmapHome::SelfHosted);
    for i in [0, 2, 4, 5] {
        rig.online(AT + i * block, block, ZoneKind::Movable);
    }
    let pages = PfnRange::inside(g, range(AT, 6 * block));
    let runs = [(0, 1), (2, 1), (4, 2)].map(|(i, n)| range(AT + i * block, n * block));
    let asked = |names, runs: &[PhysRange], event| {
        runs.iter().flat_map(|run| each(names, event, *run)).collect::<Vec<_>>()
    };
    let back: Vec<_> = runs.iter().rev().copied().collect();
    let [going, done, cancelled] =
        [Event::Going, Event::Done, Event::Cancelled].map(|event| event(Direction::Offline));
    drop(take_heard());
    let before = Snapshot::exact(&rig);
    // A page that cannot move, in the last run: all have agreed, and each run is cancelled, the last first.
    let pinned = Rig::pfn(g, AT + 6 * block - g.page_size);
    rig.mm.pin(pinned).expect("free");
    assert_eq!(rig.mm.offline_pages(pages), Err(Error::Page(PageError::Pinned { pfn: pinned, refs: 1 })));
    rig.mm.unpin(pinned).expect("pinned");
    assert_eq!(take_heard(), [asked("abc", &runs, going), asked("cba", &back, cancelled)].concat());
    before.assert_same(&Snapshot::exact(&rig), "cancelled");
    // A veto to the third run: those who agreed to it hear of it, then all of the runs before.
    VETO_AT.set(Some(runs[2]));
    VETO.set(Some(('b', Direction::Offline)));
    let refused = rig.mm.offline_pages(pages);
    VETO.set(None);
    VETO_AT.set(None);
    assert_eq!(refused, Err(Error::Block(BlockError::Vetoed { range: runs[2], by: "b" })));
    let mut expected = asked("abc", &runs[..2], going);
    expected.extend(asked("ab", &runs[2..], going));
    expected.extend(asked("a", &runs[2..], cancelled));
    expected.extend(asked("cba", &back[1..], cancelled));
    assert_eq!(take_heard(), expected);
    before.assert_same(&Snapshot::exact(&rig), "vetoed");
    assert_eq!(rig.mm.offline_pages(pages), Ok(Offlined::default()));
    assert_eq!(take_heard(), [asked("abc", &runs, going), asked("abc", &runs, done)].concat());
    rig.assert_clean("offline");
}

/// When the notifiers are asked, nothing of steps 6 and 7 has been done; when they are told, everything has.
fn the_steps_frame_the_questions(g: Granule) {
    let (mut rig, len) = (boot(g), Rig::blocks(g, 2));
    rig.machine.plug(AT, len);
    let hot = hot(&rig).expect("free");
    let mut lines = Vec::new();
    let done = |_: &_, step: Step| lines.push((step.number(), HEARD.with_borrow(Vec::len)));
    rig.mm.plug(&hot, MemmapHome::SelfHosted, ZoneKind::Movable, done).expect("room");
    assert_eq!(lines, [(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 3), (7, 6)]);
}

hotmap_testkit::at_each_granule!(
    all_are_asked_and_then_told,
    a_veto_is_named_and_undoes_everything,
    only_the_question_can_be_vetoed,
    what_fails_after_all_have_agreed_is_cancelled_last_first,
    what_is_offline_does_not_go,
    each_run_that_goes_is_heard_of_by_itself,
    the_steps_frame_the_questions,
);

#[test]
fn a_chain_keeps_its_order_and_is_full_at_some_time() {
    let names = |chain: &Chain| chain.iter().map(|n| n.name).collect::<String>();
    let mut chain = Chain::new();
    for notifier in [A, B, C] {
        chain.register(notifier).expect("room");
    }
    assert!(chain.unregister("b") && !chain.unregister("b"));
    assert_eq!(names(&chain), "ac");
    chain.register(A).expect("it takes its own place");
    assert_eq!(names(&chain), "ca");
    for name in ["1", "2", "3", "4", "5", "6"] {
        chain.register(Notifier { name, ..A }).expect("room");
    }
    assert_eq!(chain.iter().count(), MAX_NOTIFIERS);
    let full = Err(Error::Out(Resource::Slots { what: "notifiers" }));
    assert_eq!(chain.register(B), full);
    assert!(chain.unregister("c"));
    assert_eq!(chain.register(B), Ok(()));
    assert_eq!(names(&chain), "a123456b");
}
