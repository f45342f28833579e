//! Types of evidence: its artifact, its signer, and what it proves. [`crate::sigstore`] verifies it.

use crate::key::PublicKey;
use jiff::Timestamp;
use serde::Serialize;
use sigstore_crypto::CertificateInfo;
use slipway_protocol::{Sha256, Sha512, Version};

/// The signed artifact.
#[derive(Clone, Copy, Debug)]
pub enum Artifact<'a> {
    /// The bytes themselves.
    Bytes(&'a [u8]),
    /// Their SHA-256. Not enough for an Ed25519 signature over the bytes.
    Sha256(Sha256),
    /// Their SHA-512.
    Sha512(Sha512),
}

/// Who must have signed.
#[derive(Clone, Copy, Debug)]
pub enum Signer<'a> {
    /// The holder of a certificate with this identity from this OIDC issuer. Both are compared exactly.
    Identity {
        /// The certificate's subject alternative name.
        identity: &'a str,
        /// The identity provider.
        issuer: &'a str,
    },
    /// The holder of this key.
    Key(&'a PublicKey),
}

/// The artifact whose provenance is verified.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Its name among the provenance's subjects.
    pub name: &'a str,
    /// Its SHA-256.
    pub sha256: Option<Sha256>,
    /// Its SHA-512. If both are given, they must be of the same bytes.
    pub sha512: Option<Sha512>,
    /// The release's version, for policies that bind the tag to it.
    pub version: Option<&'a Version>,
}

/// What a Sigstore bundle was found to prove.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Evidence {
    /// The certificate's identity; none with a key.
    pub identity: Option<String>,
    /// The OIDC issuer of the identity.
    pub issuer: Option<String>,
    /// Every verified time of the signature, earliest first.
    pub signed_times: Vec<Timestamp>,
    /// The log the signature is in, by its host name.
    pub log: Option<String>,
    /// The entry's index in that log, if that is proven.
    pub log_index: Option<u64>,
}

/// A bundle whose every claim by a certificate is proven; what the claims are worth is for a policy to say.
pub(crate) struct Proven {
    pub(crate) evidence: Evidence,
    pub(crate) identity: String,
    pub(crate) issuer: String,
    /// The organisation of the authority that issued the certificate.
    pub(crate) authority: Option<String>,
    pub(crate) certificate: CertificateInfo,
}
