//! Finds the manifest of a release: through the index that the role `releases` signs for, or, in a repository from before there were
//! indexes, listed by that role itself.
//!
//! Nothing is fetched here: the caller gives the files that are at hand, and learns which one is needed next.

use super::checks::{CACHE, INDEX, NO_TARGET, TARGET};
use super::repository::{AuthenticTarget, Repository};
use slipway_protocol::index::{self, Node};
use slipway_protocol::manifest::MANIFEST_LIMITS;
use slipway_protocol::{ComponentName, Manifest, Refusal, Sha256, Version};

/// What a search for a manifest came to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ManifestSearch {
    /// This file of the index is needed next.
    Node(ReleaseFile),
    /// The manifest, and the files of the index that led to it.
    Manifest(ReleaseFile, Vec<Sha256>),
    /// The repository has no index for this component: the manifest is a target like any other, if there is one.
    Listed,
}

/// A file that signed metadata names by way of an index.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct ReleaseFile {
    /// Where to fetch it, below the repository's `targets/`.
    pub fetch_path: String,
    /// The most bytes that it may have.
    pub limit: u64,
    /// Its digest.
    pub sha256: Sha256,
}

impl ReleaseFile {
    fn new(fetch_path: String, limit: usize, sha256: Sha256) -> Self {
        Self { fetch_path, limit: u64::try_from(limit).unwrap_or(u64::MAX), sha256 }
    }

    /// Whether these are the bytes that are named.
    ///
    /// # Errors
    /// `SLW-T-TARGET` when they are not.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Refusal> {
        if u64::try_from(bytes.len()).map_or(true, |len| len > self.limit) {
            let seen = format_args!("{}: {} bytes or more", self.fetch_path, bytes.len());
            return Err(TARGET.with(seen, format_args!("at most {}", self.limit)));
        }
        let seen = Sha256::of(bytes);
        if seen != self.sha256 {
            return Err(TARGET.with(format_args!("{}: {seen}", self.fetch_path), self.sha256));
        }
        Ok(())
    }
}

impl Repository {
    /// Looks for the manifest of a release as far as `nodes`, the files of its index that are at hand by digest, go. A file that is
    /// not the one of that digest counts as not there.
    ///
    /// # Errors
    /// `SLW-T-NO-TARGET` when the release keys do not sign for this release, `SLW-T-INDEX` when what they sign for is no index.
    pub fn find_manifest(
        &self,
        component: &ComponentName,
        version: &Version,
        nodes: impl Fn(&Sha256) -> Option<Vec<u8>>,
    ) -> Result<ManifestSearch, Refusal> {
        let target = index::target(component);
        let root = match self.lookup(&target) {
            Ok(root) => root,
            Err(refusal) if refusal.repeats(&NO_TARGET) => return Ok(ManifestSearch::Listed),
            Err(refusal) => return Err(refusal),
        };
        let bad = |what: &str, why: String| INDEX.with(format_args!("{what}: {why}"), "an index that `slipway` wrote");
        let mut wanted = root.sha256.ok_or_else(|| bad(&target, "no SHA-256".to_owned()))?;
        let mut passed = Vec::new();
        for level in 0..index::DEPTH {
            let file = ReleaseFile::new(index::node_place(component, &wanted), index::NODE_LIMITS.bytes, wanted);
            let Some(bytes) = nodes(&wanted).filter(|bytes| file.check(bytes).is_ok()) else {
                return Ok(ManifestSearch::Node(file));
            };
            passed.push(wanted);
            let next = match Node::parse(&bytes).map_err(|why| bad(&file.fetch_path, why))? {
                Node::Releases(releases) => {
                    let Some(found) = releases.get(version.as_str()) else { break };
                    let place = index::manifest_place(component, version.as_str(), found);
                    return Ok(ManifestSearch::Manifest(ReleaseFile::new(place, MANIFEST_LIMITS.bytes, *found), passed));
                }
                Node::Nodes(nodes) => index::digit(version.as_str(), level).and_then(|digit| nodes.get(&digit).copied()),
            };
            let Some(next) = next else { break };
            wanted = next;
        }
        Err(NO_TARGET.with(Manifest::target(component, version), format_args!("a release in {target}")))
    }

    /// Checks `bytes` against the digest that the index, or the role itself, has for the manifest of a release.
    ///
    /// # Errors
    /// As [`Self::find_manifest`] and [`Self::authenticate`]; `SLW-T-CACHE` when a file of the index is not at hand.
    pub fn authenticate_manifest(
        &self,
        component: &ComponentName,
        version: &Version,
        nodes: impl Fn(&Sha256) -> Option<Vec<u8>>,
        bytes: Vec<u8>,
    ) -> Result<AuthenticTarget, Refusal> {
        let path = Manifest::target(component, version);
        match self.find_manifest(component, version, nodes)? {
            ManifestSearch::Listed => self.authenticate(&path, bytes),
            ManifestSearch::Node(file) => Err(CACHE.with(format_args!("no usable {}", file.fetch_path), "the index of releases")),
            ManifestSearch::Manifest(file, _) => {
                let role = self.lookup(&index::target(component))?.role;
                self.unlocked_for(&role)?;
                file.check(&bytes)?;
                Ok(AuthenticTarget { path, role, bytes })
            }
        }
    }
}
