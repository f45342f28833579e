//! Whether the log's entry is about this very signature: digest, signature and verifier in its body against the bundle's.
//!
//! Without this a real entry about something else lends its time and its place in the log (CVE-2022-36056).
//!
//! | kind | what its digest is of |
//! |---|---|
//! | `hashedrekord` 0.0.1 | the artifact |
//! | `hashedrekord` 0.0.2 (Rekor v2) | what was signed: the artifact, or the DSSE encoding |
//! | `dsse` 0.0.1, `intoto` 0.0.2 | the DSSE payload |
//!
//! `dsse`'s `envelopeHash` and `intoto`'s `hash` are not compared: they are of the submitter's own JSON, which nobody else has.

use crate::error::Check;
use crate::key::Hash;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sigstore_types::{DerCertificate, DerPublicKey, KindVersion, SignatureContent, TransparencyLogEntry};
use slipway_protocol::Refusal;

/// What an entry's body says, whatever its kind.
pub(crate) struct Body {
    /// The algorithm of its digest. In `hashedrekord` it is also the one that was signed with.
    pub(crate) hash: Hash,
    digest: Vec<u8>,
    signature: Vec<u8>,
    verifier: Verifier,
    payload_type: Option<String>,
}

/// Whom the signature in a body is by, in DER.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Verifier {
    Certificate(Vec<u8>),
    Key(Vec<u8>),
}

#[derive(Deserialize)]
struct Entry<S> {
    spec: S,
}

#[derive(Deserialize)]
struct Digest {
    algorithm: String,
    value: String,
}

#[derive(Deserialize)]
struct Rekord {
    data: RekordData,
    signature: RekordSignature,
}

#[derive(Deserialize)]
struct RekordData {
    hash: Digest,
}

#[derive(Deserialize)]
struct RekordSignature {
    content: String,
    #[serde(rename = "publicKey")]
    public_key: Content,
}

#[derive(Deserialize)]
struct Content {
    content: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dsse {
    payload_hash: Digest,
    signatures: Vec<DsseSignature>,
}

#[derive(Deserialize)]
struct DsseSignature {
    signature: String,
    verifier: String,
}

#[derive(Deserialize)]
struct Intoto {
    content: IntotoContent,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IntotoContent {
    envelope: IntotoEnvelope,
    payload_hash: Digest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IntotoEnvelope {
    payload_type: String,
    signatures: Vec<IntotoSignature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IntotoSignature {
    sig: String,
    public_key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rekord2Spec {
    hashed_rekord_v002: Rekord2,
}

#[derive(Deserialize)]
struct Rekord2 {
    data: Rekord2Data,
    signature: Rekord2Signature,
}

#[derive(Deserialize)]
struct Rekord2Data {
    algorithm: String,
    digest: String,
}

#[derive(Deserialize)]
struct Rekord2Signature {
    content: String,
    verifier: Rekord2Verifier,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rekord2Verifier {
    key_details: String,
    x509_certificate: Option<Raw>,
    public_key: Option<Raw>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    raw_bytes: String,
}

fn malformed(why: impl std::fmt::Display) -> Refusal {
    Check::LogBodyMalformed.refuse(why, "the body of an entry of its kind")
}

fn spec<S: DeserializeOwned>(entry: &TransparencyLogEntry) -> Result<S, Refusal> {
    // The gate has refused bodies with duplicate members.
    let entry: Entry<S> = serde_json::from_slice(entry.canonicalized_body.as_bytes()).map_err(malformed)?;
    Ok(entry.spec)
}

fn only<S>(signatures: Vec<S>) -> Result<S, Refusal> {
    let count = signatures.len();
    let [one] = <[S; 1]>::try_from(signatures)
        .map_err(|_| Check::LogBodySignature.refuse(format_args!("{count} signatures"), "one signature"))?;
    Ok(one)
}

fn decoded(text: &str) -> Result<Vec<u8>, Refusal> {
    STANDARD.decode(text).map_err(malformed)
}

/// A certificate or a key, as PEM in base64.
fn verifier(text: &str) -> Result<Verifier, Refusal> {
    let pem = String::from_utf8(decoded(text)?).map_err(malformed)?;
    DerCertificate::from_pem(&pem)
        .map(|certificate| Verifier::Certificate(certificate.into_bytes()))
        .or_else(|_| DerPublicKey::from_pem(&pem).map(|key| Verifier::Key(key.into_bytes())))
        .map_err(malformed)
}

impl Digest {
    fn read(&self) -> Result<(Hash, Vec<u8>), Refusal> {
        let hash = match self.algorithm.as_str() {
            "sha256" => Hash::Sha256,
            "sha384" => Hash::Sha384,
            "sha512" => Hash::Sha512,
            other => return Err(malformed(format_args!("digest algorithm {other}"))),
        };
        Ok((hash, hex::decode(&self.value).map_err(malformed)?))
    }
}

impl Body {
    /// Reads an entry's body, which must be of a kind that can be about `content`.
    pub(crate) fn read(entry: &TransparencyLogEntry, content: &SignatureContent) -> Result<Self, Refusal> {
        let kind = entry.kind_version;
        let message = matches!(content, SignatureContent::MessageSignature(_));
        match (kind, message) {
            (KindVersion::HashedRekordV001, true) => {
                let spec: Rekord = spec(entry)?;
                let (hash, digest) = spec.data.hash.read()?;
                let signature = decoded(&spec.signature.content)?;
                Ok(Self { hash, digest, signature, verifier: verifier(&spec.signature.public_key.content)?, payload_type: None })
            }
            (KindVersion::HashedRekordV002, _) => Self::second_generation(spec::<Rekord2Spec>(entry)?.hashed_rekord_v002),
            (KindVersion::DsseV001, false) => {
                let spec: Dsse = spec(entry)?;
                let (hash, digest) = spec.payload_hash.read()?;
                let one = only(spec.signatures)?;
                let signature = decoded(&one.signature)?;
                Ok(Self { hash, digest, signature, verifier: verifier(&one.verifier)?, payload_type: None })
            }
            (KindVersion::IntotoV002, false) => {
                let content = spec::<Intoto>(entry)?.content;
                let (hash, digest) = content.payload_hash.read()?;
                let one = only(content.envelope.signatures)?;
                // This kind has its signature in base64 twice.
                let signature = STANDARD.decode(decoded(&one.sig)?).map_err(malformed)?;
                let payload_type = Some(content.envelope.payload_type);
                Ok(Self { hash, digest, signature, verifier: verifier(&one.public_key)?, payload_type })
            }
            _ => Err(Check::LogKind.refuse(
                format_args!("{} {}", kind.kind(), kind.version()),
                if message { "hashedrekord for a signed file" } else { "dsse, intoto or hashedrekord 0.0.2 for an attestation" },
            )),
        }
    }

    fn second_generation(entry: Rekord2) -> Result<Self, Refusal> {
        let (hash, name) = match entry.data.algorithm.as_str() {
            "SHA2_256" => (Hash::Sha256, "SHA_256"),
            "SHA2_384" => (Hash::Sha384, "SHA_384"),
            "SHA2_512" => (Hash::Sha512, "SHA_512"),
            other => return Err(malformed(format_args!("digest algorithm {other}"))),
        };
        let stated = entry.signature.verifier;
        // Ed25519 names no digest; which curve the key really is on is seen when it verifies.
        if !stated.key_details.ends_with(name) && stated.key_details != "PKIX_ED25519" {
            return Err(Check::LogBodyKey.refuse(stated.key_details, format_args!("a key that signs {name}")));
        }
        let verifier = match (stated.x509_certificate, stated.public_key) {
            (Some(certificate), None) => Verifier::Certificate(decoded(&certificate.raw_bytes)?),
            (None, Some(key)) => Verifier::Key(decoded(&key.raw_bytes)?),
            _ => return Err(malformed("not exactly one of x509Certificate and publicKey")),
        };
        let (digest, signature) = (decoded(&entry.data.digest)?, decoded(&entry.signature.content)?);
        Ok(Self { hash, digest, signature, verifier, payload_type: None })
    }

    /// Compares the body with what was signed: `digest` is of the artifact, of the DSSE encoding or of the payload, whichever
    /// [`Self::read`]'s table says.
    pub(crate) fn check(&self, digest: &[u8], content: &SignatureContent, signer: &Verifier) -> Result<(), Refusal> {
        if self.digest != digest {
            return Err(Check::LogBodyDigest.refuse(hex::encode(&self.digest), hex::encode(digest)));
        }
        let signature = signature_of(content)?;
        if self.signature != signature {
            return Err(Check::LogBodySignature.refuse(hex::encode(&self.signature), hex::encode(signature)));
        }
        if let (Some(kind), SignatureContent::DsseEnvelope(envelope)) = (&self.payload_type, content)
            && *kind != envelope.payload_type
        {
            return Err(Check::LogBody.refuse(kind, &envelope.payload_type));
        }
        self.by(signer)
    }

    /// Checks whom the entry is by.
    pub(crate) fn by(&self, signer: &Verifier) -> Result<(), Refusal> {
        if self.verifier == *signer { Ok(()) } else { Err(Check::LogBodyKey.refuse(self.verifier.words(), signer.words())) }
    }
}

impl Verifier {
    fn words(&self) -> String {
        let (kind, der) = match self {
            Self::Certificate(der) => ("certificate", der),
            Self::Key(der) => ("public key", der),
        };
        format!("{kind} {}", hex::encode(Hash::Sha256.of(der)))
    }
}

/// The bundle's signature.
pub(crate) fn signature_of(content: &SignatureContent) -> Result<&[u8], Refusal> {
    match content {
        SignatureContent::MessageSignature(message) => Ok(message.signature.as_bytes()),
        SignatureContent::DsseEnvelope(envelope) => Ok(envelope.signature.sig.as_bytes()),
        _ => Err(Check::BundleContent.refuse("another content", "messageSignature or dsseEnvelope")),
    }
}
