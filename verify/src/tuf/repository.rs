//! A verified repository, which alone turns bytes into an [`AuthenticTarget`].

use super::checks::{NO_TARGET, OFFLINE, ORDER, TARGET};
use super::state::{CHANNELS, Floors, Stored};
use super::verified::{RoleState, Search, TargetInfo, Verified, state_of};
use jiff::Timestamp;
use slipway_protocol::{Channel, Refusal, Sha256, Sha512};

/// Metadata that passed every check, as of one moment.
#[derive(Clone, Debug)]
pub struct Repository {
    pub(super) verified: Verified,
    pub(super) floors: Floors,
    pub(super) notes: Vec<Refusal>,
    /// Set while expired metadata of an offline bundle has not been accepted by [`Self::accept_expired`].
    pub(super) locked: Option<Refusal>,
}

/// Bytes that a trusted role has signed. Only [`Repository::authenticate`] and [`Repository::authenticate_manifest`] make one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AuthenticTarget {
    pub(super) path: String,
    pub(super) role: String,
    pub(super) bytes: Vec<u8>,
}

impl AuthenticTarget {
    /// The target's name, `channels/edgecore/stable.json`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
    /// The role that signed it: `targets`, `releases` or `channels`.
    #[must_use]
    pub fn role(&self) -> &str {
        &self.role
    }
    /// Exactly the bytes that were signed for.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Repository {
    /// What signed metadata says about `target_path`.
    ///
    /// # Errors
    /// When no trusted role signed it, or its entry is unusable.
    pub fn lookup(&self, target_path: &str) -> Result<TargetInfo, Refusal> {
        match self.verified.search(target_path)? {
            Search::Found(info) => Ok(info),
            Search::Nothing => Err(NO_TARGET.with(target_path, "a signed target")),
            Search::Needs(edge) => Err(ORDER.with(format_args!("role {} was not loaded", edge.role), target_path)),
        }
    }

    /// Whether signed metadata says that there is no such target. False where it cannot be known: [`Self::lookup`] says why.
    #[must_use]
    pub fn lacks(&self, target_path: &str) -> bool {
        matches!(self.verified.search(target_path), Ok(Search::Nothing))
    }

    /// Checks `bytes` against the signed length and digests of `target_path`.
    ///
    /// # Errors
    /// As [`Self::lookup`]; when length or digest differ; and when this is an offline bundle whose metadata has expired, for
    /// anything but its channels until [`Self::accept_expired`].
    pub fn authenticate(&self, target_path: &str, bytes: Vec<u8>) -> Result<AuthenticTarget, Refusal> {
        let info = self.lookup(target_path)?;
        self.unlocked_for(&info.role)?;
        if u64::try_from(bytes.len()) != Ok(info.length) {
            return Err(TARGET.with(format_args!("{target_path}: {} bytes", bytes.len()), info.length));
        }
        if let Some(wanted) = info.sha256 {
            let seen = Sha256::of(&bytes);
            if seen != wanted {
                return Err(TARGET.with(format_args!("{target_path}: {seen}"), wanted));
            }
        }
        if let Some(wanted) = info.sha512 {
            let seen = Sha512::of(&bytes);
            if seen != wanted {
                return Err(TARGET.with(format_args!("{target_path}: {seen}"), wanted));
            }
        }
        Ok(AuthenticTarget { path: info.path, role: info.role, bytes })
    }

    /// Refuses targets of an offline bundle that has expired, but channels, which may say that it may be used all the same.
    pub(super) fn unlocked_for(&self, role: &str) -> Result<(), Refusal> {
        self.locked.clone().filter(|_| role != CHANNELS).map_or(Ok(()), Err)
    }

    /// Whether this is an offline bundle whose timestamp or snapshot has expired and was not accepted.
    #[must_use]
    pub fn expired_offline(&self) -> Option<&Refusal> {
        self.locked.as_ref()
    }

    /// Accepts expired metadata of an offline bundle because its channel allows that until a later time. Call it only where local
    /// policy allows expired bundles too, and keep [`Self::floors`] afterwards: a time that was found to have passed has passed for this
    /// version of the channels, whatever the clock says later.
    ///
    /// # Errors
    /// `SLW-T-OFFLINE` when the channel does not allow it, or no longer.
    pub fn accept_expired(&mut self, channel: &AuthenticTarget, now: Timestamp) -> Result<(), Refusal> {
        let Some(refusal) = &self.locked else { return Ok(()) };
        let signed = channel.role == CHANNELS;
        let until = if signed { Channel::parse(&channel.bytes).ok().and_then(|c| c.offline_until) } else { None };
        let Some(until) = until else { return Err(refusal.clone()) };
        let version = self.verified.targets(CHANNELS).map_or(0, |channels| channels.version);
        let wanted = if until < now {
            format!("before {now}")
        } else if version <= self.floors.judged_expired(&channel.path) {
            format!("version {} or newer of the channels: this time was recorded as passed", version.saturating_add(1))
        } else {
            self.locked = None;
            return Ok(());
        };
        self.floors.judge_expired(&channel.path, version);
        Err(OFFLINE.with(format_args!("{}; allowed until {until}", refusal.seen), wanted))
    }

    /// The floors as they must be kept from now on.
    #[must_use]
    pub fn floors(&self) -> &Floors {
        &self.floors
    }

    /// The verified metadata as received, to be stored whole or kept as evidence beside what it authorised.
    #[must_use]
    pub fn stored(&self) -> &Stored {
        self.verified.bytes()
    }

    /// What was odd but did no harm: damage in the cache, a timestamp that says two things. Worth a line in the log or a report.
    #[must_use]
    pub fn notes(&self) -> &[Refusal] {
        &self.notes
    }

    /// The timestamp's version: a notice that names a higher one hints at a freeze.
    #[must_use]
    pub fn timestamp_version(&self) -> u64 {
        self.verified.timestamp().map_or(0, |timestamp| timestamp.version)
    }

    /// Version and expiry of every loaded role, top-level roles first.
    #[must_use]
    pub fn roles(&self) -> Vec<RoleState> {
        let mut roles = vec![state_of("root", self.verified.root())];
        roles.extend(self.verified.timestamp().map(|role| state_of("timestamp", role)));
        roles.extend(self.verified.snapshot().map(|role| state_of("snapshot", role)));
        roles.extend(self.verified.loaded().map(|(name, role)| state_of(name, role)));
        roles
    }
}
