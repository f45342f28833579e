//! Why something was refused, in a form that people and machines both read.

use crate::unlisted::Unlisted;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::error::Error;
use std::fmt;

/// What kind of refusal it is. Attack-shaped refusals carry the attack's name, as Uptane asks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Category {
    /// Content that no trusted builder or release key has signed.
    ArbitrarySoftware,
    /// Configuration or a command that cannot be carried out as written.
    Configuration,
    /// More bytes than were authorised.
    EndlessData,
    /// Old metadata shown as new.
    Freeze,
    /// The new release ran and was found unhealthy.
    Health,
    /// Input that does not parse or breaks a limit.
    Malformed,
    /// Metadata of different releases combined.
    MixAndMatch,
    /// The network or a server did not deliver.
    Network,
    /// A policy of the operator says no.
    Policy,
    /// An older version than is acceptable.
    Rollback,
    /// Bytes came too slowly.
    SlowRetrieval,
    /// The local disk, service manager or state.
    System,
    /// Time or expiry.
    Time,
    /// Signed, but not by the one who must sign.
    WrongSigner,
    /// A kind that this version does not know, by its name.
    #[serde(untagged)]
    Unlisted(Unlisted),
}

/// Who must act before it can succeed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Responsible {
    /// Nobody can make this right: somebody shows the device what he should not.
    Attacker,
    /// The one who builds and signs the release.
    Builder,
    /// The device's disk, clock or service manager.
    Device,
    /// The way between.
    Network,
    /// The one who runs the fleet.
    Operator,
    /// Somebody whom this version does not know, by name.
    #[serde(untagged)]
    Unlisted(Unlisted),
}

/// A refusal: what went wrong, what was found, what was expected, who must act, and how to fix it.
///
/// `code` is stable (`SLW-V-POLICY-SOURCE`): dashboards may match on it. Text may change.
/// `docs/CODES.md` lists all codes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Refusal {
    /// Stable code, `SLW-<crate letter>-<CHECK>`.
    pub code: Cow<'static, str>,
    /// The kind of refusal.
    #[serde(rename = "class")]
    pub category: Category,
    /// Who must act.
    #[serde(rename = "actor")]
    pub responsible: Responsible,
    /// The headline: what went wrong, in one phrase.
    pub check: Cow<'static, str>,
    /// The value found; bounded by [`Refusal::VALUE_LIMIT`].
    pub seen: String,
    /// The value expected; bounded likewise.
    pub wanted: String,
    /// How to fix it, as an imperative.
    pub advice: Cow<'static, str>,
}

impl Refusal {
    /// Longest `seen` or `wanted` in bytes: a hostile value must not fill the outbox or the log.
    pub const VALUE_LIMIT: usize = 512;

    /// Adds the values to a check's fixed part. Both are made printable and cut to [`Self::VALUE_LIMIT`].
    #[must_use]
    pub fn with(mut self, seen: impl fmt::Display, wanted: impl fmt::Display) -> Self {
        self.seen = printable(&seen.to_string());
        self.wanted = printable(&wanted.to_string());
        self
    }

    /// Whether both are of the same check. Nothing is new about a refusal that repeats the last one.
    #[must_use]
    pub fn repeats(&self, other: &Self) -> bool {
        self.code == other.code
    }

    /// Which of `rows` this refusal is of, as the type that decisions are made by.
    ///
    /// For the boundary at which a refusal was stored, received, or came through other code: only
    /// here is the text of a code compared.
    ///
    /// ```
    /// slipway_protocol::refusals! {
    ///     FULL = "SLW-A-DISK-FULL", System, Device, "disk is full", "free some space";
    ///     LOST = "SLW-A-SLOT-MISSING", System, Device, "file is missing", "find out who removed it";
    /// }
    /// #[derive(Clone, Copy, Debug, PartialEq)]
    /// enum Disk { Full }
    /// assert_eq!(FULL.with("0 bytes", "1 byte").find(&[(FULL, Disk::Full)]), Some(Disk::Full));
    /// assert_eq!(LOST.find(&[(FULL, Disk::Full)]), None);
    /// ```
    #[must_use]
    pub fn find<K: Copy>(&self, rows: &[(Self, K)]) -> Option<K> {
        rows.iter().find(|(row, _)| row.code == self.code).map(|(_, kind)| *kind)
    }

    /// The refusal over several lines, for a person at a terminal. Evidence, which is several log lines in one value, is shown by line.
    #[must_use]
    pub fn explain(&self) -> String {
        let values = [("found", self.seen.as_str()), ("expected", &self.wanted), ("fix", &self.advice)];
        let shown = values.iter().filter(|(_, value)| !value.is_empty());
        let lines = shown.map(|(label, value)| format!("\n  {label:<8}  {}", value.replace(" | ", "\n            ")));
        format!("{}: {}{}\n", self.code, self.check, lines.collect::<String>())
    }

    /// The fixed part of a refusal, for the tables of checks in each crate.
    #[must_use]
    pub const fn of(
        code: &'static str,
        category: Category,
        responsible: Responsible,
        check: &'static str,
        advice: &'static str,
    ) -> Self {
        Self {
            code: Cow::Borrowed(code),
            category,
            responsible,
            check: Cow::Borrowed(check),
            seen: String::new(),
            wanted: String::new(),
            advice: Cow::Borrowed(advice),
        }
    }
}

/// Declares a table of refusals: a constant for each row, and `REFUSALS` with all of them, so that
/// one test reads the tables of all crates.
///
/// ```
/// slipway_protocol::refusals! {
///     pub(crate) EXISTS = "SLW-O-EXISTS", Configuration, Operator, "destination already exists",
///         "choose another destination, or remove the existing one yourself";
/// }
/// let refusal = EXISTS.with("/srv/repo", "no such folder");
/// assert_eq!(
///     refusal.to_string(),
///     "SLW-O-EXISTS: destination already exists: found /srv/repo, expected no such folder; \
///      choose another destination, or remove the existing one yourself"
/// );
/// assert_eq!(REFUSALS.len(), 1);
/// ```
#[macro_export]
macro_rules! refusals {
    ($($vis:vis $name:ident = $code:literal, $category:ident, $responsible:ident, $headline:literal, $advice:literal;)+) => {
        $(
            #[doc = $headline]
            $vis const $name: $crate::Refusal =
                $crate::Refusal::of($code, $crate::Category::$category, $crate::Responsible::$responsible, $headline, $advice);
        )+
        /// Every refusal of this table.
        pub(crate) const REFUSALS: &[$crate::Refusal] = &[$($name),+];
    };
}

/// Control characters, and those that show nothing or turn the direction of what follows, become U+FFFD, and the end is cut: a value from outside
/// can neither draw on a terminal, nor look like another one by what is not seen, nor flood a log.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(Refusal::VALUE_LIMIT));
    for c in text.chars() {
        if out.len().saturating_add(c.len_utf8()) > Refusal::VALUE_LIMIT {
            out.push('…');
            break;
        }
        out.push(visible(c));
    }
    out
}

/// The character, or U+FFFD for one that [`printable`] does not let through.
#[must_use]
pub fn visible(c: char) -> char {
    if c.is_control() || unseen(c) { '\u{fffd}' } else { c }
}

/// Soft hyphen, zero-width and joining characters, marks and overrides of direction, separators of lines, variation selectors, tags.
fn unseen(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.check)?;
        if !self.seen.is_empty() {
            write!(f, ": found {}", self.seen)?;
        }
        if !self.wanted.is_empty() {
            let before = if self.seen.is_empty() { ": " } else { ", " };
            write!(f, "{before}expected {}", self.wanted)?;
        }
        if !self.advice.is_empty() {
            write!(f, "; {}", self.advice)?;
        }
        Ok(())
    }
}

impl std::error::Error for Refusal {}

/// The causes of an error in one line, without the error's own words: HTTP clients put the URL there, which may hold a secret.
#[must_use]
pub fn causes(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if texts.last() != Some(&text) {
            texts.push(text);
        }
        cause = error.source();
    }
    if texts.is_empty() { "failed".to_owned() } else { texts.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_went_wrong_what_was_found_what_was_expected_and_the_fix() {
        let source =
            Refusal::of("SLW-V-S", Category::Policy, Responsible::Operator, "source differs from the policy", "check it");
        let refusal = source.clone().with("evil/x", "good/x");
        assert_eq!(refusal.to_string(), "SLW-V-S: source differs from the policy: found evil/x, expected good/x; check it");
        assert_eq!(
            refusal.explain(),
            "SLW-V-S: source differs from the policy\n  found     evil/x\n  expected  good/x\n  fix       check it\n"
        );
        assert_eq!(
            source.clone().with("", "good/x").to_string(),
            "SLW-V-S: source differs from the policy: expected good/x; check it"
        );
        assert_eq!(source.to_string(), "SLW-V-S: source differs from the policy; check it");
    }

    #[test]
    fn hostile_values_cannot_draw_or_flood() {
        let refusal =
            Refusal::of("X", Category::Malformed, Responsible::Attacker, "c", "").with("\u{1b}[2J\n", "w".repeat(100_000));
        assert_eq!(refusal.seen, "\u{fffd}[2J\u{fffd}");
        // The same to the eye as kubeedge, the one by a turned direction, the other by what has no width.
        for hidden in [
            "kube\u{202e}egde",
            "kube\u{200b}edge",
            "kube\u{feff}edge",
            "kube\u{2066}edge",
            "kube\u{e0061}edge",
            "kube\u{ad}edge",
        ] {
            assert!(printable(hidden).contains('\u{fffd}'), "{hidden:?}");
        }
        assert_eq!(printable("Größe 中文 —…"), "Größe 中文 —…");
        assert!(refusal.wanted.len() < 600);
    }
}
