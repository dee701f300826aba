//! tests.toml: what the image can test, for programs that choose. `boot-tests --manifest` prints it.

use crate::report::group_of;
use crate::suite::{SELF_TESTS, Test, all};
use hotmap_client::patience::STEP;
use std::fmt::Write;

const HEAD: &str = "\
# What can be tested. Made by `cargo run -q -p hotmap-tests --bin boot-tests -- --manifest >tests.toml`, and compared with
# the code by a test.
#
# selftest: inside the kernel, in any boot way. `arguments` are boot arguments; the output is KTAP.
# group:    boot tests, which start QEMU themselves. `arguments` are those of make.
# needs:    programs, besides the image. timeout: seconds that a step (a boot, a reply, an event) may take, of which a test
#           has several. HOTMAP_TIMEOUT=3 makes it three times as long.

schema = 1
";

/// The groups: the first words of the tests' names, in the order in which they run.
pub fn groups(tests: &[Test]) -> Vec<String> {
    let mut groups = Vec::new();
    for test in tests {
        let group = group_of(&test.name).to_owned();
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    groups
}

/// The whole file.
pub fn text() -> String {
    let mut text = HEAD.to_owned();
    for name in SELF_TESTS {
        entry(&mut text, name, "selftest", &format!("run=\"selftest {name}\""), &["qemu-system-aarch64"]);
    }
    for group in groups(&all()) {
        let clients: &[&str] = &["qemu-system-aarch64", "cargo", "python3"];
        entry(&mut text, &group, "group", &format!("test GROUP={group}"), clients);
    }
    text
}

fn entry(text: &mut String, name: &str, kind: &str, arguments: &str, needs: &[&str]) {
    let timeout = STEP.as_secs();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "\n[[{kind}]]\nname = \"{name}\"\narguments = '{arguments}'\nneeds = {needs:?}\ntimeout = {timeout}\n"
    );
}

#[cfg(test)]
mod tests {
    use hotmap_client::qemu::root;

    #[test]
    fn the_file_is_what_the_code_says() {
        let file = std::fs::read_to_string(root().join("tests.toml")).expect("tests.toml");
        let hint = "cargo run -q -p hotmap-tests --bin boot-tests -- --manifest >tests.toml";
        assert!(file == super::text(), "run: {hint}");
    }
}
