//! Mistakes at the desk, told by the program: a key of another role, a file that is not there, a trusted root that devices lack.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use slipway_testkit::sigstore::{Attestation, Evidence, PrivateSigstore};
use std::fs;
use std::path::Path;
use support::{done, refused, run, text};
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
    assert!(said.starts_with("slipway: the key alice (") && said.contains(") signed nothing: it signs targets, which"), "{said}");
    assert_eq!(stderr(path, "renew fleet root --key bob.pem"), "");
    let said = stderr(path, "refresh fleet --key bob.pem");
    assert!(said.contains("it signs root, targets, releases, which did not change"), "{said}");
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

#[test]
fn what_devices_lack_the_root_for_is_refused_here_with_the_command_that_gives_it() {
    let dir = repository();
    let path = dir.path();
    let archive = slipway_testkit::edgecore::tarball("v1.23.1", "arm64", b"edgecore");
    let name = slipway_testkit::edgecore::tarball_name("v1.23.1", "arm64");
    let build = Attestation { evidence: Evidence::TimestampOnly, ..Attestation::kubeedge("v1.23.1").artifact(&name, &archive) };
    fs::write(path.join(&name), &archive).unwrap();
    fs::write(path.join("proof"), PrivateSigstore::new("x").attest(&build)).unwrap();
    let policy = "component = \"edgecore\"\nprofile = \"github\"\n[certificate]\nissuer = \"https://token.actions.githubusercontent.com\"\n\
        identity = \"https://github.com/o/r/.github/workflows/x.yml@refs/tags/v{version}\"\n[provenance]\nsource = \"https://github.com/o/r\"\ntag = \"v{version}\"\n";
    fs::write(path.join("github.toml"), policy).unwrap();
    done(path, "policy add fleet github.toml --key alice.pem");
    let release = format!("release fleet --artifact {name} --provenance proof --key bob.pem");
    let said = refused(path, &release, "SLW-V-LOG-UNEXPECTED");
    assert!(said.contains("`slipway sigstore add REPO --github`"), "{said}");
    assert_eq!(run(path, "sigstore add fleet --key alice.pem").status.code(), Some(2), "neither a file nor --github");
    done(path, "sigstore add fleet --github --key alice.pem");
    // Now it is judged under GitHub's own root, under which this signer is nobody.
    refused(path, &release, "SLW-V-TIMESTAMP-SIGNER");
}
