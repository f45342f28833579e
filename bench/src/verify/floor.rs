//! The floor: the bare signature verifications that a bundle needs, taken out of the bundle by code of our own.
//!
//! Each of them is verified once before anything is timed, so a floor made of the wrong bytes cannot be measured against.

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cms::content_info::ContentInfo;
use cms::signed_data::SignedData;
use const_oid::ObjectIdentifier;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use serde_json::Value;
use sha2::{Digest as _, Sha256, Sha384, Sha512};
use std::hint::black_box;
use x509_cert::Certificate;
use x509_cert::der::{AnyRef, Decode as _, Encode as _, Reader as _, SliceReader};
use x509_cert::spki::SubjectPublicKeyInfoOwned;

const SCT_LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// The hash that is signed; Ed25519 hashes by itself.
#[derive(Clone, Copy, Debug)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
    Ours,
}

impl Hash {
    /// Of a signature algorithm: `ecdsa-with-SHA…`, Ed25519, and PSS as the private Sigstore here has it.
    fn of_signature(algorithm: ObjectIdentifier) -> Result<Self> {
        Ok(match algorithm.to_string().as_str() {
            "1.2.840.10045.4.3.2" => Self::Sha256,
            "1.2.840.10045.4.3.3" => Self::Sha384,
            "1.2.840.10045.4.3.4" => Self::Sha512,
            "1.3.101.112" | "1.2.840.113549.1.1.10" => Self::Ours,
            other => bail!("signature algorithm {other}"),
        })
    }

    fn digest(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(message).to_vec(),
            Self::Sha384 => Sha384::digest(message).to_vec(),
            Self::Sha512 => Sha512::digest(message).to_vec(),
            Self::Ours => Vec::new(),
        }
    }
}

/// A key, ready to verify with.
#[derive(Clone, Debug)]
enum Key {
    P256(Box<p256::ecdsa::VerifyingKey>),
    P384(Box<p384::ecdsa::VerifyingKey>),
    Ed25519(Box<ed25519_dalek::VerifyingKey>),
    /// PSS with SHA-256.
    Rsa(Vec<u8>),
}

impl Key {
    fn from_spki(spki: &SubjectPublicKeyInfoOwned) -> Result<Self> {
        let bytes = spki.subject_public_key.as_bytes().context("a key of whole bytes")?;
        let kind = if [ED25519, RSA].contains(&spki.algorithm.oid) {
            spki.algorithm.oid
        } else {
            spki.algorithm.parameters.as_ref().context("a curve")?.decode_as::<ObjectIdentifier>()?
        };
        Self::from_point(kind, bytes)
    }

    fn from_point(kind: ObjectIdentifier, bytes: &[u8]) -> Result<Self> {
        Ok(match kind {
            P256 => Self::P256(Box::new(p256::ecdsa::VerifyingKey::from_sec1_bytes(bytes)?)),
            P384 => Self::P384(Box::new(p384::ecdsa::VerifyingKey::from_sec1_bytes(bytes)?)),
            ED25519 => Self::Ed25519(Box::new(ed25519_dalek::VerifyingKey::from_bytes(bytes.try_into()?)?)),
            RSA => Self::Rsa(bytes.to_vec()),
            other => bail!("key of kind {other}"),
        })
    }

    fn name(&self) -> &'static str {
        match self {
            Self::P256(_) => "P-256",
            Self::P384(_) => "P-384",
            Self::Ed25519(_) => "Ed25519",
            Self::Rsa(_) => "RSA",
        }
    }

    fn hash(&self) -> Hash {
        match self {
            Self::P256(_) => Hash::Sha256,
            Self::P384(_) => Hash::Sha384,
            Self::Ed25519(_) | Self::Rsa(_) => Hash::Ours,
        }
    }

    fn verify(&self, hash: Hash, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::P256(key) => p256::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&hash.digest(message), &signature).is_ok()),
            Self::P384(key) => p384::ecdsa::Signature::from_der(signature)
                .is_ok_and(|signature| key.verify_prehash(&hash.digest(message), &signature).is_ok()),
            Self::Ed25519(key) => ed25519_dalek::Signature::from_slice(signature)
                .is_ok_and(|signature| key.verify_strict(message, &signature).is_ok()),
            Self::Rsa(key) => ring::signature::UnparsedPublicKey::new(&ring::signature::RSA_PSS_2048_8192_SHA256, key)
                .verify(message, signature)
                .is_ok(),
        }
    }
}

/// One signature that has to be verified.
#[derive(Debug)]
struct Signed {
    what: &'static str,
    key: Key,
    /// The leaf's key comes with the bundle, so reading it is part of the work. All others are in the trusted root, which is read before.
    parsed_each_time: Option<SubjectPublicKeyInfoOwned>,
    hash: Hash,
    message: Vec<u8>,
    signature: Vec<u8>,
}

impl Signed {
    fn verify(&self) -> bool {
        let (message, signature) = (black_box(self.message.as_slice()), black_box(self.signature.as_slice()));
        match &self.parsed_each_time {
            None => self.key.verify(self.hash, message, signature),
            Some(spki) => Key::from_spki(black_box(spki)).is_ok_and(|key| key.verify(self.hash, message, signature)),
        }
    }
}

/// All signatures that one bundle needs.
#[derive(Debug)]
pub(crate) struct Floor(Vec<Signed>);

impl Floor {
    /// Takes them out of a bundle with a DSSE envelope, one log entry with proof and checkpoint, and a certificate.
    pub(crate) fn of(bundle: &[u8], trusted_root: &[u8]) -> Result<Self> {
        let (bundle, root): (Value, Value) = (serde_json::from_slice(bundle)?, serde_json::from_slice(trusted_root)?);
        let material = &bundle["verificationMaterial"];
        let raw = match &material["certificate"]["rawBytes"] {
            Value::Null => &material["x509CertificateChain"]["certificates"][0]["rawBytes"],
            raw => raw,
        };
        let leaf_der = bytes(raw)?;
        let leaf = Certificate::from_der(&leaf_der)?;
        let leaf_spki = leaf.tbs_certificate.subject_public_key_info.clone();
        let leaf_key = Key::from_spki(&leaf_spki)?;

        let (issuer, issuer_key) = issuer(&leaf, &leaf_der, &root)?;
        let envelope = &bundle["dsseEnvelope"];
        let signature = bytes(&envelope["signatures"][0]["sig"])?;
        let mut all = vec![
            certificate("leaf's certificate", issuer_key, &leaf, &leaf_der)?,
            certificate_log(&leaf, &issuer, &root)?,
            Signed {
                what: "envelope",
                hash: leaf_key.hash(),
                key: leaf_key,
                parsed_each_time: Some(leaf_spki),
                message: envelope_message(envelope)?,
                signature: signature.clone(),
            },
        ];
        let entry = &material["tlogEntries"][0];
        let (log_key, log_name) = log(entry, &root)?;
        all.push(checkpoint(&log_key, &log_name, entry)?);
        if entry["inclusionPromise"].is_object() {
            all.push(promise(&log_key, entry)?);
        }
        if let Value::Array(tokens) = &material["timestampVerificationData"]["rfc3161Timestamps"] {
            for token in tokens {
                all.push(timestamp(&bytes(&token["signedTimestamp"])?, &root)?);
            }
        }
        for signed in &all {
            ensure!(signed.verify(), "the floor is wrong: {} does not verify", signed.what);
        }
        Ok(Self(all))
    }

    /// Verifies all of them.
    pub(crate) fn run(&self) -> bool {
        self.0.iter().all(Signed::verify)
    }

    /// What is verified, for people: `3 × P-256, 1 × P-384`.
    pub(crate) fn describe(&self) -> String {
        let count = |name: &str| self.0.iter().filter(|signed| signed.key.name() == name).count();
        let parts = ["P-256", "P-384", "Ed25519", "RSA"].map(|name| (count(name), name));
        let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, name)| format!("{n} × {name}")).collect();
        parts.join(", ")
    }
}

fn bytes(value: &Value) -> Result<Vec<u8>> {
    Ok(STANDARD.decode(value.as_str().context("a base64 string is missing")?)?)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The first element inside a DER sequence, as it stands: what is signed of a certificate.
fn first_element(der: &[u8]) -> Result<Vec<u8>> {
    let outer = AnyRef::from_der(der)?;
    let mut reader = SliceReader::new(outer.value())?;
    Ok(reader.tlv_bytes()?.to_vec())
}

fn certificate(what: &'static str, key: Key, certificate: &Certificate, der: &[u8]) -> Result<Signed> {
    Ok(Signed {
        what,
        key,
        parsed_each_time: None,
        hash: Hash::of_signature(certificate.signature_algorithm.oid)?,
        message: first_element(der)?,
        signature: certificate.signature.as_bytes().context("a signature of whole bytes")?.to_vec(),
    })
}

/// The authority's certificate that signed the leaf. Its own signature is verified when the root is loaded.
fn issuer(leaf: &Certificate, leaf_der: &[u8], root: &Value) -> Result<(Certificate, Key)> {
    for authority in list(&root["certificateAuthorities"]) {
        let Some(first) = list(&authority["certChain"]["certificates"]).next() else { continue };
        let candidate = Certificate::from_der(&bytes(&first["rawBytes"])?)?;
        if candidate.tbs_certificate.subject != leaf.tbs_certificate.issuer {
            continue;
        }
        let key = Key::from_spki(&candidate.tbs_certificate.subject_public_key_info)?;
        if certificate("leaf's certificate", key.clone(), leaf, leaf_der)?.verify() {
            return Ok((candidate, key));
        }
    }
    bail!("no authority of the trusted root signed the certificate")
}

/// The signed certificate timestamp: RFC 6962's structure over the certificate without the timestamp itself.
fn certificate_log(leaf: &Certificate, issuer: &Certificate, root: &Value) -> Result<Signed> {
    let mut body = leaf.tbs_certificate.clone();
    let extensions = body.extensions.as_mut().context("extensions")?;
    let at = extensions.iter().position(|extension| extension.extn_id == SCT_LIST).context("an SCT")?;
    let value = extensions.remove(at).extn_value;
    // An OCTET STRING in the extension: list length, length of the one SCT, then version, log id, time, extensions, algorithm, signature.
    let inner = x509_cert::der::asn1::OctetString::from_der(value.as_bytes())?;
    let sct = inner.as_bytes().get(4..).context("an SCT")?;
    let (head, rest) = sct.split_at_checked(41).context("an SCT")?;
    let (id, time) = (&head[1..33], &head[33..41]);
    let (length, rest) = rest.split_first_chunk::<2>().context("an SCT")?;
    let (extensions, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).context("an SCT")?;
    let signature = rest.get(4..).context("an SCT")?;

    let tbs = body.to_der()?;
    let issuer_key = Sha256::digest(issuer.tbs_certificate.subject_public_key_info.to_der()?);
    let mut message = vec![0, 0];
    message.extend_from_slice(time);
    message.extend_from_slice(&[0, 1]);
    message.extend_from_slice(&issuer_key);
    message.extend_from_slice(&u32::try_from(tbs.len())?.to_be_bytes()[1..]);
    message.extend_from_slice(&tbs);
    message.extend_from_slice(length);
    message.extend_from_slice(extensions);
    for log in list(&root["ctlogs"]) {
        if bytes(&log["logId"]["keyId"])? == id {
            let key = Key::from_spki(&SubjectPublicKeyInfoOwned::from_der(&bytes(&log["publicKey"]["rawBytes"])?)?)?;
            let hash = key.hash();
            return Ok(Signed { what: "SCT", key, parsed_each_time: None, hash, message, signature: signature.to_vec() });
        }
    }
    bail!("no certificate log of the trusted root made the SCT")
}

/// DSSE's pre-authentication encoding.
fn envelope_message(envelope: &Value) -> Result<Vec<u8>> {
    let payload = bytes(&envelope["payload"])?;
    let kind = envelope["payloadType"].as_str().context("a payload type")?;
    let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    message.extend_from_slice(&payload);
    Ok(message)
}

/// Key and name of the log that an entry is in.
fn log(entry: &Value, root: &Value) -> Result<(Key, String)> {
    let id = &entry["logId"]["keyId"];
    let log = list(&root["tlogs"]).find(|log| log["logId"]["keyId"] == *id).context("a log of the trusted root")?;
    let key = Key::from_spki(&SubjectPublicKeyInfoOwned::from_der(&bytes(&log["publicKey"]["rawBytes"])?)?)?;
    let url = log["baseUrl"].as_str().context("the log's address")?;
    let name = url.trim_start_matches("https://").split('/').next().unwrap_or_default();
    Ok((key, name.to_owned()))
}

/// The checkpoint: a signed note; a signature is preceded by four bytes of the key's id.
fn checkpoint(key: &Key, name: &str, entry: &Value) -> Result<Signed> {
    let note = entry["inclusionProof"]["checkpoint"]["envelope"].as_str().context("a checkpoint")?;
    let (text, lines) = note.split_once("\n\n").context("a signed note")?;
    let line = lines.lines().find_map(|line| line.strip_prefix(&format!("\u{2014} {name} "))).context("the log's signature")?;
    let signature = STANDARD.decode(line)?.get(4..).context("a signature")?.to_vec();
    let message = format!("{text}\n").into_bytes();
    Ok(Signed { what: "checkpoint", key: key.clone(), parsed_each_time: None, hash: key.hash(), message, signature })
}

/// The signed entry timestamp: canonical JSON.
fn promise(key: &Key, entry: &Value) -> Result<Signed> {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    let message = format!(
        r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
        text(&entry["canonicalizedBody"]),
        text(&entry["integratedTime"]),
        hex::encode(bytes(&entry["logId"]["keyId"])?),
        text(&entry["logIndex"]),
    );
    Ok(Signed {
        what: "SET",
        key: key.clone(),
        parsed_each_time: None,
        hash: key.hash(),
        message: message.into_bytes(),
        signature: bytes(&entry["inclusionPromise"]["signedEntryTimestamp"])?,
    })
}

/// An RFC 3161 token: the authority signs the attributes, as a SET. The authority's own chain is in the trusted root.
fn timestamp(token: &[u8], root: &Value) -> Result<Signed> {
    let outer = AnyRef::from_der(token)?;
    let mut reader = SliceReader::new(outer.value())?;
    reader.tlv_bytes()?;
    let info: ContentInfo = reader.decode()?;
    let data: SignedData = info.content.decode_as()?;
    let signer = data.signer_infos.0.as_slice().first().context("a signer")?;
    let message = signer.signed_attrs.as_ref().context("signed attributes")?.to_der()?;
    // The hash is the signature algorithm's, or where that names only the key, the digest algorithm's.
    let hash = Hash::of_signature(signer.signature_algorithm.oid)?;
    for authority in list(&root["timestampAuthorities"]) {
        let Some(first) = list(&authority["certChain"]["certificates"]).next() else { continue };
        let certificate = Certificate::from_der(&bytes(&first["rawBytes"])?)?;
        let key = Key::from_spki(&certificate.tbs_certificate.subject_public_key_info)?;
        let signature = signer.signature.as_bytes().to_vec();
        let signed = Signed { what: "timestamp", key, parsed_each_time: None, hash, message: message.clone(), signature };
        if signed.verify() {
            return Ok(signed);
        }
    }
    bail!("no authority of the trusted root made the timestamp")
}
