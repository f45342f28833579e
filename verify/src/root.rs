//! Sigstore's trusted root: the keys and certificates that anchor verification, validated as a whole.

use crate::authority::{Authority, TIME_STAMPING};
use crate::certificate::CODE_SIGNING;
use crate::error::Check;
use crate::key::Key;
use crate::provider;
use format::{AuthorityInstance, KeyKind, LogInstance, TrustedRoot};
use sigstore_trust_root::SigstoreInstance;
use sigstore_types::TimeRange;
use slipway_protocol::{Refusal, Sha256, json};
use std::collections::BTreeSet;
use std::fmt;

mod format;

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
    /// Ids of logs that are in the root and cannot be verified with.
    unsupported_logs: BTreeSet<Vec<u8>>,
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
    /// ```
    /// use slipway_verify::SigstoreRoot;
    ///
    /// assert!(SigstoreRoot::parse(SigstoreRoot::public_good_json().as_bytes()).is_ok());
    /// assert_eq!(SigstoreRoot::parse(b"{}").unwrap_err().code, "SLW-V-ROOT-MALFORMED");
    /// ```
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
        let (logs, certificate_logs) = (read_logs(&root.tlogs)?, read_logs(&root.ctlogs)?);
        // Sigstore's public root has one retired authority like this; only where all are is the bundle left to bring what is between.
        let leaf_needs_intermediates = !root.certificate_authorities.is_empty()
            && root.certificate_authorities.iter().all(|ca| ca.cert_chain.certificates.len() == 1);
        let authorities = |instances: &[AuthorityInstance], purpose| {
            let chain = |authority: &AuthorityInstance| {
                let certificates = authority.cert_chain.certificates.iter();
                Authority::parse(certificates.map(|certificate| certificate.raw_bytes.as_bytes()), authority.valid_for, purpose)
            };
            instances.iter().map(chain).collect::<Result<Vec<_>, _>>()
        };
        let certifying = authorities(&root.certificate_authorities, CODE_SIGNING)?;
        let mut timestamp_authorities = authorities(&root.timestamp_authorities, TIME_STAMPING)?;
        // GitHub's first authority was not for timestamps alone; it is omitted; the rest of the root is used.
        timestamp_authorities.retain(Authority::stamps_only);
        let supported: BTreeSet<[u8; 32]> = logs.iter().chain(&certificate_logs).map(|log| log.id).collect();
        let stated = root.tlogs.iter().chain(&root.ctlogs).map(|log| log.log_id.key_id.as_bytes());
        let unsupported_logs = stated.filter(|id| !supported.iter().any(|known| known == id)).map(<[u8]>::to_vec).collect();
        Ok(Self {
            logs,
            certificate_logs,
            unsupported_logs,
            logs_certificates: !root.ctlogs.is_empty(),
            logs_signatures: !root.tlogs.is_empty(),
            authorities: certifying,
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

    /// Refuses a log of the root that was omitted for its kind of key or tree.
    pub(crate) fn supports_log(&self, id: &[u8]) -> Result<(), Refusal> {
        if self.unsupported_logs.contains(id) {
            let seen = format_args!("log {} with another kind of key or tree", hex::encode(id));
            return Err(Check::RootKey.refuse(seen, "ECDSA P-256, ECDSA P-384 or Ed25519, and a tree of SHA-256"));
        }
        Ok(())
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

/// Host and port of a URL as a log names itself by them on checkpoints: the host in small letters, no port where it is the scheme's
/// own (RFC 3986 sections 6.2.2.1 and 6.2.3). A user in it is not of the log's name.
fn authority(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_ascii_lowercase();
    let authority = authority.strip_suffix(':').map_or_else(|| authority.clone(), str::to_owned);
    let own = match scheme.to_ascii_lowercase().as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return authority,
    };
    authority.strip_suffix(own).map_or_else(|| authority.clone(), str::to_owned)
}

/// All logs that can be verified with. A retired log may have a kind of key that is not supported, as staging's has; it is left out rather than
/// refusing the whole root for it.
fn read_logs(instances: &[LogInstance]) -> Result<Vec<Log>, Refusal> {
    let mut ids = BTreeSet::new();
    let mut logs = Vec::new();
    for instance in instances {
        if !ids.insert(instance.log_id.key_id.as_bytes()) {
            return Err(Check::RootLogId.refuse(format_args!("{} twice", instance.base_url), "each log once"));
        }
        logs.extend(read_log(instance)?);
    }
    Ok(logs)
}

/// A log, with a key of the kind that the root says it is and an id made from that key: SHA-256 of the SPKI, or for Ed25519 of the
/// signed-note key as Rekor v2 does. None if it is of a kind that is not supported.
fn read_log(instance: &LogInstance) -> Result<Option<Log>, Refusal> {
    let (url, stated) = (&instance.base_url, &instance.public_key);
    let window = window(url, stated.valid_for)?;
    let Some(kind) = stated.kind().filter(|_| instance.is_of_sha256()) else { return Ok(None) };
    let (spki, details) = (stated.raw_bytes.as_bytes(), &stated.key_details.0);
    let key = Key::from_spki(spki).map_err(|why| Check::RootKey.refuse(format_args!("{url}: {why}"), details))?;
    let name = authority(url);
    let (of_kind, of_note) = match &key {
        Key::P256(_) => (KeyKind::P256, None),
        Key::P384(_) => (KeyKind::P384, None),
        Key::Ed25519(key) => (KeyKind::Ed25519, Some(Sha256::of(&[name.as_bytes(), &[0x0a, 0x01], key.as_bytes()].concat()).0)),
    };
    if of_kind != kind {
        return Err(Check::RootKey.refuse(format_args!("{url}: a key of kind {}", key.kind()), details));
    }
    let (of_key, id) = (Sha256::of(spki).0, instance.log_id.key_id.as_bytes());
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
    fn embedded_roots_load_and_have_their_profile() {
        let public = SigstoreRoot::public_good().unwrap();
        assert!(public.has_logs() && public.has_certificate_logs());
        let github = SigstoreRoot::github().unwrap();
        assert!(!github.has_logs() && !github.has_certificate_logs());
    }

    /// Unknown content that a root may have: it is omitted, and the rest is trusted as before.
    #[test]
    fn unknown_parts_are_omitted_and_refuse_nothing_else() {
        let logs = |edit: &dyn Fn(&mut serde_json::Value)| {
            let mut root = public_good();
            edit(&mut root);
            SigstoreRoot::parse(&serde_json::to_vec(&root).unwrap()).map(|root| root.logs.len()).map_err(|why| why.code)
        };
        let all = logs(&|_| {}).unwrap();
        assert!(all > 1);
        let details = |value: serde_json::Value| {
            move |root: &mut serde_json::Value| root["tlogs"][0]["publicKey"]["keyDetails"] = value.clone()
        };
        for (value, left) in [
            (serde_json::json!("PKIX_ECDSA_P256_SHA_256"), all),
            (serde_json::json!(5), all),
            (serde_json::json!("5"), all),
            (serde_json::json!("ML_DSA_65"), all - 1),
            (serde_json::json!(21), all - 1),
            (serde_json::json!(99), all - 1),
            (serde_json::json!(-1), all - 1),
            (serde_json::json!("PKIX_ECDSA_P256_HMAC_SHA_256"), all - 1),
        ] {
            assert_eq!(logs(&details(value.clone())), Ok(left), "{value}");
        }
        // What protobuf's JSON leaves out because it is not specified.
        for (name, left) in [("baseUrl", all), ("hashAlgorithm", all - 1)] {
            let edit = |root: &mut serde_json::Value| _ = root["tlogs"][0].as_object_mut().unwrap().remove(name);
            assert_eq!(logs(&edit), Ok(left), "{name}");
        }
        let edit = |root: &mut serde_json::Value| _ = root["tlogs"][0]["publicKey"].as_object_mut().unwrap().remove("keyDetails");
        assert_eq!(logs(&edit), Ok(all - 1));
        assert_eq!(logs(&|root| root["tlogs"][0]["hashAlgorithm"] = 1.into()), Ok(all));
        assert_eq!(logs(&|root| root["tlogs"][0]["hashAlgorithm"] = "SHA3_256".into()), Ok(all - 1));
        for value in
            [serde_json::json!(1.5), serde_json::json!(4_294_967_296_u64), serde_json::json!([]), serde_json::json!(null)]
        {
            assert_eq!(logs(&details(value.clone())).unwrap_err(), "SLW-V-ROOT-MALFORMED", "{value}");
        }
        // The number of another kind than the key's is as wrong as its name.
        assert_eq!(logs(&details(serde_json::json!(12))).unwrap_err(), "SLW-V-ROOT-KEY");
        // serde's own reading of structs takes an array for any of these.
        for pointer in [
            "",
            "/tlogs/0",
            "/tlogs/0/logId",
            "/tlogs/0/publicKey",
            "/certificateAuthorities/0",
            "/certificateAuthorities/0/certChain",
        ] {
            let edit = |root: &mut serde_json::Value| {
                let value = root.pointer_mut(pointer).unwrap();
                *value = value.as_object().unwrap().values().cloned().collect::<Vec<_>>().into();
            };
            assert_eq!(logs(&edit).unwrap_err(), "SLW-V-ROOT-MALFORMED", "{pointer}");
        }
    }

    #[test]
    fn a_log_is_named_by_host_and_port_alone() {
        for (url, name) in [
            ("https://rekor.example", "rekor.example"),
            ("https://rekor.example/", "rekor.example"),
            ("https://rekor.example:443", "rekor.example"),
            ("HTTPS://Rekor.Example:443/api", "rekor.example"),
            ("https://rekor.example:8443/x", "rekor.example:8443"),
            ("https://rekor.example:80", "rekor.example:80"),
            ("http://rekor.example:80/?q", "rekor.example"),
            ("rekor.example:443", "rekor.example:443"),
            ("https://user:password@rekor.example:443/@", "rekor.example"),
            ("https://rekor.example:/", "rekor.example"),
            ("https://rekor.example:1443", "rekor.example:1443"),
        ] {
            assert_eq!(authority(url), name, "{url}");
        }
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
