//! `boot-tests --group`: a name that is no group is an error that lists them.

use std::process::Command;

#[test]
fn a_group_that_there_is_not_is_refused_with_those_that_there_are() {
    let program = env!("CARGO_BIN_EXE_boot-tests");
    let output = Command::new(program).args(["--group", "life,nonsense"]).output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(
        said.starts_with("error: no group is named nonsense; there are: ") && said.contains(" life "),
        "{said}"
    );
}

#[test]
fn a_group_is_the_first_word_of_names_and_not_a_part_of_one() {
    let program = env!("CARGO_BIN_EXE_boot-tests");
    let output =
        Command::new(program).args(["--list", "--group", "life schema"]).output().expect("it starts");
    let names = String::from_utf8_lossy(&output.stdout);
    assert!(names.lines().any(|name| name == "schema/4k"), "{names}");
    assert!(names.lines().all(|name| name.starts_with("life/") || name.starts_with("schema/")), "{names}");
}
