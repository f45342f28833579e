//! Checks the refusals of all crates: codes, wording, and the document that lists them.

use slipway_protocol::Refusal;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Words that may begin a headline although they begin with a capital letter.
const NAMES: [&str; 6] = ["DSSE", "HTTP", "SLSA", "Sigstore", "TLS", "URL"];
/// The parts of a code that say which program refuses, with the headings of the document.
const AREAS: [(&str, &str); 4] = [
    ("SLW-A-", "The device: `slipway-agent`"),
    ("SLW-O-", "The operator's tool: `slipway`"),
    ("SLW-T-", "The operator's metadata (TUF)"),
    ("SLW-V-", "Provenance (Sigstore and SLSA)"),
];
/// Codes of tests that need one of their own.
const MADE_UP: [&str; 2] = ["SLW-A-TEST", "SLW-V-S"];

fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All tables, each with the beginnings of codes that its crate may use.
fn tables() -> impl Iterator<Item = (&'static [&'static str], &'static Refusal)> {
    let crates: [(&[&str], &[&[Refusal]]); 4] = [
        (&["SLW-A-"], slipway_agent::REFUSALS),
        (&["SLW-A-"], slipway_machine::REFUSALS),
        (&["SLW-O-"], slipway_operator::REFUSALS),
        (&["SLW-V-", "SLW-T-"], slipway_verify::REFUSALS),
    ];
    crates.into_iter().flat_map(|(prefixes, tables)| tables.iter().copied().flatten().map(move |row| (prefixes, row)))
}

fn banned() -> Vec<String> {
    let text = fs::read_to_string(top().join("tests/banned-words.txt")).unwrap();
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// The first of `phrases` that `text` has as whole words, in any case.
fn first_banned<'a>(text: &str, phrases: &'a [String]) -> Option<&'a str> {
    let words = |text: &str| {
        let words = text.to_lowercase();
        let words = words.split(|c: char| !c.is_alphanumeric() && c != '\'').filter(|word| !word.is_empty());
        format!(" {} ", words.collect::<Vec<_>>().join(" "))
    };
    let text = words(text);
    phrases.iter().map(String::as_str).find(|phrase| text.contains(&words(phrase)))
}

/// What is wrong with a row, if anything is.
fn faults(prefixes: &[&str], row: &Refusal, banned: &[String]) -> Vec<String> {
    let starts_lower = |text: &str| {
        let first = text.split([' ', '\'']).next().unwrap_or_default();
        NAMES.contains(&first) || text.starts_with(|c: char| c.is_ascii_lowercase())
    };
    let code = row.code.as_ref();
    let checks = [
        ("prefix", prefixes.iter().any(|prefix| code.len() > prefix.len() && code.starts_with(prefix))),
        ("characters of the code", code.bytes().all(|b| b.is_ascii_uppercase() || b == b'-') && !code.ends_with('-')),
        ("no headline", !row.check.is_empty()),
        ("headline does not start in lower case", starts_lower(&row.check)),
        ("headline ends in a full stop", !row.check.ends_with('.')),
        ("colon in the headline", !row.check.contains(": ")),
        ("headline is longer than 80 characters", row.check.len() <= 80),
        ("no advice", row.advice.len() >= 10),
        ("advice does not start in lower case", starts_lower(&row.advice)),
        ("advice ends in a full stop", !row.advice.ends_with('.')),
    ];
    let failed = checks.into_iter().filter(|(_, good)| !good).map(|(fault, _)| format!("{code}: {fault}"));
    let words = first_banned(&format!("{}. {}", row.check, row.advice), banned);
    failed.chain(words.map(|word| format!("{code}: {word:?} is in tests/banned-words.txt"))).collect()
}

#[test]
fn every_code_has_one_meaning_and_plain_words() {
    let banned = banned();
    let mut codes = BTreeSet::new();
    let mut found = Vec::new();
    for (prefixes, row) in tables() {
        if !codes.insert(&row.code) {
            found.push(format!("{}: two meanings", row.code));
        }
        found.extend(faults(prefixes, row, &banned));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(codes.len() > 270, "{} codes: a table is not read", codes.len());
    // It would notice: each of these rows has the faults that are named.
    let (_, good) = tables().next().unwrap();
    let row = |code: &'static str, check: &'static str, advice: &'static str| Refusal {
        code: code.into(),
        check: check.into(),
        advice: advice.into(),
        ..good.clone()
    };
    for (row, count) in [
        (row("SLW-A-X", "disk is full", "free some space"), 0),
        (row("SLW-O-X", "disk is full", "free some space"), 1),
        (row("SLW-A-x", "disk is full", "free some space"), 1),
        (row("SLW-A-X", "Disk is full.", "free some space"), 2),
        (row("SLW-A-X", "", "free some space"), 2),
        (row("SLW-A-X", "disk is full", ""), 2),
        (row("SLW-A-X", "the new agent Is Left", "free some space"), 1),
    ] {
        assert_eq!(faults(&["SLW-A-"], &row, &banned).len(), count, "{row}");
    }
    assert_eq!(first_banned("it is leftover, a foresaw", &banned), None, "whole words only");
}

fn text_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        if path.is_dir() && !["target", "corpus", ".git"].iter().any(|skipped| name == *skipped) {
            text_files(&path, found);
        } else if path.extension().is_some_and(|end| end == "rs" || end == "md" || end == "txt") {
            found.push(path);
        }
    }
}

/// The string literals in a source file's log macros.
fn logged(source: &str) -> Vec<String> {
    const MACROS: [&str; 5] = ["tracing::trace!(", "tracing::debug!(", "tracing::info!(", "tracing::warn!(", "tracing::error!("];
    let mut found = Vec::new();
    for (at, start) in MACROS.iter().flat_map(|name| source.match_indices(name)) {
        let (mut depth, mut literal, mut escaped) = (1_u32, None::<String>, false);
        for c in source[at + start.len()..].chars() {
            match (&mut literal, c) {
                (Some(text), _) if escaped => (escaped, _) = (false, text.push(c)),
                (Some(_), '\\') => escaped = true,
                (Some(text), '"') => (_, literal) = (found.push(std::mem::take(text)), None),
                (Some(text), _) => text.push(c),
                (None, '"') => literal = Some(String::new()),
                (None, '(') => depth += 1,
                (None, ')') => depth -= 1,
                (None, _) => {}
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

#[test]
fn every_log_line_is_in_plain_words() {
    let banned = banned();
    let mut files = Vec::new();
    text_files(&top(), &mut files);
    files.retain(|file| file.extension().is_some_and(|end| end == "rs") && !file.ends_with("codes.rs"));
    let mut seen = 0;
    for file in files {
        for line in logged(&fs::read_to_string(&file).unwrap()) {
            seen += 1;
            let word = first_banned(&line, &banned);
            assert_eq!(word, None, "{}: {line:?}: see tests/banned-words.txt", file.display());
        }
    }
    assert!(seen > 40, "{seen}");
    // It would notice, wherever the line is broken and whatever is in it.
    let source = r#"tracing::warn!(pid = f("a)"), "is \"left\"", x); other("told"); tracing::info!("told")"#;
    assert_eq!(logged(source), ["told", "a)", "is \"left\""]);
    assert_eq!(first_banned("the agent is \"left\"", &banned), Some("is left"));
}

/// The codes that a text names, with those that end in `-` and mean all that begin so.
fn named(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("SLW-").filter_map(|(at, _)| {
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_uppercase() && !c.is_ascii_digit() && c != '-').unwrap_or(rest.len());
        let code = &rest[..end];
        AREAS.iter().any(|(prefix, _)| code.starts_with(prefix)).then_some(code)
    })
}

/// Shown once: it fails for a code in docs/VERIFYING.md that no table has.
#[test]
fn every_code_that_is_named_anywhere_is_in_a_table() {
    let codes: BTreeSet<&str> = tables().map(|(_, row)| row.code.as_ref()).collect();
    let known = |code: &str| {
        codes.contains(code)
            || MADE_UP.contains(&code)
            || code.ends_with('-') && codes.iter().any(|known| known.starts_with(code))
    };
    let mut files = Vec::new();
    text_files(&top(), &mut files);
    // The change log tells of codes that are gone; this file has examples.
    files.retain(|file| !file.ends_with("CHANGELOG.md") && !file.ends_with("codes.rs"));
    let mut seen = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for code in named(&text) {
            seen += 1;
            assert!(known(code), "{}: {code} is in no table", file.display());
        }
    }
    assert!(seen > 500, "{seen}");
    // It would notice, and takes a family of codes.
    assert_eq!(named("a SLW-A-NEVER, `SLW-V-CLAIM-…`, SLW-X-Y").collect::<Vec<_>>(), ["SLW-A-NEVER", "SLW-V-CLAIM-"]);
    assert!(!known("SLW-A-NEVER") && known("SLW-V-CLAIM-"));
}

/// Where a code's text may be compared: the two functions that make a type of it, or say that it is the same again.
const COMPARES_CODES: [&str; 1] = ["protocol/src/refusal.rs"];

/// The part of a source file that is in the program, and the modules beside it that are not.
fn without_tests(source: &str) -> (String, Vec<String>) {
    let (mut program, mut tests) = (String::new(), Vec::new());
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        if line != "#[cfg(test)]" {
            program += line.split("//").next().unwrap_or_default();
            program.push('\n');
            continue;
        }
        let item = lines.by_ref().find(|line| !line.starts_with("#[")).unwrap_or_default();
        if let Some(name) = item.split("mod ").nth(1).and_then(|rest| rest.strip_suffix(';')) {
            tests.push(name.to_owned());
        } else if item.ends_with('{') {
            lines.by_ref().find(|line| *line == "}");
        }
    }
    (program, tests)
}

/// Statements that compare the text of a refusal's code, be it with a row of a table or with a literal.
fn compares_codes(program: &str) -> Vec<String> {
    const COMPARISONS: [&str; 6] = ["==", "!=", ".contains(", ".starts_with(", ".ends_with(", ".eq("];
    let statements = program.split([';', ',', '{', '}']).map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "));
    let code = |text: &str| {
        // `code()` of an exit status and `.code` of what systemd shows are no refusal's.
        let field = text.match_indices(".code").any(|(at, found)| {
            let (before, after) = (&text[..at], &text[at + found.len()..]);
            let exit = ["status", "self", "shown", "Self"].iter().any(|owner| before.ends_with(owner));
            !exit && !after.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        });
        field || text.contains("\"SLW-")
    };
    let matched = |text: &str| {
        let arm = text.contains("\"SLW-") && text.contains(" => ");
        arm || text.contains("matches!(") || text.contains("match ") && text.contains(".code")
    };
    statements
        .filter(|text| code(text) && (matched(text) || COMPARISONS.iter().any(|operator| text.contains(operator))))
        .filter(|text| !text.contains("=> $") && !text.contains(" = \"SLW-"))
        .collect()
}

/// Decisions are made by enums; a refusal is for people and the wire. Shown: run over the sources
/// from before it was written, it names 23 of the 24 places; the other compared by a closure.
#[test]
fn no_decision_compares_the_text_of_a_code() {
    let mut seen = 0;
    let mut found = Vec::new();
    for folder in ["protocol", "verify", "machine", "agent", "operator"] {
        let mut files = Vec::new();
        text_files(&top().join(folder).join("src"), &mut files);
        files.retain(|file| file.extension().is_some_and(|end| end == "rs"));
        let sources = files.iter().map(|file| (file, without_tests(&fs::read_to_string(file).unwrap()))).collect::<Vec<_>>();
        let tests: BTreeSet<PathBuf> = sources
            .iter()
            .flat_map(|(file, (_, tests))| {
                let beside = match file.file_name().and_then(|name| name.to_str()) {
                    Some("lib.rs" | "main.rs" | "mod.rs") => file.with_file_name(""),
                    _ => file.with_extension(""),
                };
                tests.iter().map(move |name| beside.join(name))
            })
            .collect();
        for (file, (program, _)) in &sources {
            let name = file.strip_prefix(top()).unwrap();
            let test = file.ancestors().any(|above| tests.contains(&above.with_extension("")));
            if !test && !COMPARES_CODES.iter().any(|allowed| name == Path::new(allowed)) {
                seen += 1;
                found.extend(compares_codes(program).into_iter().map(|text| format!("{}: {text}", name.display())));
            }
        }
    }
    assert!(found.is_empty(), "compare an enum instead:\n{}", found.join("\n"));
    assert!(seen > 150, "{seen} files: some are not read");
    // It would notice.
    for bad in [
        "if refusal.code == FULL.code { }",
        "Err(why) if why.code == \"SLW-T-NO-TARGET\" => {}",
        "let x = [&A.code, &B.code].contains(&&refusal.code);",
        "match refusal\n    .code.as_ref() { _ => {} }",
        "if refusal.code.starts_with(\"SLW-V-\") {}",
        "let same = last.code != this.code;",
    ] {
        assert_eq!(compares_codes(bad).len(), 1, "{bad}");
    }
    assert!(compares_codes("match (status.code(), status.signal()) { (Some(code), _) => exit(code) }").is_empty());
    let (program, tests) =
        without_tests("a; // x.code == y\n#[cfg(test)]\nmod table;\nb;\n#[cfg(test)]\nmod t {\n c == d.code\n}\n");
    assert_eq!((program.as_str(), tests), ("a; \nb;\n", vec!["table".to_owned()]));
}

/// A member of serde's spelling, which is the one in JSON.
fn word(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
}

/// `label: text` as an item of a list, in lines of less than 100 columns.
fn item(label: &str, text: &str) -> String {
    let mut out = format!("- {label}:");
    let mut column = out.len();
    for word in text.replace('<', "\\<").split(' ') {
        if column + 1 + word.chars().count() > 98 {
            out.push_str("\n ");
            column = 1;
        }
        write!(out, " {word}").unwrap();
        column += 1 + word.chars().count();
    }
    out + "\n"
}

fn document() -> String {
    let rows: BTreeMap<&str, &Refusal> = tables().map(|(_, row)| (row.code.as_ref(), row)).collect();
    let mut text = "# Codes of refusals

A refusal has a stable code. This file lists all of them: what each means, its class (attacks have
the names that Uptane gives them), who must act, and the fix. Where it helps, a refusal has a more
exact fix than the one here. It is generated from the tables in the sources by
`tests/tests/codes.rs`; to write it again:

```sh
UPDATE_GOLDEN=1 cargo nextest run -p slipway-tests --test codes
```

Responsible is one of

- attacker: somebody shows the device what they should not; nobody can make this content acceptable
- builder: whoever builds and signs the release
- device: the device's disk, clock or service manager
- network: the connection or a server on the way
- operator: whoever runs the fleet
"
    .to_owned();
    for (prefix, heading) in AREAS {
        write!(text, "\n## {heading}\n").unwrap();
        for (code, row) in rows.range(prefix..).take_while(|(code, _)| code.starts_with(prefix)) {
            write!(text, "\n### {code}\n\n").unwrap();
            text += &item("meaning", &row.check);
            text += &item("class", &word(row.category));
            text += &item("responsible", &word(row.responsible));
            text += &item("fix", &row.advice);
        }
    }
    text
}

/// Shown once: it fails at the changed line when a fix in the document differs from its table.
#[test]
fn the_list_of_codes_is_what_the_tables_say() {
    let path = top().join("docs/CODES.md");
    let new = document();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &new).unwrap();
    }
    let old = fs::read_to_string(&path).unwrap_or_default();
    for (line, (new, old)) in new.lines().zip(old.lines()).enumerate() {
        assert_eq!(new, old, "docs/CODES.md, line {}: write it again with UPDATE_GOLDEN=1", line + 1);
    }
    assert_eq!(new.lines().count(), old.lines().count(), "docs/CODES.md: write it again with UPDATE_GOLDEN=1");
    assert!(new.lines().all(|line| line.chars().count() < 100));
    assert_eq!(new.matches("\n### ").count(), tables().count());
}
