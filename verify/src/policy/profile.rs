//! Checks that evidence is from the Sigstore instance that a policy trusts, and complete for it.
//!
//! The instance is recognized by who certified the signer and by the log it is in, both proven by then; never by what a bundle contains.

use crate::bundle::{Bundle, LogRule};
use crate::error::{Check, or_none};
use crate::evidence::Proven;
use crate::root::SigstoreRoot;
use slipway_protocol::Refusal;

/// An instance of Sigstore, or none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Profile {
    /// Sigstore's public-good instance, either generation of its log.
    PublicGood,
    /// The same, only log entries of Rekor's first generation.
    PublicGoodRekorV1,
    /// The same, only log entries of Rekor's second generation.
    PublicGoodRekorV2,
    /// GitHub's instance for private repositories: timestamps and no log.
    GitHub,
    /// An instance of one's own, by its own trusted root.
    Private,
    /// No certificates at all: keys that the policy lists.
    Keys,
}

/// Names as they are written, in the order of the documentation.
pub(crate) const NAMES: [(&str, Profile); 6] = [
    ("public-good", Profile::PublicGood),
    ("public-good-rekor-v1", Profile::PublicGoodRekorV1),
    ("public-good-rekor-v2", Profile::PublicGoodRekorV2),
    ("github", Profile::GitHub),
    ("private", Profile::Private),
    ("keys", Profile::Keys),
];

/// The organisation of the public-good instance, and of its staging.
const PUBLIC_GOOD: &str = "sigstore.dev";
/// The organisation of GitHub's instance.
const GITHUB: &str = "GitHub, Inc.";
/// The public-good log, and with a dot before it the names of its second generation.
const PUBLIC_GOOD_LOG: &str = "rekor.sigstore.dev";

impl Profile {
    /// As it is written in a policy.
    pub(crate) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, profile)| *profile == self).map_or("", |(name, _)| name)
    }

    /// Why `rule` cannot be together with this profile; nothing if it can.
    pub(crate) fn forbids(self, rule: LogRule) -> Option<&'static str> {
        match (self, rule) {
            (_, LogRule::Proof) => None,
            (Self::GitHub, _) => Some("GitHub's instance has timestamps and no log; the profile implies it"),
            (Self::Keys, LogRule::UnsafeTimestampOnly) => Some("for keys without a log, use unsafe_no_log"),
            (Self::Keys, _) => None,
            (_, LogRule::UnsafeNoLog) => Some("unsafe_no_log is for keys; a certificate needs a signed time"),
            (Self::PublicGoodRekorV2, LogRule::UnsafePromiseOnly) => Some("Rekor's second generation makes no promises"),
            (Self::PublicGood | Self::PublicGoodRekorV1 | Self::PublicGoodRekorV2, LogRule::UnsafeTimestampOnly) => {
                Some("the public-good instance has logs")
            }
            (Self::PublicGood | Self::PublicGoodRekorV1 | Self::Private, _) => None,
        }
    }

    /// The evidence of logging that is the standard of this instance.
    pub(crate) fn rule(self) -> LogRule {
        match self {
            Self::GitHub => LogRule::UnsafeTimestampOnly,
            _ => LogRule::Proof,
        }
    }

    /// The trusted root that is shipped for this instance.
    pub(crate) fn embedded_root(self) -> Result<SigstoreRoot, Refusal> {
        match self {
            Self::GitHub => SigstoreRoot::github(),
            Self::Private => Err(Check::PolicyProfile.refuse("no trusted root", "the private instance's trusted_root.json")),
            _ => SigstoreRoot::public_good(),
        }
    }

    /// Checks that proven evidence is this instance's.
    pub(crate) fn accepts(self, bundle: &Bundle, proven: &Proven) -> Result<(), Refusal> {
        let log = proven.evidence.log.as_deref();
        let seen = InstanceKind::of(proven.authority.as_deref(), log);
        let wanted = match self {
            Self::PublicGood | Self::PublicGoodRekorV1 | Self::PublicGoodRekorV2 => InstanceKind::PublicGood,
            Self::GitHub => InstanceKind::GitHub,
            Self::Private => InstanceKind::Other,
            Self::Keys => return Ok(()),
        };
        if seen != wanted {
            let seen = format!("{} ({})", seen.words(), or_none(log));
            return Err(Check::PolicyProfile.refuse(seen, wanted.words()));
        }
        let Some(entry) = &bundle.entry else { return Ok(()) };
        let second = entry.kind.is_second_generation();
        match (self, second) {
            (Self::PublicGoodRekorV1, true) => Err(Check::PolicyProfile.refuse("an entry of Rekor v2", "one of Rekor v1")),
            (Self::PublicGoodRekorV2, false) => Err(Check::PolicyProfile.refuse("an entry of Rekor v1", "one of Rekor v2")),
            // The first generation says when by its promise, and the public-good one has never left it out.
            (Self::PublicGood | Self::PublicGoodRekorV1, false) if entry.promise.is_none() => {
                Err(Check::PolicyProfile.refuse("an entry of Rekor v1 without the log's promise", "one with it"))
            }
            _ => Ok(()),
        }
    }
}

/// The instance that evidence came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum InstanceKind {
    PublicGood,
    GitHub,
    Other,
}

impl InstanceKind {
    fn of(authority: Option<&str>, log: Option<&str>) -> Self {
        let public_log = log.is_some_and(|log| {
            log.strip_suffix(PUBLIC_GOOD_LOG).is_some_and(|before| before.is_empty() || before.ends_with('.'))
        });
        match authority {
            Some(PUBLIC_GOOD) if public_log => Self::PublicGood,
            Some(GITHUB) => Self::GitHub,
            _ => Self::Other,
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::PublicGood => "Sigstore's public-good instance",
            Self::GitHub => "GitHub's instance for private repositories",
            Self::Other => "another Sigstore instance",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_recognized_by_authority_and_log_together() {
        for (authority, log, seen) in [
            (Some("sigstore.dev"), Some("rekor.sigstore.dev"), InstanceKind::PublicGood),
            (Some("sigstore.dev"), Some("log2025-1.rekor.sigstore.dev"), InstanceKind::PublicGood),
            (Some("sigstore.dev"), Some("rekor.sigstage.dev"), InstanceKind::Other),
            (Some("sigstore.dev"), Some("evilrekor.sigstore.dev"), InstanceKind::Other),
            (Some("sigstore.dev"), None, InstanceKind::Other),
            (Some("example.test"), Some("rekor.sigstore.dev"), InstanceKind::Other),
            (Some("GitHub, Inc."), None, InstanceKind::GitHub),
            (Some("GitHub, Inc"), None, InstanceKind::Other),
            (None, None, InstanceKind::Other),
        ] {
            assert_eq!(InstanceKind::of(authority, log), seen, "{authority:?} {log:?}");
        }
    }
}
