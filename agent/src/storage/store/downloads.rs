//! Downloads: the progress of each on disk, and the bytes it has cost.
//!
//! A cursor ends with its part file. The account stays for its day: an artifact that is fetched, thrown away and fetched again is paid
//! for each time.

use super::Store;
use super::database::{Changes, Key};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use slipway_protocol::Sha256;

/// How long what was spent counts.
const PERIOD: SignedDuration = SignedDuration::from_hours(24);

/// What came over the network for one artifact.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Account {
    /// When the first of it came: a day later all of it is forgotten.
    pub since: Timestamp,
    /// Bytes.
    pub spent: u64,
    /// A download ended here: what is missing would fit, but nobody sends only that, and to ask on would cost a little each time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub closed: bool,
}

impl Account {
    /// An account that begins now.
    #[must_use]
    pub const fn new(now: Timestamp) -> Self {
        Self { since: now, spent: 0, closed: false }
    }

    /// The account as it stands now. A clock that was ahead when it began does not keep it open for years.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        let since = self.since.min(now);
        if now.duration_since(since) >= PERIOD { Self::new(now) } else { Self { since, ..self } }
    }

    /// When it is forgotten.
    #[must_use]
    pub fn until(self) -> Timestamp {
        self.since.checked_add(PERIOD).unwrap_or(Timestamp::MAX)
    }
}

/// What a download has come to, to be made durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Mark {
    /// Up to where the part file is durable, to be handed back as `trusted_offset`.
    pub at: u64,
    /// Bytes that came over the network for it so far, to be handed back in the budget.
    pub spent: u64,
}

/// One artifact's download.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
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

    /// Remembers, durably, how far a download has come and what it has cost. Without the database it is kept in memory, and a restart
    /// begins the download again.
    pub fn set_cursor(&mut self, artifact: &Sha256, mark: Mark, now: Timestamp) {
        let account = Account { spent: mark.spent, ..self.account(artifact, now) };
        self.put_cursor(artifact, Cursor { at: mark.at, account });
    }

    /// The part file is gone or has served.
    pub fn clear_cursor(&mut self, artifact: &Sha256) {
        match self.cursors.get(artifact).copied() {
            Some(cursor) if cursor.account.spent > 0 => self.put_cursor(artifact, Cursor { at: 0, ..cursor }),
            Some(_) => self.drop_cursor(artifact),
            None => {}
        }
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
    pub fn reset_cost(&mut self, artifact: Option<&Sha256>, now: Timestamp) -> bool {
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
