//! The chain of roots: step by step, exactly one newer, never another of the same version.

use crate::device::{Device, begun, now, time};
use slipway_protocol::refusal::Category;
use slipway_testkit::tuf::Key;
use slipway_verify::tuf::{Limits, Rules, Stored};

#[test]
fn a_device_that_slept_walks_every_root_in_between() {
    let (mut sim, mut device) = begun();
    for _ in 0..20 {
        let old = sim.rotate("root");
        sim.publish_root_with(&old.signers);
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
            sim.keys.get_mut("root").unwrap().signers = old.signers;
        }
        sim.publish_root();
        let refusal = device.refused(&sim);
        assert_eq!((refusal.code.as_ref(), refusal.category), ("SLW-T-SIGNATURES", Category::WrongSigner));
        assert_eq!(device.floors, before);
        assert!(device.wrote.is_empty(), "a root that failed is never stored");
    }
}

#[test]
fn an_expired_root_in_between_is_accepted_but_not_as_the_last_one() {
    let (mut sim, mut device) = begun();
    let good = sim.root.expires;
    sim.root.expires = time("2020-01-01T00:00:00Z");
    sim.publish_root();
    let refusal = device.refused(&sim);
    assert_eq!((refusal.code.as_ref(), refusal.category), ("SLW-T-EXPIRED", Category::Freeze));
    sim.root.expires = good;
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

/// The power goes after each of 200 roots in turn: what was stored is on disk, the floors in the
/// witness are those from before, as on a device, which writes them when the refresh is over.
/// Seen to fail with `walk_cached_roots` left out: `2.root.json` is asked for again.
#[test]
fn a_long_walk_goes_on_where_the_power_cut_it() {
    let (mut sim, born) = begun();
    for n in 0..200 {
        // Keys rotate on the way, of the root itself and of what it cannot do without.
        let role = ["root", "timestamp", "root", "snapshot"][n % 4];
        let old = sim.rotate(role);
        if role == "root" {
            sim.publish_root_with(&old.signers);
        } else {
            sim.publish_root();
        }
    }
    sim.publish();
    for cut in [1, 2, 3, 50, 100, 199, 200] {
        let mut device = Device { cut_after: Some(cut), ..born.clone() };
        let _ = device.refresh(&sim);
        device.cut_after = None;
        device.floors = born.floors.clone();
        device.refresh(&sim).unwrap_or_else(|refusal| panic!("cut after {cut}: {refusal}"));
        assert_eq!(device.asked[0], format!("{}.root.json", cut + 2), "cut after {cut}");
        assert_eq!(device.floors.root, 201);
    }
    // An interrupted download: the floors are kept, and what was stored with them.
    let mut device = born;
    sim.failing.insert("90.root.json".to_owned(), "connection reset".to_owned());
    assert_eq!(device.refused(&sim).code, "SLW-T-STALE");
    sim.failing.clear();
    device.refresh(&sim).unwrap();
    assert_eq!(device.asked[0], "90.root.json");
}

#[test]
fn a_damaged_root_of_an_interrupted_walk_is_fetched_again() {
    let (mut sim, born) = begun();
    (0..10).for_each(|_| sim.publish_root());
    sim.publish();
    for (damaged, asked) in [(0, "2.root.json"), (4, "6.root.json"), (7, "9.root.json")] {
        let mut device = Device { cut_after: Some(8), ..born.clone() };
        let _ = device.refresh(&sim);
        device.cut_after = None;
        device.floors = born.floors.clone();
        let mut root: serde_json::Value = serde_json::from_slice(&device.stored.root_history[damaged]).unwrap();
        root["signatures"][0]["sig"] = "30".into();
        device.stored.root_history[damaged] = root.to_string().into_bytes();
        let repository = device.refresh(&sim).unwrap();
        assert_eq!(device.asked[0], asked);
        assert_eq!(repository.notes().first().map(|note| note.code.as_ref()), Some("SLW-T-CACHE"));
    }
}

#[test]
fn two_roots_of_one_version_are_a_theft() {
    let (mut sim, mut device) = begun();
    sim.publish_root();
    device.refresh(&sim).unwrap();
    // Same version, other content, properly signed; shown to a device that lost its cache but not its floors.
    sim.root.version = 1;
    sim.rotate("channels");
    sim.root.expires = time("2028-01-01T00:00:00Z");
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
    assert_eq!((refusal.code.as_ref(), refusal.category), ("SLW-T-ROLLBACK", Category::Rollback));
}

#[test]
fn a_root_with_one_more_signature_is_the_same_root() {
    let (mut sim, mut device) = begun();
    let extra = Key::new();
    sim.root.version = 0;
    sim.publish_root_with(&[extra]);
    device.initial_root = sim.files["1.root.json"].clone();
    device.refresh(&sim).unwrap();
}
