//! The index of a component's releases: which manifests the release keys sign for, in a tree of small files.
//!
//! The role `releases` signs for one target of each component, `releases/<component>/index`. That is the tree's root, and names
//! every other file of it by SHA-256. A reader of one release reads the files on the way to it and no others, so what a device
//! reads grows with the logarithm of the number of releases.
//!
//! ```text
//! releases/edgecore/<sha256>.index          {"nodes":{"0":"<sha256>",…,"f":"<sha256>"},"v":1}
//! releases/edgecore/<sha256>.index          {"releases":{"v1.23.1":"<sha256>",…},"v":1}
//! releases/edgecore/<sha256>.v1.23.1.json   the manifest
//! ```
//!
//! The digit that leads on from level `n` is digit `n` of the SHA-256 of the version as it is written, in lowercase hexadecimal.
//! A subtree of at most [`LEAF`] releases is one file, so that equal releases make equal trees, whatever was there before.

use crate::{ComponentName, Sha256, Version, json};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The most releases that one file names: as large as a file of sixteen digests, so that no step of the way is larger than
/// another by much.
pub const LEAF: usize = 8;
/// The most files on the way to a release: 16 to the power of this are more releases than there can be.
pub const DEPTH: usize = 16;
/// A file of the index has at most 1.3 KB; there is room for members of later formats.
pub const NODE_LIMITS: json::Limits = json::Limits { bytes: 4096, depth: 4 };

/// One file of an index.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Node {
    /// Digests of manifests, by version as it is written.
    Releases(BTreeMap<String, Sha256>),
    /// Digests of further files, by the digit that leads there.
    Nodes(BTreeMap<char, Sha256>),
}

/// Unknown members are ignored: what changes the meaning of these raises `v`.
#[derive(Deserialize)]
struct Wire {
    v: u32,
    releases: Option<BTreeMap<String, Sha256>>,
    nodes: Option<BTreeMap<char, Sha256>>,
}

impl Node {
    /// Parses a file of an index.
    ///
    /// # Errors
    /// Says which member is wrong and why.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let wire: Wire = json::parse(bytes, NODE_LIMITS).map_err(|error| format!("index is malformed: {error}"))?;
        if wire.v != 1 {
            return Err(format!("index has format {}, this agent knows 1", wire.v));
        }
        match (wire.releases, wire.nodes) {
            (Some(releases), None) => Ok(Self::Releases(releases)),
            (None, Some(nodes)) => Ok(Self::Nodes(nodes)),
            _ => Err("index has both or none of `releases` and `nodes`".to_owned()),
        }
    }

    /// The file's bytes: one text for one value.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let text = |digests: Vec<(String, &Sha256)>| {
            let member = |(name, digest): &(String, &Sha256)| format!("{}:\"{digest}\"", serde_json::Value::from(name.as_str()));
            digests.iter().map(member).collect::<Vec<_>>().join(",")
        };
        let (name, members) = match self {
            Self::Releases(releases) => ("releases", text(releases.iter().map(|(name, to)| (name.clone(), to)).collect())),
            Self::Nodes(nodes) => ("nodes", text(nodes.iter().map(|(digit, to)| (digit.to_string(), to)).collect())),
        };
        format!("{{\"{name}\":{{{members}}},\"v\":1}}").into_bytes()
    }
}

/// The TUF target path of an index's root. No manifest is called that: their names end in `.json`.
#[must_use]
pub fn target(component: &ComponentName) -> String {
    format!("releases/{component}/index")
}

/// Where a file of the index lies below `targets/`; for the root the same as TUF's consistent snapshots have it.
#[must_use]
pub fn node_place(component: &ComponentName, sha256: &Sha256) -> String {
    format!("releases/{component}/{sha256}.index")
}

/// Where a manifest lies below `targets/`, as TUF's consistent snapshots have it.
#[must_use]
pub fn manifest_place(component: &ComponentName, version: &str, sha256: &Sha256) -> String {
    format!("releases/{component}/{sha256}.{version}.json")
}

/// The digit that leads from a file at `level` toward a version; the root is at level 0.
#[must_use]
pub fn digit(version: &str, level: usize) -> Option<char> {
    Sha256::of(version.as_bytes()).to_string().chars().nth(level)
}

/// A tree of all `releases`: the digest of its root, and every file by digest.
#[must_use]
pub fn build(releases: &BTreeMap<String, Sha256>) -> (Sha256, BTreeMap<Sha256, Vec<u8>>) {
    let mut files = BTreeMap::new();
    // Digests once for each version, not once for each level.
    let keyed =
        releases.iter().map(|(version, to)| (Sha256::of(version.as_bytes()).to_string(), version.as_str(), *to)).collect();
    let root = subtree(keyed, 0, &mut files);
    (root, files)
}

fn subtree(releases: Vec<(String, &str, Sha256)>, level: usize, files: &mut BTreeMap<Sha256, Vec<u8>>) -> Sha256 {
    let node = if releases.len() <= LEAF || level.saturating_add(1) >= DEPTH {
        Node::Releases(releases.into_iter().map(|(_, version, to)| (version.to_owned(), to)).collect())
    } else {
        let mut parts: BTreeMap<char, Vec<_>> = BTreeMap::new();
        for release in releases {
            let digit = release.0.chars().nth(level).unwrap_or('0');
            parts.entry(digit).or_default().push(release);
        }
        let part = |(digit, releases)| (digit, subtree(releases, level.saturating_add(1), files));
        Node::Nodes(parts.into_iter().map(part).collect())
    };
    let bytes = node.to_bytes();
    let digest = Sha256::of(&bytes);
    files.insert(digest, bytes);
    digest
}

/// Every version in an index is one; a version that is none could not be written as a file name.
///
/// # Errors
/// Names the one that is none.
pub fn versions(releases: &BTreeMap<String, Sha256>) -> Result<BTreeMap<Version, String>, String> {
    releases.keys().map(|text| Ok((text.parse()?, text.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn releases(count: u32) -> BTreeMap<String, Sha256> {
        (0..count).map(|n| (format!("v1.{n}.0"), Sha256::of(&n.to_be_bytes()))).collect()
    }

    /// The sizes of the files on the way to a version, and what is found there.
    fn walk(files: &BTreeMap<Sha256, Vec<u8>>, root: Sha256, version: &str) -> (Vec<usize>, Option<Sha256>) {
        let (mut at, mut sizes) = (root, Vec::new());
        loop {
            let bytes = files.get(&at).unwrap();
            sizes.push(bytes.len());
            match Node::parse(bytes).unwrap() {
                Node::Releases(found) => return (sizes, found.get(version).copied()),
                Node::Nodes(nodes) => match nodes.get(&digit(version, sizes.len().saturating_sub(1)).unwrap()) {
                    Some(next) => at = *next,
                    None => return (sizes, None),
                },
            }
        }
    }

    #[test]
    fn every_release_is_found_in_a_few_small_files_and_no_other_is() {
        for (count, files_at_most, bytes_at_most) in
            [(0, 1, 100), (8, 1, 1300), (9, 2, 2400), (64, 3, 3200), (1000, 4, 4000), (10_000, 5, 5200)]
        {
            let all = releases(count);
            let (root, files) = build(&all);
            for (version, to) in &all {
                let (sizes, found) = walk(&files, root, version);
                let (depth, bytes): (usize, usize) = (sizes.len(), sizes.iter().sum());
                assert_eq!(found, Some(*to), "{version} of {count}");
                assert!(depth <= files_at_most && bytes <= bytes_at_most, "{version} of {count}: {depth} files, {bytes} bytes");
            }
            assert_eq!(walk(&files, root, "v2.0.0").1, None);
            assert!(files.values().all(|bytes| bytes.len() <= 1300), "no file is larger than the limit's comment says");
        }
    }

    #[test]
    fn the_tree_depends_on_the_releases_alone_and_one_more_changes_few_files() {
        let (mut all, more) = (releases(1000), releases(1001));
        let (root, files) = build(&all);
        let (grown, grown_files) = build(&more);
        let new = grown_files.keys().filter(|digest| !files.contains_key(digest)).count();
        assert!(root != grown && new <= 5, "{new} files are new");
        all.insert("v1.1000.0".to_owned(), more["v1.1000.0"]);
        assert_eq!(build(&all), (grown, grown_files));
        all.remove("v1.1000.0");
        assert_eq!(build(&all), (root, files));
    }

    #[test]
    fn a_file_is_read_as_it_is_written_or_refused_with_the_reason() {
        let digest = Sha256::of(b"x");
        // What no `slipway` writes, and a file from elsewhere may have.
        let odd = Node::Releases([("\"\\\n\u{1}".to_owned(), digest)].into());
        assert_eq!(Node::parse(&odd.to_bytes()).as_ref(), Ok(&odd));
        for node in [
            Node::Releases([("v1".to_owned(), digest)].into()),
            Node::Nodes([('a', digest)].into()),
            Node::Releases(BTreeMap::new()),
        ] {
            assert_eq!(Node::parse(&node.to_bytes()).as_ref(), Ok(&node));
        }
        let later = format!("{{\"v\":1,\"nodes\":{{\"a\":\"{digest}\"}},\"later\":[1]}}");
        assert_eq!(Node::parse(later.as_bytes()), Ok(Node::Nodes([('a', digest)].into())));
        for (bad, why) in [
            ("{}", "malformed"),
            (r#"{"v":2,"nodes":{}}"#, "format 2"),
            (r#"{"v":1}"#, "both or none"),
            (r#"{"v":1,"nodes":{},"releases":{}}"#, "both or none"),
            (r#"{"v":1,"nodes":{"ab":"00"}}"#, "malformed"),
            (r#"{"v":1,"releases":{"v1":"00"}}"#, "64 lowercase"),
            (r#"{"v":1,"nodes":{},"nodes":{}}"#, "malformed"),
        ] {
            let refused = Node::parse(bad.as_bytes()).unwrap_err();
            assert!(refused.contains(why), "{bad}: {refused}");
        }
        let large = format!("{{\"v\":1,\"nodes\":{{}},\"x\":\"{}\"}}", "x".repeat(5000));
        assert!(Node::parse(large.as_bytes()).unwrap_err().contains("limit of 4096"));
    }
}
