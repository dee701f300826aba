//! The lab of docs/guide/lab.md: `scripts/lab check` accepts what arithmetic says, and nothing else.

use super::clients::output;
use super::test::Test;
use hotmap_client::error::Checked;
use hotmap_client::qemu::Exit;
use hotmap_client::run::Run;
use hotmap_client::{ensure, ensure_eq};

const PAGE: u64 = 4096;
const STRUCT_PAGE: u64 = 64;
const RAM: u64 = 0x4000_0000;
const DIMM: u64 = 0x8000_0000;
const SIZE: u64 = 1 << 30;
const BLOCK: u64 = 128 << 20;
/// Of 1 GiB.
const MEMMAP: u64 = SIZE / PAGE * STRUCT_PAGE;
/// Where vmemmap starts at 4K (docs/reference/memory-map.md).
const VMEMMAP: u64 = 0xffff_fdff_c000_0000;

/// The right answers to each step's questions, and a wrong one to each.
fn steps() -> [Vec<[String; 2]>; 6] {
    let number = |right: u64| [format!("{right:#x}"), format!("{}", right + 1)];
    let of_block = 0x8a30_0000 - (DIMM + BLOCK);
    [
        vec![number(VMEMMAP + (0x48d0_0000 - RAM) / PAGE * STRUCT_PAGE), number(PAGE / STRUCT_PAGE)],
        vec![number((SIZE - MEMMAP) / PAGE), number(DIMM + BLOCK + of_block / PAGE * STRUCT_PAGE)],
        vec![number(0), number(1000)],
        vec![number((2 << 20) / PAGE * STRUCT_PAGE / PAGE), number(2)],
        vec![number(MEMMAP / PAGE), number(DIMM + MEMMAP), number(MEMMAP / PAGE)],
        vec![["I8".into(), "I7".into()], ["6".into(), "I5".into()]],
    ]
}

pub(super) fn tests() -> Vec<Test> {
    let step = |(place, questions): (usize, Vec<[String; 2]>)| {
        let number = place + 1;
        Test::new(format!("lab/step-{number}"), move |run: &Run| check(run, number, &questions))
    };
    let mut tests: Vec<Test> = steps().into_iter().enumerate().map(step).collect();
    tests.push(Test::new("lab/refusals", refusals));
    tests.push(Test::new("lab/digits-without-0x", digits_without_0x));
    tests
}

fn lab(run: &Run, words: &[&str]) -> Checked<(Exit, String)> {
    output(run, "scripts/lab", words)
}

/// All right, then all wrong.
fn check(run: &Run, step: usize, questions: &[[String; 2]]) -> Checked<String> {
    let step = step.to_string();
    let answers = |which: usize| {
        let answers = questions.iter().filter_map(move |answers| answers.get(which).map(String::as_str));
        ["check", &step].into_iter().chain(answers).collect::<Vec<_>>()
    };
    let (exit, text) = lab(run, &answers(0))?;
    ensure_eq!(exit, Exit::FINE, "right answers: {text}");
    ensure_eq!(text.matches(": right: ").count(), questions.len(), "right answers: {text}");
    let (exit, text) = lab(run, &answers(1))?;
    ensure_eq!(exit, Exit::Code(1), "wrong answers: {text}");
    ensure_eq!(text.matches(": not right: ").count(), questions.len(), "wrong answers: {text}");
    Ok(format!("{} questions", questions.len()))
}

fn refusals(run: &Run) -> Checked<String> {
    let cases: [(&[&str], &str); 7] = [
        (&["check"], "error: which step? 1 to 6"),
        (&["check", "7"], "error: there is no step '7': 1 to 6"),
        (&["check", "4", "8"], "error: the step has 2 questions, and the answers are 1; - leaves one out"),
        (
            &["check", "4", "8", "two"],
            "error: 'two' is no answer: 4096, 4,096, 0x1000, a name such as I3, or - to leave one out",
        ),
        (
            &["check", "5", "4096", "8100000a", "4096"],
            "error: '8100000a' is no decimal number; a hexadecimal one begins with 0x: 0x8100000a",
        ),
        (&["run", "1", "2"], "error: '2' is no boot argument: they are NAME=VALUE"),
        (&["steps", "1"], "error: unknown word '1'"),
    ];
    for (words, sentence) in cases {
        let (exit, text) = lab(run, words)?;
        ensure_eq!(exit, Exit::Code(2), "{words:?}: {text}");
        ensure!(text.contains(sentence), "{words:?}: {text}");
    }
    Ok(format!("{} refused", cases.len()))
}

/// An address without its 0x is not right, and the hint says why.
fn digits_without_0x(run: &Run) -> Checked<String> {
    let digits = format!("{:x}", DIMM + MEMMAP);
    let (exit, text) = lab(run, &["check", "5", "-", &digits, "-"])?;
    ensure_eq!(exit, Exit::Code(1), "{text}");
    let hint = format!("2: not right: {digits} is read as decimal; a hexadecimal number begins with 0x");
    ensure!(text.contains(&hint), "{text}");
    Ok(hint)
}
