//! Puts signed metadata where a web server finds it, so that a cut at any moment leaves a repository that devices accept.
//!
//! Every file but `timestamp.json` has a name of its own for every version. New files are written and synced first, and
//! `timestamp.json` takes its name last, in one step. One case needs more: a root that replaces the keys under the published
//! timestamp, snapshot or targets. Neither order of the two renames would do, so a whole new folder is made (of hard links) and
//! exchanged with the old one in one step.

use crate::error::{SELF_CHECK, file};
use crate::files;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use slipway_protocol::Refusal;
use slipway_verify::tuf::{Answer, Floors, Refresh, Rules, Step, Stored};
use std::fs;
use std::io;
use std::path::Path;

/// Metadata files in the order in which they are written: the timestamp last.
pub(crate) type NewFiles = Vec<(String, Vec<u8>)>;

/// What a device born with the first root would say to the folder with these files in it.
pub(crate) fn self_check(metadata: &Path, new: &NewFiles) -> Result<(), Refusal> {
    let get = |name: &str| match new.iter().find(|(known, _)| known == name) {
        Some((_, bytes)) => Some(bytes.clone()),
        None => fs::read(metadata.join(name)).ok(),
    };
    let refused = |why: Refusal| SELF_CHECK.with(&why, "metadata that every device takes");
    let first = get("1.root.json").ok_or_else(|| SELF_CHECK.with("no 1.root.json", "the root that devices are born with"))?;
    let mut refresh = Refresh::begin(&first, Stored::default(), &Floors::default(), Rules::accepted_before()).map_err(refused)?;
    loop {
        match refresh.step() {
            Step::Fetch(fetch) => match get(&fetch.path) {
                Some(bytes) => refresh.answer(Answer::Bytes(&bytes)).map_err(refused)?,
                None => refresh.answer(Answer::Missing).map_err(refused)?,
            },
            Step::Store { .. } => {}
            Step::Done => return refresh.finish().map(drop).map_err(refused),
        }
    }
}

/// Writes the files one by one, in order.
pub(crate) fn in_order(metadata: &Path, new: &NewFiles) -> Result<(), Refusal> {
    new.iter().try_for_each(|(name, bytes)| files::write(metadata, name, bytes).map(drop))
}

/// Exchanges the whole folder; in order where the file system cannot. `scratch` is a folder on the same file system.
pub(crate) fn at_once(metadata: &Path, scratch: &Path, new: &NewFiles) -> Result<(), Refusal> {
    crate::staged::remove(scratch)?;
    fs::create_dir_all(scratch).map_err(|error| file(scratch, &error))?;
    let linked = link_all(metadata, scratch);
    if linked.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::CrossesDevices) {
        linked.map_err(|error| file(scratch, &error))?;
    } else if linked.is_ok() {
        in_order(scratch, new)?;
        let exchanged = renameat2(AT_FDCWD, scratch, AT_FDCWD, metadata, RenameFlags::RENAME_EXCHANGE);
        if exchanged.is_ok() {
            for folder in [metadata, scratch].into_iter().filter_map(Path::parent) {
                files::sync_folder(folder)?;
            }
            return crate::staged::remove(scratch);
        }
    }
    crate::staged::remove(scratch)?;
    in_order(metadata, new)
}

fn link_all(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        // What an interrupted write left has a dot in front.
        if !entry.file_name().to_string_lossy().starts_with('.') {
            fs::hard_link(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
