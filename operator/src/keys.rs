//! Key files: P-256 and Ed25519 as PKCS#8 in PEM, encrypted, with the public half in `.pub`.

use crate::error::{KEY, PASSWORD, file};
use crate::files;
use crate::public_key::{PublicKey, bad};
use ed25519_dalek::pkcs8::KeypairBytes;
use p256::ecdsa::DerSignature;
use p256::ecdsa::signature::Signer as _;
use pkcs8::{EncodePrivateKey as _, EncryptedPrivateKeyInfo, LineEnding, PrivateKeyInfo, SecretDocument};
use rand_core::RngCore as _;
use slipway_protocol::Refusal;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A password, wiped from memory when it is no longer needed.
pub type Password = Zeroizing<String>;

/// What kind of key.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum KeyType {
    /// ECDSA on P-256 with SHA-256, as Sigstore's own root keys.
    #[default]
    P256,
    /// Ed25519.
    Ed25519,
}

/// A key that can sign.
#[derive(Clone)]
pub struct SecretKey {
    public: PublicKey,
    id: String,
    spki: Vec<u8>,
    secret: Secret,
}

#[derive(Clone)]
enum Secret {
    P256(p256::ecdsa::SigningKey),
    Ed25519(ed25519_dalek::SigningKey),
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
    pub fn generate(kind: KeyType) -> Result<Self, Refusal> {
        Self::of(match kind {
            KeyType::P256 => Secret::P256(p256::ecdsa::SigningKey::random(&mut rand_core::OsRng)),
            KeyType::Ed25519 => {
                let mut seed = Zeroizing::new([0; 32]);
                rand_core::OsRng.fill_bytes(seed.as_mut_slice());
                Secret::Ed25519(ed25519_dalek::SigningKey::from_bytes(&seed))
            }
        })
    }

    /// Reads a PKCS#8 PEM; `password` is asked only if it is encrypted.
    ///
    /// # Errors
    /// `SLW-O-KEY` saying what is wrong, `SLW-O-PASSWORD` when the password is.
    pub fn from_pem(pem: &str, password: impl FnOnce() -> Result<Password, Refusal>) -> Result<Self, Refusal> {
        let (label, document) = SecretDocument::from_pem(pem).map_err(|error| bad(&error))?;
        let document = if label == ENCRYPTED {
            let encrypted = EncryptedPrivateKeyInfo::try_from(document.as_bytes()).map_err(|error| bad(&error))?;
            encrypted.decrypt(password()?.as_bytes()).map_err(|_| PASSWORD.with("another password", "the key's password"))?
        } else {
            document
        };
        let info = PrivateKeyInfo::try_from(document.as_bytes()).map_err(|error| bad(&error))?;
        let p256 = p256::ecdsa::SigningKey::try_from(info.clone()).map(Secret::P256);
        Self::of(p256.or_else(|_| ed25519_dalek::SigningKey::try_from(info).map(Secret::Ed25519)).map_err(|error| bad(&error))?)
    }

    /// Reads a key file that nobody else may read, with its name.
    ///
    /// # Errors
    /// As [`Self::from_pem`], naming the file.
    pub fn read(path: &Path, password: impl FnOnce() -> Result<Password, Refusal>) -> Result<Self, Refusal> {
        if PublicKey::from_pem(&String::from_utf8_lossy(&files::read(path)?)).is_ok() {
            return Err(KEY.with(format_args!("{}: this is a public key", path.display()), "the secret key's file, .pem"));
        }
        let mode = path.metadata().map_err(|error| file(path, &error))?.permissions().mode();
        if mode & 0o077 != 0 {
            let seen = format_args!("{} has mode {:o}", path.display(), mode & 0o777);
            return Err(KEY.with(seen, format_args!("600: `chmod 600 {}`", path.display())));
        }
        let named = |why: Refusal| Refusal { seen: format!("{}: {}", path.display(), why.seen), ..why };
        let pem = Zeroizing::new(String::from_utf8(files::read(path)?).map_err(|error| named(bad(&error)))?);
        let mut key = Self::from_pem(&pem, password).map_err(named)?;
        key.public.name = name_of(path);
        Ok(key)
    }

    fn of(secret: Secret) -> Result<Self, Refusal> {
        let public = match &secret {
            Secret::P256(key) => PublicKey::p256(key.verifying_key())?,
            Secret::Ed25519(key) => PublicKey::ed25519(&key.verifying_key()),
        };
        Ok(Self { id: public.id()?, spki: public.spki()?, public, secret })
    }

    /// The same key under a name for people.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.public.name = Some(name.to_owned());
        self
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

    /// The bytes of its public part, which identify the key.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// Signs; the same bytes get the same signature (RFC 6979, RFC 8032).
    #[must_use]
    pub fn sign(&self, bytes: &[u8]) -> Vec<u8> {
        match &self.secret {
            Secret::P256(key) => {
                let signature: DerSignature = key.sign(bytes);
                signature.as_bytes().to_vec()
            }
            Secret::Ed25519(key) => key.sign(bytes).to_bytes().to_vec(),
        }
    }

    /// Writes it to a new file of mode 0600, encrypted (scrypt, AES-256-CBC) if there is a password, and its public half beside it.
    ///
    /// # Errors
    /// When there is a file already, or it cannot be written.
    pub fn write(&self, path: &Path, password: Option<&Password>) -> Result<(), Refusal> {
        let public = public_path(path);
        for taken in [path, &public] {
            if taken.exists() {
                return Err(crate::error::EXISTS.with(taken.display(), "no such file"));
            }
        }
        // The first version of PKCS#8, without the public half: what OpenSSL reads too.
        let pem = match (&self.secret, password) {
            (Secret::P256(key), None) => key.to_pkcs8_pem(LineEnding::LF),
            (Secret::P256(key), Some(password)) => {
                key.to_pkcs8_encrypted_pem(rand_core::OsRng, password.as_bytes(), LineEnding::LF)
            }
            (Secret::Ed25519(key), password) => {
                let pair = KeypairBytes { secret_key: key.to_bytes(), public_key: None };
                match password {
                    None => pair.to_pkcs8_pem(LineEnding::LF),
                    Some(password) => pair.to_pkcs8_encrypted_pem(rand_core::OsRng, password.as_bytes(), LineEnding::LF),
                }
            }
        };
        let (folder, name) = files::split(&public)?;
        files::write(folder, name, self.public.to_pem()?.as_bytes())?;
        files::write_secret(path, pem.map_err(|error| bad(&error))?.as_bytes())
    }
}

/// The label of an encrypted key.
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// Whether this key file asks for a password.
pub(crate) fn is_encrypted(pem: &str) -> bool {
    pem.contains(ENCRYPTED)
}

/// Reads a public key, or the public half of a key that is not encrypted or has its `.pub` beside it.
///
/// # Errors
/// `SLW-O-KEY` when it is neither.
pub fn read_public(path: &Path) -> Result<PublicKey, Refusal> {
    let pem = Zeroizing::new(String::from_utf8(files::read(path)?).map_err(|error| bad(&error))?);
    let named = |why: Refusal| Refusal { seen: format!("{}: {}", path.display(), why.seen), ..why };
    let mut public = if pem.contains("PRIVATE KEY") {
        if is_encrypted(&pem) {
            return read_public(&public_path(path));
        }
        SecretKey::read(path, || Err(PASSWORD.with("none", "a password")))?.public
    } else {
        PublicKey::from_pem(&pem).map_err(named)?
    };
    public.name = name_of(path);
    Ok(public)
}

/// Where the public half of a key file is.
#[must_use]
pub fn public_path(path: &Path) -> PathBuf {
    path.with_extension("pub")
}

/// A key is called as its file is.
fn name_of(path: &Path) -> Option<String> {
    let name: String = path.file_stem()?.to_str()?.chars().filter(|c| !c.is_control()).take(64).collect();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Password {
        Zeroizing::new(text.to_owned())
    }

    #[test]
    fn a_key_survives_its_file_and_only_its_password_opens_it() {
        let dir = tempfile::TempDir::new().unwrap();
        for (name, kind) in [("alice.pem", KeyType::P256), ("bob.pem", KeyType::Ed25519)] {
            let path = dir.path().join(name);
            let key = SecretKey::generate(kind).unwrap();
            key.write(&path, Some(&secret("correct horse"))).unwrap();
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
            assert!(is_encrypted(&std::fs::read_to_string(&path).unwrap()));
            let again = SecretKey::read(&path, || Ok(secret("correct horse"))).unwrap();
            assert_eq!(again.spki(), key.spki());
            assert_eq!(read_public(&path).unwrap().spki().unwrap(), key.spki(), "the public half needs no password");
            assert!(again.public().verify(b"x", &key.sign(b"x")) && !again.public().verify(b"y", &key.sign(b"x")));
            assert_eq!(SecretKey::read(&path, || Ok(secret("wrong"))).unwrap_err().code, "SLW-O-PASSWORD");
            assert_eq!(key.write(&path, None).unwrap_err().code, "SLW-O-EXISTS");
            let plain = dir.path().join(format!("plain-{name}"));
            key.write(&plain, None).unwrap();
            assert_eq!(SecretKey::read(&plain, || unreachable!()).unwrap().id(), key.id());
            let public = SecretKey::read(&public_path(&plain), || unreachable!()).unwrap_err();
            assert!(public.seen.contains("this is a public key"), "{public:?}");
            std::fs::set_permissions(&plain, std::fs::Permissions::from_mode(0o644)).unwrap();
            let open = SecretKey::read(&plain, || unreachable!()).unwrap_err();
            assert!(open.wanted.contains("chmod 600"), "{open:?}");
        }
    }

    #[test]
    fn an_invalid_key_is_refused_with_a_reason() {
        for pem in ["", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"] {
            assert_eq!(SecretKey::from_pem(pem, || unreachable!()).unwrap_err().code, "SLW-O-KEY", "{pem}");
        }
    }
}
