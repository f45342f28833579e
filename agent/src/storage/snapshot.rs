//! Backs up a component's configuration and data before an activation, and restores them on rollback.
//!
//! The component is stopped before either. A database is copied whole, with its companions (`-wal`, `-shm`, `-journal`), under SQLite's
//! own locks ([`lock`]): a process that still has it open makes it a refusal, never a torn copy. Owner, mode and time of a file come back
//! with it; extended attributes do not.
//!
//! A symbolic link, or anything else that is no regular file, is refused: a rename would replace the link rather than the file behind it,
//! and following it would let whoever may write the link choose which file the agent overwrites as root. Links among the parent
//! directories are followed.

mod copy;
mod lock;
mod preflight;
mod restore;
mod take;

pub use preflight::{preflight, preflight_restore};
pub use restore::restore;
pub use take::take;

use crate::storage::durable;
use serde::{Deserialize, Serialize};
use slipway_protocol::{Refusal, Sha256};
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

slipway_protocol::refusals! {
    pub MISSING = "SLW-A-SNAPSHOT-MISSING", System, Device, "snapshot of configuration and data is missing",
        "restore the files by hand from a backup; the binary can be rolled back without them";
    pub DAMAGED = "SLW-A-SNAPSHOT-DAMAGED", System, Device, "snapshot is damaged",
        "check the disk, and restore the files by hand from a backup; nothing was restored";
    pub KIND = "SLW-A-SNAPSHOT-KIND", Configuration, Operator, "path to back up is not a regular file",
        "name the file itself, not a link or a directory, in `files` or `databases`";
    pub SIZE = "SLW-A-SNAPSHOT-SIZE", Configuration, Operator, "files to back up are too large",
        "remove files that a rollback does not need from `files` and `databases`";
    pub BUSY = "SLW-A-DATABASE-BUSY", System, Device, "database is in use by another process",
        "end the process that has it open; the agent tries again";
    pub CHANGED = "SLW-A-SNAPSHOT-CHANGED", System, Device, "file changed while it was backed up",
        "find out what writes it while the component is stopped; list a SQLite database in `databases`";
    pub IO = "SLW-A-SNAPSHOT-IO", System, Device, "disk access for the snapshot failed",
        "check free space, mount options and permissions; the agent tries again";
}

/// The only format of an index there is.
const FORMAT: u32 = 1;
/// Paths of one component at most. Each is a few files and a few syncs while the component is down.
const PATHS_LIMIT: usize = 64;
/// Bytes of one snapshot at most: an edgecore.db is a few megabytes, and the slots share the disk.
const SIZE_LIMIT: u64 = 512 * 1024 * 1024;
/// Largest index that is read: [`PATHS_LIMIT`] entries with their companions and the longest paths fit.
const INDEX_LIMIT: u64 = 2 * 1024 * 1024;
/// What SQLite keeps beside a database. The write-ahead log holds committed transactions and a journal the way back from half of one.
const COMPANIONS: [&str; 3] = ["-journal", "-wal", "-shm"];

/// A component's `snapshot` table.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(try_from = "Written")]
pub struct SnapshotSettings {
    /// Plain files, such as configuration.
    pub files: Vec<PathBuf>,
    /// SQLite databases.
    pub databases: Vec<PathBuf>,
}

/// The table as it is written, before it is known to make sense.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    files: Vec<PathBuf>,
    #[serde(default)]
    databases: Vec<PathBuf>,
}

impl TryFrom<Written> for SnapshotSettings {
    type Error = String;
    fn try_from(written: Written) -> Result<Self, String> {
        let Written { files, databases } = written;
        let all: Vec<(&str, &PathBuf)> =
            files.iter().map(|path| ("files", path)).chain(databases.iter().map(|path| ("databases", path))).collect();
        if all.len() > PATHS_LIMIT {
            return Err(format!("`files` and `databases` name {} paths: expected at most {PATHS_LIMIT}", all.len()));
        }
        let mut seen = std::collections::BTreeSet::new();
        for (key, path) in all {
            let plain = path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
            let clean = path.components().collect::<PathBuf>().as_os_str() == path.as_os_str();
            if !path.is_absolute() || !plain || !clean || path.file_name().is_none() || path.as_os_str().len() > 4096 {
                return Err(format!("`{key}` holds {path:?}: expected the absolute path of a file, without `..`"));
            }
            let companions = if key == "databases" { COMPANIONS.as_slice() } else { &[] };
            for name in std::iter::once(path.clone()).chain(companions.iter().map(|suffix| beside(path, suffix))) {
                if !seen.insert(name.clone()) {
                    return Err(format!("`{key}` names {name:?} a second time; a database's companions belong to it"));
                }
            }
        }
        Ok(Self { files, databases })
    }
}

/// `index.json`: what a snapshot holds.
#[derive(Debug, Deserialize, Serialize)]
struct Index {
    format: u32,
    /// Plain files.
    files: Vec<Entry>,
    /// Databases, each with its companions in the order of [`COMPANIONS`].
    databases: Vec<Database>,
}

/// A database and what SQLite keeps beside it.
#[derive(Debug, Deserialize, Serialize)]
struct Database {
    main: Entry,
    companions: Vec<Entry>,
}

impl Index {
    fn entries(&self) -> impl Iterator<Item = &Entry> {
        let databases = self.databases.iter().flat_map(|database| std::iter::once(&database.main).chain(&database.companions));
        self.files.iter().chain(databases)
    }
}

/// One path.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Entry {
    path: PathBuf,
    /// Nothing when there was no such file: restoring it is removing it.
    stored: Option<Stored>,
}

/// A file in the backup.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Stored {
    /// Number of the copy in the snapshot's directory.
    copy: u32,
    size: u64,
    sha256: Sha256,
    mode: u32,
    uid: u32,
    gid: u32,
    /// Modification time: seconds since 1970 and nanoseconds.
    mtime: (i64, u32),
}

/// The path with something added to its last name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The refusal for a failed system call.
fn io(what: &str, path: &Path) -> impl FnOnce(std::io::Error) -> Refusal {
    let (what, path) = (what.to_owned(), path.to_owned());
    move |error| {
        if durable::is_full(&error) {
            return durable::refusal(&path, &error);
        }
        IO.with(format_args!("{what} {}: {error}", path.display()), "success")
    }
}

/// Called before every step that changes the disk. Tests cut there; nothing else does.
type Cut<'a> = &'a mut dyn FnMut(&str) -> Result<(), Refusal>;

/// The directory that holds `path`.
fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or_else(|| Path::new("/"))
}

#[cfg(test)]
mod tests;
