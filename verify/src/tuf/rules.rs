//! The interface of a refresh and its caller: rules, requests, answers.

use super::checks::LIFETIME;
use super::{Limits, MaxLifetimes, Slot};
use jiff::{SignedDuration, Timestamp};
use slipway_protocol::Refusal;

/// How a refresh is judged.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Trusted time: the latest of system clock and every signed time seen, never earlier than before.
    pub now: Timestamp,
    /// What an expiry means.
    pub expiry: Expiry,
    /// Keeps in [`super::Floors::expired`] which versions had expired, so that a clock that is
    /// set back does not revive them.
    pub keep_expired: bool,
    /// How far ahead an expiry may be; any time if `None`.
    pub max_lifetimes: Option<MaxLifetimes>,
    /// Which delegated roles are loaded.
    pub wanted: Wanted,
    /// What it may cost.
    pub limits: Limits,
    /// Stores each file as soon as it is verified, as most TUF clients do. Otherwise files below the root are stored, and their
    /// floors raised, only when all of them are verified, so that a refresh that breaks off leaves a cache that still opens.
    pub store_early: bool,
}

impl Rules {
    /// The ordinary rules at `now`: expiry judged and not kept, any lifetime, every delegated
    /// role loaded, default limits.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self {
            now,
            expiry: Expiry::Judge,
            keep_expired: false,
            max_lifetimes: None,
            wanted: Wanted::All,
            limits: Limits::default(),
            store_early: false,
        }
    }

    /// For the operator's own repository: what was judged expired stays so, and lifetimes are
    /// bounded. The bound needs to know how late it is at most, so it is not judged while the
    /// clock is not believed (`time_unsure`): a device that woke up years behind would refuse
    /// everything that is good. Such a device loses nothing: by that clock nothing expires
    /// either, however short it lives.
    #[must_use]
    pub fn operator(now: Timestamp, time_unsure: bool) -> Self {
        let max_lifetimes = if time_unsure { None } else { Some(MaxLifetimes::OPERATOR) };
        Self { keep_expired: true, max_lifetimes, ..Self::at(now) }
    }

    /// For what was accepted before: expiry is not judged again, everything else is.
    #[must_use]
    pub fn accepted_before() -> Self {
        Self { expiry: Expiry::AcceptedBefore, ..Self::at(Timestamp::MIN) }
    }

    /// For an offline bundle; see [`Expiry::Offline`].
    #[must_use]
    pub fn offline(now: Timestamp) -> Self {
        Self { expiry: Expiry::Offline, ..Self::at(now) }
    }
}

/// What an expiry means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Expiry {
    /// Expired metadata is refused.
    Judge,
    /// It was accepted before and is not judged again for expiry: to commit, to start, to verify from the cache.
    AcceptedBefore,
    /// An offline bundle: an expired timestamp or snapshot locks the [`super::Repository`] until
    /// [`super::Repository::accept_expired`]; all other roles are judged.
    Offline,
}

/// Which delegated roles are loaded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Wanted {
    /// All that the snapshot names.
    All,
    /// Those that the search for these targets comes through.
    Paths(Vec<String>),
}

/// What a file belongs to, hence below which folder or URL it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `metadata/`.
    Metadata,
    /// `targets/`.
    Target,
}

/// One file to fetch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fetch {
    /// Its path below the folder of its kind. Role names in it are percent-encoded.
    pub path: String,
    /// Stop reading after one byte more than this; the refresh then says who sends too much.
    pub limit: u64,
    /// What it belongs to.
    pub kind: Kind,
    /// Whether [`FetchResult::Missing`] is a good answer: there is no newer root.
    pub ends_root_chain: bool,
}

/// What the caller does next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Fetch a file and [`super::Refresh::answer`].
    Fetch(Fetch),
    /// Store these verified bytes, durably, together with [`super::Refresh::floors`]; then go on.
    Store {
        /// Where.
        slot: Slot,
        /// As received.
        bytes: Vec<u8>,
    },
    /// Nothing more: [`super::Refresh::finish`].
    Done,
}

/// What came of a [`Fetch`].
#[derive(Clone, Copy, Debug)]
pub enum FetchResult<'a> {
    /// The file; one byte more than the limit if it is longer.
    Bytes(&'a [u8]),
    /// It certainly is not there: HTTP 403 or 404, no such file in a folder or bundle.
    Missing,
    /// Anything else. Never read as "there is nothing newer".
    Failed(&'a str),
}

impl MaxLifetimes {
    /// A device's clock may be behind the signer's by this much and still takes what was signed
    /// for the full time just now: one that keeps local time as if it were UTC is behind by at
    /// most twelve hours.
    const CLOCK_BEHIND: SignedDuration = SignedDuration::from_hours(12);

    /// Refuses an expiry that is further ahead of `now` than the role allows.
    pub(super) fn judge(&self, role: &str, version: u64, expires: Timestamp, now: Timestamp) -> Result<(), Refusal> {
        let days = self.days(role);
        let most = SignedDuration::from_hours(i64::from(days).saturating_mul(24)).saturating_add(Self::CLOCK_BEHIND);
        if expires.duration_since(now) <= most {
            return Ok(());
        }
        Err(LIFETIME
            .with(format_args!("{role} version {version} expires at {expires}"), format_args!("within {days} days of {now}")))
    }
}
