//! A trusted root as it is written: protobuf's JSON, with the names of sigstore/protobuf-specs' `sigstore_trustroot.proto`.
//!
//! The Sigstore project's types refuse a whole root for one key of a kind that they do not know where it is given by number, which
//! protobuf's JSON allows. [`super`] omits what is unknown.

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer};
use sigstore_types::{DerCertificate, DerPublicKey, LogKeyId, TimeRange};
use std::fmt;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TrustedRoot {
    pub(super) media_type: String,
    #[serde(default)]
    pub(super) tlogs: Vec<LogInstance>,
    #[serde(default)]
    pub(super) certificate_authorities: Vec<AuthorityInstance>,
    #[serde(default)]
    pub(super) ctlogs: Vec<LogInstance>,
    #[serde(default)]
    pub(super) timestamp_authorities: Vec<AuthorityInstance>,
}

/// `TransparencyLogInstance`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogInstance {
    /// Of certificate logs nothing reads it, and `cosign trusted-root create --ctfe-key` leaves it out.
    #[serde(default)]
    pub(super) base_url: String,
    /// Of the log's tree.
    #[serde(default)]
    pub(super) hash_algorithm: Enumeration,
    pub(super) public_key: PublicKey,
    pub(super) log_id: LogId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct LogId {
    pub(super) key_id: LogKeyId,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PublicKey {
    pub(super) raw_bytes: DerPublicKey,
    #[serde(default)]
    pub(super) key_details: Enumeration,
    pub(super) valid_for: Option<TimeRange>,
}

/// `CertificateAuthority`.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AuthorityInstance {
    pub(super) cert_chain: CertificateChain,
    pub(super) valid_for: Option<TimeRange>,
}

#[derive(Deserialize)]
pub(super) struct CertificateChain {
    pub(super) certificates: Vec<Certificate>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Certificate {
    pub(super) raw_bytes: DerCertificate,
}

/// The value of an enumeration: its name, or its number in text.
#[derive(Debug)]
pub(super) struct Enumeration(pub(super) String);

/// Not specified, which protobuf's JSON leaves out.
impl Default for Enumeration {
    fn default() -> Self {
        Self("0".to_owned())
    }
}

impl<'de> Deserialize<'de> for Enumeration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrNumber;
        impl Visitor<'_> for NameOrNumber {
            type Value = Enumeration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an enumeration's name or number")
            }
            fn visit_str<E: Error>(self, name: &str) -> Result<Enumeration, E> {
                Ok(Enumeration(name.to_owned()))
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Enumeration, E> {
                // Enumerations are of 32 bits.
                let number = i32::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))?;
                Ok(Enumeration(number.to_string()))
            }
            fn visit_i64<E: Error>(self, number: i64) -> Result<Enumeration, E> {
                let number = i32::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))?;
                Ok(Enumeration(number.to_string()))
            }
        }
        deserializer.deserialize_any(NameOrNumber)
    }
}

/// `PublicKeyDetails`, those that are supported here, by name and number (`sigstore_common.proto`).
const KEYS: [(&str, &str, KeyKind); 4] = [
    ("PKIX_ECDSA_P256_SHA_256", "5", KeyKind::P256),
    ("PKIX_ECDSA_P384_SHA_384", "12", KeyKind::P384),
    ("PKIX_ECDSA_P384_SHA_256", "19", KeyKind::P384),
    ("PKIX_ED25519", "7", KeyKind::Ed25519),
];

/// The kinds of keys that logs may have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum KeyKind {
    P256,
    P384,
    Ed25519,
}

impl PublicKey {
    /// The kind that its details say, if it is one that can be verified with.
    pub(super) fn kind(&self) -> Option<KeyKind> {
        let details = &self.key_details.0;
        KEYS.iter().find(|(name, number, _)| details == name || details == number).map(|(.., kind)| *kind)
    }
}

impl LogInstance {
    /// Whether its tree is of SHA-256, as every tree that can be verified here is (`HashAlgorithm`).
    pub(super) fn is_of_sha256(&self) -> bool {
        ["SHA2_256", "1"].contains(&self.hash_algorithm.0.as_str())
    }
}
