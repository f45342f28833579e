//! Manifests by way of an index: what the role signs for is the root of a tree, and nothing else leads to a release.

use crate::device::{begun, now, time};
use slipway_protocol::index::{self, Node};
use slipway_protocol::{ComponentName, Manifest, Refusal, Sha256, Version};
use slipway_testkit::tuf::Repository as Sim;
use slipway_verify::tuf::{AuthenticTarget, ManifestSearch, Repository, Rules};
use std::collections::BTreeMap;

fn edgecore() -> ComponentName {
    "edgecore".parse().unwrap()
}

/// Files by digest: those of indexes, and manifests.
type Files = BTreeMap<Sha256, Vec<u8>>;

/// Lets the role `releases` sign for an index of these releases, whose manifests say their version.
fn sign_for(sim: &mut Sim, versions: &[String]) -> Files {
    let manifests: Files =
        versions.iter().map(|version| (Sha256::of(version.as_bytes()), version.clone().into_bytes())).collect();
    let releases = versions.iter().map(|version| (version.clone(), Sha256::of(version.as_bytes()))).collect();
    let (root, mut files) = index::build(&releases);
    sim.put("releases", &index::target(&edgecore()), &files[&root]);
    sim.publish();
    files.extend(manifests);
    files
}

/// What a device comes to that is shown `files`: what it is shown under a digest, whatever it is, it takes for that.
fn look(repository: &Repository, files: &Files, version: &str) -> Result<AuthenticTarget, Refusal> {
    let version: Version = version.parse().unwrap();
    let mut kept = Files::new();
    loop {
        match repository.find_manifest(&edgecore(), &version, |sha256| kept.get(sha256).cloned())? {
            ManifestSearch::Node(file) => {
                let bytes = files.get(&file.sha256).cloned().unwrap_or_default();
                file.check(&bytes)?;
                kept.insert(file.sha256, bytes);
            }
            ManifestSearch::Manifest(file, passed) => {
                assert_eq!(passed.len(), kept.len());
                let bytes = files.get(&file.sha256).cloned().unwrap_or_default();
                return repository.authenticate_manifest(&edgecore(), &version, |sha256| kept.get(sha256).cloned(), bytes);
            }
            ManifestSearch::Listed => return repository.authenticate(&Manifest::target(&edgecore(), &version), Vec::new()),
        }
    }
}

fn versions(count: u32) -> Vec<String> {
    (0..count).map(|n| format!("v1.{n}.0")).collect()
}

#[test]
fn the_index_leads_to_every_release_and_to_no_other() {
    let (mut sim, mut device) = begun();
    for count in [1, 8, 9, 300] {
        let files = sign_for(&mut sim, &versions(count));
        let repository = device.refresh(&sim).unwrap();
        for version in versions(count) {
            let found = look(&repository, &files, &version).unwrap();
            assert_eq!((found.role(), found.path()), ("releases", &*format!("releases/edgecore/{version}.json")));
            assert_eq!(found.bytes(), version.as_bytes());
        }
        assert_eq!(look(&repository, &files, "v2.0.0").unwrap_err().code, "SLW-T-NO-TARGET", "of {count}");
    }
}

#[test]
fn a_release_that_is_no_longer_signed_for_is_gone_whatever_the_server_shows() {
    let (mut sim, mut device) = begun();
    let mut files = sign_for(&mut sim, &versions(50));
    look(&device.refresh(&sim).unwrap(), &files, "v1.0.0").unwrap();
    files.extend(sign_for(&mut sim, &versions(50)[1..]));
    let repository = device.refresh(&sim).unwrap();
    assert_eq!(look(&repository, &files, "v1.0.0").unwrap_err().code, "SLW-T-NO-TARGET");
    look(&repository, &files, "v1.1.0").unwrap();
}

#[test]
fn other_bytes_than_those_of_the_digest_are_refused_on_every_step() {
    let (mut sim, mut device) = begun();
    let files = sign_for(&mut sim, &versions(300));
    let repository = device.refresh(&sim).unwrap();
    let (mut steps, nothing) = (0, Node::Releases(BTreeMap::new()).to_bytes());
    for sha256 in files.keys() {
        for other in [nothing.clone(), vec![b' '; 70_000], Vec::new()] {
            let mut changed = files.clone();
            changed.insert(*sha256, other);
            let Err(refusal) = look(&repository, &changed, "v1.7.0") else { continue };
            assert_eq!(refusal.code, "SLW-T-TARGET", "{sha256}");
            steps += 1;
        }
    }
    // Shown to fail with `file.check` left out of `authenticate_manifest`: then there are 9.
    assert_eq!(steps, 12, "three files of the index and the manifest, each three times, and nothing else was read");
}

#[test]
fn what_is_signed_and_is_no_index_is_refused_and_ends() {
    let (mut sim, mut device) = begun();
    for bad in [&b"{}"[..], b"", b"{\"v\":2,\"nodes\":{}}"] {
        sim.put("releases", &index::target(&edgecore()), bad);
        sim.publish();
        let files = [(Sha256::of(bad), bad.to_vec())].into();
        assert_eq!(look(&device.refresh(&sim).unwrap(), &files, "v1.0.0").unwrap_err().code, "SLW-T-INDEX");
    }
    // A way that is longer than any index is deep.
    let (mut files, mut next) = (Files::new(), Sha256::of(b"the end"));
    for _ in 0..100 {
        let bytes = Node::Nodes("0123456789abcdef".chars().map(|digit| (digit, next)).collect()).to_bytes();
        next = Sha256::of(&bytes);
        files.insert(next, bytes);
    }
    sim.put("releases", &index::target(&edgecore()), &files[&next]);
    sim.publish();
    assert_eq!(look(&device.refresh(&sim).unwrap(), &files, "v1.0.0").unwrap_err().code, "SLW-T-NO-TARGET");
}

#[test]
fn the_rollout_key_signs_for_no_index() {
    let (mut sim, mut device) = begun();
    let (root, files) = index::build(&[("v9.0.0".to_owned(), Sha256::of(b"v9.0.0"))].into());
    sim.put("channels", &index::target(&edgecore()), &files[&root]);
    sim.publish();
    let repository = device.refresh(&sim).unwrap();
    let search = repository.find_manifest(&edgecore(), &"v9.0.0".parse().unwrap(), |sha256| files.get(sha256).cloned());
    assert_eq!(search, Ok(ManifestSearch::Listed), "as if there were no index");
    assert_eq!(look(&repository, &files, "v9.0.0").unwrap_err().code, "SLW-T-NO-TARGET");
}

/// Where there is an index, what the role lists beside it is for agents that know none. Shown to fail with a look at that list first.
#[test]
fn beside_an_index_a_list_does_not_count() {
    let (mut sim, mut device) = begun();
    let files = sign_for(&mut sim, &versions(3));
    let repository = device.refresh(&sim).unwrap();
    repository.lookup("releases/edgecore/v1.json").unwrap();
    sim.put("releases", "releases/edgecore/v5.0.0.json", b"v5.0.0");
    sim.publish();
    let repository = device.refresh(&sim).unwrap();
    repository.lookup("releases/edgecore/v5.0.0.json").unwrap();
    assert_eq!(look(&repository, &files, "v5.0.0").unwrap_err().code, "SLW-T-NO-TARGET");
}

#[test]
fn an_expired_offline_bundle_gives_no_manifest_before_its_channel_allows_it() {
    let (mut sim, mut device) = begun();
    let files = sign_for(&mut sim, &versions(3));
    let channel =
        br#"{"v":1,"component":"edgecore","channel":"stable","release":"v1.0.0","offline_until":"2027-06-01T00:00:00Z"}"#;
    sim.put("channels", "channels/edgecore/stable.json", channel);
    let later = time("2027-03-01T00:00:00Z");
    for header in [&mut sim.timestamp, &mut sim.snapshot] {
        header.expires = now() + jiff::SignedDuration::from_hours(24);
    }
    for role in ["targets", "releases", "channels"] {
        sim.role(role).header.expires = time("2028-01-01T00:00:00Z");
    }
    sim.root.expires = time("2028-01-01T00:00:00Z");
    sim.publish_root();
    sim.publish();
    let mut repository = device.refresh_by(&sim, Rules::offline(later)).unwrap();
    assert_eq!(look(&repository, &files, "v1.0.0").unwrap_err().code, "SLW-T-OFFLINE");
    let channel = repository.authenticate("channels/edgecore/stable.json", channel.to_vec()).unwrap();
    repository.accept_expired(&channel, later).unwrap();
    look(&repository, &files, "v1.0.0").unwrap();
}
