//! The cryptography under the Sigstore and TUF libraries: RustCrypto, verification only, no C.
//!
//! ECDSA P-256 and P-384, Ed25519, SHA-2. RSA is refused by name (RUSTSEC-2023-0071 has no fix), and so is ML-DSA.

use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use sha2::Digest as _;
use sigstore_crypto::{CryptoProvider, Error, HashContext, SigningScheme};
use sigstore_types::HashAlgorithm;

/// Makes this module the provider of the Sigstore libraries, which panic without one. May be called any number of times.
pub fn install() {
    // An error says that there is a provider already: ours, since nothing else in this workspace installs one.
    let _already: Result<(), _> = sigstore_crypto::install_default_provider(&RustCrypto);
}

#[derive(Debug)]
struct RustCrypto;

struct Hasher<D>(D);

impl<D: sha2::Digest + Send> HashContext for Hasher<D> {
    fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }
    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finalize().to_vec()
    }
}

fn unsupported<T>(scheme: SigningScheme) -> Result<T, Error> {
    Err(Error::UnsupportedAlgorithm(format!("{} keys are not supported", scheme.name())))
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
        match scheme {
            SigningScheme::EcdsaP256Sha256 | SigningScheme::EcdsaP384Sha256 => {
                self.verify_prehashed(scheme, key, &self.sha256(data), signature)
            }
            SigningScheme::EcdsaP256Sha384 | SigningScheme::EcdsaP384Sha384 => {
                self.verify_prehashed(scheme, key, &self.sha384(data), signature)
            }
            SigningScheme::Ed25519 => {
                let key: [u8; 32] = key.try_into().map_err(|_| invalid(scheme))?;
                let key = ed25519_dalek::VerifyingKey::from_bytes(&key).map_err(|_| invalid(scheme))?;
                let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| invalid(scheme))?;
                // Strict: no small-order keys, no second encoding of one signature.
                key.verify_strict(data, &signature).map_err(|_| invalid(scheme))
            }
            other => unsupported(other),
        }
    }

    fn verify_prehashed(&self, scheme: SigningScheme, key: &[u8], digest: &[u8], signature: &[u8]) -> Result<(), Error> {
        match scheme {
            SigningScheme::EcdsaP256Sha256 | SigningScheme::EcdsaP256Sha384 => {
                let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(|_| invalid(scheme))?;
                let signature = p256::ecdsa::Signature::from_der(signature).map_err(|_| invalid(scheme))?;
                key.verify_prehash(digest, &signature).map_err(|_| invalid(scheme))
            }
            SigningScheme::EcdsaP384Sha256 | SigningScheme::EcdsaP384Sha384 => {
                let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key).map_err(|_| invalid(scheme))?;
                let signature = p384::ecdsa::Signature::from_der(signature).map_err(|_| invalid(scheme))?;
                key.verify_prehash(digest, &signature).map_err(|_| invalid(scheme))
            }
            other => unsupported(other),
        }
    }
}
