//! Writes `fuzz/corpus`: a few inputs for each target, made here and by the private Sigstore of `slipway-testkit`, the same every time.
//!
//!     cargo run -p slipway-fuzz-targets --example seeds
//!
//! Files that a fuzzer found are kept beside them under names of their own; this leaves them alone.

use anyhow::{Context as _, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use slipway_agent::storage::witness::{Witness, WitnessData};
use slipway_fuzz_targets::device::{MEMBER, SLOT};
use slipway_fuzz_targets::evidence::{NAME, TARBALL};
use slipway_protocol::Sha256;
use slipway_testkit::sigstore::{Attestation, Evidence, ManagedKey, PredicateKind, PrivateSigstore};
use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

fn main() -> Result<()> {
    evidence()?;
    published()?;
    device()?;
    messages()?;
    for target in ["bundle_mutant", "tuf"] {
        for n in 0..6_u8 {
            let tape: Vec<u8> = (0..3).flat_map(|part| Sha256::of(&[n, part]).0).collect();
            put(target, &format!("tape-{n}"), &tape)?;
        }
    }
    Ok(())
}

fn put(target: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes).with_context(|| format!("{target}/{name}"))
}

fn evidence() -> Result<()> {
    let sigstore = PrivateSigstore::new("fuzz");
    let release = || Attestation::kubeedge("v1.23.1").artifact(NAME, TARBALL);
    for (name, evidence) in [("rekor1", Evidence::RekorV1), ("rekor2", Evidence::RekorV2), ("no-log", Evidence::TimestampOnly)] {
        let attestation = Attestation { evidence, ..release() };
        let value = sigstore.attest_value(&attestation);
        put("bundle", name, &[&[0], value.to_string().as_bytes()].concat())?;
        let text = |place: &str| value.pointer(place).and_then(Value::as_str);
        if let Some(note) = text("/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint/envelope") {
            put("checkpoint", name, note.as_bytes())?;
        }
        if let Some(token) = text("/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp") {
            put("timestamp", name, &STANDARD.decode(token)?)?;
        }
        if let Some(leaf) = text("/verificationMaterial/certificate/rawBytes") {
            put("certificate", name, &STANDARD.decode(leaf)?)?;
        }
    }
    let cosigned = "log2025-1.rekor.fuzz.test\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n\u{2014} log2025-1.rekor.fuzz.test AAAAAAA=\n\u{2014} witness AAAAAAAA\n";
    put("checkpoint", "cosigned", cosigned.as_bytes())?;
    let key = Attestation { managed_key: Some(ManagedKey::new("fuzz")), evidence: Evidence::RekorV2, ..release() };
    put("bundle", "key", &[&[128], &sigstore.sign_blob(&key, TARBALL)[..]].concat())?;
    put("bundle", "bare-envelope", &[&[1], &sigstore.attest_without_evidence(&release())[..]].concat())?;

    let root = sigstore.trusted_root_value();
    put("trusted_root", "all", root.to_string().as_bytes())?;
    put("trusted_root", "timestamps", &sigstore.trusted_root_timestamps_only())?;
    let authority = root.pointer("/certificateAuthorities/0/certChain/certificates/0/rawBytes").and_then(Value::as_str);
    put("certificate", "authority", &STANDARD.decode(authority.context("an authority")?)?)?;

    for (name, predicate) in [("slsa-0.2", PredicateKind::SlsaV02), ("slsa-1", PredicateKind::SlsaV1)] {
        let statement = Attestation { predicate, ..release() }.statement();
        put("statement", name, &[&[0], statement.to_string().as_bytes()].concat())?;
        put("statement", &format!("{name}-predicate"), &[&[1], statement["predicate"].to_string().as_bytes()].concat())?;
    }
    put("statement", "tape", &[&[2], &Sha256::of(b"statement").0[..]].concat())
}

fn published() -> Result<()> {
    let artifact = json!({
        "platform": "linux/arm64", "name": NAME, "size": 9, "sha256": Sha256::of(TARBALL), "urls": ["artifacts/a.tar.gz", "https://mirror.example/a"],
        "format": "tar.gz", "member": MEMBER, "provenance": {"urls": ["artifacts/a.sigstore.json"], "size": 9000, "sha256": Sha256::of(b"b")},
    });
    let manifest = json!({"v": 1, "component": "edgecore", "version": "v1.23.1", "artifacts": [artifact]});
    put("manifest", "archive", manifest.to_string().as_bytes())?;
    let channel = json!({
        "v": 1, "component": "edgecore", "channel": "stable", "release": "v1.23.1", "floor": "v1.22.0", "withdrawn": ["v1.23.0"],
        "waves": [{"start": "2026-11-22T12:00:00Z", "percent": 5}, {"start": "2026-11-23T12:00:00Z", "percent": 100}],
    });
    put("channel", "waves", channel.to_string().as_bytes())?;
    let digest = Sha256::of(b"x").to_string();
    let releases = json!({"v": 1, "releases": {"v1.22.0": digest, "v1.23.0-rc.1": digest}});
    put("index", "releases", releases.to_string().as_bytes())?;
    let nodes: BTreeMap<String, &str> = (0..16).map(|digit| (format!("{digit:x}"), digest.as_str())).collect();
    put("index", "nodes", json!({"v": 1, "nodes": nodes}).to_string().as_bytes())?;
    put("channel", "small", br#"{"v":1,"component":"edgecore","channel":"stable","release":"v1.23.1","halted":true}"#)?;
    put("policy", "preset", b"component = \"edgecore\"\npreset = \"kubeedge\"\n")?;
    let policy = r#"component = "edgecore"
[certificate]
issuer = "https://token.actions.githubusercontent.com"
identity = "https://github.com/owner/repo/.github/workflows/release.yml@refs/tags/v{version}"
[provenance]
builder = "https://github.com/actions/runner/github-hosted"
source = "https://github.com/owner/repo"
tag = "v{version}"
[log]
unsafe_promise_only = true
"#;
    put("policy", "own", policy.as_bytes())
}

fn device() -> Result<()> {
    let config = r#"[node]
fleet = "factory"
[repository]
url = "https://releases.example/slipway/"
root = "/etc/slipway/root.json"
refresh = "1h"
[mqtt]
url = "mqtts://broker.example:8883"
tls = { ca = "/etc/slipway/ca.crt", cert = "/etc/slipway/node.crt", key = "/etc/slipway/node.key" }
[[component]]
name = "edgecore"
channel = "stable"
run.unit = "edgecore.service"
adopt = { path = "/usr/local/bin/edgecore", version = "v1.22.0" }
snapshot.files = ["/etc/kubeedge/config/edgecore.yaml"]
[component.health]
soak = "90s"
deadline = "5m"
[[component.health.check]]
name = "healthz"
http = "http://127.0.0.1:10350/healthz"
required = true
"#;
    put("config", "full", config.as_bytes())?;
    put(
        "config",
        "small",
        b"[node]\nfleet = \"f\"\n[repository]\nroot = \"/r\"\n[[component]]\nname = \"a\"\nchannel = \"b\"\n",
    )?;

    let record = json!({
        "format": 1, "component": "edgecore", "version": "v1.23.1", "platform": "linux/arm64", "artifact": Sha256::of(b""), "artifact_size": 9,
        "payload": Sha256::of(b""), "payload_size": 9, "staged": "2026-11-22T12:00:00Z",
    });
    assert!(SLOT.ends_with(&Sha256::of(b"").to_string()[..12]));
    put("slot_record", "staged", record.to_string().as_bytes())?;

    let folder = tempfile::tempdir()?;
    let path: PathBuf = folder.path().join("witness");
    let (mut witness, _) = Witness::open(&path)?;
    put("witness", "new", &fs::read(&path)?)?;
    let component = json!({"edgecore": {"generation": 7, "epoch": 3, "phase": "probation", "committed": {"v": "v1.23.0", "a": Sha256::of(b"a"), "p": Sha256::of(b"p")}, "active": SLOT}});
    let memory: WitnessData = serde_json::from_value(json!({"generation": 7, "reports": 40, "components": component}))?;
    witness.write(&memory)?;
    put("witness", "written", &fs::read(&path)?)?;

    let mut tar = tar::Builder::new(Vec::new());
    let long = format!("targets/releases/{}.json", "x".repeat(120));
    for (name, bytes) in [("metadata/timestamp.json", &b"{}"[..]), (&long, b"{}"), ("artifacts/a", b"an artifact")] {
        append(&mut tar, name, bytes)?;
    }
    put("offline_bundle", "three", &tar.into_inner()?)?;

    let mut tar = tar::Builder::new(Vec::new());
    append(&mut tar, "kubeedge/version", b"v1.23.1\n")?;
    append(&mut tar, MEMBER, b"\x7fELF and so on")?;
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar.into_inner()?)?;
    put("archive", "two", &gzip.finish()?)
}

fn append(tar: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    Ok(tar.append_data(&mut header, name, bytes)?)
}

fn messages() -> Result<()> {
    let notice =
        br#"{"v":1,"component":"edgecore","channel":"stable","version":"v1.23.1","timestamp_version":7,"from_the_future":[1]}"#;
    put("notice", "all", notice)?;
    let refusal = json!({"code": "SLW-V-POLICY-SOURCE", "class": "wrong-signer", "actor": "operator", "check": "c", "seen": "s | t", "wanted": "w", "advice": "a"});
    let report = json!({
        "v": 1, "node": "edge-7", "fleet": "factory", "seq": 9, "time": "2026-11-22T12:00:00Z", "component": "edgecore", "event": "refused",
        "state": "idle", "from": "v1.22.0", "to": "v1.23.1", "percent": 4, "refusal": refusal, "text": "x",
    });
    put("report", "refused", report.to_string().as_bytes())?;
    put("control", "history", br#"{"request":"history","component":"edgecore","limit":20}"#)?;
    put("control", "install", br#"{"request":"install","component":"edgecore","path":"/media/usb/bundle.tar"}"#)?;
    put("control", "report", json!({"report": report}).to_string().as_bytes())?;
    put("json", "nested", br#"{"a":[1,-2.5e3,null,"x\u0061\"",true,{"b":{"c":[]}}],"b":{"a":1}}"#)?;
    put("json", "twice", br#"{"a":1,"\u0061":2}"#)?;
    put("json", "deep", b"[[[[[[[1]]]]]]]")
}
