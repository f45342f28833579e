//! The commands in docs/OPERATING.md are run as they are written there.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use slipway_testkit::sigstore::{Attestation, PrivateSigstore};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{Device, PASSWORD, text};
use tempfile::TempDir;

/// The blocks of one kind, in order.
fn blocks(document: &str, kind: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<String> = None;
    for line in document.lines() {
        match &mut open {
            Some(_) if line == "```" => found.extend(open.take()),
            Some(block) => *block += &format!("{line}\n"),
            None if line == format!("```{kind}") => open = Some(String::new()),
            None => {}
        }
    }
    found
}

#[test]
fn every_command_of_the_document_works() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATING.md")).unwrap();
    let dir = TempDir::new().unwrap();
    // What the builder made, and the Sigstore that vouches for it.
    let sigstore = PrivateSigstore::new("operating");
    let server = dir.path().join("server");
    fs::create_dir(&server).unwrap();
    fs::write(server.join("trusted_root.json"), sigstore.trusted_root()).unwrap();
    for version in ["v1.23.1", "v1.23.2"] {
        let name = slipway_testkit::edgecore::tarball_name(version, "arm64");
        let archive = slipway_testkit::edgecore::tarball(version, "arm64", version.as_bytes());
        let proof = sigstore.attest(&Attestation::kubeedge(version).artifact(&name, &archive));
        fs::write(server.join(&name), archive).unwrap();
        fs::write(server.join(format!("{name}.sigstore.json")), proof).unwrap();
    }
    let program = Path::new(env!("CARGO_BIN_EXE_slipway"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let blocks = blocks(&document, "sh");
    assert!(blocks.len() > 10, "{}", blocks.len());
    let mut device: Option<Device> = None;
    for block in blocks {
        // The person at the terminal agrees with everything that `slipway sign` shows.
        let mut person = Command::new("yes").stdout(Stdio::piped()).spawn().unwrap();
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &block])
            .current_dir(dir.path())
            .env("PATH", &path)
            .env("SLIPWAY_KEY_PASSWORD", PASSWORD)
            .stdin(person.stdout.take().unwrap())
            .output()
            .unwrap();
        person.kill().unwrap();
        person.wait().unwrap();
        assert!(output.status.success(), "{block}\n{}{}", text(&output.stdout), text(&output.stderr));
        // A device that was there from the beginning follows every step.
        let repo = server.join("fleet");
        if repo.join("public/metadata/timestamp.json").is_file() {
            let device = device.get_or_insert_with(|| Device::born(&repo));
            device.refresh(&repo).unwrap_or_else(|refusal| panic!("{block}\n{refusal:?}"));
        }
    }
    assert!(device.unwrap().version(&server.join("fleet"), "root") > 5);
}

#[test]
fn what_is_shown_but_not_run_are_commands_too() {
    let document = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/OPERATING.md")).unwrap();
    let shown = blocks(&document, "text").concat();
    let mut seen = 0;
    for line in shown.lines().filter_map(|line| line.strip_prefix("slipway ")) {
        let words = line.split_whitespace().take_while(|word| {
            word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-') && *word != "fleet"
        });
        let help: Vec<&str> = words.chain(["--help"]).collect();
        let output = support::command(Path::new(".")).args(&help).output().unwrap();
        let said = text(&output.stdout);
        assert!(output.status.success(), "{line}: {}", text(&output.stderr));
        for flag in line.split_whitespace().filter(|word| word.starts_with("--")) {
            assert!(said.contains(flag.split('=').next().unwrap()), "{line}: no {flag}");
        }
        seen += 1;
    }
    assert!(seen > 0);
}
