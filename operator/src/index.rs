//! The index of a component's releases as the operator's side reads, compares and writes it.
//!
//! The role `releases` signs for the root of each component's index alone. Here the tree is read as a whole, changed as a plain map,
//! and built anew: equal releases make equal trees, so only the files on the way to what changed are new.

use crate::error::{REPOSITORY, STAGED};
use crate::metadata::{TargetFile, Targets};
use crate::repo::Repo;
use crate::role::Role;
use crate::staged::{Change, Edits};
use slipway_protocol::index::{self, Node};
use slipway_protocol::{ComponentName, Manifest, Refusal, Sha256, Version};
use std::collections::{BTreeMap, BTreeSet};

/// Digests of manifests, by version as it is written.
pub(crate) type Releases = BTreeMap<String, Sha256>;
/// Reads a file of an index; its digest is compared by whoever asks.
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
fn read(component: &ComponentName, root: &Sha256, files: Files<'_>) -> Result<Releases, Refusal> {
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

impl Edits {
    /// Lets the role `releases` sign for the index of exactly these releases; for none, if there are none.
    pub(crate) fn set_index(&mut self, targets: &mut Targets, component: &ComponentName, releases: &Releases) {
        let (root, files) = index::build(releases);
        if let Some(bytes) = files.get(&root) {
            targets.targets.insert(index::target(component), TargetFile::of(bytes));
        }
        self.nodes.extend(files.into_iter().map(|(sha256, bytes)| (index::node_place(component, &sha256), bytes)));
    }
}

impl Change {
    /// What the index of a component says otherwise than the published one, from the files that the change carries.
    pub(crate) fn index_changes(&self, component: &ComponentName) -> Result<Differences, Refusal> {
        let of = |envelopes: &BTreeMap<Role, crate::metadata::Envelope>| match envelopes.get(&Role::Releases) {
            Some(envelope) => root(&envelope.read("releases")?, component),
            None => Ok(None),
        };
        differences(component, of(&self.base)?, of(&self.next)?, &|sha256| self.node(component, sha256))
    }

    /// A file of an index that the change carries.
    pub(crate) fn node(&self, component: &ComponentName, sha256: &Sha256) -> Result<Vec<u8>, Refusal> {
        let place = index::node_place(component, sha256);
        let text = self.nodes.get(&place);
        text.map(|text| text.clone().into_bytes()).ok_or_else(|| STAGED.with(format_args!("no {place}"), "all of what changes"))
    }
}

impl Repo {
    /// A file of an index: new with an edit, waiting for signatures, or published.
    fn node(&self, new: &BTreeMap<String, Vec<u8>>, component: &ComponentName, sha256: &Sha256) -> Result<Vec<u8>, Refusal> {
        let place = index::node_place(component, sha256);
        match (new.get(&place), self.staged.nodes.get(&place)) {
            (Some(bytes), _) => Ok(bytes.clone()),
            (None, Some(text)) => Ok(text.clone().into_bytes()),
            (None, None) => crate::files::read(&self.public_dir().join("targets").join(place)),
        }
    }

    /// All releases of a component that `targets` signs for, which may be an edit that brings new files.
    pub(crate) fn releases(
        &self,
        targets: &Targets,
        new: &BTreeMap<String, Vec<u8>>,
        component: &ComponentName,
    ) -> Result<Releases, Refusal> {
        let Some(root) = root(targets, component)? else { return Ok(Releases::new()) };
        read(component, &root, &|sha256| self.node(new, component, sha256))
    }

    /// Where a release is that `targets` signs for: in the component's index, or listed as in a repository from before there were any.
    pub(crate) fn locate(
        &self,
        targets: &Targets,
        component: &ComponentName,
        version: &Version,
    ) -> Result<Option<Located>, Refusal> {
        if let Some(root) = root(targets, component)? {
            return find(component, &root, version, &|sha256| self.node(&BTreeMap::new(), component, sha256));
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
        let bytes = crate::files::read(&place)?;
        if Sha256::of(&bytes) != found.sha256 {
            return Err(REPOSITORY.with(format_args!("{} was changed", place.display()), "the bytes that were signed"));
        }
        Ok(Some(bytes))
    }

    /// The files of indexes that whoever signs a change needs to see what changes; all that are new are among them.
    pub(crate) fn index_files(
        &self,
        change: &Change,
        new: &BTreeMap<String, Vec<u8>>,
    ) -> Result<BTreeMap<String, String>, Refusal> {
        let mut carried = BTreeMap::new();
        let Some(envelope) = change.next.get(&Role::Releases) else { return Ok(carried) };
        let after: Targets = envelope.read("releases")?;
        let before = self.state.roles.get(&Role::Releases);
        let mut all: BTreeSet<ComponentName> = components(&after).into_iter().collect();
        all.extend(before.map(components).unwrap_or_default());
        for component in all {
            let old = before.map(|before| root(before, &component)).transpose()?.flatten();
            let get = |sha256: &Sha256| self.node(new, &component, sha256);
            for sha256 in differences(&component, old, root(&after, &component)?, &get)?.files {
                let text = String::from_utf8(get(&sha256)?).map_err(|error| REPOSITORY.with(error, "an index in UTF-8"))?;
                carried.insert(index::node_place(&component, &sha256), text);
            }
        }
        Ok(carried)
    }
}
