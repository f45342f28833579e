//! Verifies that a trusted authority issued the certificate, and all were in force when it signed.
//!
//! webpki judges the path: signature, names, purposes, constraints, unknown critical extensions. It reads no key usage, its anchors carry
//! no dates, and it is asked once; so the right to issue is asked of every issuer here, and dates and windows are judged at every time.
//! Nothing asks what time it is now.

use crate::authority::{self, Authority, AuthorityKey, Link};
use crate::bundle::{Bundle, Signer};
use crate::certificate::{self, CODE_SIGNING, Leaf};
use crate::error::Check;
use crate::root::SigstoreRoot;
use crate::rsa;
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use sigstore_crypto::webpki::{ECDSA_P256_SHA256, ECDSA_P256_SHA384, ECDSA_P384_SHA256, ECDSA_P384_SHA384, ED25519};
use slipway_protocol::{Refusal, Sha256};
use std::time::Duration;
use webpki::{EndEntityCert, Error, KeyUsage};
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, SliceReader};

/// The id of the key that issued the leaf, as certificate logs name it: SHA-256 of its SubjectPublicKeyInfo.
pub(crate) type IssuerKey = [u8; 32];

/// Checks the leaf's path at every one of `times`, which are not empty. Returns the issuer that was really used.
pub(crate) fn verify(leaf: &Leaf<'_>, bundle: &Bundle, root: &SigstoreRoot, times: &[Timestamp]) -> Result<IssuerKey, Refusal> {
    within(times, leaf.info.not_before, leaf.info.not_after)?;
    let between = between(bundle);
    let by_bundle = root.needs_intermediates() && !between.is_empty();
    let known: Vec<&Authority> = root
        .authorities()
        .iter()
        .filter(|authority| by_bundle || authority.chain.iter().any(|link| link.may_have_issued(&leaf.certificate)))
        .collect();
    if known.is_empty() {
        return Err(Check::CertificateChain.refuse(&leaf.certificate.tbs_certificate.issuer, "an authority of the trusted root"));
    }
    let in_force: Vec<&Authority> = known.iter().copied().filter(|authority| authority.in_force(times)).collect();
    if in_force.is_empty() {
        let seen = times.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let end = |authority: &Authority| authority.window.end.map_or_else(|| "now".to_owned(), |end| end.to_string());
        let windows: Vec<String> =
            known.iter().map(|authority| format!("{} to {}", authority.window.start, end(authority))).collect();
        return Err(Check::CertificateAuthority.refuse(seen, windows.join(" or ")));
    }
    let mut last = None;
    for authority in in_force {
        for link in &authority.chain {
            if by_bundle || link.may_have_issued(&leaf.certificate) {
                match under(leaf, link, &between, times) {
                    // The chain above the issuer: a defect of the trusted root, if it has one.
                    Ok(issuer) => return authority.vouched().map(|()| issuer),
                    Err(refusal) => last = Some(refusal),
                }
            }
        }
    }
    Err(last.unwrap_or_else(|| Check::CertificateChain.refuse("no path", "an authority of the trusted root")))
}

/// Checks that the times lie in the leaf's life. Both ends belong to it.
fn within(times: &[Timestamp], begin: Timestamp, end: Timestamp) -> Result<(), Refusal> {
    for time in times {
        if *time < begin {
            return Err(Check::CertificateNotYet.refuse(time, format_args!("not before {begin}")));
        }
        if *time > end {
            return Err(Check::CertificateExpired.refuse(time, format_args!("not after {end}")));
        }
    }
    Ok(())
}

/// The certificates that the bundle brings after its leaf. The gate has left them only where the trusted root needs them.
fn between(bundle: &Bundle) -> Vec<CertificateDer<'_>> {
    match &bundle.signer {
        Signer::Certificates { intermediates, .. } => {
            intermediates.iter().map(|certificate| CertificateDer::from(certificate.as_bytes())).collect()
        }
        Signer::Key => Vec::new(),
    }
}

/// What may sign a certificate: elliptic curves by the same code as everywhere, RSA only here and in timestamps.
fn algorithms() -> Vec<&'static dyn SignatureVerificationAlgorithm> {
    let curves = [ECDSA_P256_SHA256, ECDSA_P256_SHA384, ECDSA_P384_SHA256, ECDSA_P384_SHA384, ED25519];
    curves.into_iter().chain(rsa::algorithms().map(|(algorithm, _)| algorithm)).collect()
}

/// Checks the path from the leaf to `anchor`, through certificates of the bundle where there are some.
fn under(leaf: &Leaf<'_>, anchor: &Link, between: &[CertificateDer<'_>], times: &[Timestamp]) -> Result<IssuerKey, Refusal> {
    anchor.key.supported()?;
    let der = CertificateDer::from(leaf.der.as_bytes());
    let subject = EndEntityCert::try_from(&der).map_err(refusal)?;
    let time = times.first().and_then(|time| u64::try_from(time.as_second()).ok()).map(Duration::from_secs);
    let time = time.ok_or_else(|| Check::CertificateNotYet.refuse("a time before 1970", "a signed time"))?;
    let path = subject
        .verify_for_usage(
            &algorithms(),
            std::slice::from_ref(&anchor.anchor),
            between,
            UnixTime::since_unix_epoch(time),
            KeyUsage::required(CODE_SIGNING.as_bytes()),
            None,
            None,
        )
        .map_err(refusal)?;
    let broken = |why: &dyn std::fmt::Display| Check::CertificatePath.refuse(why, "a path that its authorities allow");
    let mut length = 0_usize;
    let mut issuer = None;
    for certificate in path.intermediate_certificates() {
        length = length.saturating_add(1);
        issuer.get_or_insert_with(|| Sha256::of(&certificate.subject_public_key_info()).0);
        let parsed = Certificate::from_der(&certificate.der()).map_err(|error| broken(&error))?;
        let (begin, end) = certificate::dates(&parsed).map_err(|error| broken(&error))?;
        within(times, begin, end)?;
        AuthorityKey::of(&parsed).supported()?;
        certificate::room(&parsed).map_err(powerless)?;
    }
    // An anchor brings no constraints into webpki but those of names.
    if certificate::room(&anchor.certificate).map_err(powerless)? < length {
        return Err(broken(&"a path that is longer than its root allows"));
    }
    Ok(issuer.unwrap_or(anchor.key_digest))
}

fn powerless(why: impl std::fmt::Display) -> Refusal {
    Check::CertificateAuthorityUsage
        .refuse(why, "basic constraints of an authority, and the usage keyCertSign if usages are named")
}

/// Gives each way in which a path can fail its own check. webpki's errors have no words, only the names of Rust's variants.
fn refusal(error: Error) -> Refusal {
    match error {
        Error::InvalidSignatureForPublicKey => Check::CertificateSignature
            .refuse("a signature by another key", "the signature of the authority it names as its issuer"),
        Error::UnknownIssuer => Check::CertificateChain.refuse("an unknown issuer", "an authority of the trusted root"),
        Error::CertExpired { not_after, .. } => Check::CertificateExpired
            .refuse(format_args!("not after {}", seconds(not_after)), "a signing time within the certificate's life"),
        Error::CertNotValidYet { not_before, .. } => Check::CertificateNotYet
            .refuse(format_args!("not before {}", seconds(not_before)), "a signing time within the certificate's life"),
        Error::UnsupportedSignatureAlgorithmContext(context) => authority::unsupported(format_args!(
            "the certificate's signature algorithm {}",
            object_identifier(&context.signature_algorithm_id)
        )),
        Error::UnsupportedSignatureAlgorithmForPublicKeyContext(context) => authority::unsupported(format_args!(
            "signature algorithm {} by a key of kind {}",
            object_identifier(&context.signature_algorithm_id),
            object_identifier(&context.public_key_algorithm_id)
        )),
        Error::CaUsedAsEndEntity => {
            Check::CertificateProfile.refuse("an authority's certificate", "a certificate for code signing")
        }
        Error::RequiredEkuNotFoundContext(_) => {
            Check::CertificateProfile.refuse("an extended key usage without code signing", "codeSigning along the whole path")
        }
        Error::UnsupportedCriticalExtension => {
            Check::CertificateProfile.refuse("a critical extension that is not known", "a certificate for code signing")
        }
        Error::EndEntityUsedAsCa => powerless("an issuer's certificate that may not issue"),
        Error::PathLenConstraintViolated => {
            Check::CertificatePath.refuse("a path that is longer than an authority allows", "a path that its authorities allow")
        }
        Error::NameConstraintViolation => {
            Check::CertificatePath.refuse("a name that an authority may not certify", "a path that its authorities allow")
        }
        Error::MaximumPathBuildCallsExceeded | Error::MaximumPathDepthExceeded | Error::MaximumSignatureChecksExceeded => {
            Check::CertificatePath.refuse("a path that is too long or too complex", "a short path")
        }
        _ => Check::CertificateMalformed.refuse("a certificate that breaks the rules of X.509", "a DER certificate (RFC 5280)"),
    }
}

/// A time as people read it.
fn seconds(time: UnixTime) -> String {
    let seconds = i64::try_from(time.as_secs()).ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    seconds.map_or_else(|| format!("{} s", time.as_secs()), |time| time.to_string())
}

/// The object identifier in the content of an AlgorithmIdentifier.
fn object_identifier(content: &[u8]) -> String {
    let read = || ObjectIdentifier::decode(&mut SliceReader::new(content)?);
    read().map_or_else(|_| "that cannot be read".to_owned(), |oid: ObjectIdentifier| oid.to_string())
}
