//! Writes files atomically and durably, and JSON in its two forms.

use crate::error::{EXISTS, REPOSITORY, file};
use serde_json::Value;
use slipway_protocol::Refusal;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A file that becomes visible by one rename after its bytes are on the disk.
#[derive(Debug)]
pub(crate) struct Pending {
    file: File,
    temporary: PathBuf,
}

impl Pending {
    /// Opens a hidden file in `folder`, creating the folder. The repository's lock keeps others from using the same name.
    pub(crate) fn create(folder: &Path) -> Result<Self, Refusal> {
        fs::create_dir_all(folder).map_err(|error| file(folder, &error))?;
        let temporary = folder.join(".slipway.part");
        let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o644).open(&temporary);
        Ok(Self { file: opened.map_err(|error| file(&temporary, &error))?, temporary })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.file.write_all(bytes).map_err(|error| file(&self.temporary, &error))
    }

    /// Syncs it and gives it its name, in the same folder.
    pub(crate) fn commit(self, name: &str) -> Result<PathBuf, Refusal> {
        self.file.sync_all().map_err(|error| file(&self.temporary, &error))?;
        let path = self.temporary.with_file_name(name);
        fs::rename(&self.temporary, &path).map_err(|error| file(&path, &error))?;
        sync_folder(path.parent().unwrap_or(Path::new(".")))?;
        Ok(path)
    }
}

/// Writes `bytes` under `folder/name`, replacing what was there in one step.
pub(crate) fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf, Refusal> {
    let mut pending = Pending::create(folder)?;
    pending.write(bytes)?;
    pending.commit(name)
}

/// Makes names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), Refusal> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| file(folder, &error))
}

/// Moves a file to a folder that may not exist yet, durably.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), Refusal> {
    let folder = to.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(|error| file(folder, &error))?;
    fs::rename(from, to).map_err(|error| file(from, &error))?;
    sync_folder(folder)
}

/// A path's folder and file name, as [`write`] wants them.
pub(crate) fn split(path: &Path) -> Result<(&Path, &str), Refusal> {
    match (path.parent(), path.file_name().and_then(|name| name.to_str())) {
        (Some(folder), Some(name)) => Ok((if folder.as_os_str().is_empty() { Path::new(".") } else { folder }, name)),
        _ => Err(crate::error::FILE.with(path.display(), "a file name")),
    }
}

/// Writes a secret that only its owner may read; never over another one, and never half of it.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), Refusal> {
    let (folder, name) = split(path)?;
    let temporary = folder.join(format!(".{name}.part"));
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary);
    let mut secret = opened.map_err(|error| file(&temporary, &error))?;
    secret.write_all(bytes).and_then(|()| secret.sync_all()).map_err(|error| file(&temporary, &error))?;
    // Unlike a rename, a link does not replace what is there.
    let linked = fs::hard_link(&temporary, path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => EXISTS.with(path.display(), "no such file"),
        _ => file(path, &error),
    });
    fs::remove_file(&temporary).map_err(|error| file(&temporary, &error))?;
    linked.and_then(|()| sync_folder(folder))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Refusal> {
    fs::read(path).map_err(|error| file(path, &error))
}

/// JSON as people like to read it.
pub(crate) fn to_json<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Refusal> {
    let mut bytes = serde_json::to_vec_pretty(value).map_err(|error| REPOSITORY.with(error, "JSON"))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// JSON as devices fetch it: no byte more than it needs.
pub(crate) fn to_compact<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Refusal> {
    serde_json::to_vec(value).map_err(|error| REPOSITORY.with(error, "JSON"))
}

/// JSON as it is signed: one text for one value.
pub(crate) fn canonical(value: &Value) -> Result<Vec<u8>, Refusal> {
    sigstore_tuf::canonical_json::to_canonical_bytes(value).map_err(|error| REPOSITORY.with(error, "canonical JSON"))
}
