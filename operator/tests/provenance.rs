//! `slipway provenance bundle`: old provenance and a log that answers well or badly.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod ending;

use ending::{ending, good, refused, text};
use serde_json::Value;
use slipway_protocol::Sha256;
use slipway_testkit::rekor::{RekorFault, RekorServer};
use slipway_testkit::sigstore::{Attestation, EntryKind, Forgery, PrivateSigstore, generator_generic};
use std::fs;
use std::process::{Command, Output};
use tempfile::TempDir;

const NAME: &str = "kubeedge-v1.13.0-linux-arm64.tar.gz";
const TARBALL: &[u8] = b"a tarball";

/// A release's old provenance in a folder, and the log that it was entered in.
struct Desk {
    dir: TempDir,
    sigstore: PrivateSigstore,
    rekor: RekorServer,
    release: Attestation,
}

impl Desk {
    fn new() -> Self {
        let release = Attestation::kubeedge("v1.13.0").artifact(NAME, TARBALL);
        let desk = Self {
            dir: TempDir::new().unwrap(),
            sigstore: PrivateSigstore::new("old"),
            rekor: RekorServer::start().unwrap(),
            release,
        };
        desk.write("root", desk.sigstore.trusted_root());
        desk.write("policy", "component = \"edgecore\"\npreset = \"kubeedge\"\n");
        desk.write("multiple.intoto.jsonl", desk.old(&desk.release));
        desk.write(NAME, TARBALL);
        desk
    }

    /// What the generator wrote: an envelope on a line.
    fn old(&self, attestation: &Attestation) -> String {
        text(&self.sigstore.attest_without_evidence(attestation)) + "\n"
    }

    /// Enters an attestation into the log, as its generator did.
    fn log(&self, attestation: &Attestation) -> u64 {
        self.rekor.add_bundle(&self.sigstore.attest_value(attestation))
    }

    /// Enters it again, as an entry of another kind and at this time: anybody may.
    fn log_again(&self, attestation: &Attestation, kind: EntryKind, signed_at: i64) -> u64 {
        self.log(&Attestation { logged_as: Some(kind), signed_at, ..attestation.clone() })
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn bundle(&self, more: &[&str]) -> Output {
        self.run("multiple.intoto.jsonl", more)
    }

    fn run(&self, file: &str, more: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
        command.args(["provenance", "bundle", &self.path(file), "--trusted-root", &self.path("root")]);
        command.args(["--rekor-url", &self.rekor.url()]).args(more).output().unwrap()
    }

    /// What the devices' verifier says of a file of provenance.
    fn verify(&self, file: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
        command.args(["verify", &self.path(NAME), "--bundle", &self.path(file), "--policy", &self.path("policy")]);
        command.args(["--trusted-root", &self.path("root"), "--release-version", "v1.13.0"]).output().unwrap()
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn old_provenance_becomes_a_bundle_that_devices_accept() {
    let desk = Desk::new();
    assert_eq!(ending(&desk.verify("multiple.intoto.jsonl")), refused("SLW-V-BUNDLE-NO-ENTRY"));
    let index = desk.log(&desk.release);
    let output = desk.bundle(&[]);
    assert_eq!(ending(&output), good());
    let report = text(&output.stdout);
    assert!(report.starts_with(&format!("Verified {}\n", desk.path("multiple.intoto.sigstore.json"))), "{report}");
    assert!(report.contains(&generator_generic("v1.2.2")) && report.contains(&format!(", entry {index}\n")), "{report}");
    assert_eq!(ending(&desk.verify("multiple.intoto.sigstore.json")), good());
    let paths: Vec<String> = desk.rekor.asked().into_iter().map(|(path, _)| path).collect();
    let index = "/api/v1/index/retrieve";
    assert_eq!(paths, [index, index, index, "/api/v1/log/entries/retrieve"], "by both forms of the file, and by payload");
    let file = format!("{:?}", Sha256::of(desk.old(&desk.release).trim_end().as_bytes()));
    assert_eq!(desk.rekor.asked()[0].1["hash"], file, "the envelope's file is asked for first");

    assert_eq!(ending(&desk.bundle(&[])), refused("SLW-O-EXISTS"));
    let output = desk.run("multiple.intoto.sigstore.json", &[]);
    assert_eq!(ending(&output), good());
    assert!(text(&output.stdout).contains("already is a Sigstore bundle"));
    assert_eq!(desk.names(), [NAME, "multiple.intoto.jsonl", "multiple.intoto.sigstore.json", "policy", "root"]);
}

#[test]
fn an_entry_is_found_by_payload_or_certificate_or_named() {
    let desk = Desk::new();
    // Somebody else's entry comes first, and one with the same artifact.
    desk.log(&Attestation::kubeedge("v1.13.1").artifact(NAME, TARBALL));
    let index = desk.log(&desk.release);
    let uuid = desk.rekor.uuid(index).unwrap();
    for (n, more) in [
        vec![],
        vec!["--log-index".to_owned(), index.to_string()],
        vec!["--uuid".to_owned(), uuid.clone()],
        vec!["--uuid".to_owned(), uuid[16..].to_owned()],
        vec!["--json".to_owned()],
    ]
    .into_iter()
    .enumerate()
    {
        desk.rekor.fault((n == 4).then_some(RekorFault::NoHashIndex));
        let to = format!("out-{n}");
        let path = desk.path(&to);
        let more: Vec<&str> = more.iter().map(String::as_str).chain(["--output", &path]).collect();
        let output = desk.bundle(&more);
        assert_eq!(ending(&output), good(), "{more:?}");
        assert_eq!(ending(&desk.verify(&to)), good(), "{more:?}");
        if n == 4 {
            let found: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(found["evidence"]["log_index"], index);
        }
    }
}

/// Each range of KubeEdge's releases, by the generator that it used, and what that generator's log entries are.
#[test]
fn every_release_of_kubeedge_with_provenance_becomes_installable() {
    // A certificate of January 2023 has the first six claims alone.
    let (january_2023, later) = (1_674_000_000, 1_711_000_000);
    for (version, generator, at, kind) in [
        ("v1.13.0", "v1.2.2", january_2023, "intoto 0.0.1"),
        ("v1.14.3", "v1.2.2", later, "intoto 0.0.1"),
        ("v1.15.1", "v1.2.2", later, "intoto 0.0.1"),
        ("v1.13.5", "v1.9.0", later, "intoto 0.0.1"),
        ("v1.16.0", "v1.9.0", later, "intoto 0.0.1"),
        ("v1.15.4", "v1.10.0", later, "intoto 0.0.1"),
        ("v1.17.0", "v1.10.0", later, "intoto 0.0.1"),
        ("v1.20.0", "v1.10.0", later, "intoto 0.0.1"),
        ("v1.21.0", "v2.1.0", later, "dsse 0.0.1"),
        ("v1.23.1", "v2.1.0", later, "dsse 0.0.1"),
    ] {
        let desk = Desk::new();
        let release = Attestation::kubeedge(version).at(at).artifact(NAME, TARBALL);
        assert_eq!(release.identity, generator_generic(generator), "{version}");
        let index = desk.log(&release);
        let file = if generator.starts_with("v2") {
            desk.write("published", desk.sigstore.attest(&release));
            "published"
        } else {
            desk.write("multiple.intoto.jsonl", desk.old(&release));
            let output = desk.bundle(&["--output", &desk.path("made")]);
            assert_eq!(ending(&output), good(), "{version}: {}", text(&output.stderr));
            "made"
        };
        let bundle: Value = serde_json::from_slice(&fs::read(desk.path(file)).unwrap()).unwrap();
        let entry = &bundle["verificationMaterial"]["tlogEntries"][0];
        assert_eq!(bundle["mediaType"], "application/vnd.dev.sigstore.bundle.v0.3+json", "{version}");
        assert!(generator.starts_with("v2") || entry["logIndex"].as_str() == Some(&*index.to_string()), "{version}");
        let stated = &entry["kindVersion"];
        assert_eq!(format!("{} {}", stated["kind"].as_str().unwrap(), stated["version"].as_str().unwrap()), kind, "{version}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
        command.args(["verify", &desk.path(NAME), "--bundle", &desk.path(file), "--policy", &desk.path("policy")]);
        command.args(["--trusted-root", &desk.path("root"), "--release-version", version]);
        assert_eq!(ending(&command.output().unwrap()), good(), "{version}");
    }
}

/// The real files of the three generator versions that KubeEdge v1.13 to v1.20 used. Their log entries are not among the vectors: what is
/// tested is that the file is read and its own hash is asked for.
#[test]
fn a_real_envelope_file_is_looked_up_by_its_hash() {
    let Some(vectors) = slipway_testkit::vectors::vectors() else { return };
    for version in ["v1.2.2", "v1.9.0", "v1.10.0"] {
        let desk = Desk::new();
        let bytes = fs::read(vectors.join(format!("slsa/envelopes/generic-{version}.intoto.jsonl"))).unwrap();
        desk.write("real.jsonl", &bytes);
        assert_eq!(ending(&desk.run("real.jsonl", &[])), refused("SLW-O-ENTRY-NONE"), "{version}");
        let asked: Vec<Value> = desk.rekor.asked().into_iter().map(|(_, query)| query["hash"].clone()).collect();
        assert!(asked.contains(&format!("{:?}", Sha256::of(&bytes)).into()), "{version}: {asked:?}");
    }
}

#[test]
fn each_line_becomes_a_bundle() {
    let desk = Desk::new();
    let other = Attestation::kubeedge("v1.13.0").artifact("keadm", b"keadm");
    desk.write("several.jsonl", desk.old(&other) + "\n" + &desk.old(&desk.release));
    desk.log(&other);
    desk.log(&desk.release);
    assert_eq!(ending(&desk.verify("several.jsonl")), refused("SLW-V-BUNDLE-NO-ENTRY"));
    assert_eq!(desk.run("several.jsonl", &["--log-index", "1"]).status.code(), Some(2), "which of them?");
    assert_eq!(ending(&desk.run("several.jsonl", &[])), good());
    assert_eq!(ending(&desk.verify("several.2.sigstore.json")), good());
    assert_eq!(ending(&desk.verify("several.1.sigstore.json")), refused("SLW-V-ARTIFACT-DIGEST"));
}

#[test]
fn an_entry_that_is_none_or_not_this_ones_or_ambiguous_is_refused() {
    let desk = Desk::new();
    let (at, before) = (desk.release.signed_at, desk.names());
    assert_eq!(ending(&desk.bundle(&[])), refused("SLW-O-ENTRY-NONE"));
    assert_eq!(ending(&desk.bundle(&["--log-index", "7"])), refused("SLW-O-ENTRY-NONE"));

    // The same payload, signature and certificate, in a file that says so in other words: only the hash of the file tells.
    let unbound = Forgery::Body(|body| body["spec"]["content"]["hash"]["value"] = "0".repeat(64).into());
    let unbound = desk.log(&Attestation { forgery: Some(unbound), ..desk.release.clone() });
    let output = desk.bundle(&[]);
    assert_eq!(ending(&output), refused("SLW-O-ENTRY-MISMATCH"));
    assert!(text(&output.stderr).contains(&format!("entry {unbound}, intoto 0.0.1")), "{}", text(&output.stderr));

    // Anybody may enter a signature again, but not at its time.
    let late = desk.log_again(&desk.release, EntryKind::Intoto002, at + 3600);
    assert_eq!(ending(&desk.bundle(&[])), refused("SLW-V-CERT-EXPIRED"));

    let others = desk.log(&Attestation::kubeedge("v1.13.1").artifact(NAME, TARBALL));
    let output = desk.bundle(&["--log-index", &others.to_string()]);
    assert_eq!(ending(&output), refused("SLW-O-ENTRY-MISMATCH"));
    assert!(text(&output.stderr).contains(&format!("entry {others}, intoto 0.0.1")), "{}", text(&output.stderr));
    // The same payload signed a minute earlier has another key and signature.
    let index = desk.log(&desk.release);
    desk.write("again.jsonl", desk.old(&desk.release.clone().at(at - 60)));
    assert_eq!(ending(&desk.run("again.jsonl", &["--log-index", &index.to_string()])), refused("SLW-O-ENTRY-MISMATCH"));

    desk.log_again(&desk.release, EntryKind::Dsse, at + 1);
    assert_eq!(ending(&desk.bundle(&[])), refused("SLW-O-ENTRY-SEVERAL"));

    desk.write("root", PrivateSigstore::new("another").trusted_root());
    assert_eq!(ending(&desk.bundle(&["--log-index", &late.to_string()])), refused("SLW-V-LOG-UNKNOWN"));
    fs::remove_file(desk.path("again.jsonl")).unwrap();
    assert_eq!(desk.names(), before, "nothing was written");
}

#[test]
fn a_changed_file_finds_no_entry_of_its_own() {
    let desk = Desk::new();
    desk.log(&desk.release);
    let old: Value = serde_json::from_str(&desk.old(&desk.release)).unwrap();
    let other: Value = serde_json::from_str(&desk.old(&Attestation::kubeedge("v1.13.1").artifact(NAME, TARBALL))).unwrap();
    // What was left as it was still finds the entry. That the signature is not the payload's or the key's, and that the entry is not this
    // file's, are both true then; which of them is said first is the verifier's business.
    for pointer in ["/payload", "/signatures/0/sig", "/signatures/0/cert"] {
        let mut changed = old.clone();
        *changed.pointer_mut(pointer).unwrap() = other.pointer(pointer).unwrap().clone();
        desk.write("changed.jsonl", changed.to_string());
        let (exit, code) = ending(&desk.run("changed.jsonl", &[]));
        assert!(exit == 3 && ["SLW-V-SIGNATURE", "SLW-O-ENTRY-MISMATCH"].contains(&&*code), "{pointer}: {code}");
    }
    assert!(!desk.names().contains(&"changed.sigstore.json".to_owned()));
    desk.write("changed.jsonl", "{}");
    assert_eq!(ending(&desk.run("changed.jsonl", &[])), refused("SLW-O-ENVELOPE"));
    desk.write("changed.jsonl", vec![b' '; 9 << 20]);
    assert_eq!(ending(&desk.run("changed.jsonl", &[])), refused("SLW-O-ENVELOPE"));
}

#[test]
fn a_log_that_misbehaves_is_refused_in_time() {
    let desk = Desk::new();
    desk.log(&Attestation::kubeedge("v1.13.1").artifact(NAME, TARBALL));
    let index = desk.log(&desk.release).to_string();
    for (fault, seen, more) in [
        (RekorFault::Endless, "more than 4194304 bytes", &[][..]),
        (RekorFault::Never, "no complete answer within 1s", &["--timeout", "1"]),
        (RekorFault::Status(500), "status 500", &[]),
        (RekorFault::Garbage, "not an answer of Rekor", &[]),
        (RekorFault::NoProof, "without a proof", &[]),
        (RekorFault::WrongEntry, "entry", &["--log-index", &index]),
    ] {
        desk.rekor.fault(Some(fault));
        let output = desk.bundle(more);
        assert_eq!(ending(&output), refused("SLW-O-REKOR"), "{fault:?}");
        assert!(text(&output.stderr).contains(seen), "{fault:?}: {}", text(&output.stderr));
    }
    assert_eq!(ending(&desk.bundle(&[])), refused("SLW-O-ENTRY-MISMATCH"), "the wrong entry for an id");
    desk.rekor.fault(None);
    for url in ["http://127.0.0.1:1", "ftp://127.0.0.1", "nonsense", "http://127.0.0.1:1/?q"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_slipway"));
        command.args(["provenance", "bundle", &desk.path("multiple.intoto.jsonl"), "--rekor-url", url]);
        assert_eq!(ending(&command.output().unwrap()), refused("SLW-O-REKOR"), "{url}");
    }
    assert_eq!(desk.bundle(&["--uuid", "xyz"]).status.code(), Some(2));
    assert_eq!(ending(&desk.bundle(&[])), good(), "and all this left it usable");
}

#[test]
fn a_release_with_old_provenance_gets_a_fix() {
    let desk = Desk::new();
    let slipway = |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_slipway")).args(arguments).output().unwrap();
    let (repo, archive) = (desk.path("repo"), desk.path(NAME));
    let archived = slipway_testkit::edgecore::tarball("v1.13.0", "arm64", b"edgecore");
    desk.write(NAME, &archived);
    let release = Attestation::kubeedge("v1.13.0").artifact(NAME, &archived);
    desk.write("multiple.intoto.jsonl", desk.old(&release));
    let (policy, root) = (desk.path("policy"), desk.path("root"));
    for setup in [&["init", &repo, "--unencrypted"][..], &["policy", "add", &repo, &policy], &["sigstore", "add", &repo, &root]] {
        let output = slipway(setup);
        assert!(output.status.success(), "{setup:?}: {}", text(&output.stderr));
    }
    let add = |provenance: &str| slipway(&["release", &repo, "--artifact", &archive, "--provenance", &desk.path(provenance)]);
    let output = add("multiple.intoto.jsonl");
    assert_eq!(ending(&output), refused("SLW-V-BUNDLE-NO-ENTRY"));
    assert!(text(&output.stderr).contains("`slipway provenance bundle`"), "{}", text(&output.stderr));
    desk.log(&release);
    assert_eq!(ending(&desk.bundle(&[])), good());
    assert_eq!(ending(&add("multiple.intoto.sigstore.json")), good());
}
