//! All signed or deciding JSON is read strictly.
//!
//! Whatever is signed or decides is read by `slipway_protocol::json`, which takes no array for an object; and none of its types goes past
//! that by letting serde buffer it before its type is known.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs") && !path.ends_with("tests.rs") {
            found.push(path);
        }
    }
}

/// What must not stand in a source outside of its tests, and why.
fn faults(source: &str) -> Vec<&str> {
    let shipped = source.split("#[cfg(test)]").next().unwrap_or_default();
    let code: Vec<&str> = shipped.lines().map(str::trim).filter(|line| !line.starts_with("//")).collect();
    let forbidden =
        ["serde_json::from_slice", "serde_json::from_str", "serde_json::from_value", "(untagged", "serde(tag", "(flatten"];
    // Nothing is read by a type there: members that are not known, and a name that is not.
    let untyped = ["pub more: Members,", "Unlisted(Unlisted),"];
    let next = code.iter().skip(1).chain([&""]);
    let lines = code.iter().zip(next).filter(|(_, next)| !untyped.contains(*next)).map(|(line, _)| *line);
    lines.filter(|line| forbidden.iter().any(|word| line.contains(word))).collect()
}

#[test]
fn signed_types_are_read_by_the_strict_reader_alone() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    ["protocol/src", "verify/src"].iter().for_each(|folder| sources(&top.join(folder), &mut files));
    // Policies are TOML, written by people; and to ask whether bytes are any JSON at all needs no type.
    let apart = ["verify/src/policy/file.rs"].map(|file| top.join(file));
    let any = "serde_json::from_slice::<IgnoredAny>";
    let mut wrong = Vec::new();
    for file in files.iter().filter(|file| !apart.contains(file)) {
        let source = fs::read_to_string(file).unwrap();
        wrong.extend(
            faults(&source).into_iter().filter(|line| !line.contains(any)).map(|line| format!("{}: {line}", file.display())),
        );
    }
    assert!(files.len() > 40 && wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(faults("#[serde(flatten)]\npub more: Members,\n#[serde(flatten)]\npub rest: Rest,").len(), 1);
    assert_eq!(faults("let x: T = serde_json::from_slice(bytes)?;\n#[serde(untagged)]\n// serde_json::from_str").len(), 2);
}
