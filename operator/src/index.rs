//! The index of a component's releases as the operator's side reads and compares it.
//!
//! The role `releases` signs for the root of each component's index alone. Here the tree is read as a whole, changed as a plain map,
//! and built anew: equal releases make equal trees, so only the files on the way to what changed are new.

use crate::error::REPOSITORY;
use crate::metadata::Targets;
use slipway_protocol::index::{self, Node};
use slipway_protocol::{ComponentName, Refusal, Sha256, Version};
use std::collections::{BTreeMap, BTreeSet};

/// Digests of manifests, by version as it is written.
pub(crate) type Releases = BTreeMap<String, Sha256>;
/// Reads a file of an index; the caller compares its digest.
pub(crate) type Files<'a> = &'a dyn Fn(&Sha256) -> Result<Vec<u8>, Refusal>;

/// Where a manifest is, and the files of the index on the way to it, below `public/targets/`.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) sha256: Sha256,
    pub(crate) place: String,
    pub(crate) nodes: Vec<String>,
}

/// What one index says otherwise than another.
#[derive(Debug, Default)]
pub(crate) struct Differences {
    /// Version, digest before, digest after.
    pub(crate) releases: Vec<(String, Option<Sha256>, Option<Sha256>)>,
    /// The files that were read to find that out.
    pub(crate) files: BTreeSet<Sha256>,
}

/// The target of an index's root, if this role signs for one.
pub(crate) fn root(targets: &Targets, component: &ComponentName) -> Result<Option<Sha256>, Refusal> {
    let path = index::target(component);
    let bad = |why: String| REPOSITORY.with(format_args!("{path}: {why}"), "a target with a SHA-256");
    let Some(file) = targets.targets.get(&path) else { return Ok(None) };
    file.hashes.get("sha256").ok_or_else(|| bad("no SHA-256".to_owned()))?.parse().map(Some).map_err(bad)
}

/// Every component that has an index.
pub(crate) fn components(targets: &Targets) -> Vec<ComponentName> {
    let name = |path: &String| path.strip_prefix("releases/")?.strip_suffix("/index")?.parse().ok();
    targets.targets.keys().filter_map(name).collect()
}

/// Component and version of a manifest's target path.
pub(crate) fn of_manifest(path: &str) -> Option<(ComponentName, Version)> {
    let (component, name) = path.strip_prefix("releases/")?.split_once('/')?;
    Some((component.parse().ok()?, name.strip_suffix(".json")?.parse().ok()?))
}

fn node(component: &ComponentName, sha256: &Sha256, files: Files<'_>) -> Result<Node, Refusal> {
    let bytes = files(sha256)?;
    let bad = |why: &dyn std::fmt::Display| {
        REPOSITORY.with(format_args!("{}: {why}", index::node_place(component, sha256)), "the index that was signed")
    };
    if Sha256::of(&bytes) != *sha256 {
        return Err(bad(&"was changed"));
    }
    Node::parse(&bytes).map_err(|why| bad(&why))
}

/// Everything below `at`; the files read go to `seen`.
fn collect(
    component: &ComponentName,
    at: &Sha256,
    files: Files<'_>,
    depth: usize,
    seen: &mut BTreeSet<Sha256>,
    found: &mut Releases,
) -> Result<(), Refusal> {
    if depth >= index::DEPTH {
        return Err(REPOSITORY.with(index::node_place(component, at), "an index that ends"));
    }
    seen.insert(*at);
    match node(component, at, files)? {
        Node::Releases(releases) => found.extend(releases),
        Node::Nodes(nodes) => {
            for next in nodes.values() {
                collect(component, next, files, depth.saturating_add(1), seen, found)?;
            }
        }
    }
    Ok(())
}

/// All releases of an index.
pub(crate) fn read(component: &ComponentName, root: &Sha256, files: Files<'_>) -> Result<Releases, Refusal> {
    let mut found = Releases::new();
    collect(component, root, files, 0, &mut BTreeSet::new(), &mut found)?;
    Ok(found)
}

/// Adds where an index's files and manifests are to `places`. What is in `seen` was read before.
pub(crate) fn places(
    component: &ComponentName,
    at: &Sha256,
    read: &dyn Fn(&str) -> Result<Vec<u8>, Refusal>,
    seen: &mut BTreeSet<Sha256>,
    places: &mut BTreeSet<String>,
) -> Result<(), Refusal> {
    if !seen.insert(*at) {
        return Ok(());
    }
    let place = index::node_place(component, at);
    let node = node(component, at, &|_| read(&place))?;
    places.insert(place);
    match node {
        Node::Releases(all) => {
            places.extend(all.iter().map(|(version, sha256)| index::manifest_place(component, version, sha256)));
            Ok(())
        }
        Node::Nodes(nodes) => nodes.values().try_for_each(|next| self::places(component, next, read, seen, places)),
    }
}

/// Where one release is in an index.
pub(crate) fn find(
    component: &ComponentName,
    root: &Sha256,
    version: &Version,
    files: Files<'_>,
) -> Result<Option<Located>, Refusal> {
    let (mut at, mut nodes) = (*root, Vec::new());
    for level in 0..index::DEPTH {
        nodes.push(index::node_place(component, &at));
        let next = match node(component, &at, files)? {
            Node::Releases(releases) => {
                let found = releases.get(version.as_str());
                let place = |sha256: &Sha256| index::manifest_place(component, version.as_str(), sha256);
                return Ok(found.map(|sha256| Located { sha256: *sha256, place: place(sha256), nodes }));
            }
            Node::Nodes(nodes) => index::digit(version.as_str(), level).and_then(|digit| nodes.get(&digit).copied()),
        };
        let Some(next) = next else { return Ok(None) };
        at = next;
    }
    Ok(None)
}

/// What changes from one index to another. Parts that both have are not read.
pub(crate) fn differences(
    component: &ComponentName,
    old: Option<Sha256>,
    new: Option<Sha256>,
    files: Files<'_>,
) -> Result<Differences, Refusal> {
    let mut all = Differences::default();
    compare(component, old, new, files, 0, &mut all)?;
    all.releases.sort();
    Ok(all)
}

fn compare(
    component: &ComponentName,
    old: Option<Sha256>,
    new: Option<Sha256>,
    files: Files<'_>,
    depth: usize,
    all: &mut Differences,
) -> Result<(), Refusal> {
    if old == new {
        return Ok(());
    }
    let mut read = |at: Option<Sha256>| {
        all.files.extend(at);
        at.map(|at| node(component, &at, files)).transpose()
    };
    if let (Some(Node::Nodes(before)), Some(Node::Nodes(after))) = (read(old)?, read(new)?) {
        for digit in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
            let (old, new) = (before.get(digit).copied(), after.get(digit).copied());
            compare(component, old, new, files, depth.saturating_add(1), all)?;
        }
        return Ok(());
    }
    let (mut before, mut after) = (Releases::new(), Releases::new());
    for (at, found) in [(old, &mut before), (new, &mut after)] {
        if let Some(at) = at {
            collect(component, &at, files, depth, &mut all.files, found)?;
        }
    }
    for version in before.keys().chain(after.keys()).collect::<BTreeSet<_>>() {
        let (old, new) = (before.get(version).copied(), after.get(version).copied());
        if old != new {
            all.releases.push((version.clone(), old, new));
        }
    }
    Ok(())
}
