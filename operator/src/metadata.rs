//! Writes and signs TUF metadata.

use crate::error::REPOSITORY;
use crate::files;
use crate::keys::SecretKey;
use crate::public_key::PublicKey;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use slipway_protocol::{Refusal, Sha256};
use std::collections::BTreeMap;

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
    /// In the role `releases`: until when it also lists manifests for agents of formats-1, which know no index. TUF clients ignore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlap_until: Option<Timestamp>,
}

/// A target's size and digests. Two are equal if size and SHA-256 are: what was signed with a SHA-512 beside it is the same file.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct TargetFile {
    /// The size in bytes.
    pub length: u64,
    /// Digests by algorithm.
    pub hashes: BTreeMap<String, String>,
}

impl PartialEq for TargetFile {
    fn eq(&self, other: &Self) -> bool {
        self.length == other.length && self.hashes.get("sha256") == other.hashes.get("sha256")
    }
}

impl TargetFile {
    /// Describes `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let hashes = [("sha256".to_owned(), Sha256::of(bytes).to_string())].into();
        Self { length: length(bytes), hashes }
    }

    /// Drops what older versions of this program signed beside the SHA-256.
    pub(crate) fn only_sha256(&mut self) {
        self.hashes.retain(|name, _| name == "sha256");
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
        files::canonical(&self.signed)
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// `SLW-O-REPOSITORY` when it cannot be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, Refusal> {
        files::to_compact(self)
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

/// Signs with exactly these keys, whoever must: for tests that sign something wrong on purpose.
///
/// # Errors
/// `SLW-O-REPOSITORY` when it cannot be written as canonical JSON.
pub fn seal<T: Serialize>(signed: &T, keys: &[&SecretKey]) -> Result<Vec<u8>, Refusal> {
    let mut envelope = Envelope::unsigned(signed)?;
    keys.iter().try_for_each(|key| envelope.sign(key.id(), key))?;
    envelope.to_bytes()
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
