//! RSA keys for authorities of the private Sigstore. Three keys that were made once, since nothing that is linked here makes them.

use super::asn1;
use ring::rsa::KeyPair;
use ring::signature::{self, KeyPair as _, RsaEncoding};
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use std::sync::Arc;

/// How an authority signs with RSA.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RsaKind {
    /// 2048, 3072 or 4096.
    pub bits: u32,
    /// PSS with a salt as long as the digest; else PKCS#1 v1.5.
    pub pss: bool,
    /// 256, 384 or 512: which SHA-2.
    pub sha: u32,
    /// In timestamp tokens the signature is named by `rsaEncryption` alone, as `openssl ts` does; else with its digest.
    pub plain_in_cms: bool,
}

/// A key pair with its scheme.
#[derive(Clone)]
pub(crate) struct RsaSigner {
    pair: Arc<KeyPair>,
    kind: RsaKind,
}

impl RsaSigner {
    pub(crate) fn new(kind: RsaKind) -> Self {
        let der: &[u8] = match kind.bits {
            2048 => include_bytes!("rsa/2048.pk8"),
            3072 => include_bytes!("rsa/3072.pk8"),
            4096 => include_bytes!("rsa/4096.pk8"),
            other => panic!("there is no RSA key of {other} bits"),
        };
        Self { pair: Arc::new(KeyPair::from_pkcs8(der).expect("the keys are in order")), kind }
    }

    /// The same scheme with the next larger key, or the smallest after the largest: for the authority above this one.
    pub(crate) fn above(kind: RsaKind) -> Self {
        let bits = if kind.bits == 4096 { 2048 } else { kind.bits + 1024 };
        Self::new(RsaKind { bits, ..kind })
    }

    pub(crate) fn spki(&self) -> Vec<u8> {
        let algorithm = asn1::sequence(&[&asn1::oid("1.2.840.113549.1.1.1"), &asn1::null()]);
        asn1::sequence(&[&algorithm, &asn1::bits(self.pair.public_key().as_ref())])
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        let encoding: &dyn RsaEncoding = match (self.kind.pss, self.kind.sha) {
            (false, 256) => &signature::RSA_PKCS1_SHA256,
            (false, 384) => &signature::RSA_PKCS1_SHA384,
            (false, _) => &signature::RSA_PKCS1_SHA512,
            (true, 256) => &signature::RSA_PSS_SHA256,
            (true, 384) => &signature::RSA_PSS_SHA384,
            (true, _) => &signature::RSA_PSS_SHA512,
        };
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair.sign(encoding, &ring::rand::SystemRandom::new(), message, &mut signature).expect("it signs");
        signature
    }

    fn digest_oid(&self) -> &'static str {
        match self.kind.sha {
            256 => "2.16.840.1.101.3.4.2.1",
            384 => "2.16.840.1.101.3.4.2.2",
            _ => "2.16.840.1.101.3.4.2.3",
        }
    }

    pub(crate) fn digest(&self, bytes: &[u8]) -> (&'static str, Vec<u8>) {
        let digest = match self.kind.sha {
            256 => Sha256::digest(bytes).to_vec(),
            384 => Sha384::digest(bytes).to_vec(),
            _ => Sha512::digest(bytes).to_vec(),
        };
        (self.digest_oid(), digest)
    }

    /// The AlgorithmIdentifier of [`Self::sign`] (RFC 4055).
    pub(crate) fn signature_algorithm(&self) -> Vec<u8> {
        if self.kind.pss {
            let digest = asn1::sequence(&[&asn1::oid(self.digest_oid()), &asn1::null()]);
            let mask = asn1::sequence(&[&asn1::oid("1.2.840.113549.1.1.8"), &digest]);
            let salt = asn1::unsigned(&(self.kind.sha / 8).to_be_bytes());
            let parameters = asn1::sequence(&[&asn1::explicit(0, &digest), &asn1::explicit(1, &mask), &asn1::explicit(2, &salt)]);
            return asn1::sequence(&[&asn1::oid("1.2.840.113549.1.1.10"), &parameters]);
        }
        let oid = match self.kind.sha {
            256 => "1.2.840.113549.1.1.11",
            384 => "1.2.840.113549.1.1.12",
            _ => "1.2.840.113549.1.1.13",
        };
        asn1::sequence(&[&asn1::oid(oid), &asn1::null()])
    }

    /// The same in CMS.
    pub(crate) fn signature_algorithm_in_cms(&self) -> Vec<u8> {
        if self.kind.plain_in_cms && !self.kind.pss {
            return asn1::sequence(&[&asn1::oid("1.2.840.113549.1.1.1"), &asn1::null()]);
        }
        self.signature_algorithm()
    }
}
