//! The part file: as much of an artifact as has arrived, hashed as it is written. Blocking; `sink` keeps it off the event loop.
//!
//! One process writes a part at a time: the file is locked, because the writer of a dropped download may still be finishing its
//! last block when the next download of the same artifact begins.

use super::{Download, checks};
use crate::storage::durable;
use crate::storage::hash::WriteHash;
use crate::storage::layout;
use crate::storage::stamp::VerifiedFiles;
use nix::fcntl::{Flock, FlockArg};
use sha2::Digest;
use slipway_protocol::{Refusal, Sha256, Sha512};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use url::Url;

/// Bytes read at a time.
const BUFFER: usize = 128 * 1024;
/// Bytes after which the disk is given work.
const WRITEBACK: u64 = 8 * 1024 * 1024;

pub(super) struct PartFile {
    file: Flock<File>,
    path: PathBuf,
    /// Durable bytes on disk that are still to be hashed before anything is appended.
    trusted: u64,
    /// Bytes written and hashed.
    len: u64,
    /// Of those, bytes that survive a power cut.
    synced: u64,
    /// Bytes that were there and were cut off.
    cut: u64,
    size: u64,
    written: WriteHash,
    sha512: Option<sha2::Sha512>,
    wanted: (Sha256, Option<Sha512>),
    /// Bytes of which the kernel knows that they are to be written to the disk.
    writing: u64,
    verified: VerifiedFiles,
    /// For what is read: kept, since another thread may go on with it and would have one of its own.
    buffer: Vec<u8>,
}

impl PartFile {
    /// Opens the part file, creates it if there is none, and cuts off what may not have survived a power cut.
    pub(super) fn open(what: &Download) -> Result<Self, Refusal> {
        let failed = |error| durable::refusal(&what.part, &error);
        let file = open_locked(&what.part).map_err(failed)?;
        let found = file.metadata().map_err(failed)?.len();
        let trusted = what.trusted_offset.min(found).min(what.size);
        if found > trusted {
            file.set_len(trusted).map_err(failed)?;
        }
        let written = WriteHash::new(&file).map_err(failed)?;
        Ok(Self {
            file,
            path: what.part.clone(),
            trusted,
            len: 0,
            synced: 0,
            cut: found.saturating_sub(trusted),
            size: what.size,
            written,
            sha512: what.sha512.map(|_| sha2::Sha512::default()),
            wanted: (what.sha256, what.sha512),
            writing: trusted,
            verified: what.verified.clone(),
            buffer: Vec::new(),
        })
    }

    /// Hashes up to `budget` bytes of what is already there; says whether that was the last of it.
    pub(super) fn rehash(&mut self, budget: u64) -> Result<bool, Refusal> {
        let until = self.trusted.min(self.len.saturating_add(budget));
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(BUFFER, 0);
        while self.len < until {
            let left = usize::try_from(until.saturating_sub(self.len)).unwrap_or(usize::MAX).min(buffer.len());
            let window = buffer.get_mut(..left).unwrap_or_default();
            let read = self.file.read(window).map_err(|error| durable::refusal(&self.path, &error))?;
            let Some(bytes) = window.get(..read).filter(|bytes| !bytes.is_empty()) else {
                // Shorter than a moment ago: what is hashed is what there is.
                self.trusted = self.len;
                break;
            };
            self.written.update(bytes);
            self.count(bytes);
        }
        self.buffer = buffer;
        self.synced = self.len;
        Ok(self.len >= self.trusted)
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn synced(&self) -> u64 {
        self.synced
    }

    /// Bytes that had come after the last checkpoint, and have to come again.
    pub(super) fn cut(&self) -> u64 {
        self.cut
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.written.append(&self.file, bytes).map_err(|error| durable::refusal(&self.path, &error))?;
        self.count(bytes);
        Ok(())
    }

    /// Appends `bytes` bytes, which `read` puts into a buffer from a position on.
    pub(super) fn fill(
        &mut self,
        bytes: u64,
        mut read: impl FnMut(&mut [u8], u64) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(BUFFER, 0);
        let until = self.len.saturating_add(bytes);
        while self.len < until {
            let left = usize::try_from(until.saturating_sub(self.len)).unwrap_or(usize::MAX).min(buffer.len());
            let window = buffer.get_mut(..left).unwrap_or_default();
            read(window, self.len)?;
            self.append(window)?;
        }
        self.buffer = buffer;
        self.begin_writeback();
        Ok(())
    }

    /// Has the disk work while more arrives: what is left for the end is little.
    pub(super) fn begin_writeback(&mut self) {
        if self.len.saturating_sub(self.writing) >= WRITEBACK {
            durable::begin_writeback(&self.file, self.writing, self.len);
            self.writing = self.len;
        }
    }

    fn count(&mut self, bytes: &[u8]) {
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
        self.len = self.len.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    }

    pub(super) fn sync(&mut self) -> Result<(), Refusal> {
        if self.synced < self.len {
            self.file.sync_data().map_err(|error| durable::refusal(&self.path, &error))?;
            self.synced = self.len;
        }
        Ok(())
    }

    /// Forgets everything: the next byte is the file's first.
    pub(super) fn reset(&mut self) -> Result<(), Refusal> {
        let emptied = self.file.set_len(0).and_then(|()| self.file.seek(SeekFrom::Start(0)));
        self.written = emptied.and_then(|_| WriteHash::new(&self.file)).map_err(|error| durable::refusal(&self.path, &error))?;
        (self.trusted, self.len, self.synced, self.writing) = (0, 0, 0, 0);
        self.sha512 = self.sha512.as_ref().map(|_| sha2::Sha512::default());
        self.forget_tag();
        Ok(())
    }

    /// Takes the disk space now, so that a full disk is found before the traffic is paid for.
    pub(super) fn reserve(&mut self) -> Result<(), Refusal> {
        let (from, to) = (self.len, self.size);
        let reserved = self.written.change(&self.file, |file| durable::preallocate(file, from, to));
        reserved.map_err(|error| durable::refusal(&self.path, &error))
    }

    /// Makes the whole file durable and compares its digests.
    pub(super) fn finish(&mut self) -> Result<(), Finish> {
        let disk = |error: io::Error| Finish::Disk(durable::refusal(&self.path, &error));
        self.file.sync_all().and_then(|()| durable::sync_dir(directory(&self.path))).map_err(disk)?;
        let (seen, stamp) = self.written.clone().finish(&self.file).map_err(disk)?;
        if stamp.is_none() {
            return Err(Finish::Disturbed);
        }
        let (wanted, wanted512) = self.wanted;
        if seen != wanted {
            return Err(Finish::Differs(checks::DIGEST.with(format_args!("sha256:{seen}"), format_args!("sha256:{wanted}"))));
        }
        if let (Some(hasher), Some(wanted)) = (self.sha512.take(), wanted512) {
            let seen = Sha512(hasher.finalize().into());
            if seen != wanted {
                return Err(Finish::Differs(checks::DIGEST.with(format_args!("sha512:{seen}"), format_args!("sha512:{wanted}"))));
            }
        }
        self.forget_tag();
        if let Some(stamp) = stamp {
            self.verified.remember(stamp, seen);
        }
        Ok(())
    }

    /// Begins to hash from the start what is in the file, whatever wrote it.
    pub(super) fn doubt(&mut self) -> Result<(), Refusal> {
        let rewound = self.file.seek(SeekFrom::Start(0)).and_then(|_| WriteHash::new(&self.file));
        self.written = rewound.map_err(|error| durable::refusal(&self.path, &error))?;
        (self.trusted, self.len) = (self.size, 0);
        self.sha512 = self.wanted.1.map(|_| sha2::Sha512::default());
        Ok(())
    }

    /// Removes the file and what was remembered about it.
    pub(super) fn discard(&self) -> Result<(), Refusal> {
        self.forget_tag();
        durable::remove_file_durable(&self.path).map_err(|error| durable::refusal(&self.path, &error))
    }

    /// The strong entity tag with which `url` served what is here.
    pub(super) fn tag(&self, url: &Url) -> Option<String> {
        let text = fs::read_to_string(tag_path(&self.path)).ok()?;
        let (from, tag) = text.split_once('\n')?;
        let tag = super::resume::strong(tag.trim_end())?;
        (from == url.as_str()).then(|| tag.to_owned())
    }

    /// Remembers it. Without a tag a resumed download costs at most a second one, so failing to is no failure.
    pub(super) fn remember_tag(&self, url: &Url, tag: &str) {
        if self.tag(url).as_deref() == Some(tag) {
            return;
        }
        if let Err(error) = durable::write_cache(&tag_path(&self.path), format!("{url}\n{tag}\n").as_bytes(), 0o600) {
            tracing::debug!(path = %self.path.display(), %error, "entity tag not stored");
        }
    }

    fn forget_tag(&self) {
        let _ = fs::remove_file(tag_path(&self.path));
    }
}

/// Why a complete file was not accepted.
pub(super) enum Finish {
    /// It could not be made durable.
    Disk(Refusal),
    /// It is another file than the authorised one.
    Differs(Refusal),
    /// Somebody else has changed it while it was written, so that it must be read.
    Disturbed,
}

/// Opens, creates and locks. Whoever had the lock may have removed the file: then the lock is on nothing and the name is free.
fn open_locked(path: &Path) -> io::Result<Flock<File>> {
    loop {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        let named = fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()));
        let locked = file.metadata()?;
        if named.is_ok_and(|named| named == (locked.dev(), locked.ino())) {
            return Ok(file);
        }
    }
}

/// `<part>.etag`.
fn tag_path(part: &Path) -> PathBuf {
    let mut name = OsString::from(part);
    name.push(layout::ETAG_SUFFIX);
    name.into()
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
