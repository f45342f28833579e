//! Who may sign for which targets.

use crate::device::{Device, begun, sim};
use serde_json::json;
use slipway_world::tuf::{Key, Keys};

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
fn hash_bins_are_refused_by_their_name() {
    let bins = json!({"keyids": [], "threshold": 1, "bit_length": 8, "name_prefix": "bin"});
    for beside_a_list in [false, true] {
        let mut sim = sim();
        sim.publish();
        sim.edit("2.targets.json", |metadata| {
            let delegations = metadata["signed"]["delegations"].as_object_mut().unwrap();
            if !beside_a_list {
                delegations.remove("roles");
            }
            delegations.insert("succinct_roles".to_owned(), bins.clone());
        });
        let refusal = Device::born(&sim).refused(&sim);
        assert_eq!(refusal.code, "SLW-T-SUCCINCT-ROLES", "{refusal}");
    }
}
