//! Checks the documents against the code.
//!
//! Whether the documents still tell the truth where a program can find out: the tests and files that they name exist. And whether every
//! promise against what users of others suffer has a test.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What to look for tests and files in: the workspace's folders, not what was built or fetched.
const FOLDERS: [&str; 11] =
    ["agent", "bench", "docs", "fuzz", "machine", "operator", "protocol", "sim", "testkit", "tests", "verify"];
const DOCUMENTS: [&str; 4] = ["docs/THREAT-MODEL.md", "docs/RELIABILITY.md", "docs/VERIFYING.md", "docs/OPERATING.md"];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "target" && name != "corpus" {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
}

/// The names of all functions in the workspace's sources.
fn functions() -> BTreeSet<String> {
    let mut files = Vec::new();
    FOLDERS.iter().for_each(|folder| sources(&top().join(folder), &mut files));
    let text: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let named = text.iter().flat_map(|text| text.split("fn ").skip(1));
    named.map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()).collect()
}

/// What stands between backticks outside of code blocks.
fn quoted(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    prose.flat_map(|part| part.split('`').skip(1).step_by(2)).collect()
}

/// A test is named as a sentence: three words or more. Switches of a policy are no tests.
fn is_test(word: &str) -> bool {
    !word.starts_with("unsafe_")
        && word.matches('_').count() >= 2
        && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

fn missing(text: &str, functions: &BTreeSet<String>) -> Vec<String> {
    quoted(text).into_iter().filter(|word| is_test(word) && !functions.contains(*word)).map(str::to_owned).collect()
}

#[test]
fn every_test_that_a_document_names_exists() {
    let functions = functions();
    for document in DOCUMENTS {
        let text = fs::read_to_string(top().join(document)).unwrap();
        assert_eq!(missing(&text, &functions), Vec::<String>::new(), "{document}");
    }
    // It would notice: this is none.
    assert_eq!(missing("`no_test_has_this_name`", &functions), ["no_test_has_this_name"]);
    let threats = fs::read_to_string(top().join("docs/THREAT-MODEL.md")).unwrap();
    assert!(quoted(&threats).into_iter().filter(|word| is_test(word)).count() > 20);
}

#[test]
fn every_link_to_a_file_leads_somewhere() {
    let mut checked = 0;
    let documents = DOCUMENTS.iter().copied().chain(["README.md", "docs/ARCHITECTURE.md", "docs/CONFIG.md"]);
    for document in documents {
        let file = top().join(document);
        let text = fs::read_to_string(&file).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = target.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            assert!(file.parent().unwrap().join(target).exists(), "{document}: {target}");
            checked += 1;
        }
    }
    assert!(checked > 8, "{checked}");
}

/// The promises of a document: each heading below `## Promises`, and what stands below it.
fn promises(text: &str) -> Vec<(&str, &str)> {
    let part = text.split("\n## Promises\n").nth(1).unwrap_or_default();
    let part = part.split("\n## ").next().unwrap_or_default();
    part.split("\n### ").skip(1).filter_map(|section| section.split_once('\n')).collect()
}

/// What users of other updaters suffer, and what Slipway promises about it.
#[test]
fn every_promise_has_a_test() {
    let functions = functions();
    let text = fs::read_to_string(top().join("docs/RELIABILITY.md")).unwrap();
    let tested = |section: &str| quoted(section).into_iter().any(|word| is_test(word) && functions.contains(word));
    let missing: Vec<_> =
        promises(&text).into_iter().filter(|(_, section)| !tested(section)).map(|(heading, _)| heading).collect();
    assert!(promises(&text).len() > 12 && missing.is_empty(), "no test is named below {missing:?}");
    // It would notice.
    assert_eq!(promises("\n## Promises\n\n### A\n\nx\n\n### B\ny\n## Other\n### C\nz"), [("A", "\nx\n"), ("B", "y")]);
    assert!(!tested("`no_test_has_this_name`"));
}
