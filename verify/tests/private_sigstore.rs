//! One change at a time to evidence that verifies, and the refusal that this very change must cause.
//!
//! The private Sigstore of `slipway-world` signs anything as anybody, so each lie is told with valid signatures; damage to a finished bundle is
//! tested apart from it.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use slipway_protocol::{Sha256, Sha512, Version};
use slipway_verify::{Artifact, LogRule, Policy, PublicKey, Signer, SigstoreRoot, Subject, verify_bundle, verify_provenance};
use slipway_world::sigstore::{
    Attestation, Evidence, ManagedKey, PredicateKind, PrivateSigstore, Subject as Named, generator_generic,
};

const NAME: &str = "kubeedge-v1.23.1-linux-arm64.tar.gz";
const TARBALL: &[u8] = b"a tarball";

const NPM: &str = r#"component = "edgecore"
[certificate]
issuer = "https://token.actions.githubusercontent.com"
identity = "https://github.com/owner/repo/.github/workflows/release.yml@refs/tags/v{version}"
[provenance]
builder = "https://github.com/actions/runner/github-hosted"
source = "https://github.com/owner/repo"
tag = "v{version}"
"#;

fn sigstore() -> PrivateSigstore {
    PrivateSigstore::new("verify")
}

fn root() -> SigstoreRoot {
    SigstoreRoot::parse(&sigstore().trusted_root()).unwrap()
}

fn kubeedge(more: &str) -> Policy {
    Policy::parse(&format!("component = \"edgecore\"\npreset = \"kubeedge\"\n{more}")).unwrap()
}

fn release() -> Attestation {
    Attestation::kubeedge("v1.23.1").artifact(NAME, TARBALL).artifact("kubeedge-v1.23.1-linux-amd64.tar.gz", b"another")
}

fn npm() -> Attestation {
    Attestation::npm("owner/repo", "refs/tags/v1.23.1").artifact(NAME, TARBALL)
}

/// The code of the refusal, or nothing.
fn judge(bundle: &[u8], root: &SigstoreRoot, policy: &Policy) -> String {
    let version: Version = "v1.23.1".parse().unwrap();
    let subject = Subject { name: NAME, sha256: Some(Sha256::of(TARBALL)), sha512: Some(Sha512::of(TARBALL)), version: Some(&version) };
    match verify_provenance(bundle, root, policy, &subject) {
        Ok(_) => String::new(),
        Err(refusal) => refusal.code.trim_start_matches("SLW-V-").to_owned(),
    }
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

#[test]
fn every_kind_of_evidence_verifies() {
    let (sigstore, root) = (sigstore(), root());
    for evidence in [Evidence::RekorV1, Evidence::RekorV1AndTimestamp, Evidence::RekorV2] {
        for predicate in [PredicateKind::SlsaV02, PredicateKind::SlsaV1] {
            let policy = Policy::parse(NPM).unwrap();
            assert_eq!(
                judge(&sigstore.attest(&Attestation { evidence, predicate, ..npm() }), &root, &policy),
                "",
                "{evidence:?}"
            );
        }
        assert_eq!(judge(&sigstore.attest(&Attestation { evidence, ..release() }), &root, &kubeedge("")), "", "{evidence:?}");
    }
    let sha512 = Attestation { subjects: vec![Named::sha512_of(NAME, TARBALL)], ..release() };
    assert_eq!(judge(&sigstore.attest(&sha512), &root, &kubeedge("")), "");
    for generator in ["v1.2.2", "v1.9.0", "v1.10.0", "v2.1.0"] {
        assert_eq!(judge(&sigstore.attest(&release().generator(generator)), &root, &kubeedge("")), "", "{generator}");
    }
    let timestamps = SigstoreRoot::parse(&sigstore.trusted_root_timestamps_only()).unwrap();
    let bundle = sigstore.attest(&Attestation { evidence: Evidence::TimestampOnly, ..release() });
    let only = kubeedge("[log]\nunsafe_timestamp_only = true\n");
    assert_eq!(judge(&bundle, &timestamps, &only), "");
    assert_eq!(judge(&bundle, &timestamps, &kubeedge("")), "CERT-UNLOGGED");
    assert_eq!(judge(&bundle, &root, &kubeedge("")), "LOG-MISSING");
    assert_eq!(judge(&bundle, &root, &only), "LOG-UNEXPECTED");
    let other = PrivateSigstore::new("other").attest(&release());
    assert_eq!(judge(&other, &root, &kubeedge("")), "LOG-UNKNOWN");
}

#[test]
fn what_a_builder_or_a_liar_signs_is_refused_by_the_check_it_breaks() {
    let (sigstore, root) = (sigstore(), root());
    let edit = |pointer: &str, value: &str| release().edit(pointer, Some(value.into()));
    let other_source = "git+https://github.com/kubeedge/kubeedgf@refs/tags/v1.23.1";
    let other_ref = "git+https://github.com/kubeedge/kubeedge@refs/tags/v1.23.2";
    let commit = "0000000000000000000000000000000000000000";
    let old = |attestation: Attestation| (8..=22).fold(attestation, |attestation, number| attestation.claim(number, None));
    for (what, attestation, code) in [
        // An honest build of something else.
        ("another signer", release().generator("v2.1.0-rc.1"), "POLICY-IDENTITY"),
        ("another issuer", Attestation { issuer: "https://gitlab.com".into(), ..release() }, "POLICY-ISSUER"),
        ("another source", Attestation { source: "https://github.com/kubeedge/kubeedgf".into(), ..release() }, "POLICY-SOURCE"),
        ("a longer source", Attestation { source: "https://github.com/kubeedge/kubeedge2".into(), ..release() }, "POLICY-SOURCE"),
        ("another tag", Attestation { git_ref: "refs/tags/v1.23.2".into(), ..release() }, "POLICY-REF"),
        ("a longer tag", Attestation { git_ref: "refs/tags/v1.23.10".into(), ..release() }, "POLICY-REF"),
        ("a branch of the tag's name", Attestation { git_ref: "refs/heads/v1.23.1".into(), ..release() }, "POLICY-REF"),
        ("another workflow", Attestation { workflow: ".github/workflows/evil.yml".into(), ..release() }, "POLICY-WORKFLOW"),
        ("a dispatch", Attestation { trigger: "workflow_dispatch".into(), ..release() }, "POLICY-TRIGGER"),
        ("a pull request", Attestation { trigger: "pull_request".into(), ..release() }, "POLICY-TRIGGER"),
        ("its own runner", Attestation { runner: "self-hosted".into(), ..release() }, "POLICY-RUNNER"),
        ("another build type", Attestation { build_type: "https://example.com".into(), ..release() }, "POLICY-BUILDER"),
        ("another predicate", Attestation { predicate: PredicateKind::SlsaV1, ..release() }, "POLICY-PREDICATE"),
        ("other files", Attestation { subjects: vec![Named::of("x", b"x")], ..release() }, "ARTIFACT-DIGEST"),
        ("the file under another name", Attestation { subjects: vec![Named::of("x", TARBALL)], ..release() }, "SUBJECT-NAME"),
        (
            "another file under the name",
            release().edit("/subject/0/digest/sha256", Some(Sha256::of(b"x").to_string().into())),
            "ARTIFACT-DIGEST",
        ),
        // Certificate and provenance tell two stories.
        ("builder", edit("/predicate/builder/id", &generator_generic("v2.1.1")), "POLICY-BUILDER"),
        ("trigger's source", edit("/predicate/invocation/configSource/uri", other_source), "CLAIM-SOURCE"),
        ("material's source", edit("/predicate/materials/0/uri", other_source), "CLAIM-SOURCE"),
        ("trigger's ref", edit("/predicate/invocation/configSource/uri", other_ref), "CLAIM-REF"),
        ("material's ref", edit("/predicate/materials/0/uri", other_ref), "CLAIM-REF"),
        ("environment's ref", edit("/predicate/invocation/environment/github_ref", "refs/tags/v1.23.2"), "CLAIM-REF"),
        ("trigger's commit", edit("/predicate/invocation/configSource/digest/sha1", commit), "CLAIM-COMMIT"),
        ("material's commit", edit("/predicate/materials/0/digest/sha1", commit), "CLAIM-COMMIT"),
        ("environment's commit", edit("/predicate/invocation/environment/github_sha1", commit), "CLAIM-COMMIT"),
        ("event", edit("/predicate/invocation/environment/github_event_name", "push"), "CLAIM-TRIGGER"),
        ("run", edit("/predicate/invocation/environment/github_run_id", "1"), "CLAIM-RUN"),
        ("attempt", edit("/predicate/invocation/environment/github_run_attempt", "2"), "CLAIM-RUN"),
        ("repository id", edit("/predicate/invocation/environment/github_repository_id", "1"), "CLAIM-IDS"),
        ("owner id", edit("/predicate/invocation/environment/github_repository_owner_id", "1"), "CLAIM-IDS"),
        ("entry point", edit("/predicate/invocation/configSource/entryPoint", ".github/workflows/x.yml"), "CLAIM-WORKFLOW"),
        ("no material", release().edit("/predicate/materials", Some(json!([]))), "PROVENANCE-MALFORMED"),
        ("no commit", release().edit("/predicate/materials/0/digest", Some(json!({}))), "CLAIM-MISSING"),
        ("another statement type", edit("/_type", "https://in-toto.io/Statement/v2"), "STATEMENT-TYPE"),
        ("no subjects", release().edit("/subject", Some(json!([]))), "STATEMENT-SUBJECTS"),
        ("capital digest", release().edit("/subject/0/digest/sha256", Some("A".repeat(64).into())), "STATEMENT-SUBJECTS"),
        // The certificate contradicts itself.
        ("old issuer", release().claim(1, Some("https://gitlab.com")), "CLAIM-ISSUER"),
        ("old trigger", release().claim(2, Some("push")), "CLAIM-TRIGGER"),
        ("old commit", release().claim(3, Some(commit)), "CLAIM-COMMIT"),
        ("old repository", release().claim(5, Some("evil/kubeedge")), "CLAIM-SOURCE"),
        ("old ref", release().claim(6, Some("refs/heads/main")), "CLAIM-REF"),
        ("signer", release().claim(9, Some("https://github.com/x")), "CLAIM-SIGNER"),
        ("new commit", release().claim(13, Some(commit)), "CLAIM-COMMIT"),
        ("workflow", release().claim(18, Some("https://github.com/x")), "CLAIM-WORKFLOW"),
        ("certified run", release().claim(21, Some("https://github.com/x")), "CLAIM-RUN"),
        ("no runner", release().claim(11, None), "POLICY-RUNNER"),
        ("no issuer", release().claim(1, None).claim(8, None), "POLICY-ISSUER"),
        ("no claims but the old ones", old(release()), ""),
        ("old claims lie", old(release().claim(5, Some("kubeedge/kubeedgf"))), "POLICY-SOURCE"),
        ("no source", old(release()).claim(5, None), "CLAIM-MISSING"),
        ("no trigger", old(release()).claim(2, None), "CLAIM-MISSING"),
        ("no commit in the certificate", old(release()).claim(3, None), "CLAIM-MISSING"),
        // Time and logging of the certificate.
        ("no SCT", Attestation { sct: false, ..release() }, "CERT-SCT"),
        ("signed after the certificate's end", Attestation { signed_at: 1_750_001_000, ..release() }, "CERT-EXPIRED"),
        ("signed before it began", Attestation { signed_at: 1_749_990_000, ..release() }, "CERT-NOT-YET"),
        ("before the authority began", release().at(1_500_000_000), "LOG-PROMISE"),
        ("a key instead of a certificate", Attestation { managed_key: Some(ManagedKey::new("k")), ..release() }, "KEY-MISMATCH"),
    ] {
        assert_eq!(judge(&sigstore.attest(&attestation), &root, &kubeedge("")), code, "{what}");
    }
    let text = String::from_utf8(release().payload()).unwrap();
    let twice = text.replacen('{', r#"{"subject":[],"#, 1);
    assert_eq!(judge(&sigstore.attest_payload(&release(), twice.as_bytes()), &root, &kubeedge("")), "STATEMENT-MALFORMED");
    let later = policy_with("owner_id = \"43684101\"");
    assert_eq!(judge(&sigstore.attest(&npm()), &root, &later), "POLICY-IDS");
    assert_eq!(
        judge(&sigstore.attest(&npm()), &root, &policy_with("owner_id = \"43684100\"\nrepository_id = \"150462334\"")),
        ""
    );
    assert_eq!(judge(&sigstore.attest(&npm()), &root, &policy_with("repository_id = \"1\"")), "POLICY-IDS");
    let own =
        Attestation { runner: "self-hosted".into(), builder: "https://github.com/actions/runner/self-hosted".into(), ..npm() };
    assert_eq!(judge(&sigstore.attest(&own), &root, &policy_with("")), "POLICY-BUILDER");
    let claims_hosted = Attestation { runner: "self-hosted".into(), ..npm() };
    assert_eq!(judge(&sigstore.attest(&claims_hosted), &root, &policy_with("")), "CLAIM-RUNNER");
    // Named in the policy, and yet not the one who signed.
    let text = NPM.replace(
        "https://github.com/actions/runner/github-hosted",
        "https://github.com/owner/other/.github/workflows/b.yml@refs/tags/v1.0.0",
    );
    let other =
        Attestation { builder: "https://github.com/owner/other/.github/workflows/b.yml@refs/tags/v1.0.0".into(), ..npm() };
    assert_eq!(judge(&sigstore.attest(&other), &root, &Policy::parse(&text).unwrap()), "POLICY-BUILDER-IDENTITY");
}

fn policy_with(more: &str) -> Policy {
    Policy::parse(&format!("{NPM}{more}\n")).unwrap()
}

/// The first log entry.
fn entry(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["tlogEntries"][0]
}

fn remove(value: &mut Value, name: &str) {
    value.as_object_mut().unwrap().remove(name);
}

#[test]
fn one_change_to_a_finished_bundle_is_refused_by_the_check_it_breaks() {
    type Change = fn(&mut Value);
    let (sigstore, root) = (sigstore(), root());
    let checkpoint = |bundle: &mut Value, from: &str, to: &str| {
        let note = &mut entry(bundle)["inclusionProof"]["checkpoint"]["envelope"];
        let text = note.as_str().unwrap();
        assert!(text.contains(from), "{text}");
        *note = text.replacen(from, to, 1).into();
    };
    let first: [(&str, Change, &str); 32] = [
        ("nothing", |_| {}, ""),
        ("no media type", |b| remove(b, "mediaType"), "BUNDLE-MEDIA-TYPE"),
        ("unknown media type", |b| b["mediaType"] = "application/json".into(), "BUNDLE-MEDIA-TYPE"),
        ("two contents", |b| b["messageSignature"] = json!({"signature": "AAAA"}), "BUNDLE-CONTENT"),
        ("no content", |b| remove(b, "dsseEnvelope"), "BUNDLE-CONTENT"),
        ("two materials", |b| b["verificationMaterial"]["publicKey"] = json!({"hint": "x"}), "BUNDLE-MATERIAL"),
        ("no material", |b| remove(&mut b["verificationMaterial"], "certificate"), "BUNDLE-MATERIAL"),
        ("a chain in 0.3", |b| chain(b, &[]), "BUNDLE-SHAPE"),
        (
            "two entries",
            |b| {
                let again = entry(b).clone();
                b["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap().push(again);
            },
            "BUNDLE-LOG-ENTRIES",
        ),
        ("no entry", |b| b["verificationMaterial"]["tlogEntries"] = json!([]), "LOG-MISSING"),
        ("an entry of an unknown log", |b| entry(b)["logId"]["keyId"] = STANDARD.encode([7; 32]).into(), "LOG-UNKNOWN"),
        ("no proof", |b| remove(entry(b), "inclusionProof"), "LOG-PROOF-MISSING"),
        (
            "no proof, called 0.1",
            |b| {
                b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
                remove(entry(b), "inclusionProof");
            },
            "LOG-PROOF-MISSING",
        ),
        ("no checkpoint", |b| remove(&mut entry(b)["inclusionProof"], "checkpoint"), "LOG-CHECKPOINT-MISSING"),
        (
            "no checkpoint, called 0.1",
            |b| {
                b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
                remove(&mut entry(b)["inclusionProof"], "checkpoint");
            },
            "LOG-CHECKPOINT-MISSING",
        ),
        (
            "no promise in 0.1",
            |b| {
                b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
                remove(entry(b), "inclusionPromise");
            },
            "LOG-PROMISE-MISSING",
        ),
        ("no promise, no other time", |b| remove(entry(b), "inclusionPromise"), "TIMESTAMP-MISSING"),
        ("a promise without its time", |b| remove(entry(b), "integratedTime"), "LOG-TIME"),
        ("another time", |b| entry(b)["integratedTime"] = "1750000001".into(), "LOG-PROMISE"),
        ("another index", |b| entry(b)["logIndex"] = "7".into(), "LOG-PROMISE"),
        ("a negative index", |b| entry(b)["logIndex"] = "-1".into(), "BUNDLE-MALFORMED"),
        ("another tree size", |b| entry(b)["inclusionProof"]["treeSize"] = "999999".into(), "LOG-TREE-SIZE"),
        (
            "another root hash",
            |b| entry(b)["inclusionProof"]["rootHash"] = STANDARD.encode([7; 32]).into(),
            "LOG-CHECKPOINT-ROOT",
        ),
        ("another place in the tree", |b| entry(b)["inclusionProof"]["logIndex"] = "0".into(), "LOG-PROOF"),
        (
            "a hash too many",
            |b| entry(b)["inclusionProof"]["hashes"].as_array_mut().unwrap().push(STANDARD.encode([7; 32]).into()),
            "LOG-PROOF",
        ),
        ("hashes without end", |b| entry(b)["inclusionProof"]["hashes"] = vec![STANDARD.encode([7; 32]); 65].into(), "LOG-PROOF"),
        ("another kind", |b| entry(b)["kindVersion"]["kind"] = "hashedrekord".into(), "LOG-BODY"),
        ("an unknown kind", |b| entry(b)["kindVersion"]["version"] = "0.0.9".into(), "BUNDLE-MALFORMED"),
        (
            "a list of tokens without end",
            |b| {
                b["verificationMaterial"]["timestampVerificationData"] =
                    json!({"rfc3161Timestamps": vec![json!({"signedTimestamp": "AAAA"}); 33]});
            },
            "BUNDLE-TIMESTAMPS",
        ),
        (
            "a token that is none",
            |b| {
                b["verificationMaterial"]["timestampVerificationData"] =
                    json!({"rfc3161Timestamps": [{"signedTimestamp": "AAAA"}]});
            },
            "TIMESTAMP-MALFORMED",
        ),
        ("another payload type", |b| b["dsseEnvelope"]["payloadType"] = "text/plain".into(), "PAYLOAD-TYPE"),
        (
            "two signatures",
            |b| {
                let again = b["dsseEnvelope"]["signatures"][0].clone();
                b["dsseEnvelope"]["signatures"].as_array_mut().unwrap().push(again);
            },
            "BUNDLE-MALFORMED",
        ),
    ];
    let mut warm = sigstore.attest_value(&release());
    for _ in 0..3 {
        // A tree with some leaves, so that the proof has hashes.
        warm = sigstore.attest_value(&release());
    }
    for (what, change, code) in first {
        let mut bundle = warm.clone();
        change(&mut bundle);
        assert_eq!(judge(&bytes(&bundle), &root, &kubeedge("")), code, "{what}");
    }
    for (what, from, to, code) in [
        ("signer's name", "\u{2014} rekor.verify.test ", "\u{2014} rekor.other.test ", "LOG-CHECKPOINT-ORIGIN"),
        ("origin", "rekor.verify.test - ", "rekor.other.test - ", "LOG-CHECKPOINT-ORIGIN"),
        ("origin without tree", "rekor.verify.test - ", "rekor.verify.test - x", "LOG-CHECKPOINT-ORIGIN"),
        ("end", "\n\n", "\n", "LOG-CHECKPOINT"),
    ] {
        let mut bundle = warm.clone();
        checkpoint(&mut bundle, from, to);
        assert_eq!(judge(&bytes(&bundle), &root, &kubeedge("")), code, "{what}");
    }
    let second: [(&str, Change, &str); 6] = [
        ("nothing", |_| {}, ""),
        ("no token", |b| remove(&mut b["verificationMaterial"], "timestampVerificationData"), "TIMESTAMP-MISSING"),
        ("another tree size", |b| entry(b)["inclusionProof"]["treeSize"] = "999999".into(), "LOG-TREE-SIZE"),
        (
            "another root hash",
            |b| entry(b)["inclusionProof"]["rootHash"] = STANDARD.encode([7; 32]).into(),
            "LOG-CHECKPOINT-ROOT",
        ),
        ("another index in the proof", |b| entry(b)["inclusionProof"]["logIndex"] = "999".into(), "LOG-INDEX"),
        ("a time", |b| entry(b)["integratedTime"] = "1750000000".into(), "LOG-TIME"),
    ];
    let rekor2 = sigstore.attest_value(&Attestation { evidence: Evidence::RekorV2, ..release() });
    for (what, change, code) in second {
        let mut bundle = rekor2.clone();
        change(&mut bundle);
        assert_eq!(judge(&bytes(&bundle), &root, &kubeedge("")), code, "Rekor v2: {what}");
    }
    let text = String::from_utf8(bytes(&warm)).unwrap();
    let twice = text.replacen('{', r#"{"mediaType":"x","#, 1);
    assert_eq!(judge(twice.as_bytes(), &root, &kubeedge("")), "BUNDLE-MALFORMED");
    assert_eq!(judge(&vec![b' '; 2_000_000], &root, &kubeedge("")), "BUNDLE-SIZE");
    assert_eq!(judge(&bytes(&warm["dsseEnvelope"]), &root, &kubeedge("")), "BUNDLE-NO-ENTRY");
}

/// Turns the bundle into one of format 0.2 or leaves 0.3, with a chain of the leaf and `more`.
fn chain(bundle: &mut Value, more: &[Value]) {
    let material = bundle["verificationMaterial"].as_object_mut().unwrap();
    let mut certificates = vec![material.remove("certificate").unwrap()];
    certificates.extend_from_slice(more);
    material.insert("x509CertificateChain".to_owned(), json!({"certificates": certificates}));
}

#[test]
fn evidence_from_the_future_says_that_the_clock_is_wrong() {
    // Signed in 2042. On a device whose clock is behind, evidence of today looks like this.
    let bundle = sigstore().attest(&release().at(2_280_000_000));
    assert_eq!(judge(&bundle, &root(), &kubeedge("")), "DEVICE-CLOCK");
    // An authority that by this clock has not begun, as all have not by a clock of 1970.
    let mut trusted = sigstore().trusted_root_value();
    trusted["timestampAuthorities"][0]["validFor"]["start"] = "2042-01-01T00:00:00Z".into();
    let later = SigstoreRoot::parse(&bytes(&trusted)).unwrap();
    let bundle = sigstore().attest(&Attestation { evidence: Evidence::RekorV2, ..release() }.at(2_280_000_000));
    assert_eq!(judge(&bundle, &later, &kubeedge("")), "DEVICE-CLOCK");
}

#[test]
fn an_expired_anchor_and_a_window_that_is_over_anchor_nothing() {
    let sigstore = sigstore();
    let code = |authority: &str, start: &str, end: &str, evidence| {
        let mut trusted = sigstore.trusted_root_value();
        trusted[authority][0]["validFor"] = json!({"start": start, "end": end});
        let root = SigstoreRoot::parse(&bytes(&trusted)).unwrap();
        judge(&sigstore.attest(&Attestation { evidence, ..release() }), &root, &kubeedge(""))
    };
    // Signed at 15:06:40; both ends belong to the window.
    let (at, before, after) = ("2025-06-15T15:06:40Z", "2025-06-15T15:06:39Z", "2025-06-15T15:06:41Z");
    for (authority, evidence, refusal) in [
        ("certificateAuthorities", Evidence::RekorV1, "CERT-AUTHORITY"),
        ("timestampAuthorities", Evidence::RekorV2, "TIMESTAMP-WINDOW"),
    ] {
        assert_eq!(code(authority, at, at, evidence), "");
        assert_eq!(code(authority, "2020-01-01T00:00:00Z", before, evidence), refusal);
        assert_eq!(code(authority, after, "2040-01-01T00:00:00Z", evidence), refusal);
    }
    // The certificates themselves end in 2045, whatever the window says.
    let mut trusted = sigstore.trusted_root_value();
    trusted["certificateAuthorities"][0]["validFor"] = json!({"start": "2046-01-01T00:00:00Z"});
    let root = SigstoreRoot::parse(&bytes(&trusted)).unwrap();
    assert_eq!(judge(&sigstore.attest(&release()), &root, &kubeedge("")), "CERT-AUTHORITY");
    for (log, evidence, code) in [(0, Evidence::RekorV1, "LOG-PROMISE"), (1, Evidence::RekorV2, "LOG-NOT-STARTED")] {
        let mut trusted = sigstore.trusted_root_value();
        trusted["tlogs"][log]["publicKey"]["validFor"]["start"] = after.into();
        let root = SigstoreRoot::parse(&bytes(&trusted)).unwrap();
        assert_eq!(judge(&sigstore.attest(&Attestation { evidence, ..release() }), &root, &kubeedge("")), code);
    }
}

#[test]
fn a_bundle_may_not_bring_its_own_authority() {
    let (sigstore, root) = (sigstore(), root());
    let trusted = sigstore.trusted_root_value();
    let authorities = &trusted["certificateAuthorities"][0]["certChain"]["certificates"];
    for (more, code) in [(vec![], ""), (vec![authorities[0].clone()], ""), (vec![authorities[1].clone()], "CERT-ROOT")] {
        let mut bundle = sigstore.attest_value(&release());
        bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2".into();
        chain(&mut bundle, &more);
        assert_eq!(judge(&bytes(&bundle), &root, &kubeedge("")), code);
    }
}

#[test]
fn old_evidence_needs_its_opt_in_and_its_promise() {
    let (sigstore, root) = (sigstore(), root());
    let promise = kubeedge("[log]\nunsafe_promise_only = true\n");
    let mut bundle = sigstore.attest_value(&release());
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
    remove(&mut entry(&mut bundle)["inclusionProof"], "checkpoint");
    assert_eq!(judge(&bytes(&bundle), &root, &promise), "");
    // A proof without a checkpoint is as good as none: it may say anything.
    entry(&mut bundle)["inclusionProof"]["rootHash"] = STANDARD.encode([7; 32]).into();
    assert_eq!(judge(&bytes(&bundle), &root, &promise), "");
    remove(entry(&mut bundle), "inclusionPromise");
    assert_eq!(judge(&bytes(&bundle), &root, &promise), "LOG-PROMISE-MISSING");
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2".into();
    chain(&mut bundle, &[]);
    assert_eq!(judge(&bytes(&bundle), &root, &promise), "LOG-CHECKPOINT-MISSING");
    remove(entry(&mut bundle), "inclusionProof");
    assert_eq!(judge(&bytes(&bundle), &root, &promise), "LOG-PROOF-MISSING");
}

#[test]
fn keys_sign_for_themselves_only() {
    let (sigstore, root) = (sigstore(), root());
    let (mine, other) = (ManagedKey::new("mine"), ManagedKey::new("other"));
    let attestation = Attestation { managed_key: Some(mine.clone()), ..release() };
    let code = |bundle: &[u8], key: &ManagedKey, artifact| {
        let key = PublicKey::from_pem(&key.public_pem()).unwrap();
        let result = verify_bundle(bundle, &root, Signer::Key(&key), artifact, LogRule::Proof);
        result.map_or_else(|refusal| refusal.code.trim_start_matches("SLW-V-").to_owned(), |_| String::new())
    };
    for evidence in [Evidence::RekorV1, Evidence::RekorV2] {
        let attestation = Attestation { evidence, ..attestation.clone() };
        for bundle in [sigstore.sign_blob(&attestation, TARBALL), sigstore.attest(&attestation)] {
            assert_eq!(code(&bundle, &mine, Artifact::Bytes(TARBALL)), "", "{evidence:?}");
            assert_eq!(code(&bundle, &mine, Artifact::Sha256(Sha256::of(TARBALL))), "", "{evidence:?}");
            assert_eq!(code(&bundle, &mine, Artifact::Bytes(b"other")), "ARTIFACT-DIGEST", "{evidence:?}");
            assert_eq!(code(&bundle, &other, Artifact::Bytes(TARBALL)), "SIGNATURE", "{evidence:?}");
        }
        assert_eq!(
            code(&sigstore.attest(&Attestation { evidence, ..release() }), &mine, Artifact::Bytes(TARBALL)),
            "KEY-MISMATCH"
        );
    }
}

/// Every path in `value` that leads to text, as JSON pointers.
fn texts(value: &Value, at: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| texts(value, &format!("{at}/{name}"), found)),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, value)| texts(value, &format!("{at}/{n}"), found)),
        Value::String(_) => found.push(at.to_owned()),
        _ => {}
    }
}

#[test]
fn no_part_of_one_bundle_fits_another() {
    let (sigstore, root) = (sigstore(), root());
    for evidence in [Evidence::RekorV1AndTimestamp, Evidence::RekorV2] {
        let one = sigstore.attest_value(&Attestation { evidence, ..release() });
        let two = sigstore
            .attest_value(&Attestation { evidence, ..release().at(1_750_000_300) }.edit("/predicate/metadata/x", Some(1.into())));
        let mut paths = Vec::new();
        texts(&one, "", &mut paths);
        let mut swapped = 0;
        for path in paths {
            let Some(theirs) = two.pointer(&path).filter(|theirs| Some(*theirs) != one.pointer(&path)) else { continue };
            let mut mixed = one.clone();
            *mixed.pointer_mut(&path).unwrap() = theirs.clone();
            assert_ne!(judge(&bytes(&mixed), &root, &kubeedge("")), "", "{path}");
            swapped += 1;
        }
        assert!(swapped >= 8, "{swapped}");
    }
}

fn dated() -> Value {
    sigstore().attest_value(&Attestation { evidence: Evidence::RekorV1AndTimestamp, ..release() })
}

const ENTRY: &str = "/verificationMaterial/tlogEntries/0";

/// Flips one bit in every `step`th byte of the base64 at `path`, and returns the places where it made no difference.
fn survivors(path: &str, step: usize) -> Vec<usize> {
    let (root, policy, bundle) = (root(), kubeedge(""), dated());
    let original = STANDARD.decode(bundle.pointer(path).unwrap().as_str().unwrap()).unwrap();
    let survives = |at: &usize| {
        let mut flipped = original.clone();
        flipped[*at] ^= 1 << (at % 8);
        let mut damaged = bundle.clone();
        *damaged.pointer_mut(path).unwrap() = STANDARD.encode(flipped).into();
        judge(&bytes(&damaged), &root, &policy).is_empty()
    };
    (0..original.len()).step_by(step).filter(survives).collect()
}

#[test]
fn no_bit_of_certificate_or_signature_can_be_flipped() {
    assert_eq!(survivors("/dsseEnvelope/signatures/0/sig", 1), [0; 0]);
    // One signature covers all of each.
    assert_eq!(survivors("/verificationMaterial/certificate/rawBytes", 3), [0; 0]);
    assert_eq!(survivors("/dsseEnvelope/payload", 37), [0; 0]);
}

#[test]
fn no_bit_of_the_log_entry_can_be_flipped() {
    for path in ["canonicalizedBody", "inclusionPromise/signedEntryTimestamp"] {
        assert_eq!(survivors(&format!("{ENTRY}/{path}"), 1), [0; 0], "{path}");
    }
    let (root, policy, bundle) = (root(), kubeedge(""), dated());
    let path = format!("{ENTRY}/inclusionProof/checkpoint/envelope");
    let note = bundle.pointer(&path).unwrap().as_str().unwrap();
    for (at, c) in note.char_indices().filter(|(_, c)| c.is_ascii()) {
        let other = if c == 'A' { "B" } else { "A" };
        let mut damaged = bundle.clone();
        *damaged.pointer_mut(&path).unwrap() = format!("{}{other}{}", &note[..at], &note[at + 1..]).into();
        assert_ne!(judge(&bytes(&damaged), &root, &policy), "", "checkpoint byte {at}");
    }
}

#[test]
fn no_bit_of_the_timestamp_can_be_flipped() {
    // Byte 8 is the status outside the signed token: granted (0) became granted with modifications (1), which is as good.
    assert_eq!(survivors("/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp", 1), [8]);
}

#[test]
fn no_end_can_be_cut_off() {
    let (root, policy) = (root(), kubeedge(""));
    let whole = bytes(&dated());
    for end in (0..whole.len()).step_by(11).chain(whole.len() - 20..whole.len()) {
        assert_ne!(judge(&whole[..end], &root, &policy), "", "{end} bytes");
    }
}
