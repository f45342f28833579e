//! Tests of the store by subject, and their shared helpers.

mod damage;
mod downloads;
mod formats;
mod full;
mod reports;

use super::*;
use crate::storage::slots::{SLOT_FORMAT, SlotRecord};
use slipway_machine::record::{Activation, Blocked, Installed, Plan, Retry, SlotName, Source, State};
use slipway_protocol::json::Members;
use slipway_protocol::{Category, Platform, Responsible, Version};
use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::time::Duration;

fn name() -> ComponentName {
    "edgecore".parse().unwrap()
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

fn installed(text: &str) -> Installed {
    let (version, artifact) = (version(text), Sha256::of(text.as_bytes()));
    Installed { slot: SlotName::of(&version, &artifact), version, artifact, payload: Sha256::of(b"payload"), adopted: false }
}

fn plan(text: &str) -> Plan {
    let Installed { version, artifact, slot, .. } = installed(text);
    Plan { version, platform: Platform::LinuxAmd64, artifact, size: 7, slot, source: Source::Network, floor: None }
}

fn blocked(text: &str) -> Blocked {
    let reason = Refusal::of("SLW-A-TEST", Category::Health, Responsible::Builder, "a test", "nothing");
    let at = "2026-11-22T12:00:00Z".parse().unwrap();
    Blocked { artifact: Sha256::of(text.as_bytes()), version: version(text), reason, at }
}

/// v1.22.0 committed before v1.21.0, the floor at v1.21.0, v1.20.5 condemned; v1.23.1 being activated.
fn record() -> Record {
    Record {
        epoch: 40,
        state: State::Activating { plan: plan("v1.23.1"), payload: Sha256::of(b"new"), step: Activation::Switching },
        committed: Some(installed("v1.22.0")),
        previous: Some(installed("v1.21.0")),
        floor: Some(version("v1.21.0")),
        blocked: vec![blocked("v1.20.1"), blocked("v1.20.5")],
        ..Record::new(name())
    }
}

fn report(event: Event) -> Report {
    Report {
        v: 1,
        node: "edge-7".parse().unwrap(),
        fleet: "plant".parse().unwrap(),
        seq: 0,
        boot: Some("b-1".to_owned()),
        time: "2026-11-22T12:00:00Z".parse().unwrap(),
        component: name(),
        event,
        state: "idle".to_owned(),
        from: None,
        to: None,
        percent: None,
        refusal: None,
        text: None,
        signature: None,
        more: Members::new(),
    }
}

fn open(dir: &Path) -> (Store, Vec<String>) {
    let (store, healed) = Store::open(dir, &Slots::new(dir)).unwrap();
    (store, healed.into_iter().map(|refusal| refusal.code.into_owned()).collect())
}

fn seqs(reports: &[Report]) -> Vec<u64> {
    reports.iter().map(|report| report.seq).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &place)
        } else {
            assert!(fs::copy(entry.path(), place).is_ok())
        }
    }
}

/// What must hold for a device that lost its database in the middle of [`record`]'s activation.
fn assert_goes_back(found: &Record) {
    assert_eq!(found.committed, record().committed);
    assert_eq!(found.previous, record().previous);
    assert_eq!(found.floor, record().floor);
    assert!(found.epoch > record().epoch);
    assert!(found.blocked.iter().any(|one| one.artifact == Sha256::of(b"v1.20.5")), "{found:?}");
    let State::RollingBack { from, to, reason, .. } = &found.state else { panic!("{:?}", found.state) };
    assert_eq!((from.as_ref(), to), (Some(&plan("v1.23.1").slot), &record().committed));
    assert_eq!(reason.code, "SLW-A-STATE-LOST");
}

#[test]
fn a_commit_is_there_after_a_restart_and_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, healed) = open(dir.path());
    assert!(healed.is_empty());
    assert_eq!(store.record(&name()), None);
    let numbered =
        store.commit(&record(), vec![report(Event::Started), report(Event::Progress), report(Event::Activated)]).unwrap();
    assert_eq!(seqs(&numbered), [1, 2, 3]);
    store.remember_time("2026-11-22T12:00:00Z".parse().unwrap()).unwrap();
    store.remember_time("2020-01-01T00:00:00Z".parse().unwrap()).unwrap();
    store.remember_tuf(serde_json::json!({"timestamp": 8})).unwrap();
    assert_eq!(store.degraded(), None);
    drop(store);

    let (mut store, healed) = open(dir.path());
    assert!(healed.is_empty(), "{healed:?}");
    assert_eq!(store.record(&name()), Some(record()));
    assert_eq!(seqs(&store.outbox(0, 10)), [1, 3], "progress is not kept");
    assert_eq!(seqs(&store.outbox(1, 10)), [3]);
    assert_eq!(seqs(&store.outbox(0, 1)), [1]);
    assert_eq!(store.witness_data().trusted_time, Some("2026-11-22T12:00:00Z".parse().unwrap()));
    assert_eq!(store.witness_data().tuf, serde_json::json!({"timestamp": 8}));
    store.acknowledge(1);
    store.acknowledge(1);
    store.acknowledge(99);
    assert_eq!(seqs(&store.commit(&record(), vec![report(Event::Committed)]).unwrap()), [4]);
    drop(store);

    let (store, _) = open(dir.path());
    assert_eq!(seqs(&store.outbox(0, 10)), [3, 4]);
    assert_eq!(seqs(&store.history(None, 2)), [4, 3]);
    assert_eq!(seqs(&store.history(Some(&name()), 10)), [4, 3, 1]);
    assert_eq!(store.history(Some(&"keadm".parse().unwrap()), 10), []);
}
