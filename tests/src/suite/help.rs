//! `help`, docs/reference/shell.md and what the shell accepts agree, and `help` fits on a terminal of 80 columns.

use super::test::{Test, slotted};
use hotmap_client::error::{Checked, During, Error, failed};
use hotmap_client::geometry::Granule;
use hotmap_client::guest::{Guest, run_to_end};
use hotmap_client::machine::Machine;
use hotmap_client::qemu::{Exit, root};
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};
use std::collections::BTreeSet;

/// A terminal's width.
const COLUMNS: usize = 80;

pub(super) fn tests() -> Vec<Test> {
    vec![
        Test::new("help/agrees", help_the_reference_and_the_table_agree),
        Test::new("help/width", no_line_is_longer_than_a_terminal),
        Test::new("help/examples", every_example_runs),
        Test::new("help/unknown", a_command_that_is_not_there_is_named),
    ]
}

/// Each group's name, and its commands.
type Groups = Vec<(String, BTreeSet<String>)>;

/// `Group:` at the first column, its commands indented by two.
fn groups_of_help(text: &str) -> Groups {
    let mut groups = Groups::new();
    for line in text.lines() {
        if let Some(name) = line.strip_suffix(':') {
            groups.push((name.to_owned(), BTreeSet::new()));
        } else if let (Some(command), Some((_, commands))) = (line.strip_prefix("  "), groups.last_mut()) {
            commands.extend(command.split(' ').next().map(str::to_owned));
        }
    }
    groups
}

/// The headings of the tables of commands, and the first word of each code span in the first cell of a row.
fn groups_of_reference(text: &str) -> Groups {
    let mut groups = Groups::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("## ") {
            groups.push((name.to_owned(), BTreeSet::new()));
        } else if let (Some(row), Some((_, commands))) = (line.strip_prefix("| `"), groups.last_mut()) {
            // `\|` is no border.
            let cell = row.split(" | ").next().unwrap_or_default();
            let spans = cell.split('`').step_by(2);
            commands.extend(spans.filter_map(|span| span.split(' ').next()).map(str::to_owned));
        }
    }
    groups.retain(|(name, _)| name.starts_with("To "));
    groups
}

fn names(groups: &Groups) -> BTreeSet<String> {
    groups.iter().flat_map(|(_, commands)| commands).cloned().collect()
}

fn reference() -> Checked<Groups> {
    let path = root().join("docs/reference/shell.md");
    let text = std::fs::read_to_string(&path);
    Ok(groups_of_reference(&text.map_err(|error| Error::Unknown(format!("{}: {error}", path.display())))?))
}

/// The same commands, each of help's in the group that the reference has it in; the shell knows each, with the usage that
/// help shows, and no other.
fn help_the_reference_and_the_table_agree(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K4))?;
    let (listed, described) = (groups_of_help(&guest.tell("help")?), reference()?);
    ensure_eq!(names(&listed), names(&described), "what help lists, and what the reference describes");
    for (group, commands) in &listed {
        let there = described.iter().find(|(name, _)| name == group);
        let Some((_, there)) = there else { return failed(format!("no '## {group}' in the reference")) };
        ensure!(commands.is_subset(there), "{group}: {commands:?}, and in the reference {there:?}");
    }
    for name in names(&listed) {
        let shown = guest.tell(&format!("help {name}"))?;
        let usage = shown.replace('\n', " ").split("  ").collect::<Vec<_>>().join(" ");
        ensure!(usage.starts_with(&format!("usage: {name}")), "help {name}: {shown}");
        let refused = guest.tell_in_vain(&format!("{name}{}", " frobnicate".repeat(20)))?;
        let wrong = format!("{name}: 'frobnicate' is not understood; ");
        ensure!(refused.starts_with(&format!("{wrong}usage: {name}")), "too many words: {refused}");
        let expected = refused.trim_start_matches(&wrong);
        let folded: String = shown.split_whitespace().collect();
        let unfolded: String = expected.split_whitespace().collect();
        ensure!(folded.starts_with(&unfolded), "help {name} shows another usage than '{expected}': {shown}");
    }
    guest.finish()?;
    Ok(format!("{} commands", names(&listed).len()))
}

fn no_line_is_longer_than_a_terminal(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K4))?;
    let list = guest.tell("help")?;
    let commands = names(&groups_of_help(&list)).into_iter().map(|name| format!("help {name}"));
    let mut lines = 0;
    for command in
        ["help", "help args", "help bugs", "dax help"].map(str::to_owned).into_iter().chain(commands)
    {
        let text = guest.tell(&command)?;
        let long = text.lines().find(|line| line.chars().count() > COLUMNS);
        ensure!(long.is_none(), "'{command}' prints {long:?}");
        ensure!(text.lines().all(|line| line.trim_end() == line), "'{command}' prints blanks at an end");
        lines += text.lines().count();
    }
    guest.finish()?;
    Ok(format!("{lines} lines"))
}

/// A plain machine, and the options that the example says it needs.
fn machine_with(options: &str) -> Checked<Machine> {
    let mut machine = slotted(Granule::K4);
    let words: Vec<&str> = options.split_ascii_whitespace().collect();
    match words.as_slice() {
        [] => {}
        ["--hotpluggable", size] => machine.hotpluggable = Some((*size).to_owned()),
        ["--pmem", size] => machine.pmem = Some((*size).to_owned()),
        ["--virtio-mem", size] => machine.virtio_mem.push((*size).to_owned()),
        ["--icount"] => machine.icount = true,
        _ => return failed(format!("an example needs '{options}', which this test does not know")),
    }
    Ok(machine)
}

/// On a machine of its own, and all of it succeeds. One command is there to crash.
fn every_example_runs(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K4))?;
    let commands = names(&groups_of_help(&guest.tell("help")?));
    let mut examples = Vec::new();
    for name in commands {
        let shown = guest.tell(&format!("help {name}"))?;
        let value = |key: &str| shown.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let Some(example) = value("example:") else {
            return failed(format!("help {name}: no example: {shown}"));
        };
        let first_words = || example.split(';').filter_map(|command| command.split_whitespace().next());
        ensure!(first_words().any(|word| word == name), "the example of {name} is '{example}'");
        examples.push((
            name,
            example.to_owned(),
            machine_with(value("needs: scripts/qemu ").unwrap_or_default())?,
        ));
    }
    for (name, example, machine) in &examples {
        let finished = run_to_end(run, &machine.clone().append(&format!("run=\"{example}\"")))?;
        let exit = if name == "crash" { Exit::PANIC } else { Exit::FINE };
        ensure_eq!(finished.exit, exit, "'{example}', the example of {name}: {}", finished.text);
        // A word that is missing prints what there is to say without it.
        ensure!(!finished.text.contains("usage: ") || name == "help", "'{example}': {}", finished.text);
    }
    guest.power_off().during("after the examples")?;
    Ok(format!("{} examples", examples.len()))
}

fn a_command_that_is_not_there_is_named(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K4))?;
    let sentence = guest.tell_in_vain("help frobnicate")?;
    ensure_eq!(sentence, "help: there is no command 'frobnicate' (help lists them)", "an unknown command");
    for (line, near) in [
        ("help bug", "help: there is no command 'bug'; did you mean 'help bugs'? (help lists them)"),
        ("help boot", "help: there is no command 'boot'; did you mean 'help args'? (help lists them)"),
        (
            "help arguments",
            "help: there is no command 'arguments'; did you mean 'help args'? (help lists them)",
        ),
        ("help offlin", "help: there is no command 'offlin'; did you mean 'help offline'? (help lists them)"),
        ("stat", "stat: no such command; did you mean 'state'? (help lists them)"),
        ("audti", "audti: no such command; did you mean 'audit'? (help lists them)"),
        ("he", "he: no such command (help lists them)"),
        ("info mem", "info: a command of QEMU's monitor: press Ctrl-A C first"),
        ("object_add a,b=c", "object_add: a command of QEMU's monitor: press Ctrl-A C first"),
    ] {
        ensure_eq!(guest.tell_in_vain(line)?, near, "'{line}'");
    }
    guest.tell_in_vain(&format!("help {}", "x".repeat(1000)))?;
    guest.finish()?;
    Ok(sentence)
}

#[cfg(test)]
mod tests {
    use super::{groups_of_help, groups_of_reference, names};

    #[test]
    fn commands_are_found_in_their_groups() {
        let help = groups_of_help(
            "To look:\n  mem       pages\n  state     all\nTo check:\n  audit     I1\nhelp X.\n",
        );
        let text = "| `no` | x |\n## To look\n\n| command | prints |\n|---|---|\n| `mem` | pages |\n\
                    | `state [a\\|b]` | all |\n## To check\n| `audit`, `state N` | both |\n## Other\n| `x` | y |\n";
        let reference = groups_of_reference(text);
        assert_eq!(help.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["To look", "To check"]);
        assert_eq!(names(&help), names(&reference));
        assert_eq!(help[1].1.iter().collect::<Vec<_>>(), ["audit"]);
        assert_eq!(reference[1].1.iter().collect::<Vec<_>>(), ["audit", "state"]);
    }
}
