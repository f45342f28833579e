//! Every advisory against a TUF client that we know of, as a test that carries its name.

use crate::device::{Device, begun, now, sim, time};
use serde_json::json;
use slipway_protocol::refusal::Category;
use slipway_testkit::tuf::{Key, Keys};
use slipway_verify::tuf::{Rules, Slot, Stored};

fn refused_as(code: &str, sim: &slipway_testkit::tuf::Repository) {
    let refusal = Device::born(sim).refused(sim);
    assert_eq!(refusal.code, code, "{refusal}");
}

#[test]
fn cve_2020_15093_cve_2020_6174_cve_2026_6966_repeated_signatures_of_one_key_count_once() {
    for name in ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json", "2.releases.json"] {
        let mut sim = sim();
        let role = name.trim_start_matches("2.").trim_end_matches(".json");
        let key = sim.keys[role].listed[0].clone();
        let keys = Keys { signers: vec![key.clone(), key.clone()], ..Keys::threshold(2, vec![key, Key::new()]) };
        sim.keys.insert(role.to_owned(), keys);
        sim.publish_root();
        sim.publish();
        let refusal = Device::born(&sim).refused(&sim);
        assert_eq!((refusal.code.as_ref(), refusal.category), ("SLW-T-SIGNATURES", Category::WrongSigner), "{name}: {refusal}");
    }
}

#[test]
fn ghsa_3633_5h82_39pq_the_same_key_under_two_ids_counts_once() {
    let mut sim = sim();
    let key = sim.keys["targets"].listed[0].clone();
    sim.keys.insert("targets".to_owned(), Keys::threshold(2, vec![key.named("another-id"), key]));
    sim.publish_root();
    sim.publish();
    refused_as("SLW-T-SAME-KEY", &sim);
}

#[test]
fn cve_2026_23992_a_threshold_of_zero_or_less_lets_nobody_in() {
    for threshold in [0, -1] {
        for role in ["root", "timestamp", "snapshot", "targets", "releases"] {
            let mut sim = sim();
            let keys = sim.keys[role].clone();
            sim.keys.insert(role.to_owned(), Keys { threshold, signers: Vec::new(), ..keys.clone() });
            sim.publish_root_with(&keys.signers);
            sim.publish();
            assert!(Device::born(&sim).refresh(&sim).is_err(), "{role}, threshold {threshold}");
            // Nor with a signature: nonsense is not repaired.
            sim.keys.insert(role.to_owned(), Keys { threshold, ..keys.clone() });
            sim.root.version -= 1;
            sim.publish_root_with(&keys.signers);
            sim.publish();
            assert!(Device::born(&sim).refresh(&sim).is_err(), "{role}, threshold {threshold}, signed");
        }
    }
}

#[test]
fn cve_2026_6967_a_delegated_roles_expiry_digest_and_length_count() {
    let (mut sim, mut device) = begun();
    sim.role("releases").header.expires = time("2026-11-22T11:59:59Z");
    sim.publish();
    assert_eq!(device.refused(&sim).code, "SLW-T-EXPIRED");
    // The file of another version of the same role, as long as this one: signed, but not the pinned bytes.
    let (mut sim, mut device) = begun();
    sim.publish();
    let other: serde_json::Value = serde_json::from_slice(&sim.files["1.releases.json"]).unwrap();
    let mut other = other.to_string().into_bytes();
    other.resize(sim.files["2.releases.json"].len(), b' ');
    sim.files.insert("2.releases.json".to_owned(), other);
    assert_eq!(device.refused(&sim).code, "SLW-T-MIX");
    let (mut sim, mut device) = begun();
    sim.publish();
    sim.files.get_mut("2.releases.json").unwrap().push(b' ');
    assert_eq!(device.refused(&sim).code, "SLW-T-ENDLESS");
    let (mut sim, mut device) = begun();
    sim.publish();
    let shorter: serde_json::Value = serde_json::from_slice(&sim.files["2.releases.json"]).unwrap();
    sim.files.insert("2.releases.json".to_owned(), shorter.to_string().into_bytes());
    assert_eq!(device.refused(&sim).code, "SLW-T-MIX");
}

#[test]
fn cve_2025_2885_a_root_is_exactly_the_one_that_was_asked_for() {
    for version in [1, 3, 4_000_000_000] {
        let (mut sim, mut device) = begun();
        sim.root.version = version - 1;
        sim.publish_root();
        let bytes = sim.files[&format!("{version}.root.json")].clone();
        sim.files.insert("2.root.json".to_owned(), bytes);
        assert_eq!(device.refused(&sim).code, "SLW-T-ROOT-VERSION", "{version}");
    }
}

#[test]
fn cve_2020_15163_a_root_that_failed_is_never_written() {
    let (mut sim, mut device) = begun();
    sim.rotate("root");
    sim.publish_root();
    let before = device.clone();
    assert_eq!(device.refused(&sim).code, "SLW-T-SIGNATURES");
    assert_eq!((&device.stored, &device.floors), (&before.stored, &before.floors));
    assert!(device.wrote.is_empty());
}

#[test]
fn cve_2022_29173_rollback_is_judged_by_what_is_persisted() {
    // Not by what this run has seen: a new process, and a cache that is gone, know the same.
    let mut sim = sim();
    let before = sim.clone();
    sim.publish();
    let mut device = Device::born(&sim);
    device.refresh(&sim).unwrap();
    assert_eq!(device.clone().refused(&before).code, "SLW-T-ROLLBACK");
    device.stored = Stored::default();
    assert_eq!(device.refused(&before).code, "SLW-T-ROLLBACK");
}

#[test]
fn cve_2025_2888_a_rejected_timestamp_is_not_cached() {
    let (mut sim, mut device) = begun();
    let good = sim.clone();
    // Rejected because the snapshot that it pins goes back.
    sim.timestamp.version = 8;
    sim.timestamp_meta["snapshot.json"]["version"] = json!(0);
    sim.write_timestamp();
    let before = device.clone();
    assert_eq!(device.refused(&sim).code, "SLW-T-ROLLBACK");
    assert_eq!((&device.stored, &device.floors), (&before.stored, &before.floors));
    device.refresh(&good).expect("and it does not stand in the way afterwards");
}

#[test]
fn cve_2025_2887_a_delegated_role_neither_goes_back_nor_vanishes() {
    for cache in [true, false] {
        let mut sim = sim();
        sim.publish();
        let mut device = Device::born(&sim);
        device.refresh(&sim).unwrap();
        if !cache {
            device.stored = Stored::default();
        }
        let mut back = sim.clone();
        back.role("releases").header.version = 0;
        back.publish();
        assert_eq!(device.clone().refused(&back).code, "SLW-T-ROLLBACK");
        let mut gone = sim.clone();
        gone.publish();
        gone.snapshot_meta.remove("releases.json");
        gone.publish_snapshot();
        gone.publish_timestamp();
        assert!(["SLW-T-ROLLBACK", "SLW-T-MIX"].contains(&device.refused(&gone).code.as_ref()));
    }
}

#[test]
fn cve_2025_2886_cve_2024_47534_delegations_have_an_order_an_end_and_paths() {
    for (terminating, found) in [(false, Some("late")), (true, None)] {
        let mut sim = sim();
        sim.delegate("targets", "early", &["x/*"], terminating);
        sim.delegate("targets", "late", &["x/*"], false);
        sim.put("early", "x/both", b"early");
        sim.put("late", "x/both", b"late");
        sim.put("late", "x/only", b"late");
        sim.put("late", "y/elsewhere", b"late");
        sim.put("late", "x/y/deeper", b"late");
        sim.publish();
        let repository = Device::born(&sim).refresh(&sim).unwrap();
        let role = |path: &str| repository.lookup(path).ok().map(|info| info.role);
        assert_eq!(role("x/both").as_deref(), Some("early"));
        assert_eq!(role("x/only").as_deref(), found);
        assert_eq!((role("y/elsewhere"), role("x/y/deeper")), (None, None), "not its paths");
    }
    // A terminating role ends the search for those above it as well, not only among its siblings.
    let mut sim = sim();
    sim.delegate("targets", "a", &["x/*"], false);
    sim.delegate("a", "b", &["x/*"], true);
    sim.delegate("targets", "c", &["x/*"], false);
    sim.put("c", "x/target", b"c");
    sim.publish();
    assert_eq!(Device::born(&sim).refresh(&sim).unwrap().lookup("x/target").unwrap_err().code, "SLW-T-NO-TARGET");
}

#[test]
fn ghsa_j8x2_777p_23fc_cyclic_delegations_end() {
    let mut sim = sim();
    sim.delegate("targets", "a", &["x/*"], false);
    sim.delegate("a", "b", &["x/*"], false);
    sim.delegate("b", "a", &["x/*"], false);
    sim.delegate("b", "b", &["x/*"], false);
    sim.delegate("b", "targets", &["x/*"], false);
    sim.publish();
    assert_eq!(Device::born(&sim).refresh(&sim).unwrap().lookup("x/none").unwrap_err().code, "SLW-T-NO-TARGET");
}

#[test]
fn tob_sigstore_14_a_cached_delegated_role_is_verified_against_the_delegator_now_in_use() {
    let (mut sim, mut device) = begun();
    // The release keys are revoked in a new targets; the role itself is as it was, and so is its pin.
    sim.rotate("releases");
    sim.publish_targets("targets");
    sim.publish_snapshot();
    sim.publish_timestamp();
    assert_eq!(device.refused(&sim).code, "SLW-T-SIGNATURES");
    sim.publish();
    device.refresh(&sim).unwrap();
}

#[test]
fn cve_2021_41131_cve_2026_6968_cve_2026_24686_names_are_data_and_never_paths() {
    let mut sim = sim();
    let names = [("../evil", "..%2Fevil"), ("/abs", "%2Fabs"), ("a b", "a%20b"), ("..", ".."), ("a\\b", "a%5Cb"), ("?", "%3F")];
    for (name, _) in names {
        sim.delegate("targets", name, &["x/*"], false);
    }
    sim.delegate("targets", "timestamp", &["x/*"], false);
    sim.publish();
    let mut device = Device::born(&sim);
    device.refresh(&sim).unwrap();
    for (name, encoded) in names {
        assert!(device.asked.contains(&format!("1.{encoded}.json")), "{name}: {:?}", device.asked);
        assert!(device.wrote.contains(&format!("{encoded}.json")), "{name}: {:?}", device.wrote);
        assert_eq!(Slot::of_file_name(&format!("{encoded}.json")), Some(Slot::Delegated(name.to_owned())));
    }
    assert!(device.wrote.iter().all(|name| !name.contains(['/', '\\'])), "{:?}", device.wrote);
    assert!(!device.asked.contains(&"1.timestamp.json".to_owned()), "a delegated role does not take a top-level name");
    // Target names go into URLs, so what would climb or start over there is no name.
    let repository = device.refresh(&sim).unwrap();
    for path in ["../x", "x/../../y", "/etc/passwd", "x//y", "x/./y", "x\\y", "x\0y", ""] {
        assert_eq!(repository.lookup(path).unwrap_err().code, "SLW-T-TARGET-PATH", "{path:?}");
    }
}

#[test]
fn cve_2026_23991_json_of_a_wrong_shape_is_an_error_before_any_signature() {
    let (sim, device) = begun();
    let good: serde_json::Value = serde_json::from_slice(&sim.files["timestamp.json"]).unwrap();
    let mut shapes = vec![json!(null), json!([]), json!("x"), json!({}), json!({"signatures": []}), json!({"signed": {}})];
    for pointer in
        ["/signatures", "/signatures/0", "/signed", "/signed/version", "/signed/expires", "/signed/meta", "/signed/_type"]
    {
        for value in [json!(null), json!(-1), json!(1.5), json!("x"), json!([[]]), json!({"x": {}}), json!(u64::MAX)] {
            let mut shape = good.clone();
            *shape.pointer_mut(pointer).unwrap() = value;
            shapes.push(shape);
        }
    }
    for shape in shapes {
        for bytes in [shape.to_string().into_bytes(), format!("\u{feff}{shape}").into_bytes()] {
            let mut sim = sim.clone();
            sim.files.insert("timestamp.json".to_owned(), bytes);
            let refusal = device.clone().refused(&sim);
            assert!(refusal.code.starts_with("SLW-T-"), "{shape}: {refusal}");
            let rust = ["struct ", "u64", "usize", "Outline"];
            assert!(!rust.iter().any(|word| refusal.seen.contains(word)), "{shape}: {refusal}");
            // As a root it is no more welcome.
            let root = slipway_verify::tuf::Refresh::begin(
                shape.to_string().as_bytes(),
                Stored::default(),
                &Default::default(),
                Rules::at(now()),
            );
            assert!(root.is_err(), "{shape}");
        }
    }
}

/// serde takes a list of values for a struct, and the library's signature is one: nobody's signature covers its own shape. Without the outline in
/// `checks::gate` the row `/signatures/0` passes.
#[test]
fn an_array_in_the_place_of_an_object_is_malformed() {
    let (sim, device) = begun();
    let file = |name: &str| serde_json::from_slice::<serde_json::Value>(&sim.files[name]).unwrap();
    let first =
        |value: &serde_json::Value| value.as_object().unwrap().keys().next().unwrap().replace('~', "~0").replace('/', "~1");
    let timestamp = file("timestamp.json");
    for pointer in ["", "/signed", "/signatures/0", "/signed/meta", "/signed/meta/snapshot.json"] {
        let mut changed = timestamp.clone();
        let value = changed.pointer_mut(pointer).unwrap();
        *value = value.as_object().unwrap().values().cloned().collect();
        let mut sim = sim.clone();
        sim.files.insert("timestamp.json".to_owned(), changed.to_string().into_bytes());
        assert_eq!(device.clone().refused(&sim).code, "SLW-T-MALFORMED", "timestamp{pointer}");
    }
    let root = file("1.root.json");
    let key = format!("/signed/keys/{}", first(&root["signed"]["keys"]));
    for pointer in ["", "/signed", "/signatures/0", "/signed/roles/root", &key, &format!("{key}/keyval")] {
        let mut changed = root.clone();
        let value = changed.pointer_mut(pointer).unwrap();
        *value = value.as_object().unwrap().values().cloned().collect();
        let begun = slipway_verify::tuf::Refresh::begin(
            changed.to_string().as_bytes(),
            Stored::default(),
            &Default::default(),
            Rules::at(now()),
        );
        assert_eq!(begun.unwrap_err().code, "SLW-T-MALFORMED", "root{pointer}");
    }
}

#[test]
fn cve_2015_9259_an_expired_root_is_refused() {
    let (mut sim, mut device) = begun();
    sim.root.expires = time("2026-11-22T11:59:59Z");
    sim.publish_root();
    assert_eq!(device.refused(&sim).code, "SLW-T-EXPIRED");
    assert_eq!(device.floors.root, 2, "but it is known, and holds");
    sim.root.expires = time("2027-11-22T12:00:00Z");
    sim.publish_root();
    device.refresh(&sim).unwrap();
}

#[test]
fn an_expired_cached_role_still_is_a_floor() {
    for role in ["timestamp", "snapshot", "targets", "releases"] {
        let (mut sim, mut device) = begun();
        let before = sim.clone();
        for header in [&mut sim.timestamp, &mut sim.snapshot] {
            header.expires = time("2026-11-25T00:00:00Z");
        }
        sim.targets.header.expires = time("2026-11-25T00:00:00Z");
        sim.publish();
        device.refresh(&sim).unwrap();
        // Later all of that is over; what came before it is no better for that.
        let rules = Rules::at(time("2026-12-01T00:00:00Z"));
        assert_eq!(device.refresh_by(&before, rules).unwrap_err().code, "SLW-T-ROLLBACK", "{role}");
    }
}

#[test]
fn the_same_version_with_other_content_is_refused() {
    // A targets role or a snapshot that is pinned anew under its old version.
    for role in ["snapshot", "targets", "releases"] {
        let (mut sim, mut device) = begun();
        match role {
            "snapshot" => {
                sim.snapshot.expires = time("2027-01-01T00:00:00Z");
                sim.write_snapshot();
            }
            role => {
                sim.put(role, "releases/edgecore/v9.json", b"another");
                sim.write_targets(role);
                sim.publish_snapshot();
            }
        }
        sim.publish_timestamp();
        let before = device.clone();
        let refusal = device.refused(&sim);
        assert_eq!((refusal.code.as_ref(), refusal.category), ("SLW-T-FORK", Category::MixAndMatch), "{role}: {refusal}");
        assert_eq!(device.floors, before.floors, "{role}");
        // Under a new version it is welcome.
        sim.publish();
        device.refresh(&sim).unwrap();
    }
    // The same content with one more signature is the same.
    let (mut sim, mut device) = begun();
    sim.keys.get_mut("releases").unwrap().signers.push(Key::new());
    sim.write_targets("releases");
    sim.publish_snapshot();
    sim.publish_timestamp();
    device.refresh(&sim).unwrap();
}
