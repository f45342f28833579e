//! The eight things that were measured to be missing in the four best clients, a test for each row.
//!
//! The witness, the disk and the clock are the agent's; here is what TUF has to do for them.

use crate::device::{Device, begun, now, sim, time};
use slipway_protocol::refusal::Category;
use slipway_testkit::tuf::{Key, Keys, Repository as Sim};
use slipway_verify::tuf::{Limits, Rules, Slot, Stored};

/// `role` gets one key under two ids and a threshold of two, and signs with both.
fn one_key_twice(sim: &mut Sim, role: &str) {
    let key = sim.keys[role].listed[0].clone();
    let both = vec![key.named("another-id"), key];
    sim.keys.insert(role.to_owned(), Keys::threshold(2, both));
}

#[test]
fn one_public_key_under_two_ids_counts_once_in_every_role() {
    for role in ["timestamp", "snapshot", "targets", "releases", "channels"] {
        let mut sim = sim();
        one_key_twice(&mut sim, role);
        sim.publish_root();
        sim.publish();
        let refusal = Device::born(&sim).refused(&sim);
        assert_eq!((refusal.code.as_ref(), refusal.category), ("SLW-T-SAME-KEY", Category::WrongSigner), "{role}");
    }
    // A root counts by its own keys too, so it cannot even be born like this.
    let mut sim = sim();
    let old = sim.keys["root"].clone();
    one_key_twice(&mut sim, "root");
    sim.publish_root_with(&old.signers[..0]);
    assert_eq!(Device::born(&sim).refused(&sim).code, "SLW-T-SAME-KEY");
}

#[test]
fn the_library_alone_counts_one_key_twice() {
    slipway_verify::provider::install();
    let mut sim = sim();
    one_key_twice(&mut sim, "snapshot");
    sim.publish_root();
    sim.publish();
    let mut set = sigstore_tuf::TrustedMetadataSet::from_root(&sim.files["1.root.json"]).unwrap();
    set.update_root(&sim.files["2.root.json"]).unwrap();
    set.update_timestamp(&sim.files["timestamp.json"], now()).unwrap();
    set.update_snapshot(&sim.files["2.snapshot.json"], now()).expect("the library alone counts ids");
}

#[test]
fn floors_hold_without_the_files_and_damage_is_not_a_first_boot() {
    let mut sim = sim();
    let before = sim.clone();
    sim.publish();
    let mut device = Device::born(&sim);
    device.refresh(&sim).unwrap();
    for damage in [Stored::default(), garbage(&device.stored)] {
        let mut device = Device { stored: damage, ..device.clone() };
        let refusal = device.refused(&before);
        assert_eq!((refusal.code.as_ref(), refusal.category), ("SLW-T-ROLLBACK", Category::Rollback));
        let repository = device.refresh(&sim).unwrap();
        assert!(repository.notes().iter().any(|note| note.code == "SLW-T-CACHE"), "and it is told");
    }
}

fn garbage(stored: &Stored) -> Stored {
    let mut damaged = stored.clone();
    for slot in [Slot::Timestamp, Slot::Snapshot, Slot::Targets, Slot::Delegated("releases".to_owned())] {
        damaged.put(&slot, stored.get(&slot).iter().map(|byte| byte ^ 1).collect());
    }
    damaged
}

#[test]
fn duplicate_members_are_refused_wherever_they_are() {
    for (name, member) in [
        ("2.root.json", "\"expires\":"),
        ("timestamp.json", "\"_type\":"),
        ("2.snapshot.json", "\"channels.json\":"),
        ("2.targets.json", "\"threshold\":"),
        ("2.releases.json", "\"length\":"),
    ] {
        let (mut sim, mut device) = begun();
        sim.publish_root();
        sim.publish();
        sim.tamper(name, |text| text.replacen(member, &format!("{member} 1, {member}"), 1));
        let refusal = device.refused(&sim);
        assert_eq!(refusal.code, "SLW-T-MALFORMED", "{name}");
        assert!(refusal.seen.contains("twice"), "{name}: {refusal}");
    }
}

#[test]
fn expiry_is_judged_by_the_time_that_is_given_and_nothing_of_it_is_kept() {
    let (mut sim, mut device) = begun();
    sim.timestamp.expires = time("2026-12-01T00:00:00Z");
    sim.publish();
    // A boot in 2100 finds everything expired, and the next boot everything in order.
    let before = device.clone();
    let refusal = device.refresh_by(&sim, Rules::at(time("2100-01-01T00:00:00Z"))).unwrap_err();
    assert_eq!((refusal.code.as_ref(), refusal.category), ("SLW-T-EXPIRED", Category::Freeze));
    assert_eq!((&device.stored, &device.floors), (&before.stored, &before.floors));
    device.refresh(&sim).unwrap();
    // A boot in 2000 must be given the latest known time; then what is over stays over.
    let refusal = device.refresh_by(&sim, Rules::at(time("2026-12-02T00:00:00Z"))).unwrap_err();
    assert_eq!(refusal.code, "SLW-T-EXPIRED");
}

#[test]
fn only_missing_ends_the_root_chain_and_anything_else_is_stale() {
    for why in ["HTTP 500", "connection reset", "timed out", "certificate expired"] {
        let (mut sim, mut device) = begun();
        sim.rotate("timestamp");
        sim.publish_root();
        sim.publish();
        sim.failing.insert("2.root.json".to_owned(), why.to_owned());
        // The old key is revoked in a root that is kept from the device: it must not go on as if there were none.
        let refusal = device.refused(&sim);
        assert_eq!((refusal.code.as_ref(), refusal.category), ("SLW-T-STALE", Category::Network));
        assert!(refusal.seen.contains(why) && device.asked == ["2.root.json"], "{refusal}");
    }
}

#[test]
fn nothing_is_stored_before_it_is_verified_and_a_cut_anywhere_recovers() {
    let (mut sim, device) = begun();
    let old = sim.rotate("timestamp");
    sim.publish_root_with(&old.signers);
    sim.publish();
    for cut in 1..=7 {
        let mut device = Device { cut_after: Some(cut), ..device.clone() };
        let _ = device.refresh(&sim);
        device.cut_after = None;
        device.refresh(&sim).unwrap_or_else(|refusal| panic!("cut after {cut} files: {refusal}"));
        device.open(Rules::accepted_before()).unwrap();
    }
}

#[test]
fn everything_has_a_bound() {
    let limits = Limits { root_steps: 3, roles: 4, signatures: 2, targets_bytes: 16 * 1024, ..Limits::default() };
    let bounded = |sim: &Sim| {
        Device::born(sim)
            .refresh_by(sim, Rules { limits, ..Rules::at(now()) })
            .map_or_else(|refusal| refusal.code, |_| "ok".into())
    };
    assert_eq!(bounded(&sim()), "ok");
    let mut roots = sim();
    (0..4).for_each(|_| roots.publish_root());
    assert_eq!(bounded(&roots), "SLW-T-ROOT-CHAIN");
    let mut roles = sim();
    (0..4).for_each(|n| roles.delegate("targets", &format!("role-{n}"), &["x/*"], false));
    roles.publish();
    assert_eq!(bounded(&roles), "SLW-T-ROLE");
    let mut signatures = sim();
    signatures.keys.get_mut("timestamp").unwrap().signers.extend([Key::new(), Key::new()]);
    signatures.publish();
    assert_eq!(bounded(&signatures), "SLW-T-MALFORMED");
    let mut bytes = sim();
    (0..100).for_each(|n| bytes.put("targets", &format!("policies/{n}.toml"), b"x"));
    bytes.publish();
    assert_eq!(bounded(&bytes), "SLW-T-ENDLESS");
    assert_eq!(Limits::default().root_steps, 256, "what the documentation promises");
}

/// Attack A14: 28 delegated roles of 0.8 MB, each within its own limit, took 320 MB of memory.
/// The sum is refused before what exceeds it is parsed, from the network and from the cache. Seen
/// to fail with `room` at `u64::MAX`: all of them are loaded.
#[test]
fn limits_hold_in_the_sum() {
    let mut sim = sim();
    for n in 0..28 {
        let role = format!("role-{n}");
        sim.delegate("targets", &role, &[&format!("{role}/*")], false);
        sim.put(&role, &format!("{role}/{}", "x".repeat(800_000)), b"x");
    }
    sim.publish();
    let mut device = Device::born(&sim);
    let refusal = device.refused(&sim);
    assert_eq!((refusal.code.as_ref(), refusal.category), ("SLW-T-ENDLESS", Category::EndlessData));
    assert!(refusal.wanted.contains("4194304"), "{refusal}");
    let bytes: usize = sim.files.iter().filter(|(name, _)| name.contains("role-")).map(|(_, bytes)| bytes.len()).sum();
    assert!(bytes > 20 << 20, "{bytes}");
    assert_eq!(device.asked.len(), 4 + 2 + 5, "no more was asked for than fits: {:?}", device.asked);
    assert_eq!(device.floors.timestamp, 0, "and nothing of it is kept");

    // Just as much as fits does; one byte more does not, also when all but that is on disk
    // already.
    let total = |device: &Device| {
        let stored = &device.stored;
        let below = [&stored.timestamp, &stored.snapshot, &stored.targets].into_iter().chain(stored.delegated.values());
        below.map(|bytes| u64::try_from(bytes.len()).unwrap()).sum::<u64>()
    };
    let (sim, device) = begun();
    let limits = |total_bytes| Limits { total_bytes, ..Limits::default() };
    let rules = |total_bytes| Rules { limits: limits(total_bytes), ..Rules::at(now()) };
    let sum = total(&device);
    for (total_bytes, code) in [(sum, "ok"), (sum - 1, "SLW-T-ENDLESS")] {
        let result =
            |mut device: Device| device.refresh_by(&sim, rules(total_bytes)).map_or_else(|refusal| refusal.code, |_| "ok".into());
        assert_eq!((result(Device::born(&sim)), result(device.clone())), (code.into(), code.into()));
    }
    assert_eq!(Limits::default().cache_bytes(), (4 << 20) + (64 << 10));
}
