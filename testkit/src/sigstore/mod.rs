//! A private Sigstore in memory: imitates Fulcio, its CT log, Rekor v1 and v2, and a timestamp authority.
//!
//! [`PrivateSigstore`] signs anything at any time as anybody, as a test of a verifier needs. Its certificates, SCTs, Merkle proofs,
//! checkpoints and RFC 3161 tokens are valid; they are checked with sigstore-verify 0.15.1, too. They prove nothing: every key is the
//! hash of a public name, so trusting [`PrivateSigstore::trusted_root`] means trusting everybody. Instances of one name are the same.
//!
//! | part | in |
//! |---|---|
//! | what is signed: SLSA provenance as real builders write it | `attestation`, [`builders`] |
//! | who signs: root, intermediate, ten-minute leaf with its SCT | `certificates` |
//! | proof that it was logged, as its builder logs | `log`, `entries` |
//! | proof of when | `timestamp` |
//! | DER and keys | `asn1`, `keys`, `rsa` |

mod asn1;
mod attestation;
pub mod builders;
mod certificates;
mod entries;
mod forgery;
mod keys;
mod log;
mod rsa;
mod timestamp;

pub use attestation::{Attestation, DEFAULT_SIGNED_AT, Evidence, PredicateKind, Subject, generator_generic};
pub use certificates::{LEAF_LIFETIME, WORLD_BEGINS, WORLD_ENDS};
pub use entries::{BUILDERS, EntryKind, LoggedAs, entry_kind};
pub use forgery::{CertificateForgery, Forgery, IntermediateForgery, SctForgery, TokenForgery};
pub use keys::ManagedKey;
pub use rsa::RsaKind;

pub(crate) use asn1::pem;
use base64::Engine as _;
use certificates::{Chain, LeafRequest};
use keys::Key;
use log::Log;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The payload type of in-toto statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

pub(crate) fn b64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// What the signature is about.
enum Content<'a> {
    Statement(&'a [u8]),
    Blob(&'a [u8]),
}

impl Content<'_> {
    /// The bytes the signature covers: DSSE's pre-authentication encoding, or the artifact itself.
    fn signed_bytes(&self) -> Vec<u8> {
        match self {
            Self::Statement(payload) => {
                let mut pae = format!("DSSEv1 {} {IN_TOTO} {} ", IN_TOTO.len(), payload.len()).into_bytes();
                pae.extend_from_slice(payload);
                pae
            }
            Self::Blob(bytes) => bytes.to_vec(),
        }
    }
}

/// Who signs, as the log and the bundle name them.
struct Verifier {
    material: (&'static str, Value),
    pem: String,
    rekor2: Value,
}

/// See the [module](self).
#[derive(Debug)]
pub struct PrivateSigstore {
    name: String,
    fulcio: Chain,
    ct_log: Key,
    timestamping: Chain,
    rekor: Log,
    rekor2: Log,
}

impl PrivateSigstore {
    /// The private Sigstore of this name, which becomes part of host names. Another name means other keys, and neither's root accepts the other's bundles.
    pub fn new(name: &str) -> Self {
        Self::with(name, None)
    }

    /// One whose certificate and timestamp authorities sign with RSA.
    pub fn with_rsa(name: &str, kind: RsaKind) -> Self {
        Self::with(name, Some(kind))
    }

    fn with(name: &str, rsa: Option<RsaKind>) -> Self {
        let seed = format!("slipway-testkit {name}");
        let organization = format!("{name}.test (not for production)");
        Self {
            fulcio: Chain::fulcio(&organization, &seed, rsa),
            ct_log: Key::p256(&format!("{seed} ct log")),
            timestamping: Chain::timestamping(&organization, &seed, rsa),
            rekor: Log::v1(&format!("rekor.{name}.test"), Key::p256(&format!("{seed} rekor"))),
            rekor2: Log::v2(&format!("log2025-1.rekor.{name}.test"), Key::ed25519(&format!("{seed} rekor v2"))),
            name: name.to_owned(),
        }
    }

    /// `trusted_root.json` with everything in it.
    pub fn trusted_root(&self) -> Vec<u8> {
        to_bytes(&self.trusted_root_value())
    }

    /// [`Self::trusted_root`] before it is written, for tests that change it.
    pub fn trusted_root_value(&self) -> Value {
        let window = json!({"start": "2020-01-01T00:00:00Z", "end": "2045-01-01T00:00:00.000Z"});
        let started = json!({"start": "2020-01-01T00:00:00Z"});
        let authority = |uri: String, common_name: &str, chain: &Chain| {
            json!({
                "subject": {"organization": format!("{}.test (not for production)", self.name), "commonName": common_name},
                "uri": uri,
                "certChain": {"certificates": [
                    {"rawBytes": b64(&chain.issued.der)},
                    {"rawBytes": b64(&chain.root.der)},
                ]},
                "validFor": window,
            })
        };
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [self.rekor.trusted(&started), self.rekor2.trusted(&started)],
            "certificateAuthorities": [authority(format!("https://fulcio.{}.test", self.name), "fulcio root", &self.fulcio)],
            "ctlogs": [{
                "baseUrl": format!("https://ctfe.{}.test/2022", self.name),
                "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": b64(&self.ct_log.spki()),
                    "keyDetails": self.ct_log.details(),
                    "validFor": started,
                },
                "logId": {"keyId": b64(&self.ct_log.id())},
            }],
            "timestampAuthorities": [
                authority(format!("https://timestamp.{}.test/api/v1/timestamp", self.name), "tsa root", &self.timestamping),
            ],
        })
    }

    /// Another certificate of the intermediate authority, for its key and name, so that it issued every leaf as well: for a bundle's chain, under
    /// a trusted root that names the root alone.
    pub fn intermediate(&self, forgery: IntermediateForgery) -> Vec<u8> {
        self.fulcio.intermediate(forgery)
    }

    /// A trusted root without logs, like GitHub's for private repositories: for bundles of [`Evidence::TimestampOnly`].
    pub fn trusted_root_timestamps_only(&self) -> Vec<u8> {
        let mut root = self.trusted_root_value();
        root["tlogs"] = json!([]);
        root["ctlogs"] = json!([]);
        to_bytes(&root)
    }

    /// Signs the statement of `attestation` and returns a Sigstore bundle of version 0.3.
    pub fn attest(&self, attestation: &Attestation) -> Vec<u8> {
        to_bytes(&self.attest_value(attestation))
    }

    /// [`Self::attest`] before it is written, for tests that change it.
    pub fn attest_value(&self, attestation: &Attestation) -> Value {
        self.seal(attestation, &Content::Statement(&attestation.payload()))
    }

    /// What slsa-github-generator's generic generator wrote before v2, and KubeEdge published up to v1.20: a DSSE envelope with the
    /// certificate beside the signature, and neither chain nor log entry nor timestamp, byte for byte in the form of
    /// `slsa/envelopes/generic-v1.10.0.intoto.jsonl` among the test vectors. Nobody can verify it offline.
    pub fn attest_without_evidence(&self, attestation: &Attestation) -> Vec<u8> {
        let payload = attestation.payload();
        let message = Content::Statement(&payload).signed_bytes();
        let (key, verifier) = self.verifier(attestation, &message);
        envelope_file(&payload, &key.sign(&message), Some(&verifier.pem))
    }

    /// Signs `payload` as an in-toto statement, whatever it is, as the signer of `attestation` and with its evidence.
    pub fn attest_payload(&self, attestation: &Attestation, payload: &[u8]) -> Vec<u8> {
        to_bytes(&self.seal(attestation, &Content::Statement(payload)))
    }

    /// Signs `artifact` itself (a `messageSignature`), as the signer of `attestation` and with its evidence.
    pub fn sign_blob(&self, attestation: &Attestation, artifact: &[u8]) -> Vec<u8> {
        to_bytes(&self.seal(attestation, &Content::Blob(artifact)))
    }

    fn seal(&self, attestation: &Attestation, content: &Content<'_>) -> Value {
        let message = content.signed_bytes();
        let (key, verifier) = self.verifier(attestation, &message);
        let signature = key.sign(&message);

        let log_entry = match attestation.evidence {
            Evidence::RekorV1 | Evidence::RekorV1AndTimestamp => {
                let body = edited(rekor_body(content, &signature, &verifier, attestation.entry_kind()), attestation.forgery);
                Some(self.rekor.append(&body, attestation.signed_at))
            }
            Evidence::RekorV2 => {
                let body = edited(rekor2_body(&message, &signature, &verifier), attestation.forgery);
                Some(self.rekor2.append(&body, attestation.signed_at))
            }
            Evidence::TimestampOnly => None,
        };
        let forgery = match attestation.forgery {
            Some(Forgery::Token(forgery)) => Some(forgery),
            _ => None,
        };
        let token = match attestation.evidence {
            Evidence::RekorV1 => None,
            _ => Some(timestamp::token(&self.timestamping, &signature, attestation.signed_at, forgery)),
        };

        let mut material = serde_json::Map::new();
        material.insert(verifier.material.0.to_owned(), verifier.material.1);
        if let Some(entry) = log_entry {
            material.insert("tlogEntries".to_owned(), json!([entry]));
        }
        if let Some(token) = token {
            let tokens = json!({"rfc3161Timestamps": [{"signedTimestamp": b64(&token)}]});
            material.insert("timestampVerificationData".to_owned(), tokens);
        }
        let (content_key, content_value) = match content {
            Content::Statement(payload) => (
                "dsseEnvelope",
                json!({"payload": b64(payload), "payloadType": IN_TOTO, "signatures": [{"sig": b64(&signature)}]}),
            ),
            Content::Blob(bytes) => (
                "messageSignature",
                json!({
                    "messageDigest": {"algorithm": "SHA2_256", "digest": b64(&sha256(bytes))},
                    "signature": b64(&signature),
                }),
            ),
        };
        let mut bundle = json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": material,
        });
        bundle[content_key] = content_value;
        bundle
    }

    /// The signing key and how it is named: a fresh leaf, or the managed key of the attestation.
    fn verifier(&self, attestation: &Attestation, message: &[u8]) -> (Key, Verifier) {
        if let Some(ManagedKey(key)) = &attestation.managed_key {
            let spki = key.spki();
            let verifier = Verifier {
                material: ("publicKey", json!({"hint": b64(&key.id())})),
                pem: asn1::pem("PUBLIC KEY", &spki),
                rekor2: json!({"keyDetails": key.details(), "publicKey": {"rawBytes": b64(&spki)}}),
            };
            return (key.clone(), verifier);
        }
        // Fresh for every signature, as cosign does it, and yet the same on every run.
        let key = Key::p256(&format!("{} leaf {} {}", self.name, hex::encode(sha256(message)), attestation.certified_at));
        let claims = attestation.claims();
        let request = LeafRequest {
            identity: &attestation.identity,
            claims: &claims,
            not_before: attestation.certified_at,
            forgery: attestation.forgery,
        };
        let logged = attestation.sct && attestation.evidence != Evidence::TimestampOnly;
        let der = self.fulcio.leaf(&request, &key, logged.then_some(&self.ct_log));
        let verifier = Verifier {
            material: ("certificate", json!({"rawBytes": b64(&der)})),
            pem: asn1::pem("CERTIFICATE", &der),
            rekor2: json!({"keyDetails": key.details(), "x509Certificate": {"rawBytes": b64(&der)}}),
        };
        (key, verifier)
    }
}

fn to_bytes(value: &Value) -> Vec<u8> {
    serde_json::to_vec(value).expect("JSON values serialize")
}

fn edited(mut body: Value, forgery: Option<Forgery>) -> Value {
    if let Some(Forgery::Body(edit)) = forgery {
        edit(&mut body);
    }
    body
}

/// A file with a DSSE envelope as Go writes it for slsa-github-generator, or without a certificate for cosign.
pub(crate) fn envelope_file(payload: &[u8], signature: &[u8], pem: Option<&str>) -> Vec<u8> {
    let cert = pem.map(|pem| format!(",\"cert\":{}", Value::from(pem))).unwrap_or_default();
    let signatures = format!(r#"[{{"keyid":"","sig":"{}"{cert}}}]"#, b64(signature));
    format!(r#"{{"payloadType":"{IN_TOTO}","payload":"{}","signatures":{signatures}}}"#, b64(payload)).into_bytes()
}

/// An entry of Rekor's first generation: for a statement of the builder's kind, `hashedrekord` 0.0.1 for a blob.
fn rekor_body(content: &Content<'_>, signature: &[u8], verifier: &Verifier, kind: EntryKind) -> Value {
    let digest = |bytes: &[u8]| json!({"algorithm": "sha256", "value": hex::encode(sha256(bytes))});
    let pem = b64(verifier.pem.as_bytes());
    let payload = match content {
        Content::Statement(payload) => payload,
        Content::Blob(bytes) => {
            return json!({"apiVersion": "0.0.1", "kind": "hashedrekord", "spec": {
                "data": {"hash": digest(bytes)},
                "signature": {"content": b64(signature), "publicKey": {"content": pem}},
            }});
        }
    };
    // The hash of the whole envelope is over the submitter's own JSON. Only `intoto` 0.0.1 leaves it as all that binds the signature.
    let file = |certificate: bool| digest(&envelope_file(payload, signature, certificate.then_some(&verifier.pem)));
    match kind {
        EntryKind::Dsse => json!({"apiVersion": "0.0.1", "kind": "dsse", "spec": {
            "envelopeHash": file(false),
            "payloadHash": digest(payload),
            "signatures": [{"signature": b64(signature), "verifier": pem}],
        }}),
        EntryKind::Intoto001 { certificate } => json!({"apiVersion": "0.0.1", "kind": "intoto", "spec": {
            "content": {"hash": file(certificate), "payloadHash": digest(payload)},
            "publicKey": pem,
        }}),
        EntryKind::Intoto002 => json!({"apiVersion": "0.0.2", "kind": "intoto", "spec": {"content": {
            "envelope": {
                "payloadType": IN_TOTO,
                "signatures": [{"publicKey": pem, "sig": b64(b64(signature).as_bytes())}],
            },
            "hash": file(true),
            "payloadHash": digest(payload),
        }}}),
    }
}

/// An entry of Rekor's second generation: always the digest of the signed bytes.
fn rekor2_body(message: &[u8], signature: &[u8], verifier: &Verifier) -> Value {
    json!({"apiVersion": "0.0.2", "kind": "hashedrekord", "spec": {"hashedRekordV002": {
        "data": {"algorithm": "SHA2_256", "digest": b64(&sha256(message))},
        "signature": {"content": b64(signature), "verifier": verifier.rekor2},
    }}})
}
