//! The cache of one TUF repository: verified files as received, in one file that is replaced whole.
//!
//! The files of a repository authenticate each other, so half of a renewal would be useless: a power cut leaves the old set or
//! the new one. A new root is the exception. It is durable before the next file is asked for, in
//! a file of its own, because it may revoke what the rest was signed with, and a device may not
//! forget that.

use super::history::RootHistory;
use super::transport::RepositoryTransport;
use super::{NoCandidate, read_file};
use crate::fetch::Small;
use crate::storage::durable;
use crate::storage::layout;
use slipway_machine::{EffectFailure, RetryAdvice};
use slipway_protocol::{Category, Refusal};
use slipway_verify::tuf::{FetchResult, Floors, Limits, Refresh, Repository, Rules, Slot, Step, Stored};
use std::io::Read;
use std::path::PathBuf;

/// What a file in a tar takes beside its bytes: a header, padding, and both again for a name that
/// is longer than 100 bytes.
const TAR_FILE: u64 = 4 * 512;
/// Files in a cache: root, timestamp, snapshot, and as many targets roles as there may be.
const FILES: u64 = 3 + 32;
const _: () = assert!(FILES as usize == 3 + Limits::DEVICE.roles, "a cache has room for every role");
/// Bytes of a cache with everything in it as large as it may be, and the two empty blocks at its
/// end.
pub(super) const LIMIT: u64 = Limits::DEVICE.cache_bytes() + FILES * TAR_FILE + 1024;

/// A repository's verified metadata on disk.
#[derive(Clone, Debug)]
pub struct Cache {
    file: PathBuf,
    history: RootHistory,
    initial_root: Vec<u8>,
}

impl Cache {
    /// The cache in `file`, and in a folder beside it, of the repository whose first trusted root
    /// is `initial_root`.
    ///
    /// # Errors
    /// When that root is none, or the folder cannot be made.
    pub fn new(file: PathBuf, initial_root: Vec<u8>) -> Result<Self, Refusal> {
        Refresh::begin(&initial_root, Stored::default(), &Floors::default(), Rules::accepted_before())?;
        let history = RootHistory::open(file.with_extension(layout::ROOT_HISTORY))?;
        Ok(Self { file, history, initial_root })
    }

    /// The floors that the first trusted root alone sets.
    pub(super) fn born(&self, floors: &Floors) -> Result<Floors, Refusal> {
        Ok(Refresh::begin(&self.initial_root, self.stored(), floors, Rules::accepted_before())?.floors().clone())
    }

    /// Renews the metadata. What was verified is durable when this returns, and the floors say so even when it ends in a refusal.
    pub(super) async fn refresh(
        &self,
        place: &RepositoryTransport,
        floors: &mut Floors,
        rules: Rules,
    ) -> Result<Repository, NoCandidate> {
        // The floors come from the witness: the root that they name needs none of the roots before.
        self.history.prune(floors.root);
        let mut stored = self.stored();
        let refresh = Refresh::begin(&self.initial_root, stored.clone(), floors, rules)?;
        let mut root_is_new = false;
        let followed = follow(place, refresh, floors, |files| {
            root_is_new = true;
            for (slot, bytes) in files {
                if slot == Slot::Root {
                    self.history.keep(&bytes)?;
                } else {
                    root_is_new = false;
                }
                stored.put(&slot, bytes);
            }
            if root_is_new { Ok(()) } else { self.write(&stored) }
        })
        .await;
        // Not for every root on the way. An older agent, which looks for the newest root here
        // alone, must find it.
        if let Ok(repository) = &followed
            && repository.stored().root != self.initial_root
            && repository.stored().root != stored.root
        {
            (stored.root, root_is_new) = (repository.stored().root.clone(), true);
        }
        let written = if root_is_new { self.write(&stored) } else { Ok(()) };
        match (followed, written) {
            (Ok(_), Err(refusal)) => Err(later(refusal)),
            (followed, _) => followed,
        }
    }

    fn write(&self, stored: &Stored) -> Result<(), Refusal> {
        let packed = pack(stored).map_err(|error| durable::refusal(&self.file, &error))?;
        durable::write_atomic(&self.file, &packed, 0o644).map_err(|error| durable::refusal(&self.file, &error))
    }

    /// The verified repository from the disk alone: expiry is not judged again, everything else is.
    ///
    /// # Errors
    /// When nothing usable is there.
    pub(super) fn open(&self, floors: &Floors) -> Result<Repository, Refusal> {
        Refresh::replay(&self.initial_root, self.stored(), floors, Rules::accepted_before())
    }

    /// Damaged files are omitted: they are fetched again, and the floors hold meanwhile.
    fn stored(&self) -> Stored {
        let stored = read_file(&self.file).map(|bytes| unpack(&bytes)).unwrap_or_default();
        Stored { root_history: self.history.read(), ..stored }
    }
}

/// TUF's client workflow over a transport. `keep` makes verified files durable, those together that belong together, before the
/// next file is asked for; `floors` rise only by what was kept.
///
/// # Errors
/// The refusal that ended it, or why it could not be found out.
pub async fn follow(
    place: &RepositoryTransport,
    mut refresh: Refresh,
    floors: &mut Floors,
    mut keep: impl FnMut(Vec<(Slot, Vec<u8>)>) -> Result<(), Refusal>,
) -> Result<Repository, NoCandidate> {
    let mut ended = Ok(());
    loop {
        let mut files = Vec::new();
        let fetch = loop {
            match refresh.step() {
                Step::Store { slot, bytes } => files.push((slot, bytes)),
                Step::Fetch(fetch) => break Some(fetch),
                Step::Done => break None,
            }
        };
        if !files.is_empty() {
            keep(files).map_err(later)?;
        }
        floors.clone_from(refresh.floors());
        let Some(fetch) = fetch else { break };
        ended = match place.get(fetch.kind, &fetch.path, fetch.limit).await {
            Ok(Small::Bytes(bytes)) => refresh.answer(FetchResult::Bytes(&bytes)).map_err(NoCandidate::from),
            Ok(Small::Missing) => refresh.answer(FetchResult::Missing).map_err(|why| missing(why, place, &fetch.path).into()),
            // The refresh says no more than that nothing is known; the error says why, and when to try again.
            Err(error) => refresh.answer(FetchResult::Failed(&error.refusal.to_string())).map_err(|_stale| error.into()),
        };
    }
    ended?;
    Ok(refresh.finish()?)
}

/// The first file that every repository has: without it, most likely this is none.
fn missing(why: Refusal, place: &RepositoryTransport, path: &str) -> Refusal {
    if path != "timestamp.json" {
        return why;
    }
    Refusal {
        seen: format!("no {}", place.metadata.shown(path)),
        advice:
            "check that `url` in [repository] is the folder with metadata/ and targets/, that this network reaches it, and that \
                 the repository was published"
                .into(),
        ..why
    }
}

/// A disk that does not take something now may take it later.
fn later(refusal: Refusal) -> NoCandidate {
    if refusal.category == Category::System {
        NoCandidate::Failed(EffectFailure { refusal, advice: RetryAdvice::Later })
    } else {
        refusal.into()
    }
}

/// All files as a tar, so that a person can look into it with what is on every device.
fn pack(stored: &Stored) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    let delegated = stored.delegated.keys().cloned().map(Slot::Delegated);
    for slot in [Slot::Root, Slot::Timestamp, Slot::Snapshot, Slot::Targets].into_iter().chain(delegated) {
        let bytes = stored.get(&slot);
        if !bytes.is_empty() {
            let mut header = tar::Header::new_gnu();
            header.set_size(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            header.set_mode(0o644);
            tar.append_data(&mut header, slot.file_name(), bytes)?;
        }
    }
    tar.into_inner()
}

/// The files of a tar that [`pack`] made; it is read only as far as it is whole.
fn unpack(bytes: &[u8]) -> Stored {
    let mut stored = Stored::default();
    let mut tar = tar::Archive::new(bytes);
    let Ok(entries) = tar.entries() else { return stored };
    for mut entry in entries.map_while(Result::ok) {
        let slot = std::str::from_utf8(&entry.path_bytes()).ok().and_then(Slot::of_file_name);
        let mut bytes = Vec::new();
        if let (Some(slot), Ok(_)) = (slot, entry.read_to_end(&mut bytes)) {
            stored.put(&slot, bytes);
        }
    }
    stored
}
