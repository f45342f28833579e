//! Verifies signatures by a single key of a signer or a log, on the supported curves and digests.
//!
//! RSA and ML-DSA are refused by name.

use crate::error::Check;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use sha2::Digest as _;
use sigstore_types::DerPublicKey;
use slipway_protocol::Refusal;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::spki::SubjectPublicKeyInfoRef;

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P_384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// A digest algorithm.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    /// The digest of `bytes`.
    pub(crate) fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => sha2::Sha256::digest(bytes).to_vec(),
            Self::Sha384 => sha2::Sha384::digest(bytes).to_vec(),
            Self::Sha512 => sha2::Sha512::digest(bytes).to_vec(),
        }
    }

    /// The algorithm that these object identifiers name, be it alone or in an ECDSA signature.
    pub(crate) fn by_oid(oid: ObjectIdentifier) -> Option<Self> {
        match oid.to_string().as_str() {
            "2.16.840.1.101.3.4.2.1" | "1.2.840.10045.4.3.2" => Some(Self::Sha256),
            "2.16.840.1.101.3.4.2.2" | "1.2.840.10045.4.3.3" => Some(Self::Sha384),
            "2.16.840.1.101.3.4.2.3" | "1.2.840.10045.4.3.4" => Some(Self::Sha512),
            _ => None,
        }
    }
}

/// A public key, decoded once and ready to verify with.
#[derive(Clone, Debug)]
pub(crate) enum Key {
    P256(p256::ecdsa::VerifyingKey),
    P384(p384::ecdsa::VerifyingKey),
    Ed25519(ed25519_dalek::VerifyingKey),
}

/// A public key that may be verified with: ECDSA P-256, P-384 or Ed25519.
#[derive(Clone, Debug)]
pub struct PublicKey {
    pub(crate) spki: Vec<u8>,
    pub(crate) key: Key,
}

impl PublicKey {
    /// Reads a PEM `PUBLIC KEY`.
    ///
    /// # Errors
    /// [`Check::Key`] if it is none, or of a kind that is not supported.
    pub fn from_pem(pem: &str) -> Result<Self, Refusal> {
        let bad = |error: &dyn std::fmt::Display| Check::Key.refuse(error, "a PEM public key: P-256, P-384 or Ed25519");
        let spki = DerPublicKey::from_pem(pem.trim()).map_err(|error| bad(&error))?.into_bytes();
        let key = Key::from_spki(&spki).map_err(|why| bad(&why))?;
        Ok(Self { spki, key })
    }
}

/// Two keys are the same if their bytes are: each key has one encoding.
impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.spki == other.spki
    }
}

impl Eq for PublicKey {}

/// The signature is not this key's over this message.
#[derive(Debug)]
pub(crate) struct NotSigned;

impl Key {
    /// Reads a SubjectPublicKeyInfo in DER. Points must be uncompressed, as everywhere in Sigstore, so that a key has one encoding.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn from_spki(der: &[u8]) -> Result<Self, String> {
        let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(|error| error.to_string())?;
        let raw = spki.subject_public_key.as_bytes().ok_or("a malformed key")?;
        let curve = spki.algorithm.parameters_oid().ok();
        match (spki.algorithm.oid, curve) {
            (EC, Some(P_256)) => Self::p256(raw),
            (EC, Some(P_384)) => Self::p384(raw),
            (ED25519, None) if spki.algorithm.parameters.is_none() => Self::ed25519(raw),
            (EC, Some(other)) => Err(format!("an EC key on curve {other}")),
            (RSA, _) => Err("an RSA key".to_owned()),
            (other, _) => Err(format!("a key of kind {other}")),
        }
    }

    pub(crate) fn p256(point: &[u8]) -> Result<Self, String> {
        uncompressed(point)?;
        p256::ecdsa::VerifyingKey::from_sec1_bytes(point).map(Self::P256).map_err(|_| "not a point of P-256".to_owned())
    }

    pub(crate) fn p384(point: &[u8]) -> Result<Self, String> {
        uncompressed(point)?;
        p384::ecdsa::VerifyingKey::from_sec1_bytes(point).map(Self::P384).map_err(|_| "not a point of P-384".to_owned())
    }

    pub(crate) fn ed25519(raw: &[u8]) -> Result<Self, String> {
        let raw: &[u8; 32] = raw.try_into().map_err(|_| "an Ed25519 key of another length")?;
        ed25519_dalek::VerifyingKey::from_bytes(raw).map(Self::Ed25519).map_err(|_| "not a point of Ed25519".to_owned())
    }

    /// The key's kind in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::P256(_) => "ECDSA P-256",
            Self::P384(_) => "ECDSA P-384",
            Self::Ed25519(_) => "Ed25519",
        }
    }

    /// The key's kind as sigstore/protobuf-specs names it (`PublicKeyDetails`), without the digest.
    pub(crate) fn details(&self) -> &'static str {
        match self {
            Self::P256(_) => "PKIX_ECDSA_P256",
            Self::P384(_) => "PKIX_ECDSA_P384",
            Self::Ed25519(_) => "PKIX_ED25519",
        }
    }

    /// Verifies a signature over `message`. Ed25519 signs the message itself, whatever `hash` is.
    pub(crate) fn verify(&self, hash: Hash, message: &[u8], signature: &[u8]) -> Result<(), NotSigned> {
        match self {
            Self::Ed25519(key) => {
                let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| NotSigned)?;
                // Strict: no small-order keys, no second encoding of one signature.
                key.verify_strict(message, &signature).map_err(|_| NotSigned)
            }
            _ => self.verify_digest(&hash.of(message), signature),
        }
    }

    /// Verifies a signature over the message with this digest, in ASN.1. Never true for Ed25519, which needs the message.
    pub(crate) fn verify_digest(&self, digest: &[u8], signature: &[u8]) -> Result<(), NotSigned> {
        match self {
            Self::P256(key) => {
                let signature = p256::ecdsa::Signature::from_der(signature).map_err(|_| NotSigned)?;
                key.verify_prehash(digest, &signature).map_err(|_| NotSigned)
            }
            Self::P384(key) => {
                let signature = p384::ecdsa::Signature::from_der(signature).map_err(|_| NotSigned)?;
                key.verify_prehash(digest, &signature).map_err(|_| NotSigned)
            }
            Self::Ed25519(_) => Err(NotSigned),
        }
    }
}

fn uncompressed(point: &[u8]) -> Result<(), String> {
    if point.first() == Some(&4) { Ok(()) } else { Err("a point that is not uncompressed".to_owned()) }
}

/// The refusal of a key or algorithm that cannot be verified with.
pub(crate) fn unsupported(what: impl std::fmt::Display) -> Refusal {
    Check::SignatureUnsupported.refuse(what, "ECDSA P-256, ECDSA P-384 or Ed25519")
}
