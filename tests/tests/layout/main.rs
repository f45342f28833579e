//! Checks the imports of crates and modules against tables.
//!
//! Holds the code to the layout that docs/ARCHITECTURE.md shows: which crate may use which, which wing of the agent may use which, and
//! no circle of files anywhere.
//!
//! Read are `use` lines and paths that begin with `crate`, `super`, `self` or `slipway_…`, in what is built without `cfg(test)`. A name
//! that a module imports and hands on (`super::Name`) counts as an import from where it is. What a macro writes and what a method
//! call reaches through a type of another file are not seen.
//!
//! Shown to fail: with `use crate::driver::Driver;` in `agent/src/trust.rs`, `each_wing_uses_only_what_the_table_allows` and
//! `no_files_import_each_other_in_a_circle` fail and name the file.

mod names;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use tokens::{Token, tokens};

/// Each crate, its folder, and which of ours it may use.
const CRATES: [(&str, &str, &[&str]); 10] = [
    ("slipway_protocol", "protocol", &[]),
    ("slipway_verify", "verify", &["slipway_protocol"]),
    ("slipway_machine", "machine", &["slipway_protocol"]),
    ("slipway_agent", "agent", &["slipway_machine", "slipway_protocol", "slipway_verify"]),
    ("slipway_operator", "operator", &["slipway_protocol", "slipway_verify"]),
    ("slipway_testkit", "testkit", &[]),
    ("slipway_sim", "sim", &["slipway_agent", "slipway_operator", "slipway_protocol", "slipway_testkit"]),
    (
        "slipway_tests",
        "tests",
        &[
            "slipway_agent",
            "slipway_machine",
            "slipway_operator",
            "slipway_protocol",
            "slipway_sim",
            "slipway_testkit",
            "slipway_verify",
        ],
    ),
    (
        "slipway_bench",
        "bench",
        &[
            "slipway_agent",
            "slipway_machine",
            "slipway_operator",
            "slipway_protocol",
            "slipway_sim",
            "slipway_testkit",
            "slipway_verify",
        ],
    ),
    (
        "slipway_fuzz_targets",
        "fuzz/targets",
        &["slipway_agent", "slipway_machine", "slipway_protocol", "slipway_testkit", "slipway_verify"],
    ),
];

/// Each wing of the agent, and which others it may use.
const WINGS: [(&str, &[&str]); 18] = [
    ("cli", &["config", "control", "driver", "effects", "logging", "mqtt", "process", "selfupdate", "status", "storage", "text"]),
    ("clock", &[]),
    ("config", &["duration", "fetch", "mqtt", "process", "storage", "tls"]),
    ("control", &["status", "trust"]),
    ("crashpoint", &[]),
    ("driver", &["clock", "config", "control", "crashpoint", "effects", "logging", "mqtt", "process", "status", "storage"]),
    ("duration", &[]),
    ("effects", &["clock", "config", "crashpoint", "fetch", "process", "selfupdate", "storage", "tls", "trust"]),
    ("fetch", &["duration", "storage"]),
    ("logging", &["config", "text"]),
    ("mqtt", &["clock", "duration", "tls"]),
    ("process", &["clock", "duration", "storage"]),
    ("selfupdate", &["clock", "config", "crashpoint", "process", "storage"]),
    ("status", &["storage", "text"]),
    ("storage", &["clock", "crashpoint"]),
    ("text", &[]),
    ("tls", &["clock"]),
    ("trust", &["clock", "config", "fetch", "storage", "text"]),
];

/// What the machine's manifest may depend on: whoever decides has no way to act.
const MACHINE: [&str; 3] = ["jiff", "serde", "slipway-protocol"];

type Module = Vec<String>;

/// One file: where it is in its crate, and the paths that it names.
#[derive(Debug)]
struct Source {
    file: String,
    module: Module,
    imports: Vec<Vec<String>>,
    paths: Vec<Vec<String>>,
    test_modules: Vec<String>,
}

/// The folder of the workspace.
fn top() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// Where the item that begins here ends: after its body or its semicolon.
fn item_end(tokens: &[Token], mut i: usize) -> usize {
    let mut depth = 0_usize;
    while let Some(token) = tokens.get(i) {
        i += 1;
        match token {
            Token::Sign('{') => depth += 1,
            Token::Sign('}') if depth <= 1 => break,
            Token::Sign('}') => depth -= 1,
            Token::Sign(';') if depth == 0 => break,
            _ => {}
        }
    }
    i
}

/// Reads a tree of imports, and says where it ends.
fn tree(tokens: &[Token], mut i: usize, above: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = above.to_vec();
    while let Some(token) = tokens.get(i) {
        match token {
            Token::Word(word) if word == "as" => i += 1,
            Token::Word(word) => path.push(word.clone()),
            Token::Sign('*') => path.push("*".to_owned()),
            Token::Sign('{') => {
                i += 1;
                while !matches!(tokens.get(i), None | Some(Token::Sign('}'))) {
                    i = tree(tokens, i, &path, found);
                    if tokens.get(i) == Some(&Token::Sign(',')) {
                        i += 1;
                    }
                }
                return i + 1;
            }
            Token::Path => {}
            Token::Sign(_) => break,
        }
        i += 1;
    }
    found.push(path);
    i
}

fn source(file: &str, text: &str) -> Source {
    let mut parts: Module = file.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod" || (parts.len() == 1 && last == "lib")) {
        parts.pop();
    }
    let tokens = tokens(text);
    let word = |i: usize| match tokens.get(i) {
        Some(Token::Word(word)) => word.as_str(),
        _ => "",
    };
    let mut source =
        Source { file: file.to_owned(), module: parts, imports: Vec::new(), paths: Vec::new(), test_modules: Vec::new() };
    let mut i = 0;
    while i < tokens.len() {
        if word(i) == "cfg" && word(i + 2) == "test" && tokens.get(i + 3) == Some(&Token::Sign(')')) {
            let end = item_end(&tokens, i + 5);
            let module = (i..end).find(|i| word(*i) == "mod");
            source.test_modules.extend(module.map(|i| word(i + 1).to_owned()));
            i = end;
        } else if word(i) == "use" {
            i = tree(&tokens, i + 1, &[], &mut source.imports);
        } else {
            let begins = matches!(word(i), "crate" | "super" | "self") || word(i).starts_with("slipway_");
            let first = i.checked_sub(1).and_then(|before| tokens.get(before)) != Some(&Token::Path);
            if begins && first && tokens.get(i + 1) == Some(&Token::Path) {
                let mut path = vec![word(i).to_owned()];
                while tokens.get(i + 1) == Some(&Token::Path) && !word(i + 2).is_empty() {
                    path.push(word(i + 2).to_owned());
                    i += 2;
                }
                source.paths.push(path);
            }
            i += 1;
        }
    }
    source
}

fn read(folder: &Path, below: &str, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            read(&entry.path(), &format!("{name}/"), found);
        } else if name.ends_with(".rs") {
            found.push(source(&name, &fs::read_to_string(entry.path()).unwrap()));
        }
    }
}

/// What is built of a crate without its tests.
fn built(mut sources: Vec<Source>) -> Vec<Source> {
    let tests: Vec<Module> = sources
        .iter()
        .flat_map(|source| source.test_modules.iter().map(|test| [source.module.as_slice(), std::slice::from_ref(test)].concat()))
        .collect();
    sources.retain(|source| !tests.iter().any(|test| source.module.starts_with(test)));
    sources
}

fn crate_sources(folder: &str) -> Vec<Source> {
    let top = top();
    let mut sources = Vec::new();
    read(&top.join(folder).join("src"), "", &mut sources);
    assert!(!sources.is_empty(), "{folder} has no sources");
    built(sources)
}

/// The files of a library and what each means by its paths. Programs beside the library are roots of their own.
struct Library<'a> {
    files: BTreeMap<&'a [String], &'a Source>,
    /// Names that a module has from elsewhere, and from where.
    names: BTreeMap<&'a [String], BTreeMap<&'a str, Module>>,
}

impl<'a> Library<'a> {
    fn of(sources: &'a [Source]) -> Self {
        let program = |source: &&Source| !matches!(source.module.first().map(String::as_str), Some("main" | "bin"));
        let files = sources.iter().filter(program).map(|source| (source.module.as_slice(), source)).collect();
        let mut library = Self { files, names: BTreeMap::new() };
        // A name may be handed on more than once.
        for _ in 0..3 {
            let mut names: BTreeMap<&[String], BTreeMap<&str, Module>> = BTreeMap::new();
            for (module, source) in &library.files {
                for path in &source.imports {
                    let target = library.target(module, path).filter(|target| target.as_slice() != *module);
                    if let (Some(target), Some(name)) = (target, path.last().filter(|name| *name != "*")) {
                        names.entry(module).or_default().insert(name, target);
                    }
                }
            }
            library.names = names;
        }
        library
    }

    /// The file that a path of a module leads to, if it is one of this library.
    fn target(&self, module: &[String], path: &[String]) -> Option<Module> {
        let mut rest = path;
        let mut at = match path.first()?.as_str() {
            "crate" => {
                rest = &rest[1..];
                Module::new()
            }
            "self" => {
                rest = &rest[1..];
                module.to_vec()
            }
            "super" => module.to_vec(),
            first => {
                let child = [module, &[first.to_owned()]].concat();
                self.files.contains_key(child.as_slice()).then(|| module.to_vec())?
            }
        };
        while rest.first().is_some_and(|first| first == "super") {
            at.pop()?;
            rest = &rest[1..];
        }
        while let Some(first) = rest.first() {
            let child = [at.as_slice(), std::slice::from_ref(first)].concat();
            if !self.files.contains_key(child.as_slice()) {
                let name = self.names.get(at.as_slice()).and_then(|names| names.get(first.as_str()));
                return Some(name.cloned().unwrap_or(at));
            }
            at = child;
            rest = &rest[1..];
        }
        Some(at)
    }

    /// Arrows between what lies side by side in each folder, with the files that make them. A file and the folder of its name count as
    /// one, so that a module may use its parts and they the words of the module.
    fn arrows(&self) -> BTreeMap<Module, BTreeMap<(String, String), BTreeSet<String>>> {
        let mut arrows: BTreeMap<Module, BTreeMap<(String, String), BTreeSet<String>>> = BTreeMap::new();
        for (module, source) in &self.files {
            for path in source.imports.iter().chain(&source.paths) {
                let Some(target) = self.target(module, path) else { continue };
                let shared = module.iter().zip(&target).take_while(|(a, b)| a == b).count();
                if let (Some(from), Some(to)) = (module.get(shared), target.get(shared)) {
                    let folder = arrows.entry(target[..shared].to_vec()).or_default();
                    let files = folder.entry((from.clone(), to.clone())).or_default();
                    files.insert(format!("{}: {}", source.file, path.join("::")));
                }
            }
        }
        arrows
    }

    fn circles(&self) -> Vec<String> {
        let mut circles = Vec::new();
        for (folder, arrows) in self.arrows() {
            let mut reached: BTreeSet<(String, String)> = arrows.keys().cloned().collect();
            loop {
                let step = |(a, b): &(String, String)| {
                    let on = reached.range((b.clone(), String::new())..).take_while(|(from, _)| from == b);
                    on.map(|(_, c)| (a.clone(), c.clone())).collect::<Vec<_>>()
                };
                let further: Vec<_> = reached.iter().flat_map(step).filter(|pair| !reached.contains(pair)).collect();
                if further.is_empty() {
                    break;
                }
                reached.extend(further);
            }
            for ((from, to), files) in &arrows {
                if reached.contains(&(to.clone(), from.clone())) {
                    circles.push(format!("{}: {from} → {to}: {files:?}", folder.join("::")));
                }
            }
        }
        circles
    }
}

/// The crates of ours that are used.
fn crates_used(own: &str, sources: &[Source]) -> BTreeSet<String> {
    let paths = sources.iter().flat_map(|source| source.imports.iter().chain(&source.paths));
    let first = paths.filter_map(|path| path.first());
    first.filter(|first| first.starts_with("slipway_") && *first != own).cloned().collect()
}

fn allowed(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn each_crate_uses_only_what_the_table_allows() {
    for (name, folder, may) in CRATES {
        assert_eq!(crates_used(name, &crate_sources(folder)), allowed(may), "{name} uses (left), may use (right)");
    }
}

#[test]
fn the_machines_manifest_keeps_it_pure() {
    let path = top().join("machine/Cargo.toml");
    let manifest = fs::read_to_string(path).unwrap();
    let dependencies = manifest.split("[dependencies]\n").nth(1).unwrap().lines().take_while(|line| !line.is_empty());
    let found: Vec<&str> = dependencies.map(|line| line.split(['.', ' ', '=']).next().unwrap()).collect();
    assert!(!manifest.contains("dependencies."), "a table of its own for a dependency is not read here");
    assert_eq!(found, MACHINE);
}

#[test]
fn each_wing_uses_only_what_the_table_allows() {
    let sources = crate_sources("agent");
    let arrows = Library::of(&sources).arrows().remove(&Module::new()).unwrap();
    let mut found: BTreeMap<&str, BTreeSet<String>> = WINGS.iter().map(|(wing, _)| (*wing, BTreeSet::new())).collect();
    for (from, to) in arrows.keys() {
        found.entry(from).or_default().insert(to.clone());
    }
    for (wing, uses) in found {
        let may = WINGS.iter().find(|(name, _)| *name == wing).map_or_else(BTreeSet::new, |(_, may)| allowed(may));
        let files = |to: &String| arrows.get(&(wing.to_owned(), to.clone()));
        let new: Vec<_> = uses.difference(&may).map(|to| (to, files(to))).collect();
        assert_eq!(new, [], "{wing} uses what the table does not allow");
        assert_eq!(uses, may, "{wing} uses (left), may use (right): take out of the table what is not used any more");
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    for (name, folder, _) in CRATES {
        let sources = crate_sources(folder);
        assert_eq!(Library::of(&sources).circles(), Vec::<String>::new(), "{name}");
    }
}

/// What the tests above look for is found where it is.
#[test]
fn a_wrong_import_and_a_circle_are_found() {
    let sources = |b: &str| {
        let parent = "mod a; mod b; mod c; pub use c::Word; #[cfg(test)] mod tests;";
        let a = "//! use crate::c;\nuse super::Word;\nconst URL: &str = \"https://crate::b\";\n#[serde(with = \"crate::w::c\")]";
        let c = "pub struct Word; #[cfg(test)] mod inner { use super::super::a; }";
        built(vec![
            source("lib.rs", "pub mod w; pub mod v;"),
            source("v.rs", ""),
            source("w.rs", parent),
            source("w/a.rs", a),
            source("w/b.rs", b),
            source("w/c.rs", c),
            source("w/tests.rs", "use super::a; use super::b; use crate::v;"),
        ])
    };
    let good = sources("use super::{a::{self, Thing}, c as d}; use slipway_protocol::Refusal;");
    assert_eq!(Library::of(&good).circles(), Vec::<String>::new());
    assert_eq!(crates_used("slipway_x", &good), allowed(&["slipway_protocol"]));
    let arrows = Library::of(&good).arrows();
    let within: Vec<_> = arrows[&vec!["w".to_owned()]].keys().map(|(from, to)| format!("{from}{to}")).collect();
    assert_eq!(within, ["ac", "ba", "bc"], "a uses c by a name that the module hands on, and by an attribute");
    assert!(!arrows.contains_key(&Module::new()), "no wing uses another");

    let wrong = sources("fn f() { crate::v::g(slipway_verify::h()) }");
    assert_eq!(Library::of(&wrong).arrows()[&Module::new()].keys().next().unwrap(), &("w".to_owned(), "v".to_owned()));
    assert_eq!(crates_used("slipway_x", &wrong), allowed(&["slipway_verify"]));

    let mut round = sources("use super::a;");
    round.push(source("v/deep.rs", "use crate::w::a;"));
    round.push(source("w/b/deep.rs", "use crate::v;"));
    let circles = Library::of(&round).circles();
    assert_eq!(circles.len(), 2, "{circles:?}");
}
