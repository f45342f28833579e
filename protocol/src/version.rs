//! A release's version: semantic versioning, with or without KubeEdge's leading `v`.

use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;

/// A semantic version that remembers how it was written. Order is precedence (SemVer 2.0.0 section 11); build metadata is refused,
/// since two releases that differ only there would compare as equal and a floor could not tell them apart.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    text: String,
    parsed: semver::Version,
}

/// Longest version in bytes; it becomes part of a directory name.
pub const VERSION_LIMIT: usize = 64;

impl Version {
    /// The version as it was written, `v1.23.1`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its numbers: major, minor, patch.
    #[must_use]
    pub fn numbers(&self) -> (u64, u64, u64) {
        (self.parsed.major, self.parsed.minor, self.parsed.patch)
    }

    /// Whether it has a pre-release part (`-beta.1`).
    #[must_use]
    pub fn is_prerelease(&self) -> bool {
        !self.parsed.pre.is_empty()
    }
}

impl std::str::FromStr for Version {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let why = |reason: &dyn fmt::Display| {
            format!("{:?} is not a valid version: {reason}; write v1.23.1 or 1.23.1-rc.1", crate::refusal::printable(text))
        };
        if text.len() > VERSION_LIMIT {
            return Err(why(&format_args!("longer than {VERSION_LIMIT} bytes")));
        }
        let parsed = semver::Version::parse(text.strip_prefix('v').unwrap_or(text)).map_err(|error| why(&error))?;
        if !parsed.build.is_empty() {
            return Err(why(&"build metadata does not order releases"));
        }
        Ok(Self { text: text.to_owned(), parsed })
    }
}

impl TryFrom<String> for Version {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}
impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.text
    }
}
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}
impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parsed.cmp(&other.parsed)
    }
}
impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Version {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_by_precedence_and_keeps_its_spelling() {
        let v = |text: &str| text.parse::<Version>().unwrap();
        let rising = ["v1.9.0", "v1.13.0-alpha.1", "1.13.0-beta.1", "v1.13.0", "v1.13.10", "v2.0.0"];
        for pair in rising.windows(2) {
            assert!(v(pair[0]) < v(pair[1]), "{pair:?}");
        }
        assert_eq!(v("v1.2.3"), v("1.2.3"));
        assert_eq!(v("v1.2.3").to_string(), "v1.2.3");
        for bad in ["", "v", "1.2", "1.2.3.4", "01.2.3", "v1.2.3+build", "1.2.3/..", "vv1.2.3", " 1.2.3"] {
            assert!(bad.parse::<Version>().is_err(), "{bad}");
        }
    }
}
