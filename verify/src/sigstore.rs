//! Verifies a Sigstore bundle: who signed what, and when, in the order of the client specification.
//!
//! Shape, certificate, signed times, the certificate's path at each of them, its log, the signature's log, the signature, and the entry about
//! it. Nothing is used for a decision before it is proven, and nothing asks what time it is now: the signed times are in the result, for a
//! caller with a clock to judge.

use crate::body::{Body, Verifier, signature_of};
use crate::bundle::{self, Bundle, Content, LogRule, Signer as Material};
use crate::error::Check;
use crate::evidence::{Artifact, Evidence, Proven, Signer};
use crate::key::PublicKey;
use crate::root::SigstoreRoot;
use crate::signature::{self, IN_TOTO};
use crate::statement::Statement;
use crate::{certificate, log, path, provider, sct, timestamp};
use jiff::Timestamp;
use slipway_protocol::Refusal;

/// Verifies a Sigstore bundle over an artifact: a plain signature, or an attestation that names the artifact among its subjects.
///
/// ```
/// use slipway_testkit::sigstore::{Attestation, PrivateSigstore};
/// use slipway_verify::{Artifact, LogRule, SigstoreRoot, Signer, verify_bundle};
///
/// let sigstore = PrivateSigstore::new("example");
/// let root = SigstoreRoot::parse(&sigstore.trusted_root())?;
/// let attestation = Attestation::npm("owner/repo", "refs/tags/v1.0.0").artifact("file", b"content");
/// let bundle = sigstore.attest(&attestation);
/// let signer = Signer::Identity {
///     identity: "https://github.com/owner/repo/.github/workflows/release.yml@refs/tags/v1.0.0",
///     issuer: "https://token.actions.githubusercontent.com",
/// };
///
/// let verify = |content| verify_bundle(&bundle, &root, signer, Artifact::Bytes(content), LogRule::default());
/// assert!(!verify(b"content")?.signed_times.is_empty());
/// assert_eq!(verify(b"another").unwrap_err().code, "SLW-V-ARTIFACT-DIGEST");
/// # Ok::<(), slipway_verify::Refusal>(())
/// ```
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
            let bundle = admit(bundle, root, rule)?;
            well_stated(&bundle)?;
            let proven = prove(&bundle, root, artifact, rule)?;
            if proven.issuer != issuer {
                return Err(Check::PolicyIssuer.refuse(proven.issuer, issuer));
            }
            if proven.identity != identity {
                return Err(Check::PolicyIdentity.refuse(proven.identity, identity));
            }
            Ok(proven.evidence)
        }
        Signer::Key(key) => {
            let bundle = admit_with_key(bundle, Some(root), rule)?;
            well_stated(&bundle)?;
            let evidence = evidence_of_key(&bundle, Some(root), rule)?;
            signed_with(&bundle, body(&bundle)?.as_ref(), key, artifact)?;
            Ok(evidence)
        }
    }
}

/// Checks the statement of an attestation; provenance parses it by itself.
fn well_stated(bundle: &Bundle) -> Result<(), Refusal> {
    match bundle.content {
        Content::Envelope(_) => payload(bundle).and_then(Statement::parse).map(|_| ()),
        Content::Message(_) => Ok(()),
    }
}

/// The part before any proof, for a bundle with a certificate: limits, shape, and the profile of logs that the trusted root allows.
pub(crate) fn admit(bytes: &[u8], root: &SigstoreRoot, rule: LogRule) -> Result<Bundle, Refusal> {
    if rule == LogRule::UnsafeNoLog {
        return Err(Check::PolicyContradiction.refuse("a certificate without a log", "a key, or a log"));
    }
    if rule != LogRule::UnsafeTimestampOnly && !root.has_certificate_logs() {
        return Err(Check::CertificateUnlogged.refuse("none", "at least one"));
    }
    admit_with_key(bytes, Some(root), rule)
}

/// As [`admit`], for a bundle that a key signed. A trusted root is needed only for what a log or a timestamp authority signed.
pub(crate) fn admit_with_key(bytes: &[u8], root: Option<&SigstoreRoot>, rule: LogRule) -> Result<Bundle, Refusal> {
    provider::install();
    if rule == LogRule::UnsafeTimestampOnly && root.is_some_and(|root| root.has_logs() || root.has_certificate_logs()) {
        return Err(Check::LogUnexpected.refuse("a trusted root with logs", "one without"));
    }
    bundle::gate(bytes, rule, root.is_some_and(SigstoreRoot::needs_intermediates))
}

/// Proves a bundle that passed [`admit`].
pub(crate) fn prove(bundle: &Bundle, root: &SigstoreRoot, artifact: Artifact<'_>, rule: LogRule) -> Result<Proven, Refusal> {
    let Material::Certificates { leaf, .. } = &bundle.signer else {
        return Err(Check::KeyMismatch.refuse("a key", "a certificate"));
    };
    let leaf = certificate::read(leaf)?;
    let signer = Verifier::Certificate(leaf.der.as_bytes().to_vec());
    let body = body(bundle)?;
    // Another signer's entry proves nothing here, so nothing is spent on its signatures.
    body.as_ref().map_or(Ok(()), |body| body.by(&signer))?;
    let signed_times = signed_times(bundle, Some(root))?;
    if signed_times.is_empty() {
        return Err(Check::TimestampMissing.refuse("none", "a timestamp, or the log's promise"));
    }
    let issuer_key = path::verify(&leaf, bundle, root, &signed_times)?;
    if rule != LogRule::UnsafeTimestampOnly {
        sct::verify(&leaf, &issuer_key, root)?;
    }
    let (log, log_index) = logged(bundle, Some(root))?.unzip();
    let log_index = log_index.flatten();
    signature::verify(bundle, body.as_ref(), &leaf.key, &signer, artifact)?;
    let identity = leaf.identity.as_str().to_owned();
    let issuer = leaf.info.issuer.clone().ok_or_else(|| Check::PolicyIssuer.refuse("none", "an issuer"))?;
    let evidence = Evidence { identity: Some(identity.clone()), issuer: Some(issuer.clone()), signed_times, log, log_index };
    let authority = certificate::issuing_organization(&leaf.certificate);
    Ok(Proven { evidence, identity, issuer, authority, certificate: leaf.info })
}

/// When a bundle that passed [`admit_with_key`] was signed, and where that is logged, whichever key did it.
pub(crate) fn evidence_of_key(bundle: &Bundle, root: Option<&SigstoreRoot>, rule: LogRule) -> Result<Evidence, Refusal> {
    if !matches!(bundle.signer, Material::Key) {
        return Err(Check::KeyMismatch.refuse("a certificate", "a key"));
    }
    let signed_times = signed_times(bundle, root)?;
    if rule == LogRule::UnsafeTimestampOnly && signed_times.is_empty() {
        return Err(Check::TimestampMissing.refuse("none", "a timestamp"));
    }
    let (log, log_index) = logged(bundle, root)?.unzip();
    Ok(Evidence { identity: None, issuer: None, signed_times, log, log_index: log_index.flatten() })
}

/// Whether the log's entry, if there is one, says that `key` signed. Unproven, and cheap.
pub(crate) fn said_to_be_of(body: Option<&Body>, key: &PublicKey) -> bool {
    body.is_none_or(|body| body.by(&Verifier::Key(key.spki.clone())).is_ok())
}

/// Proves that the holder of `key` signed what the bundle holds, and that its log entry is about that.
pub(crate) fn signed_with(bundle: &Bundle, body: Option<&Body>, key: &PublicKey, artifact: Artifact<'_>) -> Result<(), Refusal> {
    signature::verify(bundle, body, &key.key, &Verifier::Key(key.spki.clone()), artifact)
}

/// The body of the log entry, if there is an entry.
pub(crate) fn body(bundle: &Bundle) -> Result<Option<Body>, Refusal> {
    bundle.entry.as_ref().map(|entry| Body::read(entry, &bundle.content)).transpose()
}

/// Every time at which the signature is proven to have been there, earliest first: by timestamp authorities, and by the log's promise. One that is
/// there and wrong is a refusal, however many others are right.
fn signed_times(bundle: &Bundle, root: Option<&SigstoreRoot>) -> Result<Vec<Timestamp>, Refusal> {
    let signature = signature_of(&bundle.content);
    let mut times = Vec::new();
    for token in &bundle.tokens {
        times.push(timestamp::verify(token.as_bytes(), signature, root)?);
    }
    if let Some(entry) = &bundle.entry {
        let log = log::log_of(entry, root)?;
        times.extend(log::promised(entry, log)?);
        log::in_force(log, &times)?;
    }
    times.sort_unstable();
    times.dedup();
    Ok(times)
}

/// Verifies the entry's place in its log, if it has a proof; the gate has seen to it that it has one unless the rule says otherwise.
fn logged(bundle: &Bundle, root: Option<&SigstoreRoot>) -> Result<Option<(String, Option<u64>)>, Refusal> {
    let Some(entry) = &bundle.entry else { return Ok(None) };
    let log = log::log_of(entry, root)?;
    if let Some(proof) = &entry.proof {
        log::included(entry, proof, log)?;
    }
    // The index over all shards of Rekor v1 is the promise's word alone; a proof has another.
    let proven = entry.promise.is_some() || entry.kind.is_second_generation();
    Ok(Some((log.name.clone(), proven.then_some(entry.log_index))))
}

/// The signed payload of an attestation.
pub(crate) fn payload(bundle: &Bundle) -> Result<&[u8], Refusal> {
    match &bundle.content {
        Content::Envelope(envelope) if envelope.payload_type == IN_TOTO => Ok(envelope.payload.as_bytes()),
        Content::Envelope(envelope) => Err(Check::PayloadType.refuse(&envelope.payload_type, IN_TOTO)),
        Content::Message(_) => Err(Check::PayloadType.refuse("a plain signature", IN_TOTO)),
    }
}
