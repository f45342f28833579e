//! State of other agents: one that runs at the same time, a newer one, one that was rolled back.

use super::*;

#[test]
fn a_second_agent_is_refused_and_a_newer_agents_state_is_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    assert_eq!(Store::open(dir.path(), &Slots::new(dir.path())).unwrap_err().code, "SLW-A-STORE-BUSY");
    let newer = Record { format: RECORD_FORMAT + 1, ..record() };
    assert_eq!(store.commit(&newer, vec![]).unwrap_err().code, "SLW-A-STATE-NEWER");
    // What a newer agent would have written: more members than this one knows.
    let mut value = serde_json::to_value(Stored { generation: 1, record: newer, more: Members::new() }).unwrap();
    value["record"]["surprise"] = 1.into();
    let mut changes = Changes::default();
    changes.put(Key::Record(&name()), serde_json::to_vec(&value).unwrap());
    changes.put(Key::Meta, json(&Meta { format: 1, generation: 1, next: 1 }).unwrap());
    store.database.as_mut().unwrap().apply(changes).unwrap();
    drop(store);
    for _ in 0..4 {
        let refusal = Store::open(dir.path(), &Slots::new(dir.path())).unwrap_err();
        assert_eq!((refusal.code.as_ref(), refusal.seen.as_str()), ("SLW-A-STATE-NEWER", "edgecore: format 2"));
    }
    assert!(!dir.path().join("state.damaged-1").exists());
}

/// There is no older format: what claims to be one is damage. Nothing that was promised is taken back, and it is kept as evidence.
#[test]
fn an_older_format_or_none_is_damage_and_rebuilt_from_the_witness() {
    let meta = |format: Option<u32>| {
        let mut meta = serde_json::json!({"generation": 9, "next": 9});
        if let Some(format) = format {
            meta["format"] = format.into();
        }
        serde_json::to_vec(&meta).unwrap()
    };
    let mut older = serde_json::to_value(Stored { generation: 1, record: record(), more: Members::new() }).unwrap();
    older["record"]["format"] = 0.into();
    for (what, key, value) in [
        ("a database of format 0", Key::Meta, meta(Some(0))),
        ("a database without a format", Key::Meta, meta(None)),
        ("a record of format 0", Key::Record(&name()), serde_json::to_vec(&older).unwrap()),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = open(dir.path());
        store.commit(&record(), vec![]).unwrap();
        let mut changes = Changes::default();
        changes.put(key, value);
        store.database.as_mut().unwrap().apply(changes).unwrap();
        drop(store);
        let (store, healed) = open(dir.path());
        assert_eq!(healed, ["SLW-A-STORE-DAMAGED"], "{what}");
        assert_goes_back(&store.record(&name()).unwrap());
        drop(store);
        assert!(dir.path().join("state.damaged-1").exists(), "{what}: kept");
        assert_eq!(open(dir.path()).1, Vec::<String>::new(), "{what}: once");
    }
}

/// What the restore unit leaves behind it, whatever the agent that it stopped had written last.
#[test]
fn an_agent_that_was_put_back_goes_back_whatever_the_database_says() {
    let restored = |dir: &Path| {
        let (mut witness, witness_data) = Witness::open(&dir.join("witness")).unwrap();
        let mut witness_data = witness_data.unwrap();
        let it = witness_data.components.get_mut(&name()).unwrap();
        it.phase = witness::Phase::Restored;
        it.active = Some(plan("v1.23.1").slot);
        it.block = Some((plan("v1.23.1").artifact, version("v1.23.1")));
        it.committed = record().committed.as_ref().map(witness::KeptRelease::from);
        witness.write_both(&witness_data).unwrap();
    };
    let watch = slipway_machine::record::Watch {
        deadline: crate::clock::now().moment,
        starts: 1,
        process: None,
        healthy_since: None,
        failures: 0,
        unhealthy: None,
    };
    let probation = State::Probation { plan: plan("v1.23.1"), payload: Sha256::of(b"new"), watch };
    let committed = Record { state: State::Idle, committed: Some(installed("v1.23.1")), ..record() };
    for (what, last) in [
        ("switching", record()),
        ("probation", Record { state: probation, ..record() }),
        // It committed itself, and the witness never heard of it.
        ("its own commit", committed),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (mut store, _) = open(dir.path());
        store.commit(&record(), vec![report(Event::Activated)]).unwrap();
        for _ in 0..3 {
            store.commit(&last, vec![]).unwrap();
        }
        drop(store);
        restored(dir.path());
        // Twice: what was rebuilt is in the database before the witness forgets why.
        for _ in 0..2 {
            let (store, healed) = open(dir.path());
            assert!(healed.is_empty(), "{what}: {healed:?}");
            let found = store.record(&name()).unwrap();
            let State::RollingBack { from, to, reason, block, .. } = &found.state else { panic!("{what}: {found:?}") };
            assert_eq!((from.as_ref(), to), (Some(&plan("v1.23.1").slot), &record().committed), "{what}");
            assert_eq!(reason.code, "SLW-A-SELF-RESTORED");
            assert_eq!(block.as_ref().map(|one| one.artifact), Some(plan("v1.23.1").artifact));
            assert_eq!(found.committed, record().committed);
            assert_eq!(seqs(&store.outbox(0, 10)), [1], "{what}: reports that wait still wait");
        }
    }

    // A new agent that judged itself wrote down why, which is better than what can be seen from outside.
    let dir = tempfile::tempdir().unwrap();
    let reason = blocked("v1.23.1").reason;
    let own = State::RollingBack {
        from: Some(plan("v1.23.1").slot),
        plan: Some(plan("v1.23.1")),
        to: record().committed,
        reason,
        block: None,
        retry: Retry::default(),
    };
    let own = Record { state: own, ..record() };
    let (mut store, _) = open(dir.path());
    store.commit(&own, vec![]).unwrap();
    drop(store);
    restored(dir.path());
    assert_eq!(open(dir.path()).0.record(&name()), Some(own));
}

/// Decision 0009: state in a newer format is replaced if its agent was rolled back; otherwise it is not touched.
#[test]
fn a_newer_database_is_replaced_only_after_its_agent_was_rolled_back() {
    let dir = tempfile::tempdir().unwrap();
    let (mut store, _) = open(dir.path());
    store.commit(&record(), vec![]).unwrap();
    let mut changes = Changes::default();
    changes.put(Key::Meta, json(&Meta { format: STORE_FORMAT + 1, generation: 9, next: 9 }).unwrap());
    store.database.as_mut().unwrap().apply(changes).unwrap();
    drop(store);
    assert_eq!(Store::open(dir.path(), &Slots::new(dir.path())).unwrap_err().code, "SLW-A-STATE-NEWER");
    let (mut witness, witness_data) = Witness::open(&dir.path().join("witness")).unwrap();
    let mut witness_data = witness_data.unwrap();
    witness_data.components.get_mut(&name()).unwrap().phase = witness::Phase::Restored;
    witness.write_both(&witness_data).unwrap();
    let (store, healed) = open(dir.path());
    assert_eq!(healed, ["SLW-A-STORE-DAMAGED"]);
    let found = store.record(&name()).unwrap();
    assert!(matches!(found.state, State::RollingBack { .. }) && found.floor == record().floor, "{found:?}");
    assert!(dir.path().join("state.damaged-1").exists(), "kept");
}

/// A newer agent's record in the database, as it would be written by one that knows more.
fn write_newer(dir: &Path, phase: witness::Phase, change: impl FnOnce(&mut serde_json::Value)) {
    let (mut store, _) = open(dir);
    store.commit(&record(), vec![report(Event::Activated), report(Event::Unlisted("paused".into()))]).unwrap();
    let stored = &store.records[&name()];
    let mut value = serde_json::to_value(stored).unwrap();
    change(&mut value);
    let mut changes = Changes::default();
    changes.put(Key::Record(&name()), serde_json::to_vec(&value).unwrap());
    let mut newer = serde_json::to_value(report(Event::Committed)).unwrap();
    (newer["seq"], newer["lease"], newer["event"]) = (3.into(), serde_json::json!({"by": "x"}), "handed-over".into());
    changes.put(Key::Report(3), serde_json::to_vec(&newer).unwrap());
    changes.put(Key::Unsent(3), Vec::new());
    let meta = serde_json::json!({"format": 1, "generation": store.generation, "next": 4, "leases": 2});
    changes.put(Key::Meta, serde_json::to_vec(&meta).unwrap());
    store.database.as_mut().unwrap().apply(changes).unwrap();
    drop(store);
    let (mut witness, witness_data) = Witness::open(&dir.join("witness")).unwrap();
    let mut witness_data = witness_data.unwrap();
    witness_data.components.get_mut(&name()).unwrap().phase = phase;
    witness.write_both(&witness_data).unwrap();
    drop(witness);
    // And something else in the database.
    let config = sled::Config::new().path(dir.join("state")).mode(sled::Mode::LowSpace).segment_size(64 * 1024);
    let db = config.open().unwrap();
    db.insert("lease/edgecore", "of a newer agent").unwrap();
    db.flush().unwrap();
}

/// Each failed while an unknown member, key or state was damage: the database was set aside, and with it blocks and reports.
#[test]
fn a_newer_agents_state_keeps_floors_blocks_and_reports() {
    type Change = fn(&mut serde_json::Value);
    let members: Change = |value| {
        value["record"]["lease"] = serde_json::json!({"until": 7});
        value["record"]["condemned"][0]["scope"] = "node".into();
        value["record"]["state"]["plan"]["unpacked"] = 7.into();
        value["surprise"] = 1.into();
    };
    let state: Change = |value| value["record"]["state"] = serde_json::json!({"name": "migrating", "plan": {}});
    let less: Change = |value| {
        value["record"]["state"] = serde_json::json!({"name": "probation", "plan": "elsewhere"});
        value["record"]["ring"] = serde_json::json!({"by": "permission", "source": "network"});
        value["record"]["last"] = 3.into();
    };
    for (what, phase, change, healed, back) in [
        ("members", witness::Phase::Activating, members, None, false),
        ("a state, at rest", witness::Phase::Resting, state, Some("SLW-A-STATE-UNKNOWN"), false),
        (
            "a state that touches what runs",
            witness::Phase::Unlisted("migrating".into()),
            state,
            Some("SLW-A-STATE-UNKNOWN"),
            true,
        ),
        ("a state with other members", witness::Phase::Probation, less, Some("SLW-A-STATE-UNKNOWN"), true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        write_newer(dir.path(), phase, change);
        for again in [false, true] {
            let (mut store, found) = open(dir.path());
            assert_eq!(found.first().map(String::as_str), healed.filter(|_| !again), "{what}: {found:?}");
            let read = store.record(&name()).unwrap();
            assert_eq!((&read.committed, &read.floor), (&record().committed, &record().floor), "{what}");
            assert_eq!(read.blocked.len(), 2, "{what}: {read:?}");
            assert_eq!(seqs(&store.outbox(0, 10)), [1, 2, 3], "{what}");
            let newest = serde_json::to_value(&store.outbox(2, 10)[0]).unwrap();
            assert_eq!(
                (&newest["event"], &newest["lease"]["by"]),
                (&"handed-over".into(), &"x".into()),
                "{what}: sent as written"
            );
            match (&read.state, back) {
                (State::RollingBack { to, .. }, true) => assert_eq!(to, &record().committed, "{what}"),
                (State::Idle, false) => assert!(healed.is_some(), "{what}"),
                (state, _) => assert_eq!((state, healed), (&record().state, None), "{what}"),
            }
            if what == "members" {
                store.commit(&read, vec![]).unwrap();
                assert_eq!(store.records[&name()].more["lease"]["until"], 7, "{what}: kept when it is written again");
            }
            drop(store);
            assert!(!dir.path().join("state.damaged-1").exists(), "{what}");
        }
        let config = sled::Config::new().path(dir.path().join("state")).mode(sled::Mode::LowSpace).segment_size(64 * 1024);
        assert_eq!(config.open().unwrap().get("lease/edgecore").unwrap().unwrap(), "of a newer agent", "{what}");
    }
}

/// Without its floor or blocks a record is damage, whichever agent wrote it: the witness remembers those.
#[test]
fn a_record_whose_floor_cannot_be_read_is_rebuilt_and_not_left_without() {
    for member in ["floor", "condemned", "committed"] {
        let dir = tempfile::tempdir().unwrap();
        write_newer(dir.path(), witness::Phase::Activating, |value| value["record"][member] = 7.into());
        let (store, healed) = open(dir.path());
        assert_eq!(healed, ["SLW-A-STORE-DAMAGED"], "{member}");
        assert_goes_back(&store.record(&name()).unwrap());
    }
}

/// What today's agent writes, as an agent of formats-1 reads it: every member of the record is one that it knows.
#[test]
fn a_record_has_nothing_that_agents_of_formats_1_do_not_know() {
    let mut more = Members::new();
    more.insert("lease".to_owned(), 1.into());
    for more in [Members::new(), more] {
        let mut value = serde_json::to_value(Stored { generation: 1, record: record(), more: more.clone() }).unwrap();
        assert_eq!(crate::storage::beside::split(&mut value["record"], &crate::storage::beside::RECORD), None);
        assert_eq!(value.get("beside").is_some(), !more.is_empty());
        let (again, left_out) = Stored::read(&serde_json::to_vec(&value).unwrap()).unwrap();
        assert_eq!((again.record, again.more, left_out.len()), (record(), more, 0));
    }
}
