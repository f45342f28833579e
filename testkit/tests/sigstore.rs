//! The official Sigstore library accepts what the private Sigstore issues, and refuses any change.

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};
use sigstore_trust_root::TrustedRoot;
use sigstore_types::{Bundle, DerPublicKey};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy};
use slipway_testkit::sigstore::{Attestation, Evidence, ManagedKey, PrivateSigstore, Subject, generator_generic};

const ARTIFACT: &[u8] = b"what was built";
const NAME: &str = "kubeedge-v1.23.1-linux-arm64.tar.gz";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

fn verify_as(root: &[u8], bundle: &[u8], artifact: &[u8], policy: &VerificationPolicy) -> Result<()> {
    slipway_verify::provider::install();
    let root = TrustedRoot::from_json(std::str::from_utf8(root)?)?;
    let bundle = Bundle::from_json(std::str::from_utf8(bundle)?)?;
    let result = sigstore_verify::verify(artifact, &bundle, policy, &root)?;
    if !result.certificate_verified() {
        bail!("the certificate was not checked");
    }
    Ok(())
}

fn verify(root: &[u8], bundle: &[u8], artifact: &[u8]) -> Result<()> {
    verify_as(root, bundle, artifact, &VerificationPolicy::new(generator_generic("v2.1.0"), ISSUER))
}

fn kubeedge() -> Attestation {
    Attestation::kubeedge("v1.23.1").artifact(NAME, ARTIFACT)
}

fn with(evidence: Evidence) -> Attestation {
    Attestation { evidence, ..kubeedge() }
}

#[test]
fn every_kind_of_evidence_is_accepted_by_its_own_root_and_by_no_other() {
    let (ours, theirs) = (PrivateSigstore::new("ours"), PrivateSigstore::new("theirs"));
    for evidence in [Evidence::RekorV1, Evidence::RekorV1AndTimestamp, Evidence::RekorV2] {
        let bundle = ours.attest(&with(evidence));
        verify(&ours.trusted_root(), &bundle, ARTIFACT).with_context(|| format!("{evidence:?}")).unwrap();
        assert!(verify(&theirs.trusted_root(), &bundle, ARTIFACT).is_err(), "{evidence:?} under another root");
        assert!(verify(&ours.trusted_root(), &bundle, b"something else").is_err(), "{evidence:?} for another artifact");
    }
}

#[test]
fn a_bundle_with_nothing_but_a_timestamp_needs_the_root_and_the_policy_for_it() {
    let sigstore = PrivateSigstore::new("ours");
    let bundle = sigstore.attest(&with(Evidence::TimestampOnly));
    let policy = VerificationPolicy::new(generator_generic("v2.1.0"), ISSUER).skip_tlog_unsafe().skip_sct();
    verify_as(&sigstore.trusted_root_timestamps_only(), &bundle, ARTIFACT, &policy).unwrap();
    assert!(verify(&sigstore.trusted_root(), &bundle, ARTIFACT).is_err());
    let theirs = PrivateSigstore::new("theirs").trusted_root_timestamps_only();
    assert!(verify_as(&theirs, &bundle, ARTIFACT, &policy).is_err());
}

#[test]
fn the_log_may_grow_and_every_entry_keeps_its_own_proof() {
    let sigstore = PrivateSigstore::new("ours");
    let bundles: Vec<_> = (0..9).map(|n| sigstore.attest(&kubeedge().at(1_760_000_000 + n))).collect();
    for bundle in &bundles {
        verify(&sigstore.trusted_root(), bundle, ARTIFACT).unwrap();
    }
    let hashes = |bundle: &[u8]| {
        let bundle: Value = serde_json::from_slice(bundle).unwrap();
        bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["hashes"].as_array().unwrap().len()
    };
    assert!(hashes(&bundles[0]) >= 3, "a proof without hashes proves nothing about the verifier");
}

#[test]
fn the_same_request_gives_the_same_bundle() {
    let make = || PrivateSigstore::new("ours").attest(&with(Evidence::RekorV1AndTimestamp));
    assert_eq!(make(), make());
}

#[test]
fn signer_and_issuer_are_the_ones_asked_for() {
    let sigstore = PrivateSigstore::new("ours");
    let npm = Attestation::npm("sigstore/sigstore-js", "refs/heads/main")
        .subject(Subject::sha512_of("pkg:npm/sigstore@2.1.0", ARTIFACT));
    let identity = "https://github.com/sigstore/sigstore-js/.github/workflows/release.yml@refs/heads/main";
    let bundle = sigstore.attest(&npm);
    verify_as(&sigstore.trusted_root(), &bundle, ARTIFACT, &VerificationPolicy::new(identity, ISSUER)).unwrap();
    assert!(verify(&sigstore.trusted_root(), &bundle, ARTIFACT).is_err(), "another identity");
    let elsewhere = VerificationPolicy::new(identity, "https://gitlab.com");
    assert!(verify_as(&sigstore.trusted_root(), &bundle, ARTIFACT, &elsewhere).is_err(), "another issuer");
}

#[test]
fn a_blob_signature_verifies_against_its_artifact_only() {
    let sigstore = PrivateSigstore::new("ours");
    for evidence in [Evidence::RekorV1, Evidence::RekorV2] {
        let bundle = sigstore.sign_blob(&with(evidence), ARTIFACT);
        verify(&sigstore.trusted_root(), &bundle, ARTIFACT).unwrap();
        assert!(verify(&sigstore.trusted_root(), &bundle, b"something else").is_err());
    }
}

#[test]
fn a_managed_key_signs_without_a_certificate() {
    slipway_verify::provider::install();
    let sigstore = PrivateSigstore::new("ours");
    let root = TrustedRoot::from_json(std::str::from_utf8(&sigstore.trusted_root()).unwrap()).unwrap();
    let key = ManagedKey::new("release");
    let check = |bundle: &[u8], key: &ManagedKey| -> Result<()> {
        let bundle = Bundle::from_json(std::str::from_utf8(bundle)?)?;
        let policy = PublicKeyVerificationPolicy::new(DerPublicKey::from_pem(&key.public_pem())?);
        sigstore_verify::verify(ARTIFACT, &bundle, &policy, &root)?;
        Ok(())
    };
    for evidence in [Evidence::RekorV1, Evidence::RekorV2] {
        let attestation = Attestation { managed_key: Some(key.clone()), ..with(evidence) };
        for bundle in [sigstore.attest(&attestation), sigstore.sign_blob(&attestation, ARTIFACT)] {
            check(&bundle, &key).unwrap();
            assert!(check(&bundle, &ManagedKey::new("somebody")).is_err());
        }
    }
}

/// Decodes the base64 at `pointer`, flips one bit in the middle, and encodes it again.
fn flip(bundle: &Value, pointer: &str) -> Vec<u8> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let mut bundle = bundle.clone();
    let member = bundle.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}"));
    let mut bytes = engine.decode(member.as_str().unwrap()).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    *member = json!(engine.encode(bytes));
    serde_json::to_vec(&bundle).unwrap()
}

#[test]
fn one_changed_bit_anywhere_is_refused() {
    let sigstore = PrivateSigstore::new("ours");
    let entry = "/verificationMaterial/tlogEntries/0";
    let bundle = sigstore.attest_value(&with(Evidence::RekorV1AndTimestamp));
    for pointer in [
        "/dsseEnvelope/payload",
        "/dsseEnvelope/signatures/0/sig",
        "/verificationMaterial/certificate/rawBytes",
        "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0/signedTimestamp",
        &format!("{entry}/canonicalizedBody"),
        &format!("{entry}/inclusionPromise/signedEntryTimestamp"),
        &format!("{entry}/inclusionProof/hashes/0"),
        &format!("{entry}/inclusionProof/rootHash"),
    ] {
        assert!(verify(&sigstore.trusted_root(), &flip(&bundle, pointer), ARTIFACT).is_err(), "{pointer}");
    }
}

#[test]
fn a_certificate_without_sct_is_refused() {
    let sigstore = PrivateSigstore::new("ours");
    let bundle = sigstore.attest(&Attestation { sct: false, ..kubeedge() });
    assert!(verify(&sigstore.trusted_root(), &bundle, ARTIFACT).is_err());
}

#[test]
fn a_signature_made_after_the_certificate_ended_is_refused() {
    let sigstore = PrivateSigstore::new("ours");
    for evidence in [Evidence::RekorV1, Evidence::RekorV2] {
        let mut late = with(evidence);
        late.signed_at = late.certified_at + 601;
        assert!(verify(&sigstore.trusted_root(), &sigstore.attest(&late), ARTIFACT).is_err());
    }
}

#[test]
fn the_certificate_says_what_fulcio_would_say() {
    slipway_verify::provider::install();
    let sigstore = PrivateSigstore::new("ours");
    let bundle = sigstore.attest(&kubeedge());
    let root = TrustedRoot::from_json(std::str::from_utf8(&sigstore.trusted_root()).unwrap()).unwrap();
    let parsed = Bundle::from_json(std::str::from_utf8(&bundle).unwrap()).unwrap();
    let policy = VerificationPolicy::new(generator_generic("v2.1.0"), ISSUER);
    let result = sigstore_verify::verify(ARTIFACT, &parsed, &policy, &root).unwrap();
    let claims = &result.certificate().unwrap().ci_claims;
    let source = "https://github.com/kubeedge/kubeedge";
    assert_eq!(claims.source_repository_uri.as_deref(), Some(source));
    assert_eq!(claims.source_repository_ref.as_deref(), Some("refs/tags/v1.23.1"));
    assert_eq!(claims.build_trigger.as_deref(), Some("release"));
    assert_eq!(claims.runner_environment.as_deref(), Some("github-hosted"));
    let config = format!("{source}/.github/workflows/release.yml@refs/tags/v1.23.1");
    assert_eq!(claims.build_config_uri, Some(config));
    let old = &claims.deprecated_github;
    assert_eq!(old.workflow_repository.as_deref(), Some("kubeedge/kubeedge"));
    assert_eq!(old.workflow_sha, claims.source_repository_digest);
    assert_eq!(result.integrated_time().unwrap().as_second(), kubeedge().signed_at);
}

#[test]
fn certificate_and_statement_can_be_made_to_disagree() {
    let honest = kubeedge().statement();
    assert_eq!(honest["predicate"]["invocation"]["configSource"]["entryPoint"], ".github/workflows/release.yml");
    assert_eq!(honest["predicate"]["invocation"]["environment"]["github_event_name"], "release");

    let forger = kubeedge()
        .edit("/predicate/builder/id", Some(json!("https://example.test/builder")))
        .edit("/predicate/materials/0/digest/sha1", None)
        .claim(12, Some("https://github.com/somebody/else"))
        .claim(20, None);
    assert_eq!(forger.statement()["predicate"]["builder"]["id"], "https://example.test/builder");
    assert_eq!(forger.statement()["predicate"]["materials"][0]["digest"], json!({}));
    // Cryptographically it is perfect all the same: only policy can refuse it.
    let sigstore = PrivateSigstore::new("ours");
    verify(&sigstore.trusted_root(), &sigstore.attest(&forger), ARTIFACT).unwrap();
}

#[test]
fn an_envelope_without_evidence_is_not_a_bundle() {
    let sigstore = PrivateSigstore::new("ours");
    let envelope = sigstore.attest_without_evidence(&kubeedge());
    let parsed: Value = serde_json::from_slice(&envelope).unwrap();
    assert!(parsed["signatures"][0]["cert"].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert!(verify(&sigstore.trusted_root(), &envelope, ARTIFACT).is_err());
}

#[test]
fn any_payload_can_be_signed() {
    let sigstore = PrivateSigstore::new("ours");
    let bundle = sigstore.attest_payload(&kubeedge(), b"{not even JSON");
    assert!(verify(&sigstore.trusted_root(), &bundle, ARTIFACT).is_err());
}
