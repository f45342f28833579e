//! Checks the shape of a Sigstore bundle before anything in it is used as evidence.
//!
//! A bundle's media type is unsigned, so it decides nothing by itself: what must be present is decided by [`LogRule`], which is the
//! operator's, and a bundle that claims an older format gets no easier way in.

use crate::certificate;
use crate::checkpoint::Checkpoint;
use crate::error::Check;
use format::Document;
use serde::Deserialize;
use serde::de::IgnoredAny;
use sigstore_types::MediaType;
use slipway_protocol::{Refusal, json, manifest};

mod format;

pub(crate) use format::{Bundle, Content, Entry, Envelope, InclusionProof, Kind, MessageSignature, Signer};

/// What evidence of logging is demanded.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogRule {
    /// A proof of inclusion and the log's checkpoint.
    #[default]
    Proof,
    /// The log's signed promise is enough (evidence from before 2023-08, cosign's `.att` tags). Opt-in.
    UnsafePromiseOnly,
    /// No log at all, only timestamps; only with a trusted root that names no log. Opt-in.
    UnsafeTimestampOnly,
    /// No log entry is needed; one that is there must still verify. Only with a key, whose holder is trusted alone. Opt-in.
    UnsafeNoLog,
}

/// Nesting: the deepest part of a bundle is at 7.
const LIMITS: json::Limits = json::Limits { bytes: 1024 * 1024, depth: 16 };
/// As sigstore-go allows.
const TIMESTAMP_LIMIT: usize = 32;
/// A tree of 2^64 leaves needs 64.
const HASH_LIMIT: usize = 64;
/// A leaf, and more intermediates than any private authority has.
const CHAIN_LIMIT: usize = 8;

/// The outline of a bundle: which parts there are. `null` is absent, as protobuf's JSON has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Outline {
    media_type: Option<String>,
    verification_material: Option<Material>,
    message_signature: Option<IgnoredAny>,
    dsse_envelope: Option<Dsse>,
    // A bare DSSE envelope, which is no bundle.
    payload: Option<IgnoredAny>,
    signatures: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Dsse {
    signatures: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    certificate: Option<IgnoredAny>,
    x509_certificate_chain: Option<Chain>,
    public_key: Option<IgnoredAny>,
    tlog_entries: Option<Vec<EntryOutline>>,
    timestamp_verification_data: Option<Timestamps>,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryOutline {
    inclusion_promise: Option<IgnoredAny>,
    inclusion_proof: Option<ProofOutline>,
    kind_version: Option<KindVersion>,
}

#[derive(Deserialize)]
struct KindVersion {
    kind: String,
    version: String,
}

#[derive(Deserialize)]
struct ProofOutline {
    checkpoint: Option<Note>,
    hashes: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
struct Note {
    envelope: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Timestamps {
    rfc3161_timestamps: Option<Vec<IgnoredAny>>,
}

/// What a log entry's body says it is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BodyKind {
    kind: String,
    api_version: String,
}

/// Parses `bytes` and refuses everything that the rule or the format does not allow. What comes out has at most one log entry, and under
/// [`LogRule::Proof`] that entry has a proof and a checkpoint.
pub(crate) fn gate(bytes: &[u8], rule: LogRule, keep_intermediates: bool) -> Result<Bundle, Refusal> {
    debug_assert!(u64::try_from(LIMITS.bytes).is_ok_and(|limit| limit == manifest::PROVENANCE_LIMIT));
    json::check(bytes, LIMITS).map_err(|error| match error {
        json::Error::TooLarge(seen, limit) => Check::BundleSize.refuse(seen, format_args!("at most {limit} bytes")),
        json::Error::Syntax(_) if begins_with_envelope(bytes) => {
            Check::BundleNoEntry.refuse("DSSE envelopes", "a Sigstore bundle")
        }
        json::Error::Syntax(error) => Check::BundleMalformed.refuse(error, "JSON without duplicate members"),
    })?;
    let malformed = |error: &dyn std::fmt::Display| Check::BundleMalformed.refuse(error, "a Sigstore bundle");
    let outline: Outline = json::from_slice(bytes).map_err(|error| malformed(&error))?;
    outline.check(rule)?;
    let document: Document = json::from_slice(bytes).map_err(|error| malformed(&error))?;
    let mut bundle = document.bundle()?;
    check_chain(&mut bundle, rule, keep_intermediates)?;
    check_entry(&mut bundle, rule)?;
    Ok(bundle)
}

/// Whether the first line is a bare DSSE envelope: older builders wrote one a line.
fn begins_with_envelope(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    json::from_slice(line).is_ok_and(|outline: Outline| outline.is_envelope())
}

impl Outline {
    fn is_envelope(&self) -> bool {
        self.media_type.is_none() && self.payload.is_some() && self.signatures.is_some()
    }

    fn check(&self, rule: LogRule) -> Result<(), Refusal> {
        let Some(media_type) = &self.media_type else {
            return Err(if self.is_envelope() {
                Check::BundleNoEntry.refuse("a DSSE envelope", "a Sigstore bundle")
            } else {
                Check::BundleMediaType.refuse("none", MediaType::Bundle0_3)
            });
        };
        let version: MediaType =
            media_type.parse().map_err(|_| Check::BundleMediaType.refuse(media_type, MediaType::Bundle0_3))?;
        match (&self.message_signature, &self.dsse_envelope) {
            (Some(_), None) | (None, Some(_)) => {}
            (None, None) => return Err(Check::BundleContent.refuse("none", "messageSignature or dsseEnvelope")),
            (Some(_), Some(_)) => return Err(Check::BundleContent.refuse("both", "messageSignature or dsseEnvelope")),
        }
        if let Some(envelope) = &self.dsse_envelope {
            let count = envelope.signatures.as_ref().map_or(0, Vec::len);
            if count != 1 {
                return Err(Check::BundleSignatures.refuse(count, 1));
            }
        }
        let material = self
            .verification_material
            .as_ref()
            .ok_or_else(|| Check::BundleMaterial.refuse("none", "certificate, x509CertificateChain or publicKey"))?;
        material.check(version, rule)
    }
}

impl Material {
    fn check(&self, version: MediaType, rule: LogRule) -> Result<(), Refusal> {
        let kinds = [self.certificate.is_some(), self.x509_certificate_chain.is_some(), self.public_key.is_some()];
        let count = kinds.iter().filter(|there| **there).count();
        if count != 1 {
            return Err(Check::BundleMaterial.refuse(count, "one of certificate, x509CertificateChain and publicKey"));
        }
        if let Some(chain) = &self.x509_certificate_chain {
            let length = chain.certificates.as_ref().map_or(0, Vec::len);
            if length == 0 {
                return Err(Check::CertificateChainEmpty.refuse("an empty chain", "a certificate"));
            }
            if length > CHAIN_LIMIT {
                return Err(
                    Check::BundleShape.refuse(format_args!("{length} certificates"), format_args!("at most {CHAIN_LIMIT}"))
                );
            }
            if version == MediaType::Bundle0_3 {
                return Err(Check::BundleShape.refuse("a chain in format 0.3", "a single certificate"));
            }
        }
        let tokens = self.timestamp_verification_data.as_ref().and_then(|data| data.rfc3161_timestamps.as_ref());
        let tokens = tokens.map_or(0, Vec::len);
        if tokens > TIMESTAMP_LIMIT {
            return Err(Check::BundleTimestamps.refuse(tokens, format_args!("at most {TIMESTAMP_LIMIT}")));
        }
        match (self.tlog_entries.as_deref().unwrap_or_default(), rule) {
            ([], LogRule::UnsafeTimestampOnly | LogRule::UnsafeNoLog) => Ok(()),
            ([], _) => Err(Check::LogMissing.refuse("none", "one log entry")),
            ([entry], _) => entry.check(version, rule),
            (entries, _) => Err(Check::BundleLogEntries.refuse(entries.len(), 1)),
        }
    }
}

impl EntryOutline {
    fn check(&self, version: MediaType, rule: LogRule) -> Result<(), Refusal> {
        if let Some(KindVersion { kind, version }) = &self.kind_version
            && Kind::of(kind, version).is_none()
        {
            return Err(Check::LogKind.refuse(format_args!("{kind} {version}"), Kind::all()));
        }
        if version == MediaType::Bundle0_1 && self.inclusion_promise.is_none() {
            return Err(Check::LogPromiseMissing.refuse("none", "a SET"));
        }
        let envelope = |proof: &ProofOutline| -> Option<String> {
            proof.checkpoint.as_ref()?.envelope.clone().filter(|envelope| !envelope.is_empty())
        };
        match (&self.inclusion_proof, rule) {
            (None, LogRule::UnsafePromiseOnly) if self.inclusion_promise.is_some() => Ok(()),
            (None, _) => Err(Check::LogProofMissing.refuse("none", "a proof and a checkpoint")),
            (Some(proof), _) => {
                let hashes = proof.hashes.as_ref().map_or(0, Vec::len);
                if hashes > HASH_LIMIT {
                    return Err(Check::LogProof.refuse(format_args!("{hashes} hashes"), format_args!("at most {HASH_LIMIT}")));
                }
                match envelope(proof) {
                    // Parsed here first, strictly, since the types' own parser trims and would not say which check it was.
                    Some(note) => Checkpoint::parse(&note).map(|_| ()),
                    None if rule == LogRule::UnsafePromiseOnly && self.inclusion_promise.is_some() => Ok(()),
                    None => Err(Check::LogCheckpointMissing.refuse("none", "the log's checkpoint")),
                }
            }
        }
    }
}

/// Looks at what comes after the leaf in a chain. An authority's own certificate has no place there; the rest is dropped unless the
/// trusted root leaves the certificates between to the bundle.
fn check_chain(bundle: &mut Bundle, rule: LogRule, keep_intermediates: bool) -> Result<(), Refusal> {
    let Signer::Certificates { intermediates, .. } = &mut bundle.signer else { return Ok(()) };
    let mut roots = Vec::new();
    for certificate in intermediates.iter() {
        let parsed = certificate::parse(certificate.as_bytes())?;
        if parsed.tbs_certificate.subject == parsed.tbs_certificate.issuer {
            roots.push((certificate.clone(), parsed.tbs_certificate.subject));
        }
    }
    match roots.first() {
        // Evidence from before 2023-08 carries the whole chain; its root is dropped, not believed.
        Some((_, subject)) if rule != LogRule::UnsafePromiseOnly => {
            return Err(Check::CertificateRoot.refuse(subject, "no self-signed certificate"));
        }
        _ => intermediates.retain(|certificate| roots.iter().all(|(root, _)| root != certificate)),
    }
    if !keep_intermediates {
        intermediates.clear();
    }
    Ok(())
}

/// Checks the one entry's fields against each other, and drops a proof that has no checkpoint: it proves nothing.
fn check_entry(bundle: &mut Bundle, rule: LogRule) -> Result<(), Refusal> {
    let Some(entry) = &mut bundle.entry else { return Ok(()) };
    let stated: BodyKind = json::parse(entry.body.as_bytes(), LIMITS)
        .map_err(|error| Check::LogBodyMalformed.refuse(error, "JSON with kind and apiVersion, without duplicate members"))?;
    if Kind::of(&stated.kind, &stated.api_version) != Some(entry.kind) {
        return Err(Check::LogBody.refuse(format_args!("{} {}", stated.kind, stated.api_version), entry.kind.words()));
    }
    if rule == LogRule::UnsafePromiseOnly && entry.proof.as_ref().is_some_and(|proof| proof.checkpoint.is_empty()) {
        entry.proof = None;
    }
    match (entry.kind, entry.integrated_time, &entry.promise) {
        (Kind::HashedRekord002, Some(time), _) => Err(Check::LogTime.refuse(time, "none in Rekor v2")),
        (Kind::HashedRekord002, None, Some(_)) => Err(Check::LogPromise.refuse("a promise", "none in Rekor v2")),
        (_, None, Some(_)) => Err(Check::LogTime.refuse("none", "the time that the log promised")),
        _ => Ok(()),
    }
}
