//! One change at a time to evidence that verifies, and the refusal that this very change must cause.
//!
//! The private Sigstore of `slipway-testkit` signs anything as anybody, so each forgery has valid signatures (`authorities`, `forgeries`, `claims`, `keys`, `policy`); changes to a
//! finished bundle and damage are apart from it (`changes`, `damage`).
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod also;
mod authorities;
mod builders;
mod changes;
mod claims;
mod damage;
mod forgeries;
mod keys;
mod openssl;
mod policy;
mod slsa_threats;

use serde_json::{Value, json};
use slipway_protocol::{Sha256, Sha512, Version};
use slipway_testkit::sigstore::{Attestation, Evidence, PredicateKind, PrivateSigstore, Subject as Named};
use slipway_verify::{Policy, Provenance, Refusal, SigstoreRoot, Subject, verify_provenance};

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
fn judge(evidence: &[u8], root: &SigstoreRoot, policy: &Policy) -> String {
    code_of(verify(evidence, root, policy))
}

fn code_of<T>(verdict: Result<T, Refusal>) -> String {
    verdict.map_or_else(|refusal| refusal.code.trim_start_matches("SLW-V-").to_owned(), |_| String::new())
}

/// Whether it is provenance of [`NAME`] in version 1.23.1.
fn verify(evidence: &[u8], root: &SigstoreRoot, policy: &Policy) -> Result<Provenance, Refusal> {
    let version: Version = "v1.23.1".parse().unwrap();
    let subject =
        Subject { name: NAME, sha256: Some(Sha256::of(TARBALL)), sha512: Some(Sha512::of(TARBALL)), version: Some(&version) };
    verify_provenance(evidence, root, policy, &subject)
}

fn bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).unwrap()
}

/// The first log entry.
fn entry(bundle: &mut Value) -> &mut Value {
    &mut bundle["verificationMaterial"]["tlogEntries"][0]
}

fn remove(value: &mut Value, name: &str) {
    value.as_object_mut().unwrap().remove(name);
}

/// Turns the bundle into one of format 0.2 or leaves 0.3, with a chain of the leaf and `more`.
fn chain(bundle: &mut Value, more: &[Value]) {
    let material = bundle["verificationMaterial"].as_object_mut().unwrap();
    let mut certificates = vec![material.remove("certificate").unwrap()];
    certificates.extend_from_slice(more);
    material.insert("x509CertificateChain".to_owned(), json!({"certificates": certificates}));
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
