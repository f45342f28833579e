//! Reserves disk space for the state: released when the disk is full, and reserved again later.

use crate::storage::durable;
use crate::storage::layout;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Kept free for the state: many commits, and what it takes to open the database.
pub(super) const RESERVE: u64 = 1024 * 1024;
/// The database is not touched with less than this: a few of its segments, since it cannot take a failed write.
const NEEDED: u64 = 4 * 64 * 1024;

/// The file system that the state is on.
#[derive(Debug)]
pub(super) struct Room {
    dir: PathBuf,
    reserve: PathBuf,
    held: bool,
}

impl Room {
    pub(super) fn new(dir: &Path) -> Self {
        let reserve = dir.join(layout::RESERVE);
        let held = reserve.exists();
        Self { dir: dir.to_owned(), reserve, held }
    }

    /// Whether the database may be written: gives up the reserve if that is what it takes.
    pub(super) fn make(&mut self) -> bool {
        if self.free().is_none_or(|free| free >= NEEDED) {
            return true;
        }
        self.give_up();
        self.free().is_none_or(|free| free >= NEEDED)
    }

    /// Gives up the reserve, if it is held.
    pub(super) fn give_up(&mut self) {
        if self.held && durable::remove_file_durable(&self.reserve).is_ok() {
            tracing::warn!(reserve = %self.reserve.display(), "disk full; releasing the space reserved for state");
            self.held = false;
        }
    }

    /// Takes the reserve if it is not held and leaves others as much. Without one the agent still works: no error.
    pub(super) fn refill(&mut self) {
        let enough = RESERVE.saturating_mul(2).saturating_add(NEEDED);
        if self.held || self.free().is_none_or(|free| free < enough) {
            return;
        }
        match self.take() {
            Ok(()) => self.held = true,
            Err(error) => {
                tracing::warn!(%error, "space for state could not be reserved");
                let _ = durable::remove_file_durable(&self.reserve);
            }
        }
    }

    fn take(&self) -> io::Result<()> {
        let mut file = durable::create(&self.reserve, 0o600)?;
        match fallocate(&file, FallocateFlags::empty(), 0, RESERVE) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::INVAL) => write_zeros(&mut file)?,
            Err(error) => return Err(error.into()),
        }
        file.sync_all()?;
        durable::sync_dir(&self.dir)
    }

    /// Bytes that this process can still write; `None` where that is not known.
    fn free(&self) -> Option<u64> {
        Some(durable::free_space(&self.dir).ok()?.for_us)
    }
}

fn write_zeros(file: &mut File) -> io::Result<()> {
    let zeros = vec![0; 64 * 1024];
    let mut left = RESERVE;
    while left > 0 {
        file.write_all(&zeros)?;
        left = left.saturating_sub(64 * 1024);
    }
    Ok(())
}
