//! The quirks of Sigstore's real root chain, generated; and what of the real chain is at hand.

use crate::device::{Device, now, sim};
use serde_json::json;
use slipway_testkit::tuf::{Key, Keys, Repository as Sim};
use slipway_verify::tuf::{Floors, Refresh, Rules, Stored};

/// Publishes the next root with a change to its JSON that the signatures cover or that is beside them.
fn root_with(sim: &mut Sim, beside: impl FnOnce(&mut serde_json::Value)) {
    sim.publish_root();
    let name = format!("{}.root.json", sim.root.version);
    sim.edit(&name, beside);
}

#[test]
fn empty_signatures_as_in_roots_12_to_14_are_no_signatures_and_no_errors() {
    let mut sim = sim();
    let keys: Vec<Key> = (0..5).map(|_| Key::new()).collect();
    let old = sim.keys["root"].clone();
    sim.keys.insert("root".to_owned(), Keys { signers: keys[..3].to_vec(), ..Keys::threshold(3, keys.clone()) });
    sim.publish_root_with(&old.signers);
    root_with(&mut sim, |root| {
        let signatures = root["signatures"].as_array_mut().unwrap();
        signatures.extend(keys[3..].iter().map(|key| json!({"keyid": key.id(), "sig": ""})));
    });
    let mut device = Device::born(&sim);
    device.refresh(&sim).unwrap();
    assert_eq!(device.floors.root, 3);
    // They count for nothing: with one good one fewer the threshold is missed.
    root_with(&mut sim, |root| root["signatures"][0]["sig"] = json!(""));
    assert_eq!(device.refused(&sim).code, "SLW-T-SIGNATURES");
}

#[test]
fn foreign_key_ids_as_in_roots_5_9_10_and_13_are_passed_over() {
    let mut sim = sim();
    let stranger = Key::new();
    sim.publish_root_with(&[stranger]);
    let mut device = Device::born(&sim);
    device.refresh(&sim).unwrap();
    root_with(&mut sim, |root| {
        let foreign = json!({"keyid": "f5312f542c21273d9485a49394386c4575804770667f2ddb59b3bf0669fddd2f", "sig": "00ff"});
        root["signatures"].as_array_mut().unwrap().insert(0, foreign);
    });
    device.refresh(&sim).unwrap();
    assert_eq!(device.floors.root, 3);
}

#[test]
fn both_names_of_the_key_type_are_the_same_key() {
    // `ecdsa-sha2-nistp256` up to version 8, `ecdsa` from version 9.
    for keytype in ["ecdsa-sha2-nistp256", "ecdsa"] {
        let mut sim = sim();
        let mut key = Key::new();
        key.public["keytype"] = json!(keytype);
        let old = sim.keys.insert("root".to_owned(), Keys::any(vec![key.clone()])).unwrap();
        sim.keys.insert("timestamp".to_owned(), Keys::any(vec![key]));
        sim.publish_root_with(&old.signers);
        sim.publish();
        let mut device = Device::born(&sim);
        device.refresh(&sim).unwrap_or_else(|refusal| panic!("{keytype}: {refusal}"));
        assert_eq!(device.floors.root, 2, "{keytype}");
    }
}

#[test]
fn a_key_id_that_is_not_a_hash_as_in_root_11_is_accepted_as_a_name() {
    let mut sim = sim();
    let old = sim.keys["root"].clone();
    let named = old.listed[0].named("5e3a4021b11a425fd0a444f1670457ce5b15bdd036144f2417426f7f1b9721bc");
    let mut key = named;
    // What tuf-on-ci writes beside a key is signed like the rest and means nothing to a client.
    key.public["x-tuf-on-ci-keyowner"] = json!("@somebody");
    sim.keys.insert("root".to_owned(), Keys::any(vec![key]));
    sim.publish_root_with(&old.signers);
    sim.publish();
    let mut device = Device::born(&sim);
    device.refresh(&sim).unwrap();
    assert_eq!(device.floors.root, 2);
}

#[test]
fn keys_that_cannot_be_used_here_are_no_obstacle_unless_they_must_sign() {
    let mut sim = sim();
    let old = sim.keys["root"].clone();
    let mut rsa = Key::new();
    rsa.public["keytype"] = json!("rsa");
    rsa.public["scheme"] = json!("rsassa-pss-sha256");
    sim.keys.get_mut("root").unwrap().listed.push(rsa.clone());
    sim.publish_root();
    let mut device = Device::born(&sim);
    device.refresh(&sim).unwrap();
    sim.keys.insert("root".to_owned(), Keys::any(vec![rsa]));
    sim.publish_root_with(&old.signers);
    assert!(device.refresh(&sim).is_err(), "nobody who can be checked signed it for itself");
}

/// The real chain, as far as it is at hand: the root that devices are installed with loads, expired or not, and is what it is said to be.
#[test]
fn sigstores_own_root_loads() {
    let root = include_bytes!("../../../agent/data/sigstore-tuf-root.json");
    let refresh = Refresh::begin(root, Stored::default(), &Floors::default(), Rules::at(now())).unwrap();
    assert_eq!(refresh.floors().root, 16);
    let text = String::from_utf8(root.to_vec()).unwrap();
    let forged = text.replacen("\"threshold\": 3", "\"threshold\": 1", 1);
    assert_ne!(forged, text, "the change must change something");
    assert!(Refresh::begin(forged.as_bytes(), Stored::default(), &Floors::default(), Rules::at(now())).is_err());
}
