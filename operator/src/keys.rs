//! P-256 keys, one PKCS#8 PEM file each, readable by their owner only.

use crate::error::{KEY, file};
use crate::files;
use crate::metadata::{KeyValue, PublicKey};
use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{DerSignature, SigningKey};
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use slipway_protocol::{Refusal, Sha256};
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// A key that can sign.
#[derive(Clone)]
pub struct SecretKey {
    id: String,
    secret: SigningKey,
    public: PublicKey,
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SecretKey {
    /// A new one from the system's randomness.
    ///
    /// # Errors
    /// `SLW-O-KEY` when it cannot be encoded.
    pub fn generate() -> Result<Self, Refusal> {
        Self::of(SigningKey::random(&mut rand_core::OsRng))
    }

    /// Reads a PKCS#8 PEM.
    ///
    /// # Errors
    /// `SLW-O-KEY` saying what is wrong.
    pub fn from_pem(pem: &str) -> Result<Self, Refusal> {
        Self::of(SigningKey::from_pkcs8_pem(pem).map_err(|error| bad(&error))?)
    }

    fn of(secret: SigningKey) -> Result<Self, Refusal> {
        let pem = secret.verifying_key().to_public_key_pem(LineEnding::LF).map_err(|error| bad(&error))?;
        let public =
            PublicKey { keytype: "ecdsa".to_owned(), scheme: "ecdsa-sha2-nistp256".to_owned(), keyval: KeyValue { public: pem } };
        let value = serde_json::to_value(&public).map_err(|error| bad(&error))?;
        let canonical = sigstore_tuf::canonical_json::to_canonical_bytes(&value).map_err(|error| bad(&error))?;
        Ok(Self { id: Sha256::of(&canonical).to_string(), secret, public })
    }

    /// Its id: the digest of its public part.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its public part.
    #[must_use]
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs; the same bytes get the same signature (RFC 6979).
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        let signature: DerSignature = self.secret.sign(bytes);
        signature.as_bytes().to_vec()
    }

    /// Writes it to a new file of mode 0600.
    ///
    /// # Errors
    /// When there is a file already, or it cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), Refusal> {
        let pem = self.secret.to_pkcs8_pem(LineEnding::LF).map_err(|error| bad(&error))?;
        files::write_secret(path, pem.as_bytes())
    }
}

fn bad(error: &dyn std::fmt::Display) -> Refusal {
    KEY.with(error, "a P-256 key as PKCS#8 PEM")
}

/// The keys that are at hand.
#[derive(Clone, Debug, Default)]
pub struct Keyring(BTreeMap<String, SecretKey>);

impl Keyring {
    /// Reads every `*.pem` in `folder`. No folder is an empty ring: with all keys elsewhere, status and bundles still work.
    ///
    /// # Errors
    /// `SLW-O-KEY` for a file that is no key or that others may read.
    pub fn read(folder: &Path) -> Result<Self, Refusal> {
        let mut ring = Self::default();
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(ring),
            Err(error) => return Err(file(folder, &error)),
        };
        for entry in entries {
            let path = entry.map_err(|error| file(folder, &error))?.path();
            if path.extension().is_none_or(|extension| extension != "pem") {
                continue;
            }
            let mode = path.metadata().map_err(|error| file(&path, &error))?.permissions().mode();
            if mode & 0o077 != 0 {
                return Err(KEY.with(format_args!("{} has mode {:o}", path.display(), mode & 0o777), "600"));
            }
            let pem = String::from_utf8(files::read(&path)?).map_err(|error| bad(&error))?;
            let key = SecretKey::from_pem(&pem)
                .map_err(|refusal| KEY.with(format_args!("{}: {}", path.display(), refusal.seen), refusal.wanted))?;
            ring.add(key);
        }
        Ok(ring)
    }

    /// Puts a key on the ring.
    pub fn add(&mut self, key: SecretKey) {
        self.0.insert(key.id.clone(), key);
    }

    /// The key with this id, if it is here.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<&SecretKey> {
        self.0.get(id)
    }
}
