//! Opens the store: which copy is used, what is moved aside, how the database is updated.
//!
//! | format of database or record | what it means |
//! |---|---|
//! | this agent's | read |
//! | a newer one | a newer agent wrote it: refused and left alone, unless the restore unit has just left that agent |
//! | an older one, or none | no agent ever wrote one, so it is damage: set aside and rebuilt. An agent that brings a second format converts the first here |

use super::database::{Changes, Contents, Database, DatabaseError, Key};
use super::{
    ALL_LOST, Believed, DAMAGED, DEGRADED, EVIDENCE, Meta, OPENINGS, STORE_FORMAT, Store, Stored, StoredFormat, ends, json,
    rebuild,
};
use crate::storage::durable;
use crate::storage::layout::{DATABASE, WITNESS};
use crate::storage::slots::Slots;
use crate::storage::witness::{self, Phase, Witness, WitnessData, WitnessError};
use slipway_machine::record::RECORD_FORMAT;
use slipway_protocol::json::Members;
use slipway_protocol::{ComponentName, Refusal, Report};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

const SILENT: &str = "the database does not answer";
/// How long to wait before retrying a database that did not answer: each try delays everything else.
const SILENCE_SECS: u64 = 120;

/// Why a database is not used.
enum OpenFailure {
    /// Set it aside.
    Damaged(String),
    /// Leave it as it is, and do without for now.
    Unreachable(String),
    /// Leave it as it is, and do nothing at all.
    Newer(Refusal),
}

impl From<DatabaseError> for OpenFailure {
    fn from(error: DatabaseError) -> Self {
        match error {
            DatabaseError::Damaged(seen) => Self::Damaged(seen),
            DatabaseError::Full(seen) | DatabaseError::Failed(seen) => Self::Unreachable(seen),
            DatabaseError::Silent => Self::Unreachable(SILENT.to_owned()),
        }
    }
}

/// Opens the witness; a damaged one is set aside for a new one.
pub(super) fn open_witness(dir: &Path, healed: &mut Vec<Refusal>) -> Result<(Witness, Option<WitnessData>), Refusal> {
    let path = dir.join(WITNESS);
    match Witness::try_open(&path) {
        Err(WitnessError::Damaged(refusal)) => {
            set_aside(dir, WITNESS).map_err(|error| durable::refusal(&path, &error))?;
            healed.push(refusal);
            Witness::open(&path)
        }
        other => Ok(other?),
    }
}

impl Store {
    /// Opens the database and takes over what it holds. Sets it aside if it cannot be believed, does without if it is out of reach.
    /// Says whether it holds anything.
    pub(super) fn open_database(&mut self, healed: &mut Vec<Refusal>) -> Result<bool, Refusal> {
        if !self.room.make() {
            self.behind = Some(DEGRADED.with("no space", "some hundred kilobytes"));
            return Ok(false);
        }
        let opening = self.witness_data.opening;
        let attempt = if opening < OPENINGS {
            self.write_witness(WitnessData { opening: opening.saturating_add(1), ..self.witness_data.clone() })?;
            self.try_database()
        } else {
            Err(OpenFailure::Damaged(format!("the agent ended {opening} times while it opened the database")))
        };
        match attempt {
            Ok((database, believed)) => {
                self.database = Some(database);
                self.take_over(believed);
            }
            Err(OpenFailure::Newer(refusal)) if !self.restored() => return Err(refusal),
            Err(OpenFailure::Newer(refusal)) => {
                // The agent that wrote it was rolled back before it was committed; what must not be lost is in the witness.
                match self.begin_again(&refusal.seen) {
                    Ok(database) => self.database = Some(database),
                    Err(refusal) => self.behind = Some(refusal),
                }
                healed.push(DAMAGED.with(&refusal.seen, "a database that this agent can read"));
            }
            Err(OpenFailure::Unreachable(seen)) => self.behind = Some(DEGRADED.with(seen, "no error")),
            Err(OpenFailure::Damaged(seen)) => {
                healed.push(DAMAGED.with(&seen, "the last committed state"));
                match self.begin_again(&seen) {
                    Ok(database) => self.database = Some(database),
                    Err(refusal) => self.behind = Some(refusal),
                }
            }
        }
        Ok(self.saved > 0)
    }

    /// The restore unit has put this agent back, and no record knows it yet.
    fn restored(&self) -> bool {
        self.witness_data.components.values().any(|it| it.phase == Phase::Restored)
    }

    fn try_database(&self) -> Result<(Database, Believed), OpenFailure> {
        let database = Database::open(&self.dir.join(DATABASE))?;
        match database.scan().map_err(OpenFailure::from).and_then(|contents| self.judge_contents(contents)) {
            Ok(believed) => Ok((database, believed)),
            Err(verdict) => {
                database.abandon();
                Err(verdict)
            }
        }
    }

    fn judge_contents(&self, contents: Contents) -> Result<Believed, OpenFailure> {
        let believed = read(contents)?;
        let witness_data = &self.witness_data;
        // The witness says that it went on alone from here; a commit that failed may still have reached the disk.
        if witness_data.alone_since.is_some_and(|since| since <= believed.generation) {
            return Ok(believed);
        }
        if believed.generation < witness_data.generation {
            let seen = format!("generation {}, the witness has {}", believed.generation, witness_data.generation);
            return Err(OpenFailure::Damaged(seen));
        }
        for (component, it) in &witness_data.components {
            let seen = believed.records.get(component).map_or(0, |stored| stored.generation);
            if seen < it.generation {
                let seen = format!("generation {seen} of {component}, the witness has {}", it.generation);
                return Err(OpenFailure::Damaged(seen));
            }
        }
        Ok(believed)
    }

    /// Sets the database aside and begins a new one.
    fn begin_again(&mut self, seen: &str) -> Result<Database, Refusal> {
        tracing::warn!(error = seen, "database is damaged; moving it aside and rebuilding it");
        self.read = true;
        self.saved = 0;
        let fresh =
            set_aside(&self.dir, DATABASE).map_err(DatabaseError::from).and_then(|()| Database::open(&self.dir.join(DATABASE)));
        fresh.map_err(|error| DEGRADED.with(format_args!("{error:?}"), "no error"))
    }

    /// Takes over what a database holds: all of it at the start, later what is not known better by now.
    fn take_over(&mut self, believed: Believed) {
        self.read = true;
        self.saved = believed.generation;
        self.generation = self.generation.max(believed.generation).max(self.witness_data.generation);
        self.next = self.next.max(believed.next);
        self.unread.extend(believed.unread);
        for (component, theirs) in believed.records {
            let Some(ours) = self.records.get_mut(&component) else {
                self.records.insert(component, theirs);
                continue;
            };
            // Ours is newer, but it was made from the little that the witness remembers.
            let known = std::mem::take(&mut ours.record.blocked);
            let forgotten = theirs.record.blocked.into_iter().filter(|one| !known.iter().any(|two| two.artifact == one.artifact));
            ours.record.blocked = forgotten.chain(known.clone()).collect();
            ours.record.floor = ours.record.floor.take().max(theirs.record.floor);
            ours.record.last = ours.record.last.take().or(theirs.record.last);
        }
        self.reports.extend(believed.reports);
        self.unsent.extend(believed.unsent);
        for (artifact, cursor) in believed.cursors {
            self.cursors.entry(artifact).or_insert(cursor);
        }
    }

    /// Adds from the witness what it knows better than the database.
    pub(super) fn recall(&mut self, slots: &Slots) {
        self.generation = self.generation.max(self.witness_data.generation);
        if self.saved < self.witness_data.generation {
            // Numbers may have been used that the database does not know of.
            self.next = self.next.max(self.witness_data.reports);
        }
        for (component, it) in &self.witness_data.components {
            match self.records.get_mut(component) {
                Some(stored)
                    if stored.generation >= it.generation
                        && !rebuild::overtaken(&stored.record, it)
                        && !self.unread.contains_key(component) =>
                {
                    stored.record.floor = stored.record.floor.take().max(it.floor.clone());
                }
                older => {
                    let more = older.as_ref().map(|stored| stored.more.clone()).unwrap_or_default();
                    let older = older.map(|stored| stored.record.clone());
                    let active = it.active.as_ref().and_then(|slot| slots.read(component, slot).ok());
                    let record = rebuild::rebuild(component, it, older, active, self.witness_data.trusted_time);
                    self.records.insert(component.clone(), Stored { generation: it.generation, record, more });
                    self.behind.get_or_insert_with(|| DEGRADED.with("a record that only the witness had", "one in the database"));
                }
            }
        }
    }

    /// Only the slots remain: the current release is treated as committed.
    pub(super) fn adopt_current(&mut self, slots: &Slots, healed: &mut Vec<Refusal>) -> Result<(), Refusal> {
        for component in slots.components()? {
            let Ok(Some(current)) = slots.current(&component) else { continue };
            match slots.read(&component, &current) {
                Ok(slot) => {
                    healed.push(ALL_LOST.with(format_args!("{component} runs {current}"), "a record of it"));
                    self.records
                        .insert(component, Stored { generation: 1, record: rebuild::from_slot(&slot), more: Members::new() });
                    self.behind = Some(DEGRADED.with("records that only the slots had", "a database that has them"));
                }
                Err(refusal) => healed.push(refusal),
            }
        }
        if !self.records.is_empty() {
            // The numbers used so far are lost. Nobody has sent a report a second since 1970, so these were not among them.
            let seconds = crate::clock::now().wall.as_second();
            self.next = self.next.max(u64::try_from(seconds).unwrap_or(0));
        }
        Ok(())
    }

    /// Makes the database equal to what is known, if it is behind and can be reached.
    pub(super) fn catch_up(&mut self) {
        if self.behind.is_none() {
            return;
        }
        match self.try_catch_up() {
            Ok(()) => {
                self.behind = None;
                self.witness_all();
            }
            Err(refusal) => {
                tracing::debug!(%refusal, "database could not be brought up to date; retrying");
                self.behind = Some(refusal);
            }
        }
    }

    fn try_catch_up(&mut self) -> Result<(), Refusal> {
        if !self.room.make() {
            return Err(DEGRADED.with("no space", "some hundred kilobytes"));
        }
        if self.database.is_none() {
            self.database = Some(self.reopen()?);
        }
        let Some(there) = self.database.as_ref().map(Database::scan) else { return Ok(()) };
        let there = match there {
            Ok(there) => there,
            Err(error) => return Err(self.give_up(error)),
        };
        let known: BTreeSet<u64> = there.reports.iter().map(|(seq, _)| *seq).chain(self.waiting.keys().copied()).collect();
        self.reports.retain(|seq, _| known.contains(seq));
        self.unsent.retain(|seq| known.contains(seq));

        let generation = self.generation.saturating_add(1);
        let mut changes = Changes::default();
        changes.put(Key::Meta, json(&Meta { format: STORE_FORMAT, generation, next: self.next })?);
        for (component, stored) in &self.records {
            changes.put(Key::Record(component), json(stored)?);
        }
        for (seq, report) in &self.waiting {
            changes.put(Key::Report(*seq), json(report)?);
        }
        known.iter().filter(|seq| !self.reports.contains_key(seq)).for_each(|seq| changes.remove(Key::Report(*seq)));
        there.unsent.difference(&self.unsent).for_each(|seq| changes.remove(Key::Unsent(*seq)));
        self.unsent.difference(&there.unsent).for_each(|seq| changes.put(Key::Unsent(*seq), Vec::new()));
        there.cursors.iter().for_each(|(artifact, _)| changes.remove(Key::Cursor(artifact)));
        self.cursors.iter().for_each(|(artifact, cursor)| changes.put(Key::Cursor(artifact), cursor.json()));
        if let Some(Err(error)) = self.database.as_mut().map(|database| database.apply(changes)) {
            return Err(self.give_up(error));
        }
        (self.generation, self.saved) = (generation, generation);
        self.waiting.clear();
        Ok(())
    }

    /// Does without the database from here on, until it can be opened again.
    pub(super) fn give_up(&mut self, error: DatabaseError) -> Refusal {
        let seen = match error {
            DatabaseError::Full(seen) | DatabaseError::Damaged(seen) | DatabaseError::Failed(seen) => seen,
            DatabaseError::Silent => {
                self.silent_until = Some(crate::clock::now().moment.after(SILENCE_SECS));
                SILENT.to_owned()
            }
        };
        tracing::warn!(error = seen, "database is unusable; continuing on the witness file alone");
        if let Some(database) = self.database.take() {
            database.abandon();
        }
        DEGRADED.with(seen, "no error")
    }

    /// Opens the database again after an error, or late; one that is damaged is set aside.
    fn reopen(&mut self) -> Result<Database, Refusal> {
        if self.silent_until.as_ref().is_some_and(|until| !until.reached(&crate::clock::now().moment)) {
            return Err(DEGRADED.with(SILENT, "no error"));
        }
        match self.try_database() {
            Ok((database, believed)) => {
                if !self.read {
                    self.take_over(believed);
                }
                Ok(database)
            }
            Err(OpenFailure::Newer(refusal)) => Err(refusal),
            Err(OpenFailure::Unreachable(seen)) => {
                if seen == SILENT {
                    self.silent_until = Some(crate::clock::now().moment.after(SILENCE_SECS));
                }
                Err(DEGRADED.with(seen, "no error"))
            }
            Err(OpenFailure::Damaged(seen)) => self.begin_again(&seen),
        }
    }
}

/// Reads what a database holds, or says why it is not believed.
fn read(contents: Contents) -> Result<Believed, OpenFailure> {
    let damaged = |what: &str, error: &dyn std::fmt::Display| OpenFailure::Damaged(format!("{what}: {error}"));
    let mut believed = Believed::default();
    match &contents.meta {
        None if contents.records.is_empty() => return Ok(believed),
        None => return Err(OpenFailure::Damaged("records without a generation".to_owned())),
        Some(bytes) => {
            let meta: Meta = serde_json::from_slice(bytes).map_err(|error| damaged("meta", &error))?;
            known("database", meta.format, STORE_FORMAT)?;
            (believed.generation, believed.next) = (meta.generation, meta.next);
        }
    }
    for (name, bytes) in &contents.records {
        let StoredFormat { record } = serde_json::from_slice(bytes).map_err(|error| damaged(name, &error))?;
        known(name, record.format, RECORD_FORMAT)?;
        let (stored, left_out) = Stored::read(bytes).map_err(|error| damaged(name, &error))?;
        let component: ComponentName = name.parse().map_err(|error: String| damaged(name, &error))?;
        if stored.record.component != component || stored.generation > believed.generation {
            return Err(damaged(name, &"a record of another component or of the future"));
        }
        if left_out.contains(&"state") {
            believed.unread.insert(component.clone(), format!("{name}: parts of its record: {}", left_out.join(", ")));
        }
        believed.records.insert(component, stored);
    }
    for (seq, bytes) in &contents.reports {
        // A report that cannot be read is not worth the records; its number stays used.
        if let Ok(report) = serde_json::from_slice::<Report>(bytes) {
            believed.reports.insert(*seq, ends(&report));
        }
    }
    believed.unsent = contents.unsent.iter().filter(|seq| believed.reports.contains_key(seq)).copied().collect();
    // Nor is a download.
    let cursor = |(artifact, bytes): (_, Vec<u8>)| Some((artifact, serde_json::from_slice(&bytes).ok()?));
    believed.cursors = contents.cursors.into_iter().filter_map(cursor).collect();
    Ok(believed)
}

/// Whether this agent can read what was written in `format`.
fn known(what: &str, format: u32, ours: u32) -> Result<(), OpenFailure> {
    match format.cmp(&ours) {
        Ordering::Equal => Ok(()),
        Ordering::Greater => {
            let seen = format_args!("{what}: format {format}").to_string();
            Err(OpenFailure::Newer(witness::NEWER.with(seen, format_args!("format {ours}"))))
        }
        Ordering::Less => Err(OpenFailure::Damaged(format!("{what}: format {format}, which no agent ever wrote"))),
    }
}

/// Renames what is damaged to `<name>.damaged-<n>`, and keeps the newest few.
fn set_aside(dir: &Path, name: &str) -> io::Result<()> {
    let prefix = format!("{name}.damaged-");
    let mut kept: Vec<u64> = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?.file_name();
        kept.extend(entry.to_str().and_then(|text| text.strip_prefix(&prefix)).and_then(|n| n.parse::<u64>().ok()));
    }
    kept.sort_unstable();
    let next = kept.last().map_or(1, |newest| newest.saturating_add(1));
    match fs::rename(dir.join(name), dir.join(format!("{prefix}{next}"))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    durable::sync_dir(dir)?;
    let surplus = kept.len().saturating_add(1).saturating_sub(EVIDENCE);
    for old in kept.iter().take(surplus) {
        let path = dir.join(format!("{prefix}{old}"));
        if path.is_dir() { durable::remove_tree_durable(&path)? } else { durable::remove_file_durable(&path)? }
    }
    Ok(())
}
