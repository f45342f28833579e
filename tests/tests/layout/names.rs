//! Holds identifiers to the field's words: none of those in `tests/banned-identifiers.txt` comes back.
//!
//! Shown to fail: with a `struct Told;` in `machine/src/types.rs`, and with a `fn is_told()` there, the test names file and identifier.

use super::tokens::{Token, tokens};
use super::{CRATES, top};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// What no identifier may be, and what may be no word of one.
struct Banned {
    identifiers: BTreeSet<String>,
    words: BTreeSet<String>,
}

impl Banned {
    fn read() -> Self {
        let text = fs::read_to_string(top().join("tests/banned-identifiers.txt")).unwrap();
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned);
        let (identifiers, words) = lines.partition(|line| line.starts_with(char::is_uppercase));
        Self { identifiers, words }
    }

    /// Whether this identifier is banned. A crate's name is not ours to choose: a word alone may be one.
    fn has(&self, identifier: &str) -> bool {
        let parts = words(identifier);
        self.identifiers.contains(identifier)
            || (parts.len() > 1 || identifier != "ring") && parts.iter().any(|word| self.words.contains(word))
    }
}

/// The words of `snake_case`, `CamelCase` or `SCREAMING_CASE`, in lower case.
fn words(identifier: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut before = ' ';
    for c in identifier.chars() {
        if c == '_' || c.is_uppercase() && before.is_lowercase() {
            words.push(String::new());
        }
        if c != '_' {
            words.last_mut().unwrap().extend(c.to_lowercase());
        }
        before = c;
    }
    words.retain(|word| !word.is_empty());
    words
}

fn search(folder: &Path, banned: &Banned, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            search(&path, banned, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = path.strip_prefix(top()).unwrap().display().to_string();
            let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
            let tokens = tokens(&fs::read_to_string(&path).unwrap()).into_iter();
            let identifiers = tokens.filter_map(|token| if let Token::Word(word) = token { Some(word) } else { None });
            let bad = identifiers.chain([stem]).filter(|identifier| banned.has(identifier));
            found.extend(bad.map(|identifier| format!("{file}: {identifier}")));
        }
    }
}

#[test]
fn no_identifier_is_of_a_private_vocabulary() {
    let (banned, mut found) = (Banned::read(), BTreeSet::new());
    for (_, folder, _) in CRATES {
        search(&top().join(folder), &banned, &mut found);
    }
    assert!(found.is_empty(), "tests/banned-identifiers.txt has these: {found:#?}");
}

#[test]
fn a_banned_identifier_is_found() {
    let banned = Banned::read();
    for bad in ["Told", "is_told", "RING_FOR", "ToldTwice", "Edges"] {
        assert!(banned.has(bad), "{bad}");
    }
    for good in ["ring", "String", "toldo", "edge", "in_flight"] {
        assert!(!banned.has(good), "{good}");
    }
}
