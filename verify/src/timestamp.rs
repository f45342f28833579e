//! The shape of an RFC 3161 timestamp token: what the library leaves unread is read here.
//!
//! The library verifies imprint, message digest, signature, signer and chain. Left over are the parts of the CMS envelope that say the same
//! thing twice, the signed content type, and the certificate that the token names as its signer's (ESSCertIDv2).

use crate::error::Check;
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{SignedData, SignerInfo};
use sha2::Digest as _;
use slipway_protocol::Refusal;
use x509_cert::attr::Attribute;
use x509_cert::der::asn1::{Any, AnyRef, ObjectIdentifier, OctetStringRef};
use x509_cert::der::{Decode as _, Encode as _, Reader as _, SliceReader, Tag, Tagged as _};
use x509_cert::spki::AlgorithmIdentifierOwned;

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");
const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");
const SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
const SHA_384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
const SHA_512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");
const ECDSA_SHA_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA_384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA_512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1");

/// A real token has 0.6 to 6 KB, with its certificates.
const SIZE_LIMIT: usize = 64 * 1024;

fn malformed(what: impl std::fmt::Display) -> Refusal {
    Check::TimestampMalformed.refuse(what, "a granted RFC 3161 token with one signer")
}

/// Checks one token; `signers` are the certificates of the trusted authorities.
pub(crate) fn check(token: &[u8], signers: &[Vec<u8>]) -> Result<(), Refusal> {
    if token.len() > SIZE_LIMIT {
        return Err(malformed(format_args!("{} bytes", token.len())));
    }
    let data = signed_data(token)?;
    let content = &data.encap_content_info;
    if content.econtent_type != TST_INFO {
        return Err(malformed(format_args!("content of type {}", content.econtent_type)));
    }
    if content.econtent.as_ref().map(Any::tag) != Some(Tag::OctetString) {
        return Err(malformed("content that is no octet string"));
    }
    let [signer] = data.signer_infos.0.as_slice() else {
        return Err(malformed(format_args!("{} signers", data.signer_infos.0.len())));
    };
    // Version 1 names the signer by issuer and serial, 3 by key id; the envelope is of version 3 for any content but plain data.
    if data.version != CmsVersion::V3 || !matches!(signer.version, CmsVersion::V1 | CmsVersion::V3) {
        return Err(malformed("another CMS version"));
    }
    check_algorithms(data.digest_algorithms.as_slice(), signer)?;
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
    only(MESSAGE_DIGEST)?.ok_or_else(|| malformed("no signed digest"))?;
    match only(SIGNING_CERTIFICATE_V2)? {
        Some(value) => check_named_signer(value, signers),
        None => Ok(()),
    }
}

/// The signed data in a TimeStampResp: status granted (0) or granted with modifications (1), then the token and nothing more.
fn signed_data(token: &[u8]) -> Result<SignedData, Refusal> {
    let der = |error: x509_cert::der::Error| malformed(error);
    let outer = AnyRef::from_der(token).map_err(der)?;
    if outer.tag() != Tag::Sequence {
        return Err(malformed("no sequence"));
    }
    let mut reader = SliceReader::new(outer.value()).map_err(der)?;
    let status = AnyRef::decode(&mut reader).map_err(der)?;
    // A bare token begins with its content type instead of a status.
    let info = if status.tag() == Tag::ObjectIdentifier {
        ContentInfo::from_der(token).map_err(der)?
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

/// The digest algorithm is named three times, and must be the same each time.
fn check_algorithms(announced: &[AlgorithmIdentifierOwned], signer: &SignerInfo) -> Result<(), Refusal> {
    let digest = signer.digest_alg.oid;
    let signature = signer.signature_algorithm.oid;
    // No authority with an RSA key can be verified here. Whether it is unknown or unsupported, the library finds out.
    if RSA.is_prefix_of(signature) {
        return Ok(());
    }
    let fitting = match digest {
        SHA_256 => [ECDSA_SHA_256, ED25519],
        SHA_384 => [ECDSA_SHA_384, ED25519],
        SHA_512 => [ECDSA_SHA_512, ED25519],
        other => return Err(malformed(format_args!("digest algorithm {other}"))),
    };
    let plain = |algorithm: &AlgorithmIdentifierOwned| {
        algorithm.parameters.as_ref().is_none_or(|parameters| parameters.tag() == Tag::Null && parameters.value().is_empty())
    };
    match announced {
        [one] if one.oid == digest && plain(one) && plain(&signer.digest_alg) => {}
        _ => return Err(malformed("another digest algorithm than the signer's")),
    }
    if fitting.contains(&signature) && plain(&signer.signature_algorithm) {
        Ok(())
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

/// The first certificate that ESSCertIDv2 names must be the certificate of an authority: by its digest, which is part of what was signed.
fn check_named_signer(value: &Any, signers: &[Vec<u8>]) -> Result<(), Refusal> {
    let der = |error: x509_cert::der::Error| malformed(error);
    // SigningCertificateV2 { certs SEQUENCE OF ESSCertIDv2 { hashAlgorithm DEFAULT sha256, certHash, … }, … }
    let certificates = value.to_der().map_err(der)?;
    let list = first(&certificates)?;
    let named = first(&list)?;
    let named = AnyRef::from_der(&named).map_err(der)?;
    let mut reader = SliceReader::new(named.value()).map_err(der)?;
    let algorithm = match reader.peek_header().map_err(der)?.tag {
        Tag::OctetString => SHA_256,
        _ => AlgorithmIdentifierOwned::decode(&mut reader).map_err(der)?.oid,
    };
    let digest = OctetStringRef::decode(&mut reader).map_err(der)?;
    let of = |certificate: &[u8]| match algorithm {
        SHA_256 => sha2::Sha256::digest(certificate).to_vec(),
        SHA_384 => sha2::Sha384::digest(certificate).to_vec(),
        SHA_512 => sha2::Sha512::digest(certificate).to_vec(),
        _ => Vec::new(),
    };
    if signers.iter().any(|certificate| of(certificate) == digest.as_bytes()) {
        Ok(())
    } else {
        Err(Check::TimestampSigner.refuse(hex::encode(digest.as_bytes()), "the certificate of a trusted authority"))
    }
}

/// The first element of a DER sequence, in DER.
fn first(sequence: &[u8]) -> Result<Vec<u8>, Refusal> {
    let der = |error: x509_cert::der::Error| malformed(error);
    let outer = AnyRef::from_der(sequence).map_err(der)?;
    let mut reader = SliceReader::new(outer.value()).map_err(der)?;
    let element = AnyRef::decode(&mut reader).map_err(der)?;
    element.to_der().map_err(der)
}
