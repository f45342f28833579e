//! Signing keys that anybody can recompute: a key is the hash of its name, and its signatures are deterministic.

use super::asn1;
use super::rsa::RsaSigner;
use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePublicKey as _;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

/// A private key of the fake world. Worth nothing: it is derived from a public name.
#[derive(Clone)]
pub(crate) enum Key {
    P256(p256::ecdsa::SigningKey),
    P384(p384::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
    Rsa(RsaSigner),
}

impl Key {
    pub(crate) fn p256(name: &str) -> Self {
        Self::P256(p256::ecdsa::SigningKey::from_slice(&Sha256::digest(name)).expect("a hash is a P-256 scalar"))
    }

    pub(crate) fn p384(name: &str) -> Self {
        Self::P384(p384::ecdsa::SigningKey::from_slice(&Sha384::digest(name)).expect("a hash is a P-384 scalar"))
    }

    pub(crate) fn ed25519(name: &str) -> Self {
        Self::Ed25519(ed25519_dalek::SigningKey::from_bytes(&Sha256::digest(name).into()))
    }

    /// The public key as DER SubjectPublicKeyInfo.
    pub(crate) fn spki(&self) -> Vec<u8> {
        let document = match self {
            Self::P256(key) => key.verifying_key().to_public_key_der(),
            Self::P384(key) => key.verifying_key().to_public_key_der(),
            Self::Ed25519(key) => key.verifying_key().to_public_key_der(),
            Self::Rsa(key) => return key.spki(),
        };
        document.expect("public keys encode").into_vec()
    }

    /// SHA-256 of the SubjectPublicKeyInfo: the id of a log of the first generation, and the hint of a managed key.
    pub(crate) fn id(&self) -> [u8; 32] {
        Sha256::digest(self.spki()).into()
    }

    /// Subject key identifier: the first 160 bits of the SHA-256 (RFC 7093, method 1).
    pub(crate) fn subject_key_id(&self) -> Vec<u8> {
        self.id()[..20].to_vec()
    }

    /// Signs with the hash that belongs to the key: DER for ECDSA, 64 bytes for Ed25519.
    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::P256(key) => {
                let signature: p256::ecdsa::DerSignature = key.sign(message);
                signature.as_bytes().to_vec()
            }
            Self::P384(key) => {
                let signature: p384::ecdsa::DerSignature = key.sign(message);
                signature.as_bytes().to_vec()
            }
            Self::Ed25519(key) => key.sign(message).to_bytes().to_vec(),
            Self::Rsa(key) => key.sign(message),
        }
    }

    /// The digest that belongs to the key's signatures in CMS: its object identifier, and that of `bytes`.
    pub(crate) fn digest(&self, bytes: &[u8]) -> (&'static str, Vec<u8>) {
        match self {
            Self::P256(_) => ("2.16.840.1.101.3.4.2.1", Sha256::digest(bytes).to_vec()),
            Self::P384(_) => ("2.16.840.1.101.3.4.2.2", Sha384::digest(bytes).to_vec()),
            Self::Ed25519(_) => ("2.16.840.1.101.3.4.2.3", Sha512::digest(bytes).to_vec()),
            Self::Rsa(key) => key.digest(bytes),
        }
    }

    /// The AlgorithmIdentifier of [`Self::sign`].
    pub(crate) fn signature_algorithm(&self) -> Vec<u8> {
        asn1::sequence(&[&asn1::oid(match self {
            Self::P256(_) => "1.2.840.10045.4.3.2",
            Self::P384(_) => "1.2.840.10045.4.3.3",
            Self::Ed25519(_) => "1.3.101.112",
            Self::Rsa(key) => return key.signature_algorithm(),
        })])
    }

    /// The AlgorithmIdentifier of [`Self::sign`] in CMS.
    pub(crate) fn signature_algorithm_in_cms(&self) -> Vec<u8> {
        match self {
            Self::Rsa(key) => key.signature_algorithm_in_cms(),
            _ => self.signature_algorithm(),
        }
    }

    /// The name that trusted roots use for the kind of key.
    pub(crate) fn details(&self) -> &'static str {
        match self {
            Self::P256(_) => "PKIX_ECDSA_P256_SHA_256",
            Self::P384(_) => "PKIX_ECDSA_P384_SHA_384",
            Self::Ed25519(_) => "PKIX_ED25519",
            Self::Rsa(_) => "PKIX_RSA_PKCS1V15_2048_SHA256",
        }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({}, {})", self.details(), hex::encode(&self.id()[..4]))
    }
}

/// A long-lived P-256 key that signs without any certificate: a "managed key" in Sigstore's words.
#[derive(Debug, Clone)]
pub struct ManagedKey(pub(crate) Key);

impl ManagedKey {
    /// The key that belongs to this name.
    pub fn new(name: &str) -> Self {
        Self(Key::p256(&format!("slipway-testkit managed key {name}")))
    }

    /// The public key, DER SubjectPublicKeyInfo.
    pub fn public_der(&self) -> Vec<u8> {
        self.0.spki()
    }

    /// The public key as PEM.
    pub fn public_pem(&self) -> String {
        asn1::pem("PUBLIC KEY", &self.0.spki())
    }
}
