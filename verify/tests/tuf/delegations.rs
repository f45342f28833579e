//! Who may sign for which targets.

use crate::device::{Device, begun, sim};
use serde_json::{Value, json};
use slipway_testkit::tuf::{Key, Keys};

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

#[test]
fn too_many_roles_are_refused() {
    let mut sim = sim();
    for n in 0..40 {
        sim.delegate("targets", &format!("role-{n}"), &["x/*"], false);
    }
    sim.publish();
    assert_eq!(Device::born(&sim).refused(&sim).code, "SLW-T-ROLE");
}

#[test]
fn a_role_reached_by_two_paths_needs_the_keys_of_both() {
    let mut sim = sim();
    sim.delegate("targets", "shared", &["x/*"], false);
    sim.delegate("targets", "other", &["y/*"], false);
    sim.delegate("other", "shared", &["y/*"], false);
    sim.role("other").delegations[0].keys = Some(Keys::any(vec![Key::new()]));
    sim.put("shared", "x/a", b"a");
    sim.put("shared", "y/b", b"b");
    sim.publish();
    let repository = Device::born(&sim).refresh(&sim).unwrap();
    assert_eq!(repository.lookup("x/a").unwrap().role, "shared");
    assert_eq!(repository.lookup("y/b").unwrap_err().code, "SLW-T-SIGNATURES");
}

#[test]
fn delegations_that_two_clients_would_read_in_two_ways_are_refused() {
    let bins = json!({"keyids": [], "threshold": 1, "bit_length": 8, "name_prefix": "bin"});
    let refused = |code: &str, change: &dyn Fn(&mut serde_json::Map<String, Value>)| {
        let mut sim = sim();
        sim.publish();
        sim.edit("2.targets.json", |metadata| change(metadata["signed"]["delegations"].as_object_mut().unwrap()));
        let refusal = Device::born(&sim).refused(&sim);
        assert_eq!(refusal.code, code, "{refusal}");
    };
    refused("SLW-T-SUCCINCT-ROLES", &|delegations| {
        delegations.remove("roles");
        delegations.insert("succinct_roles".to_owned(), bins.clone());
    });
    refused("SLW-T-SUCCINCT-ROLES", &|delegations| drop(delegations.insert("succinct_roles".to_owned(), bins.clone())));
    refused("SLW-T-ROLE", &|delegations| {
        let again = delegations["roles"][0].clone();
        delegations["roles"].as_array_mut().unwrap().push(again);
    });
    refused("SLW-T-ROLE", &|delegations| delegations["roles"][0]["path_hash_prefixes"] = json!([""]));
}

#[test]
fn one_key_may_sign_for_two_roles_and_counts_once_in_each() {
    let mut sim = sim();
    let shared = sim.keys["timestamp"].clone();
    sim.keys.insert("snapshot".to_owned(), shared);
    sim.publish_root();
    sim.publish();
    Device::born(&sim).refresh(&sim).unwrap();
    // What is one role's is not thereby another's.
    let timestamp = sim.files["timestamp.json"].clone();
    sim.files.insert("2.snapshot.json".to_owned(), timestamp);
    assert!(Device::born(&sim).refresh(&sim).is_err());
}

#[test]
fn a_version_beyond_all_others_is_a_number_and_one_beyond_numbers_is_refused() {
    for (version, ok) in
        [(json!(u64::MAX), true), (json!(-1), false), (json!(1.5), false), (json!(1e30), false), (json!("2"), false)]
    {
        let mut sim = sim();
        sim.publish();
        sim.edit("timestamp.json", |metadata| metadata["signed"]["version"] = version.clone());
        let refusal = Device::born(&sim).refused(&sim);
        // The signature is another's, so the number itself was read.
        let code = if ok { "SLW-T-SIGNATURES" } else { "SLW-T-MALFORMED" };
        assert_eq!(refusal.code, code, "{version}: {refusal}");
    }
}
