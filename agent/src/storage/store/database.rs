//! The database: the only file that uses sled, and works around what sled does not guarantee.
//!
//! `flush()` hands bytes to the kernel and no further, so every durable change ends with an fdatasync of what sled wrote. Damage can
//! make it panic, which ends the process: what can be seen from outside is looked at before it opens, and everything is read once
//! while the witness still remembers that an opening is under way.
//!
//! After an I/O error it may wait forever for a write that never happened, even when it is dropped, and with it every other
//! database of the process. So it works on a thread of its own, and one that does not answer is abandoned there; it is never touched
//! again, not even to drop it, and the file gets a successor without its lock.

use crate::storage::durable;
use nix::fcntl::{Flock, FlockArg};
use slipway_protocol::{ComponentName, Sha256};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

/// Bytes of a segment, the unit in which the database grows; also what it keeps in memory for writing.
pub(super) const SEGMENT: usize = 64 * 1024;
/// How sled describes a database made with these settings.
const SETTINGS: &str = "segment_size: 65536\nuse_compression: false\nversion: 0.34\n";
/// How long the agent waits for the database: longer than any disk takes, shorter than a watchdog's patience.
const PATIENCE: Duration = Duration::from_secs(10);
/// Years of commits in a debug build take longer.
const PATIENCE_IN_TESTS: Duration = Duration::from_secs(60);
/// What follows the settings in sled's file: a checksum.
const SETTINGS_CHECKSUM: usize = 4;

/// Why the database could not do it.
#[derive(Debug)]
pub(super) enum DatabaseError {
    /// The disk is full.
    Full(String),
    /// What is there cannot be read.
    Damaged(String),
    /// Anything else: it may be well again later.
    Failed(String),
    /// It did not answer in time, and may never.
    Silent,
}

impl From<sled::Error> for DatabaseError {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<io::Error> for DatabaseError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            _ if durable::is_full(&error) => Self::Full(error.to_string()),
            // What sled says of a page or a blob that should be there and is not.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::NotFound => {
                Self::Damaged(error.to_string())
            }
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// What a value is about. Numbers are big endian, so that the order of keys is theirs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key<'a> {
    /// Format, generation, next number of a report.
    Meta,
    /// A component's record.
    Record(&'a ComponentName),
    /// A report, for outbox and history.
    Report(u64),
    /// Mark of a report that was not acknowledged yet.
    Unsent(u64),
    /// How far a download is on the disk, and what it has cost.
    Cursor(&'a Sha256),
}

const META: &[u8] = b"meta";
const RECORD: &[u8] = b"record/";
const REPORT: &[u8] = b"report/";
const UNSENT: &[u8] = b"unsent/";
const CURSOR: &[u8] = b"cursor/";

impl Key<'_> {
    fn bytes(self) -> Vec<u8> {
        match self {
            Self::Meta => META.to_vec(),
            Self::Record(component) => [RECORD, component.as_str().as_bytes()].concat(),
            Self::Report(seq) => [REPORT, &seq.to_be_bytes()].concat(),
            Self::Unsent(seq) => [UNSENT, &seq.to_be_bytes()].concat(),
            Self::Cursor(artifact) => [CURSOR, &artifact.0].concat(),
        }
    }
}

/// Changes that happen all or not at all.
#[derive(Debug, Default)]
pub(super) struct Changes(sled::Batch);

impl Changes {
    pub(super) fn put(&mut self, key: Key<'_>, value: Vec<u8>) {
        self.0.insert(key.bytes(), value);
    }
    pub(super) fn remove(&mut self, key: Key<'_>) {
        self.0.remove(key.bytes());
    }
}

/// All that is in the database, unjudged.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) meta: Option<Vec<u8>>,
    pub(super) records: Vec<(String, Vec<u8>)>,
    pub(super) reports: Vec<(u64, Vec<u8>)>,
    pub(super) unsent: BTreeSet<u64>,
    pub(super) cursors: Vec<(Sha256, Vec<u8>)>,
}

/// Work for the database's thread.
type Work = Box<dyn FnOnce(&mut Sled) + Send>;

/// The open database. It has a thread of its own: whoever asks waits for a bounded time, whatever sled waits for.
#[derive(Debug)]
pub(super) struct Database {
    work: Sender<Work>,
    /// Hears when the thread has let go of the database.
    over: Receiver<()>,
    /// Whether it ever failed to answer: then nobody waits for it again.
    silent: Cell<bool>,
    /// Whether it must never be touched again, not even to drop it.
    abandoned: Arc<AtomicBool>,
}

impl Database {
    /// Opens or creates it.
    pub(super) fn open(dir: &Path) -> Result<Self, DatabaseError> {
        let (work, orders) = mpsc::channel::<Work>();
        let (ending, over) = mpsc::channel();
        let (answer, opened) = mpsc::channel();
        let abandoned = Arc::new(AtomicBool::new(false));
        let (dir, leave) = (dir.to_owned(), Arc::clone(&abandoned));
        std::thread::Builder::new().name("database".to_owned()).spawn(move || {
            let mut sled = match Sled::open(&dir) {
                Ok(sled) => sled,
                Err(error) => {
                    let _ = answer.send(Err(error));
                    return;
                }
            };
            let _ = answer.send(Ok(()));
            orders.iter().for_each(|work| work(&mut sled));
            if leave.load(Ordering::Relaxed) {
                sled.abandon()
            } else {
                drop(sled)
            }
            let _ = ending.send(());
        })?;
        let database = Self { work, over, silent: Cell::new(false), abandoned };
        match database.wait(&opened) {
            Ok(Ok(())) => Ok(database),
            Ok(Err(error)) | Err(error) => {
                database.abandon();
                Err(error)
            }
        }
    }

    /// Has the thread do something, and waits for it.
    fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Sled) -> Result<T, DatabaseError> + Send + 'static,
    ) -> Result<T, DatabaseError> {
        if self.silent.get() {
            return Err(DatabaseError::Silent);
        }
        let (answer, answered) = mpsc::channel();
        // An order that nobody takes is an answer that nobody gives.
        let _ = self.work.send(Box::new(move |sled| {
            let _ = answer.send(work(sled));
        }));
        self.wait(&answered)?
    }

    fn wait<T>(&self, answered: &Receiver<T>) -> Result<T, DatabaseError> {
        let limit = if cfg!(test) { PATIENCE_IN_TESTS } else { PATIENCE };
        answered.recv_timeout(limit).map_err(|error| {
            self.silent.set(true);
            match error {
                RecvTimeoutError::Timeout => DatabaseError::Silent,
                // Where a panic does not end the process, it ends the thread.
                RecvTimeoutError::Disconnected => DatabaseError::Damaged("sled panicked".to_owned()),
            }
        })
    }

    /// Lets go of a database that met an error, without ever touching it again.
    pub(super) fn abandon(self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }

    /// Reads everything: also to meet damage now and not in the middle of an update.
    pub(super) fn scan(&self) -> Result<Contents, DatabaseError> {
        self.ask(|sled| sled.scan())
    }

    /// One value.
    pub(super) fn get(&self, key: Key<'_>) -> Result<Option<Vec<u8>>, DatabaseError> {
        let key = key.bytes();
        self.ask(move |sled| Ok(sled.db.get(key)?.map(|value| value.to_vec())))
    }

    /// Makes the changes, all or none, durable on return.
    pub(super) fn apply(&mut self, changes: Changes) -> Result<(), DatabaseError> {
        self.ask(|sled| {
            sled.db.apply_batch(changes.0)?;
            sled.flush()
        })
    }

    /// Makes the changes, durable with the next [`Self::apply`] at the latest.
    pub(super) fn apply_lazily(&mut self, changes: Changes) -> Result<(), DatabaseError> {
        self.ask(|sled| Ok(sled.db.apply_batch(changes.0)?))
    }
}

impl Drop for Database {
    /// Whoever opens it next must find it closed.
    fn drop(&mut self) {
        if self.silent.get() || self.abandoned.load(Ordering::Relaxed) {
            return;
        }
        // With the sender the thread's work ends.
        self.work = mpsc::channel().0;
        let _ = self.wait(&self.over);
    }
}

/// sled itself, on the thread that may have to be abandoned with it.
#[derive(Debug)]
struct Sled {
    db: sled::Db,
    /// The file that sled appends to, for fdatasync.
    file: File,
    blobs: PathBuf,
    /// Values too large for a segment, each a file of its own, that are known to be durable.
    synced: BTreeSet<OsString>,
}

impl Sled {
    fn open(dir: &Path) -> Result<Self, DatabaseError> {
        look(dir)?;
        unlock(dir)?;
        let config = sled::Config::new()
            .path(dir)
            .mode(sled::Mode::LowSpace)
            .segment_size(SEGMENT)
            .cache_capacity(1024 * 1024)
            .flush_every_ms(None)
            .print_profile_on_drop(false);
        let db = config.open()?;
        let file = File::options().read(true).write(true).open(dir.join("db"))?;
        let mut sled = Self { db, file, blobs: dir.join("blobs"), synced: BTreeSet::new() };
        if let Err(error) = sled.flush() {
            sled.abandon();
            return Err(error);
        }
        // Once at the beginning for what opening created: the names of its files.
        durable::sync_dir(dir)?;
        if let Ok(settings) = File::open(dir.join("conf")) {
            settings.sync_all()?;
        }
        Ok(sled)
    }

    fn abandon(self) {
        std::mem::forget(self.db);
    }

    fn scan(&self) -> Result<Contents, DatabaseError> {
        let mut contents = Contents::default();
        let strange = |key: &[u8]| DatabaseError::Damaged(format!("a key {:?}", String::from_utf8_lossy(key)));
        for entry in self.db.iter() {
            let (key, value) = entry?;
            let number = |bytes: &[u8]| bytes.try_into().map(u64::from_be_bytes).map_err(|_| strange(&key));
            if &*key == META {
                contents.meta = Some(value.to_vec());
            } else if let Some(name) = key.strip_prefix(RECORD) {
                contents.records.push((String::from_utf8_lossy(name).into_owned(), value.to_vec()));
            } else if let Some(seq) = key.strip_prefix(REPORT) {
                contents.reports.push((number(seq)?, value.to_vec()));
            } else if let Some(seq) = key.strip_prefix(UNSENT) {
                contents.unsent.insert(number(seq)?);
            } else if let Some(artifact) = key.strip_prefix(CURSOR) {
                let artifact = artifact.try_into().map(Sha256).map_err(|_| strange(&key))?;
                contents.cursors.push((artifact, value.to_vec()));
            }
            // Anything else is a newer agent's, and stays where it is. sled's checksums tell damage.
        }
        Ok(contents)
    }

    fn flush(&mut self) -> Result<(), DatabaseError> {
        self.db.flush()?;
        let mut there = BTreeSet::new();
        for entry in fs::read_dir(&self.blobs)? {
            there.insert(entry?.file_name());
        }
        // sled syncs none of these either; a blob is never changed, so each is synced once.
        let mut fresh = false;
        for name in there.difference(&self.synced) {
            match File::open(self.blobs.join(name)) {
                Ok(blob) => blob.sync_all()?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
            fresh = true;
        }
        if fresh {
            durable::sync_dir(&self.blobs)?;
        }
        self.synced = there;
        Ok(self.file.sync_data()?)
    }
}

/// Sees to it that the file is not locked. Other processes are kept out by the store's own lock, so whoever holds this one is
/// an abandoned database of this process, or what remains of one for a moment after its end: the file gets a successor.
fn unlock(dir: &Path) -> Result<(), DatabaseError> {
    let (path, copy) = (dir.join("db"), dir.join("db.copy"));
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    if Flock::lock(file, FlockArg::LockExclusiveNonblock).is_ok() {
        return Ok(());
    }
    fs::copy(&path, &copy)?;
    File::open(&copy)?.sync_all()?;
    fs::rename(&copy, &path)?;
    Ok(durable::sync_dir(dir)?)
}

/// What can be seen of a database without opening it. sled ends the process over some of these.
fn look(dir: &Path) -> Result<(), DatabaseError> {
    let damaged = |what: String| Err(DatabaseError::Damaged(what));
    let length = |name: &str| match fs::metadata(dir.join(name)) {
        Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
        Ok(_) => Err(DatabaseError::Damaged(format!("{name} is not a file"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    };
    match fs::read(dir.join("conf")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
        // Created and not yet on the disk when the power went: sled writes it again.
        Ok(bytes) if bytes.len() <= 8 => {}
        Ok(bytes) => {
            let text = bytes.split_last_chunk::<SETTINGS_CHECKSUM>().map_or(&*bytes, |(text, _)| text);
            if text != SETTINGS.as_bytes() {
                return damaged(format!("other settings: {}", String::from_utf8_lossy(text)));
            }
        }
    }
    let file = length("db")?.unwrap_or(0);
    let mut snapshots = Vec::new();
    match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
        Ok(entries) => {
            for entry in entries {
                let name = entry?.file_name();
                let text = name.to_string_lossy();
                if text.ends_with(".generating") {
                    // A snapshot cut short while it was written. sled would read it as the newest and refuse everything.
                    fs::remove_file(dir.join(&name))?;
                } else if text.starts_with("snap.") {
                    snapshots.push(name);
                }
            }
        }
    }
    snapshots.sort();
    // The newest is the one that sled reads.
    let Some(newest) = snapshots.last() else { return Ok(()) };
    let bytes = fs::read(dir.join(newest))?;
    let Some((body, wanted)) = bytes.split_last_chunk::<4>() else { return damaged("an empty snapshot".to_owned()) };
    let Some((body, _length)) = body.split_last_chunk::<8>() else { return damaged("a short snapshot".to_owned()) };
    let mut checksum = flate2::Crc::new();
    checksum.update(body);
    if checksum.sum() != u32::from_le_bytes(*wanted) {
        return damaged("a snapshot with a wrong checksum".to_owned());
    }
    if file == 0 && !body.is_empty() {
        return damaged("a snapshot and no data".to_owned());
    }
    Ok(())
}
