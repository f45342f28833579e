//! Sigstore's trusted root: the keys and certificates that anchor verification, parsed once and validated whole.

use crate::error::{Check, from_library};
use crate::provider;
use jiff::Timestamp;
use sigstore_crypto::{KeyAlgorithm, VerificationKey};
use sigstore_trust_root::{SigstoreInstance, TrustedRoot};
use sigstore_types::{DerPublicKey, TimeRange};
use sigstore_verify::Verifier;
use slipway_protocol::{Refusal, Sha256, json};
use std::collections::BTreeSet;
use std::fmt;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::ExtendedKeyUsage;

/// Extended key usage of timestamp authorities.
const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");

/// The largest real root has 32 KB and a nesting of 6.
const LIMITS: json::Limits = json::Limits { bytes: 256 * 1024, depth: 16 };
/// Formats that this code was written against.
const MEDIA_TYPES: [&str; 3] = [
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
];

/// A trusted root that passed every check, ready to verify with.
pub struct SigstoreRoot {
    verifier: Verifier,
    logs: Vec<Log>,
    certificate_logs: usize,
    timestamp_signers: Vec<Vec<u8>>,
    leaf_needs_intermediates: bool,
}

/// A transparency log that is trusted.
pub(crate) struct Log {
    /// SHA-256 of its key, as bundles name it.
    pub(crate) id: [u8; 32],
    /// Host and port of its address, which is its name on checkpoints.
    pub(crate) name: String,
    /// Its key.
    pub(crate) key: VerificationKey,
    /// When its key came into force.
    pub(crate) start: Timestamp,
}

impl SigstoreRoot {
    /// Parses and validates a `trusted_root.json`.
    ///
    /// # Errors
    /// The first check that refuses: size, syntax, duplicate members, media type, keys, ids, windows, certificates.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        provider::install();
        json::check(bytes, LIMITS).map_err(|error| match error {
            json::Error::TooLarge(seen, limit) => Check::RootSize.refuse(seen, format_args!("at most {limit} bytes")),
            json::Error::Syntax(error) => Check::RootMalformed.refuse(error, "JSON without duplicate members"),
        })?;
        let text = std::str::from_utf8(bytes).map_err(|error| Check::RootMalformed.refuse(error, "UTF-8"))?;
        let root = TrustedRoot::from_json(text).map_err(|error| Check::RootMalformed.refuse(error, "a trusted root"))?;
        Self::validate(root)
    }

    /// The root of Sigstore's public-good instance, as shipped with this program.
    ///
    /// # Errors
    /// Never, as a test shows; the type says so because it goes through the same checks.
    pub fn public_good() -> Result<Self, Refusal> {
        Self::parse(SigstoreInstance::PublicGood.embedded_trusted_root_json().as_bytes())
    }

    /// The root of GitHub's instance for private repositories, as shipped with this program. It has no logs, only timestamps.
    ///
    /// # Errors
    /// As [`Self::public_good`].
    pub fn github() -> Result<Self, Refusal> {
        Self::parse(SigstoreInstance::GitHub.embedded_trusted_root_json().as_bytes())
    }

    fn validate(mut root: TrustedRoot) -> Result<Self, Refusal> {
        if !MEDIA_TYPES.contains(&root.media_type.as_str()) {
            return Err(Check::RootMediaType.refuse(&root.media_type, MEDIA_TYPES.join(" or ")));
        }
        let mut logs = Vec::new();
        let mut ids = BTreeSet::new();
        for log in &root.tlogs {
            let id = log_id(log.log_id.key_id.as_bytes(), &log.public_key.raw_bytes, &log.base_url)?;
            let start = window_start(&log.base_url, log.public_key.valid_for)?;
            key_as_declared(&log.base_url, log.public_key.key_details.as_str(), &log.public_key.raw_bytes)?;
            if !ids.insert(id) {
                return Err(Check::RootLogId.refuse(format_args!("{} twice", hex::encode(id)), "each log once"));
            }
            let key = VerificationKey::from_spki(&log.public_key.raw_bytes)
                .map_err(|error| Check::RootKey.refuse(format_args!("{}: {error}", log.base_url), "a public key"))?;
            logs.push(Log { id, name: authority(&log.base_url).to_owned(), key, start });
        }
        let mut ids = BTreeSet::new();
        for log in &root.ctlogs {
            window_start(&log.base_url, log.public_key.valid_for)?;
            // One retired staging log has a bare RSA key; it cannot be used, since RSA signatures are refused, but must not brick the root.
            if !log.public_key.key_details.as_str().starts_with("PKCS1_RSA") {
                log_id(log.log_id.key_id.as_bytes(), &log.public_key.raw_bytes, &log.base_url)?;
                key_as_declared(&log.base_url, log.public_key.key_details.as_str(), &log.public_key.raw_bytes)?;
            }
            if !ids.insert(log.log_id.key_id.as_bytes().to_vec()) {
                return Err(Check::RootLogId.refuse(format_args!("{} twice", log.base_url), "each log once"));
            }
        }
        // Sigstore's public root has one retired authority like this; only where all are is the bundle left to bring what is between.
        let leaf_needs_intermediates = !root.certificate_authorities.is_empty()
            && root.certificate_authorities.iter().all(|ca| ca.cert_chain.certificates.len() == 1);
        narrow(
            &mut root.certificate_authorities,
            |ca| (&ca.cert_chain.certificates, &mut ca.valid_for),
            |c| c.raw_bytes.as_bytes(),
        )?;
        narrow(
            &mut root.timestamp_authorities,
            |ta| (&ta.cert_chain.certificates, &mut ta.valid_for),
            |c| c.raw_bytes.as_bytes(),
        )?;
        // GitHub's first authority was not for timestamps alone; it is left out rather than refusing the whole root for it.
        root.timestamp_authorities.retain(|authority| {
            authority.cert_chain.certificates.first().is_some_and(|certificate| stamps_only(certificate.raw_bytes.as_bytes()))
        });
        let signer = |authority: &sigstore_trust_root::TimestampAuthority| {
            authority.cert_chain.certificates.first().map(|certificate| certificate.raw_bytes.as_bytes().to_vec())
        };
        let timestamp_signers = root.timestamp_authorities.iter().filter_map(signer).collect();
        let verifier = Verifier::new(&root).map_err(|error| from_library(&error))?;
        Ok(Self { verifier, logs, certificate_logs: root.ctlogs.len(), timestamp_signers, leaf_needs_intermediates })
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// The certificates, in DER, that timestamp authorities sign with.
    pub(crate) fn timestamp_signers(&self) -> &[Vec<u8>] {
        &self.timestamp_signers
    }

    /// The transparency log with this id.
    pub(crate) fn log(&self, id: &[u8]) -> Option<&Log> {
        self.logs.iter().find(|log| log.id == id)
    }

    /// Whether the instance has transparency logs.
    pub(crate) fn has_logs(&self) -> bool {
        !self.logs.is_empty()
    }

    /// Whether the instance logs its certificates.
    pub(crate) fn has_certificate_logs(&self) -> bool {
        self.certificate_logs > 0
    }

    /// Whether every authority is given by its root alone, so that a bundle must bring the certificates between.
    pub(crate) fn needs_intermediates(&self) -> bool {
        self.leaf_needs_intermediates
    }
}

impl fmt::Debug for SigstoreRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.logs.iter().map(|log| log.name.as_str()).collect();
        f.debug_struct("SigstoreRoot").field("logs", &names).finish_non_exhaustive()
    }
}

/// Host and port of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// Checks that a log's id is made from its key: SHA-256 of the SPKI, or for Ed25519 of the signed-note key as Rekor v2 does.
fn log_id(id: &[u8], key: &DerPublicKey, url: &str) -> Result<[u8; 32], Refusal> {
    let of_key = Sha256::of(key.as_bytes()).0;
    let mut note = authority(url).as_bytes().to_vec();
    note.extend_from_slice(&[0x0a, 0x01]);
    note.extend_from_slice(key.as_bytes().last_chunk::<32>().map_or(&[][..], |key| key));
    let of_note = Sha256::of(&note).0;
    let ed25519 = KeyAlgorithm::from_spki(key).is_ok_and(|algorithm| algorithm == KeyAlgorithm::Ed25519);
    match <[u8; 32]>::try_from(id) {
        Ok(id) if id == of_key || (ed25519 && id == of_note) => Ok(id),
        _ => Err(Check::RootLogId.refuse(format_args!("{url}: {}", hex::encode(id)), hex::encode(of_key))),
    }
}

/// Checks that the key is of the kind the root says it is.
fn key_as_declared(url: &str, details: &str, key: &DerPublicKey) -> Result<(), Refusal> {
    let seen = KeyAlgorithm::from_spki(key).map_err(|error| Check::RootKey.refuse(format_args!("{url}: {error}"), details))?;
    let declared = match seen {
        KeyAlgorithm::EcdsaP256 => details.starts_with("PKIX_ECDSA_P256"),
        KeyAlgorithm::EcdsaP384 => details.starts_with("PKIX_ECDSA_P384"),
        KeyAlgorithm::Ed25519 => details.starts_with("PKIX_ED25519"),
        KeyAlgorithm::Rsa => details.contains("RSA"),
        _ => details.contains("ML_DSA"),
    };
    if declared { Ok(()) } else { Err(Check::RootKey.refuse(format_args!("{url}: a key of kind {seen:?}"), details)) }
}

/// A log's window must have a start; the end may be open.
fn window_start(url: &str, window: Option<TimeRange>) -> Result<Timestamp, Refusal> {
    let window = window.ok_or_else(|| Check::RootWindow.refuse(format_args!("{url}: no validFor"), "validFor with a start"))?;
    if window.end.is_some_and(|end| end < window.start) {
        return Err(Check::RootWindow.refuse(format_args!("{url}: ends before it starts"), "start before end"));
    }
    Ok(window.start)
}

/// Whether a certificate is for timestamps and for nothing else, and says so as critical (RFC 3161, 2.3).
fn stamps_only(der: &[u8]) -> bool {
    let usage = Certificate::from_der(der).and_then(|certificate| certificate.tbs_certificate.get::<ExtendedKeyUsage>());
    matches!(usage, Ok(Some((true, usage))) if usage.0 == [TIME_STAMPING])
}

/// Cuts each authority's window down to the dates of every certificate in its chain. The library takes those certificates as
/// anchors, and anchors carry no dates; this way an expired one anchors nothing. An authority without any time left is dropped.
fn narrow<A, C>(
    authorities: &mut Vec<A>,
    mut parts: impl FnMut(&mut A) -> (&[C], &mut Option<TimeRange>),
    der: impl Fn(&C) -> &[u8],
) -> Result<(), Refusal> {
    let mut failure = None;
    authorities.retain_mut(|authority| {
        let (chain, window) = parts(authority);
        match narrowed(chain.iter().map(&der), *window) {
            Ok(cut) => {
                let alive = cut.end.is_none_or(|end| end >= cut.start);
                *window = Some(cut);
                alive
            }
            Err(refusal) => {
                failure.get_or_insert(refusal);
                true
            }
        }
    });
    failure.map_or(Ok(()), Err)
}

fn narrowed<'a>(chain: impl Iterator<Item = &'a [u8]>, window: Option<TimeRange>) -> Result<TimeRange, Refusal> {
    let bad = |why: &dyn fmt::Display| Check::RootChain.refuse(why, "certificates that parse");
    if let Some(TimeRange { start, end: Some(end) }) = window
        && end < start
    {
        return Err(Check::RootWindow.refuse("an authority's window ends before it starts", "start before end"));
    }
    let mut cut = window;
    for der in chain {
        let certificate = Certificate::from_der(der).map_err(|error| bad(&error))?;
        let dates = certificate.tbs_certificate.validity;
        let at = |time: x509_cert::time::Time| Timestamp::try_from(time.to_system_time()).map_err(|error| bad(&error));
        let (from, to) = (at(dates.not_before)?, at(dates.not_after)?);
        cut = Some(match cut {
            None => TimeRange::new(from, Some(to)),
            Some(range) => TimeRange::new(range.start.max(from), Some(range.end.map_or(to, |end| end.min(to)))),
        });
    }
    cut.ok_or_else(|| bad(&"empty chain"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn public_good() -> serde_json::Value {
        serde_json::from_str(SigstoreInstance::PublicGood.embedded_trusted_root_json()).unwrap()
    }

    fn code(edit: impl FnOnce(&mut serde_json::Value)) -> String {
        let mut root = public_good();
        edit(&mut root);
        SigstoreRoot::parse(&serde_json::to_vec(&root).unwrap()).unwrap_err().code.into_owned()
    }

    #[test]
    fn embedded_roots_load_and_tell_their_profile() {
        let public = SigstoreRoot::public_good().unwrap();
        assert!(public.has_logs() && public.has_certificate_logs());
        let github = SigstoreRoot::github().unwrap();
        assert!(!github.has_logs() && !github.has_certificate_logs());
    }

    #[test]
    fn each_defect_has_its_own_refusal() {
        assert_eq!(code(|root| root["mediaType"] = "application/json".into()), "SLW-V-ROOT-MEDIA-TYPE");
        assert_eq!(code(|root| root["tlogs"][0]["logId"]["keyId"] = "AAAA".into()), "SLW-V-ROOT-LOG-ID");
        assert_eq!(code(|root| root["ctlogs"][1]["logId"] = root["ctlogs"][0]["logId"].clone()), "SLW-V-ROOT-LOG-ID");
        assert_eq!(code(|root| root["tlogs"][0]["publicKey"]["validFor"] = serde_json::Value::Null), "SLW-V-ROOT-WINDOW");
        assert_eq!(
            code(|root| root["tlogs"][0]["publicKey"]["validFor"]["end"] = "1999-01-01T00:00:00Z".into()),
            "SLW-V-ROOT-WINDOW"
        );
        assert_eq!(code(|root| root["tlogs"][0]["publicKey"]["keyDetails"] = "PKIX_ED25519".into()), "SLW-V-ROOT-KEY");
        assert_eq!(
            code(|root| root["certificateAuthorities"][0]["certChain"]["certificates"] = serde_json::json!([])),
            // The window is stated, so only the library sees that nothing is in the chain.
            "SLW-V-ROOT-MALFORMED"
        );
        assert_eq!(
            code(|root| {
                let first = root["tlogs"][0].clone();
                root["tlogs"].as_array_mut().unwrap().push(first);
            }),
            "SLW-V-ROOT-LOG-ID"
        );
        let text = SigstoreInstance::PublicGood.embedded_trusted_root_json();
        let twice = text.replacen('{', r#"{"tlogs":[],"#, 1);
        assert_eq!(SigstoreRoot::parse(twice.as_bytes()).unwrap_err().code, "SLW-V-ROOT-MALFORMED");
        assert_eq!(SigstoreRoot::parse(&vec![b' '; 300_000]).unwrap_err().code, "SLW-V-ROOT-SIZE");
    }
}
