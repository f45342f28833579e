//! Verifies that a trusted certificate log has the certificate: its SCTs (RFC 6962 section 3.2).
//!
//! What a log signed is the certificate without these timestamps. It is spliced from the bytes as they came, never encoded again from a
//! parsed form, which might tidy up what the log has signed as it was.

use crate::certificate::{self, Leaf};
use crate::error::Check;
use crate::key::{Hash, Key};
use crate::path::IssuerKey;
use crate::root::SigstoreRoot;
use jiff::Timestamp;
use slipway_protocol::Refusal;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, OctetStringRef};
use x509_cert::der::{Decode as _, Encode as _, Error, Header, Reader as _, SliceReader, Tag, TagNumber, Tagged as _};

const SCT_LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");

/// One timestamp, in the words of the RFC.
struct Sct<'a> {
    log: &'a [u8; 32],
    milliseconds: [u8; 8],
    extensions: &'a [u8],
    algorithm: [u8; 2],
    signature: &'a [u8],
}

/// Checks that at least one trusted log has signed a timestamp for the leaf, which `issuer` issued. Logs that are not in the trusted root
/// are passed over; a timestamp that claims to be of one that is must be right.
pub(crate) fn verify(leaf: &Leaf<'_>, issuer: &IssuerKey, root: &SigstoreRoot) -> Result<(), Refusal> {
    let malformed = |error: Error| Check::CertificateMalformed.refuse(error, "a DER certificate");
    let (logged, list) = without_scts(leaf.der.as_bytes()).map_err(malformed)?;
    let list = list.ok_or_else(|| Check::CertificateSctMissing.refuse("none", "a signed certificate timestamp"))?;
    let scts = parse(list).ok_or_else(|| Check::CertificateSctMalformed.refuse("malformed content", "a list of timestamps"))?;
    let mut seen = false;
    for sct in &scts {
        let Some(log) = root.certificate_log(sct.log) else { continue };
        let at = i64::try_from(u64::from_be_bytes(sct.milliseconds)).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let at = at.ok_or_else(|| Check::CertificateSctTime.refuse("no time", "a time"))?;
        if !log.window.contains(at) {
            return Err(Check::CertificateSctTime.refuse(at, format_args!("a time when {} was in force", log.name)));
        }
        if at > leaf.info.not_after {
            return Err(Check::CertificateSctTime.refuse(at, format_args!("not after {}", leaf.info.not_after)));
        }
        let signed = sct.signed(issuer, &logged).ok_or_else(|| Check::CertificateSctMalformed.refuse("too long", "16 MiB"))?;
        let wrong =
            || Check::CertificateSct.refuse("a signature that does not verify", format_args!("a signature of {}", log.name));
        log.key.verify(sct.hash(&log.key).ok_or_else(wrong)?, &signed, sct.signature).map_err(|_| wrong())?;
        seen = true;
    }
    if seen {
        return Ok(());
    }
    scts.iter().try_for_each(|sct| root.supports_log(sct.log))?;
    let names: Vec<String> = scts.iter().map(|sct| hex::encode(sct.log)).collect();
    Err(Check::CertificateSctLog.refuse(names.join(", "), "a certificate log of the trusted root"))
}

impl Sct<'_> {
    /// What the log signed: version 1, a certificate timestamp, of a precertificate.
    fn signed(&self, issuer: &IssuerKey, certificate: &[u8]) -> Option<Vec<u8>> {
        let (zero, length) = u32::try_from(certificate.len()).ok()?.to_be_bytes().split_first().map(|(z, l)| (*z, l.to_vec()))?;
        let extensions = u16::try_from(self.extensions.len()).ok()?.to_be_bytes();
        (zero == 0).then(|| {
            [&[0, 0], &self.milliseconds[..], &[0, 1], issuer, &length, certificate, &extensions, self.extensions].concat()
        })
    }

    /// The digest that is signed (RFC 5246, 7.4.1.4.1), if the log's key is of the kind that the timestamp names.
    fn hash(&self, key: &Key) -> Option<Hash> {
        match (self.algorithm, key) {
            ([4, 3], Key::P256(_) | Key::P384(_)) => Some(Hash::Sha256),
            ([5, 3], Key::P256(_) | Key::P384(_)) => Some(Hash::Sha384),
            _ => None,
        }
    }
}

/// Reads the extension's value: an octet string with a list of timestamps, each with its length before it, and nothing more anywhere.
fn parse(value: &[u8]) -> Option<Vec<Sct<'_>>> {
    let list = OctetStringRef::from_der(value).ok()?;
    let (mut rest, after) = vector(list.as_bytes())?;
    let mut scts = Vec::new();
    while !rest.is_empty() {
        let (one, more) = vector(rest)?;
        rest = more;
        let (version, one) = one.split_first()?;
        let (log, one) = one.split_first_chunk::<32>()?;
        let (milliseconds, one) = one.split_first_chunk::<8>()?;
        let (extensions, one) = vector(one)?;
        let (algorithm, one) = one.split_first_chunk::<2>()?;
        let (signature, end) = vector(one)?;
        if *version != 0 || !end.is_empty() {
            return None;
        }
        scts.push(Sct { log, milliseconds: *milliseconds, extensions, algorithm: *algorithm, signature });
    }
    (after.is_empty() && !scts.is_empty()).then_some(scts)
}

/// Bytes with their length in two bytes before them, and what follows.
fn vector(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))
}

/// The signed part of a certificate without its list of timestamps, and the value of that list.
fn without_scts(der: &[u8]) -> Result<(Vec<u8>, Option<&[u8]>), Error> {
    let tagged = Tag::ContextSpecific { constructed: true, number: TagNumber::N3 };
    let mut reader = SliceReader::new(AnyRef::from_der(certificate::signed_part(der)?)?.value())?;
    let mut body = Vec::with_capacity(der.len());
    let mut list = None;
    while !reader.is_finished() {
        let field = reader.tlv_bytes()?;
        if AnyRef::from_der(field)?.tag() != tagged {
            body.extend_from_slice(field);
            continue;
        }
        let sequence = AnyRef::from_der(AnyRef::from_der(field)?.value())?;
        let mut extensions = SliceReader::new(sequence.value())?;
        let mut kept = Vec::with_capacity(field.len());
        while !extensions.is_finished() {
            let extension = extensions.tlv_bytes()?;
            let mut parts = SliceReader::new(AnyRef::from_der(extension)?.value())?;
            if ObjectIdentifier::decode(&mut parts)? == SCT_LIST {
                list = Some(AnyRef::from_der(last(extension)?)?.value());
            } else {
                kept.extend_from_slice(extension);
            }
        }
        if !kept.is_empty() {
            body.extend(wrap(tagged, &wrap(Tag::Sequence, &kept)?)?);
        }
    }
    Ok((wrap(Tag::Sequence, &body)?, list))
}

/// The last element of a sequence: of an extension, its value.
fn last(sequence: &[u8]) -> Result<&[u8], Error> {
    let mut reader = SliceReader::new(AnyRef::from_der(sequence)?.value())?;
    let mut found = reader.tlv_bytes()?;
    while !reader.is_finished() {
        found = reader.tlv_bytes()?;
    }
    Ok(found)
}

fn wrap(tag: Tag, content: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = Header::new(tag, content.len())?.to_der()?;
    out.extend_from_slice(content);
    Ok(out)
}
