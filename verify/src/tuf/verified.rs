//! The metadata that is trusted now, with signatures, pins and delegations checked.
//!
//! Time and floors are checked by the refresh.

use super::checks::{
    ENDLESS, ROLE, TARGET, TARGET_PATH, distinct, distinct_by_root, gate, plain_delegations, public_keys, refused, root_digest,
};
use super::limits::Limits;
use super::state::{Slot, Stored};
use jiff::Timestamp;
use sigstore_tuf::metadata::Role;
use sigstore_tuf::{Error, MetaFile, Metadata, Root, Snapshot, TargetFile, Targets, TrustedMetadataSet};
use slipway_protocol::{Refusal, Sha256, Sha512};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The library is never asked about time: [`super::Refresh`] judges expiry itself, since an expired cached role still is a floor.
const TIMELESS: Timestamp = Timestamp::MIN;
/// The four names that no delegated role may take.
const TOP_LEVEL: [&str; 4] = ["root", "timestamp", "snapshot", "targets"];

/// What signed metadata says about a target.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TargetInfo {
    /// Its name.
    pub path: String,
    /// The role that signed it.
    pub role: String,
    /// Its size in bytes.
    pub length: u64,
    /// Its SHA-256; at least one digest is there.
    pub sha256: Option<Sha256>,
    /// Its SHA-512.
    pub sha512: Option<Sha512>,
    /// Where to fetch it, below the repository's `targets/`.
    pub fetch_path: String,
}

/// One role's version and expiry, for status tables.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RoleState {
    /// `root`, `timestamp`, `snapshot`, `targets`, or a delegated role's name.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// When it expires.
    pub expires: Timestamp,
}

/// Who delegates to whom.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Edge {
    pub(super) role: String,
    pub(super) delegator: String,
}

impl Edge {
    pub(super) fn top() -> Self {
        Self { role: "targets".to_owned(), delegator: "root".to_owned() }
    }

    pub(super) fn slot(&self) -> Slot {
        if self.role == "targets" { Slot::Targets } else { Slot::Delegated(self.role.clone()) }
    }
}

/// What a search for a target came to.
pub(super) enum Search {
    Found(TargetInfo),
    Nothing,
    Needs(Edge),
}

/// What a timestamp was, compared with the one already trusted.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Newness {
    Newer,
    Same,
    /// The same version says something else.
    Forked,
}

#[derive(Clone, Debug)]
pub(super) struct Verified {
    set: TrustedMetadataSet,
    root_digest: Sha256,
    timestamp_signed: Vec<u8>,
    bytes: Stored,
    /// By whom each delegated role was accepted; another path to it is verified again.
    delegators: BTreeMap<String, String>,
    limits: Limits,
}

impl Verified {
    /// Starts from a root that is trusted by itself: the pinned one, or the cached one that the floors name.
    pub(super) fn from_root(bytes: &[u8], limits: Limits) -> Result<Self, Refusal> {
        let root = gate::<Root>(bytes, limits.root_bytes, &limits, "root")?;
        let set = TrustedMetadataSet::from_root(bytes).map_err(|error| refused("root", &error))?;
        distinct_by_root(&root, root.signed(), "root")?;
        Ok(Self {
            set,
            root_digest: root_digest(&root),
            timestamp_signed: Vec::new(),
            bytes: Stored { root: bytes.to_vec(), ..Stored::default() },
            delegators: BTreeMap::new(),
            limits,
        })
    }

    pub(super) fn root(&self) -> &Root {
        self.set.root()
    }
    pub(super) fn root_digest(&self) -> Sha256 {
        self.root_digest
    }
    pub(super) fn bytes(&self) -> &Stored {
        &self.bytes
    }
    pub(super) fn timestamp(&self) -> Option<&sigstore_tuf::Timestamp> {
        self.set.timestamp()
    }
    pub(super) fn snapshot(&self) -> Option<&Snapshot> {
        self.set.snapshot()
    }
    pub(super) fn targets(&self, role: &str) -> Option<&Targets> {
        self.set.targets_role(role)
    }
    /// `targets` and every delegated role that is loaded.
    pub(super) fn loaded(&self) -> impl Iterator<Item = (&str, &Targets)> {
        std::iter::once("targets")
            .chain(self.delegators.keys().map(String::as_str))
            .filter_map(|role| Some((role, self.targets(role)?)))
    }

    /// What the timestamp says about the snapshot.
    pub(super) fn snapshot_pin(&self) -> Option<&MetaFile> {
        self.timestamp()?.snapshot_meta()
    }
    /// What the snapshot says about a targets role.
    pub(super) fn pin(&self, role: &str) -> Option<&MetaFile> {
        self.snapshot()?.meta.get(&format!("{role}.json"))
    }

    /// Whether `other` gives the timestamp or snapshot role to other keys than this root does.
    pub(super) fn rotates(&self, other: &Root) -> bool {
        ["timestamp", "snapshot"].iter().any(|role| public_keys(self.root(), role) != public_keys(other, role))
    }

    /// The next root: signed by the trusted root's keys and by its own. Tells whether timestamp or snapshot keys changed.
    pub(super) fn take_root(&mut self, bytes: &[u8]) -> Result<bool, Refusal> {
        let new = gate::<Root>(bytes, self.limits.root_bytes, &self.limits, "root")?;
        distinct_by_root(&new, self.root(), "root")?;
        distinct_by_root(&new, new.signed(), "root")?;
        let rotates = self.rotates(new.signed());
        self.set.update_root(bytes).map_err(|error| refused("root", &error))?;
        self.root_digest = root_digest(&new);
        self.timestamp_signed.clear();
        self.delegators.clear();
        self.bytes = Stored { root: bytes.to_vec(), ..Stored::default() };
        Ok(rotates)
    }

    pub(super) fn take_timestamp(&mut self, bytes: &[u8]) -> Result<Newness, Refusal> {
        let new = gate::<sigstore_tuf::Timestamp>(bytes, self.limits.timestamp_bytes, &self.limits, "timestamp")?;
        distinct_by_root(&new, self.root(), "timestamp")?;
        match self.set.update_timestamp(bytes, TIMELESS) {
            Ok(()) => {
                self.timestamp_signed = new.signed_canonical().to_vec();
                self.bytes.put(&Slot::Timestamp, bytes.to_vec());
                Ok(Newness::Newer)
            }
            Err(Error::EqualVersion { .. }) if new.signed_canonical() == self.timestamp_signed => Ok(Newness::Same),
            Err(Error::EqualVersion { .. }) => Ok(Newness::Forked),
            Err(error) => Err(refused("timestamp", &error)),
        }
    }

    pub(super) fn take_snapshot(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let new = gate::<Snapshot>(bytes, self.limits.snapshot_bytes, &self.limits, "snapshot")?;
        distinct_by_root(&new, self.root(), "snapshot")?;
        self.set.update_snapshot(bytes, TIMELESS).map_err(|error| refused("snapshot", &error))?;
        self.delegators.clear();
        self.bytes.put(&Slot::Snapshot, bytes.to_vec());
        Ok(())
    }

    /// The top-level targets, or a delegated role as its delegator describes it.
    pub(super) fn take_targets(&mut self, edge: &Edge, bytes: &[u8]) -> Result<(), Refusal> {
        let Edge { role, delegator } = edge;
        let new = gate::<Targets>(bytes, self.limits.targets_bytes, &self.limits, role)?;
        plain_delegations(new.signed(), role)?;
        let taken = if *edge == Edge::top() {
            distinct_by_root(&new, self.root(), role)?;
            self.set.update_targets(bytes, TIMELESS).map(drop)
        } else {
            self.distinct_by_delegator(&new, edge)?;
            self.set.update_delegated_targets(bytes, role, delegator, TIMELESS).map(drop)
        };
        taken.map_err(|error| refused(role, &error))?;
        if *edge != Edge::top() {
            self.delegators.insert(role.clone(), delegator.clone());
        }
        self.bytes.put(&edge.slot(), bytes.to_vec());
        Ok(())
    }

    fn distinct_by_delegator(&self, metadata: &Metadata<Targets>, edge: &Edge) -> Result<(), Refusal> {
        let delegations = self.targets(&edge.delegator).and_then(|targets| targets.delegations.as_ref());
        let found = delegations.and_then(|all| Some((all, all.roles.iter().find(|role| role.name == edge.role)?)));
        match found {
            Some((all, role)) => distinct(metadata, &all.keys, &role.role_keys(), &edge.role),
            None => Err(ROLE.with(format_args!("{} does not delegate to {}", edge.delegator, edge.role), "a delegation")),
        }
    }

    /// A role that was accepted through one delegator counts through another only if that one's keys signed it too.
    fn holds(&self, edge: &Edge) -> Result<(), Refusal> {
        if *edge == Edge::top() || self.delegators.get(&edge.role) == Some(&edge.delegator) {
            return Ok(());
        }
        let bytes = self.bytes.get(&edge.slot());
        let metadata = gate::<Targets>(bytes, self.limits.targets_bytes, &self.limits, &edge.role)?;
        self.distinct_by_delegator(&metadata, edge)?;
        self.set
            .verify_delegated_targets(&edge.role, &edge.delegator, TIMELESS)
            .map(drop)
            .map_err(|error| refused(&edge.role, &error))
    }

    /// The first delegated role that the snapshot pins and that is not loaded yet.
    pub(super) fn unloaded(&self) -> Result<Option<Edge>, Refusal> {
        let mut queue = VecDeque::from([Edge::top()]);
        let mut visited = BTreeSet::new();
        while let Some(edge) = queue.pop_front() {
            if !visited.insert(edge.role.clone()) {
                continue;
            }
            self.within(visited.len())?;
            let Some(targets) = self.targets(&edge.role) else { return Ok(Some(edge)) };
            for child in targets.delegations.iter().flat_map(|delegations| &delegations.roles) {
                if self.reachable(&child.name)? {
                    queue.push_back(Edge { role: child.name.clone(), delegator: edge.role.clone() });
                }
            }
        }
        Ok(None)
    }

    /// Looks for a target as the specification says: depth first in the order of the delegations, only along matching paths, and
    /// no further than a terminating one.
    pub(super) fn search(&self, path: &str) -> Result<Search, Refusal> {
        plain(path)?;
        let mut queue = VecDeque::from([Edge::top()]);
        let mut visited = BTreeSet::new();
        while let Some(edge) = queue.pop_front() {
            if visited.contains(&edge.role) {
                continue;
            }
            self.within(visited.len().saturating_add(1))?;
            let Some(targets) = self.targets(&edge.role) else { return Ok(Search::Needs(edge)) };
            self.holds(&edge)?;
            if let Some(file) = targets.target(path) {
                return self.info(path, &edge.role, file).map(Search::Found);
            }
            let mut children = Vec::new();
            for child in targets.delegations.iter().flat_map(|delegations| &delegations.roles) {
                if !child.matches_path(path).map_err(|error| refused(&child.name, &error))? {
                    continue;
                }
                if self.reachable(&child.name)? {
                    children.push(Edge { role: child.name.clone(), delegator: edge.role.clone() });
                }
                if child.terminating {
                    queue.clear();
                    break;
                }
            }
            visited.insert(edge.role);
            for child in children.into_iter().rev() {
                queue.push_front(child);
            }
        }
        Ok(Search::Nothing)
    }

    /// A delegation that takes a top-level name, or that the snapshot does not know, leads nowhere.
    fn reachable(&self, role: &str) -> Result<bool, Refusal> {
        if role.len() > self.limits.role_name {
            return Err(ROLE.with(role, format_args!("a name of at most {} bytes", self.limits.role_name)));
        }
        Ok(!TOP_LEVEL.contains(&role) && self.pin(role).is_some())
    }

    fn within(&self, roles: usize) -> Result<(), Refusal> {
        if roles > self.limits.roles {
            return Err(ROLE.with(format_args!("{roles} roles"), format_args!("at most {}", self.limits.roles)));
        }
        Ok(())
    }

    fn info(&self, path: &str, role: &str, file: &TargetFile) -> Result<TargetInfo, Refusal> {
        if file.length > self.limits.target_bytes {
            return Err(ENDLESS.with(format_args!("{path}: {} bytes", file.length), self.limits.target_bytes));
        }
        let hex = |name: &str| file.hashes.get(name).map(|hex| hex.to_ascii_lowercase());
        let broken = |why: String| TARGET.with(format_args!("{path}: {why}"), "a digest");
        let sha256: Option<Sha256> = hex("sha256").map(|hex| hex.parse()).transpose().map_err(broken)?;
        let sha512: Option<Sha512> = hex("sha512").map(|hex| hex.parse()).transpose().map_err(broken)?;
        let prefix = match (&sha256, &sha512) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(digest)) => digest.to_string(),
            (None, None) => return Err(TARGET.with(format_args!("{path}: no SHA-2 digest"), "sha256 or sha512")),
        };
        let fetch_path = match path.rsplit_once('/') {
            _ if !self.root().consistent_snapshot => path.to_owned(),
            Some((folder, name)) => format!("{folder}/{prefix}.{name}"),
            None => format!("{prefix}.{path}"),
        };
        Ok(TargetInfo { path: path.to_owned(), role: role.to_owned(), length: file.length, sha256, sha512, fetch_path })
    }
}

/// Refuses a target path that would mean something else as part of a URL or a file name.
fn plain(path: &str) -> Result<(), Refusal> {
    let part =
        |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains('\\') && !part.contains(char::is_control);
    if path.split('/').all(part) { Ok(()) } else { Err(TARGET_PATH.with(path, "plain relative parts")) }
}

/// Version and expiry of a role.
pub(super) fn state_of<T: Role>(name: &str, role: &T) -> RoleState {
    RoleState { name: name.to_owned(), version: role.version(), expires: role.expires() }
}
