//! Forged evidence of authorities and logs with valid signatures: each is refused by its own check.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use slipway_testkit::sigstore::{CertificateForgery, EntryKind, Forgery, IntermediateForgery, SctForgery, TokenForgery};
use slipway_verify::{Artifact, LogRule, Signer, verify_bundle};

fn refused_with(evidence: Evidence, forgery: Forgery) -> String {
    judge(&sigstore().attest(&Attestation { evidence, forgery: Some(forgery), ..release() }), &root(), &kubeedge(""))
}

#[test]
fn certificates_of_another_profile_are_refused() {
    for (forgery, code) in [
        (CertificateForgery::NoUsage, "CERT-PROFILE"),
        (CertificateForgery::OtherPurpose, "CERT-PROFILE"),
        (CertificateForgery::Authority, "CERT-PROFILE"),
        (CertificateForgery::TwoNames, "CERT-PROFILE"),
        (CertificateForgery::OtherName, "CERT-PROFILE"),
        (CertificateForgery::EmailOfUri, "CERT-PROFILE"),
        (CertificateForgery::UriOfEmail, "CERT-PROFILE"),
        (CertificateForgery::Email, "POLICY-IDENTITY"),
        (CertificateForgery::NameNotCritical, "CERT-PROFILE"),
        (CertificateForgery::UnknownCritical, "CERT-PROFILE"),
        (CertificateForgery::Twice, "CERT-PROFILE"),
        (CertificateForgery::OldVersion, "CERT-PROFILE"),
        (CertificateForgery::Forged, "CERT-SIGNATURE"),
    ] {
        assert_eq!(refused_with(Evidence::RekorV1, Forgery::Certificate(forgery)), code, "{forgery:?}");
    }
}

#[test]
fn an_issuer_must_have_the_right_to_issue() {
    let sigstore = sigstore();
    let mut trusted = sigstore.trusted_root_value();
    trusted["certificateAuthorities"][0]["certChain"]["certificates"].as_array_mut().unwrap().remove(0);
    let root_only = SigstoreRoot::parse(&bytes(&trusted)).unwrap();
    for (forgery, code) in [
        (IntermediateForgery::Honest, ""),
        (IntermediateForgery::NoUsage, ""),
        (IntermediateForgery::OnlySignatures, "CERT-AUTHORITY-USAGE"),
        (IntermediateForgery::OnlyRevocation, "CERT-AUTHORITY-USAGE"),
        (IntermediateForgery::NoAuthority, "CERT-AUTHORITY-USAGE"),
        (IntermediateForgery::NoConstraints, "CERT-AUTHORITY-USAGE"),
        (IntermediateForgery::OtherPurpose, "CERT-PROFILE"),
        (IntermediateForgery::UnknownCritical, "CERT-PROFILE"),
        (IntermediateForgery::Expired, "CERT-EXPIRED"),
    ] {
        let intermediate = json!({"rawBytes": STANDARD.encode(sigstore.intermediate(forgery))});
        // From the bundle, where the trusted root names no intermediate.
        let mut bundle = sigstore.attest_value(&release());
        bundle["mediaType"] = "application/vnd.dev.sigstore.bundle+json;version=0.2".into();
        chain(&mut bundle, std::slice::from_ref(&intermediate));
        assert_eq!(judge(&bytes(&bundle), &root_only, &kubeedge("")), code, "{forgery:?}");
        // In the trusted root it anchors, so what is wrong with it is the root's own defect, but for the right to issue.
        let mut trusted = sigstore.trusted_root_value();
        trusted["certificateAuthorities"][0]["certChain"]["certificates"][0] = intermediate;
        let root = SigstoreRoot::parse(&bytes(&trusted)).unwrap();
        let code = match code {
            "CERT-PROFILE" => "ROOT-CHAIN",
            "CERT-EXPIRED" => "CERT-AUTHORITY",
            same => same,
        };
        assert_eq!(judge(&sigstore.attest(&release()), &root, &kubeedge("")), code, "{forgery:?} in the trusted root");
    }
}

#[test]
fn certificate_logs_are_several_and_each_known_one_is_right() {
    for (forgery, code) in [
        (SctForgery::UnknownToo, ""),
        (SctForgery::Twice, ""),
        (SctForgery::OnlyUnknown, "CERT-SCT-LOG"),
        (SctForgery::Forged, "CERT-SCT"),
        (SctForgery::OtherAlgorithm, "CERT-SCT"),
        (SctForgery::AfterEnd, "CERT-SCT-TIME"),
        (SctForgery::BeforeLog, "CERT-SCT-TIME"),
        (SctForgery::Malformed, "CERT-SCT-MALFORMED"),
        (SctForgery::Empty, "CERT-SCT-MALFORMED"),
    ] {
        assert_eq!(refused_with(Evidence::RekorV1, Forgery::Sct(forgery)), code, "{forgery:?}");
    }
    // The issuer's key is part of what the log signed, so another issuer of the same name does not pass.
    let mut trusted = sigstore().trusted_root_value();
    trusted["ctlogs"][0]["publicKey"]["validFor"]["end"] = "2021-01-01T00:00:00Z".into();
    let over = SigstoreRoot::parse(&bytes(&trusted)).unwrap();
    assert_eq!(judge(&sigstore().attest(&release()), &over, &kubeedge("")), "CERT-SCT-TIME");
}

#[test]
fn tokens_say_what_they_are_about_and_who_made_them() {
    for evidence in [Evidence::RekorV2, Evidence::RekorV1AndTimestamp] {
        for (forgery, code) in [
            (TokenForgery::OldName, ""),
            (TokenForgery::OldNameWrong, "TIMESTAMP-SIGNER"),
            (TokenForgery::NameWrong, "TIMESTAMP-SIGNER"),
            (TokenForgery::OtherSerial, "TIMESTAMP-SIGNER"),
            (TokenForgery::OtherSignature, "TIMESTAMP-IMPRINT"),
            (TokenForgery::OtherDigest, "TIMESTAMP-DIGEST"),
            (TokenForgery::OtherContentType, "TIMESTAMP-MALFORMED"),
            (TokenForgery::TwoSigners, "TIMESTAMP-MALFORMED"),
            (TokenForgery::Extension, "TIMESTAMP-MALFORMED"),
            (TokenForgery::Rejected, "TIMESTAMP-MALFORMED"),
            (TokenForgery::Forged, "TIMESTAMP-INVALID"),
        ] {
            assert_eq!(refused_with(evidence, Forgery::Token(forgery)), code, "{forgery:?} {evidence:?}");
        }
    }
    let mut other = sigstore().trusted_root_value();
    other["timestampAuthorities"] = PrivateSigstore::new("other").trusted_root_value()["timestampAuthorities"].clone();
    let bundle = sigstore().attest(&Attestation { evidence: Evidence::RekorV2, ..release() });
    assert_eq!(judge(&bundle, &SigstoreRoot::parse(&bytes(&other)).unwrap(), &kubeedge("")), "TIMESTAMP-SIGNER");
}

/// The body of `dsse` 0.0.1 as one of `intoto` 0.0.2, which has its signature in base64 twice.
fn as_intoto(body: &mut Value) {
    let spec = &body["spec"];
    let signature = spec["signatures"][0]["signature"].as_str().unwrap();
    *body = json!({"apiVersion": "0.0.2", "kind": "intoto", "spec": {"content": {
        "envelope": {
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": STANDARD.encode(signature), "publicKey": spec["signatures"][0]["verifier"]}],
        },
        "hash": spec["envelopeHash"],
        "payloadHash": spec["payloadHash"],
    }}});
}

/// Another of the same length.
fn other(text: &Value) -> Value {
    let text = text.as_str().unwrap();
    let (first, rest) = text.split_at(1);
    format!("{}{rest}", if first == "0" { "1" } else { "0" }).into()
}

const VERIFIER: &str = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCkFBQUEKLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo=";

/// Entries of kind `intoto` 0.0.1 as slsa-github-generator v1.10.0 and cosign (container generator v1.9.0) made them: content hash, payload
/// hash and public key must all agree, and nothing else in the entry is about the signature. Without the comparison of the content
/// hash the rows that end in LOG-BODY-ENVELOPE verify.
#[test]
fn an_entry_about_another_envelope_file_is_refused() {
    type Edit = fn(&mut Value);
    let old = |forgery| {
        let forgery = Some(Forgery::Body(forgery));
        sigstore().attest_value(&Attestation { forgery, ..release().generator("v1.10.0") })
    };
    let code = |bundle: &Value| judge(&bytes(bundle), &root(), &kubeedge(""));
    let edits: [(&str, Edit, &str); 10] = [
        ("unchanged", |_| {}, ""),
        (
            "another file",
            |b| b["spec"]["content"]["hash"]["value"] = other(&b["spec"]["content"]["hash"]["value"]),
            "LOG-BODY-ENVELOPE",
        ),
        ("another algorithm", |b| b["spec"]["content"]["hash"]["algorithm"] = "sha512".into(), "LOG-BODY-MALFORMED"),
        ("half a hash", |b| b["spec"]["content"]["hash"]["value"] = "00".into(), "LOG-BODY-ENVELOPE"),
        ("no hash", |b| remove(&mut b["spec"]["content"], "hash"), "LOG-BODY-MALFORMED"),
        (
            "another payload",
            |b| b["spec"]["content"]["payloadHash"]["value"] = other(&b["spec"]["content"]["payloadHash"]["value"]),
            "LOG-BODY-DIGEST",
        ),
        ("no payload", |b| remove(&mut b["spec"]["content"], "payloadHash"), "LOG-BODY-MALFORMED"),
        ("another certificate", |b| b["spec"]["publicKey"] = VERIFIER.into(), "LOG-BODY-KEY"),
        ("no certificate", |b| remove(&mut b["spec"], "publicKey"), "LOG-BODY-MALFORMED"),
        ("an array for an object", |b| b["spec"] = json!([b["spec"]["content"], b["spec"]["publicKey"]]), "LOG-BODY-MALFORMED"),
    ];
    for (what, edit, wanted) in edits {
        assert_eq!(code(&old(edit)), wanted, "{what}");
    }
    // What the hash covers beside the signature: the hint about the key, which no signature does.
    let mut hinted = old(|_| {});
    hinted["dsseEnvelope"]["signatures"][0]["keyid"] = "x".into();
    assert_eq!(code(&hinted), "LOG-BODY-ENVELOPE");
    // cosign's file has no certificate in it; both forms bind, since each is the hash of one file.
    let cosign = Some(EntryKind::Intoto001 { certificate: false });
    let bundle = sigstore().attest_value(&Attestation { logged_as: cosign, ..release().generator("v1.10.0") });
    assert_eq!(code(&bundle), "");
}

#[test]
fn an_entry_about_something_else_is_refused() {
    type Edit = fn(&mut Value);
    let edits: [(&str, Evidence, Edit, &str); 26] = [
        ("dsse", Evidence::RekorV1, |_| {}, ""),
        (
            "another envelope's hash: the submitter's own",
            Evidence::RekorV1,
            |b| b["spec"]["envelopeHash"]["value"] = "00".into(),
            "",
        ),
        (
            "payload",
            Evidence::RekorV1,
            |b| b["spec"]["payloadHash"]["value"] = other(&b["spec"]["payloadHash"]["value"]),
            "LOG-BODY-DIGEST",
        ),
        ("digest algorithm", Evidence::RekorV1, |b| b["spec"]["payloadHash"]["algorithm"] = "sha512".into(), "LOG-BODY-DIGEST"),
        (
            "no digest algorithm",
            Evidence::RekorV1,
            |b| b["spec"]["payloadHash"]["algorithm"] = "md5".into(),
            "LOG-BODY-MALFORMED",
        ),
        ("signature", Evidence::RekorV1, |b| b["spec"]["signatures"][0]["signature"] = "AAAA".into(), "LOG-BODY-SIGNATURE"),
        ("no signatures", Evidence::RekorV1, |b| b["spec"]["signatures"] = json!([]), "LOG-BODY-SIGNATURE"),
        (
            "two signatures",
            Evidence::RekorV1,
            |b| {
                let again = b["spec"]["signatures"][0].clone();
                b["spec"]["signatures"].as_array_mut().unwrap().push(again);
            },
            "LOG-BODY-SIGNATURE",
        ),
        ("verifier", Evidence::RekorV1, |b| b["spec"]["signatures"][0]["verifier"] = VERIFIER.into(), "LOG-BODY-KEY"),
        (
            "verifier that is none",
            Evidence::RekorV1,
            |b| b["spec"]["signatures"][0]["verifier"] = "AAAA".into(),
            "LOG-BODY-MALFORMED",
        ),
        ("no spec", Evidence::RekorV1, |b| remove(b, "spec"), "LOG-BODY-MALFORMED"),
        ("intoto", Evidence::RekorV1, as_intoto, ""),
        (
            "intoto: signature once in base64",
            Evidence::RekorV1,
            |b| {
                let once = b["spec"]["signatures"][0]["signature"].clone();
                as_intoto(b);
                b["spec"]["content"]["envelope"]["signatures"][0]["sig"] = once;
            },
            "LOG-BODY-MALFORMED",
        ),
        (
            "intoto: payload type",
            Evidence::RekorV1,
            |b| {
                as_intoto(b);
                b["spec"]["content"]["envelope"]["payloadType"] = "text/plain".into();
            },
            "LOG-BODY",
        ),
        (
            "intoto: payload",
            Evidence::RekorV1,
            |b| {
                as_intoto(b);
                let value = &mut b["spec"]["content"]["payloadHash"]["value"];
                *value = other(value);
            },
            "LOG-BODY-DIGEST",
        ),
        (
            "intoto: verifier",
            Evidence::RekorV1,
            |b| {
                as_intoto(b);
                b["spec"]["content"]["envelope"]["signatures"][0]["publicKey"] = VERIFIER.into();
            },
            "LOG-BODY-KEY",
        ),
        (
            "intoto 0.0.1",
            Evidence::RekorV1,
            |b| (b["kind"], b["apiVersion"]) = ("intoto".into(), "0.0.1".into()),
            "LOG-BODY-MALFORMED",
        ),
        ("dsse 0.0.2", Evidence::RekorV2, |b| b["kind"] = "dsse".into(), "LOG-KIND"),
        ("v2", Evidence::RekorV2, |_| {}, ""),
        (
            "v2: digest",
            Evidence::RekorV2,
            |b| b["spec"]["hashedRekordV002"]["data"]["digest"] = STANDARD.encode([7; 32]).into(),
            "LOG-BODY-DIGEST",
        ),
        (
            "v2: signature",
            Evidence::RekorV2,
            |b| b["spec"]["hashedRekordV002"]["signature"]["content"] = "AAAA".into(),
            "LOG-BODY-SIGNATURE",
        ),
        (
            "v2: certificate",
            Evidence::RekorV2,
            |b| b["spec"]["hashedRekordV002"]["signature"]["verifier"]["x509Certificate"]["rawBytes"] = "AAAA".into(),
            "LOG-BODY-KEY",
        ),
        (
            "v2: key details",
            Evidence::RekorV2,
            |b| b["spec"]["hashedRekordV002"]["signature"]["verifier"]["keyDetails"] = "PKIX_ECDSA_P384_SHA_384".into(),
            "LOG-BODY-KEY",
        ),
        (
            "v2: another curve with the same digest",
            Evidence::RekorV2,
            |b| b["spec"]["hashedRekordV002"]["signature"]["verifier"]["keyDetails"] = "PKIX_ECDSA_P384_SHA_256".into(),
            "LOG-BODY-KEY",
        ),
        (
            "v2: another kind of key",
            Evidence::RekorV2,
            |b| b["spec"]["hashedRekordV002"]["signature"]["verifier"]["keyDetails"] = "PKIX_ED25519".into(),
            "LOG-BODY-KEY",
        ),
        (
            "v2: certificate and key",
            Evidence::RekorV2,
            |b| b["spec"]["hashedRekordV002"]["signature"]["verifier"]["publicKey"] = json!({"rawBytes": "AAAA"}),
            "LOG-BODY-MALFORMED",
        ),
    ];
    for (what, evidence, edit, code) in edits {
        assert_eq!(refused_with(evidence, Forgery::Body(edit)), code, "{what}");
    }
}

#[test]
fn an_entry_about_another_file_is_refused() {
    type Edit = fn(&mut Value);
    let edits: [(&str, Evidence, Edit, &str); 9] = [
        ("hashedrekord", Evidence::RekorV1, |_| {}, ""),
        (
            "digest",
            Evidence::RekorV1,
            |b| b["spec"]["data"]["hash"]["value"] = other(&b["spec"]["data"]["hash"]["value"]),
            "LOG-BODY-DIGEST",
        ),
        (
            "digest algorithm",
            Evidence::RekorV1,
            |b| b["spec"]["data"]["hash"]["algorithm"] = "sha512".into(),
            "SIGNATURE-UNSUPPORTED",
        ),
        ("signature", Evidence::RekorV1, |b| b["spec"]["signature"]["content"] = "AAAA".into(), "LOG-BODY-SIGNATURE"),
        ("verifier", Evidence::RekorV1, |b| b["spec"]["signature"]["publicKey"]["content"] = VERIFIER.into(), "LOG-BODY-KEY"),
        ("no digest", Evidence::RekorV1, |b| remove(&mut b["spec"], "data"), "LOG-BODY-MALFORMED"),
        ("dsse", Evidence::RekorV1, |b| b["kind"] = "dsse".into(), "LOG-KIND"),
        ("v2", Evidence::RekorV2, |_| {}, ""),
        (
            "v2: digest",
            Evidence::RekorV2,
            |b| b["spec"]["hashedRekordV002"]["data"]["digest"] = STANDARD.encode([7; 32]).into(),
            "LOG-BODY-DIGEST",
        ),
    ];
    let identity = release().identity;
    let signer = Signer::Identity { identity: &identity, issuer: "https://token.actions.githubusercontent.com" };
    let code = |bundle: &[u8], artifact| code_of(verify_bundle(bundle, &root(), signer, artifact, LogRule::Proof));
    for (what, evidence, edit, wanted) in edits {
        let bundle = sigstore().sign_blob(&Attestation { evidence, forgery: Some(Forgery::Body(edit)), ..release() }, TARBALL);
        for artifact in [Artifact::Bytes(TARBALL), Artifact::Sha256(Sha256::of(TARBALL))] {
            assert_eq!(code(&bundle, artifact), wanted, "{what}");
        }
    }
    let bundle = sigstore().sign_blob(&release(), TARBALL);
    assert_eq!(code(&bundle, Artifact::Bytes(b"other")), "ARTIFACT-DIGEST");
    assert_eq!(code(&bundle, Artifact::Sha512(Sha512::of(TARBALL))), "ARTIFACT-FORM");
    let mut undeclared: Value = serde_json::from_slice(&bundle).unwrap();
    remove(&mut undeclared["messageSignature"], "messageDigest");
    assert_eq!(code(&bytes(&undeclared), Artifact::Bytes(TARBALL)), "");
    assert_eq!(code(&bytes(&undeclared), Artifact::Bytes(b"other")), "SIGNATURE");
    let mut declared = undeclared;
    declared["messageSignature"]["messageDigest"] = json!({"algorithm": "SHA2_256", "digest": STANDARD.encode([7; 32])});
    assert_eq!(code(&bytes(&declared), Artifact::Bytes(TARBALL)), "ARTIFACT-DIGEST");
}

/// What is around a token is signed by nobody; it is read as strictly.
#[test]
fn an_answer_with_a_malformed_status_is_not_a_timestamp() {
    let mut bundle = sigstore().attest_value(&Attestation { evidence: Evidence::RekorV2, ..release() });
    let token = &mut bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"][0]["signedTimestamp"];
    let mut der = STANDARD.decode(token.as_str().unwrap()).unwrap();
    assert_eq!(der[4..9], [0x30, 0x03, 0x02, 0x01, 0x00]);
    der[4] = 0x31;
    *token = STANDARD.encode(der).into();
    assert_eq!(judge(&bytes(&bundle), &root(), &kubeedge("")), "TIMESTAMP-MALFORMED");
}
