//! Sets and ranges of workflow versions: the trusted releases of a builder.
//!
//! One item is an exact version, `1.9.0`, or a range with its operators written out, `>=2.1.0, <3`; a set is a list of items. A range that
//! no release can be in does not parse. Prereleases are in no range: somebody who trusts one has to name the builder with its ref.

use semver::{Comparator, Op, VersionReq};
use std::fmt;

/// Major, minor, patch. A release has nothing else, and the order of such triples is the order of releases.
type Release = (u64, u64, u64);

/// One item of a set.
#[derive(Clone, Debug)]
pub(crate) struct Range {
    text: String,
    /// The first release in it.
    low: Release,
    /// The first release beyond it; none if it has no end.
    high: Option<Release>,
}

/// Why an item was not understood.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Mistake {
    /// It is no version and no range.
    Syntax(String),
    /// It is a range that no release is in.
    Nothing(String),
}

impl Range {
    /// Reads an exact version or a range.
    pub(crate) fn parse(text: &str) -> Result<Self, Mistake> {
        let syntax = |why: &str| Mistake::Syntax(format!("{text:?}: {why}"));
        if let Ok(exact) = semver::Version::parse(text) {
            let prerelease = !exact.pre.is_empty() || !exact.build.is_empty();
            let low = (exact.major, exact.minor, exact.patch);
            let high = bump((exact.major, Some(exact.minor), Some(exact.patch)));
            return match high {
                Some(_) if !prerelease => Ok(Self { text: text.to_owned(), low, high }),
                _ => Err(syntax("a prerelease or build, which no range can hold; name the builder with its ref instead")),
            };
        }
        // In Cargo's words a bare 1.2 means ^1.2; nobody else reads it so.
        if !text.split(',').all(|part| part.trim_start().starts_with(['=', '>', '<', '^', '~'])) {
            return Err(syntax("neither a whole version X.Y.Z nor a range with operators, such as >=1.2, <3"));
        }
        if text.contains('*') {
            return Err(syntax("a wildcard; =1 is all of version 1"));
        }
        let parsed = VersionReq::parse(text).map_err(|error| syntax(&error.to_string()))?;
        let (mut low, mut high) = ((0, 0, 0), None::<Release>);
        for part in &parsed.comparators {
            let (from, to) =
                bounds(part).ok_or_else(|| syntax("a prerelease, which no range can hold, or a number that is too large"))?;
            low = low.max(from);
            high = match (high, to) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
        }
        if high.is_some_and(|high| low >= high) {
            return Err(Mistake::Nothing(format!("{text:?}: no version is in this range")));
        }
        Ok(Self { text: text.to_owned(), low, high })
    }

    /// Whether a release is in it. A prerelease never is.
    pub(crate) fn contains(&self, version: &semver::Version) -> bool {
        let release = (version.major, version.minor, version.patch);
        let plain = version.pre.is_empty() && version.build.is_empty();
        plain && release >= self.low && self.high.is_none_or(|high| release < high)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<&str> = self.text.split(',').map(str::trim).collect();
        f.write_str(&parts.join(" and "))
    }
}

/// The release that `@refs/tags/vX.Y.Z` is; nothing for any other ref.
pub(crate) fn of_tag(reference: &str) -> Option<semver::Version> {
    semver::Version::parse(reference.strip_prefix("refs/tags/v")?).ok()
}

/// From the first release that a comparator takes to the first beyond; nothing if it is not about releases.
fn bounds(part: &Comparator) -> Option<(Release, Option<Release>)> {
    if !part.pre.is_empty() {
        return None;
    }
    let given = (part.major, part.minor, part.patch);
    let (minor, patch) = (part.minor.unwrap_or(0), part.patch.unwrap_or(0));
    let base = (part.major, minor, patch);
    let next = bump(given)?;
    Some(match part.op {
        Op::Exact => (base, Some(next)),
        Op::Greater => (next, None),
        Op::GreaterEq => (base, None),
        Op::Less => ((0, 0, 0), Some(base)),
        Op::LessEq => ((0, 0, 0), Some(next)),
        Op::Tilde => (base, Some(bump((part.major, part.minor, None))?)),
        Op::Caret => {
            let fixed = match given {
                (0, Some(0), Some(_)) => given,
                (0, Some(_), _) => (0, part.minor, None),
                _ => (part.major, None, None),
            };
            (base, Some(bump(fixed)?))
        }
        _ => return None,
    })
}

/// The first release after all those that begin with these numbers.
fn bump((major, minor, patch): (u64, Option<u64>, Option<u64>)) -> Option<Release> {
    Some(match (minor, patch) {
        (Some(minor), Some(patch)) => (major, minor, patch.checked_add(1)?),
        (Some(minor), None) => (major, minor.checked_add(1)?, 0),
        (None, _) => (major.checked_add(1)?, 0, 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_holds_what_semver_says_and_no_prerelease() {
        let versions = [
            "0.0.0",
            "0.0.1",
            "0.0.2",
            "0.1.0",
            "0.1.9",
            "0.2.0",
            "1.0.0",
            "1.2.1",
            "1.2.2",
            "1.2.3",
            "1.3.0",
            "1.10.0",
            "2.0.0",
            "2.1.0",
            "2.99.99",
            "3.0.0",
            "2.1.0-rc.1",
            "1.2.2-alpha",
            "3.0.0-rc.1",
        ];
        for text in [
            ">=1.2.2, <3",
            ">1.2.2",
            ">1.2",
            ">1",
            "<1.2.2",
            "<1.2",
            "<=1.2",
            "<=1.2.2",
            "=1.2",
            "=1",
            "=1.2.2",
            "^1.2.2",
            "^0.1.0",
            "^0.0.1",
            "^0.0",
            "^0",
            "^0.1",
            "~1.2.2",
            "~1.2",
            "~1",
            ">=0.0.0",
            "~0.1.5",
            ">=1.3,<=2",
        ] {
            let range = Range::parse(text).unwrap();
            let peer = VersionReq::parse(text).unwrap();
            for version in versions {
                let version = semver::Version::parse(version).unwrap();
                let wanted = version.pre.is_empty() && peer.matches(&version);
                assert_eq!(range.contains(&version), wanted, "{version} in {text}");
            }
        }
        let exact = Range::parse("1.2.2").unwrap();
        let within: Vec<_> =
            versions.iter().filter(|version| exact.contains(&semver::Version::parse(version).unwrap())).collect();
        assert_eq!(within, [&"1.2.2"], "a bare version is that version and no later one");
    }

    #[test]
    fn ranges_that_hold_nothing_or_mean_two_things_do_not_parse() {
        for text in ["<1, >2", ">=2, <2", ">2, <2.0.1", "=1.2.2, =1.2.3", "<0.0.0", "^1, ^2", "<0"] {
            assert!(matches!(Range::parse(text), Err(Mistake::Nothing(_))), "{text}");
        }
        for text in [
            "",
            "*",
            "1",
            "1.2",
            "1.*",
            "v1.2.2",
            "1.2.2-rc.1",
            "1.2.2+build",
            ">=1.2.2-rc.1",
            ">=1, 2",
            ">=1,",
            "=> 1",
            "=1.*",
            "^18446744073709551615",
            "1.2.18446744073709551615",
            "1.2.2 || 2.0.0",
        ] {
            assert!(matches!(Range::parse(text), Err(Mistake::Syntax(_))), "{text}: {:?}", Range::parse(text));
        }
    }

    #[test]
    fn only_a_release_tag_has_a_version() {
        assert_eq!(of_tag("refs/tags/v2.1.0"), Some(semver::Version::new(2, 1, 0)));
        for other in
            ["refs/heads/v2.1.0", "refs/tags/2.1.0", "refs/tags/v2.1", "refs/tags/v02.1.0", "v2.1.0", "refs/tags/vv2.1.0"]
        {
            assert_eq!(of_tag(other), None, "{other}");
        }
    }
}
