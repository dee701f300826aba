//! Boot arguments: how they are passed, how wrong ones are reported, and the exit statuses of `run=`.

use super::test::{Test, per_granule, slotted};
use hotmap_client::error::{Checked, During};
use hotmap_client::geometry::{GIB, Granule, MIB};
use hotmap_client::guest::{Guest, run_to_end};
use hotmap_client::machine::Machine;
use hotmap_client::patience::Deadline;
use hotmap_client::qemu::{Exit, Qemu};
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};

/// How often typing ahead is tried.
const TYPED_AHEAD_ROUNDS: u32 = 8;

pub(super) fn tests() -> Vec<Test> {
    let mut tests = per_granule("arguments/fw-cfg", arrive_by_fw_cfg);
    tests.extend([
        Test::new("arguments/default-granule", default_granule_is_4k),
        Test::new("arguments/unknown", an_unknown_one_is_reported),
        Test::new("arguments/wrong-value", a_wrong_value_is_reported_and_counted),
        Test::new("arguments/strict", strict_ends_the_boot_over_a_wrong_one),
        Test::new("arguments/open-quote", an_open_quote_is_named),
        Test::new("arguments/wrong-granule", a_wrong_granule_is_refused),
        Test::new("arguments/run-good", a_good_run_exits_0),
        Test::new("arguments/run-nonsense", nonsense_exits_1),
        Test::new("arguments/run-late-failure", any_failure_makes_the_status_1),
        Test::new("shell/errors", errors_are_one_line),
        Test::new("shell/unknown-words", a_word_that_is_not_understood_is_an_error),
        Test::new("shell/semicolons", a_line_may_hold_several_commands),
        Test::new("shell/line-ends", every_line_end_ends_a_line),
        Test::new("shell/typed-ahead", what_is_typed_before_the_prompt_counts),
    ]);
    tests
}

/// `-fw_cfg name=opt/hotmap/args` passes arguments too, for both granule and commands.
fn arrive_by_fw_cfg(run: &Run, granule: Granule) -> Checked<String> {
    let arguments = format!("name=opt/hotmap/args,string=granule={granule} run=\"state\"");
    let finished = run_to_end(run, &Machine::firmware().extra(["-fw_cfg", &arguments]))?;
    ensure_eq!(finished.exit, Exit::FINE, "run=state by fw_cfg");
    ensure_eq!(finished.state()?.granule(), Some(granule), "granule by fw_cfg");
    Ok(String::new())
}

fn default_granule_is_4k(run: &Run) -> Checked<String> {
    let finished = run_to_end(run, &Machine::firmware().append("run=state"))?;
    ensure_eq!(finished.state()?.granule(), Some(Granule::K4), "the default granule");
    Ok(String::new())
}

fn an_unknown_one_is_reported(run: &Run) -> Checked<String> {
    let finished = run_to_end(run, &Machine::firmware().append("frobnicate=7 run=state"))?;
    ensure_eq!(finished.exit, Exit::FINE, "an unknown argument stops nothing");
    Ok(finished.line("that names frobnicate", |line| line.contains("frobnicate"))?.to_owned())
}

/// Each line has the value, what is legal and what is used; the boot goes on, and `state` has the count.
fn a_wrong_value_is_reported_and_counted(run: &Run) -> Checked<String> {
    let wrong = "memmap=nowhere maxcpus=0 heap=2G frobnicate";
    let finished = run_to_end(run, &Machine::firmware().append(wrong).append("run=state"))?;
    ensure_eq!(finished.exit, Exit::FINE, "wrong values stop nothing");
    for complaint in [
        "memmap: 'nowhere' is not one of self, self-range, ram, demand; used: self",
        "maxcpus: '0' is not a number from 1 to 4294967295; used: all",
        "heap: '2G' is not a size from 64 KiB to 1 GiB; used: 4 MiB",
    ] {
        let wanted = format!("warning: boot argument {complaint}");
        finished.line(&format!("is '{wanted}'"), |line| line == wanted)?;
    }
    let state = finished.state()?;
    ensure_eq!(state.wrong_arguments, 4, "wrong arguments");
    ensure_eq!(state.warnings, 4, "warnings");
    ensure_eq!(state.heap.map(|heap| heap.size), Some(4 * MIB), "the heap that is used");
    Ok(String::new())
}

fn strict_ends_the_boot_over_a_wrong_one(run: &Run) -> Checked<String> {
    let strict =
        |line: &str| run_to_end(run, &Machine::firmware().append(line).append("strict=on run=state"));
    let good = strict("heap=8M memmap=ram")?;
    ensure_eq!(good.exit, Exit::FINE, "strict=on with good arguments");
    ensure_eq!(good.state()?.wrong_arguments, 0, "wrong arguments");
    let wrong = strict("heap=2G frobnicate")?;
    ensure_eq!(wrong.exit, Exit::PANIC, "strict=on with wrong arguments");
    ensure!(wrong.state().is_err(), "strict=on booted on");
    let lines: Vec<&str> = wrong.text.lines().filter(|line| line.starts_with("error: ")).collect();
    let wanted = [
        "error: boot argument heap: '2G' is not a size from 64 KiB to 1 GiB; used: 4 MiB",
        "error: unknown boot argument: frobnicate",
    ];
    ensure_eq!(lines, wanted, "what the boot ends with");
    Ok(String::new())
}

/// Otherwise the arguments that `scripts/qemu` adds would be taken as part of the command.
fn an_open_quote_is_named(run: &Run) -> Checked<String> {
    let finished = run_to_end(run, &Machine::firmware().append("run=\"state"))?;
    ensure_eq!(finished.exit, Exit::PANIC, "a quote that is not closed");
    let line = finished.line("that names the quote", |line| line.contains("closing quote is missing"))?;
    ensure!(line.starts_with("error: boot argument run:"), "it says '{line}'");
    Ok(line.to_owned())
}

fn a_wrong_granule_is_refused(run: &Run) -> Checked<String> {
    let finished = run_to_end(run, &Machine::firmware().append("granule=8k run=state"))?;
    ensure!(finished.exit != Exit::FINE, "granule=8k was taken");
    ensure!(finished.state().is_err(), "granule=8k booted on with another granule");
    Ok(finished.line("that names it", |line| line.starts_with("error: ") && line.contains("8k"))?.to_owned())
}

fn a_good_run_exits_0(run: &Run) -> Checked<String> {
    let finished =
        run_to_end(run, &Machine::firmware().append("run=\"mem; zones; blocks; dimms; layout; state\""))?;
    ensure_eq!(finished.exit, Exit::FINE, "run= of good commands");
    finished.state()?;
    Ok(String::new())
}

fn nonsense_exits_1(run: &Run) -> Checked<String> {
    let finished = run_to_end(run, &Machine::firmware().append("run=nonsense"))?;
    ensure_eq!(finished.exit, Exit::COMMAND_FAILED, "run=nonsense");
    let named = |line: &str| line.starts_with("error: ") && line.contains("nonsense");
    Ok(finished.line("that says so", named)?.to_owned())
}

/// One failure among successes makes the status 1.
fn any_failure_makes_the_status_1(run: &Run) -> Checked<String> {
    let finished = run_to_end(run, &Machine::firmware().append("run=\"mem; offline 0x1000; state\""))?;
    ensure_eq!(finished.exit, Exit::COMMAND_FAILED, "a failure between two successes");
    Ok(String::new())
}

/// A wrongly called command prints one `error: ` line and changes nothing, and the shell goes on.
fn errors_are_one_line(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K4))?;
    let before = guest.state()?;
    let wrong = [
        "nonsense",
        "walk",
        "walk pfn:zebra",
        "walk pfn:0xffffffffff",
        "page 99999999999999999999999",
        "online 0x40000001",
        "offline 0x8000000000",
        "tenant",
        "tenant new 0x7fffffffffff",
        "tenant drop 77",
        "pin addr:0x1000",
        "unpin 0x40000",
        "state of things",
        "ptdump attic",
        "selftest nonesuch",
    ];
    for command in wrong {
        let sentence = guest.tell_in_vain(command)?;
        ensure!(!sentence.trim().is_empty(), "'{command}' fails without a sentence");
    }
    let after = guest.state()?;
    ensure_eq!(after.pages, before.pages, "pages after {} refused commands", wrong.len());
    guest.finish()?;
    Ok(format!("{} refusals", wrong.len()))
}

/// Every command that `help` lists refuses a first word that it does not know, and each of these a later one.
fn a_word_that_is_not_understood_is_an_error(run: &Run) -> Checked<String> {
    let machine = Machine { pmem: Some("1G".into()), ..slotted(Granule::K4) };
    let mut guest = Guest::boot(run, &machine)?;
    let pmem = 2 * GIB;
    guest.tell(&format!("dax create {pmem:#x},16M"))?;
    let before = guest.state()?;
    let help = guest.tell("help")?;
    let names: Vec<&str> =
        help.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next()).collect();
    ensure!(names.contains(&"dax") && names.contains(&"poweroff"), "help lists {names:?}");
    let first = names.iter().map(|name| format!("{name} frobnicate"));
    let later = [
        format!("dax destory {pmem:#x}"),
        format!("dax destroy {pmem:#x} frobnicate"),
        format!("dax create {:#x},16M --map frobnicate", pmem + 64 * MIB),
        format!("dax kmem {pmem:#x} frobnicate"),
        format!("dax read {pmem:#x} frobnicate"),
        format!("dax write {pmem:#x} 1 frobnicate"),
        "dax list frobnicate".into(),
        "dax help frobnicate".into(),
        "help args frobnicate".into(),
        "tenant new 1 frobnicate".into(),
        "tenant new frobnicate".into(),
        "online 0x40000000 frobnicate".into(),
        "inject alloc 1 frobnicate".into(),
        "inject alloc frobnicate".into(),
        "inject online frobnicate".into(),
        "inject offline frobnicate".into(),
        "inject off frobnicate".into(),
        "bench 1 frobnicate".into(),
        "bench hugetlb frobnicate".into(),
        "bench offline frobnicate".into(),
        "stress 0 frobnicate".into(),
        "hugetlb 2M 1 frobnicate".into(),
        "hugetlb take 2M frobnicate".into(),
        "hugetlb put 0x40000 frobnicate".into(),
        "hugetlb optimise 0x40000 frobnicate".into(),
        "selftest list frobnicate".into(),
    ];
    let commands: Vec<String> = first.chain(later).collect();
    for command in &commands {
        let sentence = guest.tell_in_vain(command)?;
        ensure!(!sentence.trim().is_empty(), "'{command}' fails without a sentence");
    }
    let after = guest.state()?;
    ensure_eq!(after.pages, before.pages, "pages after {} refused commands", commands.len());
    ensure_eq!(guest.tell("inject")?, "inject: nothing is armed", "after refused commands");
    guest.tell(&format!("dax destroy {pmem:#x}"))?;
    guest.finish()?;
    Ok(format!("{} refusals", commands.len()))
}

/// `;` separates commands at the prompt as in `run=`: each runs, even if the one before failed; an empty one is
/// none.
fn a_line_may_hold_several_commands(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K4))?;
    let reply = guest.tell("tenant new 1;tenant new 2 ;; tenant check;")?;
    let wanted = ["tenant 1 holds 1 pages", "tenant 2 holds 2 pages", "tenants checked: 2"];
    for line in wanted {
        ensure!(reply.lines().any(|said| said == line), "no line '{line}': {reply}");
    }
    let reply = guest.ask("tenant drop; nonsense; tenant check")?;
    ensure_eq!(reply.error(), Some("nonsense: no such command (help lists them)"), "a failure in the middle");
    ensure!(reply.text.ends_with("tenants checked: 0"), "what follows a failure: {}", reply.text);
    ensure_eq!(guest.tell(" ; ;")?, "", "a line of empty commands");
    guest.finish()?;
    Ok(String::new())
}

/// LF, CR and CRLF all end a line, and an empty line is no command.
fn every_line_end_ends_a_line(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K4))?;
    for end in ["\n", "\r", "\r\n"] {
        guest.type_raw(&format!("mem{end}"))?;
        let reply = guest.await_reply("mem", Deadline::for_step())?;
        ensure!(
            reply.error().is_none() && reply.text.contains("free"),
            "mem ended by {end:?}: {}",
            reply.text
        );
    }
    guest.type_raw("\n\r\n  \n")?;
    let reply = guest.ask("mem")?;
    ensure!(reply.error().is_none(), "after empty lines: {}", reply.text);
    ensure!(!guest.text().contains("error: "), "an empty line is an error");
    guest.finish()?;
    Ok(String::new())
}

/// `printf 'state\npoweroff\n' | scripts/qemu` works: no byte that is typed before the prompt is lost. The moment at
/// which it arrives differs from boot to boot.
fn what_is_typed_before_the_prompt_counts(run: &Run) -> Checked<String> {
    for round in 0..TYPED_AHEAD_ROUNDS {
        typed_ahead(run).during(&format!("boot {round}"))?;
    }
    Ok(format!("{TYPED_AHEAD_ROUNDS} boots"))
}

fn typed_ahead(run: &Run) -> Checked {
    let mut qemu = Qemu::start(&slotted(Granule::K4), None)?;
    qemu.type_in(b"state\npoweroff\n")?;
    let exit = qemu.wait_exit(Deadline::for_step());
    qemu.kill();
    let text = qemu.console.text();
    run.journal.add(&text);
    ensure_eq!(exit?, Exit::FINE, "poweroff that was typed ahead");
    ensure!(
        text.lines().any(|line| line.starts_with("{\"")),
        "state that was typed ahead printed no line of JSON"
    );
    Ok(())
}
