//! What becomes of the keys that somebody names with `--key`, and of files that cannot be read.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use support::{done, run, text};
use tempfile::TempDir;

/// A repository whose root and releases are Bob's, and whose targets are Alice's.
fn repository() -> TempDir {
    let dir = TempDir::new().unwrap();
    for name in ["alice", "bob", "stranger"] {
        done(dir.path(), &format!("key generate {name} --unencrypted"));
    }
    done(
        dir.path(),
        "init fleet --unencrypted --key root=bob.pem --key releases=bob.pem --key targets=alice.pem --key targets=bob.pem",
    );
    fs::write(dir.path().join("edgecore.toml"), "component = \"edgecore\"\npreset = \"kubeedge\"\n").unwrap();
    dir
}

/// Runs it; it must succeed. What it said on standard error.
fn stderr(dir: &Path, line: &str) -> String {
    let output = run(dir, line);
    assert!(output.status.success(), "slipway {line}: {}", text(&output.stderr));
    text(&output.stderr)
}

#[test]
fn a_key_that_has_no_say_in_a_change_is_named() {
    let dir = repository();
    let path = dir.path();
    let said = stderr(path, "policy add fleet edgecore.toml --key stranger.pem --key alice.pem --key bob.pem");
    assert_eq!(said.lines().count(), 1, "one key of targets was enough, and the other is no mistake: {said}");
    assert!(said.starts_with("slipway: the key stranger (") && said.contains(") signed nothing: it signs no role"), "{said}");
    let said = stderr(path, "renew fleet root --key alice.pem --key bob.pem");
    assert!(said.starts_with("slipway: the key alice (") && said.contains(") signed nothing: it signs targets, and"), "{said}");
    assert_eq!(stderr(path, "renew fleet root --key bob.pem"), "");
    let said = stderr(path, "refresh fleet --key bob.pem");
    assert!(said.contains("it signs root, targets, releases, and nothing of that changed"), "{said}");
    // Whole ids: whoever compares only their beginning can be shown another key.
    let list = text(&run(path, "key list fleet").stdout);
    let id = said.split(['(', ')']).nth(1).unwrap();
    assert!(id.len() == 64 && list.contains(id), "{said}\n{list}");
}

#[test]
fn a_file_that_cannot_be_read_is_a_failure_and_no_refusal() {
    let dir = repository();
    let bundle = "--bundle none --policy edgecore.toml --name x --trusted-root none";
    for line in [
        "policy add fleet none.toml",
        "policy add fleet edgecore.toml --key none.pem",
        "policy explain none.toml",
        "sigstore add fleet none.json",
        "sign none.json --key alice.pem",
        "key add fleet targets none.pub",
        "provenance bundle none.jsonl",
        "release fleet --artifact any=none --component x --version v1.0.0 --provenance none --unsafe-skip-verify",
        "verify none --bundle none --policy edgecore.toml",
        &format!("verify sha256:{} {bundle}", "0".repeat(64)),
        &format!("verify-bundle sha256:{} --bundle none --key alice.pub", "0".repeat(64)),
    ] {
        let output = run(dir.path(), line);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "slipway {line}: {said}");
        assert!(said.contains("SLW-O-FILE") && said.contains("none"), "slipway {line}: {said}");
    }
}
