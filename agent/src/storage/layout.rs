//! Every name on disk, below the agent's state directory.
//!
//! A changed name is a changed format: older agents have written under these.

use slipway_protocol::{ComponentName, Sha256};
use std::path::{Path, PathBuf};

/// Locked by the one agent that runs.
pub const LOCK: &str = "lock";
/// Given up when the disk is full, so that the state can still be written.
pub const RESERVE: &str = "reserve";
/// The directory of the database.
pub const DATABASE: &str = "state";
/// The file of the witness.
pub const WITNESS: &str = "witness";

/// Verified metadata, targets and evidence.
pub const TRUST: &str = "trust";
/// The operator's metadata, below [`TRUST`].
pub const OPERATOR_TAR: &str = "operator.tar";
/// Sigstore's own metadata, below [`TRUST`].
pub const SIGSTORE_TAR: &str = "sigstore.tar";
/// What the roots that were walked over are in, beside the metadata: the extension of a directory.
pub const ROOT_HISTORY: &str = "root_history";
/// What the names of these roots end in: not in `.json`, which in some directories means current metadata.
pub const ROOT_SUFFIX: &str = ".root";
/// What the name of the file ends in that says when a repository was verified last.
pub const SEEN_SUFFIX: &str = ".seen.json";
/// Signed targets by their SHA-256, below [`TRUST`].
pub const TARGETS: &str = "targets";
/// Sigstore bundles by their SHA-256, below [`TRUST`].
pub const EVIDENCE: &str = "evidence";

/// Downloads under way.
pub const DOWNLOADS: &str = "downloads";
/// What is added to the name of a download for the entity tag that it was served with.
pub const ETAG_SUFFIX: &str = ".etag";

/// Slots, by component.
pub const SLOTS: &str = "slots";
/// The directory of a slot that the component's program is in.
pub const BIN: &str = "bin";
/// A slot's record.
pub const SLOT_RELEASE: &str = "release.json";
/// The manifest that a slot's release was verified by.
pub const SLOT_MANIFEST: &str = "manifest.json";
/// The Sigstore bundle that a slot's release was verified by.
pub const SLOT_EVIDENCE: &str = "evidence.sigstore.json";
/// How the directory of a slot being written begins; no slot's name begins with a dot.
pub const WRITING: &str = ".writing-";
/// How that of a slot begins that holds something else than what was written to it.
pub const DAMAGED_SLOT: &str = ".damaged-";
/// Links to what runs, by component.
pub const CURRENT: &str = "current";
/// How the name begins of what stood in the place of such a link.
pub const FOREIGN: &str = ".foreign-";

/// Configuration and data from before a slot was activated, by component and slot.
pub const SNAPSHOTS: &str = "snapshots";
/// A snapshot's list of files.
pub const INDEX: &str = "index.json";
/// Its SHA-256: a flipped bit in a path would bring a file back over another.
pub const INDEX_DIGEST: &str = "index.sha256";

/// What puts the agent itself back, while a release of it is tried.
pub const RESTORE: &str = "restore";
/// The copy of the committed agent, below [`RESTORE`].
pub const AGENT_COPY: &str = "slipway-agent";

/// Components without systemd, by name.
pub const RUN: &str = "run";
/// The record of such a process.
pub const PROCESS: &str = "process.json";
/// What such a process writes.
pub const OUTPUT: &str = "output.log";

/// The part file of an artifact's download.
#[must_use]
pub fn part(state: &Path, artifact: &Sha256) -> PathBuf {
    state.join(DOWNLOADS).join(format!("{artifact}.part"))
}

/// The snapshots of a component.
#[must_use]
pub fn snapshots(state: &Path, component: &ComponentName) -> PathBuf {
    state.join(SNAPSHOTS).join(component.as_str())
}
