//! Checks the signing certificate's profile: what Fulcio issues for signing code, and nothing else.
//!
//! The certificate must be exactly of the kind that is expected before its claims are compared with anything. Who issued it is
//! [`crate::path`]'s question.

use crate::error::Check;
use crate::key::{self, Key};
use jiff::Timestamp;
use sigstore_crypto::{CertificateInfo, SubjectAltName as Identity};
use sigstore_types::DerCertificate;
use slipway_protocol::Refusal;
use std::collections::BTreeSet;
use x509_cert::Certificate;
use x509_cert::der::asn1::{AnyRef, ObjectIdentifier, Utf8StringRef};
use x509_cert::der::{Decode as _, Encode as _, Error, Reader as _, SliceReader};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    AuthorityKeyIdentifier, BasicConstraints, ExtendedKeyUsage, KeyUsage, KeyUsages, SubjectAltName, SubjectKeyIdentifier,
};

/// Extended key usage of certificates that sign code.
pub(crate) const CODE_SIGNING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3");
const ISSUER_RAW: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.1");
/// `organizationName`.
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
const ISSUER: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.8");

/// A signing certificate that fits the profile.
pub(crate) struct Leaf<'a> {
    /// As it came.
    pub(crate) der: &'a DerCertificate,
    pub(crate) certificate: Certificate,
    /// Its claims.
    pub(crate) info: CertificateInfo,
    pub(crate) identity: Identity,
    /// What the artifact must be signed with.
    pub(crate) key: Key,
}

/// Fulcio's have 0.8 to 2 KB. Sets in them are sorted while they are parsed, which takes long for a large one.
const SIZE_LIMIT: usize = 8 * 1024;

/// Parses a certificate that evidence brings.
pub(crate) fn parse(der: &[u8]) -> Result<Certificate, Refusal> {
    if der.len() > SIZE_LIMIT {
        return Err(Check::CertificateMalformed.refuse(format_args!("{} bytes", der.len()), format_args!("at most {SIZE_LIMIT}")));
    }
    Certificate::from_der(der).map_err(malformed)
}

/// Reads a certificate and checks it against the profile.
pub(crate) fn read(der: &DerCertificate) -> Result<Leaf<'_>, Refusal> {
    let profile = |seen: &str, wanted: &str| Check::CertificateProfile.refuse(seen, wanted);
    let certificate = parse(der.as_bytes())?;
    let body = &certificate.tbs_certificate;
    if body.version != x509_cert::Version::V3 {
        return Err(profile("an old certificate version", "X.509 v3"));
    }
    let extensions = body.extensions.as_deref().unwrap_or_default();
    let mut seen = BTreeSet::new();
    if let Some(twice) = extensions.iter().find(|extension| !seen.insert(extension.extn_id)) {
        return Err(profile(&format!("extension {} twice", twice.extn_id), "each extension once"));
    }
    let (critical, names) =
        body.get::<SubjectAltName>().map_err(malformed)?.ok_or_else(|| profile("no identity", "one identity"))?;
    let [name] = names.0.as_slice() else {
        return Err(profile(&format!("{} identities", names.0.len()), "one identity"));
    };
    // The two kinds share no text, so that whoever compares texts compares kinds: an address has no colon outside of quotes (RFC 5321
    // section 4.1.2), and a URI has its scheme's.
    let spelled = |text: &str, seen: &str, uri: bool| match text.contains(':') == uri {
        true => Ok(()),
        false => Err(profile(&format!("{seen} {text}"), "a URI with its scheme, or an email address")),
    };
    match name {
        GeneralName::UniformResourceIdentifier(uri) => spelled(uri.as_str(), "a URI without a scheme:", true)?,
        GeneralName::Rfc822Name(address) => spelled(address.as_str(), "an email address that spells a URI:", false)?,
        _ => return Err(profile("an identity of another kind", "a URI or an email address")),
    }
    if body.subject.0.is_empty() && !critical {
        return Err(profile("an identity that is not critical", "a critical one, since there is no subject"));
    }
    let usage = body.get::<KeyUsage>().map_err(malformed)?;
    if !usage.is_some_and(|(_, usage)| usage.0.contains(KeyUsages::DigitalSignature)) {
        return Err(profile("no key usage for signatures", "digitalSignature"));
    }
    let usage = body.get::<ExtendedKeyUsage>().map_err(malformed)?;
    if !usage.is_some_and(|(_, usage)| usage.0.contains(&CODE_SIGNING)) {
        return Err(profile("no extended key usage for code signing", "codeSigning"));
    }
    if body.get::<BasicConstraints>().map_err(malformed)?.is_some_and(|(_, basic)| basic.ca) {
        return Err(profile("an authority's certificate", "a leaf certificate"));
    }
    let value = |oid| extensions.iter().find(|extension| extension.extn_id == oid).map(|found| found.extn_value.as_bytes());
    if let (Some(old), Some(new)) = (value(ISSUER_RAW), value(ISSUER)) {
        let new = Utf8StringRef::from_der(new).map_err(malformed)?;
        if old != new.as_bytes() {
            return Err(Check::ClaimIssuer.refuse(String::from_utf8_lossy(old), new.as_str()));
        }
    }
    let spki = body.subject_public_key_info.to_der().map_err(malformed)?;
    let key = Key::from_spki(&spki).map_err(key::unsupported)?;
    let info = sigstore_crypto::parse_certificate_info(der)
        .map_err(|error| Check::CertificateMalformed.refuse(error, "a DER certificate"))?;
    let identity = info.identity.clone().ok_or_else(|| profile("no identity", "one identity"))?;
    Ok(Leaf { der, certificate, info, identity, key })
}

fn malformed(error: Error) -> Refusal {
    Check::CertificateMalformed.refuse(error, "a DER certificate")
}

/// The part of a certificate that is signed, as it is in its DER.
pub(crate) fn signed_part(der: &[u8]) -> Result<&[u8], Error> {
    SliceReader::new(AnyRef::from_der(der)?.value())?.tlv_bytes()
}

/// When a certificate begins and ends.
pub(crate) fn dates(certificate: &Certificate) -> Result<(Timestamp, Timestamp), jiff::Error> {
    let validity = certificate.tbs_certificate.validity;
    Ok((Timestamp::try_from(validity.not_before.to_system_time())?, Timestamp::try_from(validity.not_after.to_system_time())?))
}

/// The right to issue certificates: how many authorities may follow in a path, the leaf not counted; why not, if it has no such right.
pub(crate) fn room(certificate: &Certificate) -> Result<usize, String> {
    let body = &certificate.tbs_certificate;
    let basic = body.get::<BasicConstraints>().map_err(|error| error.to_string())?;
    let usage = body.get::<KeyUsage>().map_err(|error| error.to_string())?;
    let (_, basic) = basic.filter(|(_, basic)| basic.ca).ok_or("an issuer's certificate that may not issue")?;
    if usage.is_some_and(|(_, usage)| !usage.0.contains(KeyUsages::KeyCertSign)) {
        return Err("an authority that may not sign certificates".to_owned());
    }
    Ok(basic.path_len_constraint.map_or(usize::MAX, usize::from))
}

/// The organisation that a certificate names as its issuer. Proven only together with the path.
pub(crate) fn issuing_organization(certificate: &Certificate) -> Option<String> {
    let mut names = certificate.tbs_certificate.issuer.0.iter().flat_map(|name| name.0.iter());
    let organization = names.find(|name| name.oid == ORGANIZATION);
    organization.map(|name| String::from_utf8_lossy(name.value.value()).into_owned())
}

/// The key id that a certificate gives its issuer, if it does.
pub(crate) fn issuer_key(certificate: &Certificate) -> Option<Vec<u8>> {
    let (_, id) = certificate.tbs_certificate.get::<AuthorityKeyIdentifier>().ok()??;
    Some(id.key_identifier?.as_bytes().to_vec())
}

/// The key id that a certificate gives itself, if it does.
pub(crate) fn own_key(certificate: &Certificate) -> Option<Vec<u8>> {
    let (_, id) = certificate.tbs_certificate.get::<SubjectKeyIdentifier>().ok()??;
    Some(id.0.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_not_even_parsed() {
        let seen = |size: usize| parse(&vec![0x30; size]).unwrap_err().seen;
        assert_eq!(seen(SIZE_LIMIT + 1), "8193 bytes");
        assert_ne!(seen(SIZE_LIMIT), "8192 bytes", "that one is parsed");
    }
}
