//! Authorities of a private root with other keys than the public instance's.

use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use slipway_testkit::sigstore::{CertificateForgery, Forgery, RsaKind, TokenForgery};

/// Every kind of RSA authority that a private root may have, for certificates and for timestamps. Without the RSA algorithms in `path`,
/// `authority` and `timestamp` each row is refused.
#[test]
fn rsa_authorities_are_accepted_for_certificates_and_times() {
    for bits in [2048, 3072, 4096] {
        for (pss, sha, plain_in_cms) in [
            (false, 256, true),
            (false, 256, false),
            (false, 384, false),
            (false, 512, true),
            (true, 256, false),
            (true, 384, false),
            (true, 512, false),
        ] {
            let kind = RsaKind { bits, pss, sha, plain_in_cms };
            let sigstore = PrivateSigstore::with_rsa("rsa", kind);
            let root = SigstoreRoot::parse(&sigstore.trusted_root()).unwrap();
            for evidence in [Evidence::RekorV1, Evidence::RekorV2] {
                let attestation = Attestation { evidence, ..release() };
                assert_eq!(judge(&sigstore.attest(&attestation), &root, &kubeedge("")), "", "{kind:?} {evidence:?}");
            }
            for (evidence, forgery, code) in [
                (Evidence::RekorV2, Forgery::Token(TokenForgery::Forged), "TIMESTAMP-INVALID"),
                (Evidence::RekorV2, Forgery::Token(TokenForgery::OtherDigest), "TIMESTAMP-DIGEST"),
                (Evidence::RekorV1, Forgery::Certificate(CertificateForgery::Forged), "CERT-SIGNATURE"),
            ] {
                let bundle = sigstore.attest(&Attestation { evidence, forgery: Some(forgery), ..release() });
                assert_eq!(judge(&bundle, &root, &kubeedge("")), code, "{kind:?} {forgery:?}");
            }
            // A root by another key did not issue what is below it.
            let other = PrivateSigstore::with_rsa("rsa", RsaKind { bits: if bits == 2048 { 3072 } else { 2048 }, ..kind });
            for authority in ["certificateAuthorities", "timestampAuthorities"] {
                let mut trusted = sigstore.trusted_root_value();
                trusted[authority][0]["certChain"]["certificates"][1] =
                    other.trusted_root_value()[authority][0]["certChain"]["certificates"][1].clone();
                let bundle = sigstore.attest(&Attestation { evidence: Evidence::RekorV2, ..release() });
                assert_eq!(
                    judge(&bundle, &SigstoreRoot::parse(&bytes(&trusted)).unwrap(), &kubeedge("")),
                    "ROOT-CHAIN",
                    "{kind:?}"
                );
            }
        }
    }
}

/// An authority's key is its operator's business: the refusal neither blames the signer nor speaks Rust.
#[test]
fn an_authority_with_an_unsupported_key_is_named_as_such() {
    let sigstore = sigstore();
    for (authority, place, evidence) in
        [("certificateAuthorities", 0, Evidence::RekorV1), ("timestampAuthorities", 1, Evidence::RekorV2)]
    {
        let mut trusted = sigstore.trusted_root_value();
        let certificate = &mut trusted[authority][0]["certChain"]["certificates"][place]["rawBytes"];
        let mut der = STANDARD.decode(certificate.as_str().unwrap()).unwrap();
        // The curve in the key, secp384r1, becomes secp521r1.
        let curve = [0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
        let at = der.windows(curve.len()).position(|part| part == curve).unwrap();
        der[at + 6] = 0x23;
        *certificate = STANDARD.encode(der).into();
        let root = SigstoreRoot::parse(&bytes(&trusted)).unwrap();
        let bundle = sigstore.attest(&Attestation { evidence, ..release() });
        let refusal = verify(&bundle, &root, &kubeedge("")).unwrap_err();
        assert_eq!(
            (&*refusal.code, refusal.responsible),
            ("SLW-V-AUTHORITY-KEY", slipway_protocol::Responsible::Operator),
            "{refusal}"
        );
        assert!(refusal.seen.contains("1.3.132.0.35") && !refusal.to_string().contains("Context"), "{refusal}");
    }
}
