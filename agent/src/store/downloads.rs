//! Downloads: how far each is on the disk, and what it has cost.
//!
//! A cursor ends with its part file. The account stays for its day: an artifact that is fetched, thrown away and fetched again is paid
//! for each time.

use super::Store;
use super::database::{Changes, Key};
use crate::fetch::{Account, Mark};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use slipway_protocol::{Refusal, Sha256};

/// One artifact's download.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    /// Bytes that are durable in its part file.
    at: u64,
    account: Account,
}

impl Cursor {
    pub(super) fn json(self) -> Vec<u8> {
        // Three numbers and a time always can be written.
        serde_json::to_vec(&self).unwrap_or_default()
    }
}

impl Store {
    /// How many bytes of a download were on the disk at the last [`Self::set_cursor`].
    #[must_use]
    pub fn cursor(&self, artifact: &Sha256) -> u64 {
        self.cursors.get(artifact).map_or(0, |cursor| cursor.at)
    }

    /// What an artifact has cost over the network within a day.
    #[must_use]
    pub fn account(&self, artifact: &Sha256, now: Timestamp) -> Account {
        self.cursors.get(artifact).map_or(Account::new(now), |cursor| cursor.account.at(now))
    }

    /// Remembers, durably, how far a download has come and what it has cost.
    ///
    /// # Errors
    /// None at present: without the database it is kept in memory, and a restart begins the download again.
    pub fn set_cursor(&mut self, artifact: &Sha256, mark: Mark, now: Timestamp) -> Result<(), Refusal> {
        let account = Account { spent: mark.spent, ..self.account(artifact, now) };
        self.put_cursor(artifact, Cursor { at: mark.at, account });
        Ok(())
    }

    /// The part file is gone or has served.
    ///
    /// # Errors
    /// As [`Self::set_cursor`].
    pub fn clear_cursor(&mut self, artifact: &Sha256) -> Result<(), Refusal> {
        match self.cursors.get(artifact).copied() {
            Some(cursor) if cursor.account.spent > 0 => self.put_cursor(artifact, Cursor { at: 0, ..cursor }),
            Some(_) => self.drop_cursor(artifact),
            None => {}
        }
        Ok(())
    }

    /// Forgets the downloads whose part files nobody keeps, and what they cost more than a day ago.
    pub fn collect_cursors(&mut self, kept: &[Sha256], now: Timestamp) {
        let gone: Vec<_> = self.cursors.iter().filter(|(artifact, _)| !kept.contains(artifact)).map(|(a, c)| (*a, *c)).collect();
        for (artifact, cursor) in gone {
            let account = cursor.account.at(now);
            if account.spent == 0 {
                self.drop_cursor(&artifact);
            } else if cursor.at > 0 {
                self.put_cursor(&artifact, Cursor { at: 0, account });
            }
        }
    }

    /// Forgets what an artifact has cost, or what all have: a person wants it tried again. Says whether there was anything.
    pub fn forgive_cost(&mut self, artifact: Option<&Sha256>, now: Timestamp) -> bool {
        let spent: Vec<_> = self
            .cursors
            .iter()
            .filter(|(one, cursor)| artifact.is_none_or(|wanted| wanted == *one) && cursor.account.at(now).spent > 0)
            .map(|(one, cursor)| (*one, cursor.at))
            .collect();
        for (artifact, at) in &spent {
            self.put_cursor(artifact, Cursor { at: *at, account: Account::new(now) });
        }
        !spent.is_empty()
    }

    /// A download ended by its budget: it is not begun again before its day is over, or a person says so.
    pub fn close_account(&mut self, artifact: &Sha256, now: Timestamp) {
        let account = Account { closed: true, ..self.account(artifact, now) };
        self.put_cursor(artifact, Cursor { at: self.cursor(artifact), account });
    }

    fn put_cursor(&mut self, artifact: &Sha256, cursor: Cursor) {
        self.cursors.insert(*artifact, cursor);
        let mut changes = Changes::default();
        changes.put(Key::Cursor(artifact), cursor.json());
        self.change(changes);
    }

    fn drop_cursor(&mut self, artifact: &Sha256) {
        self.cursors.remove(artifact);
        let mut changes = Changes::default();
        changes.remove(Key::Cursor(artifact));
        self.change(changes);
    }
}
