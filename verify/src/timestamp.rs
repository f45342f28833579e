//! Verifies timestamps of a signature by trusted timestamp authorities: RFC 3161 tokens.
//!
//! The signer is the first certificate of an authority of the trusted root, never one that the token brings. That very authority must have
//! been in force at the time it states, by its window and by the dates of its whole chain.

use crate::authority::{self, Authority, AuthorityKey};
use crate::error::Check;
use crate::key::{Hash, Key};
use crate::root::SigstoreRoot;
use crate::rsa;
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{SignedData, SignerIdentifier, SignerInfo};
use jiff::Timestamp;
use sha1::{Digest as _, Sha1};
use slipway_protocol::Refusal;
use x509_cert::attr::Attribute;
use x509_cert::der::asn1::{Any, AnyRef, GeneralizedTime, ObjectIdentifier, OctetStringRef};
use x509_cert::der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag, TagNumber, Tagged as _};
use x509_cert::spki::{AlgorithmIdentifierOwned, AlgorithmIdentifierRef};

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.12");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
const ECDSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A real token has 0.6 to 6 KB, with its certificates.
const SIZE_LIMIT: usize = 16 * 1024;

fn malformed(what: impl std::fmt::Display) -> Refusal {
    Check::TimestampMalformed.refuse(what, "a granted RFC 3161 token with one signer")
}

fn der(error: x509_cert::der::Error) -> Refusal {
    malformed(error)
}

/// Verifies one token over `signature`, and returns the time that it proves.
pub(crate) fn verify(token: &[u8], signature: &[u8], root: Option<&SigstoreRoot>) -> Result<Timestamp, Refusal> {
    if token.len() > SIZE_LIMIT {
        return Err(malformed(format_args!("{} bytes", token.len())));
    }
    let data = signed_data(token)?;
    let content = &data.encap_content_info;
    if content.econtent_type != TST_INFO {
        return Err(malformed(format_args!("content of type {}", content.econtent_type)));
    }
    let content = content.econtent.as_ref().filter(|content| content.tag() == Tag::OctetString);
    let content = content.map(Any::value).ok_or_else(|| malformed("content that is not an octet string"))?;
    let [signer] = data.signer_infos.0.as_slice() else {
        return Err(malformed(format_args!("{} signers", data.signer_infos.0.len())));
    };
    // Version 1 names the signer by issuer and serial, 3 by key id; the envelope is of version 3 for any content but plain data.
    if data.version != CmsVersion::V3 || !matches!(signer.version, CmsVersion::V1 | CmsVersion::V3) {
        return Err(malformed("another CMS version"));
    }
    let hash = signed_hash(data.digest_algorithms.as_slice(), signer)?;
    let attributes = signer.signed_attrs.as_ref().ok_or_else(|| malformed("nothing signed"))?;
    let only = |oid: ObjectIdentifier| -> Result<Option<&Any>, Refusal> {
        let mut found = attributes.iter().filter(|attribute: &&Attribute| attribute.oid == oid);
        match (found.next(), found.next()) {
            (None, _) => Ok(None),
            (Some(one), None) if one.values.len() == 1 => Ok(one.values.get(0)),
            _ => Err(malformed(format_args!("attribute {oid} twice"))),
        }
    };
    let content_type = only(CONTENT_TYPE)?.and_then(|value| value.decode_as::<ObjectIdentifier>().ok());
    if content_type != Some(TST_INFO) {
        return Err(malformed("no signed content type of a timestamp"));
    }
    let digest = only(MESSAGE_DIGEST)?.ok_or_else(|| malformed("no signed digest"))?;
    if digest.tag() != Tag::OctetString || digest.value() != hash.of(content) {
        return Err(Check::TimestampDigest.refuse(hex::encode(digest.value()), hex::encode(hash.of(content))));
    }
    let info = Info::read(content)?;
    if info.imprint != info.hash.of(signature) {
        return Err(Check::TimestampImprint.refuse(hex::encode(info.imprint), hex::encode(info.hash.of(signature))));
    }
    let named = [only(SIGNING_CERTIFICATE)?, only(SIGNING_CERTIFICATE_V2)?];
    let signed = attributes.to_der().map_err(der)?;
    let mut last = Check::TimestampSigner.refuse("another signer", "a timestamp authority of the trusted root");
    for authority in root.map(SigstoreRoot::timestamp_authorities).unwrap_or_default() {
        match by(authority, signer, named, hash, &signed)? {
            Signed::ByNoneOfIt => {}
            Signed::Wrongly(refusal) => last = refusal,
            // The same certificate may be listed again with another window.
            Signed::Rightly if !authority.in_force(&[info.time]) => {
                let window = authority.window;
                let end = window.end.map_or_else(|| "now".to_owned(), |end| end.to_string());
                last = Check::TimestampWindow.refuse(info.time, format_args!("{} to {end}", window.start));
            }
            Signed::Rightly => return authority.vouched().map(|()| info.time),
        }
    }
    Err(last)
}

/// What an authority has to do with a token.
enum Signed {
    ByNoneOfIt,
    Wrongly(Refusal),
    Rightly,
}

/// Whether the authority's own certificate is the one that the token names, twice, and its key signed the attributes.
fn by(
    authority: &Authority,
    signer: &SignerInfo,
    named: [Option<&Any>; 2],
    hash: Hash,
    signed: &[u8],
) -> Result<Signed, Refusal> {
    let Some(own) = authority.chain.first() else { return Ok(Signed::ByNoneOfIt) };
    let body = &own.certificate.tbs_certificate;
    let is_it = match &signer.sid {
        SignerIdentifier::IssuerAndSerialNumber(it) => it.issuer == body.issuer && it.serial_number == body.serial_number,
        SignerIdentifier::SubjectKeyIdentifier(id) => own.own_key.as_deref() == Some(id.0.as_bytes()),
    };
    if !is_it {
        return Ok(Signed::ByNoneOfIt);
    }
    for (value, version) in named.into_iter().zip([EssVersion::V1, EssVersion::V2]) {
        let Some(value) = value else { continue };
        let (seen, wanted) = ess_digest(value, version, &own.der)?;
        if seen != wanted {
            let wanted = hex::encode(wanted);
            return Ok(Signed::Wrongly(
                Check::TimestampSigner.refuse(hex::encode(seen), format_args!("the certificate {wanted}")),
            ));
        }
    }
    let (algorithm, signature) = (&signer.signature_algorithm, signer.signature.as_bytes());
    let verified = match (&own.key, rsa::in_cms(algorithm, hash)) {
        (AuthorityKey::Plain(key), None) => {
            let fits = ED25519 == algorithm.oid;
            fits == matches!(key, Key::Ed25519(_)) && key.verify(hash, signed, signature).is_ok()
        }
        (AuthorityKey::Rsa(key), Some(algorithm)) => key.verify(algorithm, signed, signature).is_ok(),
        (AuthorityKey::Unsupported(what), _) => return Ok(Signed::Wrongly(authority::unsupported(what))),
        // Another kind of signature than the authority's key makes.
        (AuthorityKey::Plain(_), Some(_)) | (AuthorityKey::Rsa(_), None) => false,
    };
    Ok(if verified {
        Signed::Rightly
    } else {
        Signed::Wrongly(Check::TimestampInvalid.refuse("a signature that does not verify", "a signature by the authority"))
    })
}

/// What a token says.
struct Info<'a> {
    hash: Hash,
    imprint: &'a [u8],
    time: Timestamp,
}

impl<'a> Info<'a> {
    /// Reads a TSTInfo: version 1, policy, imprint, serial number, time, and then only what RFC 3161 has, in its order.
    fn read(content: &'a [u8]) -> Result<Self, Refusal> {
        let mut reader = SliceReader::new(AnyRef::from_der(content).map_err(der)?.value()).map_err(der)?;
        if u8::decode(&mut reader).map_err(der)? != 1 {
            return Err(malformed("another version of the timestamp"));
        }
        ObjectIdentifier::decode(&mut reader).map_err(der)?;
        let (algorithm, imprint) = reader
            .sequence(|imprint| Ok((AlgorithmIdentifierRef::decode(imprint)?, OctetStringRef::decode(imprint)?)))
            .map_err(der)?;
        let hash = digest_of(algorithm.oid).ok_or_else(|| malformed(format_args!("an imprint by {}", algorithm.oid)))?;
        if AnyRef::decode(&mut reader).map_err(der)?.tag() != Tag::Integer {
            return Err(malformed("no serial number"));
        }
        let time = GeneralizedTime::decode(&mut reader).map_err(der)?;
        let time = Timestamp::try_from(time.to_system_time()).map_err(malformed)?;
        // Accuracy, ordering, nonce and name say nothing that is needed. Extensions may be critical; nobody uses them.
        let name = Tag::ContextSpecific { constructed: true, number: TagNumber::N0 };
        let mut allowed = [Tag::Sequence, Tag::Boolean, Tag::Integer, name].into_iter();
        while !reader.is_finished() {
            let tag = AnyRef::decode(&mut reader).map_err(der)?.tag();
            if !allowed.any(|next| next == tag) {
                return Err(malformed("an unknown field in the timestamp"));
            }
        }
        Ok(Self { hash, imprint: imprint.as_bytes(), time })
    }
}

/// A digest algorithm alone, not in a signature.
fn digest_of(oid: ObjectIdentifier) -> Option<Hash> {
    Hash::by_oid(oid).filter(|_| !ECDSA.is_prefix_of(oid))
}

/// The signed data in a TimeStampResp: status granted (0) or granted with modifications (1), then the token and nothing more.
fn signed_data(token: &[u8]) -> Result<SignedData, Refusal> {
    let outer = AnyRef::from_der(token).map_err(der)?;
    if outer.tag() != Tag::Sequence {
        return Err(malformed("no sequence"));
    }
    let mut reader = SliceReader::new(outer.value()).map_err(der)?;
    let status = AnyRef::decode(&mut reader).map_err(der)?;
    // A bare token begins with its content type instead of a status.
    let info = if status.tag() == Tag::ObjectIdentifier {
        ContentInfo::from_der(token).map_err(der)?
    } else if status.tag() != Tag::Sequence {
        return Err(malformed("no status"));
    } else {
        let mut inside = SliceReader::new(status.value()).map_err(der)?;
        if !matches!(u8::decode(&mut inside), Ok(0 | 1)) {
            return Err(malformed("a status other than granted"));
        }
        let info = ContentInfo::decode(&mut reader).map_err(der)?;
        reader.finish(info).map_err(der)?
    };
    if info.content_type != SIGNED_DATA {
        return Err(malformed(format_args!("an envelope of type {}", info.content_type)));
    }
    info.content.decode_as::<SignedData>().map_err(der)
}

/// The digest algorithm, which is named three times and must be the same each time.
fn signed_hash(announced: &[AlgorithmIdentifierOwned], signer: &SignerInfo) -> Result<Hash, Refusal> {
    let digest = signer.digest_alg.oid;
    let signature = signer.signature_algorithm.oid;
    let hash = digest_of(digest).ok_or_else(|| malformed(format_args!("digest algorithm {digest}")))?;
    let plain = |algorithm: &AlgorithmIdentifierOwned| {
        algorithm.parameters.as_ref().is_none_or(|parameters| parameters.tag() == Tag::Null && parameters.value().is_empty())
    };
    match announced {
        [one] if one.oid == digest && plain(one) && plain(&signer.digest_alg) => {}
        _ => return Err(malformed("another digest algorithm than the signer's")),
    }
    let ecdsa = ECDSA.is_prefix_of(signature) && Hash::by_oid(signature) == Some(hash);
    let plainly = (ecdsa || signature == ED25519 || signature == rsa::RSA) && plain(&signer.signature_algorithm);
    // All other RSA algorithms name their digest, and PSS its parameters.
    if plainly || (signature != rsa::RSA && rsa::in_cms(&signer.signature_algorithm, hash).is_some()) {
        Ok(hash)
    } else {
        Err(malformed(format_args!("signature algorithm {signature} with digest algorithm {digest}")))
    }
}

trait Prefix {
    /// Whether `other` lies under this object identifier.
    fn is_prefix_of(&self, other: ObjectIdentifier) -> bool;
}

impl Prefix for ObjectIdentifier {
    fn is_prefix_of(&self, other: ObjectIdentifier) -> bool {
        other.as_bytes().starts_with(self.as_bytes())
    }
}

/// The two forms in which a token names its signer's certificate.
#[derive(Clone, Copy)]
enum EssVersion {
    /// By SHA-1 (RFC 2634). It adds nothing to the trusted root's choice of the signer, but must not contradict it.
    V1,
    /// By SHA-256 unless it says otherwise (RFC 5816).
    V2,
}

/// The digest by which a token names its signer's certificate, and what that digest is for `certificate`.
fn ess_digest(value: &Any, version: EssVersion, certificate: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Refusal> {
    // SigningCertificate(V2) { certs SEQUENCE OF ESSCertID(v2) { hashAlgorithm DEFAULT sha256 (only v2), certHash, … }, … }
    if value.tag() != Tag::Sequence {
        return Err(malformed("no certificates of the signer"));
    }
    let list = AnyRef::decode(&mut SliceReader::new(value.value()).map_err(der)?).map_err(der)?;
    let named = AnyRef::decode(&mut SliceReader::new(list.value()).map_err(der)?).map_err(der)?;
    let mut reader = SliceReader::new(named.value()).map_err(der)?;
    let own = match version {
        EssVersion::V1 => Sha1::digest(certificate).to_vec(),
        EssVersion::V2 => {
            let hash = match reader.peek_header().map_err(der)?.tag {
                Tag::OctetString => Some(Hash::Sha256),
                _ => digest_of(AlgorithmIdentifierRef::decode(&mut reader).map_err(der)?.oid),
            };
            hash.ok_or_else(|| malformed("a certificate named by another digest"))?.of(certificate)
        }
    };
    let digest = OctetStringRef::decode(&mut reader).map_err(der)?;
    Ok((digest.as_bytes().to_vec(), own))
}
