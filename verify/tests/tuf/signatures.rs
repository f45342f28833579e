//! Who must sign, and what is refused before a signature is looked at.

use crate::device::{Device, begun, sim};
use slipway_protocol::refusal::Category;
use slipway_testkit::tuf::{Key, Keys};

#[test]
fn a_threshold_of_two_needs_two_keys() {
    for (threshold, signers, ok) in [(2, 2, true), (2, 1, false), (1, 1, true), (3, 2, false)] {
        let mut sim = sim();
        let keys = vec![Key::new(), Key::ed25519()];
        sim.keys.insert("snapshot".to_owned(), Keys { signers: keys[..signers].to_vec(), ..Keys::threshold(threshold, keys) });
        sim.publish_root();
        sim.publish();
        let result = Device::born(&sim).refresh(&sim);
        assert_eq!(result.is_ok(), ok, "{threshold} of 2, {signers} signed: {:?}", result.err());
    }
}

#[test]
fn a_second_key_makes_the_same_role_good_although_one_key_has_two_ids() {
    let mut sim = sim();
    let key = sim.keys["snapshot"].listed[0].clone();
    let second = Key::new();
    let listed = vec![key.named("another-id"), key.clone(), second.clone()];
    sim.keys.insert("snapshot".to_owned(), Keys { signers: vec![key, second], ..Keys::threshold(2, listed) });
    sim.publish_root();
    sim.publish();
    Device::born(&sim).refresh(&sim).unwrap();
}

#[test]
fn every_role_needs_its_own_key() {
    for role in ["timestamp", "snapshot", "targets", "releases", "channels"] {
        let (mut sim, mut device) = begun();
        sim.keys.get_mut(role).unwrap().signers = vec![Key::new()];
        sim.publish();
        let refusal = device.refused(&sim);
        assert_eq!((refusal.code.as_ref(), refusal.category), ("SLW-T-SIGNATURES", Category::WrongSigner), "{role}");
    }
}

#[test]
fn a_member_that_appears_twice_is_refused_in_every_role() {
    for name in ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json", "2.releases.json"] {
        let (mut sim, mut device) = begun();
        sim.publish_root();
        sim.publish();
        sim.tamper(name, |text| text.replacen("\"version\":", "\"version\": 1, \"version\":", 1));
        let refusal = device.refused(&sim);
        assert_eq!((refusal.code.as_ref(), refusal.category), ("SLW-T-MALFORMED", Category::Malformed), "{name}");
        assert!(refusal.seen.contains("twice"), "{refusal}");
    }
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
