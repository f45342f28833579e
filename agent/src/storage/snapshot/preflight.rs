//! Checks before an activation that backup and restore will have space and a working disk.
//!
//! It writes what they will write and removes it, so a failure shows while everything still runs.

use super::restore::{read_index, temporary};
use super::take::open;
use super::{COMPANIONS, SnapshotSettings, beside, io, parent};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use slipway_protocol::Refusal;
use std::fs::{self, File, OpenOptions};
use std::io::{self as std_io, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Room for the index beside the copies.
const INDEX_ROOM: u64 = 64 * 1024;
/// The name of a file that is only there to see whether it can be.
const PROBE: &str = ".slipway-tmp.rehearsal";

/// Whether a snapshot of what `settings` name can be taken as `dir`, brought back again, and a link beside `link` be made. Holds all the
/// room that this will need at once.
pub fn preflight(dir: &Path, settings: &SnapshotSettings, link: &Path) -> Result<(), Refusal> {
    let databases = settings.databases.iter();
    let companions = databases.clone().flat_map(|path| COMPANIONS.iter().map(|suffix| beside(path, suffix)));
    let mut room = Room::default();
    let mut total = INDEX_ROOM;
    for path in settings.files.iter().chain(databases).cloned().chain(companions) {
        let Some(file) = open(&path, false)? else { continue };
        let size = file.metadata().map_err(io("inspect", &path))?.len();
        total = total.saturating_add(size);
        room.hold(temporary(&path), size)?;
    }
    room.hold(parent(dir).join(PROBE), total)?;
    room.hold(link.with_file_name(PROBE), 0)
}

/// Whether there is room to bring the snapshot `dir` back.
pub fn preflight_restore(dir: &Path) -> Result<(), Refusal> {
    let mut room = Room::default();
    for entry in read_index(dir)?.entries() {
        let size = entry.stored.as_ref().map_or(0, |stored| stored.size);
        room.hold(temporary(&entry.path), size)?;
    }
    Ok(())
}

/// Files that hold room until this is dropped.
#[derive(Default)]
struct Room(Vec<PathBuf>);

impl Room {
    fn hold(&mut self, path: PathBuf, size: u64) -> Result<(), Refusal> {
        let make = || -> std_io::Result<()> {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std_io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            fill(&mut file, size)
        };
        let made = make().map_err(io("create a file beside", &path));
        self.0.push(path);
        made
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

fn fill(file: &mut File, size: u64) -> std_io::Result<()> {
    if size == 0 {
        return Ok(());
    }
    match fallocate(&*file, FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::INVAL) => {
            let mut zeros = std_io::repeat(0).take(size);
            // Written and not yet on the disk it would hold no room.
            std_io::copy(&mut zeros, file).and_then(|_| file.sync_all())
        }
        Err(error) => Err(error.into()),
    }
}
