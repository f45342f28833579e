//! Checks that the log entry is about this signature: digest, signature and verifier in its body.
//!
//! Without this a real entry about something else lends its time and its place in the log (CVE-2022-36056).
//!
//! | kind | what its digest is of |
//! |---|---|
//! | `hashedrekord` 0.0.1 | the artifact |
//! | `hashedrekord` 0.0.2 (Rekor v2) | what was signed: the artifact, or the DSSE encoding |
//! | `dsse` 0.0.1, `intoto` 0.0.1 and 0.0.2 | the DSSE payload |
//!
//! All but one hold the signature as well. `intoto` 0.0.1 holds the hash of the whole envelope file in its place, which is written again from the
//! bundle and compared ([`crate::envelope`]). `dsse`'s `envelopeHash` and the `hash` of `intoto` 0.0.2 are not compared: they are of the
//! submitter's own JSON, of which there are several forms, and the signature binds already.

use crate::bundle::{Content, Entry, Kind};
use crate::envelope;
use crate::error::Check;
use crate::key::{Hash, Key};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use sigstore_types::{DerCertificate, DerPublicKey};
use slipway_protocol::{Refusal, json};

/// What an entry's body says, whatever its kind.
pub(crate) struct Body {
    /// The algorithm of its digest. In `hashedrekord` it is also the one that was signed with.
    pub(crate) hash: Hash,
    digest: Vec<u8>,
    binding: Binding,
    verifier: Verifier,
    /// What Rekor v2 says the verifier's key is, and the name of the body's digest as it ends such a name.
    key_details: Option<(String, &'static str)>,
}

/// What in a body is about the one signature, and no other over the same payload.
enum Binding {
    /// The signature itself; in `intoto` 0.0.2 with the payload's type.
    Signature { signature: Vec<u8>, payload_type: Option<String> },
    /// The SHA-256 of the envelope's file, signature and all: `intoto` 0.0.1.
    File(Vec<u8>),
}

/// Whom the signature in a body is by, in DER.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Verifier {
    Certificate(Vec<u8>),
    Key(Vec<u8>),
}

#[derive(Deserialize)]
struct EntryBody<S> {
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
    public_key: RekordKey,
}

#[derive(Deserialize)]
struct RekordKey {
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
struct Intoto1 {
    content: Intoto1Content,
    public_key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Intoto1Content {
    hash: Digest,
    payload_hash: Digest,
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

fn spec<S: DeserializeOwned>(entry: &Entry) -> Result<S, Refusal> {
    // The gate has refused bodies with duplicate members.
    let body: EntryBody<S> = json::from_slice(entry.body.as_bytes()).map_err(malformed)?;
    Ok(body.spec)
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
    pub(crate) fn read(entry: &Entry, content: &Content) -> Result<Self, Refusal> {
        let message = matches!(content, Content::Message(_));
        match (entry.kind, message) {
            (Kind::HashedRekord001, true) => {
                let spec: Rekord = spec(entry)?;
                let signature = decoded(&spec.signature.content)?;
                Self::signed(&spec.data.hash, signature, None, verifier(&spec.signature.public_key.content)?)
            }
            (Kind::HashedRekord002, _) => Self::second_generation(spec::<Rekord2Spec>(entry)?.hashed_rekord_v002),
            (Kind::Dsse001, false) => {
                let spec: Dsse = spec(entry)?;
                let one = only(spec.signatures)?;
                Self::signed(&spec.payload_hash, decoded(&one.signature)?, None, verifier(&one.verifier)?)
            }
            (Kind::Intoto001, false) => {
                let Intoto1 { content, public_key } = spec(entry)?;
                let (hash, digest) = content.payload_hash.read()?;
                let (Hash::Sha256, file) = content.hash.read()? else {
                    return Err(malformed("an envelope's hash that is not a SHA-256"));
                };
                Ok(Self { hash, digest, binding: Binding::File(file), verifier: verifier(&public_key)?, key_details: None })
            }
            (Kind::Intoto002, false) => {
                let content = spec::<Intoto>(entry)?.content;
                let one = only(content.envelope.signatures)?;
                // This kind has its signature in base64 twice.
                let signature = STANDARD.decode(decoded(&one.sig)?).map_err(malformed)?;
                let payload_type = Some(content.envelope.payload_type);
                Self::signed(&content.payload_hash, signature, payload_type, verifier(&one.public_key)?)
            }
            (kind, _) => Err(Check::LogKind.refuse(
                kind.words(),
                if message { "hashedrekord for a signed file" } else { "dsse, intoto or hashedrekord 0.0.2 for an attestation" },
            )),
        }
    }

    fn signed(digest: &Digest, signature: Vec<u8>, payload_type: Option<String>, verifier: Verifier) -> Result<Self, Refusal> {
        let (hash, digest) = digest.read()?;
        Ok(Self { hash, digest, binding: Binding::Signature { signature, payload_type }, verifier, key_details: None })
    }

    fn second_generation(entry: Rekord2) -> Result<Self, Refusal> {
        let (hash, name) = match entry.data.algorithm.as_str() {
            "SHA2_256" => (Hash::Sha256, "SHA_256"),
            "SHA2_384" => (Hash::Sha384, "SHA_384"),
            "SHA2_512" => (Hash::Sha512, "SHA_512"),
            other => return Err(malformed(format_args!("digest algorithm {other}"))),
        };
        let stated = entry.signature.verifier;
        let verifier = match (stated.x509_certificate, stated.public_key) {
            (Some(certificate), None) => Verifier::Certificate(decoded(&certificate.raw_bytes)?),
            (None, Some(key)) => Verifier::Key(decoded(&key.raw_bytes)?),
            _ => return Err(malformed("not exactly one of x509Certificate and publicKey")),
        };
        let (digest, signature) = (decoded(&entry.data.digest)?, decoded(&entry.signature.content)?);
        let binding = Binding::Signature { signature, payload_type: None };
        Ok(Self { hash, digest, binding, verifier, key_details: Some((stated.key_details, name)) })
    }

    /// Compares the body with what was signed: `digest` is of the artifact, of the DSSE encoding or of the payload, whichever
    /// [`Self::read`]'s table says.
    pub(crate) fn check(&self, digest: &[u8], content: &Content, signer: &Verifier, key: &Key) -> Result<(), Refusal> {
        self.by(signer)?;
        if let Some((stated, digest)) = &self.key_details {
            let details = key.details();
            // Ed25519 names no digest.
            let wanted = if matches!(key, Key::Ed25519(_)) { details.to_owned() } else { format!("{details}_{digest}") };
            if *stated != wanted {
                return Err(Check::LogBodyKey.refuse(stated, wanted));
            }
        }
        if self.digest != digest {
            return Err(Check::LogBodyDigest.refuse(hex::encode(&self.digest), hex::encode(digest)));
        }
        match (&self.binding, content) {
            (Binding::Signature { signature: logged, payload_type }, _) => {
                let signature = signature_of(content);
                if logged != signature {
                    return Err(Check::LogBodySignature.refuse(hex::encode(logged), hex::encode(signature)));
                }
                match (payload_type, content) {
                    (Some(kind), Content::Envelope(envelope)) if *kind != envelope.payload_type => {
                        Err(Check::LogBody.refuse(kind, &envelope.payload_type))
                    }
                    _ => Ok(()),
                }
            }
            (Binding::File(logged), Content::Envelope(envelope)) => {
                let certificate = match signer {
                    Verifier::Certificate(der) => Some(der.as_slice()),
                    Verifier::Key(_) => None,
                };
                let (kind, payload) = (&envelope.payload_type, envelope.payload.as_bytes());
                let files =
                    envelope::files(kind, payload, envelope.signature.as_bytes(), &envelope.keyid, certificate).into_iter();
                let hashes: Vec<Vec<u8>> = files.map(|file| Hash::Sha256.of(&file)).collect();
                if hashes.contains(logged) {
                    return Ok(());
                }
                let hashes: Vec<String> = hashes.iter().map(hex::encode).collect();
                Err(Check::LogBodyEnvelope.refuse(hex::encode(logged), hashes.join(" or ")))
            }
            (Binding::File(_), Content::Message(_)) => Err(Check::LogKind.refuse("an envelope's entry", "a signed file's")),
        }
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
pub(crate) fn signature_of(content: &Content) -> &[u8] {
    match content {
        Content::Message(message) => message.signature.as_bytes(),
        Content::Envelope(envelope) => envelope.signature.as_bytes(),
    }
}
