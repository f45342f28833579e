//! Which releases the repository has: as they are published, wait for signatures, or are about to be.

use crate::error::REPOSITORY;
use crate::files;
use crate::index::{self, Located, Releases};
use crate::metadata::Targets;
use crate::repo::Repo;
use crate::role::Role;
use crate::staged::Change;
use slipway_protocol::index::node_place;
use slipway_protocol::{ComponentName, Manifest, Refusal, Sha256, Version};
use std::collections::{BTreeMap, BTreeSet};

impl Repo {
    /// A file of an index: new with an edit, waiting for signatures, or published.
    fn node(&self, new: &BTreeMap<String, Vec<u8>>, component: &ComponentName, sha256: &Sha256) -> Result<Vec<u8>, Refusal> {
        let place = node_place(component, sha256);
        match (new.get(&place), self.staged.nodes.get(&place)) {
            (Some(bytes), _) => Ok(bytes.clone()),
            (None, Some(text)) => Ok(text.clone().into_bytes()),
            (None, None) => files::read(&self.public_dir().join("targets").join(place)),
        }
    }

    /// All releases of a component that `targets` signs for, which may be an edit that brings new files.
    pub(crate) fn releases(
        &self,
        targets: &Targets,
        new: &BTreeMap<String, Vec<u8>>,
        component: &ComponentName,
    ) -> Result<Releases, Refusal> {
        let Some(root) = index::root(targets, component)? else { return Ok(Releases::new()) };
        index::read(component, &root, &|sha256| self.node(new, component, sha256))
    }

    /// Where a release is that `targets` signs for: in the component's index, or listed as in a repository from before there were any.
    pub(crate) fn locate(
        &self,
        targets: &Targets,
        component: &ComponentName,
        version: &Version,
    ) -> Result<Option<Located>, Refusal> {
        if let Some(root) = index::root(targets, component)? {
            return index::find(component, &root, version, &|sha256| self.node(&BTreeMap::new(), component, sha256));
        }
        let path = Manifest::target(component, version);
        let Some(file) = targets.targets.get(&path) else { return Ok(None) };
        let sha256 = file.hashes.get("sha256").and_then(|hex| hex.parse().ok());
        let sha256 = sha256.ok_or_else(|| REPOSITORY.with(format_args!("{path}: no SHA-256"), "a target with one"))?;
        Ok(Some(Located { sha256, place: file.place(&path), nodes: Vec::new() }))
    }

    /// The published manifest of a release, as signed.
    pub(crate) fn manifest_bytes(&self, component: &ComponentName, version: &Version) -> Result<Option<Vec<u8>>, Refusal> {
        let Some(targets) = self.state.roles.get(&Role::Releases) else { return Ok(None) };
        let Some(found) = self.locate(targets, component, version)? else { return Ok(None) };
        let place = self.public_dir().join("targets").join(found.place);
        let bytes = files::read(&place)?;
        if Sha256::of(&bytes) != found.sha256 {
            return Err(REPOSITORY.with(format_args!("{} was changed", place.display()), "the bytes that were signed"));
        }
        Ok(Some(bytes))
    }

    /// The files of indexes that a signer needs to see what changes; all that are new are among them.
    pub(crate) fn index_files(
        &self,
        change: &Change,
        new: &BTreeMap<String, Vec<u8>>,
    ) -> Result<BTreeMap<String, String>, Refusal> {
        let mut carried = BTreeMap::new();
        let Some(envelope) = change.next.get(&Role::Releases) else { return Ok(carried) };
        let after: Targets = envelope.read("releases")?;
        let before = self.state.roles.get(&Role::Releases);
        let mut all: BTreeSet<ComponentName> = index::components(&after).into_iter().collect();
        all.extend(before.map(index::components).unwrap_or_default());
        for component in all {
            let old = before.map(|before| index::root(before, &component)).transpose()?.flatten();
            let get = |sha256: &Sha256| self.node(new, &component, sha256);
            for sha256 in index::differences(&component, old, index::root(&after, &component)?, &get)?.files {
                let text = String::from_utf8(get(&sha256)?).map_err(|error| REPOSITORY.with(error, "an index in UTF-8"))?;
                carried.insert(node_place(&component, &sha256), text);
            }
        }
        Ok(carried)
    }
}
