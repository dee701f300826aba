//! The public operations that change the model, read from its source.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Parts of `Mm` whose methods are no operations.
const NOT_PARTS: &[(&str, &str)] = &[(
    "KernelSpace",
    "maps what its caller asks for, for which the caller answers (change.rs, mapping.rs, leaves.rs)",
)];

/// An operation.
#[derive(Debug)]
pub(super) struct Operation {
    /// The file, below kernel/mm/src.
    pub(super) file: String,
    /// Whether it returns a `Result`.
    pub(super) is_fallible: bool,
}

/// All of them by name: `Type::method`, or `module::function`.
pub(super) fn operations() -> BTreeMap<String, Operation> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../mm/src");
    let parts = parts(&fs::read_to_string(root.join("mm.rs")).expect("the file of Mm"));
    let mut found = BTreeMap::new();
    for path in files(&root) {
        let text = fs::read_to_string(&path).expect("a file");
        let file = path.strip_prefix(&root).expect("below").to_string_lossy().into_owned();
        let module = file.trim_end_matches(".rs").trim_end_matches("/mod").replace('/', "::");
        for (name, is_fallible) in of_file(&text, &module, &parts) {
            let operation = Operation { file: file.clone(), is_fallible };
            let twice = found.insert(name.clone(), operation);
            assert!(twice.is_none(), "{file}: {name} is defined twice");
        }
    }
    found
}

/// `Mm`, and the types of its fields.
fn parts(text: &str) -> Vec<String> {
    let (_, fields) = text.split_once("pub struct Mm<M: Machine> {\n").expect("its definition");
    let (fields, _) = fields.split_once("\n}").expect("its end");
    let fields = fields.lines().map(str::trim).filter(|line| !line.starts_with("//"));
    let types = fields.filter_map(|line| line.split_once(": ")).map(|(_, kind)| ident(kind));
    let mut parts: Vec<String> = types.chain(["Mm".to_owned()]).collect();
    for (name, _) in NOT_PARTS {
        let before = parts.len();
        parts.retain(|part| part != name);
        assert!(parts.len() < before, "{name} is no part of Mm");
    }
    parts
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let source = files.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "rs"));
    source.chain(folders.iter().flat_map(|folder| self::files(folder))).collect()
}

/// The identifier that `text` begins with.
fn ident(text: &str) -> String {
    text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
}

/// The operations of one file, formatted by rustfmt: an item begins and ends in the first column.
fn of_file(text: &str, module: &str, parts: &[String]) -> Vec<(String, bool)> {
    let (mut found, mut within) = (Vec::new(), None);
    let lines: Vec<&str> = text.lines().collect();
    for (at, line) in lines.iter().enumerate() {
        match *line {
            "}" => within = None,
            line if line.starts_with("impl") => within = subject(line),
            _ => {}
        }
        let method = line.strip_prefix("    pub ").filter(|_| within.is_some());
        let Some(item) = method.or_else(|| line.strip_prefix("pub ")) else { continue };
        let Some(name) = item.trim_start_matches("const ").strip_prefix("fn ").map(ident) else { continue };
        let signature = signature(&lines[at..]);
        let (takes, returns) = signature.split_once(" -> ").unwrap_or((&signature, ""));
        let on_part = within.as_ref().is_some_and(|kind| parts.contains(kind)) && takes.contains("&mut self");
        let with_part = parts.iter().any(|part| {
            [format!("&mut {part}<"), format!("&mut {part},"), format!("&mut {part})")]
                .iter()
                .any(|p| takes.contains(p))
        });
        if on_part || with_part {
            let subject = within.clone().filter(|_| method.is_some()).unwrap_or_else(|| module.to_owned());
            found.push((format!("{subject}::{name}"), returns.starts_with("Result<")));
        }
    }
    found
}

/// The type that an `impl` is for; `None` for a trait's.
fn subject(line: &str) -> Option<String> {
    let rest = line.strip_prefix("impl").filter(|_| !line.contains(" for "))?;
    let rest = match rest.strip_prefix('<') {
        Some(generics) => generics.split_once("> ")?.1,
        None => rest.trim_start(),
    };
    Some(ident(rest))
}

/// From `fn` to the body, on one line.
fn signature(lines: &[&str]) -> String {
    let end = lines.iter().position(|line| line.trim_end().ends_with('{')).expect("a body");
    lines[..=end].iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

#[test]
fn the_parser_finds_methods_and_functions_that_change_a_part() {
    let text = "impl<M: Machine> Mm<M> {
    pub fn looks(&self) -> u64 {
    }
    pub fn changes(
        &mut self,
        pfn: Pfn,
    ) -> Result<()> {
    }
    pub(crate) fn not_public(&mut self) {
    }
}
impl fmt::Display for Mm {
    pub fn of_a_trait(&mut self) {
    }
}
impl Other {
    pub const fn not_a_part(&mut self) {
    }
    pub fn a_part_of_it(chain: &mut Chain, by: u64) -> u64 {
    }
}
pub fn by_itself<M: Machine>(space: &mut KernelSpace<M>, frames: &mut Frames<M>) -> Result<Pfn> {
}
pub fn reads<M: Machine>(frames: &Frames<M>) -> &mut Frames<M> {
}
";
    let parts = ["Mm", "Frames", "Chain"].map(str::to_owned);
    let expected = [("Mm::changes", true), ("Other::a_part_of_it", false), ("a::b::by_itself", true)];
    assert_eq!(of_file(text, "a::b", &parts), expected.map(|(name, fallible)| (name.to_owned(), fallible)));
}
