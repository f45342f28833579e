//! Names that a newer version has in its lists and this one has not: of events, categories, responsible parties.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// Bytes of a name: few, since every refusal has room for two. The longest in use has 18.
const LIMIT: usize = 23;

/// A name that this version does not know, as it came: of an event, a category, a responsible party.
///
/// At most 23 letters, digits and hyphens. What is longer is cut, and any other byte becomes `?`.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Unlisted {
    bytes: [u8; LIMIT],
    length: u8,
}

impl Unlisted {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let used = self.bytes.get(..usize::from(self.length)).unwrap_or_default();
        std::str::from_utf8(used).unwrap_or_default()
    }
}

impl From<&str> for Unlisted {
    fn from(name: &str) -> Self {
        let plain = |b: u8| if b.is_ascii_alphanumeric() || b == b'-' { b } else { b'?' };
        let mut unlisted = Self { bytes: [0; LIMIT], length: 0 };
        for (to, from) in unlisted.bytes.iter_mut().zip(name.bytes()) {
            *to = plain(from);
            unlisted.length = unlisted.length.saturating_add(1);
        }
        unlisted
    }
}

impl<'de> Deserialize<'de> for Unlisted {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Self::from(name.as_str()))
    }
}

impl Serialize for Unlisted {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Debug for Unlisted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Category, Event, Responsible};

    #[test]
    fn names_of_a_newer_version_are_kept_as_they_came() {
        // Each failed while an unknown name was an error, and came out as "unknown" while it had one name for all.
        for name in ["paused", "waiting-for-lease"] {
            let json = format!("{name:?}");
            let event: Event = serde_json::from_str(&json).unwrap();
            assert_eq!((event, serde_json::to_string(&event).unwrap()), (Event::Unlisted(name.into()), json.clone()));
            let class: Category = serde_json::from_str(&json).unwrap();
            assert_eq!((class, serde_json::to_string(&class).unwrap()), (Category::Unlisted(name.into()), json.clone()));
            let actor: Responsible = serde_json::from_str(&json).unwrap();
            assert_eq!((actor, serde_json::to_string(&actor).unwrap()), (Responsible::Unlisted(name.into()), json));
        }
        assert_eq!(serde_json::from_str::<Event>("\"rolled-back\"").unwrap(), Event::RolledBack);
        assert_eq!(serde_json::to_string(&Category::MixAndMatch).unwrap(), "\"mix-and-match\"");
        for wrong in ["1", "null", "[]", "{}", "{\"x\":1}"] {
            assert!(serde_json::from_str::<Event>(wrong).is_err(), "{wrong}");
        }
        let hostile = Unlisted::from(format!("\u{1b}[2J{}", "x".repeat(100)).as_str());
        assert_eq!((hostile.as_str().len(), &hostile.as_str()[..5]), (23, "??2Jx"));
    }
}
