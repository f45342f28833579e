//! Whether a Sigstore bundle proves who signed what, and when: the gate, then the library, in the order of the client specification.

use crate::bundle::{self, LogRule};
use crate::error::{Check, from_library};
use crate::root::SigstoreRoot;
use crate::{certificate, log, provider, timestamp};
use jiff::Timestamp;
use serde::Serialize;
use sigstore_crypto::{CertificateInfo, KeyAlgorithm, SubjectAltName, VerificationKey};
use sigstore_types::{ArtifactDigest, Bundle, DerPublicKey, HashAlgorithm, Sha256Hash, SignatureContent};
use sigstore_verify::{PublicKeyVerificationPolicy, VerificationPolicy, VerificationResult};
use slipway_protocol::{Refusal, Sha256, Sha512};

/// What is said to have been signed.
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
    /// The holder of a certificate with this identity, vouched for by this issuer. Both are compared exactly.
    Identity {
        /// The certificate's subject alternative name.
        identity: &'a str,
        /// The identity provider.
        issuer: &'a str,
    },
    /// The holder of this key.
    Key(&'a PublicKey),
}

/// A public key that may be verified with: ECDSA P-256, P-384 or Ed25519.
#[derive(Clone, Debug)]
pub struct PublicKey(DerPublicKey);

impl PublicKey {
    /// Reads a PEM `PUBLIC KEY`.
    ///
    /// # Errors
    /// [`Check::Key`] if it is none, or of a kind that is not supported.
    pub fn from_pem(pem: &str) -> Result<Self, Refusal> {
        let bad = |error: &dyn std::fmt::Display| Check::Key.refuse(error, "a PEM public key: P-256, P-384 or Ed25519");
        let key = DerPublicKey::from_pem(pem.trim()).map_err(|error| bad(&error))?;
        match KeyAlgorithm::from_spki(&key).map_err(|error| bad(&error))? {
            KeyAlgorithm::EcdsaP256 | KeyAlgorithm::EcdsaP384 | KeyAlgorithm::Ed25519 => {}
            other => return Err(bad(&format_args!("a key of kind {other:?}"))),
        }
        VerificationKey::from_spki(&key).map_err(|error| bad(&error))?;
        Ok(Self(key))
    }
}

/// What a Sigstore bundle was found to prove.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Evidence {
    /// The certificate's identity; none with a key.
    pub identity: Option<String>,
    /// Who vouched for the identity.
    pub issuer: Option<String>,
    /// Every verified time of the signature, earliest first.
    pub signed_times: Vec<Timestamp>,
    /// The log the signature is in, by its host name.
    pub log: Option<String>,
    /// The entry's index in that log.
    pub log_index: Option<u64>,
}

/// Verifies a Sigstore bundle over an artifact: a plain signature, or an attestation that names the artifact among its subjects.
///
/// # Errors
/// The first check that refuses.
pub fn verify_bundle(
    bundle: &[u8],
    root: &SigstoreRoot,
    signer: Signer<'_>,
    artifact: Artifact<'_>,
    rule: LogRule,
) -> Result<Evidence, Refusal> {
    match signer {
        Signer::Identity { identity, issuer } => {
            let proven = prove(&admit(bundle, root, rule)?, root, artifact, rule)?;
            if proven.issuer != issuer {
                return Err(Check::PolicyIssuer.refuse(proven.issuer, issuer));
            }
            if proven.identity != identity {
                return Err(Check::PolicyIdentity.refuse(proven.identity, identity));
            }
            Ok(proven.evidence)
        }
        Signer::Key(key) => prove_with_key(&admit_with_key(bundle, Some(root), rule)?, Some(root), key, artifact, rule),
    }
}

/// A bundle whose every claim by a certificate is proven; what the claims are worth is for a policy to say.
pub(crate) struct Proven {
    pub(crate) evidence: Evidence,
    pub(crate) identity: String,
    pub(crate) issuer: String,
    pub(crate) certificate: CertificateInfo,
}

/// The part before the library: limits, shape, and the profile of logs that the trusted root allows.
pub(crate) fn admit(bytes: &[u8], root: &SigstoreRoot, rule: LogRule) -> Result<Bundle, Refusal> {
    provider::install();
    if rule == LogRule::UnsafeTimestampOnly && (root.has_logs() || root.has_certificate_logs()) {
        return Err(Check::LogUnexpected.refuse("a trusted root with logs", "one without"));
    }
    if rule != LogRule::UnsafeTimestampOnly && !root.has_certificate_logs() {
        return Err(Check::CertificateUnlogged.refuse("none", "at least one"));
    }
    let bundle = bundle::gate(bytes, rule, root.needs_intermediates())?;
    for token in &bundle.verification_material.timestamp_verification_data.rfc3161_timestamps {
        timestamp::check(token.signed_timestamp.as_bytes(), root.timestamp_signers())?;
    }
    Ok(bundle)
}

/// Proves a bundle that passed [`admit`].
pub(crate) fn prove(bundle: &Bundle, root: &SigstoreRoot, artifact: Artifact<'_>, rule: LogRule) -> Result<Proven, Refusal> {
    let leaf = bundle.signing_certificate().ok_or_else(|| Check::KeyMismatch.refuse("a key", "a certificate"))?;
    certificate::check(leaf.as_bytes())?;
    let place = logged(bundle, root)?;
    // Proof and checkpoint were verified just now, more strictly; the library still verifies the log's promise as a source of time.
    let mut policy = VerificationPolicy::any_identity().skip_tlog_unsafe();
    if rule == LogRule::UnsafeTimestampOnly {
        policy = policy.skip_sct();
    }
    let result = run(root, artifact, bundle, &policy)?;
    in_force(bundle, root, &result)?;
    let identity = result.identity().map(SubjectAltName::as_str).map(str::to_owned);
    let identity = identity.ok_or_else(|| Check::CertificateProfile.refuse("no identity", "one identity"))?;
    let issuer = result.issuer().map(str::to_owned);
    let issuer = issuer.ok_or_else(|| Check::PolicyIssuer.refuse("none", "an issuer"))?;
    let certificate = result.certificate().cloned();
    let certificate = certificate.ok_or_else(|| Check::CertificateMalformed.refuse("none", "a certificate"))?;
    let evidence = Evidence {
        identity: Some(identity.clone()),
        issuer: Some(issuer.clone()),
        signed_times: sorted(result.verified_timestamps()),
        log: place.as_ref().map(|(log, _)| log.clone()),
        log_index: place.map(|(_, index)| index),
    };
    Ok(Proven { evidence, identity, issuer, certificate })
}

/// As [`admit`], for a bundle that a key signed. A trusted root is needed only for what a log or a timestamp authority signed.
pub(crate) fn admit_with_key(bytes: &[u8], root: Option<&SigstoreRoot>, rule: LogRule) -> Result<Bundle, Refusal> {
    let root = root.ok_or_else(|| Check::LogUnknown.refuse("no trusted root", "a trusted root"))?;
    admit(bytes, root, rule)
}

/// Proves that the holder of `key` signed what a bundle that passed [`admit_with_key`] holds.
pub(crate) fn prove_with_key(
    bundle: &Bundle,
    root: Option<&SigstoreRoot>,
    key: &PublicKey,
    artifact: Artifact<'_>,
    rule: LogRule,
) -> Result<Evidence, Refusal> {
    let root = root.ok_or_else(|| Check::LogUnknown.refuse("no trusted root", "a trusted root"))?;
    if bundle.signing_certificate().is_some() {
        return Err(Check::KeyMismatch.refuse("a certificate", "a key"));
    }
    let place = logged(bundle, root)?;
    let mut policy = PublicKeyVerificationPolicy::new(key.0.clone());
    if matches!(rule, LogRule::UnsafeTimestampOnly | LogRule::UnsafeNoLog) {
        policy = policy.skip_tlog_unsafe();
    }
    let result = run(root, artifact, bundle, &policy)?;
    in_force(bundle, root, &result)?;
    Ok(Evidence {
        identity: None,
        issuer: None,
        signed_times: sorted(result.verified_timestamps()),
        log: place.as_ref().map(|(log, _)| log.clone()),
        log_index: place.map(|(_, index)| index),
    })
}

/// Verifies the entry's place in its log, if it has a proof; the gate has seen to it that it has one unless the rule says otherwise.
fn logged(bundle: &Bundle, root: &SigstoreRoot) -> Result<Option<(String, u64)>, Refusal> {
    let Some(entry) = bundle.verification_material.tlog_entries.first() else {
        return Ok(None);
    };
    let log = log::log_of(entry, root)?;
    if let Some(proof) = &entry.inclusion_proof {
        log::included(entry, proof, log)?;
    }
    Ok(Some((log.name.clone(), entry.log_index.get())))
}

/// The log's key must have been in force at every signed time. The library asks the system clock instead, which may be wrong on a device.
fn in_force(bundle: &Bundle, root: &SigstoreRoot, result: &VerificationResult) -> Result<(), Refusal> {
    let Some(entry) = bundle.verification_material.tlog_entries.first() else {
        return Ok(());
    };
    let log = log::log_of(entry, root)?;
    match result.verified_timestamps().iter().find(|time| **time < log.start) {
        Some(early) => Err(Check::LogNotStarted.refuse(early, format_args!("{} or later", log.start))),
        None => Ok(()),
    }
}

fn run(
    root: &SigstoreRoot,
    artifact: Artifact<'_>,
    bundle: &Bundle,
    policy: &dyn sigstore_verify::Policy,
) -> Result<VerificationResult, Refusal> {
    let artifact = match artifact {
        Artifact::Bytes(bytes) => sigstore_types::Artifact::from_blob(bytes),
        Artifact::Sha256(digest) => sigstore_types::Artifact::from_digest(Sha256Hash::new(digest.0)),
        Artifact::Sha512(digest) => sigstore_types::Artifact::from_digest(
            ArtifactDigest::new(HashAlgorithm::Sha2512, &digest.0[..])
                .map_err(|error| Check::ArtifactForm.refuse(error, "a SHA-512 digest"))?,
        ),
    };
    root.verifier().verify(artifact, bundle, policy).map_err(|error| match from_library(&error) {
        // The library leaves out authorities that by the system clock have not begun; then it finds none, although there are some.
        refusal
            if refusal.code == Check::TimestampInvalid.code()
                && refusal.seen.contains("no timestamp authorities")
                && !root.timestamp_signers().is_empty() =>
        {
            Check::DeviceClock.refuse("a clock before the begin of every timestamp authority", "a clock later than the signature")
        }
        refusal => refusal,
    })
}

fn sorted(times: &[Timestamp]) -> Vec<Timestamp> {
    let mut times = times.to_vec();
    times.sort_unstable();
    times.dedup();
    times
}

/// The signed payload of an attestation.
pub(crate) fn payload(bundle: &Bundle) -> Result<&[u8], Refusal> {
    match &bundle.content {
        SignatureContent::DsseEnvelope(envelope) if envelope.payload_type == "application/vnd.in-toto+json" => {
            Ok(envelope.payload.as_bytes())
        }
        SignatureContent::DsseEnvelope(envelope) => {
            Err(Check::PayloadType.refuse(&envelope.payload_type, "application/vnd.in-toto+json"))
        }
        _ => Err(Check::PayloadType.refuse("a plain signature", "an in-toto statement")),
    }
}
