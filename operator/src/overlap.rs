//! From a repository of formats-1, whose role `releases` listed every manifest, to one with indexes, and the time in which both kinds of
//! agents are served.
//!
//! While the overlap lasts, the role also lists what agents of formats-1 need to follow and to update themselves: the release that each
//! channel names, and the newest of each component, the agent's own among them. A channel may then move on to the newest with the
//! rollout key alone.

use crate::error::{MIGRATE, REPOSITORY};
use crate::index::{Releases, components, of_manifest};
use crate::metadata::{TargetFile, Targets};
use crate::repo::Repo;
use crate::role::{Role, expiry};
use crate::staged::Edits;
use jiff::Timestamp;
use slipway_protocol::{Channel, ComponentName, Manifest, Refusal, Sha256, Version, index};
use std::collections::{BTreeMap, BTreeSet};

/// How many days agents of formats-1 are served beside newer ones, unless said otherwise: a device that is switched off for a season
/// still finds its way.
pub const OVERLAP_DAYS: u32 = 90;

/// Whether a role lists all manifests, as `slipway` wrote it before there were indexes.
pub(crate) fn is_formats_1(releases: &Targets) -> bool {
    releases.overlap_until.is_none() && releases.targets.keys().any(|path| of_manifest(path).is_some())
}

impl Repo {
    /// Whether this repository must be migrated before releases are added or retired.
    ///
    /// # Errors
    /// `SLW-O-MIGRATE` if so.
    pub(crate) fn has_indexes(&self) -> Result<(), Refusal> {
        if is_formats_1(&self.draft(Role::Releases)?) {
            return Err(MIGRATE.with("a role `releases` that lists every manifest", "an index for each component"));
        }
        Ok(())
    }

    /// Gives a repository of formats-1 indexes. For `days` its role `releases` also serves agents of formats-1; for 0 days not at all. In a
    /// repository that has indexes, it brings up to date what those agents see, or ends that with 0 days.
    ///
    /// # Errors
    /// When something cannot be read, written or signed.
    pub fn migrate(&mut self, days: u32, now: Timestamp) -> Result<(), Refusal> {
        let mut targets = self.draft(Role::Releases)?;
        let mut edits = Edits::default();
        if is_formats_1(&targets) {
            let mut all: BTreeMap<ComponentName, Releases> = BTreeMap::new();
            for (path, file) in &targets.targets {
                let Some((component, version)) = of_manifest(path) else { continue };
                let sha256 = file.hashes.get("sha256").and_then(|hex| hex.parse::<Sha256>().ok());
                let sha256 = sha256.ok_or_else(|| REPOSITORY.with(format_args!("{path}: no SHA-256"), "a target with one"))?;
                all.entry(component).or_default().insert(version.as_str().to_owned(), sha256);
            }
            for (component, releases) in &all {
                edits.set_index(&mut targets, component, releases);
            }
            // Even for 0 days: that it is set and over is what takes the list away.
            targets.overlap_until = Some(expiry(now, days)?);
        } else if targets.overlap_until.is_none() {
            return Ok(());
        } else if days == 0 {
            targets.overlap_until = Some(now);
        }
        edits.roles.insert(Role::Releases, targets);
        self.commit(edits, now)
    }

    /// Until when agents of formats-1 are served.
    #[must_use]
    pub fn overlap_until(&self) -> Option<Timestamp> {
        self.state.roles.get(&Role::Releases).and_then(|releases| releases.overlap_until)
    }

    /// Whether this repository is one of formats-1, to be changed by [`Self::migrate`].
    #[must_use]
    pub fn is_formats_1(&self) -> bool {
        self.state.roles.get(&Role::Releases).is_some_and(is_formats_1)
    }

    /// Lists for agents of formats-1 what they need, and nothing more; nothing at all once the overlap is over.
    pub(crate) fn list(&self, releases: &mut Targets, edits: &Edits, now: Timestamp) -> Result<(), Refusal> {
        let Some(until) = releases.overlap_until else { return Ok(()) };
        releases.targets.retain(|path, _| of_manifest(path).is_none());
        if until <= now {
            releases.overlap_until = None;
            return Ok(());
        }
        for component in components(releases) {
            let all = self.releases(releases, &edits.nodes, &component)?;
            let mut wanted = self.named_by_channels(Some(edits), &component)?;
            let versions = index::versions(&all).map_err(|why| REPOSITORY.with(why, "versions"))?;
            wanted.extend(versions.into_iter().next_back().map(|(_, newest)| newest));
            for (version, sha256) in all.iter().filter(|(version, _)| wanted.contains(*version)) {
                let version: Version = version.parse().map_err(|why: String| REPOSITORY.with(why, "a version"))?;
                let path = Manifest::target(&component, &version);
                let bytes = match edits.files.get(&path).cloned().map_or_else(|| self.staged.file(&path), |new| Ok(Some(new)))? {
                    Some(bytes) => bytes,
                    None => {
                        let place = index::manifest_place(&component, version.as_str(), sha256);
                        crate::files::read(&self.public_dir().join("targets").join(place))?
                    }
                };
                if Sha256::of(&bytes) != *sha256 {
                    return Err(REPOSITORY.with(format_args!("{path} was changed"), "the bytes that were signed"));
                }
                releases.targets.insert(path, TargetFile::of(&bytes));
            }
        }
        Ok(())
    }

    /// The versions that channels of a component name: as published, as they wait for signatures, and as they are about to be.
    pub(crate) fn named_by_channels(
        &self,
        edits: Option<&Edits>,
        component: &ComponentName,
    ) -> Result<BTreeSet<String>, Refusal> {
        Ok(self.channels_of(edits, component)?.into_iter().map(|channel| channel.release.as_str().to_owned()).collect())
    }

    /// The channels of a component, each as often as it differs in what is published, waits, and is about to be.
    pub(crate) fn channels_of(&self, edits: Option<&Edits>, component: &ComponentName) -> Result<Vec<Channel>, Refusal> {
        let folder = format!("channels/{component}/");
        let draft = self.draft(Role::Channels)?;
        let roles =
            [edits.and_then(|edits| edits.roles.get(&Role::Channels)), Some(&draft), self.state.roles.get(&Role::Channels)];
        let mut found = Vec::new();
        for (path, file) in
            roles.into_iter().flatten().flat_map(|role| &role.targets).filter(|(path, _)| path.starts_with(&folder))
        {
            let new = edits.and_then(|edits| edits.files.get(path)).cloned();
            let held = [new, self.staged.file(path)?].into_iter().flatten().find(|bytes| TargetFile::of(bytes) == *file);
            let bytes = match held {
                Some(bytes) => bytes,
                None => crate::files::read(&self.public_dir().join("targets").join(file.place(path)))?,
            };
            found.push(Channel::parse(&bytes).map_err(|why| REPOSITORY.with(why, "a channel"))?);
        }
        Ok(found)
    }

    /// The edit that lets agents of formats-1 follow a channel to a release, if they cannot yet, and the release keys are here.
    pub(crate) fn also_list(&self, edits: &mut Edits, channel: &Channel, now: Timestamp) -> Result<(), Refusal> {
        let releases = self.draft(Role::Releases)?;
        let path = Manifest::target(&channel.component, &channel.release);
        let needed = releases.overlap_until.is_some_and(|until| until > now) && !releases.targets.contains_key(&path);
        let quorum = self.authority()?.quorum(Role::Releases)?;
        let here = quorum.keys.values().filter(|key| self.keys.has(key)).count();
        // A channel does not wait for what waits already.
        let waits = self.staged.next.contains_key(&Role::Releases);
        if needed && !waits && u32::try_from(here).is_ok_and(|here| here >= quorum.threshold) {
            edits.roles.insert(Role::Releases, releases);
        }
        Ok(())
    }
}
