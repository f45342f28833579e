//! The TUF refresh against a repository that can be made to say anything. One test for one lesson; its name is the lesson.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test fails by panicking"
)]

mod tuf_sim;

use slipway_operator::keys::SecretKey;
use slipway_operator::metadata::{self, DelegatedRole, Pin, RoleKeys};
use slipway_protocol::refusal::Class;
use slipway_verify::tuf::{Floors, Limits, Refresh, Rules, Step, Stored, Wanted};
use tuf_sim::{Device, Sim, binding, now, publics, ring, time};

/// A repository, and a device that has followed it once.
fn begun() -> (Sim, Device) {
    let sim = Sim::new();
    let mut device = Device::born(&sim);
    device.refresh(&sim).unwrap();
    (sim, device)
}

#[test]
fn everything_is_fetched_verified_and_stored_once() {
    let sim = Sim::new();
    let mut device = Device::born(&sim);
    let repository = device.refresh(&sim).unwrap();
    assert_eq!(
        device.asked,
        ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "1.releases.json", "1.channels.json"]
    );
    assert_eq!(device.wrote, ["timestamp.json", "snapshot.json", "targets.json", "releases.json", "channels.json"]);
    assert_eq!((device.floors.root, device.floors.timestamp, device.floors.snapshot), (1, 1, 1));
    assert_eq!(device.floors.targets, [("targets", 1), ("releases", 1), ("channels", 1)].map(|(n, v)| (n.to_owned(), v)).into());
    assert!(repository.notes().is_empty(), "{:?}", repository.notes());
    let names: Vec<_> = repository.roles().into_iter().map(|role| role.name).collect();
    assert_eq!(names, ["root", "timestamp", "snapshot", "targets", "channels", "releases"]);

    device.refresh(&sim).unwrap();
    assert_eq!(device.asked, ["2.root.json", "timestamp.json"], "nothing changed, so nothing more is fetched");
    assert!(device.wrote.is_empty(), "nor written: {:?}", device.wrote);
}

#[test]
fn only_what_changed_is_fetched() {
    let (mut sim, mut device) = begun();
    sim.put("channels", "channels/edgecore/stable.json", b"channel two");
    sim.publish_targets("channels");
    sim.publish_snapshot();
    sim.publish_timestamp();
    let repository = device.refresh(&sim).unwrap();
    assert_eq!(device.asked, ["2.root.json", "timestamp.json", "2.snapshot.json", "2.channels.json"]);
    assert_eq!(repository.timestamp_version(), 2);
    repository.authenticate("channels/edgecore/stable.json", b"channel two".to_vec()).unwrap();
}

#[test]
fn a_target_is_authentic_by_length_and_digest() {
    let (sim, mut device) = begun();
    let repository = device.refresh(&sim).unwrap();
    let info = repository.lookup("releases/edgecore/v1.json").unwrap();
    assert_eq!((info.role.as_str(), info.length), ("releases", 12));
    let bytes = sim.files[&info.fetch_path].clone();
    let target = repository.authenticate("releases/edgecore/v1.json", bytes).unwrap();
    assert_eq!((target.path(), target.role(), target.bytes()), ("releases/edgecore/v1.json", "releases", &b"manifest one"[..]));
    for wrong in [&b"manifest two"[..], b"manifest one ", b"", b"channel one"] {
        let refusal = repository.authenticate("releases/edgecore/v1.json", wrong.to_vec()).unwrap_err();
        assert_eq!((refusal.code.as_ref(), refusal.class), ("SLW-T-TARGET", Class::ArbitrarySoftware));
    }
    assert_eq!(repository.lookup("releases/edgecore/v2.json").unwrap_err().code, "SLW-T-NO-TARGET");
    for path in ["", "/etc/passwd", "releases/../policies/edgecore.toml", "a//b", "a\\b", "a\nb", "."] {
        assert_eq!(repository.lookup(path).unwrap_err().code, "SLW-T-TARGET-PATH", "{path:?}");
    }
}

// Roots.

#[test]
fn a_device_that_slept_walks_every_root_in_between() {
    let (mut sim, mut device) = begun();
    for _ in 0..20 {
        let old = sim.rotate("root");
        sim.publish_root_with(&old);
    }
    sim.rotate("targets");
    sim.publish_root();
    sim.publish();
    device.refresh(&sim).unwrap();
    assert_eq!(device.floors.root, 22);
    assert_eq!(device.wrote.iter().filter(|name| *name == "root.json").count(), 21, "every step is stored");
    // The stored root is used: the chain is not walked again.
    device.refresh(&sim).unwrap();
    assert_eq!(device.asked, ["23.root.json", "timestamp.json"]);
    // And a device that was born long ago and lost its cache can walk it again.
    device.stored = Stored::default();
    let repository = device.refresh(&sim).unwrap();
    assert!(repository.notes().iter().any(|note| note.code == "SLW-T-CACHE"));
}

#[test]
fn a_root_needs_the_old_keys_and_its_own() {
    for (with_old, with_new) in [(true, false), (false, true)] {
        let (mut sim, mut device) = begun();
        let before = device.floors.clone();
        let old = sim.rotate("root");
        if with_old && !with_new {
            sim.keys.insert("root".to_owned(), old);
        }
        sim.publish_root();
        let refusal = device.refused(&sim);
        assert_eq!((refusal.code.as_ref(), refusal.class), ("SLW-T-SIGNATURES", Class::WrongSigner));
        assert_eq!(device.floors, before);
        assert!(device.wrote.is_empty(), "a root that failed is never stored");
    }
}

#[test]
fn a_root_is_exactly_one_version_newer() {
    for version in [1, 3] {
        let (mut sim, mut device) = begun();
        sim.root.header.version = version - 1;
        sim.publish_root();
        let bytes = sim.files.remove(&format!("{version}.root.json")).unwrap();
        sim.files.insert("2.root.json".to_owned(), bytes);
        assert_eq!(device.refused(&sim).code, "SLW-T-ROOT-VERSION", "{version}");
    }
}

#[test]
fn not_found_ends_the_root_chain_and_anything_else_is_stale() {
    let (mut sim, mut device) = begun();
    sim.failing.insert("2.root.json".to_owned(), "HTTP 500".to_owned());
    let refusal = device.refused(&sim);
    assert_eq!((refusal.code.as_ref(), refusal.class), ("SLW-T-STALE", Class::Network));
    assert!(refusal.seen.contains("HTTP 500"));
    sim.failing.clear();
    device.refresh(&sim).unwrap();
}

#[test]
fn an_expired_root_in_between_is_no_obstacle_but_the_last_one_is_judged() {
    let (mut sim, mut device) = begun();
    let good = sim.root.header.expires;
    sim.root.header.expires = time("2020-01-01T00:00:00Z");
    sim.publish_root();
    let refusal = device.refused(&sim);
    assert_eq!((refusal.code.as_ref(), refusal.class), ("SLW-T-EXPIRED", Class::Freeze));
    sim.root.header.expires = good;
    sim.publish_root();
    device.refresh(&sim).unwrap();
}

#[test]
fn a_root_chain_without_end_is_cut_and_continued() {
    let (mut sim, mut device) = begun();
    for _ in 0..10 {
        sim.publish_root();
    }
    let limits = Limits { root_steps: 4, ..Limits::default() };
    let codes: Vec<_> = std::iter::repeat_with(|| {
        device.refresh_by(&sim, Rules { limits, ..Rules::at(now()) }).map_or_else(|refusal| refusal.code, |_| "ok".into())
    })
    .take(3)
    .collect();
    assert_eq!(codes, ["SLW-T-ROOT-CHAIN", "SLW-T-ROOT-CHAIN", "ok"]);
    assert_eq!(device.floors.root, 11);
}

#[test]
fn two_roots_of_one_version_are_a_theft() {
    let (mut sim, mut device) = begun();
    sim.publish_root();
    device.refresh(&sim).unwrap();
    // Same version, other content, properly signed; shown to a device that lost its cache but not its floors.
    sim.root.header.version = 1;
    sim.rotate("channels");
    sim.root.header.expires = time("2028-01-01T00:00:00Z");
    sim.publish_root();
    device.stored = Stored::default();
    assert_eq!(device.refused(&sim).code, "SLW-T-ROOT-FORK");
}

#[test]
fn a_shorter_root_chain_than_before_is_a_rollback() {
    let (mut sim, mut device) = begun();
    sim.publish_root();
    device.refresh(&sim).unwrap();
    sim.files.remove("2.root.json");
    device.stored = Stored::default();
    let refusal = device.refused(&sim);
    assert_eq!((refusal.code.as_ref(), refusal.class), ("SLW-T-ROLLBACK", Class::Rollback));
}

#[test]
fn a_root_with_one_more_signature_is_the_same_root() {
    let (mut sim, mut device) = begun();
    let extra = SecretKey::generate().unwrap();
    sim.root.header.version = 0;
    sim.publish_root_with(&[extra]);
    device.initial_root = sim.files["1.root.json"].clone();
    device.refresh(&sim).unwrap();
}

// Time.

#[test]
fn expired_metadata_is_a_freeze_whichever_role_it_is() {
    for role in ["timestamp", "snapshot", "targets", "releases"] {
        let (mut sim, mut device) = begun();
        let expired = time("2026-11-22T11:59:59Z");
        match role {
            "timestamp" => sim.timestamp.header.expires = expired,
            "snapshot" => sim.snapshot.header.expires = expired,
            "targets" => sim.targets.header.expires = expired,
            other => sim.delegated.get_mut(other).unwrap().header.expires = expired,
        }
        sim.publish();
        let before = device.clone();
        let refusal = device.refused(&sim);
        assert_eq!((refusal.code.as_ref(), refusal.class), ("SLW-T-EXPIRED", Class::Freeze), "{role}");
        assert!(refusal.seen.starts_with(role), "{refusal}");
        assert_eq!(device.stored, before.stored, "{role}: what was rejected is not cached");
        assert_eq!(device.floors, before.floors);
    }
}

#[test]
fn what_was_accepted_once_opens_for_ever_but_is_not_fresh() {
    let (_, device) = begun();
    let after = time("2036-01-01T00:00:00Z");
    assert_eq!(device.open(Rules::at(after)).unwrap_err().code, "SLW-T-EXPIRED");
    device.open(Rules::at(now())).unwrap();
    let repository = device.open(Rules::accepted_before()).unwrap();
    repository.authenticate("policies/edgecore.toml", b"policy one".to_vec()).unwrap();
}

#[test]
fn an_expired_timestamp_in_the_cache_still_is_a_floor() {
    let (mut sim, mut device) = begun();
    let old = sim.files["timestamp.json"].clone();
    sim.timestamp.header.expires = time("2026-11-23T00:00:00Z");
    sim.publish_timestamp();
    device.refresh(&sim).unwrap();
    device.floors = Floors { timestamp: 0, ..device.floors };
    sim.files.insert("timestamp.json".to_owned(), old);
    let refusal = device.refresh_by(&sim, Rules::at(time("2026-12-01T00:00:00Z"))).unwrap_err();
    assert_eq!(refusal.code, "SLW-T-ROLLBACK");
}

#[test]
fn an_expired_offline_bundle_needs_the_channels_word() {
    let channel =
        |until: &str| format!(r#"{{"v":1,"component":"edgecore","channel":"stable","release":"v1.23.1"{until}}}"#).into_bytes();
    let after = time("2027-01-01T00:00:00Z");
    for (until, unlocks) in
        [("", false), (r#","offline_until":"2026-12-31T00:00:00Z""#, false), (r#","offline_until":"2027-06-01T00:00:00Z""#, true)]
    {
        let (mut sim, mut device) = begun();
        sim.timestamp.header.expires = time("2026-12-01T00:00:00Z");
        sim.snapshot.header.expires = time("2026-12-02T00:00:00Z");
        sim.put("channels", "channels/edgecore/stable.json", &channel(until));
        sim.publish();
        assert_eq!(device.clone().refresh_by(&sim, Rules::at(after)).unwrap_err().code, "SLW-T-EXPIRED");
        let mut repository = device.refresh_by(&sim, Rules::offline(after)).unwrap();
        let manifest = |repository: &slipway_verify::tuf::Repository| {
            repository.authenticate("releases/edgecore/v1.json", b"manifest one".to_vec())
        };
        let refusal = manifest(&repository).unwrap_err();
        assert_eq!((refusal.code.as_ref(), refusal.class), ("SLW-T-OFFLINE", Class::Freeze));
        assert!(repository.expired_offline().is_some());
        let policy = repository.authenticate("policies/edgecore.toml", b"policy one".to_vec());
        assert!(policy.is_err(), "nothing but the channel is readable");
        let target = repository.authenticate("channels/edgecore/stable.json", channel(until)).unwrap();
        assert_eq!(repository.accept_expired(&target, after).is_ok(), unlocks, "{until}");
        assert_eq!(manifest(&repository).is_ok(), unlocks, "{until}");
    }
}

#[test]
fn offline_the_other_roles_are_judged_all_the_same() {
    let (mut sim, mut device) = begun();
    sim.delegated.get_mut("releases").unwrap().header.expires = time("2026-12-01T00:00:00Z");
    sim.publish();
    assert_eq!(device.refresh_by(&sim, Rules::offline(time("2026-12-02T00:00:00Z"))).unwrap_err().code, "SLW-T-EXPIRED");
}

// Going back.

#[test]
fn no_role_goes_back_with_or_without_its_cache() {
    for role in ["timestamp", "snapshot", "targets", "releases", "channels"] {
        for cache in [true, false] {
            let mut sim = Sim::new();
            sim.publish();
            let mut device = Device::born(&sim);
            device.refresh(&sim).unwrap();
            match role {
                "timestamp" => sim.timestamp.header.version = 0,
                "snapshot" => sim.snapshot.header.version = 0,
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
                (refusal.code.as_ref(), refusal.class),
                ("SLW-T-ROLLBACK", Class::Rollback),
                "{role}, cache {cache}: {refusal}"
            );
            assert!(refusal.seen.contains(role), "{refusal}");
        }
    }
}

#[test]
fn a_role_does_not_vanish_from_the_snapshot() {
    for cache in [true, false] {
        let (mut sim, mut device) = begun();
        sim.snapshot.meta.remove("channels.json");
        sim.publish_snapshot();
        sim.publish_timestamp();
        if !cache {
            device.stored = Stored::default();
        }
        let code = device.refused(&sim).code;
        assert!(["SLW-T-ROLLBACK", "SLW-T-MIX"].contains(&code.as_ref()), "{code}");
    }
}

#[test]
fn damage_in_the_cache_is_noted_and_is_not_a_first_boot() {
    let mut sim = Sim::new();
    let old = sim.files.clone();
    sim.publish();
    let mut device = Device::born(&sim);
    device.refresh(&sim).unwrap();
    device.stored.timestamp[10] ^= 0xff;
    device.stored.snapshot.truncate(7);
    device.stored.targets.clear();
    // Shown the old repository, it says so; shown the new one, it recovers.
    let mut replay = Sim::new();
    replay.files = old;
    assert_eq!(device.clone().refused(&replay).code, "SLW-T-ROLLBACK");
    assert_eq!(device.open(Rules::accepted_before()).unwrap_err().code, "SLW-T-CACHE");
    let repository = device.refresh(&sim).unwrap();
    assert_eq!(repository.notes().iter().map(|note| note.code.as_ref()).collect::<Vec<_>>(), ["SLW-T-CACHE"]);
    device.open(Rules::accepted_before()).unwrap();
}

#[test]
fn a_refresh_that_breaks_off_leaves_a_cache_that_opens() {
    let (mut sim, mut device) = begun();
    sim.publish();
    sim.failing.insert("2.releases.json".to_owned(), "connection reset".to_owned());
    assert_eq!(device.refused(&sim).code, "SLW-T-STALE");
    device.open(Rules::accepted_before()).unwrap();
    // Other clients store as they go; so can this one.
    let (stored, floors) = (device.stored.clone(), device.floors.clone());
    device.refresh_by(&sim, Rules { store_early: true, ..Rules::at(now()) }).unwrap_err();
    assert_eq!(device.wrote, ["timestamp.json", "snapshot.json", "targets.json"]);
    assert!(device.stored != stored && device.floors != floors);
}

#[test]
fn another_timestamp_of_the_same_version_is_not_taken_and_told() {
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
        let versions = (sim.timestamp.header.version, sim.snapshot.header.version);
        (sim.timestamp.header.version, sim.snapshot.header.version) = (4_000_000_000, 4_000_000_000);
        sim.publish_snapshot();
        sim.publish_timestamp();
        device.refresh(&sim).unwrap();
        (sim.timestamp.header.version, sim.snapshot.header.version) = versions;
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
    sim.timestamp.header.version = 0;
    sim.publish_timestamp();
    assert_eq!(device.refused(&sim).code, "SLW-T-ROLLBACK");
}

// Mixing.

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
        assert_eq!((refusal.code.as_ref(), refusal.class), ("SLW-T-MIX", Class::MixAndMatch), "{name}: {refusal}");
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
        assert_eq!((refusal.code.as_ref(), refusal.class), ("SLW-T-ENDLESS", Class::EndlessData), "{name}");
    }
}

// Signatures.

#[test]
fn every_role_needs_its_own_key() {
    for role in ["timestamp", "snapshot", "targets", "releases", "channels"] {
        let (mut sim, mut device) = begun();
        sim.keys.insert(role.to_owned(), vec![SecretKey::generate().unwrap()]);
        sim.publish();
        let refusal = device.refused(&sim);
        assert_eq!((refusal.code.as_ref(), refusal.class), ("SLW-T-SIGNATURES", Class::WrongSigner), "{role}");
    }
}

#[test]
fn a_threshold_of_two_needs_two_keys() {
    for (threshold, signers, ok) in [(2, 2, true), (2, 1, false), (1, 1, true), (0, 1, false), (3, 2, false)] {
        let mut sim = Sim::new();
        let keys = vec![SecretKey::generate().unwrap(), SecretKey::generate().unwrap()];
        sim.root.keys.extend(publics(&keys));
        sim.root.roles.insert("snapshot".to_owned(), RoleKeys { threshold, ..binding(&keys) });
        sim.keys.insert("snapshot".to_owned(), keys[..signers].to_vec());
        sim.publish_root();
        sim.publish();
        let result = Device::born(&sim).refresh(&sim);
        assert_eq!(result.is_ok(), ok, "{threshold} of 2, {signers} signed: {:?}", result.err());
    }
}

#[test]
fn one_key_under_two_ids_counts_once() {
    // In the root, which the library alone would accept ...
    let mut sim = Sim::new();
    let key = sim.keys["snapshot"][0].clone();
    sim.root.keys.insert("another-id".to_owned(), key.public().clone());
    let both = RoleKeys { keyids: vec![key.id().to_owned(), "another-id".to_owned()], threshold: 2 };
    sim.root.roles.insert("snapshot".to_owned(), both.clone());
    sim.publish_root();
    let twice = |text: String| {
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let mut copy = value["signatures"][0].clone();
        copy["keyid"] = "another-id".into();
        value["signatures"].as_array_mut().unwrap().push(copy);
        value.to_string()
    };
    sim.publish();
    sim.tamper("2.snapshot.json", twice);
    let refusal = Device::born(&sim).refused(&sim);
    assert_eq!((refusal.code.as_ref(), refusal.class), ("SLW-T-SAME-KEY", Class::WrongSigner));
    let library = sigstore_tuf_accepts(&sim);
    assert!(library, "without our check it would have passed, so the test tests something");

    // ... and in a delegation.
    let mut sim = Sim::new();
    let key = sim.keys["releases"][0].clone();
    let delegations = sim.targets.delegations.as_mut().unwrap();
    delegations.keys.insert("another-id".to_owned(), key.public().clone());
    delegations.roles[0].keys = RoleKeys { keyids: vec![key.id().to_owned(), "another-id".to_owned()], threshold: 2 };
    sim.publish();
    sim.tamper("2.releases.json", twice);
    assert_eq!(Device::born(&sim).refused(&sim).code, "SLW-T-SAME-KEY");
}

fn sigstore_tuf_accepts(sim: &Sim) -> bool {
    let mut set = sigstore_tuf::TrustedMetadataSet::from_root(&sim.files["1.root.json"]).unwrap();
    set.update_root(&sim.files["2.root.json"]).unwrap();
    set.update_timestamp(&sim.files["timestamp.json"], now()).unwrap();
    set.update_snapshot(&sim.files["2.snapshot.json"], now()).is_ok()
}

#[test]
fn a_second_key_makes_the_same_role_good_although_one_key_has_two_ids() {
    let mut sim = Sim::new();
    let key = sim.keys["snapshot"][0].clone();
    let second = SecretKey::generate().unwrap();
    sim.root.keys.insert("another-id".to_owned(), key.public().clone());
    sim.root.keys.extend(publics(std::slice::from_ref(&second)));
    let keyids = vec![key.id().to_owned(), "another-id".to_owned(), second.id().to_owned()];
    sim.root.roles.insert("snapshot".to_owned(), RoleKeys { keyids, threshold: 2 });
    sim.keys.insert("snapshot".to_owned(), vec![key, second]);
    sim.publish_root();
    sim.publish();
    Device::born(&sim).refresh(&sim).unwrap();
}

#[test]
fn the_operators_signing_refuses_without_enough_keys() {
    let sim = Sim::new();
    let keys = &sim.keys["root"];
    metadata::sign(&sim.root, "root", &binding(keys), &ring(keys)).unwrap();
    let refusal = metadata::sign(&sim.root, "root", &binding(keys), &ring(&[])).unwrap_err();
    assert_eq!(refusal.code, "SLW-O-KEY");
}

// Shape.

#[test]
fn a_member_that_appears_twice_is_refused_in_every_role() {
    for name in ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json", "2.releases.json"] {
        let (mut sim, mut device) = begun();
        sim.publish_root();
        sim.publish();
        sim.tamper(name, |text| text.replacen("\"version\":", "\"version\": 1, \"version\":", 1));
        let refusal = device.refused(&sim);
        assert_eq!((refusal.code.as_ref(), refusal.class), ("SLW-T-MALFORMED", Class::Malformed), "{name}");
        assert!(refusal.seen.contains("twice"), "{refusal}");
    }
}

#[test]
fn wrong_shapes_are_refused_and_never_panic() {
    for text in [
        "",
        "null",
        "[]",
        "{}",
        "\"x\"",
        "{\"signed\":1,\"signatures\":[]}",
        "{\"signed\":{},\"signatures\":{}}",
        "{\"signed\":{\"_type\":\"timestamp\",\"spec_version\":\"1.0\",\"version\":-1},\"signatures\":[]}",
        "{\"signed\":{\"_type\":\"root\"},\"signatures\":[]}",
        "\u{feff}{}",
    ] {
        let (mut sim, mut device) = begun();
        sim.files.insert("timestamp.json".to_owned(), text.as_bytes().to_vec());
        assert_eq!(device.refused(&sim).code, "SLW-T-MALFORMED", "{text}");
    }
    let (mut sim, mut device) = begun();
    sim.files.insert("timestamp.json".to_owned(), "[".repeat(10_000).into_bytes());
    assert_eq!(device.refused(&sim).code, "SLW-T-MALFORMED");
}

#[test]
fn another_role_in_its_place_is_refused() {
    let (mut sim, mut device) = begun();
    sim.publish();
    let snapshot = sim.files["2.snapshot.json"].clone();
    sim.files.insert("timestamp.json".to_owned(), snapshot);
    assert_eq!(device.refused(&sim).code, "SLW-T-MALFORMED");
}

#[test]
fn a_crowd_of_signatures_is_not_verified() {
    let (mut sim, mut device) = begun();
    sim.publish();
    sim.tamper("timestamp.json", |text| {
        let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let one = value["signatures"][0].clone();
        value["signatures"] = vec![one; 65].into();
        value.to_string()
    });
    let refusal = device.refused(&sim);
    assert!(refusal.code == "SLW-T-MALFORMED" && refusal.seen.contains("65 signatures"), "{refusal}");
}

// Delegations.

#[test]
fn a_delegated_role_signs_only_for_its_paths() {
    let (mut sim, mut device) = begun();
    sim.put("channels", "releases/edgecore/v9.json", b"by the rollout key");
    sim.put("channels", "policies/edgecore.toml", b"any build will do");
    sim.put("releases", "releases/edgecore/v1/extra.json", b"too deep");
    sim.publish();
    let repository = device.refresh(&sim).unwrap();
    assert_eq!(repository.lookup("releases/edgecore/v9.json").unwrap_err().code, "SLW-T-NO-TARGET");
    assert_eq!(repository.lookup("releases/edgecore/v1/extra.json").unwrap_err().code, "SLW-T-NO-TARGET");
    assert_eq!(repository.lookup("policies/edgecore.toml").unwrap().role, "targets");
}

fn delegate(sim: &mut Sim, from: &str, name: &str, paths: &[&str], terminating: bool) {
    let keys = vec![SecretKey::generate().unwrap()];
    let header = metadata::Header::new("targets", 0, time("2027-01-01T00:00:00Z"));
    sim.delegated.entry(name.to_owned()).or_insert_with(|| metadata::Targets {
        header,
        targets: Default::default(),
        delegations: None,
    });
    let keys = sim.keys.entry(name.to_owned()).or_insert(keys).clone();
    let role = DelegatedRole {
        name: name.to_owned(),
        keys: binding(&keys),
        terminating,
        paths: paths.iter().map(|path| (*path).to_owned()).collect(),
    };
    let parent = if from == "targets" { &mut sim.targets } else { sim.delegated.get_mut(from).unwrap() };
    let delegations =
        parent.delegations.get_or_insert_with(|| metadata::Delegations { keys: Default::default(), roles: Vec::new() });
    delegations.keys.extend(publics(&keys));
    delegations.roles.push(role);
}

#[test]
fn the_first_match_wins_and_a_terminating_one_ends_the_search() {
    for (terminating, found) in [(false, Some("late")), (true, None)] {
        let mut sim = Sim::new();
        delegate(&mut sim, "targets", "early", &["x/*"], terminating);
        delegate(&mut sim, "targets", "late", &["x/*"], false);
        sim.put("early", "x/both", b"early");
        sim.put("late", "x/both", b"late");
        sim.put("late", "x/only", b"late");
        sim.publish();
        let repository = Device::born(&sim).refresh(&sim).unwrap();
        assert_eq!(repository.lookup("x/both").unwrap().role, "early");
        assert_eq!(repository.lookup("x/only").ok().map(|info| info.role).as_deref(), found);
    }
}

#[test]
fn cycles_of_delegations_end() {
    let mut sim = Sim::new();
    delegate(&mut sim, "targets", "a", &["x/*"], false);
    delegate(&mut sim, "a", "b", &["x/*"], false);
    delegate(&mut sim, "b", "a", &["x/*"], false);
    sim.put("b", "x/found", b"found");
    sim.publish();
    let repository = Device::born(&sim).refresh(&sim).unwrap();
    assert_eq!(repository.lookup("x/found").unwrap().role, "b");
    assert_eq!(repository.lookup("x/missing").unwrap_err().code, "SLW-T-NO-TARGET");
}

#[test]
fn too_many_roles_are_refused() {
    let mut sim = Sim::new();
    for n in 0..40 {
        delegate(&mut sim, "targets", &format!("role-{n}"), &["x/*"], false);
    }
    sim.publish();
    assert_eq!(Device::born(&sim).refused(&sim).code, "SLW-T-ROLE");
}

#[test]
fn a_role_reached_by_two_paths_needs_the_keys_of_both() {
    let mut sim = Sim::new();
    delegate(&mut sim, "targets", "shared", &["x/*"], false);
    delegate(&mut sim, "targets", "other", &["y/*"], false);
    delegate(&mut sim, "other", "shared", &["y/*"], false);
    let stranger = [SecretKey::generate().unwrap()];
    let delegations = sim.delegated.get_mut("other").unwrap().delegations.as_mut().unwrap();
    delegations.keys = publics(&stranger);
    delegations.roles[0].keys = binding(&stranger);
    sim.put("shared", "x/a", b"a");
    sim.put("shared", "y/b", b"b");
    sim.publish();
    let repository = Device::born(&sim).refresh(&sim).unwrap();
    assert_eq!(repository.lookup("x/a").unwrap().role, "shared");
    assert_eq!(repository.lookup("y/b").unwrap_err().code, "SLW-T-SIGNATURES");
}

#[test]
fn only_the_roles_on_the_way_to_wanted_targets_are_fetched() {
    let sim = Sim::new();
    let mut device = Device::born(&sim);
    let wanted = Wanted::Paths(vec!["channels/edgecore/stable.json".to_owned()]);
    let repository = device.refresh_by(&sim, Rules { wanted, ..Rules::at(now()) }).unwrap();
    assert!(!device.asked.contains(&"1.releases.json".to_owned()));
    repository.lookup("channels/edgecore/stable.json").unwrap();
    assert_eq!(repository.lookup("releases/edgecore/v1.json").unwrap_err().code, "SLW-T-ORDER");
}

#[test]
fn role_names_are_data_and_never_paths() {
    let mut sim = Sim::new();
    for name in ["../evil", "/abs", "a b", "..", "timestamp"] {
        delegate(&mut sim, "targets", name, &["x/*"], false);
        let was = sim.files.get(&format!("1.{name}.json")).cloned();
        sim.publish_targets(name);
        let bytes = sim.files[&format!("1.{name}.json")].clone();
        assert!(was.is_none());
        sim.snapshot.meta.insert(format!("{name}.json"), Pin::of(1, &bytes));
    }
    sim.publish_targets("targets");
    sim.publish_snapshot();
    sim.publish_timestamp();
    for (name, encoded) in [("../evil", "..%2Fevil"), ("/abs", "%2Fabs"), ("a b", "a%20b")] {
        let bytes = sim.files[&format!("1.{name}.json")].clone();
        sim.files.insert(format!("1.{encoded}.json"), bytes);
    }
    let mut device = Device::born(&sim);
    device.refresh(&sim).unwrap();
    assert!(device.asked.contains(&"1...%2Fevil.json".to_owned()), "{:?}", device.asked);
    assert!(device.wrote.iter().all(|name| !name.contains('/')), "{:?}", device.wrote);
    assert!(!device.asked.contains(&"1.timestamp.json".to_owned()), "a delegated role does not take a top-level name");
}

// Order.

#[test]
fn a_refresh_is_answered_only_when_it_asks_and_finished_only_when_done() {
    let (sim, device) = begun();
    let begin = || Refresh::begin(&device.initial_root, device.stored.clone(), &device.floors, Rules::at(now())).unwrap();
    assert_eq!(begin().finish().unwrap_err().code, "SLW-T-ORDER");
    let mut refresh = begin();
    while let Step::Fetch(fetch) = refresh.step() {
        assert_eq!(refresh.step(), Step::Fetch(fetch.clone()), "it asks again until it is answered");
        refresh.answer(sim.fetch(&fetch)).unwrap();
    }
    assert_eq!(refresh.clone().answer(slipway_verify::tuf::Answer::Missing).unwrap_err().code, "SLW-T-ORDER");
    refresh.finish().unwrap();
    let mut refresh = begin();
    let first = refresh.answer(slipway_verify::tuf::Answer::Failed("gone")).unwrap_err();
    assert_eq!(refresh.step(), Step::Done);
    assert_eq!(refresh.answer(slipway_verify::tuf::Answer::Missing).unwrap_err(), first, "a refusal is final");
    assert_eq!(refresh.finish().unwrap_err(), first);
}
