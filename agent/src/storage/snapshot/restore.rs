//! Restores configuration and data from a backup.
//!
//! The backup is only read, so after a power cut at any step all of it can be repeated.

use super::copy::copy;
use super::lock::{self, ExclusiveLock};
use super::take::{open, sync};
use super::{Cut, DAMAGED, Database, Entry, FORMAT, INDEX_LIMIT, Index, MISSING, Stored, io, parent};
use crate::crashpoint::crashpoint;
use crate::storage::durable;
use crate::storage::layout::{INDEX, INDEX_DIGEST};
use slipway_protocol::{Refusal, Sha256};
use std::fs::{self, File, FileTimes, OpenOptions, Permissions};
use std::io::{ErrorKind, Read, sink};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Makes every file of the snapshot `dir` what it was when it was taken: content, owner, mode and time; files that were not there are
/// removed. The component must be stopped. Nothing is touched unless the whole snapshot is intact and every database is free.
pub fn restore(dir: &Path) -> Result<(), Refusal> {
    restore_until(dir, &mut |step| {
        let _ = step;
        crashpoint!("restore: {step}");
        Ok(())
    })
}

pub(super) fn restore_until(dir: &Path, cut: Cut<'_>) -> Result<(), Refusal> {
    let index = read_index(dir)?;
    for entry in index.entries() {
        if let Some(stored) = &entry.stored {
            check(dir, stored)?;
        }
    }
    let mut locks = Vec::new();
    for database in &index.databases {
        locks.extend(present(&database.main.path)?);
    }
    for database in &index.databases {
        restore_database(dir, database, &mut locks, cut)?;
    }
    for entry in &index.files {
        bring_back(dir, entry, false, cut)?;
    }
    Ok(())
}

/// First everything that is beside the present database goes away, then the database comes back, then what was beside it: at no step is a
/// newer write-ahead log or journal beside an older database, which SQLite would play into it.
fn restore_database(dir: &Path, database: &Database, locks: &mut Vec<ExclusiveLock>, cut: Cut<'_>) -> Result<(), Refusal> {
    for companion in &database.companions {
        remove(&companion.path, cut)?;
    }
    // Locked before it has its name, so that nobody opens it while its companions are missing.
    locks.extend(bring_back(dir, &database.main, true, cut)?);
    for companion in &database.companions {
        bring_back(dir, companion, false, cut)?;
    }
    Ok(())
}

/// Locks the database that is there now, if it is one: what a release put in its place otherwise is replaced all the same.
fn present(path: &Path) -> Result<Option<ExclusiveLock>, Refusal> {
    if !fs::symlink_metadata(path).is_ok_and(|found| found.is_file()) {
        return Ok(None);
    }
    open(path, true)?.map(|file| lock::exclusive(file, path)).transpose()
}

/// Makes one path what it was; a file that is to be locked is returned so. Where there is no room for both, what is there now goes first if
/// that makes enough: the backup is still there, and the machine orders it again until it is done.
fn bring_back(dir: &Path, entry: &Entry, locked: bool, cut: Cut<'_>) -> Result<Option<ExclusiveLock>, Refusal> {
    match replace(dir, entry, locked, cut) {
        Err(refusal) if durable::is_no_room(&refusal) && makes_room(entry) => {
            let new = temporary(&entry.path);
            fs::remove_file(&new).ok();
            remove(&entry.path, cut)?;
            replace(dir, entry, locked, cut)
        }
        replaced => replaced,
    }
}

/// Whether what is there now takes as much room as what is to come.
fn makes_room(entry: &Entry) -> bool {
    let room = entry.path.symlink_metadata().ok().filter(fs::Metadata::is_file).map(|found| found.blocks().saturating_mul(512));
    room >= entry.stored.as_ref().map(|stored| stored.size)
}

fn replace(dir: &Path, entry: &Entry, locked: bool, cut: Cut<'_>) -> Result<Option<ExclusiveLock>, Refusal> {
    let path = &entry.path;
    let Some(stored) = &entry.stored else {
        remove(path, cut)?;
        return Ok(None);
    };
    cut("write")?;
    fs::create_dir_all(parent(path)).map_err(io("make the directory of", path))?;
    let new = temporary(path);
    match fs::remove_file(&new) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(io("remove", &new)(error)),
        _ => {}
    }
    let mut file =
        OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&new).map_err(io("create", &new))?;
    let source = dir.join(stored.copy.to_string());
    let mut copied = File::open(&source).map_err(io("open", &source))?;
    expect(&source, stored, copy(&mut copied, &mut file, stored.size).map_err(io("write", &new))?)?;
    cut("attributes")?;
    // The owner first: changing it takes set-user-id bits away.
    fchown(&file, Some(stored.uid), Some(stored.gid)).map_err(io("set the owner of", &new))?;
    file.set_permissions(Permissions::from_mode(stored.mode)).map_err(io("set the mode of", &new))?;
    file.set_times(FileTimes::new().set_modified(modified(stored))).map_err(io("set the time of", &new))?;
    file.sync_all().map_err(io("sync", &new))?;
    let held = if locked { Some(lock::exclusive(file, &new)?) } else { None };
    cut("rename")?;
    fs::rename(&new, path).map_err(io("replace", path))?;
    cut("sync")?;
    sync(parent(path))?;
    Ok(held)
}

fn remove(path: &Path, cut: Cut<'_>) -> Result<(), Refusal> {
    cut("remove")?;
    match fs::remove_file(path) {
        Ok(()) => sync(parent(path)),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(()),
        Err(error) => Err(io("remove", path)(error)),
    }
}

/// Beside the file, so that the rename stays on one file system; hidden, so that no `*.yaml` finds it.
pub(super) fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.slipway"))
}

fn modified(stored: &Stored) -> SystemTime {
    let (secs, nanos) = stored.mtime;
    let whole = Duration::from_secs(secs.unsigned_abs());
    let base = if secs < 0 { SystemTime::UNIX_EPOCH.checked_sub(whole) } else { SystemTime::UNIX_EPOCH.checked_add(whole) };
    base.and_then(|base| base.checked_add(Duration::from_nanos(nanos.into()))).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// Reads the index, if it is what was written.
pub(super) fn read_index(dir: &Path) -> Result<Index, Refusal> {
    let path = dir.join(INDEX);
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(INDEX_LIMIT).read_to_end(&mut bytes));
    match read {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(MISSING.with(format_args!("no {}", dir.display()), "a snapshot"));
        }
        read => read.map_err(io("read", &path))?,
    };
    let wanted = fs::read_to_string(dir.join(INDEX_DIGEST)).unwrap_or_default();
    let seen = Sha256::of(&bytes);
    if wanted.trim() != seen.to_string() {
        return Err(DAMAGED.with(format_args!("{}: SHA-256 {seen}", path.display()), wanted.trim()));
    }
    let index: Index =
        serde_json::from_slice(&bytes).map_err(|error| DAMAGED.with(format_args!("{}: {error}", path.display()), "an index"))?;
    if index.format != FORMAT {
        return Err(DAMAGED.with(format_args!("{}: format {}", path.display(), index.format), format_args!("format {FORMAT}")));
    }
    Ok(index)
}

/// A stored copy against the index.
fn check(dir: &Path, stored: &Stored) -> Result<(), Refusal> {
    let path = dir.join(stored.copy.to_string());
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(DAMAGED.with(format_args!("{} is missing", path.display()), stored.sha256));
        }
        file => file.map_err(io("open", &path))?,
    };
    expect(&path, stored, copy(&mut file, &mut sink(), stored.size).map_err(io("read", &path))?)
}

fn expect(path: &Path, stored: &Stored, seen: (u64, Sha256)) -> Result<(), Refusal> {
    if seen == (stored.size, stored.sha256) {
        return Ok(());
    }
    let seen = format_args!("{}: {} bytes, SHA-256 {}", path.display(), seen.0, seen.1).to_string();
    Err(DAMAGED.with(seen, format_args!("{} bytes, SHA-256 {}", stored.size, stored.sha256)))
}
