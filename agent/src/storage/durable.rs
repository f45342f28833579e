//! Durable changes to the file system: what a function here did survives a power cut.
//!
//! Every change is made under a temporary name, synced, renamed, and the directory synced. A crash leaves at most files whose
//! names begin with [`TEMPORARY`]; the next write of the same file replaces its own, [`sweep`] removes the rest.

use crate::crashpoint::crashpoint;
use rustix::fs::{Advice, FallocateFlags, fadvise, fallocate, statvfs};
use rustix::io::Errno;
use slipway_protocol::Refusal;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How the names of unfinished files begin.
pub const TEMPORARY: &str = ".slipway-tmp.";

slipway_protocol::refusals! {
    FULL = "SLW-A-DISK-FULL", System, Device, "disk is full",
        "free space on the file system of the path named; the agent continues automatically";
    READ_ONLY = "SLW-A-DISK-READ-ONLY", System, Device, "file system is read-only",
        "check dmesg, then remount or replace the disk: the kernel makes a file system read-only when the disk fails";
    FAILED = "SLW-A-DISK-IO", System, Device, "reading or writing the disk failed",
        "check the error and dmesg, and that the path's owner and permissions are as installed";
}

/// What an I/O error on `path` means to the one who must act.
#[must_use]
pub fn refusal(path: &Path, error: &io::Error) -> Refusal {
    let (check, wanted) = match DiskFault::from(error) {
        DiskFault::Full => (FULL, "free space"),
        DiskFault::ReadOnly => (READ_ONLY, "a file system mounted read-write"),
        DiskFault::Failed => (FAILED, "no error"),
    };
    check.with(format_args!("{}: {error}", path.display()), wanted)
}

/// What the disk did wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DiskFault {
    /// There is no room.
    Full,
    /// It takes nothing.
    ReadOnly,
    /// It does not return what is on it, or failed in another way.
    Failed,
}

impl From<&io::Error> for DiskFault {
    fn from(error: &io::Error) -> Self {
        if is_full(error) {
            Self::Full
        } else if error.kind() == io::ErrorKind::ReadOnlyFilesystem {
            Self::ReadOnly
        } else {
            Self::Failed
        }
    }
}

impl DiskFault {
    /// Of a refusal by [`refusal`]; `None` of all others.
    #[must_use]
    pub fn of(refusal: &Refusal) -> Option<Self> {
        refusal.find(&[(FULL, Self::Full), (READ_ONLY, Self::ReadOnly), (FAILED, Self::Failed)])
    }
}

/// Whether a refusal says that there is no room on the disk.
#[must_use]
pub fn is_no_room(refusal: &Refusal) -> bool {
    DiskFault::of(refusal) == Some(DiskFault::Full)
}

/// Whether it failed for want of space, by whichever of the kernel's three names for that.
#[must_use]
pub fn is_full(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT)) || error.kind() == io::ErrorKind::StorageFull
}

/// Makes `bytes` the content of `path`, with exactly `mode`, all or nothing.
///
/// # Errors
/// Any of the steps; `path` is then as it was.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    replace(path, |temporary| write_new(temporary, bytes, mode))?;
    sync_dir(parent(path)?)
}

/// As [`write_atomic`], but a power cut may bring back what was there, or leave anything: for what is verified whenever it is read and
/// can be had again, or only serves a person.
///
/// # Errors
/// Any of the steps; `path` is then as it was.
pub fn write_cache(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    replace(path, |temporary| create(temporary, mode)?.write_all(bytes))
}

fn replace(path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let temporary = temporary(path)?;
    let written = write(&temporary).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // On a full disk the half-written file would keep the space that everybody waits for.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Writes and syncs a file under a name that nobody looks at yet: its directory is the caller's to sync.
///
/// # Errors
/// Any of the steps; a part may be left.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = create(path, mode)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Creates a file in place of whatever had its name, with exactly `mode` whatever the umask is. Not durable until synced.
///
/// # Errors
/// The old one cannot be removed or the new one not created.
pub fn create(path: &Path, mode: u32) -> io::Result<File> {
    forget(fs::remove_file(path))?;
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(mode).open(path)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// Creates a directory and those above it that are missing, each with mode 0755 and each durable in the one above.
///
/// # Errors
/// One cannot be created, or something else has its name.
pub fn create_dir_all_durable(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = parent(path)?;
    create_dir_all_durable(above)?;
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        other => other?,
    }
    fs::set_permissions(path, Permissions::from_mode(0o755))?;
    sync_dir(path)?;
    sync_dir(above)
}

/// Makes what was created, renamed and removed in a directory durable.
///
/// # Errors
/// It cannot be opened or synced.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes `link` a symbolic link to `target`, in one step: whoever looks sees the old link or the new one.
///
/// # Errors
/// Any of the steps; `link` is then as it was.
pub fn swap_link(link: &Path, target: &Path) -> io::Result<()> {
    let temporary = temporary(link)?;
    forget(fs::remove_file(&temporary))?;
    std::os::unix::fs::symlink(target, &temporary)?;
    crashpoint!("link: before the swap");
    if let Err(error) = fs::rename(&temporary, link) {
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    crashpoint!("link: after the swap");
    sync_dir(parent(link)?)
}

/// Removes a file or link; one that is not there is fine.
///
/// # Errors
/// It is there and cannot be removed.
pub fn remove_file_durable(path: &Path) -> io::Result<()> {
    if forget(fs::remove_file(path))? { sync_dir(parent(path)?) } else { Ok(()) }
}

/// Removes a directory with all that is in it, or a file; one that is not there is fine. It first leaves its name, durably, so that nobody
/// ever sees half of it. A power cut may leave what is under the temporary name, which the next removal or [`sweep`] takes.
///
/// # Errors
/// It is there and cannot be removed completely.
pub fn remove_tree_durable(path: &Path) -> io::Result<()> {
    let temporary = temporary(path)?;
    let remove = || match fs::remove_dir_all(&temporary) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(&temporary),
        removed => removed,
    };
    forget(remove())?;
    if forget(fs::rename(path, &temporary))? {
        sync_dir(parent(path)?)?;
        remove()?;
    }
    Ok(())
}

/// Removes what crashes left in a directory, and says how many there were.
///
/// # Errors
/// The directory cannot be read or a leftover not be removed.
pub fn sweep(dir: &Path) -> io::Result<usize> {
    let mut swept: usize = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                fs::remove_dir_all(path)?
            } else {
                fs::remove_file(path)?
            }
            swept = swept.saturating_add(1);
        }
    }
    if swept > 0 {
        sync_dir(dir)?;
    }
    Ok(swept)
}

/// Takes disk space for `from..to` of `file` without changing its length. A file system that cannot is no error.
///
/// # Errors
/// No space.
pub fn preallocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    let length = to.saturating_sub(from);
    if length == 0 {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::KEEP_SIZE, from, length) {
        Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::FBIG | Errno::IO)) => Err(errno.into()),
        _ => Ok(()),
    }
}

/// Has the kernel begin to write `from..to` of `file` to the disk, and does not wait for it: a hint, which makes nothing durable. What
/// was just written stays in memory, since it is not yet on the disk.
pub fn begin_writeback(file: &File, from: u64, to: u64) {
    // Linux' mm/fadvise.c begins asynchronous writeback of the range, then drops the pages that are clean already.
    let _ = fadvise(file, from, NonZeroU64::new(to.saturating_sub(from)), Advice::DontNeed);
}

/// Bytes that may still be written to a file system, some blocks of which may be root's alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FreeSpace {
    /// By every user: what an update may take.
    pub for_all: u64,
    /// By this process: what the agent's own state may take.
    pub for_us: u64,
}

/// What is free on the file system of `path`.
///
/// # Errors
/// The path cannot be asked about.
pub fn free_space(path: &Path) -> io::Result<FreeSpace> {
    let stat = statvfs(path)?;
    let root = nix::unistd::geteuid().is_root();
    let blocks = if root { stat.f_bfree } else { stat.f_bavail };
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(FreeSpace { for_all: bytes(stat.f_bavail), for_us: bytes(blocks) })
}

/// The name under which `path` is prepared: always the same, so that leftovers cannot pile up.
fn temporary(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name"))?;
    let mut temporary = OsString::from(TEMPORARY);
    temporary.push(name);
    Ok(path.with_file_name(temporary))
}

/// The directory that a path is in.
fn parent(path: &Path) -> io::Result<&Path> {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Ok(Path::new(".")),
        Some(above) => Ok(above),
        None => Err(io::Error::new(io::ErrorKind::NotFound, "the root directory has no parent")),
    }
}

/// Takes "not there" for done, and says whether it was there.
fn forget(result: io::Result<()>) -> io::Result<bool> {
    match result {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_write_replaces_all_or_nothing_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        write_atomic(&path, b"one", 0o600).unwrap();
        // What a crash leaves: a longer, half-written file under the temporary name.
        fs::write(dir.path().join(".slipway-tmp.a"), b"leftover of a crash").unwrap();
        write_atomic(&path, b"two", 0o755).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(mode(&path), 0o755);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);

        // A directory in the way: refused, nothing changed, nothing left.
        let taken = dir.path().join("taken");
        fs::create_dir_all(taken.join("x")).unwrap();
        assert!(write_atomic(&taken, b"three", 0o600).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    }

    #[test]
    fn directories_are_created_with_their_exact_mode() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        create_dir_all_durable(&deep).unwrap();
        create_dir_all_durable(&deep).unwrap();
        assert_eq!(mode(&dir.path().join("a")), 0o755);
        assert_eq!(mode(&deep), 0o755);
        fs::write(dir.path().join("file"), b"").unwrap();
        assert!(create_dir_all_durable(&dir.path().join("file/under")).is_err());
    }

    #[test]
    fn a_link_is_swapped_over_link_file_and_leftover() {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("current");
        swap_link(&link, Path::new("one")).unwrap();
        std::os::unix::fs::symlink("crashed", dir.path().join(".slipway-tmp.current")).unwrap();
        swap_link(&link, Path::new("two")).unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("two"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn removing_is_idempotent_and_sweeping_takes_only_leftovers() {
        let dir = tempfile::tempdir().unwrap();
        let (file, tree) = (dir.path().join("file"), dir.path().join("tree"));
        fs::write(&file, b"").unwrap();
        fs::create_dir_all(tree.join("x/y")).unwrap();
        for _ in 0..2 {
            remove_file_durable(&file).unwrap();
            remove_tree_durable(&tree).unwrap();
        }
        fs::write(dir.path().join(".slipway-tmp.a"), b"").unwrap();
        fs::create_dir_all(dir.path().join(".slipway-tmp.b/c")).unwrap();
        fs::write(dir.path().join("kept"), b"").unwrap();
        assert_eq!(sweep(dir.path()).unwrap(), 2);
        assert_eq!(sweep(dir.path()).unwrap(), 0);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn errors_say_who_must_act() {
        for (error, code) in [
            (io::Error::from_raw_os_error(28), "SLW-A-DISK-FULL"),
            (io::Error::from_raw_os_error(122), "SLW-A-DISK-FULL"),
            (io::Error::from_raw_os_error(30), "SLW-A-DISK-READ-ONLY"),
            (io::Error::from_raw_os_error(5), "SLW-A-DISK-IO"),
        ] {
            let refusal = refusal(Path::new("/var/lib/slipway/witness"), &error);
            assert_eq!(refusal.code, code);
            assert!(refusal.seen.starts_with("/var/lib/slipway/witness: "), "{refusal}");
        }
    }
}
