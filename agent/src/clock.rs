//! The only place that reads a clock or rolls dice.
//!
//! Three times, never mixed: seconds since boot (deadlines), wall time (expiry, reports), and signed time, which comes from
//! evidence and lives in `trust`.

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
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

/// Reads the clocks.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
pub fn now() -> Now {
    let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| u64::try_from(time.tv_sec()).unwrap_or(0));
    Now { moment: Moment { boot: boot_id(), secs: since_boot }, wall: Timestamp::now(), dice: dice() }
}

/// When this program was built: no clock can be right and earlier. Set by `build.rs`.
pub const BUILT: Timestamp = Timestamp::constant(
    match i64::from_str_radix(env!("SLIPWAY_BUILT"), 10) {
        Ok(secs) => secs,
        Err(_) => 0,
    },
    0,
);

fn boot_id() -> BootId {
    static BOOT: std::sync::OnceLock<BootId> = std::sync::OnceLock::new();
    BOOT.get_or_init(|| {
        let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        // A container boots without a kernel of its own: the start of its process 1 tells its boots apart.
        let stat = std::fs::read_to_string("/proc/1/stat").unwrap_or_default();
        let started = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)).unwrap_or_default();
        BootId(format!("{}/{started}", text.trim()))
    })
    .clone()
}

/// Chance for jitter, from the hasher that the standard library seeds randomly. Not for secrets.
fn dice() -> u32 {
    use std::hash::{BuildHasher, RandomState};
    let roll = RandomState::new().hash_one(0_u8);
    u32::try_from(roll & u64::from(u32::MAX)).unwrap_or(0)
}
