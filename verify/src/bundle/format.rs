//! A Sigstore bundle as it is written: protobuf's JSON, with the names of sigstore/protobuf-specs' `sigstore_bundle.proto`.
//!
//! The Sigstore project's types know neither log entries of kind `intoto` 0.0.1 nor the `keyid` that such an entry is about, and take a chain
//! of any length and any number of entries; these hold what the gate lets through and nothing else. Bytes and 64-bit numbers are read
//! by the project's own readers.

use crate::error::Check;
use jiff::Timestamp;
use serde::Deserialize;
use sigstore_types::{
    CanonicalizedBody, DerCertificate, DigestBytes, HashAlgorithm, LogIndex, LogKeyId, PayloadBytes, Sha256Hash, SignatureBytes,
    SignedTimestamp, TimestampToken,
};
use slipway_protocol::Refusal;

/// A Sigstore bundle that has every part exactly once.
#[derive(Debug)]
pub(crate) struct Bundle {
    pub(crate) signer: Signer,
    pub(crate) content: Content,
    /// The entry in the transparency log.
    pub(crate) entry: Option<Entry>,
    /// RFC 3161 tokens, DER.
    pub(crate) tokens: Vec<TimestampToken>,
}

/// Who signed, as the bundle says.
#[derive(Debug)]
pub(crate) enum Signer {
    /// The signing certificate, then what the bundle brings of its chain.
    Certificates { leaf: DerCertificate, intermediates: Vec<DerCertificate> },
    /// A key that the verifier must know. What the bundle hints about it is unsigned and not read.
    Key,
}

/// What was signed.
#[derive(Debug)]
pub(crate) enum Content {
    /// The artifact itself.
    Message(MessageSignature),
    /// A statement about it.
    Envelope(Envelope),
}

/// A signature over an artifact.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MessageSignature {
    pub(crate) message_digest: Option<MessageDigest>,
    pub(crate) signature: SignatureBytes,
}

/// The artifact's digest. Unsigned.
#[derive(Debug, Deserialize)]
pub(crate) struct MessageDigest {
    pub(crate) algorithm: HashAlgorithm,
    pub(crate) digest: DigestBytes,
}

/// A DSSE envelope with its one signature.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) payload_type: String,
    pub(crate) payload: PayloadBytes,
    pub(crate) signature: SignatureBytes,
    /// A hint, unsigned; but a log entry of kind `intoto` 0.0.1 is about it too.
    pub(crate) keyid: String,
}

impl Envelope {
    /// What is signed: DSSE's pre-authentication encoding (DSSE 1.0.2, protocol.md).
    pub(crate) fn pre_authentication_encoding(&self) -> Vec<u8> {
        sigstore_types::dsse::pae(&self.payload_type, self.payload.as_bytes())
    }
}

/// An entry of a transparency log.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) kind: Kind,
    pub(crate) log_id: LogKeyId,
    /// Over all shards in Rekor v1.
    pub(crate) log_index: u64,
    /// Seconds since 1970; none in Rekor v2.
    pub(crate) integrated_time: Option<Timestamp>,
    /// The signed entry timestamp (SET).
    pub(crate) promise: Option<SignedTimestamp>,
    pub(crate) proof: Option<InclusionProof>,
    pub(crate) body: CanonicalizedBody,
}

/// A proof of inclusion in the log's tree (RFC 6962 section 2.1.1).
#[derive(Debug)]
pub(crate) struct InclusionProof {
    /// In the shard's own tree.
    pub(crate) log_index: u64,
    pub(crate) root_hash: Sha256Hash,
    pub(crate) tree_size: u64,
    pub(crate) hashes: Vec<Sha256Hash>,
    /// The signed note. Empty where the bundle has none.
    pub(crate) checkpoint: String,
}

/// The kinds of entries that bind a signature. `dsse` 0.0.2 was withdrawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Kind {
    HashedRekord001,
    HashedRekord002,
    Dsse001,
    Intoto001,
    Intoto002,
}

const KINDS: [(&str, &str, Kind); 5] = [
    ("hashedrekord", "0.0.1", Kind::HashedRekord001),
    ("hashedrekord", "0.0.2", Kind::HashedRekord002),
    ("dsse", "0.0.1", Kind::Dsse001),
    ("intoto", "0.0.1", Kind::Intoto001),
    ("intoto", "0.0.2", Kind::Intoto002),
];

impl Kind {
    /// The kind of this name and version, if it is one that binds.
    pub(super) fn of(name: &str, version: &str) -> Option<Self> {
        KINDS.iter().find(|(known, of, _)| *known == name && *of == version).map(|(.., kind)| *kind)
    }

    /// Name and version, `dsse 0.0.1`.
    pub(crate) fn words(self) -> String {
        KINDS.iter().find(|(.., kind)| *kind == self).map(|(name, version, _)| format!("{name} {version}")).unwrap_or_default()
    }

    /// All of them, for messages.
    pub(super) fn all() -> String {
        KINDS.map(|(name, version, _)| format!("{name} {version}")).join(", ")
    }

    /// Whether it is of Rekor's second generation.
    pub(crate) fn is_second_generation(self) -> bool {
        self == Self::HashedRekord002
    }
}

/// The document. Protobuf's JSON may write what is absent as `null`; so does it for messages, not for lists and texts, as the peer reads them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Document {
    verification_material: Material,
    message_signature: Option<MessageSignature>,
    dsse_envelope: Option<EnvelopeMessage>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Material {
    certificate: Option<Certificate>,
    x509_certificate_chain: Option<Chain>,
    public_key: Option<PublicKeyIdentifier>,
    #[serde(default)]
    tlog_entries: Vec<EntryMessage>,
    timestamp_verification_data: Option<Timestamps>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Certificate {
    raw_bytes: DerCertificate,
}

#[derive(Deserialize)]
struct Chain {
    certificates: Vec<Certificate>,
}

#[derive(Deserialize)]
struct PublicKeyIdentifier {
    /// Read for its type alone.
    #[serde(rename = "hint", default)]
    _hint: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Timestamps {
    #[serde(default)]
    rfc3161_timestamps: Vec<Timestamp3161>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Timestamp3161 {
    signed_timestamp: TimestampToken,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EnvelopeMessage {
    payload_type: String,
    payload: PayloadBytes,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: SignatureBytes,
    #[serde(default)]
    keyid: String,
}

/// Indexes, sizes and times are non-negative 64-bit numbers, each as text or number: what `LogIndex` reads.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EntryMessage {
    log_index: Option<LogIndex>,
    log_id: LogId,
    kind_version: KindVersion,
    integrated_time: Option<LogIndex>,
    inclusion_promise: Option<InclusionPromise>,
    inclusion_proof: Option<ProofMessage>,
    canonicalized_body: CanonicalizedBody,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LogId {
    key_id: LogKeyId,
}

#[derive(Deserialize)]
struct KindVersion {
    kind: String,
    version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InclusionPromise {
    signed_entry_timestamp: SignedTimestamp,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProofMessage {
    log_index: Option<LogIndex>,
    root_hash: Sha256Hash,
    tree_size: LogIndex,
    #[serde(default)]
    hashes: Vec<Sha256Hash>,
    checkpoint: Option<Checkpoint>,
}

#[derive(Deserialize)]
struct Checkpoint {
    envelope: Option<String>,
}

impl Document {
    /// The bundle, if every part is there exactly once. The gate has counted them and said what is wrong with the counts.
    pub(super) fn bundle(self) -> Result<Bundle, Refusal> {
        let malformed = |why: &dyn std::fmt::Display| Check::BundleMalformed.refuse(why, "a Sigstore bundle");
        let material = self.verification_material;
        let signer = match (material.certificate, material.x509_certificate_chain, material.public_key) {
            (Some(one), None, None) => Signer::Certificates { leaf: one.raw_bytes, intermediates: Vec::new() },
            (None, Some(chain), None) => {
                let mut certificates = chain.certificates.into_iter().map(|certificate| certificate.raw_bytes);
                let leaf = certificates.next().ok_or_else(|| malformed(&"an empty chain"))?;
                Signer::Certificates { leaf, intermediates: certificates.collect() }
            }
            (None, None, Some(_)) => Signer::Key,
            _ => return Err(malformed(&"several kinds of verification material")),
        };
        let content = match (self.message_signature, self.dsse_envelope) {
            (Some(message), None) => Content::Message(message),
            (None, Some(envelope)) => {
                let [signature] = <[EnvelopeSignature; 1]>::try_from(envelope.signatures)
                    .map_err(|signatures| malformed(&format_args!("{} signatures", signatures.len())))?;
                Content::Envelope(Envelope {
                    payload_type: envelope.payload_type,
                    payload: envelope.payload,
                    signature: signature.sig,
                    keyid: signature.keyid,
                })
            }
            _ => return Err(malformed(&"several contents")),
        };
        let mut entries = material.tlog_entries.into_iter();
        let entry = entries.next().map(EntryMessage::entry).transpose()?;
        if entries.next().is_some() {
            return Err(malformed(&"several log entries"));
        }
        let tokens = material.timestamp_verification_data.map(|data| data.rfc3161_timestamps).unwrap_or_default();
        let tokens = tokens.into_iter().map(|token| token.signed_timestamp).collect();
        Ok(Bundle { signer, content, entry, tokens })
    }
}

impl EntryMessage {
    fn entry(self) -> Result<Entry, Refusal> {
        let KindVersion { kind, version } = self.kind_version;
        let kind =
            Kind::of(&kind, &version).ok_or_else(|| Check::LogKind.refuse(format_args!("{kind} {version}"), Kind::all()))?;
        let time = self.integrated_time.map(LogIndex::as_i64).filter(|seconds| *seconds != 0);
        let time = time.map(Timestamp::from_second).transpose();
        let proof = self.inclusion_proof.map(|proof| InclusionProof {
            log_index: proof.log_index.unwrap_or_default().get(),
            root_hash: proof.root_hash,
            tree_size: proof.tree_size.get(),
            hashes: proof.hashes,
            checkpoint: proof.checkpoint.and_then(|checkpoint| checkpoint.envelope).unwrap_or_default(),
        });
        Ok(Entry {
            kind,
            log_id: self.log_id.key_id,
            log_index: self.log_index.unwrap_or_default().get(),
            integrated_time: time.map_err(|error| Check::BundleMalformed.refuse(error, "a Sigstore bundle"))?,
            promise: self.inclusion_promise.map(|promise| promise.signed_entry_timestamp),
            proof,
            body: self.canonicalized_body,
        })
    }
}
