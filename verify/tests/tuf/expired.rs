//! A recorded expiry stays in force: the version is kept, never the time.

use crate::device::{Device, begun, now, time};
use slipway_testkit::tuf::Repository as Sim;
use slipway_verify::tuf::{Expiry, Floors, Rules};

const ROLES: [&str; 4] = ["timestamp", "snapshot", "targets", "releases"];

fn operator(at: &str) -> Rules {
    Rules { max_lifetimes: None, ..Rules::operator(time(at), false) }
}

fn offline(at: &str) -> Rules {
    Rules { expiry: Expiry::Offline, ..operator(at) }
}

fn expire(sim: &mut Sim, role: &str, at: &str) {
    match role {
        "timestamp" => sim.timestamp.expires = time(at),
        "snapshot" => sim.snapshot.expires = time(at),
        "targets" => sim.targets.header.expires = time(at),
        other => sim.delegated.get_mut(other).unwrap().header.expires = time(at),
    }
    sim.publish();
}

fn version(sim: &Sim, role: &str) -> u64 {
    match role {
        "timestamp" => sim.timestamp.version,
        "snapshot" => sim.snapshot.version,
        "targets" => sim.targets.header.version,
        other => sim.delegated[other].header.version,
    }
}

/// The clock goes back, by itself or by an attacker's hand, and the attacker shows what had
/// expired. Seen to fail with `keep_expired` left out of `Rules::operator`: the second refresh is
/// accepted.
#[test]
fn what_had_expired_stays_refused_whatever_the_clock_says_and_the_next_version_is_judged_again() {
    for role in ROLES {
        // Accepted before, and seen for the first time when it had expired.
        for seen_before in [true, false] {
            let (mut sim, mut device) = begun();
            expire(&mut sim, role, "2026-12-01T00:00:00Z");
            if seen_before {
                device.refresh_by(&sim, operator("2026-11-30T00:00:00Z")).unwrap();
            }
            let before = device.stored.clone();
            let first = device.refresh_by(&sim, operator("2026-12-02T00:00:00Z")).unwrap_err();
            assert_eq!(first.code, "SLW-T-EXPIRED", "{role}: {first}");
            let judged = version(&sim, role);
            assert_eq!(device.floors.expired, [(role.to_owned(), judged)].into(), "{role}");
            for clock in ["2026-11-30T00:00:00Z", "2026-11-22T12:00:00Z"] {
                let later = device.refresh_by(&sim, operator(clock)).unwrap_err();
                assert_eq!(later.code, "SLW-T-EXPIRED", "{role} at {clock}: {later}");
                assert!(later.seen.contains(&format!("{role} version {judged}")), "{later}");
                // With the files gone, it is no first boot either.
                let mut bare = Device { floors: device.floors.clone(), ..Device::born_with(&device.initial_root) };
                assert_eq!(bare.refresh_by(&sim, operator(clock)).unwrap_err().code, "SLW-T-EXPIRED");
            }
            assert_eq!(device.stored, before, "{role}: what was rejected is not cached");
            // What runs was accepted before, and opens.
            device.open(Rules::accepted_before()).unwrap();
            // The next version is judged anew, by whatever clock, and then nothing is left to
            // remember.
            expire(&mut sim, role, "2026-12-09T00:00:00Z");
            device.refresh_by(&sim, operator("2026-12-02T00:00:00Z")).unwrap_or_else(|refusal| panic!("{role}: {refusal}"));
            assert!(device.floors.expired.is_empty(), "{:?}", device.floors);
        }
    }
}

/// An older version that had not expired when the newer one was judged is no way around it: the
/// floor never rose to the newer one.
#[test]
fn older_versions_than_the_one_that_had_expired_are_refused_too() {
    let (mut sim, mut device) = begun();
    expire(&mut sim, "timestamp", "2027-06-01T00:00:00Z");
    let older = sim.clone();
    expire(&mut sim, "timestamp", "2026-12-01T00:00:00Z");
    device.refresh_by(&sim, operator("2026-12-02T00:00:00Z")).unwrap_err();
    assert_eq!(device.refresh_by(&older, operator("2026-12-02T00:00:00Z")).unwrap_err().code, "SLW-T-EXPIRED");
}

/// One boot in 2100. `slipway refresh` makes a new timestamp, and that is all that is needed: no
/// new root, no ceremony.
#[test]
fn one_boot_in_2100_is_over_with_the_operators_next_refresh() {
    for (root_expires, judged) in [("2027-11-22T12:00:00Z", false), ("2200-01-01T00:00:00Z", true)] {
        let (mut sim, mut device) = begun();
        sim.root.expires = time(root_expires);
        sim.publish_root();
        sim.publish_timestamp();
        device.refresh_by(&sim, operator("2026-11-22T12:00:00Z")).unwrap();
        assert_eq!(device.refresh_by(&sim, operator("2100-01-01T00:00:00Z")).unwrap_err().code, "SLW-T-EXPIRED");
        // An expired root is not kept, and hides the rest.
        assert_eq!(device.floors.expired.contains_key("timestamp"), judged);
        assert!(!device.floors.expired.contains_key("root"));
        let back = device.refresh_by(&sim, operator("2026-11-22T13:00:00Z"));
        assert_eq!(back.is_err(), judged, "version N stays refused if it was judged");
        sim.publish_timestamp();
        device.refresh_by(&sim, operator("2026-11-22T14:00:00Z")).unwrap();
        assert!(device.floors.expired.is_empty());
    }
}

/// Recovery from a thief of the online keys who signed version 4 000 000 000, already expired:
/// new keys clear that as they clear floors.
#[test]
fn new_timestamp_or_snapshot_keys_clear_what_was_judged() {
    for rotated in ["timestamp", "snapshot"] {
        let (mut sim, mut device) = begun();
        let honest = sim.clone();
        sim.timestamp.version = 4_000_000_000;
        expire(&mut sim, "timestamp", "2026-11-01T00:00:00Z");
        device.refresh_by(&sim, operator("2026-11-22T12:00:00Z")).unwrap_err();
        assert_eq!(device.floors.expired["timestamp"], 4_000_000_001);
        let mut sim = honest;
        sim.publish();
        assert_eq!(device.refresh_by(&sim, operator("2026-11-22T12:00:00Z")).unwrap_err().code, "SLW-T-EXPIRED");
        sim.rotate(rotated);
        sim.publish_root();
        sim.publish();
        device.refresh_by(&sim, operator("2026-11-22T12:00:00Z")).unwrap();
        assert!(device.floors.expired.is_empty());
    }
}

#[test]
fn nothing_is_kept_for_other_repositories() {
    let (mut sim, mut device) = begun();
    expire(&mut sim, "timestamp", "2026-12-01T00:00:00Z");
    device.refresh_by(&sim, Rules::at(time("2026-12-02T00:00:00Z"))).unwrap_err();
    assert!(device.floors.expired.is_empty());
    device.refresh_by(&sim, Rules::at(now())).unwrap();
}

/// A bundle whose timestamp had expired is what the channel says about it, again and again; what
/// of it was judged stays so on the network.
#[test]
fn an_expired_offline_bundle_stays_what_the_channel_allows() {
    let channel =
        br#"{"v":1,"component":"edgecore","channel":"stable","release":"v1.23.1","offline_until":"2027-06-01T00:00:00Z"}"#;
    let (mut sim, mut device) = begun();
    sim.put("channels", "channels/edgecore/stable.json", channel);
    sim.snapshot.expires = time("2026-12-01T00:00:00Z");
    expire(&mut sim, "timestamp", "2026-12-01T00:00:00Z");
    for clock in ["2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z", "2026-11-22T12:00:00Z"] {
        let mut repository = device.refresh_by(&sim, offline(clock)).unwrap();
        assert_eq!(repository.expired_offline().map(|refusal| refusal.code.as_ref()), Some("SLW-T-OFFLINE"), "{clock}");
        let target = repository.authenticate("channels/edgecore/stable.json", channel.to_vec()).unwrap();
        repository.accept_expired(&target, time(clock)).unwrap();
        repository.authenticate("releases/edgecore/v1.json", b"manifest one".to_vec()).unwrap();
    }
    assert_eq!(device.refresh_by(&sim, operator("2026-11-22T12:00:00Z")).unwrap_err().code, "SLW-T-EXPIRED");
    // A person who knows that the clock was wrong clears it.
    device.floors.expired.clear();
    assert!(device.refresh_by(&sim, offline("2026-11-22T12:00:00Z")).unwrap().expired_offline().is_none());
}

#[test]
fn floors_of_older_agents_are_read_and_theirs_read_ours_where_nothing_was_judged() {
    let old = r#"{"root":2,"timestamp":7,"snapshot":5,"targets":{"targets":3}}"#;
    let floors: Floors = serde_json::from_str(old).unwrap();
    assert!(floors.expired.is_empty());
    assert_eq!(serde_json::to_string(&floors).unwrap(), old);
}

/// The clock goes back after a channel's permission for expired bundles had run out. Seen to fail
/// without the entry in `Floors::expired`: the second clock is let in.
#[test]
fn an_offline_permission_that_had_passed_stays_passed_until_the_next_version_of_the_channels() {
    let path = "channels/edgecore/stable.json";
    let channel = |until: &str| {
        format!(r#"{{"v":1,"component":"edgecore","channel":"stable","release":"v1.23.1","offline_until":"{until}"}}"#)
    };
    let (mut sim, mut device) = begun();
    let accept = |sim: &Sim, device: &mut Device, channel: &str, clock: &str| {
        let mut repository = device.refresh_by(sim, offline(clock)).unwrap();
        let signed = repository.authenticate(path, channel.as_bytes().to_vec()).unwrap();
        let accepted = repository.accept_expired(&signed, time(clock));
        device.floors = repository.floors().clone();
        accepted.map_err(|refusal| refusal.code.into_owned())
    };
    let passed = channel("2026-12-05T00:00:00Z");
    sim.put("channels", path, passed.as_bytes());
    expire(&mut sim, "timestamp", "2026-12-01T00:00:00Z");
    assert_eq!(accept(&sim, &mut device.clone(), &passed, "2026-12-02T00:00:00Z"), Ok(()), "in time");
    for clock in ["2026-12-10T00:00:00Z", "2026-12-02T00:00:00Z", "2026-11-30T00:00:00Z"] {
        assert_eq!(accept(&sim, &mut device, &passed, clock), Err("SLW-T-OFFLINE".to_owned()), "{clock}");
    }
    let kept = device.floors.expired.get(path).copied();
    assert_eq!(kept, Some(version(&sim, "channels")));
    // A newer permission, and a person's word, count anew.
    let mut cleared = device.clone();
    cleared.floors.expired.remove(path);
    assert_eq!(accept(&sim, &mut cleared, &passed, "2026-12-02T00:00:00Z"), Ok(()));
    let longer = channel("2026-12-20T00:00:00Z");
    sim.put("channels", path, longer.as_bytes());
    sim.publish();
    assert_eq!(accept(&sim, &mut device, &longer, "2026-12-10T00:00:00Z"), Ok(()));
    assert!(!device.floors.expired.contains_key(path), "{:?}", device.floors.expired);
}
