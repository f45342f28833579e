//! The Sigstore project's own verifier as a peer: whatever it refuses must be refused here, and what is refused here beyond that is explained.
//!
//! It runs with a clock that is right. Each difference is either a row of [`STRICTER`], which names the row of the checklist that explains it,
//! or of [`WIDER`], with its reason. Anything else fails.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sigstore_trust_root::TrustedRoot;
use sigstore_types::{Bundle, DerPublicKey, Sha256Hash};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy};
use slipway_protocol::Sha256;
use slipway_testkit::sigstore::{
    Attestation, CertificateForgery, Evidence, Forgery, ManagedKey, PrivateSigstore, SctForgery, TokenForgery,
};
use slipway_testkit::vectors::vectors;
use slipway_verify::{Artifact, LogRule, PublicKey, Signer, SigstoreRoot, verify_bundle};
use std::collections::BTreeMap;
use std::fs;

/// What is refused here and accepted there: the check, and the words of the checklist's row that explains it.
const STRICTER: [(&str, &str); 16] = [
    ("BUNDLE-LOG-ENTRIES", "exactly one log entry"),
    ("BUNDLE-MEDIA-TYPE", "media type known and present"),
    ("BUNDLE-MATERIAL", "exactly one content, exactly one material"),
    ("BUNDLE-CONTENT", "exactly one content, exactly one material"),
    ("CERT-PROFILE", "exactly one name"),
    ("CERT-ROOT", "no self-signed certificate"),
    ("CERT-SCT-TIME", "not after the certificate's end"),
    ("LOG-BODY", "kind and version"),
    ("LOG-CHECKPOINT-ORIGIN", "origin and signer"),
    ("LOG-CHECKPOINT-ROOT", "root hash, tree size"),
    ("LOG-INDEX", "root hash, tree size"),
    ("LOG-PROOF-MISSING", "proof and checkpoint, whatever"),
    ("LOG-TREE-SIZE", "root hash, tree size"),
    ("LOG-UNKNOWN", "log of the entry is in the root"),
    ("TIMESTAMP-MALFORMED", "status, one signer"),
    ("TIMESTAMP-SIGNER", "ESSCertID"),
];

/// What is accepted here and refused there: a part of its words, and why that is right.
const WIDER: [(&str, &str); 2] = [
    ("multiple SCTs", "a certificate may be in several logs (RFC 6962, 3.3); one that is trusted must be right"),
    ("in the future", "there is no clock here; the caller judges the signed times"),
];

/// Who must have signed.
#[derive(Clone)]
enum Who {
    Identity(String, String),
    Key(String),
}

struct Case {
    what: String,
    bundle: Vec<u8>,
    root: Vec<u8>,
    who: Who,
    artifact: Vec<u8>,
}

impl Case {
    /// What the project's verifier says: nothing, or why not.
    fn there(&self, by_digest: bool) -> Option<String> {
        slipway_verify::provider::install();
        let judged = || -> Result<(), Box<dyn std::error::Error>> {
            let root = TrustedRoot::from_json(std::str::from_utf8(&self.root)?)?;
            let bundle = Bundle::from_json(std::str::from_utf8(&self.bundle)?)?;
            let digest = Sha256Hash::new(Sha256::of(&self.artifact).0);
            match &self.who {
                Who::Identity(identity, issuer) => {
                    let policy = VerificationPolicy::new(identity.clone(), issuer.clone());
                    if by_digest {
                        sigstore_verify::verify(digest, &bundle, &policy, &root)?;
                    } else {
                        sigstore_verify::verify(self.artifact.as_slice(), &bundle, &policy, &root)?;
                    }
                }
                Who::Key(pem) => {
                    let policy = PublicKeyVerificationPolicy::new(DerPublicKey::from_pem(pem)?);
                    if by_digest {
                        sigstore_verify::verify(digest, &bundle, &policy, &root)?;
                    } else {
                        sigstore_verify::verify(self.artifact.as_slice(), &bundle, &policy, &root)?;
                    }
                }
            }
            Ok(())
        };
        judged().err().map(|error| error.to_string())
    }

    /// The code of our refusal, or none.
    fn here(&self, by_digest: bool) -> Option<String> {
        let judged = || {
            let root = SigstoreRoot::parse(&self.root)?;
            let artifact = if by_digest { Artifact::Sha256(Sha256::of(&self.artifact)) } else { Artifact::Bytes(&self.artifact) };
            match &self.who {
                Who::Identity(identity, issuer) => {
                    verify_bundle(&self.bundle, &root, Signer::Identity { identity, issuer }, artifact, LogRule::Proof)
                }
                Who::Key(pem) => {
                    let key = PublicKey::from_pem(pem)?;
                    verify_bundle(&self.bundle, &root, Signer::Key(&key), artifact, LogRule::Proof)
                }
            }
        };
        judged().err().map(|refusal| refusal.code.trim_start_matches("SLW-V-").to_owned())
    }
}

/// What came of many comparisons.
#[derive(Default)]
struct Outcome {
    both_accept: usize,
    both_refuse: usize,
    stricter: BTreeMap<String, usize>,
    wider: usize,
    unexplained: Vec<String>,
}

impl Outcome {
    fn compare(&mut self, case: &Case, by_digest: bool) {
        match (case.here(by_digest), case.there(by_digest)) {
            (None, None) => self.both_accept += 1,
            (Some(_), Some(_)) => self.both_refuse += 1,
            (Some(code), None) if STRICTER.iter().any(|(known, _)| *known == code) => {
                *self.stricter.entry(code).or_default() += 1
            }
            (Some(code), None) => self.unexplained.push(format!("{}: {code} only here", case.what)),
            (None, Some(why)) if WIDER.iter().any(|(known, _)| why.contains(known)) => self.wider += 1,
            (None, Some(why)) => self.unexplained.push(format!("{}: only there: {why}", case.what)),
        }
    }

    fn done(&self) {
        let all = self.unexplained.join("\n");
        assert!(
            self.unexplained.is_empty(),
            "both accept {}, both refuse {}, stricter here {:?}, wider here {}; {} differences without a reason:\n{all}",
            self.both_accept,
            self.both_refuse,
            self.stricter,
            self.wider,
            self.unexplained.len()
        );
    }
}

#[test]
fn each_reason_is_a_row_of_the_checklist() {
    let checklist = include_str!("../src/checklist.rs");
    for (code, words) in STRICTER {
        let row = checklist.lines().find(|line| line.contains(words) && line.contains(&format!("`{code}`")));
        assert!(row.is_some(), "{code}: no row with the words {words:?}");
    }
}

#[test]
fn public_cases() {
    let Some(vectors) = vectors() else { return };
    let cases = vectors.join("bundles");
    let production = fs::read(vectors.join("roots/sigstore-prod.trusted_root.json")).unwrap();
    let mut outcome = Outcome::default();
    for entry in fs::read_dir(&cases).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let file = |name: &str| fs::read(entry.path().join(name)).ok();
        let text = |name: &str, default: &str| {
            file(name).map_or_else(|| default.to_owned(), |bytes| String::from_utf8(bytes).unwrap().trim().to_owned())
        };
        let identity = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
        let issuer = "https://token.actions.githubusercontent.com";
        let who = match file("key.pub") {
            Some(pem) => Who::Key(String::from_utf8(pem).unwrap()),
            None => Who::Identity(text("identity", identity), text("issuer", issuer)),
        };
        let case = Case {
            what: entry.file_name().into_string().unwrap(),
            bundle: file("bundle.sigstore.json").unwrap(),
            root: file("trusted_root.json").unwrap_or_else(|| production.clone()),
            who,
            artifact: file("artifact").unwrap_or_else(|| fs::read(cases.join("a.txt")).unwrap()),
        };
        outcome.compare(&case, false);
        outcome.compare(&case, true);
    }
    assert!(outcome.both_accept >= 26 && outcome.both_refuse >= 50);
    outcome.done();
}

const FILE: &[u8] = b"a file";

fn sigstore() -> PrivateSigstore {
    PrivateSigstore::new("differential")
}

fn release(evidence: Evidence) -> Attestation {
    Attestation { evidence, ..Attestation::kubeedge("v1.23.1").artifact("file", FILE) }
}

fn case(what: impl std::fmt::Display, sigstore: &PrivateSigstore, bundle: &Value) -> Case {
    let release = release(Evidence::RekorV1);
    Case {
        what: what.to_string(),
        bundle: serde_json::to_vec(bundle).unwrap(),
        root: sigstore.trusted_root(),
        who: Who::Identity(release.identity, release.issuer),
        artifact: FILE.to_vec(),
    }
}

#[test]
fn forgeries_of_authorities_and_logs() {
    let sigstore = sigstore();
    let mut outcome = Outcome::default();
    let certificates = [
        CertificateForgery::NoUsage,
        CertificateForgery::OtherPurpose,
        CertificateForgery::Authority,
        CertificateForgery::TwoNames,
        CertificateForgery::OtherName,
        CertificateForgery::NameNotCritical,
        CertificateForgery::UnknownCritical,
        CertificateForgery::Twice,
        CertificateForgery::OldVersion,
        CertificateForgery::Forged,
    ];
    let scts = [
        SctForgery::OnlyUnknown,
        SctForgery::UnknownToo,
        SctForgery::Twice,
        SctForgery::Forged,
        SctForgery::OtherAlgorithm,
        SctForgery::AfterEnd,
        SctForgery::BeforeLog,
        SctForgery::Malformed,
        SctForgery::Empty,
    ];
    let tokens = [
        TokenForgery::OldName,
        TokenForgery::OldNameWrong,
        TokenForgery::NameWrong,
        TokenForgery::OtherSignature,
        TokenForgery::OtherDigest,
        TokenForgery::OtherContentType,
        TokenForgery::Forged,
        TokenForgery::TwoSigners,
        TokenForgery::OtherSerial,
        TokenForgery::Extension,
        TokenForgery::Rejected,
    ];
    let forgeries =
        certificates.map(Forgery::Certificate).into_iter().chain(scts.map(Forgery::Sct)).chain(tokens.map(Forgery::Token));
    for forgery in forgeries {
        for evidence in [Evidence::RekorV1AndTimestamp, Evidence::RekorV2] {
            let refused_with = sigstore.attest_value(&Attestation { forgery: Some(forgery), ..release(evidence) });
            outcome.compare(&case(format_args!("{forgery:?}, {evidence:?}"), &sigstore, &refused_with), true);
        }
    }
    // Signed times that do not fit: before, after, in the future.
    for evidence in [Evidence::RekorV1, Evidence::RekorV2] {
        for signed_at in [1_500_000_000, 1_749_990_000, 1_750_001_000, 2_280_000_000] {
            let refused_with = sigstore.attest_value(&Attestation { signed_at, ..release(evidence) });
            outcome.compare(&case(format_args!("signed at {signed_at}, {evidence:?}"), &sigstore, &refused_with), true);
            let refused_with = sigstore.attest_value(&release(evidence).at(signed_at));
            outcome.compare(&case(format_args!("all at {signed_at}, {evidence:?}"), &sigstore, &refused_with), true);
        }
    }
    outcome.done();
}

#[test]
fn what_the_peer_is_known_to_accept() {
    type Edit = fn(&mut Value);
    let sigstore = sigstore();
    let chain = |bundle: &mut Value, more: &Value| {
        let material = bundle["verificationMaterial"].as_object_mut().unwrap();
        let leaf = material.remove("certificate").unwrap();
        material.insert("x509CertificateChain".to_owned(), json!({"certificates": [leaf, more]}));
    };
    let changes: [(&str, Edit, &str); 6] = [
        ("no media type", |b| drop(b.as_object_mut().unwrap().remove("mediaType")), "BUNDLE-MEDIA-TYPE"),
        (
            "0.3 as 0.1 without its proof",
            |b| {
                b["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
                b["verificationMaterial"]["tlogEntries"][0].as_object_mut().unwrap().remove("inclusionProof");
            },
            "LOG-PROOF-MISSING",
        ),
        (
            "the checkpoint's signer by another name",
            |b| note(b, "\u{2014} rekor.differential.test", "\u{2014} rekor.other.test"),
            "LOG-CHECKPOINT-ORIGIN",
        ),
        (
            "a checkpoint with a blank line before it",
            |b| note(b, "rekor.differential.test - ", "\nrekor.differential.test - "),
            "LOG-CHECKPOINT",
        ),
        ("two contents", |b| b["messageSignature"] = json!({"signature": "AAAA"}), "BUNDLE-CONTENT"),
        ("two materials", |b| b["verificationMaterial"]["publicKey"] = json!({"hint": "x"}), "BUNDLE-MATERIAL"),
    ];
    let mut outcome = Outcome::default();
    for (what, change, code) in changes {
        let mut bundle = sigstore.attest_value(&release(Evidence::RekorV1));
        change(&mut bundle);
        let case = case(what, &sigstore, &bundle);
        assert_eq!(case.here(true).as_deref(), Some(code), "{what}");
        outcome.compare(&case, true);
    }
    // An authority in the bundle: the trusted one's root, and any chain under the name of 0.3.
    let root = sigstore.trusted_root_value()["certificateAuthorities"][0]["certChain"]["certificates"][1].clone();
    for (media_type, code) in [("+json;version=0.2", "CERT-ROOT"), (".v0.3+json", "BUNDLE-SHAPE")] {
        let mut bundle = sigstore.attest_value(&release(Evidence::RekorV1));
        bundle["mediaType"] = format!("application/vnd.dev.sigstore.bundle{media_type}").into();
        chain(&mut bundle, &root);
        let case = case(media_type, &sigstore, &bundle);
        assert_eq!(case.here(true).as_deref(), Some(code), "{media_type}");
        outcome.compare(&case, true);
    }
    // Bodies that the log did log: of another kind than they say, and with the details of another key.
    let body: [(Evidence, Edit, &str); 2] = [
        (
            Evidence::RekorV2,
            |b| b["spec"]["hashedRekordV002"]["signature"]["verifier"]["keyDetails"] = "PKIX_ECDSA_P384_SHA_384".into(),
            "LOG-BODY-KEY",
        ),
        (Evidence::RekorV1, |b| b["spec"]["signatures"][0]["x"] = json!(1), ""),
    ];
    for (evidence, edit, code) in body {
        let bundle = sigstore.attest_value(&Attestation { forgery: Some(Forgery::Body(edit)), ..release(evidence) });
        let case = case(code, &sigstore, &bundle);
        assert_eq!(case.here(true).unwrap_or_default(), code);
        outcome.compare(&case, true);
    }
    // An entry whose body says that it is of another kind than the entry does.
    let kind = Forgery::Body(|body| body["kind"] = "hashedrekord".into());
    let mut bundle = sigstore.attest_value(&Attestation { forgery: Some(kind), ..release(Evidence::RekorV1) });
    bundle["verificationMaterial"]["tlogEntries"][0]["kindVersion"]["kind"] = "dsse".into();
    let renamed = case("another kind", &sigstore, &bundle);
    assert_eq!(renamed.here(true).as_deref(), Some("LOG-BODY"));
    outcome.compare(&renamed, true);
    let whole = sigstore.attest(&release(Evidence::RekorV1));
    // A second member of the same name: the one that verifies comes last.
    let twice = String::from_utf8(whole).unwrap().replacen('{', "{\"mediaType\":\"application/json\",", 1);
    let mut case = case("a member twice", &sigstore, &Value::Null);
    case.bundle = twice.into_bytes();
    assert_eq!(case.here(true).as_deref(), Some("BUNDLE-MALFORMED"));
    outcome.compare(&case, true);
    outcome.done();
}

/// Changes the checkpoint.
fn note(bundle: &mut Value, from: &str, to: &str) {
    let note = &mut bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"]["envelope"];
    let text = note.as_str().unwrap();
    assert!(text.contains(from), "{text}");
    *note = text.replacen(from, to, 1).into();
}

/// Every place in `value`, as JSON pointers, containers before what is in them.
fn places(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| places(value, &format!("{at}/{name}"), found)),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, value)| places(value, &format!("{at}/{n}"), found)),
        _ => {}
    }
}

/// What may be done to one place of a bundle.
fn mutations(one: &Value, two: &Value, path: &str) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    let mut with = |what: &str, value: Value| {
        let mut mutated = one.clone();
        *mutated.pointer_mut(path).unwrap() = value;
        all.push((format!("{path}: {what}"), mutated));
    };
    let here = one.pointer(path).unwrap();
    with("null", Value::Null);
    with("a number", json!(7));
    with("empty", json!(""));
    if let Some(theirs) = two.pointer(path).filter(|theirs| *theirs != here) {
        with("another bundle's", theirs.clone());
    }
    match here {
        Value::Array(items) => {
            with("no items", json!([]));
            with("twice", Value::Array(items.iter().chain(items).cloned().collect()));
        }
        Value::String(text) => {
            if let Ok(bytes) = STANDARD.decode(text) {
                // One bit in a byte of each part: every byte is flipped in `private_sigstore`, without a peer.
                for at in (0..bytes.len()).step_by(bytes.len() / 3 + 1) {
                    let mut flipped = bytes.clone();
                    flipped[at] ^= 1 << (at % 8);
                    with(&format!("bit in byte {at}"), STANDARD.encode(flipped).into());
                }
            }
            with("a character more", format!("{text}A").into());
            for (at, c) in text.char_indices().step_by(text.len() / 3 + 1) {
                let other = if c == 'A' { 'B' } else { 'A' };
                with(&format!("character {at}"), format!("{}{other}{}", &text[..at], &text[at + c.len_utf8()..]).into());
            }
            if let Ok(number) = text.parse::<i64>() {
                with("one more", (number + 1).to_string().into());
                with("negative", (-number - 1).to_string().into());
            }
            for media_type in ["+json;version=0.1", "+json;version=0.2", "+json;version=0.3", ".v0.3+json"] {
                if path == "/mediaType" {
                    with(media_type, format!("application/vnd.dev.sigstore.bundle{media_type}").into());
                }
            }
        }
        _ => {}
    }
    if let Some((parent, name)) = path.rsplit_once('/') {
        let mut mutated = one.clone();
        if let Some(members) = mutated.pointer_mut(parent).and_then(Value::as_object_mut) {
            members.remove(name);
            all.push((format!("{path}: removed"), mutated));
        }
    }
    all
}

#[test]
fn every_place_of_a_bundle() {
    let sigstore = sigstore();
    let mut outcome = Outcome::default();
    let key = ManagedKey::new("differential");
    let later = |evidence| release(evidence).at(1_750_000_300).edit("/predicate/metadata/x", Some(1.into()));
    let keyed = Attestation { managed_key: Some(key.clone()), ..release(Evidence::RekorV2) };
    let blob = |attestation: &Attestation, bytes: &[u8]| -> Value {
        serde_json::from_slice(&sigstore.sign_blob(attestation, bytes)).unwrap()
    };
    let (v1, v2) = (Evidence::RekorV1AndTimestamp, Evidence::RekorV2);
    for (kind, one, two, by_key) in [
        ("attestation", sigstore.attest_value(&release(v1)), sigstore.attest_value(&later(v1)), false),
        ("file", blob(&release(v2), FILE), blob(&later(v2), b"another"), false),
        ("key", blob(&keyed, FILE), blob(&later(v2), FILE), true),
    ] {
        let mut paths = Vec::new();
        places(&one, "", &mut paths);
        for path in &paths {
            for (what, mutated) in mutations(&one, &two, path) {
                let mut case = case(format_args!("{kind}, {what}"), &sigstore, &mutated);
                if by_key {
                    case.who = Who::Key(key.public_pem());
                }
                outcome.compare(&case, false);
            }
        }
    }
    assert!(outcome.both_refuse > 500);
    outcome.done();
}
