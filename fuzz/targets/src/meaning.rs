//! What a Sigstore bundle says, however it is written: the oracle of the mutants.
//!
//! A changed bundle may verify only if it still says the same, or less of the same. Not part of the meaning is what nothing authenticates and
//! nothing believes: spelling (member order, base64 alphabets, numbers as text), unknown members, the media type, DSSE's key id, a managed
//! key's hint, a plain signature's digest (which, if it is there, must be the artifact's), certificates after the first, further signature lines on a checkpoint, a time that no promise covers, and everything in a
//! timestamp token but what its authority signed.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use cms::content_info::ContentInfo;
use cms::signed_data::SignedData;
use serde_json::Value;
use x509_cert::der::{AnyRef, Decode as _, Encode as _, Reader as _, SliceReader};

/// What a bundle says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Meaning {
    leaf: Option<Vec<u8>>,
    content: Vec<Vec<u8>>,
    /// What a plain signature says to be the artifact's digest.
    digest: Option<Vec<u8>>,
    entry: Option<Entry>,
    tokens: Vec<Token>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Entry {
    /// Kind, version, log, index, body.
    fixed: Vec<Vec<u8>>,
    time: Option<i128>,
    promise: Option<Vec<u8>>,
    proof: Option<Proof>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Proof {
    /// Index, size, root hash, hashes, the checkpoint's text.
    fixed: Vec<Vec<u8>>,
    /// The checkpoint's signature lines.
    lines: Vec<String>,
}

/// What the authority signed, and its signature; or the token as it is where that cannot be told.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Token(Vec<Vec<u8>>);

impl Meaning {
    /// What this bundle says; nothing if it is no bundle.
    #[must_use]
    pub fn of(bundle: &[u8]) -> Option<Self> {
        let bundle: Value = serde_json::from_slice(bundle).ok()?;
        let material = &bundle["verificationMaterial"];
        let leaf = decoded(&material["certificate"]["rawBytes"])
            .or_else(|| decoded(&material["x509CertificateChain"]["certificates"][0]["rawBytes"]));
        let (envelope, plain) = (&bundle["dsseEnvelope"], &bundle["messageSignature"]);
        let digest = decoded(&plain["messageDigest"]["digest"]);
        let content = if envelope.is_object() {
            let kind = envelope["payloadType"].as_str()?;
            vec![decoded(&envelope["payload"])?, kind.into(), decoded(&envelope["signatures"][0]["sig"])?]
        } else {
            vec![decoded(&plain["signature"])?]
        };
        let entry = &material["tlogEntries"][0];
        let entry = if entry.is_object() { Some(Entry::of(entry)?) } else { None };
        let tokens = material["timestampVerificationData"]["rfc3161Timestamps"].as_array();
        let tokens = tokens.into_iter().flatten().map(|token| Some(Token::of(&decoded(&token["signedTimestamp"])?)));
        Some(Self { leaf, content, digest, entry, tokens: tokens.collect::<Option<_>>()? })
    }

    /// Whether this says nothing that `original` does not say, and enough to believe it; a proof of inclusion among it if one is `wanted`.
    #[must_use]
    pub fn is_within(&self, original: &Self, proof_wanted: bool) -> bool {
        let promised = self.entry.as_ref().is_some_and(|entry| entry.promise.is_some());
        let entries = match (&self.entry, &original.entry) {
            (Some(mine), Some(other)) => mine.is_within(other, proof_wanted),
            (mine, other) => mine.is_none() && other.is_none(),
        };
        self.leaf == original.leaf
            && self.content == original.content
            && (self.digest.is_none() || self.digest == original.digest)
            && entries
            // A certificate lives for ten minutes, so when it signed must be known; a key says so itself by being trusted.
            && (self.leaf.is_none() || promised || !self.tokens.is_empty())
            && self.tokens.iter().all(|token| original.tokens.contains(token))
    }
}

impl Entry {
    fn of(entry: &Value) -> Option<Self> {
        let kind = &entry["kindVersion"];
        let fixed = vec![
            kind["kind"].as_str()?.into(),
            kind["version"].as_str()?.into(),
            decoded(&entry["logId"]["keyId"])?,
            whole(&entry["logIndex"])?.to_string().into(),
            decoded(&entry["canonicalizedBody"])?,
        ];
        let proof = &entry["inclusionProof"];
        // Without a checkpoint it proves nothing, and counts as absent.
        let note = proof["checkpoint"]["envelope"].as_str().unwrap_or_default();
        let proof = if note.is_empty() { None } else { Some(Proof::of(proof, note)?) };
        let promise = decoded(&entry["inclusionPromise"]["signedEntryTimestamp"]);
        Some(Self { fixed, time: whole(&entry["integratedTime"]).filter(|time| *time != 0), promise, proof })
    }

    fn is_within(&self, original: &Self, proof_wanted: bool) -> bool {
        let proofs = match (&self.proof, &original.proof) {
            (None, _) => self.promise.is_some() && !proof_wanted,
            (Some(mine), Some(other)) => mine.fixed == other.fixed && other.lines.iter().all(|line| mine.lines.contains(line)),
            (Some(_), None) => false,
        };
        let promises = self.promise.is_none() || (self.promise == original.promise && self.time == original.time);
        self.fixed == original.fixed && proofs && promises
    }
}

impl Proof {
    fn of(proof: &Value, note: &str) -> Option<Self> {
        let (text, lines) = note.split_once("\n\n")?;
        let mut fixed = vec![
            whole(&proof["logIndex"])?.to_string().into(),
            whole(&proof["treeSize"])?.to_string().into(),
            decoded(&proof["rootHash"])?,
            text.into(),
        ];
        for hash in proof["hashes"].as_array().into_iter().flatten() {
            fixed.push(decoded(hash)?);
        }
        Some(Self { fixed, lines: lines.lines().map(ToOwned::to_owned).collect() })
    }
}

impl Token {
    fn of(der: &[u8]) -> Self {
        Self(Self::signed(der).unwrap_or_else(|| vec![der.to_vec()]))
    }

    fn signed(der: &[u8]) -> Option<Vec<Vec<u8>>> {
        let outer = AnyRef::from_der(der).ok()?;
        let mut reader = SliceReader::new(outer.value()).ok()?;
        let first = reader.tlv_bytes().ok()?;
        // A bare token begins with an object identifier, a response with its status.
        let info =
            if first.first() == Some(&0x06) { ContentInfo::from_der(der).ok()? } else { reader.decode::<ContentInfo>().ok()? };
        let data: SignedData = info.content.decode_as().ok()?;
        let [signer] = data.signer_infos.0.as_slice() else { return None };
        let content = data.encap_content_info.econtent.as_ref()?.to_der().ok()?;
        Some(vec![content, signer.signed_attrs.as_ref()?.to_der().ok()?, signer.signature.as_bytes().to_vec()])
    }
}

/// What base64 holds, in whatever spelling.
fn decoded(value: &Value) -> Option<Vec<u8>> {
    const ANY: GeneralPurpose = GeneralPurpose::new(
        &alphabet::STANDARD,
        GeneralPurposeConfig::new()
            .with_decode_allow_trailing_bits(true)
            .with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let text: String = value.as_str()?.chars().filter(|c| !c.is_whitespace()).collect();
    ANY.decode(text.replace('-', "+").replace('_', "/")).ok()
}

/// A whole number, as a number or as text; absent is zero, as protobuf's JSON has it.
fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Null => Some(0),
        Value::Number(number) => number.as_i128(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}
