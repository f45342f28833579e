//! Verifies the signature over the artifact, or over the statement that names it.

use crate::body::{Body, Verifier, signature_of};
use crate::bundle::{Bundle, Content, Envelope, MessageSignature};
use crate::error::Check;
use crate::evidence::Artifact;
use crate::key::{self, Hash, Key};
use serde::Deserialize;
use sigstore_types::HashAlgorithm;
use slipway_protocol::{Refusal, json};
use std::cell::OnceCell;
use std::collections::BTreeMap;

/// The one type of payload whose subjects can be compared with an artifact.
pub(crate) const IN_TOTO: &str = "application/vnd.in-toto+json";

/// An artifact, and those of its digests that were needed so far: it may be large.
struct Digested<'a> {
    artifact: Artifact<'a>,
    known: [OnceCell<Vec<u8>>; 3],
}

impl<'a> Digested<'a> {
    fn new(artifact: Artifact<'a>) -> Self {
        Self { artifact, known: Default::default() }
    }

    fn by(&self, hash: Hash) -> Result<&[u8], Refusal> {
        let [sha256, sha384, sha512] = &self.known;
        let known = match hash {
            Hash::Sha256 => sha256,
            Hash::Sha384 => sha384,
            Hash::Sha512 => sha512,
        };
        match (self.artifact, hash) {
            (Artifact::Bytes(bytes), _) => Ok(known.get_or_init(|| hash.of(bytes))),
            (Artifact::Sha256(digest), Hash::Sha256) => Ok(known.get_or_init(|| digest.0.to_vec())),
            (Artifact::Sha512(digest), Hash::Sha512) => Ok(known.get_or_init(|| digest.0.to_vec())),
            _ => {
                Err(Check::ArtifactForm.refuse("a digest by another algorithm", format_args!("the file itself, or its {hash:?}")))
            }
        }
    }
}

/// Checks that the bundle's signature was made with `key` over `artifact`, and that the log entry, if there is one, is about it and `signer`.
pub(crate) fn verify(
    bundle: &Bundle,
    body: Option<&Body>,
    key: &Key,
    signer: &Verifier,
    artifact: Artifact<'_>,
) -> Result<(), Refusal> {
    let content = &bundle.content;
    let artifact = Digested::new(artifact);
    let logged = match content {
        Content::Message(message) => {
            of_artifact(message, key, body, &artifact)?;
            body.map(|body| artifact.by(body.hash).map(<[u8]>::to_vec)).transpose()?
        }
        Content::Envelope(envelope) => {
            let signed = envelope.pre_authentication_encoding();
            let second_generation = bundle.entry.as_ref().is_some_and(|entry| entry.kind.is_second_generation());
            let hash = hash_of(key, body.filter(|_| second_generation).map(|body| body.hash))?;
            key.verify(hash, &signed, signature_of(content)).map_err(|_| wrong(key))?;
            covers(envelope, &artifact)?;
            let about = if second_generation { &signed } else { envelope.payload.as_bytes() };
            body.map(|body| body.hash.of(about))
        }
    };
    match (body, logged) {
        (Some(body), Some(digest)) => body.check(&digest, content, signer, key),
        _ => Ok(()),
    }
}

fn wrong(key: &Key) -> Refusal {
    Check::Signature.refuse("a signature that does not verify", format_args!("one by the signer's {} key", key.kind()))
}

/// The digest that was signed: the key says it, but for P-384, where old signers took SHA-256 and the bundle says so.
fn hash_of(key: &Key, stated: Option<Hash>) -> Result<Hash, Refusal> {
    match (key, stated) {
        (Key::P256(_), None | Some(Hash::Sha256)) => Ok(Hash::Sha256),
        (Key::P384(_), Some(hash @ (Hash::Sha256 | Hash::Sha384))) => Ok(hash),
        (Key::P384(_), None) => Ok(Hash::Sha384),
        // It signs the message itself, whatever else was digested.
        (Key::Ed25519(_), _) => Ok(Hash::Sha512),
        (_, Some(hash)) => Err(key::unsupported(format_args!("an {} key with {hash:?}", key.kind()))),
    }
}

/// Checks a signature over the artifact itself.
fn of_artifact(message: &MessageSignature, key: &Key, body: Option<&Body>, artifact: &Digested<'_>) -> Result<(), Refusal> {
    let stated = message.message_digest.as_ref().map(|stated| (hash(stated.algorithm), stated.digest.as_bytes()));
    if let Some((hash, digest)) = stated {
        let hash = hash.ok_or_else(|| key::unsupported("a message digest of another algorithm"))?;
        let seen = artifact.by(hash)?;
        if seen != digest {
            return Err(Check::ArtifactDigest.refuse(hex::encode(seen), hex::encode(digest)));
        }
    }
    // What the log proves has priority over what the bundle claims.
    let hash = hash_of(key, body.map(|body| body.hash).or_else(|| stated.and_then(|(hash, _)| hash)))?;
    let signature = message.signature.as_bytes();
    let verified = match (key, artifact.artifact) {
        (Key::Ed25519(_), Artifact::Bytes(bytes)) => key.verify(hash, bytes, signature),
        (Key::Ed25519(_), _) => {
            return Err(Check::ArtifactForm.refuse("a digest", "the file itself, which an Ed25519 signature is over"));
        }
        _ => key.verify_digest(artifact.by(hash)?, signature),
    };
    verified.map_err(|_| wrong(key))
}

fn hash(algorithm: HashAlgorithm) -> Option<Hash> {
    match algorithm {
        HashAlgorithm::Sha2256 => Some(Hash::Sha256),
        HashAlgorithm::Sha2384 => Some(Hash::Sha384),
        HashAlgorithm::Sha2512 => Some(Hash::Sha512),
        _ => None,
    }
}

#[derive(Deserialize)]
struct Subjects {
    subject: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    digest: BTreeMap<String, String>,
}

/// Checks that a subject of the attestation has the artifact's digest. Which subject it must be is for provenance to say.
fn covers(envelope: &Envelope, artifact: &Digested<'_>) -> Result<(), Refusal> {
    if envelope.payload_type != IN_TOTO {
        return Err(Check::PayloadType.refuse(&envelope.payload_type, IN_TOTO));
    }
    let statement: Subjects = json::from_slice(envelope.payload.as_bytes())
        .map_err(|error| Check::StatementMalformed.refuse(error, "an in-toto statement"))?;
    let mut known = Vec::new();
    for (name, hash) in [("sha256", Hash::Sha256), ("sha384", Hash::Sha384), ("sha512", Hash::Sha512)] {
        let stated = || statement.subject.iter().filter_map(|named| named.digest.get(name));
        if stated().next().is_none() {
            continue;
        }
        match artifact.by(hash).map(hex::encode) {
            Ok(digest) if stated().any(|stated| *stated == digest) => return Ok(()),
            Ok(digest) => known.push(digest),
            Err(_) => {}
        }
    }
    if known.is_empty() {
        return Err(
            Check::ArtifactForm.refuse("a digest", "the file, or a digest by an algorithm that the statement's subjects have")
        );
    }
    Err(Check::ArtifactDigest.refuse(known.join(", "), "the digest of a subject"))
}
