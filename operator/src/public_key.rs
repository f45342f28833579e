//! Public keys as TUF metadata names them: P-256 and Ed25519.

use crate::error::KEY;
use crate::files;
use p256::ecdsa::signature::Verifier as _;
use pkcs8::{DecodePublicKey as _, EncodePublicKey as _, LineEnding};
use serde::{Deserialize, Serialize};
use slipway_protocol::{Refusal, Sha256};

/// A public key.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PublicKey {
    /// `ecdsa` or `ed25519`.
    pub keytype: String,
    /// `ecdsa-sha2-nistp256` or `ed25519`.
    pub scheme: String,
    /// The key itself.
    pub keyval: KeyValue,
    /// What people call it: its file's name. No part of the key.
    #[serde(rename = "x-slipway-name", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// The key itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct KeyValue {
    /// PEM, `PUBLIC KEY`; of Ed25519 keys the hex of the 32 bytes.
    pub public: String,
}

enum Usable {
    P256(p256::ecdsa::VerifyingKey),
    Ed25519(ed25519_dalek::VerifyingKey),
}

impl PublicKey {
    pub(crate) fn p256(key: &p256::ecdsa::VerifyingKey) -> Result<Self, Refusal> {
        let public = key.to_public_key_pem(LineEnding::LF).map_err(|error| bad(&error))?;
        Ok(Self::new("ecdsa", "ecdsa-sha2-nistp256", public))
    }

    pub(crate) fn ed25519(key: &ed25519_dalek::VerifyingKey) -> Self {
        Self::new("ed25519", "ed25519", hex::encode(key.as_bytes()))
    }

    fn new(keytype: &str, scheme: &str, public: String) -> Self {
        Self { keytype: keytype.to_owned(), scheme: scheme.to_owned(), keyval: KeyValue { public }, name: None }
    }

    /// Reads a `PUBLIC KEY` in PEM and writes it as this tool writes keys: one key has one id, however its file was made.
    ///
    /// # Errors
    /// `SLW-O-KEY` for anything but P-256 and Ed25519.
    pub fn from_pem(pem: &str) -> Result<Self, Refusal> {
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_pem(pem) {
            return Self::p256(&key);
        }
        let key = ed25519_dalek::VerifyingKey::from_public_key_pem(pem);
        key.map(|key| Self::ed25519(&key)).map_err(|_| KEY.with("neither", "a P-256 or Ed25519 PUBLIC KEY in PEM"))
    }

    /// The key in PEM, as its `.pub` file holds it.
    ///
    /// # Errors
    /// `SLW-O-KEY` when it is unusable.
    pub fn to_pem(&self) -> Result<String, Refusal> {
        match self.usable()? {
            Usable::P256(key) => key.to_public_key_pem(LineEnding::LF),
            Usable::Ed25519(key) => key.to_public_key_pem(LineEnding::LF),
        }
        .map_err(|error| bad(&error))
    }

    /// The key's bytes (SubjectPublicKeyInfo): what makes two keys the same, whatever they are called.
    ///
    /// # Errors
    /// `SLW-O-KEY` when it is unusable.
    pub fn spki(&self) -> Result<Vec<u8>, Refusal> {
        let der = match self.usable()? {
            Usable::P256(key) => key.to_public_key_der(),
            Usable::Ed25519(key) => key.to_public_key_der(),
        };
        Ok(der.map_err(|error| bad(&error))?.into_vec())
    }

    /// Its id: SHA-256 over the canonical JSON of type, scheme and key, as other TUF tools compute it.
    ///
    /// # Errors
    /// `SLW-O-KEY` when it cannot be written.
    pub fn id(&self) -> Result<String, Refusal> {
        let value = serde_json::to_value(Self { name: None, ..self.clone() }).map_err(|error| bad(&error))?;
        Ok(Sha256::of(&files::canonical(&value)?).to_string())
    }

    /// The name, or else the id: where it only reminds people, and nobody decides by it.
    #[must_use]
    pub fn called(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.id().unwrap_or_default())
    }

    /// The name with the id, or else the id alone. Whole: whoever compares eight digits can be shown another key with the same.
    #[must_use]
    pub fn label(&self) -> String {
        let id = self.id().unwrap_or_default();
        self.name.as_ref().map_or_else(|| id.clone(), |name| format!("{name} ({id})"))
    }

    /// Whether `signature` is this key's over `bytes`.
    #[must_use]
    pub fn verify(&self, bytes: &[u8], signature: &[u8]) -> bool {
        match self.usable() {
            Ok(Usable::P256(key)) => {
                p256::ecdsa::Signature::from_der(signature).is_ok_and(|signature| key.verify(bytes, &signature).is_ok())
            }
            Ok(Usable::Ed25519(key)) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(bytes, &signature).is_ok()),
            Err(_) => false,
        }
    }

    fn usable(&self) -> Result<Usable, Refusal> {
        let public = self.keyval.public.trim();
        if let Ok(key) = p256::ecdsa::VerifyingKey::from_public_key_pem(public) {
            return Ok(Usable::P256(key));
        }
        if public.starts_with('-') {
            return ed25519_dalek::VerifyingKey::from_public_key_pem(public).map(Usable::Ed25519).map_err(|error| bad(&error));
        }
        let raw: Option<[u8; 32]> = hex::decode(public).ok().and_then(|raw| raw.try_into().ok());
        let raw = raw.ok_or_else(|| bad(&format_args!("key type {}", self.keytype)))?;
        ed25519_dalek::VerifyingKey::from_bytes(&raw).map(Usable::Ed25519).map_err(|error| bad(&error))
    }
}

/// The refusal of what is no key.
pub(crate) fn bad(error: &dyn std::fmt::Display) -> Refusal {
    KEY.with(error, "a P-256 or Ed25519 key as PKCS#8 PEM")
}
