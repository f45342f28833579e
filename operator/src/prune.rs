//! Removes what no device can need any more: old versions of metadata, and targets that only those named.
//!
//! A device reads the timestamp first, and then what it pins, file by file. Until it is done, or while a cache on the way still has an
//! older timestamp, it asks for versions that have been superseded. So the version before the newest always stays, and older ones for
//! [`GRACE`] after they were superseded. Roots all stay: a device that slept for years walks them one by one.
//!
//! How old a file is tells the file system's clock alone: times of files are compared with each other, never with another clock.

use crate::error::file;
use crate::files;
use crate::index;
use crate::metadata::{Envelope, Targets};
use crate::repo::Repo;
use crate::role::Role;
use slipway_protocol::Refusal;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long a superseded version stays: longer than any refresh takes, and than caches should keep a timestamp.
const GRACE: Duration = Duration::from_secs(60 * 60);
/// How many superseded versions of a role stay within that time: a script that publishes once a second must not fill the disk.
const MOST: u64 = 64;

/// Whether a version of a role stays, `superseded` that long ago (`None`: it is not known when).
fn stays(version: u64, newest: u64, superseded: Option<Duration>) -> bool {
    let behind = newest.saturating_sub(version);
    behind <= 1 || (behind <= MOST && superseded.is_some_and(|ago| ago < GRACE))
}

/// Version and role of a metadata file's name.
fn parse(name: &str) -> Option<(u64, &str)> {
    let (version, role) = name.strip_suffix(".json")?.split_once('.')?;
    Some((version.parse().ok()?, role))
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

impl Repo {
    /// Removes old versions of metadata.
    pub(crate) fn prune_metadata(&self) -> Result<(), Refusal> {
        let folder = self.metadata_dir();
        let now = modified(&folder.join("timestamp.json"));
        let ago = |path: &Path| now?.duration_since(modified(path)?).ok();
        for entry in fs::read_dir(&folder).map_err(|error| file(&folder, &error))?.flatten() {
            let (name, path) = (entry.file_name(), entry.path());
            let Some((version, role)) = name.to_str().and_then(parse) else { continue };
            let Some(role) = role.parse::<Role>().ok().filter(|role| *role != Role::Root) else { continue };
            let newest = self.state.header(role).map_or(0, |header| header.version);
            let next = folder.join(format!("{}.{role}.json", version.saturating_add(1)));
            if !stays(version, newest, ago(&next)) {
                fs::remove_file(&path).map_err(|error| file(&path, &error))?;
            }
        }
        Ok(())
    }

    /// Removes targets that no version of metadata names that is still there, and that are older than [`GRACE`]: a publication that
    /// broke off may have brought out files that the next one names.
    pub(crate) fn prune_targets(&self) -> Result<(), Refusal> {
        let needed = self.needed_targets()?;
        let now = modified(&self.metadata_dir().join("timestamp.json"));
        let old = |path: &Path| {
            now.zip(modified(path)).and_then(|(now, then)| now.duration_since(then).ok()).is_some_and(|ago| ago >= GRACE)
        };
        let targets = self.public_dir().join("targets");
        for (place, path) in all_files(&targets)? {
            // What has no digest before its name is not ours.
            let digest = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.split_once('.'));
            let ours = digest.is_some_and(|(digest, _)| digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()));
            if ours && !needed.contains(&place) && old(&path) {
                fs::remove_file(&path).map_err(|error| file(&path, &error))?;
            }
        }
        Ok(())
    }

    /// Where every target is that some version of metadata names, below `public/targets/`.
    fn needed_targets(&self) -> Result<BTreeSet<String>, Refusal> {
        let (folder, targets) = (self.metadata_dir(), self.public_dir().join("targets"));
        let mut needed = BTreeSet::new();
        // The trees of one component have most of their parts in common: each is read once.
        let mut read = BTreeMap::new();
        for entry in fs::read_dir(&folder).map_err(|error| file(&folder, &error))?.flatten() {
            let name = entry.file_name();
            let Some((_, role)) = name.to_str().and_then(parse) else { continue };
            let Some(role) = role.parse::<Role>().ok().filter(|role| Role::TARGETS.contains(role)) else { continue };
            let signed: Targets = Envelope::parse(&files::read(&entry.path())?, role.name())?.read(role.name())?;
            needed.extend(signed.targets.iter().map(|(path, file)| file.place(path)));
            for component in index::components(&signed) {
                let Some(root) = index::root(&signed, &component)? else { continue };
                let seen = read.entry(component.clone()).or_insert_with(BTreeSet::new);
                index::places(&component, &root, &|place| files::read(&targets.join(place)), seen, &mut needed)?;
            }
        }
        Ok(needed)
    }
}

/// Every file below a folder, with its place there.
fn all_files(folder: &Path) -> Result<Vec<(String, PathBuf)>, Refusal> {
    let (mut found, mut queue) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = queue.pop() {
        let entries = match fs::read_dir(&next) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(file(&next, &error)),
        };
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                queue.push(path);
            } else if let Some(place) = path.strip_prefix(folder).ok().and_then(Path::to_str) {
                found.push((place.to_owned(), path));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_before_the_newest_stays_and_older_ones_for_a_while() {
        let (recent, long) = (Some(Duration::from_secs(3599)), Some(GRACE));
        for (version, newest, superseded, wanted) in [
            (9, 9, None, true),
            (8, 9, long, true),
            (7, 9, recent, true),
            (7, 9, long, false),
            (7, 9, None, false),
            (36, 100, recent, true),
            (35, 100, recent, false),
            // Not published yet: a publication broke off.
            (10, 9, None, true),
        ] {
            assert_eq!(stays(version, newest, superseded), wanted, "{version} of {newest}");
        }
        assert_eq!(parse("12.releases.json"), Some((12, "releases")));
        assert_eq!((parse("timestamp.json"), parse(".slipway.part"), parse("x.root.json")), (None, None, None));
    }
}
