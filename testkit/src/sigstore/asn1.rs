//! Writes DER, just enough for certificates and timestamp tokens.
//!
//! A writer of our own keeps every byte in our hands: the embedded SCT signs the certificate without its own extension, and a
//! test that wants a malformed certificate must be able to make one.

/// One DER element: `tag`, length, `content`.
pub(crate) fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    let len = content.len();
    if len < 0x80 {
        out.push(len as u8);
    } else {
        let bytes: Vec<u8> = len.to_be_bytes().into_iter().skip_while(|b| *b == 0).collect();
        out.push(0x80 | bytes.len() as u8);
        out.extend(bytes);
    }
    out.extend_from_slice(content);
    out
}

pub(crate) fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    element(0x30, &parts.concat())
}

/// SET OF, sorted as DER demands.
pub(crate) fn set_of(mut parts: Vec<Vec<u8>>) -> Vec<u8> {
    parts.sort();
    element(0x31, &parts.concat())
}

/// `[n]` around a complete element.
pub(crate) fn explicit(n: u8, content: &[u8]) -> Vec<u8> {
    element(0xA0 | n, content)
}

/// An unsigned integer from big-endian bytes.
pub(crate) fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let mut content: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
    if content.first().is_none_or(|b| b & 0x80 != 0) {
        content.insert(0, 0);
    }
    element(0x02, &content)
}

pub(crate) fn boolean(value: bool) -> Vec<u8> {
    element(0x01, &[if value { 0xFF } else { 0 }])
}

pub(crate) fn null() -> Vec<u8> {
    element(0x05, &[])
}

pub(crate) fn octets(content: &[u8]) -> Vec<u8> {
    element(0x04, content)
}

/// A BIT STRING of whole bytes.
pub(crate) fn bits(content: &[u8]) -> Vec<u8> {
    element(0x03, &[&[0], content].concat())
}

/// A BIT STRING of named bits, `unused` low bits of `byte` not being part of it.
pub(crate) fn named_bits(byte: u8, unused: u8) -> Vec<u8> {
    element(0x03, &[unused, byte])
}

pub(crate) fn utf8(text: &str) -> Vec<u8> {
    element(0x0C, text.as_bytes())
}

/// An object identifier from its dotted form.
pub(crate) fn oid(dotted: &str) -> Vec<u8> {
    let oid = const_oid::ObjectIdentifier::new(dotted).unwrap_or_else(|e| panic!("{dotted} is not an OID: {e}"));
    element(0x06, oid.as_bytes())
}

fn civil(unix: i64) -> jiff::Zoned {
    let at = jiff::Timestamp::from_second(unix).unwrap_or_else(|e| panic!("{unix} is not a time: {e}"));
    at.to_zoned(jiff::tz::TimeZone::UTC)
}

/// UTCTime: what certificates carry until 2049.
pub(crate) fn utc_time(unix: i64) -> Vec<u8> {
    element(0x17, civil(unix).strftime("%y%m%d%H%M%SZ").to_string().as_bytes())
}

/// GeneralizedTime: what timestamp tokens carry.
pub(crate) fn generalized_time(unix: i64) -> Vec<u8> {
    element(0x18, civil(unix).strftime("%Y%m%d%H%M%SZ").to_string().as_bytes())
}

/// A distinguished name of organisation and common name.
pub(crate) fn name(organization: &str, common_name: &str) -> Vec<u8> {
    let part = |attribute: &str, value: &str| set_of(vec![sequence(&[&oid(attribute), &utf8(value)])]);
    sequence(&[&part("2.5.4.10", organization), &part("2.5.4.3", common_name)])
}

/// PEM with 64-character lines and a final newline.
pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = super::b64(der);
    let lines: Vec<&str> = (0..text.len()).step_by(64).map(|at| &text[at..text.len().min(at + 64)]).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
