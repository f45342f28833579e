//! Delays before dialing again, and limits on reading and logging a flood of messages. Pure.

use slipway_machine::time::doubled;
use std::time::Duration;

/// Longest wait between two attempts.
const CEILING_SECS: u64 = 60;
/// Shortest: chance must not make a busy loop.
const FLOOR: Duration = Duration::from_millis(250);

/// The wait after `failures` failed attempts in a row: anything up to 1, 2, 4, … 60 seconds, by the dice. Full jitter, so that a
/// fleet does not come back in one wave.
pub(super) fn backoff(failures: u32, dice: u32) -> Duration {
    let secs = doubled(1, failures.saturating_sub(1), CEILING_SECS);
    // dice / 2^32 of the ceiling, in milliseconds.
    let millis = secs.saturating_mul(1000).saturating_mul(u64::from(dice)) >> 32;
    Duration::from_millis(millis).max(FLOOR)
}

/// Counts what comes within one second.
#[derive(Debug, Default)]
pub(super) struct Flood {
    second: u64,
    count: u32,
}

impl Flood {
    /// Messages read in one second at full speed. A fleet sends a few notices a day.
    const FREE: u32 = 200;
    /// What each further one costs: no more than some hundred a second are looked at, and the rest waits at the broker.
    const BRAKE: Duration = Duration::from_millis(5);

    /// One more message at this second; how long to read nothing.
    pub(super) fn brake(&mut self, second: u64) -> Option<Duration> {
        if self.second != second {
            *self = Self { second, count: 0 };
        }
        self.count = self.count.saturating_add(1);
        (self.count > Self::FREE).then_some(Self::BRAKE)
    }
}

/// Lets a complaint through now and then, and counts the ones it kept back.
#[derive(Debug, Default)]
pub(super) struct Rarely {
    last: Option<u64>,
    held: u64,
}

impl Rarely {
    const EVERY_SECS: u64 = 30;

    /// A complaint at this second: how many were kept back since the last one that was let through, if this one is.
    pub(super) fn complain(&mut self, second: u64) -> Option<u64> {
        let now = self.last.is_none_or(|last| second.saturating_sub(last) >= Self::EVERY_SECS);
        if now {
            self.last = Some(second);
            Some(std::mem::take(&mut self.held))
        } else {
            self.held = self.held.saturating_add(1);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_minute_and_never_vanish() {
        for (failures, dice, millis) in [
            (0, u32::MAX, 999),
            (1, u32::MAX, 999),
            (2, u32::MAX, 1999),
            (3, u32::MAX / 2, 1999),
            (6, u32::MAX, 31_999),
            (7, u32::MAX, 59_999),
            (64, u32::MAX, 59_999),
            (65, u32::MAX, 59_999),
            (u32::MAX, u32::MAX, 59_999),
            (7, u32::MAX / 2, 29_999),
            (1, 0, 250),
            (u32::MAX, 0, 250),
        ] {
            assert_eq!(backoff(failures, dice), Duration::from_millis(millis), "{failures} {dice}");
        }
    }

    #[test]
    fn a_flood_is_slowed_and_forgotten() {
        let mut flood = Flood::default();
        assert_eq!((0..200).filter_map(|_| flood.brake(7)).count(), 0);
        assert_eq!((0..200).filter_map(|_| flood.brake(7)).count(), 200);
        assert_eq!(flood.brake(8), None);
    }

    #[test]
    fn complaints_are_rare_and_counted() {
        let mut rarely = Rarely::default();
        assert_eq!(rarely.complain(100), Some(0));
        assert_eq!((0..999).filter_map(|_| rarely.complain(110)).count(), 0);
        assert_eq!(rarely.complain(130), Some(999));
        assert_eq!(rarely.complain(131), None);
    }
}
