//! How far ahead the operator's metadata may expire.

use crate::device::{Device, begun, now, sim, time};
use jiff::SignedDuration;
use slipway_protocol::refusal::Category;
use slipway_testkit::tuf::Repository as Sim;
use slipway_verify::tuf::{Expiry, MaxLifetimes, Rules};

fn days(days: i64) -> jiff::Timestamp {
    now() + SignedDuration::from_hours(24 * days)
}

/// Everything signed for as long as it may be.
fn lasting() -> Sim {
    let mut sim = sim();
    sim.root.expires = days(400);
    sim.targets.header.expires = days(400);
    sim.delegated.values_mut().for_each(|role| role.header.expires = days(400));
    sim.timestamp.expires = days(30);
    sim.snapshot.expires = days(30);
    sim.publish_root();
    sim.publish();
    sim
}

fn set(sim: &mut Sim, role: &str, expires: jiff::Timestamp) {
    match role {
        "root" => sim.root.expires = expires,
        "timestamp" => sim.timestamp.expires = expires,
        "snapshot" => sim.snapshot.expires = expires,
        "targets" => sim.targets.header.expires = expires,
        other => sim.delegated.get_mut(other).unwrap().header.expires = expires,
    }
    if role == "root" {
        sim.publish_root();
    }
    sim.publish();
}

/// Attack A16: a thief of the online key signs a timestamp that expires in 2099 and freezes the
/// fleet until then. Seen to fail with
/// `max_lifetimes` left out of `Rules::operator`.
#[test]
fn no_role_is_trusted_for_longer_than_it_may() {
    for (role, most) in
        [("root", 400), ("timestamp", 30), ("snapshot", 30), ("targets", 400), ("releases", 400), ("channels", 400)]
    {
        for (expires, good) in [(days(most), true), (days(most + 1), false), (time("2099-01-01T00:00:00Z"), false)] {
            let mut sim = lasting();
            let mut device = Device::born(&sim);
            device.refresh_by(&sim, Rules::operator(now(), false)).unwrap();
            set(&mut sim, role, expires);
            let before = device.floors.clone();
            let result = device.refresh_by(&sim, Rules::operator(now(), false));
            let Err(refusal) = result else {
                assert!(good, "{role} until {expires} was taken");
                continue;
            };
            assert!(!good, "{role} until {expires}: {refusal}");
            assert_eq!((refusal.code.as_ref(), refusal.category), ("SLW-T-LIFETIME", Category::Freeze));
            assert!(refusal.seen.starts_with(role) && refusal.seen.contains(&expires.to_string()), "{refusal}");
            assert_eq!((device.floors.timestamp, &device.floors.expired), (before.timestamp, &before.expired), "{role}");
            // Offline bundles are no way around it.
            let offline = Rules { expiry: Expiry::Offline, ..Rules::operator(now(), false) };
            assert_eq!(device.refresh_by(&sim, offline).unwrap_err().code, "SLW-T-LIFETIME");
            // Nor is it forgotten what was accepted before.
            device.open(Rules::accepted_before()).unwrap();
        }
    }
}

#[test]
fn a_clock_that_is_behind_refuses_nothing_that_is_good() {
    let sim = lasting();
    let behind = |hours: i64| now() - SignedDuration::from_hours(hours);
    for (clock, unsure, code) in [
        // A clock in local time, twelve hours west.
        (behind(12), false, "ok"),
        (behind(13), false, "SLW-T-LIFETIME"),
        // No real-time clock: the time is the build's, years ago, and is not believed.
        (behind(24 * 365 * 3), true, "ok"),
        (behind(24 * 365 * 3), false, "SLW-T-LIFETIME"),
    ] {
        let result = Device::born(&sim).refresh_by(&sim, Rules::operator(clock, unsure));
        assert_eq!(result.map_or_else(|refusal| refusal.code, |_| "ok".into()), code, "{clock}, unsure {unsure}");
    }
}

#[test]
fn other_repositories_live_as_long_as_they_like() {
    let (mut sim, mut device) = begun();
    set(&mut sim, "timestamp", time("2099-01-01T00:00:00Z"));
    device.refresh_by(&sim, Rules::at(now())).unwrap();
    let most = MaxLifetimes::default();
    assert_eq!((most.timestamp, most.snapshot, most.others), (30, 30, 400), "what the documentation promises");
}
