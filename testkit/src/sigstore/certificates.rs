//! Imitates Fulcio and its CT log: a root, an intermediate, and ten-minute leaves with an embedded SCT.
//!
//! Leaves have Fulcio's extensions 1.3.6.1.4.1.57264.1.N. Unlike the real Fulcio it asks for no OIDC token, issues for any identity at
//! any time, and its CT log keeps no tree: it only signs timestamps (RFC 6962 section 3.2).

use super::asn1;
use super::forgery::{CertificateForgery, Forgery, IntermediateForgery, SctForgery};
use super::keys::Key;
use super::rsa::{RsaKind, RsaSigner};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;

/// How long a leaf lives, as Fulcio's do.
pub const LEAF_LIFETIME: i64 = 600;
/// All authorities and logs of the fake world are valid from 2020-01-01 …
pub const WORLD_BEGINS: i64 = 1_577_836_800;
/// … to 2045-01-01.
pub const WORLD_ENDS: i64 = 2_366_841_600;

const FULCIO_ARC: &str = "1.3.6.1.4.1.57264.1";
const SCT_LIST: &str = "1.3.6.1.4.1.11129.2.4.2";
const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
const SERVER_AUTH: &str = "1.3.6.1.5.5.7.3.1";
const TIME_STAMPING: &str = "1.3.6.1.5.5.7.3.8";

/// A certificate together with the key it is about.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    pub(crate) name: Vec<u8>,
    pub(crate) serial: Vec<u8>,
    pub(crate) key: Key,
    pub(crate) der: Vec<u8>,
}

fn extension(oid: &str, critical: bool, value: &[u8]) -> Vec<u8> {
    let critical = if critical { asn1::boolean(true) } else { Vec::new() };
    asn1::sequence(&[&asn1::oid(oid), &critical, &asn1::octets(value)])
}

fn subject_key(key: &Key) -> Vec<u8> {
    extension("2.5.29.14", false, &asn1::octets(&key.subject_key_id()))
}

fn authority_key(issuer: &Key) -> Vec<u8> {
    extension("2.5.29.35", false, &asn1::sequence(&[&asn1::element(0x80, &issuer.subject_key_id())]))
}

fn usage(byte: u8, unused: u8) -> Vec<u8> {
    extension("2.5.29.15", true, &asn1::named_bits(byte, unused))
}

fn extended_usage(critical: bool, purpose: &str) -> Vec<u8> {
    extension("2.5.29.37", critical, &asn1::sequence(&[&asn1::oid(purpose)]))
}

fn authority(path_len: Option<u8>) -> Vec<u8> {
    let path_len = path_len.map(|n| asn1::unsigned(&[n])).unwrap_or_default();
    extension("2.5.29.19", true, &asn1::sequence(&[&asn1::boolean(true), &path_len]))
}

struct Tbs<'a> {
    serial: &'a [u8],
    issuer_name: &'a [u8],
    issuer_key: &'a Key,
    subject: &'a [u8],
    key: &'a Key,
    valid: (i64, i64),
}

impl Tbs<'_> {
    fn der(&self, extensions: &[Vec<u8>]) -> Vec<u8> {
        asn1::sequence(&[
            &asn1::explicit(0, &asn1::unsigned(&[2])),
            &asn1::unsigned(self.serial),
            &self.issuer_key.signature_algorithm(),
            self.issuer_name,
            &asn1::sequence(&[&asn1::utc_time(self.valid.0), &asn1::utc_time(self.valid.1)]),
            self.subject,
            &self.key.spki(),
            &asn1::explicit(3, &asn1::element(0x30, &extensions.concat())),
        ])
    }

    fn certificate(&self, extensions: &[Vec<u8>]) -> Vec<u8> {
        let tbs = self.der(extensions);
        let signature = self.issuer_key.sign(&tbs);
        asn1::sequence(&[&tbs, &self.issuer_key.signature_algorithm(), &asn1::bits(&signature)])
    }
}

/// A serial that is positive, twenty bytes and the same on every run.
fn serial(seed: &[u8]) -> Vec<u8> {
    let mut serial = Sha256::digest(seed)[..20].to_vec();
    serial[0] = (serial[0] & 0x7F) | 0x40;
    serial
}

/// Makes a chain: a self-signed root and what it issues. Used for Fulcio and for the timestamp authority.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    pub(crate) root: Holder,
    pub(crate) issued: Holder,
}

impl Chain {
    fn new(organization: &str, labels: [&str; 2], keys: [Key; 2], issued: impl Fn(&Key, &Key) -> Vec<Vec<u8>>) -> Self {
        let [root_key, issued_key] = keys;
        let root_name = asn1::name(organization, labels[0]);
        let root_serial = serial(&root_key.id());
        let valid = (WORLD_BEGINS, WORLD_ENDS);
        let root = Tbs {
            serial: &root_serial,
            issuer_name: &root_name,
            issuer_key: &root_key,
            subject: &root_name,
            key: &root_key,
            valid,
        }
        .certificate(&[usage(0x06, 1), authority(None), subject_key(&root_key)]);
        let issued_name = asn1::name(organization, labels[1]);
        let issued_serial = serial(&issued_key.id());
        let der = Tbs {
            serial: &issued_serial,
            issuer_name: &root_name,
            issuer_key: &root_key,
            subject: &issued_name,
            key: &issued_key,
            valid,
        }
        .certificate(&issued(&issued_key, &root_key));
        Self {
            root: Holder { name: root_name, serial: root_serial, key: root_key, der: root },
            issued: Holder { name: issued_name, serial: issued_serial, key: issued_key, der },
        }
    }

    /// Root and intermediate: of P-384 as Fulcio's, or of RSA.
    pub(crate) fn fulcio(organization: &str, name: &str, rsa: Option<RsaKind>) -> Self {
        let keys =
            keys(rsa, || [&format!("{name} fulcio root"), &format!("{name} fulcio intermediate")].map(|name| Key::p384(name)));
        Self::new(organization, ["fulcio root", "fulcio intermediate"], keys, |key, issuer| {
            vec![usage(0x06, 1), extended_usage(false, CODE_SIGNING), authority(Some(0)), subject_key(key), authority_key(issuer)]
        })
    }

    /// A root and the timestamp signer it certified.
    pub(crate) fn timestamping(organization: &str, name: &str, rsa: Option<RsaKind>) -> Self {
        let keys = keys(rsa, || [&format!("{name} tsa root"), &format!("{name} tsa signer")].map(|name| Key::p384(name)));
        Self::new(organization, ["tsa root", "tsa signer"], keys, |key, issuer| {
            vec![usage(0x80, 7), subject_key(key), authority_key(issuer), extended_usage(true, TIME_STAMPING)]
        })
    }
}

/// The keys of a root and of what it issues.
fn keys(rsa: Option<RsaKind>, curve: impl FnOnce() -> [Key; 2]) -> [Key; 2] {
    rsa.map_or_else(curve, |kind| [RsaSigner::above(kind), RsaSigner::new(kind)].map(Key::Rsa))
}

/// What a leaf says about who signs.
#[derive(Debug, Clone)]
pub(crate) struct LeafRequest<'a> {
    pub(crate) identity: &'a str,
    /// Fulcio's extensions by their last number; 1 to 6 raw, all others DER UTF8String.
    pub(crate) claims: &'a BTreeMap<u8, String>,
    pub(crate) not_before: i64,
    pub(crate) forgery: Option<Forgery>,
}

impl Chain {
    /// Another certificate for the key and name of what the root issued.
    pub(crate) fn intermediate(&self, forgery: IntermediateForgery) -> Vec<u8> {
        let Self { root, issued } = self;
        let purpose = if forgery == IntermediateForgery::OtherPurpose { SERVER_AUTH } else { CODE_SIGNING };
        let mut extensions = vec![extended_usage(false, purpose), subject_key(&issued.key), authority_key(&root.key)];
        match forgery {
            IntermediateForgery::NoUsage => {}
            IntermediateForgery::OnlySignatures => extensions.push(usage(0x80, 7)),
            IntermediateForgery::OnlyRevocation => extensions.push(usage(0x02, 1)),
            _ => extensions.push(usage(0x06, 1)),
        }
        match forgery {
            IntermediateForgery::NoConstraints => {}
            IntermediateForgery::NoAuthority => extensions.push(extension("2.5.29.19", true, &asn1::sequence(&[]))),
            _ => extensions.push(authority(Some(0))),
        }
        if forgery == IntermediateForgery::UnknownCritical {
            extensions.push(extension("1.3.6.1.4.1.57264.9", true, &asn1::null()));
        }
        let end = if forgery == IntermediateForgery::Expired { WORLD_BEGINS + 86_400 } else { WORLD_ENDS };
        Tbs {
            serial: &serial(&[&issued.serial[..], &[forgery as u8]].concat()),
            issuer_name: &root.name,
            issuer_key: &root.key,
            subject: &issued.name,
            key: &issued.key,
            valid: (WORLD_BEGINS, end),
        }
        .certificate(&extensions)
    }

    /// Issues a leaf for `key`, with an SCT of `ct_log` unless there is none.
    pub(crate) fn leaf(&self, request: &LeafRequest<'_>, key: &Key, ct_log: Option<&Key>) -> Vec<u8> {
        let issuer = &self.issued;
        let forgery = match request.forgery {
            Some(Forgery::Certificate(forgery)) => Some(forgery),
            _ => None,
        };
        let uri = asn1::element(0x86, request.identity.as_bytes());
        let names = match forgery {
            Some(CertificateForgery::TwoNames) => [uri.clone(), uri].concat(),
            Some(CertificateForgery::OtherName) => {
                asn1::element(0xA0, &[asn1::oid("1.3.6.1.4.1.57264.1.7"), asn1::explicit(0, &asn1::utf8("user"))].concat())
            }
            Some(CertificateForgery::EmailOfUri) => asn1::element(0x81, request.identity.as_bytes()),
            Some(CertificateForgery::UriOfEmail) => asn1::element(0x86, b"someone@example.test"),
            Some(CertificateForgery::Email) => asn1::element(0x81, b"someone@example.test"),
            _ => uri,
        };
        let purpose = if forgery == Some(CertificateForgery::OtherPurpose) { SERVER_AUTH } else { CODE_SIGNING };
        let name_critical = forgery != Some(CertificateForgery::NameNotCritical);
        let mut extensions = vec![
            extended_usage(false, purpose),
            subject_key(key),
            authority_key(&issuer.key),
            extension("2.5.29.17", name_critical, &asn1::sequence(&[&names])),
        ];
        match forgery {
            Some(CertificateForgery::NoUsage) => {}
            Some(CertificateForgery::Authority) => extensions.extend([usage(0x84, 2), authority(None)]),
            Some(CertificateForgery::UnknownCritical) => {
                extensions.extend([usage(0x80, 7), extension("1.3.6.1.4.1.57264.9", true, &asn1::null())]);
            }
            Some(CertificateForgery::Twice) => extensions.extend([usage(0x80, 7), subject_key(key)]),
            _ => extensions.push(usage(0x80, 7)),
        }
        for (number, value) in request.claims {
            let value = if *number <= 6 { value.as_bytes().to_vec() } else { asn1::utf8(value) };
            extensions.push(extension(&format!("{FULCIO_ARC}.{number}"), false, &value));
        }
        let serial = serial(&[&key.id()[..], &request.not_before.to_be_bytes()].concat());
        let tbs = Tbs {
            serial: &serial,
            issuer_name: &issuer.name,
            issuer_key: &issuer.key,
            subject: &asn1::sequence(&[]),
            key,
            valid: (request.not_before, request.not_before + LEAF_LIFETIME),
        };
        if let Some(ct_log) = ct_log {
            let logged_ms = request.not_before as u64 * 1000 + 17;
            let forgery = match request.forgery {
                Some(Forgery::Sct(forgery)) => Some(forgery),
                _ => None,
            };
            extensions.push(sct_list(&tbs.der(&extensions), &issuer.key, ct_log, logged_ms, forgery));
        }
        match forgery {
            Some(CertificateForgery::OldVersion) => {
                let new = asn1::explicit(0, &asn1::unsigned(&[2]));
                let mut signed = tbs.der(&extensions);
                let at = signed.windows(new.len()).position(|part| part == new).expect("the version is in it");
                signed[at + new.len() - 1] = 0;
                certificate_over(&signed, &issuer.key)
            }
            Some(CertificateForgery::Forged) => certificate_over(&tbs.der(&extensions), &self.root.key),
            _ => tbs.certificate(&extensions),
        }
    }
}

/// A certificate of these signed bytes.
fn certificate_over(tbs: &[u8], issuer: &Key) -> Vec<u8> {
    asn1::sequence(&[tbs, &issuer.signature_algorithm(), &asn1::bits(&issuer.sign(tbs))])
}

/// The SCT-list extension for a certificate whose TBS, without this extension, is `tbs` (RFC 6962, section 3.2).
fn sct_list(tbs: &[u8], issuer: &Key, ct_log: &Key, logged_ms: u64, forgery: Option<SctForgery>) -> Vec<u8> {
    let stranger = Key::p256("a certificate log that nobody trusts");
    let honest = sct(tbs, issuer, ct_log, logged_ms);
    let by_stranger = || sct(tbs, issuer, &stranger, logged_ms);
    let scts = match forgery {
        None | Some(SctForgery::Malformed) => vec![honest],
        Some(SctForgery::OnlyUnknown) => vec![by_stranger()],
        Some(SctForgery::UnknownToo) => vec![by_stranger(), honest],
        Some(SctForgery::Twice) => vec![sct(tbs, issuer, ct_log, logged_ms + 1), honest],
        Some(SctForgery::Forged) => {
            let mut forged = honest;
            forged[40] ^= 1;
            vec![forged]
        }
        Some(SctForgery::OtherAlgorithm) => {
            let mut other = honest;
            // RSA, where the key is on a curve.
            other[44] = 1;
            vec![other]
        }
        Some(SctForgery::AfterEnd) => vec![sct(tbs, issuer, ct_log, logged_ms + (LEAF_LIFETIME as u64 + 1) * 1000)],
        Some(SctForgery::BeforeLog) => vec![sct(tbs, issuer, ct_log, (WORLD_BEGINS as u64 - 1) * 1000)],
        Some(SctForgery::Empty) => Vec::new(),
    };
    let prefixed: Vec<u8> =
        scts.iter().flat_map(|sct| [(sct.len() as u16).to_be_bytes().to_vec(), sct.clone()].concat()).collect();
    let mut list = (prefixed.len() as u16).to_be_bytes().to_vec();
    list.extend(prefixed);
    if forgery == Some(SctForgery::Malformed) {
        list.push(0);
    }
    extension(SCT_LIST, false, &asn1::octets(&list))
}

/// One timestamp, as it stands in the list: version, log, time at byte 33, no extensions, algorithm at byte 43, signature.
fn sct(tbs: &[u8], issuer: &Key, ct_log: &Key, logged_ms: u64) -> Vec<u8> {
    let mut signed = vec![0, 0];
    signed.extend(logged_ms.to_be_bytes());
    signed.extend([0, 1]);
    signed.extend(issuer.id());
    signed.extend(&(tbs.len() as u32).to_be_bytes()[1..]);
    signed.extend(tbs);
    signed.extend([0, 0]);
    let signature = ct_log.sign(&signed);

    let mut sct = vec![0];
    sct.extend(ct_log.id());
    sct.extend(logged_ms.to_be_bytes());
    sct.extend([0, 0]);
    sct.extend([4, 3]);
    sct.extend((signature.len() as u16).to_be_bytes());
    sct.extend(signature);
    sct
}
