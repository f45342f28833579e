//! Which files were read in this run, and how to see that they have not changed since.
//!
//! A file that was hashed is not hashed again while its stamp stays: device, inode, size,
//! modification and change time. The modification time can be set to any value by a process
//! that may write the file; the change time only by the kernel, which sets it at every write, rename,
//! truncation and change of owner or mode. What is remembered is in memory alone: after a restart
//! or a power cut everything is read again. See docs/decisions/0022-one-pass.md.

use crate::clock;
use slipway_machine::time::Moment;
use slipway_protocol::Sha256;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Files remembered: a few slots and downloads per component.
const MOST: usize = 64;
/// How long what was read counts: nothing that was true once is used without a limit of time.
const COUNTS_SECS: u64 = 3600;
/// The kernel's clock for files moves 100 to 1000 times a second.
const TICK: Duration = Duration::from_millis(4);
/// Ticks to wait for at most.
const TICKS: u32 = 8;
/// What a file system's times may be coarser than the kernel's clock, in nanoseconds: ext4 with
/// small inodes counts whole seconds.
const WHOLE_SECONDS: i128 = 2_000_000_000;

/// What tells a file from every other, and from itself before a change.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    /// Nanoseconds since 1970.
    modified: i128,
    changed: i128,
}

impl Stamp {
    /// The stamp of an open file.
    ///
    /// # Errors
    /// The file system does not say.
    pub fn of(file: &File) -> io::Result<Self> {
        file.metadata().map(|found| Self::from(&found))
    }

    /// Whether `later` is the same file with the same content after a rename or change of mode of
    /// our own, which the kernel marks in the change time.
    #[must_use]
    pub fn is_renamed(&self, later: &Self) -> bool {
        *self == Self { changed: self.changed, ..*later } && later.changed >= self.changed
    }

    /// Whether every later change gets another stamp: not so within the tick of the last change.
    fn is_final(&self) -> bool {
        let coarse = self.changed.rem_euclid(1_000_000_000) == 0;
        let least = if coarse { self.changed.saturating_add(WHOLE_SECONDS) } else { self.changed };
        clock::of_files() > least
    }
}

impl From<&Metadata> for Stamp {
    fn from(found: &Metadata) -> Self {
        let nanos = |secs: i64, nanos: i64| i128::from(secs).saturating_mul(1_000_000_000).saturating_add(i128::from(nanos));
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: nanos(found.mtime(), found.mtime_nsec()),
            changed: nanos(found.ctime(), found.ctime_nsec()),
        }
    }
}

/// Files that were hashed in this run. Clones share what they remember.
#[derive(Clone, Debug, Default)]
pub struct VerifiedFiles(Arc<Mutex<Vec<Verified>>>);

#[derive(Clone, Debug)]
struct Verified {
    stamp: Stamp,
    digest: Sha256,
    at: Moment,
}

impl VerifiedFiles {
    /// Remembers that a file with this stamp was read or written just now and has this digest. May wait for the next tick of the clock
    /// for files; on a file system whose times are too coarse nothing is remembered. Blocks.
    pub fn remember(&self, stamp: Stamp, digest: Sha256) {
        for _ in 0..TICKS {
            if stamp.is_final() {
                let at = clock::now().moment;
                self.with(|files| {
                    files.retain(|file| (file.stamp.device, file.stamp.inode) != (stamp.device, stamp.inode));
                    if files.len() >= MOST {
                        files.remove(0);
                    }
                    files.push(Verified { stamp, digest, at });
                });
                return;
            }
            std::thread::sleep(TICK);
        }
    }

    /// Whether a file with this stamp was read or written in this run, not long ago, and had this digest.
    #[must_use]
    pub fn knows(&self, stamp: &Stamp, digest: &Sha256) -> bool {
        let now = clock::now().moment;
        let counts = |file: &Verified| !file.at.after(COUNTS_SECS).reached(&now);
        self.with(|files| files.iter().any(|file| file.stamp == *stamp && file.digest == *digest && counts(file)))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Vec<Verified>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::{Seek, Write};
    use std::os::unix::fs::PermissionsExt;
    use std::time::SystemTime;

    /// Each way to change a file, its modification time set back where that is possible. Seen to fail without the change time, in the
    /// rows that set the modification time back.
    #[test]
    fn whatever_changes_a_file_changes_its_stamp() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let put_back = |file: &File, at: SystemTime| file.set_modified(at).unwrap();
        type Change = fn(&std::path::Path, &dyn Fn(&File));
        let changes: [(&str, Change); 6] = [
            ("written into, time set back", |path, put_back| {
                let mut file = File::options().write(true).open(path).unwrap();
                file.write_all(b"X").unwrap();
                put_back(&file);
            }),
            ("mode", |path, _| fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap()),
            ("renamed away and back", |path, _| {
                fs::rename(path, path.with_extension("away")).unwrap();
                fs::rename(path.with_extension("away"), path).unwrap();
            }),
            ("replaced, time set back", |path, put_back| {
                let new = path.with_extension("new");
                fs::write(&new, b"content").unwrap();
                put_back(&File::options().write(true).open(&new).unwrap());
                fs::rename(new, path).unwrap();
            }),
            ("cut and filled again, time set back", |path, put_back| {
                let mut file = File::options().write(true).open(path).unwrap();
                file.set_len(0).unwrap();
                file.rewind().unwrap();
                file.write_all(b"content").unwrap();
                put_back(&file);
            }),
            ("linked", |path, _| fs::hard_link(path, path.with_extension("link")).unwrap()),
        ];
        for (how, change) in changes {
            fs::write(&path, b"content").unwrap();
            let (files, digest) = (VerifiedFiles::default(), Sha256::of(b"content"));
            let before = File::open(&path).unwrap();
            let (stamp, modified) = (Stamp::of(&before).unwrap(), before.metadata().unwrap().modified().unwrap());
            files.remember(stamp, digest);
            assert!(files.knows(&Stamp::of(&File::open(&path).unwrap()).unwrap(), &digest), "{how}: unchanged");
            assert!(!files.knows(&stamp, &Sha256::of(b"other")), "another digest");
            change(&path, &|file| put_back(file, modified));
            assert!(!files.knows(&Stamp::of(&File::open(&path).unwrap()).unwrap(), &digest), "{how}");
        }
    }

    #[test]
    fn a_rename_is_distinguished_from_a_write() {
        let stamp = Stamp { device: 1, inode: 2, size: 3, modified: 4, changed: 5 };
        for (later, renamed) in [
            (Stamp { changed: 6, ..stamp }, true),
            (stamp, true),
            (Stamp { changed: 4, ..stamp }, false),
            (Stamp { changed: 6, modified: 6, ..stamp }, false),
            (Stamp { changed: 6, size: 4, ..stamp }, false),
            (Stamp { changed: 6, inode: 3, ..stamp }, false),
            (Stamp { changed: 6, device: 2, ..stamp }, false),
        ] {
            assert_eq!(stamp.is_renamed(&later), renamed, "{later:?}");
        }
    }

    /// A clock that stands behind the file's times is no clock to tell changes by.
    #[test]
    fn what_was_changed_in_this_tick_or_in_the_future_is_not_remembered() {
        let (files, digest) = (VerifiedFiles::default(), Sha256::of(b""));
        let ahead = Stamp { device: 1, inode: 2, size: 0, modified: 0, changed: clock::of_files() + 3_600_000_000_001 };
        files.remember(ahead, digest);
        assert!(!files.knows(&ahead, &digest));
        let now = clock::of_files();
        let whole_second = Stamp { changed: now - now.rem_euclid(1_000_000_000), ..ahead };
        files.remember(whole_second, digest);
        assert!(!files.knows(&whole_second, &digest), "a file system that counts seconds");
    }

    #[test]
    fn it_remembers_a_bounded_number() {
        let files = VerifiedFiles::default();
        let stamp = |inode| Stamp { device: 1, inode, size: 0, modified: 0, changed: 1 };
        for inode in 0..=MOST as u64 {
            files.remember(stamp(inode), Sha256::of(b""));
        }
        assert!(!files.knows(&stamp(0), &Sha256::of(b"")));
        assert!(files.knows(&stamp(1), &Sha256::of(b"")) && files.knows(&stamp(MOST as u64), &Sha256::of(b"")));
        assert_eq!(files.0.lock().unwrap().len(), MOST);
    }
}
