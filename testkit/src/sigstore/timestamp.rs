//! Imitates Sigstore's timestamp authority: RFC 3161 tokens over a bundle's signature.
//!
//! Unlike the real one it has no clock and stamps any time that a test asks for.

use super::asn1::{self, element, explicit, oid, sequence};
use super::certificates::Chain;
use super::forgery::TokenForgery;
use super::sha256;
use sha1::{Digest as _, Sha1};

const TST_INFO: &str = "1.2.840.113549.1.9.16.1.4";
const SHA_256: &str = "2.16.840.1.101.3.4.2.1";

fn attribute(kind: &str, value: &[u8]) -> Vec<u8> {
    sequence(&[&oid(kind), &element(0x31, value)])
}

/// A DER TimeStampResp that says `signature` existed at `at`. No certificate is embedded, as Sigstore's clients ask for.
pub(crate) fn token(authority: &Chain, signature: &[u8], at: i64, forgery: Option<TokenForgery>) -> Vec<u8> {
    let forges = |this: TokenForgery| forgery == Some(this);
    let signer = &authority.issued;
    let imprint = sha256(if forges(TokenForgery::OtherSignature) { b"another signature" } else { signature });
    let info = sequence(&[
        &asn1::unsigned(&[1]),
        &oid("1.3.6.1.4.1.57264.2"),
        &sequence(&[&sequence(&[&oid(SHA_256), &asn1::null()]), &asn1::octets(&imprint)]),
        &asn1::unsigned(&[&[1], &imprint[..19]].concat()),
        &asn1::generalized_time(at),
        &sequence(&[&asn1::unsigned(&[1])]),
        &explicit(0, &explicit(4, &signer.name)),
        &if forges(TokenForgery::Extension) {
            explicit(1, &sequence(&[&oid("1.3.6.1.4.1.57264.9"), &asn1::octets(&asn1::null())]))
        } else {
            Vec::new()
        },
    ]);

    let issuer_and_serial =
        sequence(&[&authority.root.name, &asn1::unsigned(if forges(TokenForgery::OtherSerial) { &[7] } else { &signer.serial })]);
    let issuer_serial = sequence(&[&sequence(&[&explicit(4, &authority.root.name)]), &asn1::unsigned(&signer.serial)]);
    let mut named = match forgery {
        Some(TokenForgery::OldName | TokenForgery::OldNameWrong) => Sha1::digest(&signer.der).to_vec(),
        _ => sha256(&signer.der).to_vec(),
    };
    if matches!(forgery, Some(TokenForgery::OldNameWrong | TokenForgery::NameWrong)) {
        named[0] ^= 1;
    }
    let certificate_id = sequence(&[&asn1::octets(&named), &issuer_serial]);
    let name_attribute = match forgery {
        Some(TokenForgery::OldName | TokenForgery::OldNameWrong) => "1.2.840.113549.1.9.16.2.12",
        _ => "1.2.840.113549.1.9.16.2.47",
    };
    let content_type = if forges(TokenForgery::OtherContentType) { "1.2.840.113549.1.7.1" } else { TST_INFO };
    let (digest_algorithm, digest) =
        signer.key.digest(if forges(TokenForgery::OtherDigest) { &b"something else"[..] } else { &info });
    let attributes = asn1::set_of(vec![
        attribute("1.2.840.113549.1.9.3", &oid(content_type)),
        attribute("1.2.840.113549.1.9.5", &asn1::utc_time(at)),
        attribute("1.2.840.113549.1.9.4", &asn1::octets(&digest)),
        attribute(name_attribute, &sequence(&[&sequence(&[&certificate_id])])),
    ]);
    let key = if forges(TokenForgery::Forged) { &authority.root.key } else { &signer.key };
    let signed = key.sign(&attributes);
    // The attributes are signed as a SET and carried as [0].
    let mut carried = attributes;
    carried[0] = 0xA0;
    let digest = sequence(&[&oid(digest_algorithm)]);
    let signer_info = sequence(&[
        &asn1::unsigned(&[1]),
        &issuer_and_serial,
        &digest,
        &carried,
        &signer.key.signature_algorithm_in_cms(),
        &asn1::octets(&signed),
    ]);
    let signed_data = sequence(&[
        &asn1::unsigned(&[3]),
        &element(0x31, &digest),
        &sequence(&[&oid(TST_INFO), &explicit(0, &asn1::octets(&info))]),
        &element(0x31, &if forges(TokenForgery::TwoSigners) { [&signer_info[..], &signer_info].concat() } else { signer_info }),
    ]);
    let content = sequence(&[&oid("1.2.840.113549.1.7.2"), &explicit(0, &signed_data)]);
    let status = if forges(TokenForgery::Rejected) { 2 } else { 0 };
    sequence(&[&sequence(&[&asn1::unsigned(&[status])]), &content])
}
