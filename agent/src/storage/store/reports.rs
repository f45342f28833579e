//! Reports: the outbox until the broker has acknowledged them, the history for a person on the device.
//!
//! | | how many | what goes first |
//! |---|---|---|
//! | outbox | [`OUTBOX_LIMIT`] | the oldest that end nothing, then the oldest; their numbers are missing where they arrive |
//! | history | [`HISTORY_LIMIT`] | the oldest that no outbox holds |
//!
//! Where no broker is configured there is no outbox: nobody would ever take a report out of it. What waited for a broker that was
//! taken out of the configuration waits on, and is sent when one comes back.

use super::database::{Changes, Key};
use super::{HISTORY_LIMIT, OUTBOX_LIMIT, Store};
use slipway_protocol::{ComponentName, Event, Report};
use std::collections::BTreeSet;

/// Which reports have to go for new ones to fit.
#[derive(Default)]
pub(super) struct Dropped {
    pub(super) unsent: BTreeSet<u64>,
    pub(super) reports: BTreeSet<u64>,
}

/// Whether a report says how something ended: kept longest.
pub(super) const fn ends(report: &Report) -> bool {
    matches!(report.event, Event::Committed | Event::RolledBack | Event::Refused | Event::Inconsistent | Event::Unblocked)
}

impl Store {
    /// Says whether a broker is configured, which may take reports; assumed until this is called.
    pub const fn set_broker(&mut self, configured: bool) {
        self.broker = configured;
    }

    /// Whether a broker is configured.
    #[must_use]
    pub const fn has_broker(&self) -> bool {
        self.broker
    }

    /// Reports that were not acknowledged, oldest first, with numbers above `after`.
    #[must_use]
    pub fn outbox(&self, after: u64, limit: usize) -> Vec<Report> {
        self.unsent.range(after.saturating_add(1)..).filter_map(|seq| self.report(*seq)).take(limit).collect()
    }

    /// How many reports were not acknowledged.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.unsent.len()
    }

    /// One report was acknowledged. Durable with the next commit, which finds out a database that fails here: a report that is sent twice
    /// does no harm.
    pub fn acknowledge(&mut self, seq: u64) {
        if self.unsent.remove(&seq)
            && self.behind.is_none()
            && let Some(database) = &mut self.database
        {
            let mut changes = Changes::default();
            changes.remove(Key::Unsent(seq));
            let applied = database.apply_lazily(changes);
            self.judge(applied);
        }
    }

    /// Reports about a component or about all, newest first, acknowledged or not.
    #[must_use]
    pub fn history(&self, component: Option<&ComponentName>, limit: usize) -> Vec<Report> {
        let newest = self.reports.keys().rev().filter_map(|seq| self.report(*seq));
        newest.filter(|report| component.is_none_or(|wanted| report.component == *wanted)).take(limit).collect()
    }

    fn report(&self, seq: u64) -> Option<Report> {
        if let Some(report) = self.waiting.get(&seq) {
            return Some(report.clone());
        }
        let bytes = self.database.as_ref()?.get(Key::Report(seq));
        match bytes.map(|bytes| bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok())) {
            Ok(report) => report,
            Err(error) => {
                tracing::warn!(error = ?error, seq, "report could not be read");
                None
            }
        }
    }

    /// Which reports have to go for these to fit.
    pub(super) fn overflow(&self, fresh: usize) -> Dropped {
        let mut dropped = Dropped::default();
        let sent = if self.broker { fresh } else { 0 };
        let surplus = self.unsent.len().saturating_add(sent).saturating_sub(OUTBOX_LIMIT);
        if surplus > 0 {
            let ending = |seq: &&u64| self.reports.get(seq).copied().unwrap_or(false);
            let oldest = self.unsent.iter().filter(|seq| !ending(seq)).chain(self.unsent.iter().filter(ending));
            dropped.unsent = oldest.take(surplus).copied().collect();
            tracing::warn!(seqs = ?dropped.unsent, limit = OUTBOX_LIMIT, "outbox is full; dropping undelivered reports");
        }
        let surplus = self.reports.len().saturating_add(fresh).saturating_sub(HISTORY_LIMIT);
        let needed = |seq: &&u64| self.unsent.contains(seq) && !dropped.unsent.contains(seq);
        dropped.reports = self.reports.keys().take(surplus).filter(|seq| !needed(seq)).copied().collect();
        dropped
    }
}
