//! A repository that does not grow: releases in an index, retired ones, old versions of metadata; and one of formats-1 that becomes such a
//! one while agents of both kinds follow it.
//!
//! `formats-1/fleet.tar.gz` was written by `slipway` at the tag formats-1, with its keys: edgecore v1.0.0 to v1.2.0, slipway-agent v0.1.0
//! and v0.2.0; channels stable (v1.1.0) and pinned (v1.0.0) of edgecore, stable (v0.2.0) of slipway-agent.
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "a test fails by panicking")]

use jiff::{SignedDuration, Timestamp};
use slipway_operator::limits::Usage;
use slipway_operator::{ArtifactOptions, ChannelChange, InitOptions, Outcome, ReleaseOptions, Repo};
use slipway_protocol::{ChannelName, ComponentName, Manifest, Refusal, Sha256, Version};
use slipway_verify::tuf::Repository;
use std::fs;
use std::path::{Path, PathBuf};
use support::Device;
use tempfile::TempDir;

mod support;

/// When the repository of formats-1 was a few minutes old.
fn now() -> Timestamp {
    "2026-12-01T00:00:00Z".parse().unwrap()
}
fn days(days: i64) -> Timestamp {
    now() + SignedDuration::from_hours(24 * days)
}
fn edgecore() -> ComponentName {
    "edgecore".parse().unwrap()
}
fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn manifest(component: &str, text: &str) -> Manifest {
    let digest = Sha256::of(text.as_bytes());
    let json = format!(
        r#"{{"v":1,"component":"{component}","version":"{text}","artifacts":[{{"platform":"any","name":"edgecore","size":1,
        "sha256":"{digest}","urls":["a"],"format":"file","provenance":{{"urls":["p"],"size":1,"sha256":"{digest}"}}}}]}}"#
    );
    Manifest::parse(json.as_bytes()).unwrap()
}

fn point(repo: &mut Repo, component: &str, channel: &str, to: &str, now: Timestamp) {
    let change = ChannelChange { release: Some(version(to)), ..ChannelChange::default() };
    let channel: ChannelName = channel.parse().unwrap();
    repo.channel(&component.parse().unwrap(), &channel, &change, now).unwrap();
}

/// What a device finds of a release, by the index.
fn finds(device: &mut Device, repo: &Path, component: &str, text: &str, now: Timestamp) -> Result<Vec<u8>, Refusal> {
    let repository = device.refresh_at(&repo.join("public"), now)?;
    let read = |path: &str| fs::read(repo.join("public/targets").join(path)).ok();
    Ok(support::manifest(&repository, &component.parse().unwrap(), &version(text), &read)?.bytes().to_vec())
}

/// What an agent of formats-1 finds: as in its `agent/src/trust.rs`, the manifest is a target that the role `releases` lists.
fn listed(repository: &Repository, repo: &Path, component: &str, text: &str) -> Result<(), Refusal> {
    let path = Manifest::target(&component.parse().unwrap(), &version(text));
    let info = repository.lookup(&path)?;
    assert_eq!(info.role, "releases", "the only one besides targets that such an agent believes");
    repository.authenticate(&path, fs::read(repo.join("public/targets").join(info.fetch_path)).unwrap()).map(drop)
}

fn formats_1() -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let packed = fs::File::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats-1/fleet.tar.gz")).unwrap();
    tar::Archive::new(flate2::read::GzDecoder::new(packed)).unpack(dir.path()).unwrap();
    let path = dir.path().join("fleet");
    (dir, path)
}

/// A repository with releases v1.0.0, v1.1.0, … of edgecore, and a channel at the newest.
fn fleet(releases: u32) -> (TempDir, PathBuf, Repo) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("fleet");
    let mut repo = Repo::init(&path, &InitOptions::default(), now()).unwrap();
    let manifests: Vec<Manifest> = (0..releases).map(|n| manifest("edgecore", &format!("v1.{n}.0"))).collect();
    repo.add_manifests(&manifests, now()).unwrap();
    point(&mut repo, "edgecore", "stable", &format!("v1.{}.0", releases - 1), now());
    (dir, path, repo)
}

fn metadata(path: &Path, role: &str) -> Vec<u8> {
    let folder = path.join("public/metadata");
    let version = |name: &str| name.strip_suffix(&format!(".{role}.json"))?.parse::<u64>().ok();
    let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let newest = names.filter_map(|name| version(&name)).max().unwrap();
    fs::read(folder.join(format!("{newest}.{role}.json"))).unwrap()
}

#[test]
fn the_role_is_as_small_for_a_thousand_releases_as_for_ten() {
    let size = |releases: u32| {
        let (_dir, path, _repo) = fleet(releases);
        let mut device = Device::born(&path);
        for text in ["v1.0.0".to_owned(), format!("v1.{}.0", releases - 1)] {
            let found = finds(&mut device, &path, "edgecore", &text, now()).unwrap();
            assert_eq!(Manifest::parse(&found).unwrap().version.as_str(), text);
        }
        let refusal = finds(&mut device, &path, "edgecore", "v2.0.0", now()).unwrap_err();
        assert_eq!(refusal.code, "SLW-T-NO-TARGET");
        metadata(&path, "releases").len()
    };
    let (ten, thousand) = (size(10), size(1000));
    // Signatures differ by a byte or two.
    assert!(ten.abs_diff(thousand) < 16 && thousand < 700, "{ten} and {thousand} bytes");
}

/// Each file of an index is compared with its digest. Shown to fail with `file.check` left out of `find_manifest`.
#[test]
fn an_index_that_was_changed_or_exchanged_is_not_believed() {
    let (_dir, path, mut repo) = fleet(100);
    let mut device = Device::born(&path);
    let repository = device.refresh_at(&path.join("public"), now()).unwrap();
    let folder = path.join("public/targets/releases/edgecore");
    let root = repository.lookup("releases/edgecore/index").unwrap();
    let old = fs::read(path.join("public/targets").join(&root.fetch_path)).unwrap();
    repo.retire(None, 1, now()).unwrap();
    let after = device.refresh_at(&path.join("public"), now()).unwrap();
    // A server that goes on showing the index with what was retired.
    let read = |_: &Sha256| Some(old.clone());
    let search = after.find_manifest(&edgecore(), &version("v1.0.0"), read).unwrap();
    assert!(matches!(search, slipway_verify::tuf::ManifestSearch::Node(_)), "not the one that is signed for: {search:?}");
    assert_eq!(finds(&mut device, &path, "edgecore", "v1.0.0", now()).unwrap_err().code, "SLW-T-NO-TARGET");
    // A manifest in another's place.
    let manifest_of = |text: &str| {
        let names = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        names.into_iter().find(|path| path.to_str().unwrap().ends_with(&format!(".{text}.json"))).unwrap()
    };
    fs::write(manifest_of("v1.99.0"), fs::read(manifest_of("v1.98.0")).unwrap()).unwrap();
    assert_eq!(finds(&mut device, &path, "edgecore", "v1.99.0", now()).unwrap_err().code, "SLW-T-TARGET");
}

#[test]
fn what_is_retired_is_not_installed_any_more_and_can_be_published_again() {
    let (_dir, path, mut repo) = fleet(70);
    point(&mut repo, "edgecore", "pinned", "v1.0.0", now());
    let withdraw = ChannelChange { withdraw: vec![version("v1.68.0")], ..ChannelChange::default() };
    repo.channel(&edgecore(), &"stable".parse().unwrap(), &withdraw, now()).unwrap();
    let retired = repo.retire(None, 64, now()).unwrap();
    let names: Vec<(&str, bool)> = retired.iter().map(|one| (one.version.as_str(), one.withdrawn)).collect();
    // 64 stay, the pinned one among them: v1.5.0 to v1.69.0 without v1.68.0, less one in v1.0.0's favour.
    let old = ["v1.1.0", "v1.2.0", "v1.3.0", "v1.4.0"].map(|text| (text, false));
    assert_eq!(names[..4], old);
    assert_eq!((names.len(), names[4..].last()), (5, Some(&("v1.68.0", true))));
    let mut device = Device::born(&path);
    for text in ["v1.0.0", "v1.5.0", "v1.69.0"] {
        finds(&mut device, &path, "edgecore", text, now()).unwrap();
    }
    for text in ["v1.4.0", "v1.68.0"] {
        assert_eq!(finds(&mut device, &path, "edgecore", text, now()).unwrap_err().code, "SLW-T-NO-TARGET", "{text}");
        assert!(path.join(format!("archive/edgecore/{text}.json")).is_file());
    }
    assert_eq!(repo.retire(None, 64, now()).unwrap(), [], "twice changes nothing");
    // Again: as it was, but only with its files.
    assert_eq!(repo.release_again(&edgecore(), &version("v1.4.0"), true, now()).unwrap_err().code, "SLW-O-ARTIFACT");
    let archived = Manifest::parse(&fs::read(path.join("archive/edgecore/v1.4.0.json")).unwrap()).unwrap();
    repo.add_manifests(&[archived], now()).unwrap();
    finds(&mut device, &path, "edgecore", "v1.4.0", now()).unwrap();
    assert_eq!(repo.release_again(&edgecore(), &version("v9.0.0"), true, now()).unwrap_err().code, "SLW-O-NO-RELEASE");
}

#[test]
fn a_version_that_devices_may_have_seen_is_not_signed_with_other_content() {
    let (_dir, _path, mut repo) = fleet(3);
    let mut other = manifest("edgecore", "v1.0.0");
    other.artifacts[0].size = 2;
    assert_eq!(repo.add_manifests(&[other], now()).unwrap_err().code, "SLW-O-RELEASED");
    assert_eq!(*repo.outcome(), Outcome::Published, "of the channel before");
}

/// A signer sees each release that comes and goes, and signs nothing that cannot be shown.
#[test]
fn whoever_signs_sees_which_releases_come_and_go() {
    let (_dir, path, repo) = fleet(20);
    drop(repo);
    let away = path.join("releases.pem");
    fs::rename(path.join("keys/releases.pem"), &away).unwrap();
    let mut repo = Repo::open(&path).unwrap();
    repo.add_manifests(&[manifest("edgecore", "v3.0.0")], now()).unwrap();
    repo.retire(None, 19, now()).unwrap();
    let said = repo.staged().summary().unwrap();
    let changes: Vec<&str> = said.lines().filter(|line| line.contains("releases/edgecore")).map(str::trim).collect();
    assert_eq!(changes.len(), 3, "{said}");
    assert!(changes[0].starts_with("gone     releases/edgecore/v1.0.0.json"), "{said}");
    assert!(changes[1].starts_with("gone     releases/edgecore/v1.1.0.json"), "{said}");
    assert!(changes[2].starts_with("new      releases/edgecore/v3.0.0.json") && said.contains("edgecore v3.0.0"), "{said}");
    // Without one of the files that show it, the change cannot be shown.
    let file = repo.staged_file();
    let mut carried: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let nodes = carried["nodes"].as_object_mut().unwrap();
    assert!((2..=12).contains(&nodes.len()), "what changes, not all: {}", nodes.len());
    let some = nodes.keys().next().unwrap().clone();
    nodes.remove(&some);
    let copy = path.join("copy.json");
    fs::write(&copy, carried.to_string()).unwrap();
    let shown = slipway_operator::staged::Change::read(&copy).and_then(|change| change.summary());
    assert_eq!(shown.unwrap_err().code, "SLW-O-STAGED");
    // The key comes back.
    drop(repo);
    fs::rename(&away, path.join("keys/releases.pem")).unwrap();
    let mut repo = Repo::open(&path).unwrap();
    repo.sign(None, now()).unwrap();
    assert_eq!(*repo.outcome(), Outcome::Published);
    let mut device = Device::born(&path);
    finds(&mut device, &path, "edgecore", "v3.0.0", now()).unwrap();
    assert_eq!(finds(&mut device, &path, "edgecore", "v1.1.0", now()).unwrap_err().code, "SLW-T-NO-TARGET");
}

#[test]
fn a_repository_of_formats_1_is_followed_as_it_is_and_is_not_added_to() {
    let (_dir, path) = formats_1();
    let mut repo = Repo::open(&path).unwrap();
    let mut device = Device::born(&path);
    finds(&mut device, &path, "edgecore", "v1.0.0", now()).unwrap();
    assert!(repo.is_formats_1() && repo.status(now()).unwrap().to_string().contains("slipway migrate"));
    assert_eq!(repo.add_manifests(&[manifest("edgecore", "v1.3.0")], now()).unwrap_err().code, "SLW-O-MIGRATE");
    assert_eq!(repo.retire(None, 1, now()).unwrap_err().code, "SLW-O-MIGRATE");
    // The rollout key is not held up.
    point(&mut repo, "edgecore", "stable", "v1.2.0", now());
    assert_eq!(*repo.outcome(), Outcome::Published);
    repo.refresh(now()).unwrap();
}

/// Shown to fail where the newest release of a component is not listed: then a channel cannot follow by the rollout key alone.
#[test]
fn both_kinds_of_agents_follow_until_the_overlap_ends() {
    let (_dir, path) = formats_1();
    let public = path.join("public");
    let (mut new, mut old) = (Device::born(&path), Device::born(&path));
    finds(&mut new, &path, "edgecore", "v1.1.0", now()).unwrap();
    listed(&old.refresh_at(&public, now()).unwrap(), &path, "edgecore", "v1.1.0").unwrap();
    let mut repo = Repo::open(&path).unwrap();
    repo.migrate(90, now()).unwrap();
    assert_eq!((*repo.outcome() == Outcome::Published, repo.overlap_until()), (true, Some(days(90))));
    for (component, text) in [("edgecore", "v1.0.0"), ("edgecore", "v1.2.0"), ("slipway-agent", "v0.1.0")] {
        finds(&mut new, &path, component, text, now()).unwrap();
    }
    // What channels name, and the newest of each component.
    let repository = old.refresh_at(&public, now()).unwrap();
    for (component, text) in [("edgecore", "v1.0.0"), ("edgecore", "v1.1.0"), ("edgecore", "v1.2.0"), ("slipway-agent", "v0.2.0")]
    {
        listed(&repository, &path, component, text).unwrap();
    }
    assert_eq!(listed(&repository, &path, "slipway-agent", "v0.1.0").unwrap_err().code, "SLW-T-NO-TARGET");
    // A release, and the channel follows by the rollout key alone.
    repo.add_manifests(&[manifest("edgecore", "v1.3.0"), manifest("edgecore", "v1.2.1")], days(1)).unwrap();
    drop(repo);
    let away = path.join("releases.pem");
    fs::rename(path.join("keys/releases.pem"), &away).unwrap();
    let mut repo = Repo::open(&path).unwrap();
    point(&mut repo, "edgecore", "stable", "v1.3.0", days(1));
    assert_eq!(*repo.outcome(), Outcome::Published);
    listed(&old.refresh_at(&public, days(1)).unwrap(), &path, "edgecore", "v1.3.0").unwrap();
    assert!(repo.status(days(1)).unwrap().overlap.unwrap().behind.is_empty());
    // To another than the newest it goes as well, and agents of formats-1 are behind until the release keys sign.
    point(&mut repo, "edgecore", "stable", "v1.2.1", days(1));
    assert_eq!(*repo.outcome(), Outcome::Published);
    let status = repo.status(days(1)).unwrap();
    assert_eq!(status.overlap.as_ref().unwrap().behind, ["edgecore/stable"]);
    assert!(status.to_string().contains("89 days left"), "{status}");
    finds(&mut new, &path, "edgecore", "v1.2.1", days(1)).unwrap();
    drop(repo);
    fs::rename(&away, path.join("keys/releases.pem")).unwrap();
    let mut repo = Repo::open(&path).unwrap();
    repo.migrate(90, days(2)).unwrap();
    let repository = old.refresh_at(&public, days(2)).unwrap();
    listed(&repository, &path, "edgecore", "v1.2.1").unwrap();
    assert_eq!(listed(&repository, &path, "edgecore", "v1.1.0").unwrap_err().code, "SLW-T-NO-TARGET", "no channel's any more");
    // With the release keys at hand it does so at once.
    point(&mut repo, "edgecore", "pinned", "v1.1.0", days(2));
    listed(&old.refresh_at(&public, days(2)).unwrap(), &path, "edgecore", "v1.1.0").unwrap();
    assert_eq!(repo.overlap_until(), Some(days(90)), "which does not move the end");
    // It ends: said by status, and done by the next signature of releases.
    repo.refresh(days(91)).unwrap();
    assert!(repo.status(days(91)).unwrap().to_string().contains("ended at"));
    repo.add_manifests(&[manifest("edgecore", "v1.4.0")], days(91)).unwrap();
    assert!(repo.overlap_until().is_none() && repo.status(days(91)).unwrap().overlap.is_none());
    let repository = old.refresh_at(&public, days(91)).unwrap();
    assert_eq!(listed(&repository, &path, "edgecore", "v1.2.1").unwrap_err().code, "SLW-T-NO-TARGET");
    finds(&mut new, &path, "edgecore", "v1.4.0", days(91)).unwrap();
    assert!(!String::from_utf8(metadata(&path, "releases")).unwrap().contains("sha512"));
}

#[test]
fn the_overlap_can_be_ended_or_left_out() {
    for days in [0, 90] {
        let (_dir, path) = formats_1();
        let mut repo = Repo::open(&path).unwrap();
        repo.migrate(days, now()).unwrap();
        repo.migrate(0, now()).unwrap();
        assert!(repo.overlap_until().is_none() && !repo.is_formats_1());
        let mut device = Device::born(&path);
        finds(&mut device, &path, "edgecore", "v1.0.0", now()).unwrap();
        let repository = device.refresh_at(&path.join("public"), now()).unwrap();
        assert_eq!(listed(&repository, &path, "edgecore", "v1.1.0").unwrap_err().code, "SLW-T-NO-TARGET");
        let before = repo.timestamp_version();
        repo.migrate(90, now()).unwrap();
        assert_eq!(repo.timestamp_version(), before, "there is nothing to migrate");
    }
    // A new repository that agents of formats-1 shall follow, too.
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("fleet");
    let mut repo = Repo::init(&path, &InitOptions { overlap_days: 30, ..InitOptions::default() }, now()).unwrap();
    repo.add_manifests(&[manifest("edgecore", "v1.0.0")], now()).unwrap();
    let repository = Device::born(&path).refresh_at(&path.join("public"), now()).unwrap();
    listed(&repository, &path, "edgecore", "v1.0.0").unwrap();
}

/// Agents of formats-1 refuse a manifest with `unpacked`. Seen to fail where only an equal manifest counted as the same release: the
/// command, given again after the overlap, ended with `SLW-O-RELEASED`.
#[test]
fn the_unpacked_size_is_left_out_while_agents_of_formats_1_follow() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("fleet");
    let mut repo = Repo::init(&path, &InitOptions { overlap_days: 30, ..InitOptions::default() }, now()).unwrap();
    let mut unpacked = |text: &str, min_agent: Option<&str>, now| {
        let artifact = ArtifactOptions {
            platform: "linux/arm64".parse().unwrap(),
            file: support::archive(dir.path(), text),
            name: None,
            member: None,
            provenance: dir.path().join("proof.json"),
            urls: Vec::new(),
        };
        let options = ReleaseOptions {
            component: edgecore(),
            version: version(text),
            artifacts: vec![artifact],
            min_agent: min_agent.map(version),
            unsafe_skip_verify: true,
        };
        repo.release(&options, now).unwrap().artifacts[0].unpacked
    };
    assert_eq!(unpacked("v1.0.0", None, days(1)), None);
    assert_eq!(unpacked("v1.1.0", Some("0.3.0"), days(1)), Some(6), "those agents cannot read it in any case");
    assert_eq!(unpacked("v1.0.0", None, days(31)), None, "it stays as it was released");
    assert_eq!(unpacked("v1.2.0", None, days(31)), Some(6));
}

/// What a device needs that read the timestamp before a publication stays; what is older goes in time; roots all stay. Shown to fail
/// where only the newest version stays for sure.
#[test]
fn old_versions_go_and_those_that_a_device_may_still_read_stay() {
    let (_dir, path, mut repo) = fleet(3);
    for n in 0..100 {
        point(&mut repo, "edgecore", "stable", ["v1.0.0", "v1.1.0"][n % 2], now());
    }
    repo.renew_roles(&[slipway_operator::Role::Root], now()).unwrap();
    let names = |folder: &str| -> Vec<String> {
        let entries = fs::read_dir(path.join("public").join(folder)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let count = |role: &str| names("metadata").iter().filter(|name| name.ends_with(&format!("{role}.json"))).count();
    assert_eq!((count("channels"), count("root")), (65, 2), "64 within the hour, and the newest");
    // An hour later by the times of files, which is what counts.
    let age = |folder: PathBuf| {
        for entry in walk(&folder) {
            let file = fs::File::options().write(true).open(&entry).unwrap();
            let then = file.metadata().unwrap().modified().unwrap() - std::time::Duration::from_secs(3700);
            file.set_modified(then).unwrap();
        }
    };
    let timestamp = fs::read(path.join("public/metadata/timestamp.json")).unwrap();
    age(path.join("public"));
    repo.retire(None, 1, now()).unwrap();
    repo.refresh(now()).unwrap();
    assert_eq!((count("releases"), count("snapshot"), count("channels"), count("root")), (2, 2, 2, 2), "{:?}", names("metadata"));
    // A device that read the timestamp before the last publication still finds all that it pins.
    let mut device = Device::born(&path);
    finds(&mut device, &path, "edgecore", "v1.1.0", now()).unwrap();
    let current = fs::read(path.join("public/metadata/timestamp.json")).unwrap();
    assert_ne!(current, timestamp);
    let copy = path.join("before");
    support::copy(&path.join("public"), &copy);
    fs::write(copy.join("metadata/timestamp.json"), timestamp).unwrap();
    let mut late = Device::born(&path);
    let repository = late.refresh_at(&copy, now()).unwrap();
    let read = |place: &str| fs::read(copy.join("targets").join(place)).ok();
    support::manifest(&repository, &edgecore(), &version("v1.0.0"), &read).unwrap();
    // Then it goes, too.
    age(path.join("public"));
    repo.renew_roles(&[slipway_operator::Role::Releases], now()).unwrap();
    age(path.join("public"));
    repo.refresh(now()).unwrap();
    let left = names("targets/releases/edgecore");
    assert_eq!(left.len(), 3, "the pinned and the newest manifest are one, and the index: {left:?}");
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() { found.extend(walk(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

#[test]
fn half_of_a_limit_is_said() {
    let (_dir, path, mut repo) = fleet(2);
    assert!(repo.status(now()).unwrap().limits.is_empty());
    let withdraw = |from: u32| (from..from + 1800).map(|n| version(&format!("v9.{n}.0-withdrawn"))).collect();
    let change = ChannelChange { withdraw: withdraw(0), ..ChannelChange::default() };
    repo.channel(&edgecore(), &"stable".parse().unwrap(), &change, now()).unwrap();
    let status = repo.status(now()).unwrap();
    let [Usage { what, used, most, .. }] = status.limits.as_slice() else { panic!("{:?}", status.limits) };
    assert!(what == "channels/edgecore/stable.json" && *used > 32_768 && *most == 65_536, "{what} {used} {most}");
    assert!(status.to_string().contains("LIMIT      channels/edgecore/stable.json"), "{status}");
    assert_eq!(status.limits[0].refusal().code, "SLW-O-LIMIT");
    drop(repo);
    support::refused(path.parent().unwrap(), "status fleet --check", "SLW-O-LIMIT");
}
