//! Names of nodes, fleets, components and channels: safe as parts of paths and of MQTT topics.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Longest name in bytes: a DNS label, which is what Kubernetes allows for most names.
pub const NAME_LIMIT: usize = 63;
/// Longest node name in bytes: Kubernetes node names are DNS subdomains.
pub const NODE_LIMIT: usize = 253;

fn valid(text: &str, limit: usize) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= limit && bytes.iter().all(|&b| inner(b)) && edge(bytes.first()) && edge(bytes.last()) && !text.contains("..")
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $limit:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl std::str::FromStr for $name {
            type Err = String;
            fn from_str(text: &str) -> Result<Self, String> {
                if valid(text, $limit) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(format!(
                        "{:?} is not a valid {}: use 1 to {} letters, digits, '-', '_' or '.', beginning and ending with a letter or digit",
                        crate::refusal::printable(text), $what, $limit
                    ))
                }
            }
        }
        impl TryFrom<String> for $name {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    };
}

name!(
    /// An independently versioned thing on the node: `edgecore`, `keadm`.
    ComponentName, "component name", NAME_LIMIT
);
name!(
    /// A named stream of releases: `stable`, `canary`.
    ChannelName, "channel name", NAME_LIMIT
);
name!(
    /// The fleet that a node belongs to.
    FleetName, "fleet name", NAME_LIMIT
);
name!(
    /// The node, by the name Kubernetes knows it.
    NodeName, "node name", NODE_LIMIT
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_can_leave_its_folder_or_its_topic() {
        for good in ["edgecore", "a", "edge-7.factory_2", "V1"] {
            assert!(good.parse::<ComponentName>().is_ok(), "{good}");
        }
        let long = "x".repeat(64);
        for bad in ["", ".", "..", "a/b", "a..b", "-a", "a-", ".a", "a+", "#", "a b", "ä", "a\0b", &long] {
            assert!(bad.parse::<ComponentName>().is_err(), "{bad}");
        }
        assert!(long.parse::<NodeName>().is_ok());
    }
}
