//! `stress` on four CPUs, at each granule, with and without FEAT_BBM: random operations while the other CPUs read, and
//! DIMMs are plugged and unplugged over QMP. No wrong read, a clean audit, and at the end the page counts of the start.

use super::nvdimm::SWITCH;
use super::test::{Test, per_granule, slotted};
use hotmap_client::dimm::Dimm;
use hotmap_client::error::{Checked, Error};
use hotmap_client::geometry::{GIB, GRANULES, Granule};
use hotmap_client::guest::{Guest, Unplug};
use hotmap_client::machine::Machine;
use hotmap_client::patience::{Deadline, step};
use hotmap_client::run::Run;
use hotmap_client::state::{Block, State};
use hotmap_client::{ensure, ensure_eq};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// Seconds, and seconds with `--long`.
const SHORT: u64 = 3;
const LONG: u64 = 60;
/// Time for other operations between two DIMMs.
const BETWEEN_DIMMS: Duration = Duration::from_millis(100);
/// The slots of the DIMMs that are plugged meanwhile. `stress` itself uses slot 0, and an NVDIMM has slot 1.
const SLOTS: [u32; 3] = [2, 3, 4];
/// So many DIMMs are more than a heap of 64 KiB has room for.
const FULL: u32 = 256;
/// The seed of the order: `HOTMAP_SEED=N`, or the test's own.
const SEED: &str = "HOTMAP_SEED";

pub(super) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for granule in GRANULES {
        for cpu in ["neoverse-n1", "max"] {
            let machine = machine(granule, cpu);
            let (short, long) = (machine.clone(), machine);
            let seed = granule.bytes() + cpu.len() as u64;
            let body =
                move |run: &Run| all_comes_and_goes(run, &short, granule, SHORT, seed).map(|(told, _)| told);
            tests.push(Test::new(format!("stress/{granule}/{cpu}"), body));
            let body = move |run: &Run| nothing_is_left_out(run, &long, granule);
            tests.push(Test::new(format!("stress/long/{granule}/{cpu}"), body).long());
        }
    }
    tests.extend(per_granule("stress/demand", |run, granule| {
        readers_in_blocks_on_demand(run, granule, SHORT)
    }));
    let long =
        per_granule("stress/long/demand", |run, granule| readers_in_blocks_on_demand(run, granule, LONG));
    tests.extend(long.into_iter().map(Test::long));
    tests.extend(per_granule("stress/unaligned-pmem", a_region_starts_anywhere));
    tests.extend(per_granule("stress/users-own", what_was_there_stays));
    tests.extend(per_granule("stress/vetoed", a_run_that_fails_puts_everything_back));
    tests.push(Test::new("stress/full-heap", a_dimm_leaves_whatever_a_full_heap_refused));
    tests.push(Test::new("stress/leaving", a_dimm_leaves_under_readers));
    tests
}

/// Most memory is a DIMM on demand in zone Normal, so that huge pages lie in it: readers find the heads of their zeroed tails,
/// while other pages of the blocks are taken and freed, and the blocks go and come.
fn readers_in_blocks_on_demand(run: &Run, granule: Granule, seconds: u64) -> Checked<String> {
    // No huge page of 1 GiB takes all of it.
    let (memory, blocks) = if granule == Granule::K64 { ("1G", 3) } else { ("256M", 7) };
    let dimm = Dimm::new("c0", blocks * granule.block()).in_slot(0).cold();
    let machine = Machine { smp: Some(4), ..slotted(granule).cpu("neoverse-n1").memory(memory) };
    let machine = machine.append("memmap=demand online=manual").extra(dimm.iter().map(String::as_str));
    let mut guest = Guest::boot(run, &machine)?;
    let offline = guest.state()?;
    for block in offline.blocks.iter().filter(|block| block.source == "dimm0") {
        guest.tell(&format!("online {:#x} normal", block.start))?;
    }
    let start = guest.state()?;
    let command = format!("stress {seconds} {}", granule.bytes() + seconds);
    let reply = guest.ask_within(&command, Deadline::after(step() + Duration::from_secs(seconds)))?;
    let reply = reply.result().map_err(Error::Failed)?;
    let read = number_before(&reply, " heads looked up, 0 wrong")?;
    let populated = guest.state()?.memmap_demand.populated;
    ensure!(read > 0 && populated > 0, "{read} heads read, {populated} memmap pages populated: {reply}");
    is_still(&mut guest, &start, "stress on demand")?;
    guest.finish()?;
    Ok(format!("{read} heads read, {populated} memmap pages populated"))
}

/// A huge page fills a DIMM, three readers read it, and QEMU unplugs the DIMM meanwhile. No reader touches memory that
/// is gone. (A page that `stress` has taken out of its pool at that moment holds the DIMM.)
fn a_dimm_leaves_under_readers(run: &Run) -> Checked<String> {
    let (mut left, mut held) = (0, 0);
    for seed in 1..=4 {
        let dimm = Dimm::new("d1", GIB).in_slot(1).at(2 * GIB);
        let machine = Machine { smp: Some(4), ..slotted(Granule::K4).cpu("neoverse-n1").memory("1G") };
        let machine = machine.append("memmap=ram").extra(dimm.cold().iter().map(String::as_str));
        let mut guest = Guest::boot(run, &machine)?;
        guest.tell("hugetlb 1G 1")?;
        let command = format!("stress 2 {seed}");
        guest.type_command(&command)?;
        guest.wait_for("readers", Deadline::for_step(), |text| text.contains("CPUs read").then_some(()))?;
        std::thread::sleep(BETWEEN_DIMMS * 3);
        match guest.unplug(&dimm)? {
            Unplug::Gone => left += 1,
            Unplug::Refused(_) => held += 1,
        }
        let reply = guest.await_reply(&command, Deadline::after(step() + Duration::from_secs(8)))?;
        let reply = reply.result().map_err(|why| Error::Failed(format!("seed {seed}: {why}")))?;
        let read = number_before(&reply, " heads looked up, 0 wrong")?;
        ensure!(read > 0, "seed {seed}: nothing was read");
        guest.finish()?;
    }
    ensure!(left > 0, "no DIMM left while readers read: {held} were held");
    Ok(format!("{left} DIMMs left under readers, {held} were held"))
}

/// A DIMM that is plugged before boot, and persistent memory for devices: of the device tree, with a self-hosted DIMM;
/// or an NVDIMM, with the DIMM's memmap in system RAM.
fn machine(granule: Granule, cpu: &str) -> Machine {
    let dimm = Dimm::new("c0", GIB).in_slot(0).cold();
    let machine = Machine { smp: Some(4), ..slotted(granule).cpu(cpu).memory("2G").maxmem("12G") };
    let machine = machine.extra(dimm.iter().map(String::as_str));
    if cpu != "max" {
        return Machine { pmem: Some("1G".into()), ..machine };
    }
    let nvdimm = Dimm::nvdimm("n0", GIB).in_slot(1).unreserved().cold();
    machine.append("memmap=ram").extra(SWITCH).extra(nvdimm.iter().map(String::as_str))
}

/// Persistent memory that starts 512 MiB past a GiB, and a DIMM.
fn odd_machine(granule: Granule) -> Machine {
    let dimm = odd_dimm().cold();
    let machine = Machine { hotpluggable: Some("512M".into()), pmem: Some("1G".into()), ..slotted(granule) };
    Machine { smp: Some(2), ..machine }.extra(dimm.iter().map(String::as_str))
}

fn odd_dimm() -> Dimm {
    Dimm::new("c0", GIB).in_slot(0)
}

/// What a run of `stress` must leave as it was.
fn is_still(guest: &mut Guest, start: &State, what: &str) -> Checked {
    let end = guest.state()?;
    ensure_eq!(end.pages, start.pages, "pages after {what}");
    // A tenant's pages may be in other blocks now, and so may the memmap that a huge page shared and got back.
    let blocks = |state: &State| -> Vec<_> {
        state
            .blocks
            .iter()
            .map(|block| Block { tenant_pages: 0, free: 0, lent: 0, ..block.clone() })
            .collect()
    };
    ensure_eq!(blocks(&end), blocks(start), "blocks after {what}");
    ensure_eq!(end.dimms, start.dimms, "DIMMs after {what}");
    ensure_eq!(end.devices, start.devices, "devices after {what}");
    let counts = |state: &State| -> Vec<_> {
        state.dedup.hugetlb.iter().map(|pool| (pool.size, pool.total, pool.free, pool.optimised)).collect()
    };
    ensure_eq!(counts(&end), counts(start), "huge pages after {what}");
    Ok(())
}

fn a_region_starts_anywhere(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &odd_machine(granule))?;
    let start = guest.state()?;
    for seed in 1..=4 {
        let reply = guest.tell(&format!("stress 1 {seed}"))?;
        ensure!(tally(&reply)?.contains_key("create"), "seed {seed}: {reply}");
        is_still(&mut guest, &start, &format!("seed {seed}"))?;
    }
    guest.unplug_well(&odd_dimm())?;
    guest.finish()?;
    Ok(String::new())
}

/// Tenants, a device, huge pages in use and free, memory of a region, and a block that is offline.
fn what_was_there_stays(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &odd_machine(granule).append("hvo=off"))?;
    let (hotpluggable, pmem) = (2 * GIB, 2 * GIB + GIB / 2);
    let dimm = guest.state()?.dimms.first().map_or(0, |dimm| dimm.start);
    for command in [
        "tenant new 7".into(),
        "tenant new 70".into(),
        format!("add {hotpluggable:#x}"),
        format!("dax create {pmem:#x},256M --map dev"),
        "hugetlb 2M 3".into(),
        "hugetlb take 2M".into(),
        format!("offline {dimm:#x}"),
    ] {
        guest.tell(&command)?;
    }
    let start = guest.state()?;
    for seed in 1..=3 {
        guest.tell(&format!("stress 1 {seed}"))?;
        is_still(&mut guest, &start, &format!("seed {seed}"))?;
    }
    let tenants = guest.tell("tenant check")?;
    ensure!(tenants.ends_with("tenants checked: 2"), "{tenants}");
    guest.tell(&format!("dax destroy {pmem:#x}"))?;
    guest.finish()?;
    Ok(String::new())
}

/// A notifier forbids what the run tries: it ends at once with an error, and all is as it was, its DIMM included.
fn a_run_that_fails_puts_everything_back(run: &Run, granule: Granule) -> Checked<String> {
    let mut guest = Guest::boot(run, &odd_machine(granule))?;
    let start = guest.state()?;
    guest.tell("inject offline")?;
    for seed in 1..=3 {
        let sentence = guest.tell_in_vain(&format!("stress 4 {seed}"))?;
        ensure!(sentence.contains("inject offline"), "seed {seed}: {sentence}");
        is_still(&mut guest, &start, &format!("seed {seed}"))?;
    }
    guest.tell("inject off")?;
    guest.unplug_well(&odd_dimm())?;
    guest.finish()?;
    Ok(String::new())
}

/// More DIMMs than the heap can list blocks of: after the first or the last one's memory is removed, there may be no
/// room to add it again. The DIMM leaves when it is asked for, with or without memory.
fn a_dimm_leaves_whatever_a_full_heap_refused(run: &Run) -> Checked<String> {
    let size = Granule::K4.block();
    let dimms: Vec<Dimm> =
        (0..FULL).map(|slot| Dimm::new(&format!("c{slot}"), size).in_slot(slot).unreserved()).collect();
    let cold: Vec<String> = dimms.iter().flat_map(Dimm::cold).collect();
    let room = format!("1G,slots={FULL},maxmem=64G");
    let machine = slotted(Granule::K4).append("heap=64K").extra(["-m", &room]);
    let mut guest = Guest::boot(run, &machine.extra(cold.iter().map(String::as_str)))?;
    let taken: Vec<u64> =
        guest.state()?.dimms.iter().filter(|d| d.state == "online").map(|d| d.slot).collect();
    ensure!((1..u64::from(FULL)).contains(&(taken.len() as u64)), "{} of {FULL} DIMMs fit", taken.len());
    for command in ["tenant new 1", "stress 1 2", "stress 1 3", "bench", "selftest hotplug", "stress 1 5"] {
        guest.ask(command)?;
    }
    let lost = guest.state()?.dimms.iter().filter(|d| d.state == "refused").count() + taken.len();
    for slot in [taken[0], taken[taken.len() - 1]] {
        let dimm = dimms.iter().find(|dimm| dimm.slot.map(u64::from) == Some(slot));
        guest.unplug_well(dimm.ok_or_else(|| Error::Failed(format!("no DIMM in slot {slot}")))?)?;
    }
    guest.tell("audit")?;
    guest.power_off()?;
    Ok(format!("{} DIMMs fit, {} were not added again", taken.len(), lost - FULL as usize))
}

/// For each operation: how often it succeeded, and was refused.
type Tally = BTreeMap<String, (u64, u64)>;

fn all_comes_and_goes(
    run: &Run,
    machine: &Machine,
    granule: Granule,
    seconds: u64,
    seed: u64,
) -> Checked<(String, Tally)> {
    let seed = std::env::var(SEED).ok().and_then(|text| text.parse().ok()).unwrap_or(seed);
    let mut guest = Guest::boot(run, machine)?;
    let start = guest.state()?;
    let command = format!("stress {seconds} {seed}");
    guest.type_command(&command)?;
    // `stress` compares the end with what it finds at its start.
    guest.wait_for("the start of stress", Deadline::for_step(), |text| {
        text.contains("stress: seed").then_some(())
    })?;
    let mut dimms = Dimms::new(granule, seed);
    while !guest.has_replied(&command) {
        dimms.one_comes_or_goes(&mut guest)?;
        std::thread::sleep(BETWEEN_DIMMS);
    }
    let deadline = Deadline::after(step() + Duration::from_secs(4 * seconds));
    let reply = guest.await_reply(&command, deadline)?;
    let reply = reply.result().map_err(|why| Error::Failed(format!("seed {seed}: {why}")))?;
    dimms.all_go(&mut guest)?;
    let read = number_before(&reply, " heads looked up, 0 wrong")?;
    ensure!(read > 0, "seed {seed}: nothing was read");
    ensure!(reply.lines().any(|line| line.starts_with("clean: ")), "seed {seed}: no clean audit");
    is_still(&mut guest, &start, &format!("seed {seed}"))?;
    let end = guest.state()?;
    ensure_eq!(end.zones, start.zones, "zones, seed {seed}");
    ensure_eq!(end.dedup, start.dedup, "what is shared, seed {seed}");
    let tally = tally(&reply)?;
    let operations: u64 = tally.values().map(|(done, refused)| done + refused).sum();
    guest.finish()?;
    let (came, refused) = (dimms.came, dimms.refused);
    let told = format!(
        "seed {seed}: {operations} operations, {read} heads read, DIMMs plugged {came} times, refused {refused}"
    );
    Ok((told, tally))
}

/// In a minute each operation succeeds at least once, and DIMMs are plugged and unplugged.
fn nothing_is_left_out(run: &Run, machine: &Machine, granule: Granule) -> Checked<String> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (told, tally) = all_comes_and_goes(run, machine, granule, LONG, now.as_secs())?;
    let never: Vec<&String> =
        tally.iter().filter(|(_, (done, _))| *done == 0).map(|(name, _)| name).collect();
    ensure!(never.is_empty(), "{told}; never done: {never:?}");
    Ok(told)
}

/// The number that stands before `sign`, and after the last ` `.
fn number_before(text: &str, sign: &str) -> Checked<u64> {
    let number = text.lines().find_map(|line| line.split_once(sign)?.0.rsplit(' ').next()?.parse().ok());
    number.ok_or_else(|| Error::Failed(format!("no line with '{sign}': {text}")))
}

/// `stress: done/refused: grow 12/3 ...`
fn tally(text: &str) -> Checked<Tally> {
    let line = text.lines().find_map(|line| line.strip_prefix("stress: done/refused: "));
    let words: Vec<&str> = line.unwrap_or_default().split(' ').collect();
    let pairs = words.chunks(2).map(|pair| {
        let [name, counts] = pair else { return None };
        let (done, refused) = counts.split_once('/')?;
        Some(((*name).to_owned(), (done.parse().ok()?, refused.parse().ok()?)))
    });
    let tally: Option<Tally> = pairs.collect();
    tally.ok_or_else(|| Error::Failed(format!("no line that counts operations: {text}")))
}

/// The DIMMs that are plugged and unplugged over QMP.
struct Dimms {
    granule: Granule,
    random: u64,
    there: Vec<Dimm>,
    came: u64,
    refused: u64,
}

impl Dimms {
    fn new(granule: Granule, seed: u64) -> Self {
        Self { granule, random: seed | 1, there: Vec::new(), came: 0, refused: 0 }
    }

    /// xorshift64 (Marsaglia, "Xorshift RNGs").
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        usize::try_from(self.random >> 33).unwrap_or(0) % limit
    }

    /// A refusal is not an error: huge pages or pins may hold a DIMM, and memory may be short.
    fn one_comes_or_goes(&mut self, guest: &mut Guest) -> Checked {
        let at = self.below(SLOTS.len());
        let slot = SLOTS[at];
        let id = format!("d{slot}");
        if let Some(at) = self.there.iter().position(|dimm| dimm.id == id) {
            match guest.unplug(&self.there[at])? {
                Unplug::Gone => drop(self.there.swap_remove(at)),
                Unplug::Refused(_) => self.refused += 1,
            }
            return Ok(());
        }
        let dimm = Dimm::new(&id, (1 + self.below(2) as u64) * self.granule.block()).in_slot(slot);
        let plugged = guest.plug(&dimm)?;
        let counter = if plugged.status == 0 { &mut self.came } else { &mut self.refused };
        *counter += 1;
        self.there.push(dimm);
        Ok(())
    }

    /// Afterwards nothing holds them.
    fn all_go(&mut self, guest: &mut Guest) -> Checked {
        self.there.iter().try_for_each(|dimm| guest.unplug_well(dimm))
    }
}

#[cfg(test)]
mod tests {
    use super::{number_before, tally};

    #[test]
    fn a_tally_has_two_counts_for_each_operation() {
        let text = "stress: seed 1\nstress: done/refused: grow 12/3 put 0/7\nclean: 1\n";
        let tally = tally(text).expect("a tally");
        assert_eq!((tally["grow"], tally["put"], tally.len()), ((12, 3), (0, 7), 2));
        for bad in
            ["", "stress: done/refused: grow 1/x", "stress: done/refused: grow", "stress: done/refused: "]
        {
            assert!(super::tally(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn heads_are_counted_only_when_none_is_wrong() {
        let sign = " heads looked up, 0 wrong";
        assert_eq!(number_before("stress: 15 heads looked up, 0 wrong\n", sign), Ok(15));
        assert!(number_before("stress: 15 heads looked up, 1 wrong\n", sign).is_err());
        assert!(number_before("stress: 15 heads looked up, 10 wrong\n", sign).is_err());
    }
}
