//! Time as an argument of decisions: moments count from a boot, wall time is for reports.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The kernel's random name of this boot: seconds of another boot mean nothing now.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct BootId(pub String);

/// A moment in one boot.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Moment {
    /// Which boot.
    pub boot: BootId,
    /// Seconds on CLOCK_BOOTTIME: goes on while the device sleeps, never jumps.
    pub secs: u64,
}

impl Moment {
    /// This moment, `secs` later.
    #[must_use]
    pub fn after(&self, secs: u64) -> Self {
        Self { boot: self.boot.clone(), secs: self.secs.saturating_add(secs) }
    }

    /// Whether it has come: seconds of another boot count as past.
    #[must_use]
    pub fn reached(&self, now: &Self) -> bool {
        self.boot != now.boot || self.secs <= now.secs
    }

    /// Seconds from `earlier` to here; none across boots.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<u64> {
        if self.boot == earlier.boot { self.secs.checked_sub(earlier.secs) } else { None }
    }
}

/// Everything that a decision may know about time and chance.
#[derive(Clone, Debug)]
pub struct Now {
    /// For deadlines.
    pub moment: Moment,
    /// For expiry, waves and reports; wrong on many devices.
    pub wall: Timestamp,
    /// For jitter.
    pub dice: u32,
}

/// A pause in seconds: `first`, doubled for each earlier failure, and never more than `most`.
#[must_use]
pub fn doubled(first: u64, failures: u32, most: u64) -> u64 {
    first.saturating_mul(1_u64.checked_shl(failures.min(32)).unwrap_or(u64::MAX)).min(most)
}
