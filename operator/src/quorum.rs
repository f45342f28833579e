//! Who must sign a role, and whether enough have.

use crate::metadata::Envelope;
use crate::public_key::PublicKey;
use slipway_protocol::Refusal;
use std::collections::{BTreeMap, BTreeSet};

/// Who must sign a role: its keys, and how many of them.
#[derive(Clone, Debug, Default)]
pub struct Quorum {
    /// By id.
    pub keys: BTreeMap<String, PublicKey>,
    /// How many distinct ones must sign.
    pub threshold: u32,
}

impl Quorum {
    /// The ids of those that have signed, each key once whatever its ids.
    ///
    /// # Errors
    /// `SLW-O-REPOSITORY` when it cannot be written as canonical JSON.
    pub fn signed(&self, envelope: &Envelope) -> Result<Vec<String>, Refusal> {
        let bytes = envelope.canonical()?;
        let (mut ids, mut counted) = (Vec::new(), BTreeSet::new());
        for signature in &envelope.signatures {
            let Some(key) = self.keys.get(&signature.keyid) else { continue };
            let valid = hex::decode(&signature.sig).is_ok_and(|raw| key.verify(&bytes, &raw));
            if valid && counted.insert(key.spki()?) {
                ids.push(signature.keyid.clone());
            }
        }
        Ok(ids)
    }

    /// Whether enough have signed.
    ///
    /// # Errors
    /// As [`Self::signed`].
    pub fn met(&self, envelope: &Envelope) -> Result<bool, Refusal> {
        let signed = self.signed(envelope)?.len();
        Ok(self.threshold > 0 && u32::try_from(signed).is_ok_and(|signed| signed >= self.threshold))
    }
}
