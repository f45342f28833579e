//! Patterns for identities and builders: literal text with three placeholders, matched as a whole.
//!
//! `*` stands for one or more characters other than `/` and `@`; `{semver}` for three numbers `1.2.3`; `{version}` for the version of the
//! release at hand, without its leading `v`. Nothing else is special, so a dot is a dot.

use slipway_protocol::Version;
use std::fmt;

/// Longest pattern and longest text that is matched.
const TEXT_LIMIT: usize = 1024;
/// Placeholders in one pattern; matching tries every split, so this bounds its cost.
const HOLE_LIMIT: usize = 3;

/// A parsed pattern.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Pattern {
    text: String,
    parts: Vec<PatternPart>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum PatternPart {
    Literal(String),
    Segment,
    Semver,
    Version,
}

impl Pattern {
    /// Text in which only `{version}` is special.
    pub(crate) fn exact(text: &str) -> Result<Self, String> {
        let pattern = Self::parse(text)?;
        if pattern.parts.iter().any(|part| matches!(part, PatternPart::Segment | PatternPart::Semver)) {
            return Err(format!("{text:?} has placeholders, which only a …_pattern may have"));
        }
        Ok(pattern)
    }

    /// Text with placeholders.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() || text.len() > TEXT_LIMIT || !text.chars().all(|c| c.is_ascii_graphic() || c.is_alphanumeric()) {
            return Err(format!("{text:?} must have 1 to {TEXT_LIMIT} printable bytes without spaces"));
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['*', '{', '}']) {
            let (before, hole) = rest.split_at_checked(at).unwrap_or((rest, ""));
            if !before.is_empty() {
                parts.push(PatternPart::Literal(before.to_owned()));
            }
            let known = [("*", PatternPart::Segment), ("{semver}", PatternPart::Semver), ("{version}", PatternPart::Version)];
            let found = known.into_iter().find_map(|(name, part)| Some((hole.strip_prefix(name)?, part)));
            let (after, part) = found.ok_or_else(|| format!("{text:?}: only *, {{semver}} and {{version}} are placeholders"))?;
            if parts.last().is_some_and(|last| !matches!(last, PatternPart::Literal(_))) {
                return Err(format!("{text:?}: two placeholders need text between them"));
            }
            parts.push(part);
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(PatternPart::Literal(rest.to_owned()));
        }
        if parts.iter().filter(|part| !matches!(part, PatternPart::Literal(_))).count() > HOLE_LIMIT {
            return Err(format!("{text:?}: at most {HOLE_LIMIT} placeholders"));
        }
        if !matches!(parts.first(), Some(PatternPart::Literal(head)) if !head.is_empty()) {
            return Err(format!("{text:?} must begin with literal text"));
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// The literal text it begins with.
    pub(crate) fn head(&self) -> &str {
        match self.parts.first() {
            Some(PatternPart::Literal(head)) => head,
            _ => "",
        }
    }

    /// Whether it needs the release's version to be matched.
    pub(crate) fn is_bound(&self) -> bool {
        self.parts.contains(&PatternPart::Version)
    }

    /// Whether `text` as a whole is of this form. Without a version nothing matches a pattern that is bound to one.
    pub(crate) fn matches(&self, text: &str, version: Option<&Version>) -> bool {
        let version = version.map(bare);
        text.len() <= TEXT_LIMIT && matches(&self.parts, text, version)
    }

    /// The text it stands for with this version, for messages.
    pub(crate) fn with(&self, version: Option<&Version>) -> String {
        version.map_or_else(|| self.text.clone(), |version| self.text.replace("{version}", bare(version)))
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A version as it was written, without the leading `v`.
fn bare(version: &Version) -> &str {
    version.as_str().strip_prefix('v').unwrap_or(version.as_str())
}

fn matches(parts: &[PatternPart], text: &str, version: Option<&str>) -> bool {
    let Some((part, rest)) = parts.split_first() else {
        return text.is_empty();
    };
    match part {
        PatternPart::Literal(literal) => text.strip_prefix(literal.as_str()).is_some_and(|after| matches(rest, after, version)),
        PatternPart::Version => {
            version.and_then(|version| text.strip_prefix(version)).is_some_and(|after| matches(rest, after, version))
        }
        PatternPart::Segment => splits(text, |c| c != '/' && c != '@', |_| true).any(|after| matches(rest, after, version)),
        PatternPart::Semver => {
            splits(text, |c| c.is_ascii_digit() || c == '.', is_semver).any(|after| matches(rest, after, version))
        }
    }
}

/// Every remainder of `text` after a non-empty head of `allowed` characters that is `whole`.
fn splits(text: &str, allowed: fn(char) -> bool, whole: fn(&str) -> bool) -> impl Iterator<Item = &str> {
    let run = text.find(|c| !allowed(c)).unwrap_or(text.len());
    (1..=run).filter_map(move |at| text.split_at_checked(at)).filter(move |(head, _)| whole(head)).map(|(_, after)| after)
}

fn is_semver(text: &str) -> bool {
    let number =
        |n: &str| !n.is_empty() && n.len() <= 9 && n.bytes().all(|b| b.is_ascii_digit()) && (n == "0" || !n.starts_with('0'));
    let mut numbers = text.split('.');
    (0..3).all(|_| numbers.next().is_some_and(number)) && numbers.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_stand_for_exactly_what_they_say() {
        let version: Version = "v1.23.1".parse().unwrap();
        for (pattern, text, ok) in [
            ("https://a/b.yml@refs/tags/v{semver}", "https://a/b.yml@refs/tags/v2.1.0", true),
            ("https://a/b.yml@refs/tags/v{semver}", "https://a/b.yml@refs/tags/v2.1", false),
            ("https://a/b.yml@refs/tags/v{semver}", "https://a/b.yml@refs/tags/v2.1.0-rc.1", false),
            ("https://a/b.yml@refs/tags/v{semver}", "https://a/b.yml@refs/tags/v02.1.0", false),
            ("https://a/b.yml@refs/tags/v{semver}", "https://a/b.yml@refs/heads/v2.1.0", false),
            ("https://a/b.yml@refs/tags/v{semver}", "https://a/bxyml@refs/tags/v2.1.0", false),
            ("https://a/*/c", "https://a/b/c", true),
            ("https://a/*/c", "https://a//c", false),
            ("https://a/*/c", "https://a/b/b/c", false),
            ("https://a/*/c", "https://a/b@x/c", false),
            ("https://a/*/c", "xhttps://a/b/c", false),
            ("https://a/*/c", "https://a/b/cx", false),
            ("a*b", "aébb", true),
            ("refs/tags/v{version}", "refs/tags/v1.23.1", true),
            ("refs/tags/v{version}", "refs/tags/v1.23.10", false),
            ("refs/tags/v{version}", "refs/tags/vv1.23.1", false),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().matches(text, Some(&version)), ok, "{pattern} {text}");
        }
        assert!(!Pattern::parse("v{version}").unwrap().matches("v1.23.1", None));
        for bad in ["", "*", "*a", "{semver}", "a{b}", "a{", "a}", "a**", "a*{semver}", "a b", "a*b*c*d*e"] {
            assert!(Pattern::parse(bad).is_err(), "{bad}");
        }
        assert!(Pattern::exact("a*").is_err() && Pattern::exact("a{semver}").is_err() && Pattern::exact("a{version}").is_ok());
    }
}
