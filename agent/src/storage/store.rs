//! The store: records, reports and download cursors, durable before the agent acts on them.
//!
//! A commit is one batch in the database, on the disk before the witness hears of it; the witness is written only when something
//! changes that it remembers. So after a cut the database is never older than the witness. When it is, it has lost something:
//! it is set aside as `state.damaged-<n>` and rebuilt from witness and slots. The exception is a full disk, on which the witness
//! goes on alone and says so.
//!
//! An agent that dies while it opens the database is started again and tries again; after [`OPENINGS`] such deaths the database
//! is set aside too, because sled ends the process over some damage.

mod database;
mod downloads;
mod open;
pub(crate) mod rebuild;
mod reports;
mod room;
mod stored;
#[cfg(test)]
mod tests;

pub use downloads::{Account, Mark};

use crate::crashpoint::crashpoint;
use crate::storage::durable;
use crate::storage::layout;
use crate::storage::slots::Slots;
use crate::storage::witness::{self, Witness, WitnessData};
use database::{Changes, Database, DatabaseError, Key};
use downloads::Cursor;
use jiff::Timestamp;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use reports::ends;
use room::Room;
use serde::{Deserialize, Serialize};
use slipway_machine::record::{RECORD_FORMAT, Record};
use slipway_machine::time::Moment;
use slipway_protocol::{ComponentName, Event, Refusal, Report, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;
use stored::Stored;

/// Between two looks at a lock that another process holds.
const LOCK_AGAIN: Duration = Duration::from_millis(50);
/// Reports kept until they are acknowledged: for a device that is offline, months.
pub const OUTBOX_LIMIT: usize = 2000;
/// Reports kept for `history`, acknowledged or not.
pub const HISTORY_LIMIT: usize = 500;
/// Numbers of reports that one write of the witness reserves.
const NUMBERS: u64 = 1000;
/// Openings in a row that may end before the first commit: two may be power cuts, three are the database's fault.
pub const OPENINGS: u32 = 2;
/// Damaged databases and witnesses kept for whoever wants to know what happened.
const EVIDENCE: usize = 3;

slipway_protocol::refusals! {
    pub BUSY = "SLW-A-STORE-BUSY", Configuration, Operator, "another agent uses this state directory",
        "stop the other agent, or give this one a state directory of its own";
    DAMAGED = "SLW-A-STORE-DAMAGED", System, Device, "agent's database is damaged",
        "check the disk; the database was set aside and rebuilt from the witness file and the slots, and unsent \
         reports and history are lost";
    WITNESS_MISSING = "SLW-A-WITNESS-MISSING", System, Device, "witness file is missing",
        "find out who removed it; the agent created a new one from the database, and learns trusted time and \
         metadata floors again";
    ALL_LOST = "SLW-A-STATE-MISSING", System, Device, "database and witness file are both missing",
        "check the disk and who removed the files; the current release was taken as the committed one";
    DEGRADED = "SLW-A-STORE-DEGRADED", System, Device, "agent's database cannot be written",
        "free some space; the agent continues with the witness file, keeps reports in memory, and recovers automatically";
    STATE_UNKNOWN = "SLW-A-STATE-UNKNOWN", System, Operator, "record of an update was written by a newer agent",
        "install the newer agent again to continue the update; until then the committed release runs";
    UNWRITABLE = "SLW-A-STORE-RECORD", System, Device, "record cannot be written",
        "report it with the agent's log: this is a fault in the agent";
}

/// The format of the database that this agent writes. The only one there has ever been; see [`open`] for what becomes of others.
const STORE_FORMAT: u32 = 1;

#[derive(Debug, Deserialize, Serialize)]
struct Meta {
    format: u32,
    generation: u64,
    /// The number of the next report.
    next: u64,
}

/// The part of any format of a record that must never change.
#[derive(Deserialize)]
struct StoredFormat {
    record: RecordFormat,
}
#[derive(Deserialize)]
struct RecordFormat {
    format: u32,
}

/// A database that was read and believed.
#[derive(Debug, Default)]
struct Believed {
    generation: u64,
    next: u64,
    records: BTreeMap<ComponentName, Stored>,
    /// Components whose state a newer agent wrote, and what of it cannot be read.
    unread: BTreeMap<ComponentName, String>,
    /// Reports, and whether each ends something.
    reports: BTreeMap<u64, bool>,
    unsent: BTreeSet<u64>,
    cursors: BTreeMap<Sha256, Cursor>,
}

/// Records, outbox, history and download cursors.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    _lock: Lock,
    room: Room,
    witness: Witness,
    witness_data: WitnessData,
    database: Option<Database>,
    /// Why the database is behind; it is brought up to date as soon as that is possible.
    behind: Option<Refusal>,
    /// What the database held was taken over: until then it knows more than this does.
    read: bool,
    /// A database that did not answer is not opened again before this.
    silent_until: Option<Moment>,
    /// The witness could not take the last change; the database has it.
    unwitnessed: Option<Refusal>,
    /// Of the newest commit.
    generation: u64,
    /// Of the newest commit that the database has.
    saved: u64,
    next: u64,
    records: BTreeMap<ComponentName, Stored>,
    /// As of [`Believed`]: until the witness has said what the state meant.
    unread: BTreeMap<ComponentName, String>,
    /// Every report that is kept, and whether it ends something.
    reports: BTreeMap<u64, bool>,
    unsent: BTreeSet<u64>,
    /// Whether a broker is configured, which may take reports.
    broker: bool,
    /// Reports that the database does not have.
    waiting: BTreeMap<u64, Report>,
    cursors: BTreeMap<Sha256, Cursor>,
}

impl Store {
    /// Opens the state of this device, and heals what is damaged: what was found is returned, to be reported.
    ///
    /// # Errors
    /// Another agent has it open, a newer agent wrote it, or there is neither a witness nor the means to create one.
    pub fn open(state_dir: &Path, slots: &Slots) -> Result<(Self, Vec<Refusal>), Refusal> {
        durable::create_dir_all_durable(state_dir).map_err(|error| durable::refusal(state_dir, &error))?;
        let lock = lock(state_dir)?.ok_or_else(|| busy(state_dir))?;
        Self::open_locked(lock, state_dir, slots)
    }

    /// As [`Self::open`], for a caller that holds the lock of an existing directory: see [`wait_for_lock`].
    ///
    /// # Errors
    /// A newer agent wrote it, or there is neither a witness nor the means to create one.
    pub(crate) fn open_locked(lock: Lock, state_dir: &Path, slots: &Slots) -> Result<(Self, Vec<Refusal>), Refusal> {
        let mut healed = Vec::new();
        let mut room = Room::new(state_dir);
        room.make();
        let (witness, remembered) = open::open_witness(state_dir, &mut healed)?;
        let first = remembered.is_none();
        let mut store = Self {
            dir: state_dir.to_owned(),
            _lock: lock,
            room,
            witness,
            witness_data: remembered.unwrap_or_default(),
            database: None,
            behind: None,
            read: false,
            silent_until: None,
            unwitnessed: None,
            generation: 0,
            saved: 0,
            next: 1,
            records: BTreeMap::new(),
            unread: BTreeMap::new(),
            reports: BTreeMap::new(),
            unsent: BTreeSet::new(),
            broker: true,
            waiting: BTreeMap::new(),
            cursors: BTreeMap::new(),
        };
        let there = store.open_database(&mut healed)?;
        if first && !there && healed.is_empty() && store.behind.is_some() {
            // Without a witness only the database knows what it must; this is no time to begin from nothing.
            return Err(store.behind.take().unwrap_or(DEGRADED));
        }
        if first && store.saved > 0 && healed.is_empty() {
            healed.push(WITNESS_MISSING.with("a database without a witness file", "both files"));
        }
        healed.extend(store.unread.values().map(|seen| STATE_UNKNOWN.with(seen, "a state that this agent knows")));
        store.recall(slots);
        if first && store.saved == 0 {
            store.adopt_current(slots, &mut healed)?;
        }
        store.catch_up();
        store.witness_all();
        store.room.refill();
        Ok((store, healed))
    }

    /// What is remembered about a component.
    #[must_use]
    pub fn record(&self, component: &ComponentName) -> Option<Record> {
        self.records.get(component).map(|stored| stored.record.clone())
    }

    /// Makes a record and the reports about it durable, in one step. The reports come back with their numbers.
    ///
    /// With the database out of reach it is enough that the witness has what it needs; see [`Self::degraded`].
    ///
    /// # Errors
    /// Nothing is durable, and the store is as it was.
    pub fn commit(&mut self, record: &Record, reports: Vec<Report>) -> Result<Vec<Report>, Refusal> {
        if record.format > RECORD_FORMAT {
            return Err(witness::NEWER.with(format_args!("record format {}", record.format), RECORD_FORMAT));
        }
        let numbered: Vec<Report> = (self.next..).zip(reports).map(|(seq, report)| Report { seq, ..report }).collect();
        let next = numbered.last().map_or(self.next, |last| last.seq.saturating_add(1));
        self.reserve(next)?;
        self.catch_up();
        let overdue = self.unwitnessed.is_some();

        let generation = self.generation.saturating_add(1);
        let more = self.records.get(&record.component).map(|stored| stored.more.clone()).unwrap_or_default();
        let stored = Stored { generation, record: record.clone(), more };
        let kept = || numbered.iter().filter(|report| report.event != Event::Progress);
        let dropped = self.overflow(kept().count());
        let mut changes = Changes::default();
        changes.put(Key::Record(&record.component), json(&stored)?);
        changes.put(Key::Meta, json(&Meta { format: STORE_FORMAT, generation, next })?);
        for report in kept() {
            changes.put(Key::Report(report.seq), json(report)?);
            if self.broker {
                changes.put(Key::Unsent(report.seq), Vec::new());
            }
        }
        dropped.unsent.iter().for_each(|seq| changes.remove(Key::Unsent(*seq)));
        dropped.reports.iter().for_each(|seq| changes.remove(Key::Report(*seq)));

        crashpoint!("store: before the database");
        let saved = self.behind.is_none() && self.apply(changes);
        crashpoint!("store: database, not the witness");
        self.witness_one(record, generation, saved)?;

        self.generation = generation;
        self.next = next;
        self.records.insert(record.component.clone(), stored);
        self.unsent.retain(|seq| !dropped.unsent.contains(seq));
        self.reports.retain(|seq, _| !dropped.reports.contains(seq));
        self.waiting.retain(|seq, _| !dropped.reports.contains(seq));
        for report in kept() {
            self.reports.insert(report.seq, ends(report));
            if self.broker {
                self.unsent.insert(report.seq);
            }
            if !saved {
                self.waiting.insert(report.seq, report.clone());
            }
        }
        if overdue {
            self.witness_all();
        }
        Ok(numbered)
    }

    /// What must never be lost: trusted time, metadata floors.
    #[must_use]
    pub const fn witness_data(&self) -> &WitnessData {
        &self.witness_data
    }

    /// Remembers, durably, that it is at least this late; an earlier time changes nothing.
    ///
    /// # Errors
    /// The witness cannot be written.
    pub fn remember_time(&mut self, time: Timestamp) -> Result<(), Refusal> {
        if self.witness_data.trusted_time >= Some(time) {
            return Ok(());
        }
        self.write_witness(WitnessData { trusted_time: Some(time), ..self.witness_data.clone() })
    }

    /// Remembers, durably, the versions of the metadata below which nothing is believed.
    ///
    /// # Errors
    /// The witness cannot be written.
    pub fn remember_tuf(&mut self, floors: serde_json::Value) -> Result<(), Refusal> {
        if self.witness_data.tuf == floors {
            return Ok(());
        }
        self.write_witness(WitnessData { tuf: floors, ..self.witness_data.clone() })
    }

    /// Gives the reserve to somebody who needs the space more, for as long as the disk is full.
    pub fn give_up_reserve(&mut self) {
        self.room.give_up();
    }

    /// Why the store cannot do all that it should, if so: it then remembers what it must in the witness, and the rest in memory.
    #[must_use]
    pub fn degraded(&self) -> Option<&Refusal> {
        self.behind.as_ref().or(self.unwitnessed.as_ref())
    }

    /// Brings the database up to date if it is behind and can be written again. Every commit does this by itself; a device on
    /// which nothing happens does it from time to time. Says whether all is well.
    pub fn recover(&mut self) -> bool {
        self.catch_up();
        if self.unwitnessed.is_some() {
            self.witness_all();
        }
        self.room.refill();
        self.degraded().is_none()
    }

    /// Tells the witness of a commit, if that changes anything that it remembers.
    fn witness_one(&mut self, record: &Record, generation: u64, saved: bool) -> Result<(), Refusal> {
        let mut remembered = rebuild::remember(record, generation);
        let before = self.witness_data.components.get(&record.component);
        remembered.floor = remembered.floor.max(before.and_then(|it| it.floor.clone()));
        remembered.more = before.map(|it| it.more.clone()).unwrap_or_default();
        let changed = before.is_none_or(|it| !rebuild::same(it, &remembered));

        let mut witness_data = WitnessData { generation, ..self.witness_data.clone() };
        witness_data.components.insert(record.component.clone(), remembered);
        if saved {
            self.saved = generation;
            (witness_data.alone_since, witness_data.opening) = (None, 0);
        } else {
            witness_data.alone_since = Some(self.saved);
        }
        let turned =
            (witness_data.alone_since, witness_data.opening) != (self.witness_data.alone_since, self.witness_data.opening);
        if !changed && !turned && self.unwitnessed.is_none() {
            return Ok(());
        }
        match self.write_witness(witness_data) {
            // The database has it. Only both together could lose it, and the witness is written again.
            Err(refusal) if saved => self.unwitnessed = Some(refusal),
            other => return other,
        }
        Ok(())
    }

    /// Tells the witness what the records say, if it has fallen behind: a cut between database and witness is normal.
    fn witness_all(&mut self) {
        let mut witness_data = self.witness_data.clone();
        for (component, stored) in &self.records {
            let it = witness_data.components.entry(component.clone()).or_default();
            let remembered = rebuild::remember(&stored.record, stored.generation);
            let more = std::mem::take(&mut it.more);
            *it = witness::Remembered { floor: remembered.floor.clone().max(it.floor.take()), more, ..remembered };
        }
        if self.behind.is_none() {
            witness_data.alone_since = None;
            witness_data.generation = self.saved;
        }
        let turned =
            witness_data.components != self.witness_data.components || witness_data.alone_since != self.witness_data.alone_since;
        if turned || self.unwitnessed.is_some() {
            self.unwitnessed = self.write_witness(witness_data).err();
        }
    }

    fn write_witness(&mut self, witness_data: WitnessData) -> Result<(), Refusal> {
        if rebuild::raises(&self.witness_data, &witness_data) {
            self.witness.write_both(&witness_data)?;
        } else {
            self.witness.write(&witness_data)?;
        }
        self.witness_data = witness_data;
        Ok(())
    }

    /// Sees to it that numbers below `next` are never given again, whatever happens to the database.
    fn reserve(&mut self, next: u64) -> Result<(), Refusal> {
        if next <= self.witness_data.reports {
            return Ok(());
        }
        self.write_witness(WitnessData { reports: next.saturating_add(NUMBERS), ..self.witness_data.clone() })
    }

    /// Makes a change durable for which no commit has to wait.
    fn change(&mut self, changes: Changes) {
        if self.behind.is_none() {
            self.apply(changes);
        }
    }

    fn apply(&mut self, changes: Changes) -> bool {
        if !self.room.make() {
            self.behind = Some(DEGRADED.with("no space", "some hundred kilobytes"));
            return false;
        }
        let Some(database) = &mut self.database else { return false };
        let applied = database.apply(changes);
        self.judge(applied)
    }

    fn judge(&mut self, outcome: Result<(), DatabaseError>) -> bool {
        let Err(error) = outcome else { return true };
        self.behind = Some(self.give_up(error));
        false
    }
}

impl Drop for Store {
    /// An agent that ends like this survived its opening, whether it committed anything or not.
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        if self.unwitnessed.is_some() {
            self.witness_all();
        }
        if self.witness_data.opening > 0 {
            let _ = self.write_witness(WitnessData { opening: 0, ..self.witness_data.clone() });
        }
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(value).map_err(|error| UNWRITABLE.with(error, "JSON"))
}

/// The right to the state, for as long as this lives.
pub(crate) type Lock = Flock<File>;

/// Takes it; `None` while another process holds it.
fn lock(dir: &Path) -> Result<Option<Lock>, Refusal> {
    let path = dir.join(layout::LOCK);
    let failed = |error: std::io::Error| durable::refusal(&path, &error);
    let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(failed(error.into())),
    }
}

fn busy(dir: &Path) -> Refusal {
    BUSY.with(format_args!("{} is locked", dir.join(layout::LOCK).display()), "its lock")
}

/// Takes the lock of a state directory. A command that looks something up holds it for a moment: the second waits for it, but not
/// longer than `longest`.
///
/// # Errors
/// [`BUSY`], or the disk fails.
pub(crate) async fn wait_for_lock(dir: &Path, longest: Duration) -> Result<Lock, Refusal> {
    let polled = async {
        loop {
            match lock(dir) {
                Ok(None) => tokio::time::sleep(LOCK_AGAIN).await,
                Ok(Some(lock)) => return Ok(lock),
                Err(refusal) => return Err(refusal),
            }
        }
    };
    tokio::time::timeout(longest, polled).await.unwrap_or_else(|_| Err(busy(dir)))
}
