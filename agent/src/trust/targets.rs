//! Stores signed targets and evidence on disk under their SHA-256.
//!
//! No name from outside is ever a path.

use super::sigstore::MIRROR;
use super::{CACHE, MISSING, NoCandidate, RepositoryTransport, Trust, TrustFloors, policy_target, read_file};
use crate::fetch::Small;
use crate::storage::durable;
use crate::storage::layout;
use slipway_protocol::{Channel, ComponentName, Manifest, Refusal, Sha256, Version, index};
use slipway_verify::tuf::{AuthenticTarget, Kind, ManifestSearch, Repository};
use std::collections::BTreeSet;
use std::path::PathBuf;

impl Trust {
    /// A target from the cache, or over the transport and then cached.
    pub(super) async fn target(
        &self,
        place: &RepositoryTransport,
        repository: &Repository,
        path: &str,
    ) -> Result<AuthenticTarget, NoCandidate> {
        let info = repository.lookup(path)?;
        if let Some(target) = self.cached_target(repository, path) {
            return Ok(target);
        }
        let Small::Bytes(bytes) = place.get(Kind::Target, &info.fetch_path, info.length).await? else {
            return Err(MISSING.with(format_args!("no {}", info.fetch_path), "the file").into());
        };
        let target = repository.authenticate(path, bytes)?;
        self.keep_target(target.bytes())?;
        Ok(target)
    }

    /// The manifest of a release: from the cache, or over the transport and then cached, with the files of the index on the way to it.
    pub(super) async fn manifest(
        &self,
        place: &RepositoryTransport,
        repository: &Repository,
        component: &ComponentName,
        version: &Version,
    ) -> Result<AuthenticTarget, NoCandidate> {
        // Every turn brings one file, or is the last; a disk that keeps none must not keep this from ending.
        for _ in 0..=index::DEPTH {
            let (file, found) = match repository.find_manifest(component, version, |sha256| self.cached(sha256))? {
                ManifestSearch::Listed => return self.target(place, repository, &Manifest::target(component, version)).await,
                ManifestSearch::Node(file) => (file, false),
                ManifestSearch::Manifest(file, _) => (file, true),
            };
            if let Some(manifest) = self.cached_manifest(repository, component, version).filter(|_| found) {
                return Ok(manifest);
            }
            let Small::Bytes(bytes) = place.get(Kind::Target, &file.fetch_path, file.limit).await? else {
                return Err(MISSING.with(format_args!("no {}", file.fetch_path), "the file").into());
            };
            file.check(&bytes)?;
            self.keep_target(&bytes)?;
        }
        let cached = || CACHE.with(format_args!("no usable {}", Manifest::target(component, version)), "what was just stored");
        self.cached_manifest(repository, component, version).ok_or_else(|| cached().into())
    }

    /// The manifest of a release, if it and the files of the index on the way to it are in the cache.
    pub(super) fn cached_manifest(
        &self,
        repository: &Repository,
        component: &ComponentName,
        version: &Version,
    ) -> Option<AuthenticTarget> {
        match repository.find_manifest(component, version, |sha256| self.cached(sha256)).ok()? {
            ManifestSearch::Listed => self.cached_target(repository, &Manifest::target(component, version)),
            ManifestSearch::Node(_) => None,
            ManifestSearch::Manifest(file, _) => self.cached_as(repository, component, version, &file.sha256),
        }
    }

    fn cached_as(
        &self,
        repository: &Repository,
        component: &ComponentName,
        version: &Version,
        sha256: &Sha256,
    ) -> Option<AuthenticTarget> {
        let bytes = self.cached(sha256)?;
        repository.authenticate_manifest(component, version, |sha256| self.cached(sha256), bytes).ok()
    }

    /// What is in the cache under a digest; the caller verifies it.
    pub(super) fn cached(&self, sha256: &Sha256) -> Option<Vec<u8>> {
        read_file(&self.cache_name(layout::TARGETS, sha256))
    }

    /// The digests of a release's manifest and of the files of the index on the way to it, as far as they are cached.
    fn release_files(&self, repository: &Repository, component: &ComponentName, version: &Version) -> Vec<Sha256> {
        match repository.find_manifest(component, version, |sha256| self.cached(sha256)) {
            Ok(ManifestSearch::Listed) => {
                repository.lookup(&Manifest::target(component, version)).ok().and_then(|info| info.sha256).into_iter().collect()
            }
            Ok(ManifestSearch::Manifest(file, nodes)) => nodes.into_iter().chain([file.sha256]).collect(),
            Ok(ManifestSearch::Node(_)) | Err(_) => Vec::new(),
        }
    }

    pub(super) fn keep_target(&self, bytes: &[u8]) -> Result<(), Refusal> {
        let cached = self.cache_name(layout::TARGETS, &Sha256::of(bytes));
        durable::write_atomic(&cached, bytes, 0o644).map_err(|error| durable::refusal(&cached, &error))
    }

    /// A target that need not exist; one that does and cannot be read is an error, never an absence.
    pub(super) fn optional_target(&self, repository: &Repository, path: &str) -> Result<Option<AuthenticTarget>, Refusal> {
        if repository.lookup(path).is_err() {
            return Ok(None);
        }
        let wanted = || CACHE.with(format_args!("no usable {path}"), "the target that signed metadata names");
        self.cached_target(repository, path).ok_or_else(wanted).map(Some)
    }

    pub(super) fn cached_target(&self, repository: &Repository, path: &str) -> Option<AuthenticTarget> {
        let sha256 = repository.lookup(path).ok()?.sha256?;
        repository.authenticate(path, self.cached(&sha256)?).ok()
    }

    /// Removes what nothing needs any more: targets of older metadata, evidence of releases that are gone. Slots have their own copies;
    /// the proof of artifacts that are `under_way` is nowhere else, although the channel may name another release by now.
    ///
    /// # Errors
    /// Of the file system.
    pub fn collect(&self, trust_floors: &TrustFloors, under_way: &[Sha256]) -> Result<(), Refusal> {
        let Ok(repository) = self.repository(trust_floors) else { return Ok(()) };
        let mut keep: BTreeSet<Sha256> = trust_floors.trusted_root.into_iter().collect();
        for component in &self.components {
            let channel = Channel::target(&component.name, &component.channel);
            let release = self.cached_target(&repository, &channel).and_then(|target| Channel::parse(target.bytes()).ok());
            for path in [channel, policy_target(&component.name), MIRROR.to_owned()] {
                keep.extend(repository.lookup(&path).ok().and_then(|info| info.sha256));
            }
            let named = release.map(|channel| channel.release);
            keep.extend(named.iter().flat_map(|version| self.release_files(&repository, &component.name, version)));
            let manifest = named.and_then(|version| self.cached_manifest(&repository, &component.name, &version));
            let artifacts = manifest.and_then(|target| Manifest::parse(target.bytes()).ok()).map(|manifest| manifest.artifacts);
            keep.extend(artifacts.into_iter().flatten().map(|artifact| artifact.provenance.sha256));
        }
        let targets = self.dir.join(layout::TARGETS);
        for entry in std::fs::read_dir(&targets).map_err(|error| durable::refusal(&targets, &error))?.flatten() {
            let Some(bytes) = read_file(&entry.path()).filter(|_| !under_way.is_empty()) else { continue };
            let Ok(manifest) = Manifest::parse(&bytes) else { continue };
            if manifest.artifacts.iter().any(|artifact| under_way.contains(&artifact.sha256)) {
                keep.insert(Sha256::of(&bytes));
                keep.extend(self.release_files(&repository, &manifest.component, &manifest.version));
                keep.extend(manifest.artifacts.iter().map(|artifact| artifact.provenance.sha256));
            }
        }
        for folder in [layout::TARGETS, layout::EVIDENCE] {
            let folder = self.dir.join(folder);
            let failed = |error: std::io::Error| durable::refusal(&folder, &error);
            for entry in std::fs::read_dir(&folder).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let known = entry
                    .file_name()
                    .to_str()
                    .and_then(|name| name.parse::<Sha256>().ok())
                    .is_some_and(|name| keep.contains(&name));
                if !known {
                    // Not synced: what comes back is removed again.
                    std::fs::remove_file(entry.path()).map_err(failed)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn cache_name(&self, folder: &str, digest: &Sha256) -> PathBuf {
        self.dir.join(folder).join(digest.to_string())
    }
}
