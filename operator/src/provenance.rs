//! Makes a Sigstore bundle of a DSSE envelope, its certificate, and its transparency log entry.
//!
//! What slsa-github-generator wrote before v2.1 (`multiple.intoto.jsonl`), and what cosign attaches to an image, is an envelope and a
//! certificate; the entry has to be fetched. Nothing comes out of here that the devices' verifier did not accept.

use crate::error::{ENTRY_MISMATCH, ENTRY_NONE, ENTRY_SEVERAL, ENVELOPE};
use crate::rekor::{Entry, EntryLocator, Rekor};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sigstore_crypto::{CertificateInfo, parse_certificate_info};
use sigstore_types::DerCertificate;
use slipway_protocol::{Refusal, Sha256, json as strict};
use slipway_verify::{Artifact, Check, Evidence, LogRule, Signer, SigstoreRoot, envelope, verify_bundle};
use std::collections::BTreeMap;

/// As large as a Sigstore bundle may be, for it becomes one.
const LIMITS: strict::Limits = strict::Limits { bytes: 1024 * 1024, depth: 16 };
/// The largest release has one envelope for all its files; others have one a file.
const LINE_LIMIT: usize = 64;
/// What the first format that came with a proof is called, and the one that cosign's annotations are rewritten to without one.
const WITH_PROOF: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const PROMISE_ONLY: &str = "application/vnd.dev.sigstore.bundle+json;version=0.1";

/// What a file of provenance holds.
#[derive(Debug)]
pub enum Content {
    /// A Sigstore bundle: there is nothing to do.
    Bundle,
    /// Envelopes, each with its certificate, in the order of the file.
    Envelopes(Vec<Signed>),
}

/// A DSSE envelope, and the certificate whose key signed it, if it was not a key of somebody's own.
#[derive(Clone, Debug)]
pub struct Signed {
    payload_type: String,
    payload: Vec<u8>,
    signature: Vec<u8>,
    /// A hint about the key; empty for every builder that is known.
    keyid: String,
    certificate: Option<Certificate>,
}

#[derive(Clone, Debug)]
struct Certificate {
    /// As it came: a log indexes by its hash.
    pem: String,
    der: Vec<u8>,
}

/// A signature with its entry, verified.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The entry.
    pub entry: Entry,
    /// The Sigstore bundle.
    pub bundle: Vec<u8>,
    /// What it proves.
    pub evidence: Evidence,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload_type: String,
    payload: String,
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
    #[serde(default)]
    keyid: String,
    cert: Option<String>,
}

#[derive(Deserialize)]
struct Statement {
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    digest: BTreeMap<String, String>,
}

impl Content {
    /// Reads a file of provenance: a Sigstore bundle, or one envelope a line.
    ///
    /// # Errors
    /// `SLW-O-ENVELOPE` for anything else.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let bad = |why: &str| ENVELOPE.with(why, "DSSE envelopes with their certificates, one per line");
        let text = std::str::from_utf8(bytes).map_err(|_| bad("no text"))?;
        // A whole document first: an envelope, or a bundle, may be written over several lines.
        let documents: Vec<&str> = match strict::check(bytes, LIMITS) {
            Ok(()) => vec![text],
            Err(strict::Error::TooLarge(seen, _)) if text.lines().count() <= 1 => return Err(bad(&format!("{seen} bytes"))),
            Err(_) => text.lines().filter(|line| !line.trim().is_empty()).collect(),
        };
        if documents.is_empty() || documents.len() > LINE_LIMIT {
            return Err(bad(&format!("{} lines", documents.len())));
        }
        let member = |document: &str, name: &str| {
            serde_json::from_str::<Map<String, Value>>(document).is_ok_and(|members| members.contains_key(name))
        };
        if let [document] = documents.as_slice()
            && member(document, "mediaType")
            && member(document, "verificationMaterial")
        {
            return Ok(Self::Bundle);
        }
        let signed = documents.iter().enumerate().map(|(index, document)| {
            let signed = Signed::parse(document.as_bytes(), None);
            let signed =
                signed.and_then(|signed| if signed.certificate.is_some() { Ok(signed) } else { Err(bad("no certificate")) });
            signed.map_err(|refusal| {
                let seen = format!("line {}: {}", index.saturating_add(1), refusal.seen);
                Refusal { seen, ..refusal }
            })
        });
        Ok(Self::Envelopes(signed.collect::<Result<_, _>>()?))
    }
}

impl Signed {
    /// Reads an envelope with one signature. The certificate (PEM) is given beside it, or is in the signature's `cert`, or there is none.
    ///
    /// # Errors
    /// `SLW-O-ENVELOPE`.
    pub fn parse(envelope: &[u8], certificate: Option<&str>) -> Result<Self, Refusal> {
        let bad = |why: &str| ENVELOPE.with(why, "a DSSE envelope with one signature and its certificate");
        let envelope: Envelope = strict::parse(envelope, LIMITS).map_err(|error| bad(&error.to_string()))?;
        let [signature] = envelope.signatures.as_slice() else {
            return Err(bad(&format!("{} signatures", envelope.signatures.len())));
        };
        let certificate = certificate.or(signature.cert.as_deref()).map(|pem| {
            let der = CertificateDer::from_pem_slice(pem.as_bytes());
            let der = der.map_err(|error| bad(&format!("a certificate that is not PEM: {error}")))?;
            Ok(Certificate { pem: pem.to_owned(), der: der.to_vec() })
        });
        let decode =
            |what: &str, text: &str| STANDARD.decode(text).map_err(|error| bad(&format!("a {what} that is not base64: {error}")));
        Ok(Self {
            payload: decode("payload", &envelope.payload)?,
            payload_type: envelope.payload_type,
            signature: decode("signature", &signature.sig)?,
            keyid: signature.keyid.clone(),
            certificate: certificate.transpose()?,
        })
    }

    /// A Sigstore bundle of this and its log entry, and of a timestamp token in base64 where there is one: of version 0.3 if the entry
    /// has a proof, else of 0.1, which is what one without it is.
    #[must_use]
    pub fn bundle(&self, entry: Option<&Entry>, token: Option<&str>) -> Value {
        let proven = entry.is_none_or(|entry| entry.value.get("inclusionProof").is_some());
        let certificate = self.certificate.as_ref().map(|certificate| json!({ "rawBytes": STANDARD.encode(&certificate.der) }));
        let (kind, signer) = match (certificate, proven) {
            (Some(certificate), true) => ("certificate", certificate),
            (Some(certificate), false) => ("x509CertificateChain", json!({ "certificates": [certificate] })),
            (None, _) => ("publicKey", json!({ "hint": "" })),
        };
        let mut material = Map::from_iter([(kind.to_owned(), signer)]);
        material.insert("tlogEntries".to_owned(), entry.map(|entry| entry.value.clone()).into_iter().collect());
        if let Some(token) = token {
            let tokens = json!({ "rfc3161Timestamps": [{ "signedTimestamp": token }] });
            material.insert("timestampVerificationData".to_owned(), tokens);
        }
        let mut signature = Map::from_iter([("sig".to_owned(), STANDARD.encode(&self.signature).into())]);
        if !self.keyid.is_empty() {
            signature.insert("keyid".to_owned(), self.keyid.as_str().into());
        }
        json!({
            "mediaType": if proven { WITH_PROOF } else { PROMISE_ONLY },
            "verificationMaterial": material,
            "dsseEnvelope": {
                "payload": STANDARD.encode(&self.payload),
                "payloadType": self.payload_type,
                "signatures": [signature],
            },
        })
    }

    /// Asks the log for this signature's entry.
    ///
    /// # Errors
    /// `SLW-O-REKOR` when it does not answer, `SLW-O-ENTRY-…` when it has none or too many.
    pub async fn look_up(&self, rekor: &Rekor, place: Option<&EntryLocator>) -> Result<Vec<Entry>, Refusal> {
        match place {
            Some(place) => Ok(vec![rekor.entry(place).await?]),
            None => rekor.search(&self.indexed(), self.certificate.as_ref().map(|certificate| certificate.pem.as_str())).await,
        }
    }

    /// The hashes under which a log may have the entry: the envelope's file for `intoto` 0.0.1, the payload for all other kinds.
    fn indexed(&self) -> Vec<Sha256> {
        let certificate = self.certificate.as_ref().map(|certificate| certificate.der.as_slice());
        let files = envelope::files(&self.payload_type, &self.payload, &self.signature, &self.keyid, certificate);
        files.iter().chain([&self.payload]).map(|bytes| Sha256::of(bytes)).collect()
    }

    /// The Sigstore bundle of the one candidate that is this signature's entry, and what the devices' verifier says of it.
    ///
    /// # Errors
    /// Why there is none: the log's answer is empty, about something else, ambiguous, or no proof.
    pub fn seal(&self, candidates: &[Entry], root: &SigstoreRoot) -> Result<Sealed, Refusal> {
        let mut sealed = Vec::new();
        let mut refused = Vec::new();
        for entry in candidates {
            match self.try_seal(entry, root) {
                Ok(found) => sealed.push(found),
                Err(refusal) => refused.push((entry, refusal)),
            }
        }
        match (sealed.pop(), sealed.len()) {
            (None, _) => Err(foremost(refused)),
            (Some(only), 0) => Ok(only),
            (Some(_), more) => Err(ENTRY_SEVERAL.with(format_args!("{} entries", more.saturating_add(1)), "one")),
        }
    }

    fn try_seal(&self, entry: &Entry, root: &SigstoreRoot) -> Result<Sealed, Refusal> {
        let mut bundle = self.bundle(Some(entry), None).to_string().into_bytes();
        bundle.push(b'\n');
        let evidence = self.verify(&bundle, root)?;
        Ok(Sealed { entry: entry.clone(), bundle, evidence })
    }

    /// Verifies the bundle as devices do, for whoever its certificate names: who that should be is for a policy to say, later.
    fn verify(&self, bundle: &[u8], root: &SigstoreRoot) -> Result<Evidence, Refusal> {
        let der = self.certificate.as_ref().map(|certificate| DerCertificate::new(certificate.der.clone()));
        let info: Option<CertificateInfo> = der.and_then(|der| parse_certificate_info(&der).ok());
        let identity = info.as_ref().and_then(|info| info.identity.as_ref()).map(|name| name.as_str()).unwrap_or_default();
        let issuer = info.as_ref().and_then(|info| info.issuer.as_deref()).unwrap_or_default();
        verify_bundle(bundle, root, Signer::Identity { identity, issuer }, self.subject()?, LogRule::Proof)
    }

    /// A digest that the statement is about.
    fn subject(&self) -> Result<Artifact<'static>, Refusal> {
        let bad = |why: &str| ENVELOPE.with(why, "an in-toto statement about a SHA-256 or SHA-512");
        let statement: Statement = serde_json::from_slice(&self.payload).map_err(|error| bad(&error.to_string()))?;
        let digests = statement.subject.first().map(|subject| &subject.digest).ok_or_else(|| bad("no subject"))?;
        let parsed = match (digests.get("sha256"), digests.get("sha512")) {
            (Some(hex), _) => hex.parse().map(Artifact::Sha256),
            (None, Some(hex)) => hex.parse().map(Artifact::Sha512),
            (None, None) => return Err(bad("no such digest")),
        };
        parsed.map_err(|why| bad(&why))
    }
}

/// Of all that is wrong with the candidates, what says most: that one is this signature's and yet refused, then that all are somebody else's.
fn foremost(mut refused: Vec<(&Entry, Refusal)>) -> Refusal {
    let anothers = |refusal: &Refusal| {
        use Check::{LogBody, LogBodyDigest, LogBodyEnvelope, LogBodyKey, LogBodySignature};
        matches!(Check::of(refusal), Some(LogBody | LogBodyDigest | LogBodyEnvelope | LogBodyKey | LogBodySignature))
    };
    if let Some(at) = refused.iter().position(|(_, refusal)| !anothers(refusal)) {
        return refused.swap_remove(at).1;
    }
    let seen: Vec<String> = refused.iter().map(|(entry, _)| format!("entry {}, {}", entry.log_index, entry.kind)).collect();
    if seen.is_empty() {
        return ENTRY_NONE.with("none", "the entry of this signature");
    }
    ENTRY_MISMATCH.with(seen.join(", "), "an entry with this payload, signature and certificate")
}

/// What the Sigstore bundle of an envelope of `file` is called: `multiple.intoto.jsonl` becomes `multiple.intoto.sigstore.json`, and with
/// several envelopes in the file each gets its number.
#[must_use]
pub fn bundle_name(file: &str, number: usize, of: usize) -> String {
    let stem = [".jsonl", ".json"].iter().find_map(|end| file.strip_suffix(end)).unwrap_or(file);
    if of == 1 { format!("{stem}.sigstore.json") } else { format!("{stem}.{number}.sigstore.json") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_called_after_its_file() {
        assert_eq!(bundle_name("multiple.intoto.jsonl", 1, 1), "multiple.intoto.sigstore.json");
        assert_eq!(bundle_name("x.json", 2, 3), "x.2.sigstore.json");
        assert_eq!(bundle_name("att", 1, 1), "att.sigstore.json");
    }

    #[test]
    fn an_invalid_envelope_is_named_by_its_line() {
        let envelope = r#"{"payloadType":"t","payload":"e30=","signatures":[{"sig":"AA=="}]}"#;
        for (text, seen) in [
            ("", "0 lines"),
            ("\n\n", "0 lines"),
            ("{}", "line 1: missing field"),
            (envelope, "line 1: no certificate"),
            (&format!("{envelope}\n{{}}\n"), "line 1: no certificate"),
            (&"{}\n".repeat(65), "65 lines"),
            (&envelope.replace("AA==\"", "AA==\",\"cert\":\"x\""), "line 1: a certificate that is not PEM"),
            (&envelope.replace("[{\"sig\":\"AA==\"}]", "[]"), "line 1: 0 signatures"),
            (
                &envelope.replace("{\"payloadType\"", "{\"payload\":\"\",\"payloadType\""),
                "line 1: member \"payload\" appears twice",
            ),
        ] {
            let refusal = Content::parse(text.as_bytes()).unwrap_err();
            assert_eq!(refusal.code, "SLW-O-ENVELOPE", "{text}");
            assert!(refusal.seen.starts_with(seen), "{text}: {}", refusal.seen);
        }
        assert!(matches!(Content::parse(br#"{"mediaType":"m","verificationMaterial":{}}"#), Ok(Content::Bundle)));
    }
}
