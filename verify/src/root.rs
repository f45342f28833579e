//! Sigstore's trusted root: the keys and certificates that anchor verification, parsed once and validated whole.

use crate::authority::{Authority, TIME_STAMPING};
use crate::certificate::CODE_SIGNING;
use crate::error::Check;
use crate::key::Key;
use crate::provider;
use sigstore_trust_root::trusted_root::{CertChain, PublicKey};
use sigstore_trust_root::{SigstoreInstance, TrustedRoot};
use sigstore_types::TimeRange;
use slipway_protocol::{Refusal, Sha256, json};
use std::collections::BTreeSet;
use std::fmt;

/// The largest real root has 32 KB and a nesting of 6.
const LIMITS: json::Limits = json::Limits { bytes: 256 * 1024, depth: 16 };
/// Formats that this code was written against.
const MEDIA_TYPES: [&str; 3] = [
    "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
    "application/vnd.dev.sigstore.trustedroot.v0.1+json",
    "application/vnd.dev.sigstore.trustedroot.v0.2+json",
];

/// A trusted root that passed every check, ready to verify with: its keys are decoded, its certificates parsed.
pub struct SigstoreRoot {
    logs: Vec<Log>,
    certificate_logs: Vec<Log>,
    logs_certificates: bool,
    logs_signatures: bool,
    authorities: Vec<Authority>,
    timestamp_authorities: Vec<Authority>,
    leaf_needs_intermediates: bool,
}

/// A transparency log or a certificate log that is trusted.
pub(crate) struct Log {
    /// SHA-256 of its key, as bundles and certificates name it.
    pub(crate) id: [u8; 32],
    /// Host and port of its address, which is its name on checkpoints.
    pub(crate) name: String,
    /// Its key.
    pub(crate) key: Key,
    /// When its key was in force.
    pub(crate) window: TimeRange,
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
        let root: TrustedRoot = json::from_slice(bytes).map_err(|error| Check::RootMalformed.refuse(error, "a trusted root"))?;
        Self::validate(&root)
    }

    /// The root of Sigstore's public-good instance, as shipped with this program.
    ///
    /// # Errors
    /// Never, as a test shows; the type says so because it goes through the same checks.
    pub fn public_good() -> Result<Self, Refusal> {
        Self::parse(Self::public_good_json().as_bytes())
    }

    /// The bytes of [`Self::public_good`], for whoever remembers which root was used.
    #[must_use]
    pub fn public_good_json() -> &'static str {
        SigstoreInstance::PublicGood.embedded_trusted_root_json()
    }

    /// The root of GitHub's instance for private repositories, as shipped with this program. It has no logs, only timestamps.
    ///
    /// # Errors
    /// As [`Self::public_good`].
    pub fn github() -> Result<Self, Refusal> {
        Self::parse(Self::github_json().as_bytes())
    }

    /// The bytes of [`Self::github`], for whoever gives it to devices.
    #[must_use]
    pub fn github_json() -> &'static str {
        SigstoreInstance::GitHub.embedded_trusted_root_json()
    }

    fn validate(root: &TrustedRoot) -> Result<Self, Refusal> {
        if !MEDIA_TYPES.contains(&root.media_type.as_str()) {
            return Err(Check::RootMediaType.refuse(&root.media_type, MEDIA_TYPES.join(" or ")));
        }
        let mut logs = Vec::new();
        let mut ids = BTreeSet::new();
        for log in &root.tlogs {
            let id = log.log_id.key_id.as_bytes();
            if !ids.insert(id) {
                return Err(Check::RootLogId.refuse(format_args!("{} twice", log.base_url), "each log once"));
            }
            logs.extend(log_of(&log.base_url, id, &log.public_key)?);
        }
        let mut certificate_logs = Vec::new();
        let mut ids = BTreeSet::new();
        for log in &root.ctlogs {
            let id = log.log_id.key_id.as_bytes();
            if !ids.insert(id) {
                return Err(Check::RootLogId.refuse(format_args!("{} twice", log.base_url), "each log once"));
            }
            certificate_logs.extend(log_of(&log.base_url, id, &log.public_key)?);
        }
        // Sigstore's public root has one retired authority like this; only where all are is the bundle left to bring what is between.
        let leaf_needs_intermediates = !root.certificate_authorities.is_empty()
            && root.certificate_authorities.iter().all(|ca| ca.cert_chain.certificates.len() == 1);
        let authority = |chain: &CertChain, window, purpose| {
            Authority::parse(chain.certificates.iter().map(|certificate| certificate.raw_bytes.as_bytes()), window, purpose)
        };
        let authorities = root.certificate_authorities.iter();
        let authorities =
            authorities.map(|ca| authority(&ca.cert_chain, ca.valid_for, CODE_SIGNING)).collect::<Result<_, _>>()?;
        let stamping = root.timestamp_authorities.iter();
        let mut timestamp_authorities =
            stamping.map(|ta| authority(&ta.cert_chain, ta.valid_for, TIME_STAMPING)).collect::<Result<Vec<_>, _>>()?;
        // GitHub's first authority was not for timestamps alone; it is left out rather than refusing the whole root for it.
        timestamp_authorities.retain(Authority::stamps_only);
        Ok(Self {
            logs,
            certificate_logs,
            logs_certificates: !root.ctlogs.is_empty(),
            logs_signatures: !root.tlogs.is_empty(),
            authorities,
            timestamp_authorities,
            leaf_needs_intermediates,
        })
    }

    /// Who may certify signers.
    pub(crate) fn authorities(&self) -> &[Authority] {
        &self.authorities
    }

    /// Who may say when something was signed.
    pub(crate) fn timestamp_authorities(&self) -> &[Authority] {
        &self.timestamp_authorities
    }

    /// The transparency log with this id.
    pub(crate) fn log(&self, id: &[u8]) -> Option<&Log> {
        self.logs.iter().find(|log| log.id == id)
    }

    /// The certificate log with this id.
    pub(crate) fn certificate_log(&self, id: &[u8]) -> Option<&Log> {
        self.certificate_logs.iter().find(|log| log.id == id)
    }

    /// Whether the instance has transparency logs, be they such that cannot be verified here.
    pub(crate) fn has_logs(&self) -> bool {
        self.logs_signatures
    }

    /// Whether the instance logs its certificates, be it in logs that cannot be verified here.
    pub(crate) fn has_certificate_logs(&self) -> bool {
        self.logs_certificates
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

/// A log, with a key of the kind that the root says it is and an id made from that key: SHA-256 of the SPKI, or for Ed25519 of the
/// signed-note key as Rekor v2 does. None if its key is declared to be of a kind that is not supported: staging has a retired log with an
/// RSA key, which cannot be used here but must not brick the root.
fn log_of(url: &str, id: &[u8], stated: &PublicKey) -> Result<Option<Log>, Refusal> {
    let window = window(url, stated.valid_for)?;
    let details = stated.key_details.as_str();
    if !["PKIX_ECDSA_P256", "PKIX_ECDSA_P384", "PKIX_ED25519"].iter().any(|kind| details.starts_with(kind)) {
        return Ok(None);
    }
    let spki = stated.raw_bytes.as_bytes();
    let key = Key::from_spki(spki).map_err(|why| Check::RootKey.refuse(format_args!("{url}: {why}"), details))?;
    let name = authority(url).to_owned();
    let (kind, of_note) = match &key {
        Key::P256(_) => ("PKIX_ECDSA_P256", None),
        Key::P384(_) => ("PKIX_ECDSA_P384", None),
        Key::Ed25519(key) => ("PKIX_ED25519", Some(Sha256::of(&[name.as_bytes(), &[0x0a, 0x01], key.as_bytes()].concat()).0)),
    };
    if !details.starts_with(kind) {
        return Err(Check::RootKey.refuse(format_args!("{url}: a key of kind {}", key.kind()), details));
    }
    let of_key = Sha256::of(spki).0;
    let made = <[u8; 32]>::try_from(id).ok().filter(|id| *id == of_key || Some(*id) == of_note);
    let id = made.ok_or_else(|| Check::RootLogId.refuse(format_args!("{url}: {}", hex::encode(id)), hex::encode(of_key)))?;
    Ok(Some(Log { id, name, key, window }))
}

/// A log's window must have a start; the end may be open.
fn window(url: &str, window: Option<TimeRange>) -> Result<TimeRange, Refusal> {
    let window = window.ok_or_else(|| Check::RootWindow.refuse(format_args!("{url}: no validFor"), "validFor with a start"))?;
    if window.end.is_some_and(|end| end < window.start) {
        return Err(Check::RootWindow.refuse(format_args!("{url}: ends before it starts"), "start before end"));
    }
    Ok(window)
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
            "SLW-V-ROOT-CHAIN"
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
