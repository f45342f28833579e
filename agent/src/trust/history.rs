//! The verified roots of one repository, each in a file of its own.
//!
//! The witness learns of new roots when a refresh is over. A device that slept for years may walk
//! over hundreds before that, and the power may go at any of them: each is durable before the
//! next is asked for, and the next refresh verifies them from here.

use crate::storage::durable;
use crate::storage::layout::ROOT_SUFFIX;
use serde::Deserialize;
use slipway_protocol::Refusal;
use slipway_verify::tuf::Limits;
use std::path::{Path, PathBuf};

/// A folder of roots.
#[derive(Clone, Debug)]
pub struct RootHistory {
    dir: PathBuf,
}

/// What of a root its file is named by.
#[derive(Deserialize)]
struct Envelope {
    signed: Signed,
}

#[derive(Deserialize)]
struct Signed {
    version: u64,
}

impl RootHistory {
    /// The roots in `dir`, which is made if it is not there.
    ///
    /// # Errors
    /// Of the file system.
    pub fn open(dir: PathBuf) -> Result<Self, Refusal> {
        durable::create_dir_all_durable(&dir)
            .and_then(|()| durable::sweep(&dir))
            .map_err(|error| durable::refusal(&dir, &error))?;
        Ok(Self { dir })
    }

    /// What is there, oldest first: as many as one refresh takes, and the one that the floors
    /// vouch for. Unreadable files are omitted.
    #[must_use]
    pub fn read(&self) -> Vec<Vec<u8>> {
        let most = usize::try_from(Limits::DEVICE.root_steps).unwrap_or(usize::MAX).saturating_add(1);
        let small = |path: &Path| std::fs::metadata(path).is_ok_and(|file| file.len() <= Limits::DEVICE.root_bytes);
        let files = self.files().into_iter().take(most).map(|(_, path)| path);
        files.filter(|path| small(path)).filter_map(|path| std::fs::read(path).ok()).collect()
    }

    /// Keeps a verified root. It is durable on return.
    ///
    /// # Errors
    /// Of the file system.
    pub fn keep(&self, root: &[u8]) -> Result<(), Refusal> {
        let version = serde_json::from_slice::<Envelope>(root).map_or(0, |root| root.signed.version);
        let path = self.dir.join(format!("{version}{ROOT_SUFFIX}"));
        durable::write_atomic(&path, root, 0o644).map_err(|error| durable::refusal(&path, &error))
    }

    /// Removes roots older than the one in the floors. What cannot be removed now
    /// is removed another time.
    pub fn prune(&self, floor: u64) {
        for (_, path) in self.files().into_iter().filter(|(version, _)| *version < floor) {
            if let Err(error) = durable::remove_file_durable(&path) {
                tracing::debug!(path = %path.display(), %error, "superseded root not removed");
            }
        }
    }

    fn files(&self) -> Vec<(u64, PathBuf)> {
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let version = |name: &str| name.strip_suffix(ROOT_SUFFIX)?.parse().ok();
        let mut files: Vec<(u64, PathBuf)> =
            entries.filter_map(|entry| Some((version(entry.file_name().to_str()?)?, entry.path()))).collect();
        files.sort();
        files
    }
}
