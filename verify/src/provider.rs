//! The cryptography under the Sigstore and TUF libraries: RustCrypto, verification only.
//!
//! ECDSA P-256 and P-384, Ed25519, SHA-2. RSA is refused by name, and so is ML-DSA; the RSA keys of a private Sigstore's authorities are
//! [`crate::rsa`]'s.

use crate::key::{Hash, Key};
use sha2::Digest as _;
use sigstore_crypto::{CryptoProvider, Error, HashContext, SigningScheme};
use sigstore_types::HashAlgorithm;

/// Makes this module the provider of the Sigstore libraries, which panic without one. May be called any number of times.
pub fn install() {
    // An error says that there is a provider already: ours, since nothing else in this workspace installs one.
    let _already: Result<(), _> = sigstore_crypto::install_default_provider(&RustCrypto);
}

/// The provider; a test's client that must know RSA wraps it.
#[derive(Debug)]
pub struct RustCrypto;

struct Hasher<D>(D);

impl<D: sha2::Digest + Send> HashContext for Hasher<D> {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }
    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finalize().to_vec()
    }
}

fn invalid(scheme: SigningScheme) -> Error {
    Error::Verification(format!("{} signature invalid", scheme.name()))
}

impl CryptoProvider for RustCrypto {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>, Error> {
        match algorithm {
            HashAlgorithm::Sha2256 => Ok(Box::new(Hasher(sha2::Sha256::new()))),
            HashAlgorithm::Sha2384 => Ok(Box::new(Hasher(sha2::Sha384::new()))),
            HashAlgorithm::Sha2512 => Ok(Box::new(Hasher(sha2::Sha512::new()))),
            other => Err(Error::UnsupportedAlgorithm(format!("{other} digests are not supported"))),
        }
    }

    fn sha256(&self, data: &[u8]) -> [u8; 32] {
        sha2::Sha256::digest(data).into()
    }
    fn sha384(&self, data: &[u8]) -> [u8; 48] {
        sha2::Sha384::digest(data).into()
    }
    fn sha512(&self, data: &[u8]) -> [u8; 64] {
        sha2::Sha512::digest(data).into()
    }

    fn verify_raw(&self, scheme: SigningScheme, key: &[u8], data: &[u8], signature: &[u8]) -> Result<(), Error> {
        let (key, hash) = decoded(scheme, key)?;
        key.verify(hash, data, signature).map_err(|_| invalid(scheme))
    }

    fn verify_prehashed(&self, scheme: SigningScheme, key: &[u8], digest: &[u8], signature: &[u8]) -> Result<(), Error> {
        let (key, _) = decoded(scheme, key)?;
        key.verify_digest(digest, signature).map_err(|_| invalid(scheme))
    }
}

/// The key behind its raw bytes, and the digest that the scheme signs.
fn decoded(scheme: SigningScheme, raw: &[u8]) -> Result<(Key, Hash), Error> {
    let (key, hash) = match scheme {
        SigningScheme::EcdsaP256Sha256 => (Key::p256(raw), Hash::Sha256),
        SigningScheme::EcdsaP256Sha384 => (Key::p256(raw), Hash::Sha384),
        SigningScheme::EcdsaP384Sha256 => (Key::p384(raw), Hash::Sha256),
        SigningScheme::EcdsaP384Sha384 => (Key::p384(raw), Hash::Sha384),
        SigningScheme::Ed25519 => (Key::ed25519(raw), Hash::Sha512),
        other => return Err(Error::UnsupportedAlgorithm(format!("{} keys are not supported", other.name()))),
    };
    key.map(|key| (key, hash)).map_err(|_| invalid(scheme))
}
