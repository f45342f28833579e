//! Versions never go back, files are the pinned ones, and nothing is endless.

use crate::device::{Device, begun, sim};
use slipway_protocol::refusal::Category;
use slipway_verify::tuf::{Rules, Stored};

#[test]
fn no_role_goes_back_with_or_without_its_cache() {
    for role in ["timestamp", "snapshot", "targets", "releases", "channels"] {
        for cache in [true, false] {
            let mut sim = sim();
            sim.publish();
            let mut device = Device::born(&sim);
            device.refresh(&sim).unwrap();
            match role {
                "timestamp" => sim.timestamp.version = 0,
                "snapshot" => sim.snapshot.version = 0,
                "targets" => sim.targets.header.version = 0,
                other => sim.delegated.get_mut(other).unwrap().header.version = 0,
            }
            if !["timestamp", "snapshot"].contains(&role) {
                sim.publish_targets(role);
            }
            if role != "timestamp" {
                sim.publish_snapshot();
            }
            sim.publish_timestamp();
            if !cache {
                let root = std::mem::take(&mut device.stored.root);
                device.stored = Stored { root, ..Stored::default() };
            }
            let refusal = device.refused(&sim);
            assert_eq!(
                (refusal.code.as_ref(), refusal.category),
                ("SLW-T-ROLLBACK", Category::Rollback),
                "{role}, cache {cache}: {refusal}"
            );
            assert!(refusal.seen.contains(role), "{refusal}");
        }
    }
}

#[test]
fn damage_in_the_cache_is_noted_and_is_not_a_first_boot() {
    let mut sim = sim();
    let replay = sim.clone();
    sim.publish();
    let mut device = Device::born(&sim);
    device.refresh(&sim).unwrap();
    device.stored.timestamp[10] ^= 0xff;
    device.stored.snapshot.truncate(7);
    device.stored.targets.clear();
    // Shown the old repository, it says so; shown the new one, it recovers.
    assert_eq!(device.clone().refused(&replay).code, "SLW-T-ROLLBACK");
    assert_eq!(device.open(Rules::accepted_before()).unwrap_err().code, "SLW-T-CACHE");
    let repository = device.refresh(&sim).unwrap();
    assert_eq!(repository.notes().iter().map(|note| note.code.as_ref()).collect::<Vec<_>>(), ["SLW-T-CACHE"]);
    device.open(Rules::accepted_before()).unwrap();
}

#[test]
fn another_timestamp_of_the_same_version_is_refused_and_reported() {
    let (mut sim, mut device) = begun();
    sim.publish_snapshot();
    sim.write_timestamp();
    let repository = device.refresh(&sim).unwrap();
    assert_eq!(repository.notes().iter().map(|note| note.code.as_ref()).collect::<Vec<_>>(), ["SLW-T-MIX"]);
    assert!(device.wrote.is_empty());
    assert_eq!(device.floors.snapshot, 1);
}

#[test]
fn new_timestamp_or_snapshot_keys_recover_from_fast_forward() {
    for role in ["timestamp", "snapshot"] {
        let (mut sim, mut device) = begun();
        let versions = (sim.timestamp.version, sim.snapshot.version);
        (sim.timestamp.version, sim.snapshot.version) = (4_000_000_000, 4_000_000_000);
        sim.publish_snapshot();
        sim.publish_timestamp();
        device.refresh(&sim).unwrap();
        (sim.timestamp.version, sim.snapshot.version) = versions;
        sim.publish();
        assert_eq!(device.clone().refused(&sim).code, "SLW-T-ROLLBACK");
        // A new root alone is no excuse.
        sim.publish_root();
        assert_eq!(device.clone().refused(&sim).code, "SLW-T-ROLLBACK");
        sim.rotate(role);
        sim.publish_root();
        sim.write_snapshot();
        sim.write_timestamp();
        device.refresh(&sim).unwrap_or_else(|refusal| panic!("{role}: {refusal}"));
        assert_eq!(device.floors.timestamp, versions.0 + 1);
        device.refresh(&sim).unwrap();
    }
}

#[test]
fn keys_that_changed_long_ago_clear_no_floor_when_the_chain_is_walked_again() {
    let (mut sim, mut device) = begun();
    sim.rotate("timestamp");
    sim.publish_root();
    sim.publish();
    sim.publish();
    device.refresh(&sim).unwrap();
    device.stored = Stored::default();
    sim.timestamp.version = 0;
    sim.publish_timestamp();
    assert_eq!(device.refused(&sim).code, "SLW-T-ROLLBACK");
}

#[test]
fn a_file_that_is_not_the_pinned_one_is_mix_and_match() {
    for name in ["2.snapshot.json", "2.targets.json", "2.releases.json"] {
        let (mut sim, mut device) = begun();
        sim.publish();
        // The file of the release before, made as long as this one.
        let old: serde_json::Value = serde_json::from_slice(&sim.files[&name.replace('2', "1")]).unwrap();
        let mut old = old.to_string().into_bytes();
        old.resize(sim.files[name].len(), b'\n');
        sim.files.insert(name.to_owned(), old);
        let refusal = device.refused(&sim);
        assert_eq!((refusal.code.as_ref(), refusal.category), ("SLW-T-MIX", Category::MixAndMatch), "{name}: {refusal}");
    }
}

#[test]
fn a_pinned_file_that_is_missing_is_not_the_end_of_anything() {
    for name in ["timestamp.json", "2.snapshot.json", "2.targets.json", "2.channels.json"] {
        let (mut sim, mut device) = begun();
        sim.publish();
        sim.files.remove(name);
        assert_eq!(device.refused(&sim).code, "SLW-T-MISSING", "{name}");
    }
}

#[test]
fn more_bytes_than_authorised_are_endless_data() {
    for name in ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"] {
        let (mut sim, mut device) = begun();
        sim.publish_root();
        sim.publish();
        sim.files.get_mut(name).unwrap().extend(vec![b' '; 600 * 1024]);
        let refusal = device.refused(&sim);
        assert_eq!((refusal.code.as_ref(), refusal.category), ("SLW-T-ENDLESS", Category::EndlessData), "{name}");
    }
}
