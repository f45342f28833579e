//! The only place that reads a clock or a random number.
//!
//! Three times, never mixed: seconds since boot (deadlines), wall time (reports), and the latest known time, below which no clock is
//! believed. Expiry is judged by the later of the last two.
//!
//! The latest known time begins at the build of this program, rises by signed time that was verified, and goes on with the boot clock,
//! which nobody can set. The wall clock never raises it: a boot in 2100 makes metadata expire until the next boot, not forever.

use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use slipway_machine::time::{BootId, Moment, Now};
use std::sync::atomic::{AtomicI64, Ordering};

/// Reads the clocks.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
pub fn now() -> Now {
    let since_boot = clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(0, |time| u64::try_from(time.tv_sec()).unwrap_or(0));
    Now { moment: Moment { boot: boot_id(), secs: since_boot }, wall: Timestamp::now(), dice: dice() }
}

/// What time it is, as far as this device can know.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Known {
    /// What the wall clock says.
    pub clock: Timestamp,
    /// It is at least this late.
    pub latest: Timestamp,
    /// The wall clock is certainly wrong, or so far ahead that it most likely is.
    #[serde(rename = "time_unsure")]
    pub unsure: bool,
}

/// A clock this much behind what is known is only being adjusted.
const BEHIND_SECS: i64 = 60;
/// No device runs for so long without a single verified time: a clock that is ahead by more has lost its way.
const AHEAD_SECS: i64 = 10 * 366 * 86_400;

impl Known {
    /// The time by which expiry is judged.
    #[must_use]
    pub fn trusted(&self) -> Timestamp {
        self.clock.max(self.latest)
    }

    fn of(clock: Timestamp, latest: Timestamp) -> Self {
        let ahead = clock.duration_since(latest).as_secs();
        Self { clock, latest, unsure: ahead < BEHIND_SECS.saturating_neg() || ahead > AHEAD_SECS }
    }
}

/// The latest known time of a process, as the earliest second at which this boot can have begun: so it goes on by itself.
#[derive(Debug)]
struct Learnt(AtomicI64);

impl Learnt {
    const fn nothing() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }

    fn learn(&self, time: Timestamp, secs_since_boot: u64) {
        let since_boot = i64::try_from(secs_since_boot).unwrap_or(i64::MAX);
        self.0.fetch_max(time.as_second().saturating_sub(since_boot), Ordering::Relaxed);
    }

    fn latest(&self, secs_since_boot: u64) -> Timestamp {
        let since_boot = i64::try_from(secs_since_boot).unwrap_or(i64::MAX);
        let latest = Timestamp::from_second(self.0.load(Ordering::Relaxed).saturating_add(since_boot));
        latest.unwrap_or(BUILT).max(BUILT)
    }
}

static LEARNT: Learnt = Learnt::nothing();

/// Raises the latest known time to a signed time that was verified.
pub fn learn(time: Timestamp) {
    LEARNT.learn(time, now().moment.secs);
}

/// What time it is, as far as this device can know.
#[must_use]
pub fn known() -> Known {
    let now = now();
    Known::of(now.wall, LEARNT.latest(now.moment.secs))
}

/// The clock by which the kernel stamps files, in nanoseconds since 1970: the wall clock as it was at the last tick.
#[must_use]
pub fn of_files() -> i128 {
    let nanos = |time: nix::sys::time::TimeSpec| {
        i128::from(time.tv_sec()).saturating_mul(1_000_000_000).saturating_add(i128::from(time.tv_nsec()))
    };
    clock_gettime(ClockId::CLOCK_REALTIME_COARSE).map_or(0, nanos)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn the_latest_known_time_begins_at_the_build_rises_and_goes_on_with_the_boot_clock() {
        let learnt = Learnt::nothing();
        assert_eq!(learnt.latest(1000), BUILT);
        let signed = time("2090-01-01T00:00:00Z");
        learnt.learn(signed, 1000);
        assert_eq!(learnt.latest(1000), signed);
        assert_eq!(learnt.latest(1060), time("2090-01-01T00:01:00Z"));
        learnt.learn(time("2089-01-01T00:00:00Z"), 1060);
        assert_eq!(learnt.latest(1060), time("2090-01-01T00:01:00Z"), "an earlier time is no news");
        // Nothing that a file or a peer says makes it overflow.
        learnt.learn(Timestamp::MAX, 0);
        learnt.learn(Timestamp::MIN, u64::MAX);
        assert!(learnt.latest(u64::MAX) >= BUILT);
    }

    #[test]
    fn a_clock_in_1970_is_not_trusted_and_one_in_2100_is_not_kept() {
        let latest = time("2026-11-22T12:00:00Z");
        for (clock, unsure, trusted) in [
            ("1970-01-01T00:00:10Z", true, latest),
            ("2026-11-22T11:58:00Z", true, latest),
            ("2026-11-22T11:59:30Z", false, latest),
            ("2028-11-22T12:00:00Z", false, time("2028-11-22T12:00:00Z")),
            ("2100-01-01T00:00:00Z", true, time("2100-01-01T00:00:00Z")),
        ] {
            let known = Known::of(time(clock), latest);
            assert_eq!((known.unsure, known.trusted(), known.latest), (unsure, trusted, latest), "{clock}");
        }
    }
}
