//! Mirrors Sigstore's trusted root from a folder and a web server; an older one is refused.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use jiff::SignedDuration;
use slipway_operator::keys::{KeyType, SecretKey};
use slipway_operator::metadata::{Header, Pin, Pins, RoleKeys, Root, TargetFile, Targets, seal};
use slipway_testkit::server::ReleaseServer;
use slipway_testkit::sigstore::PrivateSigstore;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use support::{Device, copy, done, now, refused};
use tempfile::TempDir;

/// A repository laid out as Sigstore's, at this version, with this trusted root.
fn publish(dir: &Path, key: &SecretKey, version: u64, days: i64, trusted_root: &[u8]) {
    let expires = now().saturating_add(SignedDuration::from_hours(24_i64.saturating_mul(days))).unwrap();
    let header =
        |kind: &str, version: u64| Header::new(kind, version, jiff::Timestamp::from_second(expires.as_second()).unwrap());
    let alone = RoleKeys { keyids: vec![key.id().to_owned()], threshold: 1 };
    let file = TargetFile::of(trusted_root);
    let place = dir.join("targets").join(file.place("trusted_root.json"));
    fs::create_dir_all(place.parent().unwrap()).unwrap();
    fs::write(place, trusted_root).unwrap();
    let write = |name: &str, bytes: Vec<u8>| {
        fs::write(dir.join(name), &bytes).unwrap();
        bytes
    };
    let root = Root {
        header: header("root", 1),
        consistent_snapshot: true,
        keys: [(key.id().to_owned(), key.public().clone())].into(),
        roles: ["root", "targets", "snapshot", "timestamp"].map(|role| (role.to_owned(), alone.clone())).into(),
    };
    if version == 1 {
        write("1.root.json", seal(&root, &[key]).unwrap());
    }
    let targets = Targets {
        header: header("targets", version),
        targets: [("trusted_root.json".to_owned(), file)].into(),
        delegations: None,
        overlap_until: None,
    };
    let targets = write(&format!("{version}.targets.json"), seal(&targets, &[key]).unwrap());
    let pin = |name: &str, bytes: &[u8]| -> BTreeMap<String, Pin> { [(name.to_owned(), Pin::of(version, bytes))].into() };
    let snapshot = Pins { header: header("snapshot", version), meta: pin("targets.json", &targets) };
    let snapshot = write(&format!("{version}.snapshot.json"), seal(&snapshot, &[key]).unwrap());
    let timestamp = Pins { header: header("timestamp", version), meta: pin("snapshot.json", &snapshot) };
    write("timestamp.json", seal(&timestamp, &[key]).unwrap());
}

#[test]
fn sigstores_root_is_mirrored_and_never_goes_back() {
    let dir = TempDir::new().unwrap();
    done(dir.path(), "init fleet --unencrypted");
    let repo = dir.path().join("fleet");
    let mut device = Device::born(&repo);
    let key = SecretKey::generate(KeyType::P256).unwrap();
    let (one, two) = (PrivateSigstore::new("one").trusted_root(), PrivateSigstore::new("two").trusted_root());
    let sigstore = dir.path().join("sigstore");
    fs::create_dir(&sigstore).unwrap();
    publish(&sigstore, &key, 1, 7, &one);
    copy(&sigstore.join("1.root.json"), &dir.path().join("root.json"));
    copy(&sigstore, &dir.path().join("old"));
    let mirror = |from: &str| format!("mirror sigstore fleet --from {from} --root root.json");

    let said = done(dir.path(), &mirror("sigstore"));
    assert!(said.contains("root 1") && said.contains("published sigstore/trusted_root.json"), "{said}");
    assert_eq!(device.target(&repo, "sigstore/trusted_root.json").unwrap(), one);
    assert!(done(dir.path(), &mirror("sigstore")).contains("is unchanged"));
    // A newer one, from a web server.
    publish(&sigstore, &key, 2, 7, &two);
    let server = ReleaseServer::start(&sigstore).unwrap();
    done(dir.path(), &mirror(&server.url()));
    assert_eq!(device.target(&repo, "sigstore/trusted_root.json").unwrap(), two);
    // What is older, expired, forged, unusable, or somebody else's changes nothing.
    refused(dir.path(), &mirror("old"), "SLW-T-ROLLBACK");
    publish(&sigstore, &key, 3, -1, &one);
    refused(dir.path(), &mirror("sigstore"), "SLW-T-EXPIRED");
    publish(&sigstore, &SecretKey::generate(KeyType::P256).unwrap(), 4, 7, &one);
    refused(dir.path(), &mirror("sigstore"), "SLW-T-SIGNATURES");
    publish(&sigstore, &key, 5, 7, b"{}");
    refused(dir.path(), &mirror("sigstore"), "SLW-V-");
    refused(dir.path(), "mirror sigstore fleet --from sigstore", "SLW-T-");
    refused(dir.path(), &mirror("nowhere"), "SLW-O-MIRROR");
    drop(server);
    refused(dir.path(), &mirror("http://127.0.0.1:9/"), "SLW-O-MIRROR");
    assert_eq!(device.target(&repo, "sigstore/trusted_root.json").unwrap(), two);
    // Versions that were seen count even where nothing was taken, and a damaged memory is not a first time.
    fs::write(repo.join("mirror/sigstore/floors.json"), "{").unwrap();
    refused(dir.path(), &mirror("sigstore"), "SLW-O-REPOSITORY");
}

#[test]
fn roles_that_expire_soon_are_reported() {
    let dir = TempDir::new().unwrap();
    done(dir.path(), "init fleet --unencrypted --root-days 2");
    let status = |line: &str| support::run(dir.path(), line).status.code();
    assert_eq!((status("refresh fleet"), status("status fleet --check")), (Some(0), Some(0)), "two thirds of its life are left");
    // A root of a year with two days left.
    let settings = fs::read_to_string(dir.path().join("fleet/slipway.toml")).unwrap();
    fs::write(dir.path().join("fleet/slipway.toml"), settings.replace("root = 2", "root = 365")).unwrap();
    let output = support::run(dir.path(), "refresh fleet");
    assert_eq!(output.status.code(), Some(4), "done, with a warning");
    assert!(support::text(&output.stderr).contains("root version 1 expires"), "{}", support::text(&output.stderr));
    assert!(refused(dir.path(), "status fleet --check", "SLW-O-EXPIRES").contains("root"));
    assert_eq!(status("status fleet --check=1"), Some(0));
    assert_eq!(status("status fleet"), Some(0));
    done(dir.path(), "renew fleet root");
    assert_eq!((status("refresh fleet"), status("status fleet --check")), (Some(0), Some(0)));
    // Expired: devices would refuse everything, so there is nothing to refresh.
    let days = slipway_operator::Lifetimes { root: 400, ..Default::default() };
    let options = slipway_operator::InitOptions { days, ..Default::default() };
    let year_before = support::now() - jiff::SignedDuration::from_hours(366 * 24);
    drop(slipway_operator::Repo::init(&dir.path().join("late"), &options, year_before).unwrap());
    let said = refused(dir.path(), "refresh late", "SLW-O-EXPIRES");
    assert!(said.contains("targets version 1 expired") && said.contains("slipway renew"), "{said}");
    refused(dir.path(), "status late --check", "SLW-O-EXPIRES");
}
