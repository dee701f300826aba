//! Tab on a terminal: what the shell offers, behind each word of each kind.

use super::test::{Test, slotted};
use hotmap_client::error::Checked;
use hotmap_client::geometry::Granule;
use hotmap_client::guest::Guest;
use hotmap_client::patience::Deadline;
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};

pub(super) fn tests() -> Vec<Test> {
    vec![Test::new("shell/tab", tab_completes_commands_words_and_addresses)]
}

/// What is typed, and the command that it becomes. Boot memory has eight blocks of 128 MiB from 1 GiB on, the first of which
/// cannot go.
const TYPED: [(&str, &str); 14] = [
    ("aud\t", "audit"),
    ("tenant n\t5", "tenant new 5"),
    ("tenant ch\t", "tenant check"),
    ("offl\t0x7\t8\t", "offline 0x78000000"),
    // The only one that is offline.
    ("onl\t\tm\t", "online 0x78000000 movable"),
    ("page addr:0x50\t", "page addr:0x50000000"),
    ("wal\tp\t0x40000", "walk pfn:0x40000"),
    ("ptd\tv\t", "ptdump vmemmap"),
    ("help of\t", "help offline"),
    ("help ar\t", "help args"),
    ("selftest bu\t", "selftest buddy"),
    ("hugetlb ta\t2M", "hugetlb take 2M"),
    ("inject of\t", "inject off"),
    ("mem; tenant d\t", "mem; tenant drop"),
];

fn tab_completes_commands_words_and_addresses(run: &Run) -> Checked<String> {
    let mut guest = Guest::boot(run, &slotted(Granule::K4).append("term=ansi"))?;
    guest.tell("hugetlb 2M 1")?;
    for (typed, command) in TYPED {
        guest.type_raw(&format!("{typed}\n"))?;
        guest.wait_for("the prompt", Deadline::for_step(), |text| {
            let entered = text.lines().any(|line| line.trim_end() == format!("hotmap> {command}"));
            (entered && text.ends_with("\nhotmap> ")).then_some(())
        })?;
        let reply = guest.ask("inject")?;
        ensure_eq!(reply.error(), None, "after '{command}'");
    }
    ensure!(!guest.text().contains("error: "), "a completed command failed: {}", guest.text());
    // What has nothing more in common is listed.
    guest.type_raw("un\t\t")?;
    guest
        .wait_for("the list", Deadline::for_step(), |text| text.contains("unpin  unpoison").then_some(()))?;
    guest.type_raw("\u{15}")?;
    guest.finish()?;
    Ok(format!("{} commands", TYPED.len()))
}
