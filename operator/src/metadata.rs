//! TUF's files as this tool writes them, and how they are signed.

use crate::error::REPOSITORY;
use crate::keys::{SecretKey, bad};
use jiff::Timestamp;
use p256::ecdsa::signature::Verifier as _;
use pkcs8::{DecodePublicKey as _, EncodePublicKey as _, LineEnding};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use slipway_protocol::{Refusal, Sha256, Sha512};
use std::collections::{BTreeMap, BTreeSet};

/// The version of the TUF specification that is followed.
pub const SPEC_VERSION: &str = "1.0.31";

/// What every role begins with.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Header {
    /// `root`, `timestamp`, `snapshot` or `targets`.
    #[serde(rename = "_type")]
    pub kind: String,
    /// See [`SPEC_VERSION`].
    pub spec_version: String,
    /// Rises by one with every publication.
    pub version: u64,
    /// When devices stop believing it.
    pub expires: Timestamp,
}

impl Header {
    /// A header of `kind`.
    #[must_use]
    pub fn new(kind: &str, version: u64, expires: Timestamp) -> Self {
        Self { kind: kind.to_owned(), spec_version: SPEC_VERSION.to_owned(), version, expires }
    }
}

/// The root role.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Root {
    /// Type, version, expiry.
    #[serde(flatten)]
    pub header: Header,
    /// Always true: files carry their version or digest in their names, so that a publication never changes a file in use.
    pub consistent_snapshot: bool,
    /// All keys by id.
    pub keys: BTreeMap<String, PublicKey>,
    /// Who signs which role.
    pub roles: BTreeMap<String, RoleKeys>,
}

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
        key.map(|key| Self::ed25519(&key)).map_err(|_| crate::error::KEY.with("neither", "a P-256 or Ed25519 PUBLIC KEY in PEM"))
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
        Ok(Sha256::of(&canonical(&value)?).to_string())
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

/// Who signs a role.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RoleKeys {
    /// Ids of the keys that may.
    pub keyids: Vec<String>,
    /// How many must.
    pub threshold: u32,
}

/// The timestamp, which pins the snapshot, or the snapshot, which pins every targets role.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Pins {
    /// Type, version, expiry.
    #[serde(flatten)]
    pub header: Header,
    /// What is pinned, by plain file name.
    pub meta: BTreeMap<String, Pin>,
}

/// Which version of a file, and its very bytes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Pin {
    /// The version.
    pub version: u64,
    /// The size in bytes.
    pub length: u64,
    /// Digests by algorithm.
    pub hashes: BTreeMap<String, String>,
}

impl Pin {
    /// Pins `bytes` as `version`.
    #[must_use]
    pub fn of(version: u64, bytes: &[u8]) -> Self {
        let hashes = [("sha256".to_owned(), Sha256::of(bytes).to_string())].into();
        Self { version, length: length(bytes), hashes }
    }
}

/// The targets role or one delegated by it.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Targets {
    /// Type, version, expiry.
    #[serde(flatten)]
    pub header: Header,
    /// What is signed for, by target path.
    pub targets: BTreeMap<String, TargetFile>,
    /// Who else signs for what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegations: Option<Delegations>,
}

/// A target's size and digests.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct TargetFile {
    /// The size in bytes.
    pub length: u64,
    /// Digests by algorithm.
    pub hashes: BTreeMap<String, String>,
}

impl TargetFile {
    /// Describes `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let hashes =
            [("sha256".to_owned(), Sha256::of(bytes).to_string()), ("sha512".to_owned(), Sha512::of(bytes).to_string())].into();
        Self { length: length(bytes), hashes }
    }

    /// Where a target of this content lies below `targets/`: the digest before the file name.
    #[must_use]
    pub fn place(&self, path: &str) -> String {
        let digest = self.hashes.get("sha256").map(String::as_str).unwrap_or_default();
        match path.rsplit_once('/') {
            Some((folder, name)) => format!("{folder}/{digest}.{name}"),
            None => format!("{digest}.{path}"),
        }
    }
}

/// Who else signs for what.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Delegations {
    /// Keys by id.
    pub keys: BTreeMap<String, PublicKey>,
    /// In order of search.
    pub roles: Vec<DelegatedRole>,
}

/// One delegated role.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct DelegatedRole {
    /// Its name, hence its file's.
    pub name: String,
    /// Who signs it.
    #[serde(flatten)]
    pub keys: RoleKeys,
    /// No other role is asked about its paths.
    pub terminating: bool,
    /// Which target paths it may sign for.
    pub paths: Vec<String>,
}

/// A signed file.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Signed<T> {
    /// Who signed.
    pub signatures: Vec<Signature>,
    /// What.
    pub signed: T,
}

/// One signature.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Signature {
    /// The key's id.
    pub keyid: String,
    /// Hex of the signature (P-256: DER) over the canonical JSON of what is signed.
    pub sig: String,
}

/// A signed file as it is, whatever it says.
pub type Envelope = Signed<Value>;

impl Envelope {
    /// Not signed yet.
    ///
    /// # Errors
    /// `SLW-O-REPOSITORY` when it cannot be written.
    pub fn unsigned<T: Serialize>(signed: &T) -> Result<Self, Refusal> {
        let signed = serde_json::to_value(signed).map_err(|error| REPOSITORY.with(error, "JSON"))?;
        Ok(Self { signatures: Vec::new(), signed })
    }

    /// Reads a file of our own making.
    ///
    /// # Errors
    /// `SLW-O-REPOSITORY` naming the file.
    pub fn parse(bytes: &[u8], name: &str) -> Result<Self, Refusal> {
        let bad =
            |error: &dyn std::fmt::Display| REPOSITORY.with(format_args!("{name}: {error}"), "metadata written by `slipway`");
        slipway_protocol::json::parse(bytes, OWN_LIMITS).map_err(|error| bad(&error))
    }

    /// What is signed, as a role.
    ///
    /// # Errors
    /// `SLW-O-REPOSITORY` naming the file.
    pub fn read<T: DeserializeOwned>(&self, name: &str) -> Result<T, Refusal> {
        slipway_protocol::json::from_value(&self.signed)
            .map_err(|error| REPOSITORY.with(format_args!("{name}: {error}"), "metadata written by `slipway`"))
    }

    /// The very bytes that are signed.
    ///
    /// # Errors
    /// `SLW-O-REPOSITORY` when it cannot be written as canonical JSON.
    pub fn canonical(&self) -> Result<Vec<u8>, Refusal> {
        canonical(&self.signed)
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// `SLW-O-REPOSITORY` when it cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Refusal> {
        crate::release::to_json(self)
    }

    /// Which version of its role it is.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.signed.get("version").and_then(Value::as_u64).unwrap_or_default()
    }

    /// Signs as `id`, replacing that id's signature.
    ///
    /// # Errors
    /// `SLW-O-REPOSITORY` when it cannot be written as canonical JSON.
    pub fn sign(&mut self, id: &str, key: &SecretKey) -> Result<(), Refusal> {
        let sig = hex::encode(key.sign(&self.canonical()?));
        self.signatures.retain(|signature| signature.keyid != id);
        self.signatures.push(Signature { keyid: id.to_owned(), sig });
        Ok(())
    }
}

/// Bounds for reading our own metadata back.
pub(crate) const OWN_LIMITS: slipway_protocol::json::Limits =
    slipway_protocol::json::Limits { bytes: 64 * 1024 * 1024, depth: 32 };

/// Who must sign a role: its keys, and how many of them.
#[derive(Clone, Debug, Default)]
pub struct Quorum {
    /// By id.
    pub keys: BTreeMap<String, PublicKey>,
    /// How many distinct ones must sign.
    pub threshold: u32,
}

impl Quorum {
    /// The ids of those that have signed, each key once whatever its ids.
    ///
    /// # Errors
    /// `SLW-O-REPOSITORY` when it cannot be written as canonical JSON.
    pub fn signed(&self, envelope: &Envelope) -> Result<Vec<String>, Refusal> {
        let bytes = envelope.canonical()?;
        let (mut ids, mut counted) = (Vec::new(), BTreeSet::new());
        for signature in &envelope.signatures {
            let Some(key) = self.keys.get(&signature.keyid) else { continue };
            let valid = hex::decode(&signature.sig).is_ok_and(|raw| key.verify(&bytes, &raw));
            if valid && counted.insert(key.spki()?) {
                ids.push(signature.keyid.clone());
            }
        }
        Ok(ids)
    }

    /// Whether enough have signed.
    ///
    /// # Errors
    /// As [`Self::signed`].
    pub fn met(&self, envelope: &Envelope) -> Result<bool, Refusal> {
        let signed = self.signed(envelope)?.len();
        Ok(self.threshold > 0 && u32::try_from(signed).is_ok_and(|signed| signed >= self.threshold))
    }
}

/// Signs with exactly these keys, whoever must: for tests that sign something wrong on purpose.
///
/// # Errors
/// `SLW-O-REPOSITORY` when it cannot be written as canonical JSON.
pub fn seal<T: Serialize>(signed: &T, keys: &[&SecretKey]) -> Result<Vec<u8>, Refusal> {
    let mut envelope = Envelope::unsigned(signed)?;
    keys.iter().try_for_each(|key| envelope.sign(key.id(), key))?;
    envelope.to_bytes()
}

fn canonical(value: &Value) -> Result<Vec<u8>, Refusal> {
    sigstore_tuf::canonical_json::to_canonical_bytes(value).map_err(|error| REPOSITORY.with(error, "canonical JSON"))
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
