//! What an expiry means, and to whom.

use crate::device::{begun, now, time};
use slipway_protocol::refusal::Category;
use slipway_verify::tuf::{Floors, Repository, Rules};

#[test]
fn expired_metadata_is_a_freeze_whichever_role_it_is() {
    for role in ["timestamp", "snapshot", "targets", "releases"] {
        let (mut sim, mut device) = begun();
        let expired = time("2026-11-22T11:59:59Z");
        match role {
            "timestamp" => sim.timestamp.expires = expired,
            "snapshot" => sim.snapshot.expires = expired,
            "targets" => sim.targets.header.expires = expired,
            other => sim.delegated.get_mut(other).unwrap().header.expires = expired,
        }
        sim.publish();
        let before = device.clone();
        let refusal = device.refused(&sim);
        assert_eq!((refusal.code.as_ref(), refusal.category), ("SLW-T-EXPIRED", Category::Freeze), "{role}");
        assert!(refusal.seen.starts_with(role), "{refusal}");
        assert_eq!(device.stored, before.stored, "{role}: what was rejected is not cached");
        assert_eq!(device.floors, before.floors);
    }
}

#[test]
fn accepted_metadata_opens_later_but_is_not_fresh() {
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
    sim.timestamp.expires = time("2026-11-23T00:00:00Z");
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
        sim.timestamp.expires = time("2026-12-01T00:00:00Z");
        sim.snapshot.expires = time("2026-12-02T00:00:00Z");
        sim.put("channels", "channels/edgecore/stable.json", &channel(until));
        sim.publish();
        assert_eq!(device.clone().refresh_by(&sim, Rules::at(after)).unwrap_err().code, "SLW-T-EXPIRED");
        let mut repository = device.refresh_by(&sim, Rules::offline(after)).unwrap();
        let manifest = |repository: &Repository| repository.authenticate("releases/edgecore/v1.json", b"manifest one".to_vec());
        let refusal = manifest(&repository).unwrap_err();
        assert_eq!((refusal.code.as_ref(), refusal.category), ("SLW-T-OFFLINE", Category::Freeze));
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
