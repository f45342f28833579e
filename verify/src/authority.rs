//! An authority of the trusted root: a chain of certificates, and when it was in force.

use crate::certificate;
use crate::error::Check;
use crate::key::{Hash, Key};
use crate::rsa::{self, RsaKey};
use jiff::Timestamp;
use rustls_pki_types::{CertificateDer, TrustAnchor};
use sigstore_types::TimeRange;
use slipway_protocol::{Refusal, Sha256};
use std::fmt;
use std::sync::OnceLock;
use x509_cert::Certificate;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::{Decode as _, Encode as _};
use x509_cert::ext::pkix::ExtendedKeyUsage;
use x509_cert::spki::SubjectPublicKeyInfoRef;

/// Extended key usage of timestamp authorities.
pub(crate) const TIME_STAMPING: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.8");
/// Extensions that are understood here, and may therefore be critical: basicConstraints, keyUsage, extKeyUsage.
const UNDERSTOOD: [&str; 3] = ["2.5.29.19", "2.5.29.15", "2.5.29.37"];

/// A chain of certificates, from the one that signs to the one that anchors.
pub(crate) struct Authority {
    /// Never empty.
    pub(crate) chain: Vec<Link>,
    /// The window that the trusted root states, cut down to the dates of every certificate in the chain.
    pub(crate) window: TimeRange,
    /// What its certificates are for.
    purpose: ObjectIdentifier,
    /// Set once each certificate of the chain was found to be issued by the next.
    proven: OnceLock<()>,
}

/// The key of an authority.
#[derive(Debug)]
pub(crate) enum AuthorityKey {
    /// Of a kind that signers and logs have too.
    Plain(Key),
    Rsa(RsaKey),
    /// What it is, in words.
    Unsupported(String),
}

impl AuthorityKey {
    /// Reads the key of an authority's certificate.
    pub(crate) fn of(certificate: &Certificate) -> Self {
        let spki = certificate.tbs_certificate.subject_public_key_info.to_der().map_err(|error| error.to_string());
        let read = |der: &[u8]| {
            let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(|error| error.to_string())?;
            if spki.algorithm.oid == rsa::RSA {
                RsaKey::from_spki(&spki).map(Self::Rsa)
            } else {
                Key::from_spki(der).map(Self::Plain)
            }
        };
        spki.and_then(|der| read(&der)).unwrap_or_else(Self::Unsupported)
    }

    /// Refuses one that nothing can be verified with. It is the authority's key, so nothing that the signer could do would help.
    pub(crate) fn supported(&self) -> Result<(), Refusal> {
        match self {
            Self::Plain(_) | Self::Rsa(_) => Ok(()),
            Self::Unsupported(what) => Err(unsupported(what)),
        }
    }
}

/// The refusal of an authority's key or signature algorithm.
pub(crate) fn unsupported(what: impl fmt::Display) -> Refusal {
    Check::AuthorityKey.refuse(
        what,
        "ECDSA P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits, with SHA-256 or stronger; in PSS a salt as long as the digest",
    )
}

/// One certificate of an authority's chain.
pub(crate) struct Link {
    pub(crate) der: Vec<u8>,
    pub(crate) certificate: Certificate,
    pub(crate) key: AuthorityKey,
    /// SHA-256 of its public key, as certificate logs name an issuer.
    pub(crate) key_digest: [u8; 32],
    pub(crate) own_key: Option<Vec<u8>>,
    /// As webpki wants an issuer that needs no proof.
    pub(crate) anchor: TrustAnchor<'static>,
}

fn bad(why: impl fmt::Display) -> Refusal {
    Check::RootChain.refuse(why, "certificates that parse, each issued by the next")
}

impl Link {
    fn parse(der: &[u8]) -> Result<Self, Refusal> {
        let certificate = Certificate::from_der(der).map_err(bad)?;
        let spki = certificate.tbs_certificate.subject_public_key_info.to_der().map_err(bad)?;
        let anchor = CertificateDer::from(der);
        let anchor = webpki::anchor_from_trusted_cert(&anchor).map_err(bad)?.to_owned();
        Ok(Self {
            der: der.to_vec(),
            key: AuthorityKey::of(&certificate),
            key_digest: Sha256::of(&spki).0,
            own_key: certificate::own_key(&certificate),
            certificate,
            anchor,
        })
    }

    /// Whether it may have issued `certificate`, by name and key id.
    pub(crate) fn may_have_issued(&self, certificate: &Certificate) -> bool {
        let named = certificate::issuer_key(certificate);
        self.certificate.tbs_certificate.subject == certificate.tbs_certificate.issuer
            && named.zip(self.own_key.as_ref()).is_none_or(|(named, own)| named == *own)
    }

    /// Checks what it may be used for: nothing critical that is not understood, and `purpose` if it is limited at all.
    fn fit_for(&self, purpose: ObjectIdentifier) -> Result<(), String> {
        let body = &self.certificate.tbs_certificate;
        let extensions = body.extensions.as_deref().unwrap_or_default();
        let critical = extensions.iter().filter(|extension| extension.critical);
        if let Some(unknown) = critical.map(|extension| extension.extn_id.to_string()).find(|id| !UNDERSTOOD.contains(&&**id)) {
            return Err(format!("a critical extension {unknown}"));
        }
        match body.get::<ExtendedKeyUsage>().map_err(|error| error.to_string())? {
            Some((_, usage)) if !usage.0.contains(&purpose) => Err("a certificate for another purpose".to_owned()),
            _ => Ok(()),
        }
    }

    /// Checks that `issuer` issued it, with `below` authorities between it and the leaf.
    fn issued_by(&self, issuer: &Self, below: usize) -> Result<(), Refusal> {
        if !issuer.may_have_issued(&self.certificate) {
            return Err(bad("a chain whose names do not fit"));
        }
        if certificate::room(&issuer.certificate).map_err(bad)? < below {
            return Err(bad("a chain that is longer than its authority allows"));
        }
        let algorithm = &self.certificate.signature_algorithm;
        if *algorithm != self.certificate.tbs_certificate.signature {
            return Err(bad("a certificate with two signature algorithms"));
        }
        let signed = certificate::signed_part(&self.der).map_err(bad)?;
        let signature = self.certificate.signature.as_bytes().ok_or_else(|| bad("a malformed signature"))?;
        // Whoever made the chain chose it: nothing is damaged.
        let unknown = || {
            let parameters = if algorithm.parameters.is_some() { " with its parameters" } else { "" };
            unsupported(format_args!("a certificate's signature algorithm {}{parameters}", algorithm.oid))
        };
        let verified = match &issuer.key {
            AuthorityKey::Plain(key) => {
                // Ed25519 has no digest of its own to name.
                let hash = Hash::by_oid(algorithm.oid).or(matches!(key, Key::Ed25519(_)).then_some(Hash::Sha512));
                key.verify(hash.ok_or_else(unknown)?, signed, signature)
            }
            AuthorityKey::Rsa(key) => {
                let (algorithm, _) = rsa::by_identifier(algorithm).ok_or_else(unknown)?;
                key.verify(algorithm, signed, signature)
            }
            AuthorityKey::Unsupported(what) => return Err(unsupported(what)),
        };
        verified.map_err(|_| bad("a certificate that its issuer did not sign"))
    }
}

impl Authority {
    /// Reads a chain whose certificates are for `purpose`, and cuts the stated window down to their dates.
    pub(crate) fn parse<'a>(
        chain: impl Iterator<Item = &'a [u8]>,
        stated: Option<TimeRange>,
        purpose: ObjectIdentifier,
    ) -> Result<Self, Refusal> {
        if let Some(TimeRange { start, end: Some(end) }) = stated
            && end < start
        {
            return Err(Check::RootWindow.refuse("an authority's window ends before it starts", "start before end"));
        }
        let chain = chain.map(Link::parse).collect::<Result<Vec<_>, _>>()?;
        let mut window = stated;
        for link in &chain {
            let (from, to) = certificate::dates(&link.certificate).map_err(bad)?;
            window = Some(match window {
                None => TimeRange::new(from, Some(to)),
                Some(range) => TimeRange::new(range.start.max(from), Some(range.end.map_or(to, |end| end.min(to)))),
            });
        }
        let window = window.filter(|_| !chain.is_empty()).ok_or_else(|| bad("an empty chain"))?;
        Ok(Self { chain, window, purpose, proven: OnceLock::new() })
    }

    /// Whether it was in force at all these times. Both ends belong to the window.
    pub(crate) fn in_force(&self, times: &[Timestamp]) -> bool {
        times.iter().all(|time| self.window.contains(*time))
    }

    /// Checks that each certificate of the chain was issued by the next. That costs a signature an edge, so it is done when the
    /// authority is first needed, and then not again.
    pub(crate) fn vouched(&self) -> Result<(), Refusal> {
        if self.proven.get().is_some() {
            return Ok(());
        }
        for (below, (link, issuer)) in self.chain.iter().zip(self.chain.iter().skip(1)).enumerate() {
            // A timestamp authority's own certificate is a leaf, all others are authorities.
            let below = if self.purpose == TIME_STAMPING { below } else { below.saturating_add(1) };
            issuer.key.supported()?;
            link.issued_by(issuer, below)?;
        }
        for link in &self.chain {
            link.fit_for(self.purpose).map_err(bad)?;
        }
        self.proven.get_or_init(|| ());
        Ok(())
    }

    /// Whether its first certificate is for timestamps and for nothing else, and says so as critical (RFC 3161, 2.3).
    pub(crate) fn stamps_only(&self) -> bool {
        let usage = self.chain.first().map(|link| link.certificate.tbs_certificate.get::<ExtendedKeyUsage>());
        matches!(usage, Some(Ok(Some((true, usage)))) if usage.0 == [TIME_STAMPING])
    }
}
