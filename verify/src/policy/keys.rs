//! Keys in place of certificates: which keys, and how many of them must sign the same build.

use super::file::{KeysTable, PolicyText};
use crate::error::Check;
use crate::key::PublicKey;
use sigstore_types::DerPublicKey;
use slipway_protocol::refusal::printable;
use slipway_protocol::{Refusal, Sha256};
use toml::Spanned;

/// Keys in one policy. Each is tried on each line of the evidence, so this bounds the work.
const KEY_LIMIT: usize = 16;
/// Lengths of a SubjectPublicKeyInfo: Ed25519, P-256, P-384, with the point uncompressed. Every key has just one encoding of these lengths,
/// so that nobody passes one key off as two.
const ENCODINGS: [usize; 3] = [44, 91, 120];

/// The keys of a policy.
#[derive(Clone, Debug)]
pub(crate) struct KeyRule {
    pub(crate) keys: Vec<NamedKey>,
    /// How many of them must have signed. At least one, at most all.
    pub(crate) threshold: usize,
}

/// A key and what the operator calls it.
#[derive(Clone, Debug)]
pub(crate) struct NamedKey {
    pub(crate) name: String,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub(crate) id: Sha256,
    pub(crate) key: PublicKey,
}

/// Reads the table.
pub(super) fn read(place: &PolicyText<'_>, table: &Spanned<KeysTable>) -> Result<KeyRule, Refusal> {
    let KeysTable { threshold, public } = table.get_ref();
    let mut keys: Vec<NamedKey> = Vec::new();
    for (name, pem) in public {
        let key = PublicKey::from_pem(pem.get_ref())
            .map_err(|why| Refusal { seen: format!("line {}: {name}: {}", place.line(&pem.span()), why.seen), ..why })?;
        let spki = DerPublicKey::from_pem(pem.get_ref().trim())
            .map_err(|error| place.refuse(Check::Key, pem, &error.to_string(), "a PEM public key"))?;
        if !ENCODINGS.contains(&spki.as_bytes().len()) {
            return Err(place.refuse(Check::Key, pem, "a key in an unusual encoding", "the one that openssl and cosign write"));
        }
        let id = Sha256::of(spki.as_bytes());
        if let Some(same) = keys.iter().find(|known| known.id == id) {
            let seen = format!("{name} and {} are the same key", same.name);
            return Err(place.refuse(Check::PolicyContradiction, pem, &seen, "each key once: its owner cannot sign for two"));
        }
        keys.push(NamedKey { name: printable(name), id, key });
    }
    if keys.is_empty() {
        return Err(place.missing(Some(table), "keys.public", "name = \"PEM\""));
    }
    if keys.len() > KEY_LIMIT {
        let seen = format!("{} keys", keys.len());
        return Err(place.refuse(Check::PolicySyntax, table, &seen, &format!("at most {KEY_LIMIT}")));
    }
    let at = threshold.as_ref().ok_or_else(|| place.missing(Some(table), "keys", "threshold"))?;
    match usize::try_from(*at.get_ref()) {
        Ok(threshold) if threshold >= 1 && threshold <= keys.len() => Ok(KeyRule { keys, threshold }),
        _ => {
            let wanted = format!("1 to {}, which is how many keys there are", keys.len());
            Err(place.refuse(Check::PolicyContradiction, at, &format!("threshold {}", at.get_ref()), &wanted))
        }
    }
}
