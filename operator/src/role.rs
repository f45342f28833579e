//! The six roles of a repository, and the lifetime of each.

use crate::error::TIME;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use slipway_protocol::Refusal;
use slipway_verify::tuf::MaxLifetimes;
use std::fmt;
use std::str::FromStr;

/// A role.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Names everybody else's keys. Offline.
    Root,
    /// Policies, Sigstore's trusted root, and who signs releases and channels. Offline.
    Targets,
    /// Manifests.
    Releases,
    /// Channels.
    Channels,
    /// Which versions belong together. Online.
    Snapshot,
    /// That this is current. Online.
    Timestamp,
}

impl Role {
    /// All of them, as `status` lists them.
    pub const ALL: [Self; 6] = [Self::Root, Self::Targets, Self::Releases, Self::Channels, Self::Snapshot, Self::Timestamp];
    /// Those whose changes can wait for signatures of several people.
    pub const BY_HAND: [Self; 4] = [Self::Root, Self::Targets, Self::Releases, Self::Channels];
    /// Those that sign for targets.
    pub const TARGETS: [Self; 3] = [Self::Targets, Self::Releases, Self::Channels];
    /// Those that every publication needs, so that their keys are kept where publications are made.
    pub const ONLINE: [Self; 2] = [Self::Snapshot, Self::Timestamp];

    /// The role's name in metadata.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Targets => "targets",
            Self::Releases => "releases",
            Self::Channels => "channels",
            Self::Snapshot => "snapshot",
            Self::Timestamp => "timestamp",
        }
    }

    /// Whether the targets role names its keys, not the root.
    #[must_use]
    pub const fn is_delegated(self) -> bool {
        matches!(self, Self::Releases | Self::Channels)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Role {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::ALL.into_iter().find(|role| role.name() == text);
        known.ok_or_else(|| format!("{text:?} is not one of root, targets, releases, channels, snapshot, timestamp"))
    }
}

/// How many days each role lives. Longer for keys that are hard to reach; the timestamp's is how long a device can be frozen.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lifetimes {
    /// Signed by hand, offline.
    pub root: u32,
    /// Signed by hand, offline.
    pub targets: u32,
    /// Signed with every release.
    pub releases: u32,
    /// Signed with every rollout step.
    pub channels: u32,
    /// Signed again by `slipway refresh`.
    pub snapshot: u32,
    /// Signed again by `slipway refresh`.
    pub timestamp: u32,
}

impl Default for Lifetimes {
    fn default() -> Self {
        Self { root: 365, targets: 365, releases: 365, channels: 365, snapshot: 30, timestamp: 7 }
    }
}

impl Lifetimes {
    /// The most days that a role may live: devices refuse metadata that expires later.
    #[must_use]
    pub fn longest(role: Role) -> u32 {
        MaxLifetimes::OPERATOR.days(role.name())
    }

    /// Whether metadata of these lifetimes can be of use.
    ///
    /// # Errors
    /// `SLW-O-TIME` naming the role.
    pub fn check(self) -> Result<(), Refusal> {
        match Role::ALL.into_iter().find(|role| !(1..=Self::longest(*role)).contains(&self.of(*role))) {
            Some(role) => Err(TIME.with(
                format_args!("{} days for {role}", self.of(role)),
                format_args!("1 to {} days: devices refuse metadata of {role} that expires later", Self::longest(role)),
            )),
            None => Ok(()),
        }
    }

    /// The days of one role.
    #[must_use]
    pub const fn of(&self, role: Role) -> u32 {
        match role {
            Role::Root => self.root,
            Role::Targets => self.targets,
            Role::Releases => self.releases,
            Role::Channels => self.channels,
            Role::Snapshot => self.snapshot,
            Role::Timestamp => self.timestamp,
        }
    }
}

/// `days` after `now`, in whole seconds as TUF writes them.
pub(crate) fn expiry(now: Timestamp, days: u32) -> Result<Timestamp, Refusal> {
    let bad = |error: jiff::Error| TIME.with(error, format_args!("{days} days after {now}"));
    let later = now.checked_add(SignedDuration::from_hours(i64::from(days).saturating_mul(24))).map_err(bad)?;
    Timestamp::from_second(later.as_second()).map_err(bad)
}
