//! Limits the bytes that one artifact may cost over the network per day. Pure.
//!
//! A line that drops costs nothing, since a download goes on where it was. What makes bytes come again is a server that cannot
//! resume, one that sends the wrong file, a damaged disk, or a release that never gets further than its slot. On a metered line somebody
//! pays for each of these, so they end, and it is reported.

use super::checks;
use crate::storage::store::Account;
use jiff::Timestamp;
use slipway_protocol::Refusal;

/// Added to every budget, so that small artifacts need no care.
pub const EXTRA: u64 = 1024 * 1024;
/// An account and its limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Budget {
    /// What was spent before.
    pub account: Account,
    /// What may be spent in all.
    pub allowed: u64,
}

impl Budget {
    /// Of an artifact of `size` bytes that may be fetched `times`.
    #[must_use]
    pub fn new(account: Account, size: u64, times: u32) -> Self {
        Self { account, allowed: size.saturating_mul(times.into()).saturating_add(EXTRA) }
    }

    /// Refuses when `wanted` more bytes are too many, so that none is fetched in vain.
    ///
    /// # Errors
    /// Names what was spent, what is allowed, and until when.
    pub fn covers(&self, wanted: u64) -> Result<(), Refusal> {
        let Account { since, spent, closed } = self.account;
        if wanted == 0 || !closed && spent.saturating_add(wanted) <= self.allowed {
            return Ok(());
        }
        let needed = if closed { "missing, and no server resumes the download" } else { "needed" };
        let show = |time: Timestamp| time.strftime("%Y-%m-%d %H:%MZ").to_string();
        let seen = format_args!("{spent} bytes since {}, and {wanted} more are {needed}", show(since)).to_string();
        Err(checks::BUDGET.with(seen, format_args!("at most {} bytes until {}", self.allowed, show(self.account.until()))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_with_numbers_and_a_time() {
        let since = "2026-11-22T12:00:00Z".parse().unwrap();
        let size = 10 * EXTRA;
        let budget = |spent| Budget::new(Account { since, spent, closed: false }, size, 3);
        for (spent, wanted, fits) in [
            (0, size, true),
            (2 * size, size, true),
            (2 * size + EXTRA, size, true),
            (2 * size + EXTRA + 1, size, false),
            (2 * size + EXTRA + 1, size - 1, true),
            (3 * size + EXTRA, 0, true),
            (3 * size + EXTRA, 1, false),
            (u64::MAX, u64::MAX, false),
        ] {
            assert_eq!(budget(spent).covers(wanted).is_ok(), fits, "{spent} {wanted}");
        }
        let refusal = budget(3 * size).covers(size).unwrap_err();
        assert_eq!(refusal.code, "SLW-A-BUDGET");
        assert_eq!(refusal.seen, format!("{} bytes since 2026-11-22 12:00Z, and {size} more are needed", 3 * size));
        assert_eq!(refusal.wanted, format!("at most {} bytes until 2026-11-23 12:00Z", 3 * size + EXTRA));
        assert!(Budget::new(Account { spent: 9, ..budget(0).account }, u64::MAX, u32::MAX).covers(7).is_ok(), "no overflow");
        let closed = Budget { account: Account { closed: true, ..budget(size).account }, ..budget(0) };
        assert!(closed.covers(0).is_ok(), "what is complete costs nothing");
        assert!(closed.covers(1).unwrap_err().seen.ends_with("and 1 more are missing, and no server resumes the download"));
    }
}
