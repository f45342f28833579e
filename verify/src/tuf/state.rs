//! State that a device keeps between refreshes: verified bytes, and version floors.

use serde::{Deserialize, Serialize};
use slipway_protocol::Sha256;
use slipway_protocol::json::Members;
use std::collections::BTreeMap;

/// The lowest versions that are still acceptable, kept apart from the cache so that a damaged or deleted cache is not a first boot.
///
/// All zero (the default) means: nothing was ever verified here.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Floors {
    /// The root's version.
    #[serde(default)]
    pub root: u64,
    /// Digest of that root's signed part: it authenticates the cached root, and distinguishes two roots of one version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_digest: Option<Sha256>,
    /// The timestamp's version.
    #[serde(default)]
    pub timestamp: u64,
    /// The snapshot's version.
    #[serde(default)]
    pub snapshot: u64,
    /// Versions of `targets` and of every delegated role that was loaded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, u64>,
    /// The newest version of a role that was judged expired: it and older ones stay refused
    /// whatever the clock says later, newer ones are judged again. The time is not kept, so one
    /// boot in 2100 ends with the next version. Never of the root: a new one needs people to come
    /// together, too much to ask for one wrong clock. Empty for repositories that are not the
    /// operator's. Under the path of a channel's file: the version of the role `channels` in which
    /// its `offline_until` had passed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub expired: BTreeMap<String, u64>,
    /// What a newer agent keeps besides.
    #[serde(flatten)]
    pub more: Members,
}

/// The role that signs channels.
pub(super) const CHANNELS: &str = "channels";

impl Floors {
    /// The floor of a role by its name; 0 for one that was never seen.
    #[must_use]
    pub fn version(&self, role: &str) -> u64 {
        match role {
            "root" => self.root,
            "timestamp" => self.timestamp,
            "snapshot" => self.snapshot,
            other => self.targets.get(other).copied().unwrap_or(0),
        }
    }

    /// The newest version of a role that was judged expired; 0 for none.
    pub(super) fn judged_expired(&self, role: &str) -> u64 {
        self.expired.get(role).copied().unwrap_or(0)
    }

    pub(super) fn judge_expired(&mut self, role: &str, version: u64) {
        let judged = self.expired.entry(role.to_owned()).or_default();
        *judged = version.max(*judged);
    }

    /// What is below a floor is refused anyway.
    pub(super) fn drop_expired_below_floors(&mut self) {
        let mut expired = std::mem::take(&mut self.expired);
        expired.retain(|name, version| *version >= self.version(if name.ends_with(".json") { CHANNELS } else { name }));
        self.expired = expired;
    }

    /// Forgets everything below the root: only when a new root changed the timestamp or snapshot keys, which is how an operator
    /// recovers from a thief who signed version 4 000 000 000 (TUF specification 5.3.11).
    pub(super) fn clear_below_root(&mut self) {
        self.timestamp = 0;
        self.snapshot = 0;
        self.targets.clear();
        self.expired.clear();
    }
}

/// Verified metadata as the bytes that were received. Empty means absent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Stored {
    /// The newest root.
    pub root: Vec<u8>,
    /// Roots as they were verified one after the other, oldest first: one that the floors prove
    /// for, and those that followed it before the floors knew. They count without a floor, since
    /// each is signed by the one before.
    pub root_history: Vec<Vec<u8>>,
    /// The newest timestamp.
    pub timestamp: Vec<u8>,
    /// The snapshot it pins.
    pub snapshot: Vec<u8>,
    /// The targets role that the snapshot pins.
    pub targets: Vec<u8>,
    /// Delegated roles by name.
    pub delegated: BTreeMap<String, Vec<u8>>,
}

impl Stored {
    /// Puts verified bytes in their slot; what a transport does on disk for [`super::Step::Store`].
    pub fn put(&mut self, slot: &Slot, bytes: Vec<u8>) {
        match slot {
            Slot::Root => self.root = bytes,
            Slot::Timestamp => self.timestamp = bytes,
            Slot::Snapshot => self.snapshot = bytes,
            Slot::Targets => self.targets = bytes,
            Slot::Delegated(role) => {
                self.delegated.insert(role.clone(), bytes);
            }
        }
    }

    /// Bytes of everything below the root but what is in `slot`.
    pub(super) fn below_root_without(&self, slot: &Slot) -> u64 {
        let delegated = self.delegated.keys().cloned().map(Slot::Delegated);
        let all = [Slot::Timestamp, Slot::Snapshot, Slot::Targets].into_iter().chain(delegated).filter(|other| other != slot);
        all.map(|other| u64::try_from(self.get(&other).len()).unwrap_or(u64::MAX)).fold(0, u64::saturating_add)
    }

    /// What is in a slot; empty when nothing is.
    #[must_use]
    pub fn get(&self, slot: &Slot) -> &[u8] {
        match slot {
            Slot::Root => &self.root,
            Slot::Timestamp => &self.timestamp,
            Slot::Snapshot => &self.snapshot,
            Slot::Targets => &self.targets,
            Slot::Delegated(role) => self.delegated.get(role).map_or(&[], Vec::as_slice),
        }
    }
}

/// Where verified metadata is kept.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Slot {
    /// The newest root.
    Root,
    /// The timestamp.
    Timestamp,
    /// The snapshot.
    Snapshot,
    /// The top-level targets role.
    Targets,
    /// A delegated targets role, by its name.
    Delegated(String),
}

impl Slot {
    /// Its file name, which is safe whatever the role is called: everything but letters, digits, `-`, `_`, `.` and `~` is
    /// percent-encoded, so there is no separator, and the suffix makes `.` and `..` ordinary names.
    #[must_use]
    pub fn file_name(&self) -> String {
        match self {
            Self::Root => "root.json".to_owned(),
            Self::Timestamp => "timestamp.json".to_owned(),
            Self::Snapshot => "snapshot.json".to_owned(),
            Self::Targets => "targets.json".to_owned(),
            Self::Delegated(role) => format!("{}.json", encode(role)),
        }
    }

    /// The slot that a file name belongs to; `None` for anything that [`Self::file_name`] does not produce.
    #[must_use]
    pub fn of_file_name(name: &str) -> Option<Self> {
        let slot = match name {
            "root.json" => Self::Root,
            "timestamp.json" => Self::Timestamp,
            "snapshot.json" => Self::Snapshot,
            "targets.json" => Self::Targets,
            _ => Self::Delegated(decode(name.strip_suffix(".json")?)?),
        };
        (slot.file_name() == name).then_some(slot)
    }
}

/// Percent-encodes a role's name for a URL or a file name.
pub(super) fn encode(role: &str) -> String {
    let mut out = String::with_capacity(role.len());
    for byte in role.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push_str(&hex::encode_upper([byte]));
        }
    }
    out
}

fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    loop {
        rest = match rest {
            [] => return String::from_utf8(out).ok(),
            [b'%', a, b, tail @ ..] => {
                out.extend(hex::decode([*a, *b]).ok()?);
                tail
            }
            [byte, tail @ ..] => {
                out.push(*byte);
                tail
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_role_name_leaves_the_folder_and_every_one_comes_back() {
        for role in ["releases", "", ".", "..", "../evil", "/abs", "a\\b", "ä ö", "%2e", "x\0y", "C:"] {
            let slot = Slot::Delegated(role.to_owned());
            let name = slot.file_name();
            assert!(!name.contains(['/', '\\', '\0', ':']), "{name}");
            assert!(std::path::Path::new(&name).components().count() == 1 && name.len() >= 5, "{name}");
            assert_eq!(Slot::of_file_name(&name), Some(slot), "{role}");
        }
        for name in ["x", "a/b.json", "%zz.json", "%2.json", "%6a.json", "a b.json"] {
            assert_eq!(Slot::of_file_name(name), None, "{name}");
        }
        assert_eq!(Slot::of_file_name("root.json"), Some(Slot::Root));
    }
}
