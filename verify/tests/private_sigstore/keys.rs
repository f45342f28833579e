//! Bundles that a key signed, without a certificate.

use super::*;
use slipway_testkit::sigstore::ManagedKey;
use slipway_verify::{Artifact, LogRule, PublicKey, Signer, verify_bundle};

#[test]
fn a_key_alone_suffices_only_where_that_is_configured() {
    let (sigstore, root) = (sigstore(), root());
    let key = ManagedKey::new("mine");
    let attestation = Attestation { managed_key: Some(key.clone()), ..release() };
    let key = PublicKey::from_pem(&key.public_pem()).unwrap();
    let code =
        |bundle: &Value, signer, rule| code_of(verify_bundle(&bytes(bundle), &root, signer, Artifact::Bytes(TARBALL), rule));
    let logged = sigstore.attest_value(&attestation);
    let mut alone = logged.clone();
    remove(&mut alone["verificationMaterial"], "tlogEntries");
    assert_eq!(code(&alone, Signer::Key(&key), LogRule::Proof), "LOG-MISSING");
    assert_eq!(code(&alone, Signer::Key(&key), LogRule::UnsafeNoLog), "");
    // What is there must be right, needed or not.
    assert_eq!(code(&logged, Signer::Key(&key), LogRule::UnsafeNoLog), "");
    let mut wrong = logged.clone();
    entry(&mut wrong)["integratedTime"] = "1750000001".into();
    assert_eq!(code(&wrong, Signer::Key(&key), LogRule::UnsafeNoLog), "LOG-PROMISE");
    let mut unproven = logged;
    remove(entry(&mut unproven), "inclusionProof");
    assert_eq!(code(&unproven, Signer::Key(&key), LogRule::UnsafeNoLog), "LOG-PROOF-MISSING");
    // A certificate is of a key that was thrown away: without a log nothing says when it signed.
    let somebody = Signer::Identity { identity: "x", issuer: "y" };
    assert_eq!(code(&sigstore.attest_value(&release()), somebody, LogRule::UnsafeNoLog), "POLICY-CONTRADICTION");
}

#[test]
fn keys_sign_for_themselves_only() {
    let (sigstore, root) = (sigstore(), root());
    let (mine, other) = (ManagedKey::new("mine"), ManagedKey::new("other"));
    let attestation = Attestation { managed_key: Some(mine.clone()), ..release() };
    let code = |bundle: &[u8], key: &ManagedKey, artifact| {
        let key = PublicKey::from_pem(&key.public_pem()).unwrap();
        code_of(verify_bundle(bundle, &root, Signer::Key(&key), artifact, LogRule::Proof))
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
