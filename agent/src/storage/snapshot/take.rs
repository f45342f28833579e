//! Backs up configuration and data: all of it under a temporary name, then one rename.

use super::copy::copy;
use super::{
    CHANGED, COMPANIONS, Cut, Database, Entry, FORMAT, Index, KIND, SIZE, SIZE_LIMIT, SnapshotSettings, Stored, beside, io, lock,
    parent,
};
use crate::crashpoint::crashpoint;
use crate::storage::layout::{INDEX, INDEX_DIGEST};
use nix::libc::{O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK};
use slipway_protocol::{Refusal, Sha256};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Puts by what `settings` name, as directory `dir`; an older snapshot of that name is replaced. The component must be stopped.
/// After a cut it can simply be done again.
pub fn take(dir: &Path, settings: &SnapshotSettings) -> Result<(), Refusal> {
    let taken = take_until(dir, settings, &mut |step| {
        let _ = step;
        crashpoint!("take: {step}");
        Ok(())
    });
    if taken.is_err() {
        // Half a snapshot is of no use and the disk may be full. The next one clears it away too.
        fs::remove_dir_all(beside(dir, ".tmp")).ok();
    }
    taken
}

pub(super) fn take_until(dir: &Path, settings: &SnapshotSettings, cut: Cut<'_>) -> Result<(), Refusal> {
    let (new, old) = (beside(dir, ".tmp"), beside(dir, ".old"));
    cut("clear")?;
    clear(&new)?;
    cut("make")?;
    DirBuilder::new().recursive(true).mode(0o700).create(&new).map_err(io("make", &new))?;
    let mut copies = Copies { dir: new.clone(), count: 0, room: SIZE_LIMIT };
    let mut index = Index { format: FORMAT, files: Vec::new(), databases: Vec::new() };
    for path in &settings.files {
        cut("copy")?;
        index.files.push(copies.back_up(path)?);
    }
    for path in &settings.databases {
        cut("copy database")?;
        index.databases.push(copies.database(path)?);
    }
    cut("index")?;
    let text = serde_json::to_vec_pretty(&index).map_err(|error| io("write the index of", dir)(error.into()))?;
    let digest = Sha256::of(&text).to_string();
    for (name, bytes) in [(INDEX, text.as_slice()), (INDEX_DIGEST, digest.as_bytes())] {
        let path = new.join(name);
        let mut file = create(&path)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io("write", &path))?;
    }
    sync(&new)?;
    // A directory is not replaced by one rename: between these two there is no snapshot, and nothing needs one before this returns.
    cut("set aside")?;
    clear(&old)?;
    if dir.symlink_metadata().is_ok() {
        fs::rename(dir, &old).map_err(io("set aside", dir))?;
    }
    cut("rename")?;
    fs::rename(&new, dir).map_err(io("rename", &new))?;
    sync(parent(dir))?;
    cut("clear old")?;
    clear(&old)
}

/// The copies made so far.
struct Copies {
    dir: PathBuf,
    count: u32,
    /// Bytes that may still be added.
    room: u64,
}

impl Copies {
    /// The database is locked from before its first byte is read until its last companion is copied.
    fn database(&mut self, path: &Path) -> Result<Database, Refusal> {
        let locked = open(path, true)?.map(|file| lock::exclusive(file, path)).transpose()?;
        let main = self.back_up(path)?;
        let companions = COMPANIONS.iter().map(|suffix| self.back_up(&beside(path, suffix))).collect::<Result<_, _>>()?;
        drop(locked);
        Ok(Database { main, companions })
    }

    fn back_up(&mut self, path: &Path) -> Result<Entry, Refusal> {
        let Some(mut source) = open(path, false)? else {
            return Ok(Entry { path: path.to_owned(), stored: None });
        };
        let before = source.metadata().map_err(io("inspect", path))?;
        let number = self.count;
        self.count = self.count.saturating_add(1);
        let place = self.dir.join(number.to_string());
        let mut sink = create(&place)?;
        if before.len() > self.room {
            return Err(SIZE.with(
                format_args!("{}: {} bytes, {} left", path.display(), before.len(), self.room),
                format_args!("{SIZE_LIMIT} bytes in all"),
            ));
        }
        let (size, sha256) = copy(&mut source, &mut sink, before.len()).map_err(io("copy", path))?;
        sink.sync_all().map_err(io("sync the copy of", path))?;
        let after = source.metadata().map_err(io("inspect", path))?;
        let print = |found: &fs::Metadata| (found.len(), found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec());
        if size != before.len() || print(&before) != print(&after) {
            return Err(CHANGED.with(path.display(), "the same size and time before and after"));
        }
        self.room = self.room.saturating_sub(size);
        let nanos = u32::try_from(before.mtime_nsec()).unwrap_or(0);
        let (mode, uid, gid) = (before.mode() & 0o7777, before.uid(), before.gid());
        let stored = Stored { copy: number, size, sha256, mode, uid, gid, mtime: (before.mtime(), nanos) };
        Ok(Entry { path: path.to_owned(), stored: Some(stored) })
    }
}

/// Opens a regular file, and nothing else; none when there is none. Without blocking: opening a pipe would wait for its other end.
pub(super) fn open(path: &Path, write: bool) -> Result<Option<File>, Refusal> {
    let kind = match fs::symlink_metadata(path) {
        Ok(found) => found.file_type(),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
        Err(error) => return Err(io("inspect", path)(error)),
    };
    let seen = match kind {
        kind if kind.is_file() => "a regular file",
        kind if kind.is_symlink() => "a symbolic link",
        kind if kind.is_dir() => "a directory",
        kind if kind.is_fifo() => "a pipe",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    };
    let refuse = |seen: &str| KIND.with(format_args!("{}: {seen}", path.display()), "a regular file");
    if !kind.is_file() {
        return Err(refuse(seen));
    }
    let flags = O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    match OpenOptions::new().read(true).write(write).custom_flags(flags).open(path) {
        Ok(file) if file.metadata().map_err(io("inspect", path))?.is_file() => Ok(Some(file)),
        Ok(_) => Err(refuse("a file that was just replaced")),
        Err(error) => Err(io("open", path)(error)),
    }
}

fn create(path: &Path) -> Result<File, Refusal> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io("create", path))
}

/// Makes names in a directory durable.
pub(super) fn sync(dir: &Path) -> Result<(), Refusal> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("sync", dir))
}

fn clear(dir: &Path) -> Result<(), Refusal> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io("clear", dir)(error)),
        _ => Ok(()),
    }
}
