//! SQLite's own locks, taken from outside: a process that holds them all has the database to itself.
//!
//! SQLite locks three byte ranges in the first gigabyte's last page: PENDING, RESERVED and 510 SHARED bytes. A reader holds one of the SHARED
//! bytes, and a connection in WAL mode holds it as long as it is open. A write lock over all of them is therefore refused while anybody
//! reads, writes or keeps a WAL, and keeps everybody out while it is held. It is an open-file-description lock: it conflicts with SQLite's
//! process locks, and does not end, as those do, when any other file of ours on the same inode is closed.

use super::{BUSY, io};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::libc::{self, flock, off_t};
use slipway_protocol::Refusal;
use std::fs::File;
use std::path::Path;

/// Where SQLite's lock bytes begin (`PENDING_BYTE`): at 1 GiB, where no data is kept.
const PENDING_BYTE: off_t = 0x4000_0000;
/// PENDING, RESERVED and the SHARED range.
const LOCK_BYTES: off_t = 1 + 1 + 510;

/// A database that nobody else can use.
#[derive(Debug)]
pub(super) struct ExclusiveLock(pub(super) File);

impl Drop for ExclusiveLock {
    /// Said aloud: closing the file is not enough while a child that is just being started has a copy of it.
    fn drop(&mut self) {
        fcntl(&self.0, FcntlArg::F_OFD_SETLK(&range(libc::F_UNLCK))).ok();
    }
}

/// Locks the open database until the result is dropped. The file must be open for writing.
pub(super) fn exclusive(file: File, path: &Path) -> Result<ExclusiveLock, Refusal> {
    match fcntl(&file, FcntlArg::F_OFD_SETLK(&range(libc::F_WRLCK))) {
        Ok(_) => Ok(ExclusiveLock(file)),
        Err(Errno::EAGAIN | Errno::EACCES) => {
            Err(BUSY.with(format_args!("{}: {}", path.display(), holder(&file)), "no process that has it open"))
        }
        Err(error) => Err(io("lock", path)(error.into())),
    }
}

/// Who has it, as far as the kernel tells.
fn holder(file: &File) -> String {
    let mut found = range(libc::F_WRLCK);
    match fcntl(file, FcntlArg::F_OFD_GETLK(&mut found)) {
        Ok(_) if i32::from(found.l_type) == libc::F_UNLCK => "a process that has just closed it".to_owned(),
        Ok(_) if found.l_pid > 0 => {
            let name = std::fs::read_to_string(format!("/proc/{}/comm", found.l_pid)).unwrap_or_default();
            format!("process {} ({}) has it open", found.l_pid, name.trim())
        }
        _ => "a process has it open".to_owned(),
    }
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    reason = "constants of libc that are wider than the field they are made for"
)]
fn range(kind: i32) -> flock {
    flock { l_type: kind as _, l_whence: libc::SEEK_SET as _, l_start: PENDING_BYTE, l_len: LOCK_BYTES, l_pid: 0 }
}
