//! What is asked for, what is stored, and when a refresh is over.

use crate::device::{Device, begun, now, sim};
use slipway_protocol::refusal::Category;
use slipway_verify::tuf::{FetchResult, Refresh, Rules, Step, Wanted};

#[test]
fn everything_is_fetched_verified_and_stored_once() {
    let sim = sim();
    let mut device = Device::born(&sim);
    let repository = device.refresh(&sim).unwrap();
    assert_eq!(
        device.asked,
        ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "1.releases.json", "1.channels.json"]
    );
    assert_eq!(device.wrote, ["timestamp.json", "snapshot.json", "targets.json", "releases.json", "channels.json"]);
    assert_eq!((device.floors.root, device.floors.timestamp, device.floors.snapshot), (1, 1, 1));
    assert_eq!(device.floors.targets, [("targets", 1), ("releases", 1), ("channels", 1)].map(|(n, v)| (n.to_owned(), v)).into());
    assert!(repository.notes().is_empty(), "{:?}", repository.notes());
    let names: Vec<_> = repository.roles().into_iter().map(|role| role.name).collect();
    assert_eq!(names, ["root", "timestamp", "snapshot", "targets", "channels", "releases"]);

    device.refresh(&sim).unwrap();
    assert_eq!(device.asked, ["2.root.json", "timestamp.json"], "nothing changed, so nothing more is fetched");
    assert!(device.wrote.is_empty(), "nor written: {:?}", device.wrote);
}

#[test]
fn only_what_changed_is_fetched() {
    let (mut sim, mut device) = begun();
    sim.put("channels", "channels/edgecore/stable.json", b"channel two");
    sim.publish_targets("channels");
    sim.publish_snapshot();
    sim.publish_timestamp();
    let repository = device.refresh(&sim).unwrap();
    assert_eq!(device.asked, ["2.root.json", "timestamp.json", "2.snapshot.json", "2.channels.json"]);
    assert_eq!(repository.timestamp_version(), 2);
    repository.authenticate("channels/edgecore/stable.json", b"channel two".to_vec()).unwrap();
}

#[test]
fn a_target_is_authentic_by_length_and_digest() {
    let (sim, mut device) = begun();
    let repository = device.refresh(&sim).unwrap();
    let info = repository.lookup("releases/edgecore/v1.json").unwrap();
    assert_eq!((info.role.as_str(), info.length), ("releases", 12));
    let bytes = sim.blobs[&info.fetch_path].clone();
    let target = repository.authenticate("releases/edgecore/v1.json", bytes).unwrap();
    assert_eq!((target.path(), target.role(), target.bytes()), ("releases/edgecore/v1.json", "releases", &b"manifest one"[..]));
    for wrong in [&b"manifest two"[..], b"manifest one ", b"", b"channel one"] {
        let refusal = repository.authenticate("releases/edgecore/v1.json", wrong.to_vec()).unwrap_err();
        assert_eq!((refusal.code.as_ref(), refusal.category), ("SLW-T-TARGET", Category::ArbitrarySoftware));
    }
    assert_eq!(repository.lookup("releases/edgecore/v2.json").unwrap_err().code, "SLW-T-NO-TARGET");
    for path in ["", "/etc/passwd", "releases/../policies/edgecore.toml", "a//b", "a\\b", "a\nb", "."] {
        assert_eq!(repository.lookup(path).unwrap_err().code, "SLW-T-TARGET-PATH", "{path:?}");
    }
}

#[test]
fn only_the_roles_on_the_way_to_wanted_targets_are_fetched() {
    let sim = sim();
    let mut device = Device::born(&sim);
    let wanted = Wanted::Paths(vec!["channels/edgecore/stable.json".to_owned()]);
    let repository = device.refresh_by(&sim, Rules { wanted, ..Rules::at(now()) }).unwrap();
    assert!(!device.asked.contains(&"1.releases.json".to_owned()));
    repository.lookup("channels/edgecore/stable.json").unwrap();
    assert_eq!(repository.lookup("releases/edgecore/v1.json").unwrap_err().code, "SLW-T-ORDER");
}

#[test]
fn a_refresh_is_answered_only_when_it_asks_and_finished_only_when_done() {
    let (sim, device) = begun();
    let begin = || Refresh::begin(&device.initial_root, device.stored.clone(), &device.floors, Rules::at(now())).unwrap();
    assert_eq!(begin().finish().unwrap_err().code, "SLW-T-ORDER");
    let mut refresh = begin();
    while let Step::Fetch(fetch) = refresh.step() {
        assert_eq!(refresh.step(), Step::Fetch(fetch.clone()), "it asks again until it is answered");
        let file = sim.files.get(&fetch.path);
        refresh.answer(file.map_or(FetchResult::Missing, |bytes| FetchResult::Bytes(bytes))).unwrap();
    }
    assert_eq!(refresh.clone().answer(FetchResult::Missing).unwrap_err().code, "SLW-T-ORDER");
    refresh.finish().unwrap();
    let mut refresh = begin();
    let first = refresh.answer(FetchResult::Failed("gone")).unwrap_err();
    assert_eq!(refresh.step(), Step::Done);
    assert_eq!(refresh.answer(FetchResult::Missing).unwrap_err(), first, "a refusal is final");
    assert_eq!(refresh.finish().unwrap_err(), first);
}

#[test]
fn a_refresh_that_breaks_off_leaves_a_cache_that_opens() {
    let (mut sim, mut device) = begun();
    sim.publish();
    sim.failing.insert("2.releases.json".to_owned(), "connection reset".to_owned());
    assert_eq!(device.refused(&sim).code, "SLW-T-STALE");
    device.open(Rules::accepted_before()).unwrap();
    // Other clients store as they go; so can this one.
    let (stored, floors) = (device.stored.clone(), device.floors.clone());
    device.refresh_by(&sim, Rules { store_early: true, ..Rules::at(now()) }).unwrap_err();
    assert_eq!(device.wrote, ["timestamp.json", "snapshot.json", "targets.json"]);
    assert!(device.stored != stored && device.floors != floors);
}
